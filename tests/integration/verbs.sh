#!/usr/bin/env bash
# The verbs to the letter: options, their errors, consistent pages, watches that begin with the state, patches and
# server-side apply, as curl sees them.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/control-plane.sh
control_plane_start "${TMPDIR:-/tmp}/skiff-verbs-$$" "${SKIFF_TEST_PORT:-24300}" || {
    fail "the control plane starts"
    finish
    exit 1
}
trap 'control_plane_stop; rm -rf "$CP_DIR"' EXIT
N=/api/v1/namespaces/default/configmaps
D=/apis/apps/v1/namespaces/default/deployments
JSON='Content-Type: application/json' APPLY='Content-Type: application/apply-patch+yaml'
MERGE='Content-Type: application/merge-patch+json' STRATEGIC='Content-Type: application/strategic-merge-patch+json'
c() { # method, path, curl's arguments
    "${CURL[@]}" -A test -X "$1" "$API$2" "${@:3}"
}
names() { jq -r '[.items[].metadata.name] | join(" ")'; }
answers() { # what, the answer's jq expression, what it gives, method, path, curl's arguments
    check_equal "$1" "$3" "$(c "${@:4}" | jq -r "$2")"
}
for i in 1 2 3 4 5 6; do c POST $N -H "$JSON" -d "{\"metadata\":{\"name\":\"c$i\",\"labels\":{\"of\":\"test\"}},\"data\":{\"k\":\"v\"}}" >/dev/null; done
OF="labelSelector=of%3Dtest"

# --- field validation ---
answers "an unknown value of fieldValidation" '"\(.code) \(.message)"' '422 CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Some": supported values: "", "Ignore", "Strict", "Warn"' \
    POST "$N?fieldValidation=Some" -H "$JSON" -d '{"metadata":{"name":"x"}}'
for kind in "$MERGE" "$STRATEGIC"; do
    check_output "Strict minds a patch's unknown and duplicate fields (${kind##*/})" 'strict decoding error: duplicate field \\"data.z\\", unknown field \\"foo\\"' \
        c PATCH "$N/c1?fieldValidation=Strict" -H "$kind" -d '{"data":{"z":"1","z":"2"},"foo":1}'
    check_output "Warn warns of them (${kind##*/})" 'Warning: 299 - "duplicate field \\"data.z\\""' c PATCH "$N/c1?dryRun=All" -D - -H "$kind" -d '{"data":{"z":"1","z":"2"}}'
    check_output "Ignore does not (${kind##*/})" '^0$' bash -c "$(declare -f c); $(declare -p CURL); API=$API; c PATCH '$N/c1?dryRun=All&fieldValidation=Ignore' -D - -H '$kind' -d '{\"data\":{\"z\":\"1\",\"z\":\"2\"}}' | grep -c Warning"
done
check_output "a patch that is no JSON" 'error decoding patch: unexpected end of JSON input' c PATCH $N/c1 -H "$MERGE" -d '{'
check_output "other patches are named" 'strategic-merge-patch\+json, application/apply-patch\+yaml' c PATCH $N/c1 -H 'Content-Type: text/plain' -d '{}'
check_output "force is for apply alone" 'force: Forbidden: may not be specified for non-apply patch' c PATCH "$N/c1?force=true" -H "$MERGE" -d '{}'
check_output "a manager's name is printable" 'fieldManager: Invalid value: .*invalid character U\+0007 \(at position 1\)' c PATCH "$N/c1?fieldManager=a%07" -H "$MERGE" -d '{}'
check_output "and short" 'fieldManager: Too long: may not be more than 128 bytes' c PATCH "$N/c1?fieldManager=$(printf 'a%.0s' {1..129})" -H "$MERGE" -d '{}'
answers "what is created has no version yet" '"\(.code) \(.reason) \(.message)"' '500 null resourceVersion should not be set on objects to be created' POST $N -H "$JSON" -d '{"metadata":{"name":"x","resourceVersion":"5"}}'
for path in /apis/coordination.k8s.io/v1/namespaces/default/leases /apis/policy/v1/namespaces/default/poddisruptionbudgets /apis/node.k8s.io/v1/runtimeclasses; do
    c POST $path -H "$JSON" -d '{"metadata":{"name":"x"},"handler":"runc","spec":{}}' >/dev/null
    check_output "${path##*/} are never overwritten blindly" 'metadata.resourceVersion: Invalid value: 0x0: must be specified for an update' c PUT $path/x -H "$JSON" -d '{"metadata":{"name":"x"},"handler":"runc","spec":{}}'
done

TWICE=$'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice}\ndata:\n  a: "1"\n  a: "2"'
check_equal "apply minds a key twice in YAML, and where" 'error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:
  line 6: key "a" already set in map' "$(c PATCH "$N/twice?fieldManager=m&fieldValidation=Strict" -H "$APPLY" --data-binary "$TWICE" | jq -r .message)"
check_output "or warns of it" 'Warning: 299 - "yaml: unmarshal errors: +line 6: key \\"a\\" already set in map"' c PATCH "$N/twice?fieldManager=m&dryRun=All" -D - -H "$APPLY" --data-binary "$TWICE"
answers "and takes the last" .data.a 2 PATCH "$N/twice?fieldManager=m&dryRun=All" -H "$APPLY" --data-binary "$TWICE"
answers "so does create" .message 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:
  line 6: key "a" already set in map' POST "$N?fieldValidation=Strict" -H 'Content-Type: application/yaml' --data-binary "$TWICE"
answers "what has no Table says so" '"\(.code) \(.reason)"' '406 NotAcceptable' POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews -H "$JSON" -H 'Accept: application/json;as=Table;g=meta.k8s.io;v=v1' -d '{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}'
jq -nc --arg text "$(head -c 60000 /dev/zero | tr '\0' x)" '{metadata: {name: "large"}, data: {a: $text, b: $text, c: $text}}' >"$CP_DIR/large"
c POST $N -H "$JSON" --data-binary "@$CP_DIR/large" >/dev/null
check_equal "large answers are compressed when asked for" 'gzip' "$(c GET $N/large -H 'Accept-Encoding: gzip' -D - -o "$CP_DIR/gz" | tr -d '\r' | sed -n 's/^Content-Encoding: //p')"
check_equal "and are the same" 180000 "$(gunzip <"$CP_DIR/gz" | jq '[.data[] | length] | add')"
c DELETE $N/large >/dev/null

# --- dry run ---
before=$(c GET "$N?$OF" | jq -cS '[.items[] | [.metadata.name, .metadata.resourceVersion]]')
answers "dry run: create" .metadata.name x POST "$N?dryRun=All" -H "$JSON" -d '{"metadata":{"name":"x","labels":{"of":"test"}}}'
answers "dry run: a generated name" '.metadata.name | test("^g-.....$")' true POST "$N?dryRun=All" -H "$JSON" -d '{"metadata":{"generateName":"g-","labels":{"of":"test"}}}'
answers "dry run: update" .data.k dry PUT "$N/c1?dryRun=All" -H "$JSON" -d '{"metadata":{"name":"c1"},"data":{"k":"dry"}}'
answers "dry run: patch" .data.k dry PATCH "$N/c1?dryRun=All" -H "$MERGE" -d '{"data":{"k":"dry"}}'
answers "dry run: apply" .data.k dry PATCH "$N/c1?dryRun=All&fieldManager=m&force=1" -H "$APPLY" -d '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c1"},"data":{"k":"dry"}}'
answers "dry run: apply of a new one" .data.k dry PATCH "$N/new?dryRun=All&fieldManager=m" -H "$APPLY" -d '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","labels":{"of":"test"}},"data":{"k":"dry"}}'
answers "dry run: delete" .status Success DELETE "$N/c1?dryRun=All"
answers "dry run: delete, said in the body" .status Success DELETE "$N/c1" -H "$JSON" -d '{"dryRun":["All"]}'
answers "dry run: deletecollection" '.items | length' 6 DELETE "$N?dryRun=All&$OF"
check_equal "nothing was stored" "$before" "$(c GET "$N?$OF" | jq -cS '[.items[] | [.metadata.name, .metadata.resourceVersion]]')"
check_output "another dry run" 'dryRun: Unsupported value: \\"Some\\": supported values: \\"All\\"' c DELETE "$N/c1?dryRun=Some"

# --- pages ---
page=$(c GET "$N?limit=2&$OF")
check_equal "the first page" 'c1 c2' "$(names <<<"$page")"
token=$(jq -r .metadata.continue <<<"$page") revision=$(jq -r .metadata.resourceVersion <<<"$page")
c DELETE $N/c3 >/dev/null
c POST $N -H "$JSON" -d '{"metadata":{"name":"c35","labels":{"of":"test"}}}' >/dev/null
c PATCH $N/c4 -H "$MERGE" -d '{"data":{"k":"later"}}' >/dev/null
for server in "$API" "$API2"; do
    page=$(API=$server c GET "$N?limit=500&$OF&continue=$token")
    check_equal "the next page shows the moment of the first (${server##*:})" "$revision c3 c4 c5 c6 v" "$(jq -r '"\(.metadata.resourceVersion) \([.items[].metadata.name] | join(" ")) \(.items[1].data.k)"' <<<"$page")"
    check_equal "so does a list of exactly that moment (${server##*:})" "c1 c2 c3 c4 c5 c6" "$(API=$server c GET "$N?$OF&resourceVersion=$revision&resourceVersionMatch=Exact" | names)"
done
check_equal "how many remain is not known with a selector" null "$(c GET "$N?limit=2&$OF" | jq .metadata.remainingItemCount)"
check_equal "and known without" true "$(c GET "$N?limit=2" | jq '.metadata.remainingItemCount > 0')"
check_equal "any revision has no pages" "$(c GET "$N?$OF" | names)+null" "$(c GET "$N?limit=2&resourceVersion=0&$OF" | jq -r '"\([.items[].metadata.name] | join(" "))+\(.metadata.continue)"')"
check_equal "pages of a revision are of just that one" "$revision c1 c2" "$(c GET "$N?limit=2&resourceVersion=$revision&$OF" | jq -r '"\(.metadata.resourceVersion) \([.items[].metadata.name] | join(" "))"')"
check_equal "pages that may be newer are of now" true "$(c GET "$N?limit=2&resourceVersion=$revision&resourceVersionMatch=NotOlderThan&$OF" | jq "(.metadata.resourceVersion | tonumber) > $revision")"
now=$(c GET "$N?limit=1" | jq -r .metadata.resourceVersion)
check "the store is compacted" bash -c "ETCDCTL_API=3 etcdctl --endpoints='https://127.0.0.1:$CP_PORT' --cacert='$CP_DIR/pki/ca.crt' --cert='$CP_DIR/pki/server.crt' --key='$CP_DIR/pki/server.key' compaction $now"
control_plane_kill "${CP_APISERVER[1]}" # and with it the moments that it remembers
control_plane_apiserver 1
eventually 20 "${CURL[@]}" -f "$API2/readyz" >/dev/null
page=$(API=$API2 c GET "$N?limit=2&$OF&continue=$token")
check_equal "then the next page is gone" '410 Expired' "$(jq -r '"\(.code) \(.reason)"' <<<"$page")"
check_output "with a token for those who go on all the same" 'use the continue token in this response to retrieve the remainder' echo "$page"
check_equal "which shows what is there now" 'c35 c4 c5 c6' "$(API=$API2 c GET "$N?$OF&continue=$(jq -r .metadata.continue <<<"$page")" | names)"
check_output "nor is the moment there" 'The resourceVersion for the provided list is too old' bash -c "$(declare -f c); $(declare -p CURL); API=$API2; c GET '$N?$OF&resourceVersion=$revision&resourceVersionMatch=Exact'"
check_output "a watch from there ends with 410" '"type":"ERROR".*"reason":"Expired","code":410' bash -c "$(declare -f c); $(declare -p CURL); API=$API2; c GET '$N?watch=1&resourceVersion=2&timeoutSeconds=1'"

# --- watches ---
watch() { c GET "$N?watch=1&timeoutSeconds=1&$1" "${@:2}"; }
LISTED='sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true'
check_equal "a watch begins with the state" 'ADDED ADDED ADDED ADDED ADDED ADDED BOOKMARK BOOKMARK' "$(watch "$LISTED&$OF" | jq -r .type | xargs)"
check_equal "whose end is a bookmark with an annotation" '{"k8s.io/initial-events-end":"true"}' "$(watch "$LISTED&$OF" | jq -c 'select(.type == "BOOKMARK") | .object.metadata.annotations // empty')"
for form in PartialObjectMetadata Table; do
    out=$(watch "$LISTED&$OF" -H "Accept: application/json;as=$form;g=meta.k8s.io;v=v1")
    check_equal "also as $form, a line an event" "8 8 $form" "$(wc -l <<<"$out") $(jq -r .type <<<"$out" | wc -l) $(jq -r .object.kind <<<"$out" | sort -u)"
done
check_equal "a Table's columns come once" '3 0 0' "$(watch "$OF" -H 'Accept: application/json;as=Table;g=meta.k8s.io;v=v1' | jq -r '.object.columnDefinitions | length' | head -n 3 | xargs)"
check_output "sendInitialEvents wants resourceVersionMatch" 'resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan' watch sendInitialEvents=true
check_output "and is for watches" 'sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list' c GET "$N?sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
check_output "one connection carries a watch and what follows it" '^4$' bash -c "printf '%s\r\n' 'GET /api/v1/namespaces/default HTTP/1.1' 'Host: a' '' 'GET $N?watch=1&timeoutSeconds=1 HTTP/1.1' 'Host: a' '' 'GET /version HTTP/1.1' 'Host: a' '' 'GET /readyz HTTP/1.1' 'Host: a' 'Connection: close' '' | timeout 10 openssl s_client -quiet -ign_eof -connect '${API#https://}' -CAfile '$CP_DIR/pki/ca.crt' -cert '$CP_DIR/pki/admin.crt' -key '$CP_DIR/pki/admin.key' 2>/dev/null | grep -ao 'HTTP/1.1 200' | wc -l"

# --- server-side apply ---
apply() { # manager, path, document, more of the query
    c PATCH "$2?fieldManager=$1${4:-}" -H "$APPLY" -d "$3"
}
WEB='{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"w"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"X","value":"1"}]}]}}}}'
with() { jq -c "$1" <<<"$WEB"; }
scale() { printf '{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"w"},"spec":{"replicas":%s}}' "$1"; }
owners() { c GET $D/w | jq -r '[.metadata.managedFields[] | "\(.manager) \(.operation) \(.subresource)"] | sort | join(", ")'; }
check_equal "apply makes a deployment" 2 "$(apply one $D/w "$WEB" | jq .spec.replicas)"
check_equal "apply to scale knows conflicts" 'Apply failed with 1 conflict: conflict with "one": .spec.replicas' "$(apply two $D/w/scale "$(scale 5)" | jq -r .message)"
check_equal "and force" 'Scale 5' "$(apply two $D/w/scale "$(scale 5)" '&force=true' | jq -r '"\(.kind) \(.spec.replicas)"')"
check_equal "both are known" 'one Apply null, two Apply scale' "$(owners)"
check_equal "the first gives the replicas up and they stay" 5 "$(apply one $D/w "$(with 'del(.spec.replicas)')" | jq .spec.replicas)"
check_equal "a dry run of apply to scale" '7 5' "$(apply two $D/w/scale "$(scale 7)" '&dryRun=All' | jq .spec.replicas) $(c GET $D/w | jq .spec.replicas)"
c PATCH "$D/w/scale?fieldManager=three" -H "$MERGE" -d '{"spec":{"replicas":7}}' >/dev/null
check_equal "who scales otherwise owns it" 'one Apply null, three Update scale' "$(owners)"
check_equal "and is named" 'Apply failed with 1 conflict: conflict with "three" with subresource "scale" using apps/v1: .spec.replicas' "$(apply one $D/w "$WEB" | jq -r .message)"
condition() { printf '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"w"},"status":{"conditions":[{"type":"%s","status":"True"}]}}' "$1"; }
apply s1 $D/w/status "$(condition Foo)" >/dev/null
check_equal "status is merged by key" 'Foo Bar' "$(apply s2 $D/w/status "$(condition Bar)" | jq -r '[.status.conditions[].type] | join(" ")')"
check_equal "with owners of its own" 'one Apply null, s1 Apply status, s2 Apply status, three Update scale' "$(owners)"
T='failed to create typed patch object (default/w; apps/v1, Kind=Deployment): '
check_equal "a field that is none" "500 null $T.spec.foo: field not declared in schema" "$(apply one $D/w "$(with '.spec.foo = 1')" | jq -r '"\(.code) \(.reason) \(.message)"')"
check_equal "a value of another type" "$T.spec.replicas: expected numeric (int or float), got string" "$(apply one $D/w "$(with '.spec.replicas = "two"')" | jq -r .message)"
check_equal "a key twice" "$T.spec.template.spec.containers[name=\"c\"].env: duplicate entries for key [name=\"X\"]" "$(apply one $D/w "$(with '.spec.template.spec.containers[0].env += [{"name":"X"}]')" | jq -r .message)"
check_equal "no key" "$T.spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)" "$(apply one $D/w "$(with 'del(.spec.template.spec.containers[0].name)')" | jq -r .message)"
check_equal "two mistakes" "${T}errors:
  .spec.bar: field not declared in schema
  .spec.foo: field not declared in schema" "$(apply one $D/w "$(with '.spec.bar = 1 | .spec.foo = 1')" | jq -r .message)"
check_equal "another version" 'Incorrect version specified in apply patch. Specified patch version: v1, expected: apps/v1' "$(apply one $D/w "$(with '.apiVersion = "v1"')" | jq -r .message)"
check_equal "a key with its default is the same key" '[{"containerPort":80,"protocol":"TCP"}]' "$(apply one $D/w "$(with 'del(.spec.replicas) | .spec.template.spec.containers[0].ports[0].protocol = "TCP"')" | jq -c '.spec.template.spec.containers[0].ports')"
c PATCH $N/c5 -H "$MERGE" -d '{"metadata":{"finalizers":["e.x/a"]}}' >/dev/null
check_equal "a set is joined" 'e.x/a e.x/b' "$(apply m $N/c5 '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c5","finalizers":["e.x/b"]}}' | jq -r '.metadata.finalizers | join(" ")')"
check_equal "and left" 'e.x/a' "$(apply m $N/c5 '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c5"}}' | jq -r '.metadata.finalizers | join(" ")')"

# --- strategic merge patch ---
patched() { # what, patch, jq expression, what it gives
    check_equal "$1" "$4" "$(c PATCH $D/w -H "$STRATEGIC" -d "$2" | jq -r "$3")"
}
CONTAINERS='[.spec.template.spec.containers[].name] | join(" ")'
patched "setElementOrder" '{"spec":{"template":{"spec":{"containers":[{"name":"d","image":"j"}],"$setElementOrder/containers":[{"name":"d"},{"name":"c"}]}}}}' "$CONTAINERS" 'd c'
patched "patch: delete of an item" '{"spec":{"template":{"spec":{"containers":[{"name":"d","$patch":"delete"}]}}}}' "$CONTAINERS" c
patched "patch: replace of a list" '{"spec":{"template":{"spec":{"containers":[{"$patch":"replace"},{"name":"z","image":"q"}]}}}}' "$CONTAINERS" z
patched "patch: replace of a map" '{"metadata":{"labels":{"$patch":"replace","x":"y"}}}' '.metadata.labels | tojson' '{"x":"y"}'
patched "retainKeys" '{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}' '.spec.strategy | tojson' '{"type":"Recreate"}'
c PATCH $D/w -H "$MERGE" -d '{"metadata":{"finalizers":["e.x/a","e.x/b","e.x/c"]}}' >/dev/null
patched "deleteFromPrimitiveList" '{"metadata":{"$deleteFromPrimitiveList/finalizers":["e.x/b"]}}' '.metadata.finalizers | join(" ")' 'e.x/a e.x/c'
patched "an item without its key" '{"spec":{"template":{"spec":{"containers":[{"image":"q"}]}}}}' '"\(.code) \(.message)"' '400 map: {"image":"q"} does not contain declared merge key: name'
finish
