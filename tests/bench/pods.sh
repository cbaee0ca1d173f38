#!/usr/bin/env bash
# From `kubectl create deployment` (image present) to all pods ready.
. "$(dirname "$0")/../tools/cluster.sh"
. tests/bench/lib.sh
NS=bench-pods
k delete ns $NS --ignore-not-found --wait=true >/dev/null 2>&1
k create ns $NS >/dev/null
trap 'k delete ns "$NS" --wait=false >/dev/null 2>&1' EXIT
eventually 10 k get serviceaccount default -n $NS
measure() { # replicas
    local t runs=()
    for _ in 1 2 3; do
        t=$(now_ms)
        kn create deployment d --image="$BUSYBOX" --replicas="$1" -- sleep 100000 >/dev/null
        kn wait deployment/d --for=jsonpath='{.status.readyReplicas}'="$1" --timeout=120s >/dev/null || return 1
        runs+=($(($(now_ms) - t)))
        kn delete deployment d --wait=true >/dev/null
        kn delete pods --all --grace-period=1 --wait=true >/dev/null 2>&1
        eventually 60 bash -c "[ -z \"\$('$KUBECTL' -n $NS get pods -o name)\" ]"
    done
    median "${runs[@]}"
}
echo "kubectl create deployment to all ready (ms, median of 3; two workers)"
printf '%-52s %8s   (budget 400; Kubernetes 1000)\n' "1 pod" "$(measure 1)"
printf '%-52s %8s   (budget 5000; Kubernetes 18700, one node)\n' "30 pods" "$(measure 30)"
