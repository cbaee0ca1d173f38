#!/usr/bin/env bash
# The store and the API, by curl and by kubectl: what a client may do, what it is told when it does wrong,
# and what stays true when a process is killed. STORE=etcd runs the same against etcd.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/control-plane.sh
STORE=${STORE:-lite}
work=$(mktemp -d)
KUBECTL=$(tests/tools/kubectl)
if ! control_plane_start "$work/cp" "${PORT:-31000}" "$STORE"; then
    fail "store and apiservers become ready" "$(tail -n 20 "$work"/cp/*.log)"
    finish
    exit
fi
pass "store ($STORE) and apiservers become ready"
k() { "$KUBECTL" "$@"; }
status() { # METHOD PATH [curl args]: the answer in one line (people's clients get it indented)
    local method=$1 path=$2
    shift 2
    "${CURL[@]}" -X "$method" "$API$path" "$@" | compact
}
compact() { sed 's/^ *//; s/": /":/' | tr -d '\n'; }
JSON=(-H 'Content-Type: application/json')

# --- namespaces that are always there, discovery, versions -----------------------------------------
check_output "the system namespaces exist" 'default.*kube-node-lease.*kube-public.*kube-system' \
    bash -c "'$KUBECTL' get ns -o name | tr '\n' ' '"
check_output "/version" '"gitVersion": *"v1.36' k get --raw /version
check_output "the kubernetes Service has the first address" '10.96.0.1' k get svc kubernetes -o jsonpath='{.spec.clusterIP}'
check_output "discovery lists deployments" 'deployments +deploy +apps/v1 +true +Deployment' k api-resources
check_output "OpenAPI v3 index" 'apis/apps/v1' k get --raw /openapi/v3
check_output "kubectl explain" 'replicas' k explain deployment.spec

# --- the verbs -------------------------------------------------------------------------------------
check "create a ConfigMap" k create configmap one --from-literal=a=1
check_output "get it back" '^1$' k get configmap one -o jsonpath='{.data.a}'
check_output "create again: AlreadyExists" 'configmaps "one" already exists' k create configmap one --from-literal=a=1
check_output "missing: NotFound" 'Error from server \(NotFound\): configmaps "none" not found' k get configmap none
check "merge patch" k patch configmap one --type=merge -p '{"data":{"b":"2","a":null}}'
check_output "merge patch: null removes" '^\{"b":"2"\}$' k get configmap one -o jsonpath='{.data}'
check "JSON patch" k patch configmap one --type=json -p '[{"op":"test","path":"/data/b","value":"2"},{"op":"add","path":"/data/c","value":"3"}]'
check_output "JSON patch: a failed test changes nothing" 'The request is invalid' k patch configmap one --type=json -p '[{"op":"test","path":"/data/b","value":"x"},{"op":"remove","path":"/data/c"}]'
check_output "after the failed patch" '"c":"3"' k get configmap one -o jsonpath='{.data}'
rv=$(k get configmap one -o jsonpath='{.metadata.resourceVersion}')
k label configmap one team=red >/dev/null
old=$(k get configmap one -o json | jq -c --arg rv "$rv" '.metadata.resourceVersion=$rv')
check_output "stale update: Conflict" '"reason":"Conflict".*|the object has been modified' status PUT /api/v1/namespaces/default/configmaps/one "${JSON[@]}" -d "$old"
check_output "label selector finds" '^configmap/one$' k get configmap -l team=red -o name
check_output "set-based selector" '^configmap/one$' k get configmap -l 'team in (red,blue),!x' -o name
check_output "label selector excludes" 'No resources found' k get configmap -l team=blue
check_output "field selector" '^configmap/one$' k get configmap --field-selector metadata.name=one -o name
check_output "unknown field selector: 400" '"spec.x" is not a known field selector' k get configmap --field-selector spec.x=1
check "replace" bash -c "'$KUBECTL' get configmap one -o yaml | sed 's/team: red/team: green/' | '$KUBECTL' replace -f -"
check "delete" k delete configmap one
check_output "server dry run stores nothing" 'created \(server dry run\)' k create configmap dry --from-literal=a=1 --dry-run=server
check_output "after the dry run" 'not found' k get configmap dry
check_output "generateName" 'gen-[bcdfghjklmnpqrstvwxz2456789]{5}' status POST /api/v1/namespaces/default/configmaps "${JSON[@]}" -d '{"metadata":{"generateName":"gen-"}}'
for i in 1 2 3 4 5; do k create configmap "page-$i" --from-literal=i=$i >/dev/null; k label configmap "page-$i" page=y >/dev/null; done
check_equal "pages of two are the whole list" "page-1 page-2 page-3 page-4 page-5" \
    "$(k get configmap -l page=y --chunk-size=2 -o jsonpath='{.items[*].metadata.name}')"
check_output "list has a continue token" '"continue":"' status GET '/api/v1/namespaces/default/configmaps?limit=2'
check_output "bad continue token: 400" '"code":400' status GET '/api/v1/namespaces/default/configmaps?limit=2&continue=xx'
check "deletecollection" k delete configmap -l page=y
check_output "after deletecollection" 'No resources found' k get configmap -l page=y

# --- watch -----------------------------------------------------------------------------------------
rv=$("${CURL[@]}" "$API/api/v1/namespaces/default/configmaps" | jq -r .metadata.resourceVersion)
"${CURL[@]}" -N "$API/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=$rv&timeoutSeconds=20&labelSelector=w" >"$work/watch" 2>/dev/null &
watcher=$!
k create configmap w1 --from-literal=a=1 >/dev/null
k label configmap w1 w=1 >/dev/null       # enters the selection: ADDED
k annotate configmap w1 x=y >/dev/null    # MODIFIED
k label configmap w1 w- >/dev/null        # leaves it: DELETED
check "a watch with a selector sees entering, changing and leaving" eventually 5 \
    bash -c "[ \"\$(jq -r .type <'$work/watch' | tr '\n' ' ')\" = 'ADDED MODIFIED DELETED ' ]"
kill $watcher
check_equal "a watch resumes from an old resourceVersion on the other apiserver" "ADDED MODIFIED MODIFIED MODIFIED" \
    "$("${CURL[@]}" -N --max-time 3 "$API2/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=$rv&fieldSelector=metadata.name%3Dw1" 2>/dev/null | jq -r .type | tr '\n' ' ' | sed 's/ $//')"
check_output "initial events end with a bookmark" 'k8s.io/initial-events-end' "${CURL[@]}" -N --max-time 2 \
    "$API/api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
check_output "kubectl get -w prints a table" '^w1 ' bash -c "timeout 2 '$KUBECTL' get configmap w1 -w; true"

# --- bad input -------------------------------------------------------------------------------------
CM=/api/v1/namespaces/default/configmaps
check_output "truncated JSON: 400" '"code":400' status POST $CM "${JSON[@]}" -d '{"metadata":{"name":"x"'
check_output "wrong type: 400" 'cannot unmarshal (number|string).*|"code":400' status POST $CM "${JSON[@]}" -d '{"metadata":{"name":"x"},"data":7}'
check_output "wrong kind: 400" '"code":400' status POST $CM "${JSON[@]}" -d '{"kind":"Secret","apiVersion":"v1","metadata":{"name":"x"}}'
head -c 10485760 /dev/zero | tr '\0' 'a' >"$work/big"
check_output "10 MB body: 413" '"code":413' status POST $CM "${JSON[@]}" --data-binary "@$work/big"
head -c 1000000 /dev/zero | tr '\0' '[' >"$work/deep"
check_output "a million nested arrays: 400" '"code":400' status POST $CM "${JSON[@]}" --data-binary "@$work/deep"
check_output "unknown field, Strict: 400" 'strict decoding error: unknown field \\"spec.foo\\"' status POST \
    '/apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict' "${JSON[@]}" -d '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"foo":1,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}'
check_output "unknown field, Warn: Warning header" '^[Ww]arning: 299 - "unknown field' "${CURL[@]}" -i \
    "$API$CM?fieldValidation=Warn&dryRun=All" "${JSON[@]}" -d '{"metadata":{"name":"x"},"foo":1}'
check_output "invalid name: 422" 'metadata.name: Invalid value: ..Not_Valid' status POST $CM "${JSON[@]}" -d '{"metadata":{"name":"Not_Valid"}}'
check_output "selector does not match labels: 422" 'selector.*does not match template.*labels' status POST /apis/apps/v1/namespaces/default/deployments \
    "${JSON[@]}" -d '{"metadata":{"name":"x"},"spec":{"selector":{"matchLabels":{"a":"c"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}'
"${CURL[@]}" -o /dev/null "${JSON[@]}" -d '{"metadata":{"name":"default"}}' "$API/api/v1/namespaces/default/serviceaccounts"
check_output "no containers: Required value" 'spec.containers: Required value' status POST /api/v1/namespaces/default/pods "${JSON[@]}" -d '{"metadata":{"name":"x"},"spec":{}}'
check_output "unsupported media type: 415" '"code":415' status POST $CM -H 'Content-Type: text/plain' -d 'x'
check_output "unknown path: 404 Status" '"reason":"NotFound"' status GET /apis/none.example/v1/things
check_output "unknown namespace: 404" 'namespaces \\"nowhere\\" not found' status POST /api/v1/namespaces/nowhere/configmaps "${JSON[@]}" -d '{"metadata":{"name":"x"}}'
check_output "method not allowed: 405" '"code":405' status POST $CM/x "${JSON[@]}" -d '{}'
check_output "bad limit: 400" '"code":400' status GET "$CM?limit=abc"
check_output "future resourceVersion: Timeout or too large" 'Too large resource version|"code":504' status GET "$CM?resourceVersion=99999999"
check_output "still alive after all that" '^ok$' "${CURL[@]}" "$API/healthz"

# --- who may do what -------------------------------------------------------------------------------
check_output "no certificate: refused" '"code": *40[13]' curl -sS --cacert "$work/cp/pki/ca.crt" "$API/api/v1/namespaces/default/secrets"
check_output "unknown user: Forbidden" 'User "nobody" cannot list resource "secrets"' \
    "$KUBECTL" --kubeconfig "$work/cp/pki/nobody.kubeconfig" get secrets
check_output "the scheduler may not read secrets" 'cannot list resource "secrets"' \
    "$KUBECTL" --kubeconfig "$work/cp/pki/scheduler.kubeconfig" get secrets
check "the scheduler lists pods" "$KUBECTL" --kubeconfig "$work/cp/pki/scheduler.kubeconfig" get pods -A
check_output "health without a certificate" '^ok$' curl -sS --cacert "$work/cp/pki/ca.crt" "$API/healthz"

# --- Services: addresses are given once --------------------------------------------------------------
make_services() { # server, prefix
    local i
    for i in $(seq 1 25); do
        "${CURL[@]}" -o /dev/null "${JSON[@]}" -d "{\"metadata\":{\"name\":\"$2-$i\"},\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80}]}}" "$1/api/v1/namespaces/default/services"
    done
}
make_services "$API" sa &
one=$!
make_services "$API2" sb &
two=$!
wait $one $two
services=$(k get svc -o json)
check_equal "50 services from two apiservers" 50 "$(jq '[.items[]|select(.metadata.name|test("^s[ab]-"))]|length' <<<"$services")"
check_equal "no cluster IP twice" 0 "$(jq -r '.items[].spec.clusterIP' <<<"$services" | sort | uniq -d | wc -l)"
check_equal "no node port twice" 0 "$(jq -r '.items[].spec.ports[].nodePort // empty' <<<"$services" | sort | uniq -d | wc -l)"
ip=$(jq -r '.items[]|select(.metadata.name=="sa-1").spec.clusterIP' <<<"$services")
check_output "an address in use is refused" 'provided IP is already allocated' k create service clusterip taken --clusterip="$ip" --tcp=80
check "a deleted service gives its address back" bash -c "'$KUBECTL' delete svc sa-1 && '$KUBECTL' create service clusterip taken --clusterip=$ip --tcp=80"
check_output "cluster IP is immutable" 'spec.clusterIPs?(\[0\])?: Invalid value' k patch svc taken -p '{"spec":{"clusterIP":"10.96.9.9","clusterIPs":["10.96.9.9"]}}'

# --- media types ------------------------------------------------------------------------------------
PB=application/vnd.kubernetes.protobuf
k create configmap media --from-literal=a=1 >/dev/null
typed() { "${CURL[@]}" -o "$work/body" -w '%{http_code} %{content_type}' "$@"; }
check_equal "an object in protobuf" "200 $PB" "$(typed -H "Accept: $PB, application/json" "$API/api/v1/namespaces/default/configmaps/media")"
check_equal "it has the envelope" "6b387300" "$(head -c4 "$work/body" | xxd -p)"
cp "$work/body" "$work/object"
check_equal "and is taken back" "200 application/json" "$(typed -X PUT -H "Content-Type: $PB" --data-binary @"$work/object" "$API/api/v1/namespaces/default/configmaps/media")"
check_equal "unchanged" "1" "$(jq -r .data.a "$work/body")"
check_equal "a list in protobuf" "200 $PB" "$(typed -H "Accept: $PB" "$API/api/v1/pods?limit=500")"
check_equal "an error in protobuf" "404 $PB" "$(typed -H "Accept: $PB" "$API/api/v1/namespaces/default/configmaps/none")"
check_output "it is a Status" 'configmaps "none" not found' strings "$work/body"
check_equal "Tables fall through to JSON" "200 application/json" "$(typed -H "Accept: $PB;as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1" "$API/api/v1/namespaces/default/configmaps")"
check_equal "quality decides" "200 application/json" "$(typed -H "Accept: $PB;q=0.4,application/json;q=0.5" "$API/api/v1/namespaces")"
check_equal "a watch in protobuf" "200 $PB;stream=watch" "$(typed -H "Accept: $PB;stream=watch" "$API/api/v1/namespaces/default/configmaps?watch=true&fieldSelector=metadata.name%3Dmedia&timeoutSeconds=1")"
check_equal "one frame, as long as it says" "$(($(stat -c %s "$work/body") - 4))" "$((16#$(head -c4 "$work/body" | xxd -p)))"
check_equal "an object in YAML" "200 application/yaml" "$(typed -H "Accept: application/yaml" "$API/api/v1/namespaces/default/configmaps/media")"
check_output "with quotes where needed" '^  a: "1"$' cat "$work/body"
check_equal "nothing else" "406 application/json" "$(typed -H "Accept: text/html" "$API/api/v1/namespaces")"

# --- deletion ----------------------------------------------------------------------------------------
k create configmap fin --from-literal=a=1 >/dev/null
k patch configmap fin --type=merge -p '{"metadata":{"finalizers":["example.com/hold"]}}' >/dev/null
check "delete of an object with a finalizer" k delete configmap fin --wait=false
check_output "it lingers with a deletionTimestamp" '^20..-' k get configmap fin -o jsonpath='{.metadata.deletionTimestamp}'
k patch configmap fin --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null
check_output "the last finalizer's removal ends it" 'not found' k get configmap fin
check_output "kube-system cannot be deleted" 'forbidden' k delete ns kube-system

# --- kills: nothing acknowledged is lost ---------------------------------------------------------------
writer() {
    local i=0
    : >"$work/acknowledged"
    while [ ! -e "$work/stop" ]; do
        i=$((i + 1))
        local server=$API
        [ $((i % 2)) -eq 0 ] && server=$API2
        if [ "$("${CURL[@]}" -o /dev/null -w '%{http_code}' "${JSON[@]}" -d "{\"metadata\":{\"name\":\"k-$i\"}}" "$server$CM" 2>/dev/null)" = 201 ]; then
            echo "k-$i" >>"$work/acknowledged"
        fi
    done
}
acknowledged_beyond() { [ "$(wc -l <"$work/acknowledged")" -gt "$1" ]; }
writer &
writer_pid=$!
check "writes are acknowledged" eventually 10 acknowledged_beyond 10
for i in 0 1 2; do
    control_plane_kill "${CP_MEMBER[i]}"
    n=$(wc -l <"$work/acknowledged")
    check "writes go on with store member $i dead" eventually 15 acknowledged_beyond $((n + 10))
    control_plane_member $i
    n=$(wc -l <"$work/acknowledged")
    check "writes go on with member $i back" eventually 15 acknowledged_beyond $((n + 10))
done
control_plane_kill "${CP_APISERVER[0]}"
n=$(wc -l <"$work/acknowledged")
check "writes go on with an apiserver dead" eventually 15 acknowledged_beyond $((n + 5))
control_plane_apiserver 0
check "the apiserver is back" eventually 15 "${CURL[@]}" -f "$API/readyz"
touch "$work/stop"
wait $writer_pid
"${CURL[@]}" "$API$CM?resourceVersion=" | jq -r '.items[].metadata.name' | sort >"$work/present"
check_equal "no acknowledged write is lost ($(wc -l <"$work/acknowledged") writes)" "" "$(sort "$work/acknowledged" | comm -23 - "$work/present" | head)"
control_plane_kill "${CP_MEMBER[@]}" "${CP_APISERVER[@]}"
for i in 0 1 2; do control_plane_member $i; done
for i in 0 1; do control_plane_apiserver $i; done
check "everything killed at once comes back" eventually 20 "${CURL[@]}" -f "$API/readyz"
"${CURL[@]}" "$API$CM" | jq -r '.items[].metadata.name' | sort >"$work/present"
check_equal "and has all that was acknowledged" "" "$(sort "$work/acknowledged" | comm -23 - "$work/present" | head)"
[ "$FAILED" -eq 0 ] || tail -n 5 "$work"/cp/*.log
rm -rf "$work"
finish
