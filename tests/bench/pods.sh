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
# Events of pods on standard input, one JSON document each, with the time at which they came: "<seconds> <type> <pod> <node>
# <phase> <ready>" a line.
with_times() {
    jq --unbuffered -r '[.type, .object.metadata.name, (.object.spec.nodeName // "-"), .object.status.phase,
        ([.object.status.conditions[]? | select(.type == "Ready").status][0] // "-")] | join(" ")' |
        while read -r line; do echo "$EPOCHREALTIME $line"; done
}
# operation: count and seconds that both kubelets spent in it so far.
spent() {
    local host pki=$PWD/build/cluster/pki
    for host in "${WORKERS[@]}"; do
        on "$host" curl -s --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "https://$host:10250/metrics"
    done | awk -v o="operation_type=\"$1\"" 'index($1, "kubelet_runtime_operations_duration_seconds_") == 1 && index($1, o) {
        if ($1 ~ /_sum/) s += $2; if ($1 ~ /_count/) c += $2} END {print c + 0, s + 0}'
}
steps() { # replicas: where the time of one rollout goes
    local dir file began operation before after watcher pki=build/cluster/pki
    declare -A at
    dir=$(mktemp -d)
    file=$dir/events
    mkfifo "$dir/watch"
    curl -sN --max-time 180 --cacert $pki/ca.crt --cert $pki/admin.crt --key $pki/admin.key \
        "https://127.0.0.1:6443/api/v1/namespaces/$NS/pods?watch=true" >"$dir/watch" &
    watcher=$!
    with_times <"$dir/watch" >"$file" &
    for operation in run_podsandbox create_container start_container; do at[$operation]=$(spent $operation); done
    began=$EPOCHREALTIME
    kn create deployment d --image="$BUSYBOX" --replicas="$1" -- sleep 100000 >/dev/null
    at[created]=$EPOCHREALTIME
    kn wait deployment/d --for=jsonpath='{.status.readyReplicas}'="$1" --timeout=120s >/dev/null
    kill $watcher 2>/dev/null
    wait
    printf '  steps of %s pod(s), ms since the start; the last pod counts\n' "$1"
    awk -v b="$began" -v c="${at[created]}" '
        function ms(t) { return int((t - b) * 1000 + 0.5) }
        $2 == "ADDED" {added = $1}
        $4 != "-" && !bound[$3]++ {scheduled = $1}
        $5 == "Running" && !up[$3]++ {running = $1}
        $6 == "True" && !ready[$3]++ {all = $1}
        END {printf "    %-50s %8d\n    %-50s %8d\n    %-50s %8d\n    %-50s %8d\n    %-50s %8d\n",
            "kubectl has its answer (API)", ms(c), "pods created (controllers)", ms(added), "pods bound (scheduler)", ms(scheduled),
            "containers running, as told (kubelet, runtime)", ms(running), "ready, as told (status)", ms(all)}' "$file"
    for operation in run_podsandbox create_container start_container; do
        read -r -a before <<<"${at[$operation]}"
        read -r -a after <<<"$(spent $operation)"
        printf '    %-50s %8s\n' "each $operation of the runtime (mean)" "$(awk -v n=$((after[0] - before[0])) -v a="${after[1]}" -v b="${before[1]}" 'BEGIN {print n ? int((a - b) / n * 1000 + 0.5) : "-"}')"
    done
    rm -rf "$dir"
    kn delete deployment d --wait=true >/dev/null
    kn delete pods --all --grace-period=1 --wait=true >/dev/null 2>&1
}
echo "kubectl create deployment to all ready (ms, median of 3; two workers)"
printf '%-52s %8s   (budget 400; Kubernetes 1000)\n' "1 pod" "$(measure 1)"
printf '%-52s %8s   (budget 5000; Kubernetes 18700, one node)\n' "30 pods" "$(measure 30)"
steps 1
steps 30
