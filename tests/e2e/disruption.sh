#!/usr/bin/env bash
# PodDisruptionBudgets: their status follows the pods, evictions ask them, kubectl drain waits for them.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-disruption
web web 3 >/dev/null
check "three pods" kn rollout status deployment/web --timeout=60s
k cordon worker-1 >/dev/null # what is evicted from worker-2 has nowhere to go
pdb() { kn get pdb "$1" -o jsonpath="{.status.$2}"; }
pdb_is() { [ "$(pdb "$1" "$2")" = "$3" ]; }
evict() { # pod [dry run]
    printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s","namespace":"%s"}}' "$1" "$NS" |
        k create --raw "/api/v1/namespaces/$NS/pods/$1/eviction${2:+?dryRun=All}" -f - 2>&1
}
first() { kn get pods -l app=web -o jsonpath='{.items[0].metadata.name}'; }

kn create pdb whole --selector=app=web --min-available=3 >/dev/null
check "the budget counts its pods" eventually 10 pdb_is whole currentHealthy 3
check_equal "expected, desired, allowed" "3 3 0" "$(pdb whole expectedPods) $(pdb whole desiredHealthy) $(pdb whole disruptionsAllowed)"
check_equal "its condition" "False InsufficientPods" "$(kn get pdb whole -o jsonpath='{.status.conditions[?(@.type=="DisruptionAllowed")].status} {.status.conditions[?(@.type=="DisruptionAllowed")].reason}')"
pod=$(first)
cat >build/cluster/eviction.json <<EOF
{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"$pod","namespace":"$NS"}}
EOF
"$KUBECTL" proxy --port=18001 >/dev/null 2>&1 &
proxy=$!
trap 'kill $proxy; k uncordon worker-1 worker-2 >/dev/null; rm -f build/cluster/eviction.json; k delete ns "$NS" --wait=false >/dev/null 2>&1' EXIT
eventually 5 curl -sf http://127.0.0.1:18001/version
answer=$(curl -s -H 'Content-Type: application/json' --data @build/cluster/eviction.json "http://127.0.0.1:18001/api/v1/namespaces/$NS/pods/$pod/eviction")
check_equal "an eviction is refused with 429" "429 TooManyRequests" "$(jq -r '"\(.code) \(.reason)"' <<<"$answer")"
check_equal "in Kubernetes' words" "Cannot evict pod as it would violate the pod's disruption budget." "$(jq -r .message <<<"$answer")"
check_equal "with the budget as the cause" "DisruptionBudget: The disruption budget whole needs 3 healthy pods and has 3 currently" "$(jq -r '.details.causes[0]|"\(.reason): \(.message)"' <<<"$answer")"
check_fails "drain does not get by" k drain worker-2 --ignore-daemonsets --force --delete-emptydir-data --pod-selector=app=web --timeout=2s

kn create pdb second --selector=app=web --max-unavailable=1 >/dev/null
check_output "two budgets are one too many" 'more than one PodDisruptionBudget' evict "$pod"
kn delete pdb whole second >/dev/null

kn create pdb part --selector=app=web --max-unavailable=1 >/dev/null
check "one may go" eventually 10 pdb_is part disruptionsAllowed 1
check_output "a dry run evicts nothing" '"status":"Success"' evict "$pod" dry
check_equal "and takes nothing from the budget" 1 "$(pdb part disruptionsAllowed)"
k cordon worker-2 >/dev/null # so that no new pod becomes ready in between
check_output "the eviction is done" '"status":"Success"' evict "$pod"
check "the budget has no more" eventually 10 pdb_is part disruptionsAllowed 0
other=$(kn get pods -l app=web -o json | jq -r '[.items[]|select(.metadata.deletionTimestamp==null and .spec.nodeName!=null)][0].metadata.name')
check_output "so the next one is refused" 'violate the pod.s disruption budget' evict "$other"
waiting=$(kn get pods -l app=web -o json | jq -r '[.items[]|select(.spec.nodeName==null)][0].metadata.name')
check_output "a pod that has not begun may go" '"status":"Success"' evict "$waiting"
k uncordon worker-1 worker-2 >/dev/null
check "all are back" eventually 60 pdb_is part currentHealthy 3
check "drain waits for the budget and gets done" k drain worker-2 --ignore-daemonsets --force --delete-emptydir-data --pod-selector=app=web --timeout=60s
check_equal "the node is empty" "" "$(kn get pods -l app=web --field-selector spec.nodeName=worker-2 -o name)"
k uncordon worker-2 >/dev/null
check "never fewer than two" eventually 60 pdb_is part currentHealthy 3
kn scale deployment web --replicas=4 >/dev/null
check "the budget follows the scale" eventually 20 pdb_is part expectedPods 4
kn run alone --image=$BUSYBOX --labels=app=alone -- sleep 1000 >/dev/null
kn create pdb alone --selector=app=alone --max-unavailable=50% >/dev/null
check_output "pods without a controller are told of" 'UnmanagedPods' eventually_output 10 UnmanagedPods kn get events --field-selector involvedObject.name=alone
check_equal "and none of them may go" 0 "$(pdb alone disruptionsAllowed)"
finish
