#!/usr/bin/env bash
# Who may do what: RBAC, tokens of service accounts, reviews, and admission.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/control-plane.sh
work=$(mktemp -d)
KUBECTL=$(tests/tools/kubectl)
if ! control_plane_start "$work/cp" "${PORT:-33000}" "${STORE:-lite}"; then
    fail "store and apiservers become ready" "$(tail -n 20 "$work"/cp/*.log)"
    finish
    exit
fi
k() { "$KUBECTL" "$@"; }
as() { # USER COMMAND...
    local user=$1
    shift
    "$KUBECTL" --as "$user" "$@"
}
may() { "$KUBECTL" auth can-i "$@"; }
may_now() { [ "$("$KUBECTL" auth can-i "$@" 2>/dev/null)" = yes ]; }
may_no_more() { [ "$("$KUBECTL" auth can-i "$@" 2>/dev/null)" = no ]; }

# --- the roles that every cluster has -----------------------------------------------------------------
check_output "default roles are objects" '^cluster-admin$' k get clusterrole cluster-admin -o jsonpath='{.metadata.name}'
check_equal "... with their label and annotation" "rbac-defaults true" "$(k get clusterrole system:kube-scheduler -o json | jq -r '[.metadata.labels["kubernetes.io/bootstrapping"],.metadata.annotations["rbac.authorization.kubernetes.io/autoupdate"]]|join(" ")')"
check_output "... and bindings" 'system:kube-scheduler +ClusterRole/system:kube-scheduler' k get clusterrolebinding system:kube-scheduler -o wide
check_output "a component is what its role says" '^yes$' may create pods --subresource=binding --as system:kube-scheduler
check_output "... and no more" '^no$' may create deployments.apps --as system:kube-scheduler
anonymous() { curl -sS --cacert "$work/cp/pki/ca.crt" -A test -w ' %{http_code}' "$API$1"; }
check_output "anonymous may see the version" ' 200$' anonymous /version
check_output "anonymous may not list pods" 'User \\"system:anonymous\\" cannot list resource \\"pods\\".* 403$' anonymous /api/v1/pods

# --- roles and bindings ---------------------------------------------------------------------------------
k create namespace team >/dev/null
check "create a Role" k create role reader --verb=get,list --resource=pods -n team
check "create a RoleBinding" k create rolebinding jane-reads --role=reader --user=jane -n team
check "a binding counts at once" eventually 5 may_now list pods -n team --as jane
check_output "in its namespace only" '^no$' may list pods -n default --as jane
check_output "for its resources only" '^no$' may list secrets -n team --as jane
check_output "what kubectl get shows" 'Role/reader +[0-9]+s +jane' k get rolebinding jane-reads -n team -o wide
check "through the other apiserver too" eventually 5 may_now list pods -n team --as jane --server "$API2"
check_output "jane reads" 'No resources found' as jane get pods -n team
check_output "jane does not delete" 'pods "x" is forbidden: User "jane" cannot delete resource "pods" in API group "" in the namespace "team"' as jane delete pod x -n team
k delete rolebinding jane-reads -n team >/dev/null
check "without the binding it is over" eventually 5 may_no_more list pods -n team --as jane
check "a ClusterRoleBinding gives everywhere" k create clusterrolebinding devs --clusterrole=system:kube-dns --group=devs
check "... by group" eventually 5 may_now list services -n default --as joe --as-group devs
check_output "resource names limit" 'created' k create role one --verb=get --resource=configmaps --resource-name=a -n team
k create rolebinding one --role=one --user=nick -n team >/dev/null
check "... to the one" eventually 5 may_now get configmaps/a -n team --as nick
check_output "... and no other" '^no$' may get configmaps/b -n team --as nick

# --- validation -----------------------------------------------------------------------------------------
apply() { k apply -f - <<<"$1"; }
check_output "roleRef cannot change" 'roleRef: Invalid value: .*cannot change roleRef' k patch rolebinding one -n team --type=merge -p '{"roleRef":{"name":"reader"}}'
check_output "subjects have known kinds" 'subjects\[0\].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"' apply '{"kind":"ClusterRoleBinding","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},"subjects":[{"kind":"Robot","name":"r"}]}'
check_output "rules have verbs" 'rules\[0\].verbs: Required value: verbs must contain at least one value' apply '{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"},"rules":[{"verbs":[],"apiGroups":[""],"resources":["pods"]}]}'
check_output "a Role has no URLs" 'rules\[0\].nonResourceURLs: Invalid value: .*namespaced rules cannot apply to non-resource URLs' apply '{"kind":"Role","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"},"rules":[{"verbs":["get"],"nonResourceURLs":["/x"]}]}'

# --- nobody gives what he does not hold -------------------------------------------------------------------
k create clusterrole role-maker --verb=create,update,patch,get,list --resource=roles,rolebindings.rbac.authorization.k8s.io >/dev/null
k create clusterrolebinding role-maker --clusterrole=role-maker --user=maker >/dev/null
eventually 5 may_now create roles -n team --as maker
check_output "escalation is refused" 'roles.rbac.authorization.k8s.io "big" is forbidden: user "maker" \(groups=\["system:authenticated"\]\) is attempting to grant RBAC permissions not currently held:' as maker create role big --verb=get,delete --resource=secrets -n team
check_output "... with what is missing" '\{APIGroups:\[""\], Resources:\["secrets"\], Verbs:\["get" "delete"\]\}' printf '%s' "$LAST_OUTPUT"
check_output "a binding to more is refused" 'is attempting to grant RBAC permissions not currently held:' as maker create rolebinding big --clusterrole=cluster-admin --user=maker -n team
check "what he holds he may give" as maker create role small --verb=get,list --resource=roles.rbac.authorization.k8s.io -n team
check_output "a binding to nothing: NotFound" 'roles.rbac.authorization.k8s.io "none" not found' as maker create rolebinding none --role=none --user=x -n team
k create clusterrole binder --verb=bind --resource=clusterroles.rbac.authorization.k8s.io --resource-name=view >/dev/null
k create clusterrolebinding binder --clusterrole=binder --user=maker >/dev/null
eventually 5 may_now bind clusterroles/view --as maker
check "who may bind may" as maker create rolebinding viewers --clusterrole=view --user=x -n team
check_output "... that role only" 'not currently held' as maker create rolebinding admins --clusterrole=cluster-admin --user=x -n team

# --- aggregation: a controller fills in admin, edit and view -------------------------------------------------
sed "s#server: \"[^\"]*\"#server: \"$API\"#" "$work/cp/pki/admin.kubeconfig" >"$work/manager.kubeconfig"
build/bin/controller-manager --kubeconfig="$work/manager.kubeconfig" --leader-elect=false --secure-port=0 --root-ca-file="$work/cp/pki/ca.crt" >"$work/cp/manager.log" 2>&1 &
CP_PIDS+=($!)
k create rolebinding jane-edits --clusterrole=edit --user=jane -n team >/dev/null
check "edit gathers its rules" eventually 10 may_now create deployments.apps -n team --as jane
check "... and those of view" eventually 5 may_now list events -n team --as jane
check_output "... not those of admin" '^no$' may create roles -n team --as jane
apply '{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"more","labels":{"rbac.authorization.k8s.io/aggregate-to-edit":"true"}},"rules":[{"verbs":["approve"],"apiGroups":[""],"resources":["pods"]}]}' >/dev/null
check "a new role joins them" eventually 5 may_now approve pods -n team --as jane
k delete clusterrole more >/dev/null
check "... and leaves them" eventually 5 may_no_more approve pods -n team --as jane
check_output "auth can-i --list" 'deployments.apps +\[\] +\[\] +\[.*create' may --list -n team --as jane
check_output "a deleted rule of a default role comes back at the next start" 'patched' k patch clusterrole system:node-proxier --type=merge -p '{"rules":[]}'
control_plane_kill "${CP_APISERVER[1]}"
control_plane_apiserver 1
eventually 20 "${CURL[@]}" -f "$API2/readyz" >/dev/null
check_output "... it is back" 'servicecidrs' k get clusterrole system:node-proxier -o yaml

# --- acting as others -------------------------------------------------------------------------------------------
self_review() { curl -sS --cacert "$work/cp/pki/ca.crt" --cert "$work/cp/pki/$1.crt" --key "$work/cp/pki/$1.key" -A test -H 'Content-Type: application/json' -d '{}' -w ' %{http_code}' "${@:2}" "$API/apis/authentication.k8s.io/v1/selfsubjectreviews"; }
check_output "as somebody with groups, uid and more" '"username":"jane","uid":"7","groups":\["a","b","system:authenticated"\],"extra":\{"example.com/scope":\["x","y"\]\}.* 201$' \
    self_review admin -H 'Impersonate-User: jane' -H 'Impersonate-Group: a' -H 'Impersonate-Group: b' -H 'Impersonate-Uid: 7' -H 'Impersonate-Extra-Example.com%2fScope: x' -H 'Impersonate-Extra-example.com%2fscope: y'
check_output "more without whom" 'requested user-extra impersonation without impersonating a user.* 400$' self_review admin -H 'Impersonate-Extra-Scope: x'
k create clusterrole as-jane --verb=impersonate --resource=users --resource-name=jane >/dev/null
k create clusterrolebinding as-jane --clusterrole=as-jane --user=nobody >/dev/null
check_output "who may be jane is" '"username":"jane".* 201$' eventually_output 5 ' 201$' self_review nobody -H 'Impersonate-User: jane'
check_output "... not with more" 'cannot impersonate resource \\"userextras/scope\\" in API group \\"authentication.k8s.io\\".* 403$' self_review nobody -H 'Impersonate-User: jane' -H 'Impersonate-Extra-Scope: x'
check_output "... not in groups" 'cannot impersonate resource \\"groups\\".* 403$' self_review nobody -H 'Impersonate-User: jane' -H 'Impersonate-Group: system:masters'

# --- tokens of service accounts -----------------------------------------------------------------------------
bearer() { # TOKEN PATH [CURL-ARGS]
    local token=$1 path=$2
    shift 2
    curl -sS --max-time 20 --cacert "$work/cp/pki/ca.crt" -A test -H "Authorization: Bearer $token" -w ' %{http_code}\n' "$@" "$API$path"
}
claims() { cut -d. -f2 <<<"$1" | tr _- /+ | { read -r b; printf '%s%s' "$b" "$(printf '%*s' $(((4 - ${#b} % 4) % 4)) '' | tr ' ' =)"; } | base64 -d; }
eventually 10 k get serviceaccount default -n team >/dev/null
check "create a service account" k create serviceaccount robot -n team
token=$(k create token robot -n team)
check_equal "a token says who" "system:serviceaccount:team:robot https://kubernetes.default.svc.cluster.local team robot 3600" "$(claims "$token" | jq -r '[.sub,.aud[0],.["kubernetes.io"].namespace,.["kubernetes.io"].serviceaccount.name,.exp-.iat]|join(" ")')"
check_output "it logs in" '"username":"system:serviceaccount:team:robot","uid":"[0-9a-f-]{36}","groups":\["system:serviceaccounts","system:serviceaccounts:team","system:authenticated"\].*credential-id":\["JTI=.* 201$' bearer "$token" /apis/authentication.k8s.io/v1/selfsubjectreviews -H 'Content-Type: application/json' -d '{}'
check_output "it may nothing yet" 'User \\"system:serviceaccount:team:robot\\" cannot list resource \\"pods\\" in API group \\"\\" in the namespace \\"team\\".* 403$' bearer "$token" /api/v1/namespaces/team/pods
k create rolebinding robot --role=reader --serviceaccount=team:robot -n team >/dev/null
check "bound, it may" eventually 5 bash -c "curl -sSf --cacert '$work/cp/pki/ca.crt' -H 'Authorization: Bearer $token' '$API/api/v1/namespaces/team/pods'"
check_output "by the other apiserver too" '"kind":"PodList".* 200$' curl -sS --cacert "$work/cp/pki/ca.crt" -A test -H "Authorization: Bearer $token" -w ' %{http_code}' "$API2/api/v1/namespaces/team/pods"
check "to the whole group of a namespace" k create rolebinding all-robots --role=one --group=system:serviceaccounts:team -n team
check_output "kubectl by token" 'system:serviceaccount:team:robot' k --kubeconfig /dev/null --server "$API" --certificate-authority "$work/cp/pki/ca.crt" --token "$token" auth whoami
signed=${token%.*}
tampered=$(claims "$token" | sed 's/robot/queen/g' | base64 -w0 | tr -d = | tr /+ _-)
check_output "a changed token is none" ' 401$' bearer "${token%%.*}.$tampered.${token##*.}" /api
check_output "a token without its signature is none" ' 401$' bearer "$signed." /api
check_output "alg none is none" ' 401$' bearer "$(printf '{"alg":"none"}' | base64 -w0 | tr -d =).$(cut -d. -f2 <<<"$token")." /api
check_output "rubbish is none" ' 401$' bearer "a.b.c" /api
other=$(k create token robot -n team --audience=vault)
check_output "a token for somebody else is none for the API" ' 401$' bearer "$other" /api
review() { "${CURL[@]}" -A test "$API/apis/authentication.k8s.io/v1/tokenreviews" -H 'Content-Type: application/json' -d "$1"; }
check_output "TokenReview says whose it is" '"authenticated":true,"user":\{"username":"system:serviceaccount:team:robot".*"audiences":\["vault"\]' review "{\"spec\":{\"token\":\"$other\",\"audiences\":[\"vault\",\"x\"]}}"
check_output "TokenReview of a bad one" '"status":\{"user":\{\},"error":"\[invalid bearer token, ' review '{"spec":{"token":"x.y.z"}}'
check_output "not shorter than ten minutes" 'spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes' k create token robot -n team --duration=60s
apply '{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"team"},"spec":{"nodeName":"node-1","serviceAccountName":"robot","containers":[{"name":"c","image":"i"}]}}' >/dev/null
uid=$(k get pod p -n team -o jsonpath='{.metadata.uid}')
check_output "a pod gets its token's volume" '^kube-api-access-.{5} 3607 kube-root-ca.crt metadata.namespace$' k get pod p -n team -o jsonpath='{.spec.volumes[0].name} {.spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds} {.spec.volumes[0].projected.sources[1].configMap.name} {.spec.volumes[0].projected.sources[2].downwardAPI.items[0].fieldRef.fieldPath}'
check_output "... and its mount" '^/var/run/secrets/kubernetes.io/serviceaccount true$' k get pod p -n team -o jsonpath='{.spec.containers[0].volumeMounts[0].mountPath} {.spec.containers[0].volumeMounts[0].readOnly}'
apply '{"kind":"Pod","apiVersion":"v1","metadata":{"name":"none","namespace":"team"},"spec":{"automountServiceAccountToken":false,"containers":[{"name":"c","image":"i"}]}}' >/dev/null
check_equal "... unless it wants none" "" "$(k get pod none -n team -o jsonpath='{.spec.volumes}')"
bound=$(k create token robot -n team --bound-object-kind=Pod --bound-object-name=p --bound-object-uid="$uid")
check_equal "a bound token names its pod" "p $uid" "$(claims "$bound" | jq -r '.["kubernetes.io"].pod|.name+" "+.uid')"
check_output "... and logs in" ' 200$' bearer "$bound" /api
check_output "not with another uid" 'the UID in the bound object reference' k create token robot -n team --bound-object-kind=Pod --bound-object-name=p --bound-object-uid=x
check_output "not for another account's pod" 'cannot bind token for serviceaccount "default" to pod running with different serviceaccount name' k create token default -n team --bound-object-kind=Pod --bound-object-name=p
node() { "$KUBECTL" --kubeconfig "$work/cp/pki/node.kubeconfig" "$@"; }
check "the pod's node asks for it" eventually 5 node create token robot -n team --bound-object-kind=Pod --bound-object-name=p --bound-object-uid="$uid"
check_output "not without the pod" 'node requested token not bound to a pod' node create token robot -n team
check_output "not for accounts of others' pods" "no relationship found between node 'node-1' and this object" node create token default -n team
k delete pod p -n team --force --grace-period=0 >/dev/null 2>&1
check "with the pod its token is gone" eventually 5 bash -c "[ \$(curl -sS -o /dev/null --cacert '$work/cp/pki/ca.crt' -H 'Authorization: Bearer $bound' -w '%{http_code}' '$API/api') = 401 ]"
k delete serviceaccount robot -n team >/dev/null
check "with the account all are" eventually 5 bash -c "[ \$(curl -sS -o /dev/null --cacert '$work/cp/pki/ca.crt' -H 'Authorization: Bearer $token' -w '%{http_code}' '$API/api') = 401 ]"
default=$(k create token default -n team)
check_output "the issuer's discovery" '"issuer":"https://kubernetes.default.svc.cluster.local","jwks_uri":"https://.*/openid/v1/jwks".*"ES256".* 200$' bearer "$default" /.well-known/openid-configuration
check_output "the keys" '"use":"sig","kty":"EC","kid":"[A-Za-z0-9_-]{43}","crv":"P-256","alg":"ES256","x":"[A-Za-z0-9_-]{43}","y":"[A-Za-z0-9_-]{43}".* 200$' bearer "$default" /openid/v1/jwks
check_output "not for everybody" ' 403$' anonymous /openid/v1/jwks

# --- NodeRestriction: labels ---------------------------------------------------------------------------------
make_node() { printf '{"apiVersion":"v1","kind":"Node","metadata":{"name":"%s","labels":{%s}}}' "$1" "$2" | node create -f - 2>&1; }
check_output "a kubelet makes no other node" 'is not allowed to modify node "node-2"' make_node node-2 ''
check_output "nor one with labels that are not for it" 'node "node-1" is not allowed to set the following labels: node-role.kubernetes.io/master, x.k8s.io/y' make_node node-1 '"node-role.kubernetes.io/master":"","kubernetes.io/hostname":"h","x.k8s.io/y":"z","own":"a"'
check_output "with its own it does" 'node/node-1 created' make_node node-1 '"kubernetes.io/hostname":"h","node.kubernetes.io/x":"y","a.kubelet.kubernetes.io/b":"c","own":"a"'
check_output "none is added later" 'node "node-1" is not allowed to modify labels: node-restriction.kubernetes.io/trusted' node label node node-1 node-restriction.kubernetes.io/trusted=yes
k label node node-1 node-role.kubernetes.io/db= >/dev/null
check_output "none is taken away" 'is not allowed to modify labels: node-role.kubernetes.io/db' node label node node-1 node-role.kubernetes.io/db-
check_output "others are its own affair" 'labeled' node label node node-1 own=b --overwrite
k delete node node-1 >/dev/null

# --- PodSecurity ----------------------------------------------------------------------------------------------
k create namespace strict >/dev/null && k label namespace strict pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted >/dev/null
k create namespace base >/dev/null && k label namespace base pod-security.kubernetes.io/enforce=baseline >/dev/null
pod() { # NAMESPACE NAME SPEC-MEMBERS CONTAINER-MEMBERS
    apply "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"$2\",\"namespace\":\"$1\"},\"spec\":{$3\"containers\":[{\"name\":\"c\",\"image\":\"i\"$4}]}}"
}
eventually 10 k get serviceaccount default -n strict >/dev/null
eventually 10 k get serviceaccount default -n base >/dev/null
check_output "restricted: all that a plain pod lacks" 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false \(container "c" must set securityContext.allowPrivilegeEscalation=false\), unrestricted capabilities \(container "c" must set securityContext.capabilities.drop=\["ALL"\]\), runAsNonRoot != true \(pod or container "c" must set securityContext.runAsNonRoot=true\), seccompProfile \(pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"\)$' pod strict x '' ''
GOOD='"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},'
GOODC=',"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}'
check_output "restricted: a pod that has it" 'pod/good created' pod strict good "$GOOD" "$GOODC"
check_output "restricted: volumes" 'restricted volume types \(volume "v" uses restricted volume type "hostPath"\)$' pod strict x "$GOOD"'"volumes":[{"name":"v","hostPath":{"path":"/"}}],' "$GOODC"
check_output "restricted: added capabilities" 'unrestricted capabilities \(container "c" must not include "SYS_TIME" in securityContext.capabilities.add\)$' pod strict x "$GOOD" "${GOODC/\"drop\"/\"add\":[\"SYS_TIME\",\"NET_BIND_SERVICE\"],\"drop\"}"
check_output "restricted: root" 'runAsUser=0 \(container "c" must not set runAsUser=0\)$' pod strict x "$GOOD" "${GOODC/\{/\{\"runAsUser\":0,}"
check_output "baseline: a plain pod" 'pod/plain created' pod base plain '' ''
check_output "baseline: what it forbids" 'violates PodSecurity "baseline:latest": non-default capabilities \(container "c" must not include "NET_ADMIN" in securityContext.capabilities.add\), host namespaces \(hostNetwork=true, hostPID=true\), hostPath volumes \(volume "v"\), hostPort \(container "c" uses hostPort 80\), privileged \(container "c" must not set securityContext.privileged=true\), seccompProfile \(pod must not set securityContext.seccompProfile.type to "Unconfined"\)$' \
    pod base x '"hostNetwork":true,"hostPID":true,"volumes":[{"name":"v","hostPath":{"path":"/"}}],"securityContext":{"seccompProfile":{"type":"Unconfined"}},' ',"ports":[{"containerPort":80,"hostPort":80}],"securityContext":{"privileged":true,"capabilities":{"add":["NET_ADMIN"]}}'
check_output "a Deployment is warned of" 'Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false' k create deployment d --image=i -n strict
check_output "... and made" 'deployment.apps/d' k get deployment d -n strict -o name
check_output "levels are three" 'metadata.labels\[pod-security.kubernetes.io/enforce\]: Invalid value: "harsh": must be one of privileged, baseline, restricted' k label namespace base --overwrite pod-security.kubernetes.io/enforce=harsh

# --- Priority and LimitRanger ---------------------------------------------------------------------------------
check_output "the system's priority classes" 'system-node-critical +2000001000 +false +[0-9]+s +PreemptLowerPriority' k get priorityclass
check_output "names of the system's are reserved" 'metadata.name: Forbidden: priority class names with .system-. prefix are reserved' k create priorityclass system-x --value=1
check_output "values are limited" 'value: Forbidden: maximum allowed value of a user defined priority is 1000000000' k create priorityclass high --value=1000000001
check "a class" k create priorityclass high --value=1000 --preemption-policy=Never
pod base high '"priorityClassName":"high",' '' >/dev/null
check_equal "a pod gets its class's priority" "1000 Never" "$(k get pod high -n base -o jsonpath='{.spec.priority} {.spec.preemptionPolicy}')"
check_output "no such class" 'pods "x" is forbidden: no PriorityClass with name none was found' pod base x '"priorityClassName":"none",' ''
check_output "a value is not changed" 'value: Forbidden: may not be changed in an update.' k patch priorityclass high --type=merge -p '{"value":5}'
k create priorityclass usual --value=7 --global-default >/dev/null
check_output "one default class" 'PriorityClass usual is already marked as default. Only one default can exist' k create priorityclass other --value=8 --global-default
pod base usual '' '' >/dev/null
check_equal "... that pods without one get" "7 usual" "$(k get pod usual -n base -o jsonpath='{.spec.priority} {.spec.priorityClassName}')"
k delete priorityclass usual >/dev/null
apply '{"kind":"LimitRange","apiVersion":"v1","metadata":{"name":"l","namespace":"team"},"spec":{"limits":[{"type":"Container","default":{"cpu":"500m"},"defaultRequest":{"cpu":"100m"},"min":{"cpu":"50m"},"max":{"cpu":"1"}},{"type":"Pod","max":{"memory":"1Gi"}}]}}' >/dev/null
check_output "LimitRanger: a pod that breaks several limits" 'pods "x" is forbidden: \[maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Pod is 1Gi.  No limit is specified\]$' pod team x '' ',"resources":{"limits":{"cpu":"2"}}'
check_output "LimitRanger: too little" 'pods "x" is forbidden: minimum cpu usage per Container is 50m, but request is 10m$' pod team x '' ',"resources":{"requests":{"cpu":"10m"},"limits":{"memory":"1Gi"}}'
check_output "LimitRanger: a pod within them" 'pod/ranged created' pod team ranged '' ',"resources":{"limits":{"memory":"512Mi"}}'
check_equal "... gets what it did not say" '{"limits":{"cpu":"500m","memory":"512Mi"},"requests":{"cpu":"100m","memory":"512Mi"}}' "$(k get pod ranged -n team -o json | jq -cS '.spec.containers[0].resources')"
check_equal "... which is noted" "LimitRanger plugin set: cpu request for container c; cpu limit for container c" "$(k get pod ranged -n team -o json | jq -r '.metadata.annotations["kubernetes.io/limit-ranger"]')"
check_output "a LimitRange makes sense" 'spec.limits\[0\].min\[cpu\]: Invalid value: "2": min value 2 is greater than max value 1' apply '{"kind":"LimitRange","apiVersion":"v1","metadata":{"name":"bad","namespace":"team"},"spec":{"limits":[{"type":"Container","min":{"cpu":"2"},"max":{"cpu":"1"}}]}}'

# --- ResourceQuota --------------------------------------------------------------------------------------------
k create namespace quoted >/dev/null
k create role some --verb=get --resource=pods -n quoted >/dev/null
eventually 10 k get serviceaccount default -n quoted >/dev/null
check "a quota" k create quota q -n quoted --hard=pods=2,requests.cpu=1,count/deployments.apps=1,services.nodeports=1,configmaps=3,count/leases.coordination.k8s.io=9,count/roles.rbac.authorization.k8s.io=1
used() { k get quota q -n quoted -o json | jq -c ".status.used[\"$1\"]"; }
used_is() { [ "$(used "$1")" = "\"$2\"" ]; }
check "its use is counted" eventually 10 used_is pods 0
check_equal "... also what was there" '"1"' "$(used configmaps)"
check_output "it wants to know how much" 'pods "x" is forbidden: failed quota: q: must specify requests.cpu for: c$' pod quoted x '' ''
check_output "a pod with room" 'pod/one created' pod quoted one '' ',"resources":{"requests":{"cpu":"600m"}}'
check_equal "is counted at once" '"600m"' "$(used requests.cpu)"
check_output "no room for its like" 'pods "x" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1$' pod quoted x '' ',"resources":{"requests":{"cpu":"600m"}}'
check_output "a smaller one" 'pod/two created' pod quoted two '' ',"resources":{"requests":{"cpu":"100m"}}'
check_output "no more than two" 'exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2$' pod quoted x '' ',"resources":{"requests":{"cpu":"100m"}}'
check_output "what is not valid takes nothing" 'spec.containers\[0\].name: Invalid value' apply '{"kind":"Pod","apiVersion":"v1","metadata":{"name":"bad","namespace":"quoted"},"spec":{"containers":[{"name":"C","image":"i","resources":{"requests":{"cpu":"1m"}}}]}}'
check_equal "... of the quota" '"700m"' "$(used requests.cpu)"
k delete pod one -n quoted --force --grace-period=0 >/dev/null 2>&1
check "what goes gives its place back" eventually 10 used_is requests.cpu 100m
check "count/: one Deployment" k create deployment d --image=i --replicas=0 -n quoted
check_output "count/: no second" 'deployments.apps "e" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1$' k create deployment e --image=i -n quoted
check "a Service without node ports" k create service clusterip s --tcp=80 -n quoted
check_output "... cannot come to have two" 'exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1$' k patch service s -n quoted --type=merge -p '{"spec":{"type":"NodePort","ports":[{"name":"a","port":80},{"name":"b","port":81}]}}'
many() { # eight at once for the last two places
    local i
    for i in 1 2 3 4 5 6 7 8; do
        k create configmap "c$i" -n quoted --server "$([ $((i % 2)) -eq 0 ] && echo "$API" || echo "$API2")" >/dev/null 2>&1 &
    done
    wait
}
(many)
check_equal "requests at once through two apiservers: no more than there is room for" 3 "$(k get configmaps -n quoted -o name | wc -l)"
check_output "what kubectl get shows" 'configmaps: 3/3, count/deployments.apps: 1/1, count/leases.coordination.k8s.io: 0/9, count/roles.rbac.authorization.k8s.io: 1/1, pods: 1/2, requests.cpu: 100m/1, services.nodeports: 0/1' k get quota q -n quoted

check_output "still alive after all that" '^ok$' "${CURL[@]}" "$API/healthz"
[ "$FAILED" -eq 0 ] || tail -n 5 "$work"/cp/*.log
rm -rf "$work"
finish
