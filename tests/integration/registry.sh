#!/usr/bin/env bash
# Writes, to the letter: what is created, changed and deleted, what the server fills in, and how it refuses.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/control-plane.sh
work=$(mktemp -d)
KUBECTL=$(tests/tools/kubectl)
if ! control_plane_start "$work/cp" "${PORT:-31100}" "${STORE:-lite}"; then
    fail "store and apiservers become ready" "$(tail -n 20 "$work"/cp/*.log)"
    finish
    exit
fi
k() { "$KUBECTL" "$@"; }
# METHOD PATH [BODY [CONTENT-TYPE]]: the answer on one line, then the HTTP status.
call_as() {
    local who=$1 method=$2 path=$3 type=${5:-application/json}
    local body=()
    [ -z "${4:-}" ] || body=(-d "$4")
    curl -sS --max-time 30 -A test --cacert "$work/cp/pki/ca.crt" --cert "$work/cp/pki/$who.crt" --key "$work/cp/pki/$who.key" \
        -X "$method" -H "Content-Type: $type" -w ' %{http_code}\n' "${body[@]}" "$API$path"
}
call() { call_as admin "$@"; }
MERGE=application/merge-patch+json
STRATEGIC=application/strategic-merge-patch+json
CM=/api/v1/namespaces/default/configmaps
PODS=/api/v1/namespaces/default/pods
SVC=/api/v1/namespaces/default/services
LEASES=/apis/coordination.k8s.io/v1/namespaces/default/leases
DEPLOYMENTS=/apis/apps/v1/namespaces/default/deployments

# --- create ---------------------------------------------------------------------------------------
check_output "create: uid, time and revision" '"resourceVersion":"[0-9]+".*"uid":"[0-9a-f-]{36}","creationTimestamp":"20.*Z".* 201' call POST $CM '{"metadata":{"name":"a"},"data":{"k":"v"}}'
check_output "create: resourceVersion must be empty" 'resourceVersion should not be set on objects to be created.* 500' call POST $CM '{"metadata":{"name":"b","resourceVersion":"5"}}'
check_output "create: namespace of body and URL" 'the namespace of the provided object does not match the namespace sent on the request.* 400' call POST $CM '{"metadata":{"name":"b","namespace":"x"}}'
check_output "create: a name is needed" 'name or generateName is required.* 422' call POST $CM '{"metadata":{}}'
check_output "create: dryRun must be All" 'dryRun: Unsupported value: .*supported values: .*All.* 422' call POST "$CM?dryRun=Some" '{"metadata":{"name":"b"}}'
check_output "create: a dry run sees what exists" 'already exists.* 409' call POST "$CM?dryRun=All" '{"metadata":{"name":"a"}}'
check_output "create: what the server decides is not the client's" '"generation":1[,}]' call POST $DEPLOYMENTS \
    '{"metadata":{"name":"d","generation":9,"deletionTimestamp":"2020-01-01T00:00:00Z"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}},"status":{"replicas":7}}'
check_equal "create: status is not the client's" "null" "$(k get deployment d -o json | jq .status.replicas)"
check_output "secrets: stringData goes into data" '"data":\{"k":"dg=="\}' call POST /api/v1/namespaces/default/secrets '{"metadata":{"name":"s"},"stringData":{"k":"v"}}'

# --- update ---------------------------------------------------------------------------------------
rv=$(k get configmap a -o jsonpath='{.metadata.resourceVersion}')
check_output "update without a resourceVersion" '"z":"1".* 200' call PUT $CM/a '{"metadata":{"name":"a"},"data":{"z":"1"}}'
check_output "update with an old one: Conflict" 'the object has been modified; please apply your changes to the latest version.* 409' call PUT $CM/a "{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"$rv\"}}"
check_output "update with another uid: Conflict" 'Precondition failed: UID in precondition: u, UID in object meta.* 409' call PUT $CM/a '{"metadata":{"name":"a","uid":"u"}}'
check_output "update: name of body and URL" 'the name of the object \(b\) does not match the name on the URL \(a\).* 400' call PUT $CM/a '{"metadata":{"name":"b"}}'
check_output "update of what is missing: NotFound" '"reason":"NotFound".* 404' call PUT $CM/none '{"metadata":{"name":"none"}}'
check_output "update makes a Lease that is missing" ' 201$' call PUT $LEASES/l '{"metadata":{"name":"l"},"spec":{"holderIdentity":"me"}}'
check_output "a Lease's update needs a resourceVersion" 'metadata.resourceVersion: Invalid value: .*must be specified for an update.* 422' call PUT $LEASES/l '{"metadata":{"name":"l"}}'
rv=$(k get configmap a -o jsonpath='{.metadata.resourceVersion}')
call PUT $CM/a '{"metadata":{"name":"a"},"data":{"z":"1"}}' >/dev/null
check_equal "an update that changes nothing writes nothing" "$rv" "$(k get configmap a -o jsonpath='{.metadata.resourceVersion}')"
generation() { k get deployment d -o jsonpath='{.metadata.generation}'; }
k label deployment d x=y >/dev/null
check_equal "labels do not count as a new generation" 1 "$(generation)"
k scale deployment d --replicas=2 >/dev/null
check_equal "scale counts as a new generation" 2 "$(generation)"
check_output "status: only the status changes" '"replicas":2,.*"status":\{"replicas":5\}.* 200' call PATCH $DEPLOYMENTS/d/status '{"status":{"replicas":5},"spec":{"replicas":9}}' $MERGE
check_equal "status does not count as a new generation" 2 "$(generation)"
check_output "the status stays when the spec changes" '"status":\{"replicas":5\}' call PATCH $DEPLOYMENTS/d '{"spec":{"replicas":3},"status":{"replicas":1}}' $MERGE
check_output "a selector is immutable" 'spec.selector: Invalid value: .*field is immutable.* 422' call PATCH $DEPLOYMENTS/d '{"spec":{"selector":{"matchLabels":{"a":"c"}},"template":{"metadata":{"labels":{"a":"c"}}}}}' $MERGE
check_output "a patch with an old resourceVersion: Conflict" ' 409$' call PATCH $CM/a '{"metadata":{"resourceVersion":"1"}}' $MERGE
check_output "a patch to a wrong type: Invalid" 'cannot unmarshal number into Go struct field.* 422' call PATCH $CM/a '{"data":{"b":2}}' $MERGE
check_output "scale: get" '"kind":"Scale","apiVersion":"autoscaling/v1".*"spec":\{"replicas":3\},"status":\{"replicas":5,"selector":"a=b"\}' call GET $DEPLOYMENTS/d/scale
check_output "scale: not below zero" 'spec.replicas: Invalid value: -1: must be greater than or equal to 0.* 422' call PATCH $DEPLOYMENTS/d/scale '{"spec":{"replicas":-1}}' $MERGE
check_output "scale: put" '"spec":\{"replicas":1\}' call PUT $DEPLOYMENTS/d/scale '{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"d"},"spec":{"replicas":1}}'
check_output "scale: conflict" ' 409$' call PUT $DEPLOYMENTS/d/scale '{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"d","resourceVersion":"1"},"spec":{"replicas":1}}'
writers() { # many patches of different keys at once, from both apiservers
    local i
    for i in $(seq 1 20); do
        "${CURL[@]}" -o /dev/null -X PATCH -H "Content-Type: $MERGE" -d "{\"data\":{\"w$i\":\"1\"}}" "$([ $((i % 2)) -eq 0 ] && echo "$API" || echo "$API2")$CM/a" &
    done
    wait
}
(writers)
check_equal "patches at the same time lose nothing" 20 "$(k get configmap a -o json | jq '[.data|keys[]|select(startswith("w"))]|length')"

# --- deletion -------------------------------------------------------------------------------------
uid=$(k get configmap a -o jsonpath='{.metadata.uid}')
check_output "delete: precondition" 'Precondition failed: UID in precondition: u.* 409' call DELETE $CM/a '{"preconditions":{"uid":"u"}}'
check_output "delete: unknown policy" 'propagationPolicy: Unsupported value: .* 422' call DELETE "$CM/a?propagationPolicy=Some"
check_output "delete: dry run" '"status":"Success".* 200' call DELETE "$CM/a?dryRun=All"
check_output "delete: Success with details" "\"status\":\"Success\",\"details\":\{\"name\":\"a\",\"kind\":\"configmaps\",\"uid\":\"$uid\"\}.* 200" call DELETE $CM/a
check_output "delete: NotFound" ' 404$' call DELETE $CM/a
check_output "foreground: lingers with a finalizer" '"finalizers":\["foregroundDeletion"\].*"deletionTimestamp":' call DELETE "$DEPLOYMENTS/d?propagationPolicy=Foreground"
check_equal "the answer's revision is the stored one" "$(sed -E 's/.*"resourceVersion":"([0-9]+)".*/\1/' <<<"$LAST_OUTPUT")" "$(k get deployment d -o jsonpath='{.metadata.resourceVersion}')"
check_output "orphan instead" '"finalizers":\["orphan"\]' call DELETE $DEPLOYMENTS/d '{"orphanDependents":true}'
check_output "the last finalizer's removal ends it" ' 200$' call PATCH $DEPLOYMENTS/d '{"metadata":{"finalizers":[]}}' $MERGE
check_output "... it is gone" ' 404$' call GET $DEPLOYMENTS/d
for n in 1 2 3; do call POST $CM "{\"metadata\":{\"name\":\"c$n\",\"labels\":{\"n\":\"$n\"}}}" >/dev/null; done
check_output "deletecollection: the items deleted" '"kind":"ConfigMapList".*"name":"c1".*"name":"c3".* 200' call DELETE "$CM?labelSelector=n%20in%20(1,3)"
check_output "deletecollection left the other" '^configmap/c2$' k get configmap -l n -o name

# --- namespaces -----------------------------------------------------------------------------------
k create namespace n >/dev/null
check_output "a new namespace is active and has a finalizer" '"kubernetes.io/metadata.name":"n".*"spec":\{"finalizers":\["kubernetes"\]\},"status":\{"phase":"Active"\}' call GET /api/v1/namespaces/n
check_output "namespaces have no deletecollection" ' 405$' call DELETE /api/v1/namespaces
check_output "delete makes it terminating" '"phase":"Terminating".* 200' call DELETE /api/v1/namespaces/n
check_output "nothing new in it" 'unable to create new content in namespace n because it is being terminated.*"reason":"NamespaceTerminating".* 403' call POST /api/v1/namespaces/n/configmaps '{"metadata":{"name":"x"}}'
check_output "an update keeps the finalizer" '"finalizers":\["kubernetes"\]' call PATCH /api/v1/namespaces/n '{"spec":{"finalizers":[]}}' $MERGE
check_output "finalize ends it" ' 200$' call PUT /api/v1/namespaces/n/finalize '{"metadata":{"name":"n"},"spec":{"finalizers":[]}}'
check_output "... it is gone" ' 404$' call GET /api/v1/namespaces/n
check_output "default cannot be deleted" 'this namespace may not be deleted.* 403' call DELETE /api/v1/namespaces/default

# --- pods -----------------------------------------------------------------------------------------
POD='"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"1"}}}]}'
check_output "no service account, no pod" 'error looking up service account default/missing: serviceaccount \\"missing\\" not found.* 403' call POST $PODS '{"metadata":{"name":"p"},"spec":{"serviceAccountName":"missing","containers":[{"name":"c","image":"i"}]}}'
call POST /api/v1/namespaces/default/serviceaccounts '{"metadata":{"name":"default"}}' >/dev/null
check_output "unknown priority class" 'no PriorityClass with name x was found.* 403' call POST $PODS '{"metadata":{"name":"p"},"spec":{"priorityClassName":"x","containers":[{"name":"c","image":"i"}]}}'
call POST $PODS "{\"metadata\":{\"name\":\"p\"},$POD}" >/dev/null
pod=$(call GET $PODS/p)
check_output "pods are pending, with a quality of service" '"status":\{"phase":"Pending","qosClass":"Burstable"\}' echo "$pod"
check_output "pods tolerate their node's absence for a while" '"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300' echo "$pod"
check_output "pods have a service account and a priority" '"serviceAccountName":"default".*"priority":0' echo "$pod"
check_output "no log without a node" '^ 200$' call GET $PODS/p/log
check_output "a new node is tainted" '"taints":\[\{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"\}\]' call_as node POST /api/v1/nodes '{"metadata":{"name":"node-1"},"status":{"addresses":[{"type":"InternalIP","address":"127.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":1}}}}'
check_output "a node registers itself only" 'is not allowed to modify node \\"node-2\\".* 403' call_as node POST /api/v1/nodes '{"metadata":{"name":"node-2"}}'
check_output "a node does not touch a pod elsewhere" 'can only update pod status for pods with spec.nodeName set to itself.* 403' call_as node PATCH $PODS/p/status '{"status":{"phase":"Running"}}' $MERGE
check_output "binding: a target is needed" 'target.name: Required value.* 422' call POST $PODS/p/binding '{"metadata":{"name":"p"}}'
check_output "the scheduler binds" '"status":"Success","code":201\} 201' call_as scheduler POST $PODS/p/binding '{"metadata":{"name":"p"},"target":{"kind":"Node","name":"node-1"}}'
check_output "bound" '"nodeName":"node-1".*"type":"PodScheduled".*"status":"True"' call GET $PODS/p
check_output "binding again: Conflict" 'Operation cannot be fulfilled on pods/binding \\"p\\": pod p is already assigned to node \\"node-1\\".* 409' call POST $PODS/p/binding '{"metadata":{"name":"p"},"target":{"kind":"Node","name":"node-1"}}'
check_output "its node writes its status" '"phase":"Running".* 200' call_as node PATCH $PODS/p/status '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}' $STRATEGIC
check_output "a pod's containers may not change" 'pod updates may not change fields other than.* 422' call PATCH $PODS/p '{"spec":{"hostNetwork":true}}' $MERGE
check_output "log: unknown container" 'container x is not valid for pod p.* 400' call GET "$PODS/p/log?container=x"
check_output "log: bad option" 'tailLines: Invalid value: -1: must be greater than or equal to 0.* 422' call GET "$PODS/p/log?tailLines=-1"
check_output "log: the kubelet is not there" '"reason":"InternalError".* 500' call GET $PODS/p/log
call POST $PODS '{"metadata":{"name":"two"},"spec":{"initContainers":[{"name":"i","image":"i"}],"containers":[{"name":"c","image":"i"},{"name":"d","image":"i"}]}}' >/dev/null
check_output "log: which of two containers" 'a container name must be specified for pod two, choose one of: \[c d\] or one of the init containers: \[i\].* 400' call GET $PODS/two/log
check_output "an unscheduled pod goes at once" '"name":"two".* 200' call DELETE $PODS/two
check_output "... it is gone" ' 404$' call GET $PODS/two
check_output "a running pod goes gracefully" '"deletionGracePeriodSeconds":30.* 200' call DELETE $PODS/p
check_output "a longer grace period changes nothing" '"deletionGracePeriodSeconds":30' call DELETE "$PODS/p?gracePeriodSeconds=60"
check_output "a shorter one does" '"deletionGracePeriodSeconds":5' call DELETE "$PODS/p?gracePeriodSeconds=5"
check_output "its node ends it" ' 200$' call_as node DELETE $PODS/p '{"gracePeriodSeconds":0}'
check_output "... it is gone" ' 404$' call GET $PODS/p
call POST $PODS "{\"metadata\":{\"name\":\"e\"},$POD}" >/dev/null
check_output "eviction" '"status":"Success".* 201' call POST $PODS/e/eviction '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"e"}}'
check_output "... it is gone" ' 404$' call GET $PODS/e

# --- what a node may read ---------------------------------------------------------------------------
call POST /api/v1/namespaces/default/secrets '{"metadata":{"name":"used"}}' >/dev/null
call POST /api/v1/namespaces/default/secrets '{"metadata":{"name":"unused"}}' >/dev/null
call POST $PODS '{"metadata":{"name":"m"},"spec":{"nodeName":"node-1","volumes":[{"name":"v","secret":{"secretName":"used"}}],"containers":[{"name":"c","image":"i"}]}}' >/dev/null
check "a node reads the secret of its pod" eventually 5 bash -c "curl -sS --cacert '$work/cp/pki/ca.crt' --cert '$work/cp/pki/node.crt' --key '$work/cp/pki/node.key' '$API/api/v1/namespaces/default/secrets/used' | grep -q '\"name\": *\"used\"'"
check_output "and no other" "no relationship found between node 'node-1' and this object.* 403" call_as node GET /api/v1/namespaces/default/secrets/unused
check_output "nor all of them" ' 403$' call_as node GET /api/v1/namespaces/default/secrets
call DELETE "$PODS/m?gracePeriodSeconds=0" >/dev/null
check_output "nor when the pod is gone" ' 403$' eventually_output 5 ' 403$' call_as node GET /api/v1/namespaces/default/secrets/used

# --- Services -------------------------------------------------------------------------------------
check_output "two protocols of one port share a node port" '"port":53,"protocol":"UDP","targetPort":53,"nodePort":([0-9]+)\}.*"port":53,"protocol":"TCP","targetPort":53,"nodePort":\1\}' call POST $SVC '{"metadata":{"name":"dns"},"spec":{"type":"NodePort","ports":[{"name":"u","port":53,"protocol":"UDP"},{"name":"t","port":53}]}}'
address=$(k get svc dns -o jsonpath='{.spec.clusterIP}')
port=$(k get svc dns -o jsonpath='{.spec.ports[0].nodePort}')
check_output "node port in use" "spec.ports\[0\].nodePort: Invalid value: $port: provided port is already allocated.* 422" call POST $SVC "{\"metadata\":{\"name\":\"x\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":1,\"nodePort\":$port}]}}"
check_output "node port out of range" 'provided port is not in the valid range. The range of valid ports is 30000-32767.* 422' call POST $SVC '{"metadata":{"name":"x"},"spec":{"type":"NodePort","ports":[{"port":1,"nodePort":80}]}}'
check_output "address out of range" 'failed to allocate IP 1.2.3.4: the provided IP \(1.2.3.4\) is not in the valid range. The range of valid IPs is 10.96.0.0/16.* 422' call POST $SVC '{"metadata":{"name":"x"},"spec":{"clusterIP":"1.2.3.4","ports":[{"port":1}]}}'
check_output "no dual stack here" 'this cluster is not configured for dual-stack services.* 422' call POST $SVC '{"metadata":{"name":"x"},"spec":{"ipFamilyPolicy":"RequireDualStack","ports":[{"port":1}]}}'
check_output "to ClusterIP: the node ports go" '"targetPort":53\}\]' call PATCH $SVC/dns '{"spec":{"type":"ClusterIP"}}' $STRATEGIC
check_output "... and are free" ' 201$' call POST $SVC "{\"metadata\":{\"name\":\"y\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":1,\"nodePort\":$port}]}}"
check_equal "... the address stays" "$address" "$(k get svc dns -o jsonpath='{.spec.clusterIP}')"
check_output "to ExternalName: the address goes" '"externalName":"x.y"' call PATCH $SVC/dns '{"spec":{"type":"ExternalName","externalName":"x.y"}}' $STRATEGIC
check_output "... and is free" ' 201$' call POST $SVC "{\"metadata\":{\"name\":\"z\"},\"spec\":{\"clusterIP\":\"$address\",\"ports\":[{\"port\":1}]}}"
check_output "back to ClusterIP: a new one" '"clusterIP":"10\.96\.' call PATCH $SVC/dns '{"spec":{"type":"ClusterIP","externalName":null}}' $STRATEGIC
check_output "headless" '"clusterIPs":\["None"\]' call POST $SVC '{"metadata":{"name":"h"},"spec":{"clusterIP":"None","selector":{"a":"b"},"ports":[{"port":1}]}}'
check_output "a dry run takes nothing" ' 201$' call POST "$SVC?dryRun=All" '{"metadata":{"name":"dry"},"spec":{"clusterIP":"10.96.0.77","ports":[{"port":1}]}}'
check_output "... it is free" ' 201$' call POST $SVC '{"metadata":{"name":"wet"},"spec":{"clusterIP":"10.96.0.77","ports":[{"port":1}]}}'

# --- events in both forms ---------------------------------------------------------------------------
call POST /api/v1/namespaces/default/events '{"metadata":{"name":"ev"},"involvedObject":{"kind":"Pod","name":"p","namespace":"default"},"reason":"R","message":"hello","type":"Normal","source":{"component":"me"},"firstTimestamp":"2026-11-24T10:00:00Z","lastTimestamp":"2026-11-24T10:00:00Z","count":1}' >/dev/null
check_output "an event in its newer form" '"apiVersion":"events.k8s.io/v1".*"note":"hello"' call GET /apis/events.k8s.io/v1/namespaces/default/events/ev
check_output "selected by what it is about" '"name":"ev"' call GET "/apis/events.k8s.io/v1/namespaces/default/events?fieldSelector=regarding.name%3Dp"
check_output "a newer event in its older form" ' 201$' call POST /apis/events.k8s.io/v1/namespaces/default/events '{"metadata":{"name":"new"},"regarding":{"kind":"Pod","name":"p","namespace":"default"},"reason":"R","note":"newer","type":"Normal","action":"A","eventTime":"2026-11-24T10:00:00.000000Z","reportingController":"c","reportingInstance":"c-1"}'
check_output "... seen by core/v1" '"message":"newer"' call GET /api/v1/namespaces/default/events/new
check_output "an event's newer form is patched" '"note":"changed"' call PATCH /apis/events.k8s.io/v1/namespaces/default/events/ev '{"note":"changed"}' $MERGE
check_output "an event's newer form is deleted" '"status":"Success","details":\{"name":"ev","group":"events.k8s.io","kind":"events"' call DELETE /apis/events.k8s.io/v1/namespaces/default/events/ev

# --- server-side apply ------------------------------------------------------------------------------
cat >"$work/app.yaml" <<'EOF'
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {app: app}}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - {name: app, image: one}
EOF
check_output "apply on the server creates" 'deployment.apps/app serverside-applied' k apply --server-side -f "$work/app.yaml"
rv=$(k get deployment app -o jsonpath='{.metadata.resourceVersion}')
k apply --server-side -f "$work/app.yaml" >/dev/null
check_equal "applied again nothing changes" "$rv" "$(k get deployment app -o jsonpath='{.metadata.resourceVersion}')"
k scale deployment app --replicas=3 >/dev/null
check_output "a conflict names who owns what" 'Apply failed with 1 conflict: conflict with "kubectl[^"]*" with subresource "scale" using apps/v1: .spec.replicas' k apply --server-side -f "$work/app.yaml"
check "force takes it" k apply --server-side --force-conflicts -f "$work/app.yaml"
check_equal "... and sets it" 1 "$(k get deployment app -o jsonpath='{.spec.replicas}')"
check "another manager adds a container, in YAML" bash -c "printf 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\nspec: {template: {spec: {containers: [{name: side, image: two}]}}}\n' | curl -sSf -o /dev/null --cacert '$work/cp/pki/ca.crt' --cert '$work/cp/pki/admin.crt' --key '$work/cp/pki/admin.key' -X PATCH -H 'Content-Type: application/apply-patch+yaml' --data-binary @- '$API$DEPLOYMENTS/app?fieldManager=other'"
check_equal "both containers are there" "app side" "$(k get deployment app -o jsonpath='{.spec.template.spec.containers[*].name}')"
check_output "says no more of it: it goes" ' 200$' call PATCH "$DEPLOYMENTS/app?fieldManager=other" '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"app"}}' application/apply-patch+yaml
check_equal "one container is left" "app" "$(k get deployment app -o jsonpath='{.spec.template.spec.containers[*].name}')"
check_output "apply needs a manager" 'fieldManager: Required value: is required for apply patch.* 422' call PATCH $DEPLOYMENTS/app '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"app"}}' application/apply-patch+yaml
check "diff by the server finds none" k diff --server-side -f "$work/app.yaml"
k delete deployment app >/dev/null
k apply -f "$work/app.yaml" >/dev/null
check "from client-side to server-side apply" bash -c "sed 's/image: one/image: three/' '$work/app.yaml' | '$KUBECTL' apply --server-side -f -"
check_equal "one applier owns it" "kubectl" "$(k get deployment app -o json --show-managed-fields | jq -r '[.metadata.managedFields[]|select(.fieldsV1["f:spec"])|.manager]|join(" ")')"
check "a body in YAML" bash -c "sed 's/name: app,/name: yaml,/' '$work/app.yaml' | curl -sSf -o /dev/null --cacert '$work/cp/pki/ca.crt' --cert '$work/cp/pki/admin.crt' --key '$work/cp/pki/admin.key' -H 'Content-Type: application/yaml' --data-binary @- '$API$DEPLOYMENTS'"

# --- who --------------------------------------------------------------------------------------------
check_output "who am I" 'kubernetes-admin' k auth whoami
check_output "may I" '^yes$' k auth can-i delete nodes
check_output "may another" '^no$' k auth can-i delete nodes --as jane
check_output "as another" 'User "jane" cannot list resource "pods" in API group "" in the namespace "default"' k get pods --as jane
check_output "nobody may be another" 'users \\"jane\\" is forbidden: User \\"nobody\\" cannot impersonate resource \\"users\\".* 403' \
    curl -sS --cacert "$work/cp/pki/ca.crt" --cert "$work/cp/pki/nobody.crt" --key "$work/cp/pki/nobody.key" -H 'Impersonate-User: jane' -w ' %{http_code}\n' -A test "$API/api"
check_output "a bad token is no anonymous" 'Unauthorized.* 401' curl -sS --cacert "$work/cp/pki/ca.crt" -H 'Authorization: Bearer x' -A test -w ' %{http_code}\n' "$API/healthz"
check_output "still alive after all that" '^ok$' "${CURL[@]}" "$API/healthz"
[ "$FAILED" -eq 0 ] || tail -n 5 "$work"/cp/*.log
rm -rf "$work"
finish
