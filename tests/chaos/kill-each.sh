#!/usr/bin/env bash
# With a client writing all the while and another asking the Service, every control-plane process and every
# kubelet is killed with SIGKILL in turn: no acknowledged write is lost, no pod restarts, the Service keeps
# answering, everything heals without a hand.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace chaos-kill
work=$(mktemp -d)
web web 3 >/dev/null
check "the app runs" kn rollout status deployment/web --timeout=60s
ip=$(service_ip web)
check "the Service answers" eventually 10 who worker-1 "$ip"
containers() { kn get pods -l app=web -o jsonpath='{range .items[*]}{.metadata.name}={.status.containerStatuses[0].containerID}/{.status.containerStatuses[0].restartCount} {end}'; }
before=$(containers)

tls=$(mktemp -d)
"$KUBECTL" config view --raw -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$tls/ca"
"$KUBECTL" config view --raw -o jsonpath='{.users[0].user.client-certificate-data}' | base64 -d >"$tls/cert"
"$KUBECTL" config view --raw -o jsonpath='{.users[0].user.client-key-data}' | base64 -d >"$tls/key"
for pair in ca:certificate-authority cert:client-certificate key:client-key; do
    [ -s "$tls/${pair%%:*}" ] || cp "$(sed -n "s/^ *${pair##*:}: *//p" "$KUBECONFIG")" "$tls/${pair%%:*}"
done
writer() {
    local i=0
    while [ ! -e "$work/stop" ]; do
        i=$((i + 1))
        if [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 10 --cacert "$tls/ca" --cert "$tls/cert" --key "$tls/key" \
            -H 'Content-Type: application/json' -d "{\"metadata\":{\"name\":\"w-$i\"}}" \
            "https://127.0.0.1:6443/api/v1/namespaces/$NS/configmaps")" = 201 ]; then
            echo "w-$i" >>"$work/acknowledged"
        else
            echo "w-$i" >>"$work/refused"
        fi
    done
}
asker() {
    local n=0 bad=0
    while [ ! -e "$work/stop" ]; do
        n=$((n + 1))
        who worker-1 "$ip" >/dev/null || bad=$((bad + 1))
        echo "$n $bad" >"$work/asked.new"
        mv "$work/asked.new" "$work/asked"
    done
}
: >"$work/acknowledged"
: >"$work/refused"
writer &
writer_pid=$!
asker &
asker_pid=$!
trap 'touch "$work/stop"; wait; k delete ns "$NS" --wait=false >/dev/null 2>&1; rm -rf "$work" "$tls"' EXIT
acknowledged() { wc -l <"$work/acknowledged"; }
beyond() { [ "$(acknowledged)" -gt "$1" ]; }
check "writes are acknowledged" eventually 20 beyond 10

for host in "${CONTROL_PLANES[@]}"; do
    for component in "${CONTROL_PLANE_COMPONENTS[@]}"; do
        old=$(component_pid "$host" "$component")
        n=$(acknowledged)
        on "$host" kill -9 "$old"
        check "$component on $host is back" eventually 20 component_restarted "$host" "$component" "$old"
        check "writes go on after $component on $host" eventually 30 beyond $((n + 10))
    done
    check "the API of $host is ready" eventually 20 api_ready_on "$host"
done
for host in "${WORKERS[@]}"; do
    for component in kubelet kube-proxy; do
        old=$(component_pid "$host" "$component")
        on "$host" kill -9 "$old"
        check "$component on $host is back" eventually 20 component_restarted "$host" "$component" "$old"
    done
done
check "a new Deployment rolls out afterwards" bash -c "'$KUBECTL' -n $NS create deployment later --image=$BUSYBOX --replicas=2 -- sleep 10000 && '$KUBECTL' -n $NS rollout status deployment/later --timeout=60s"
for host in "${WORKERS[@]}"; do
    old=$(component_pid "$host" containerd)
    on "$host" kill -9 "$old"
    check "containerd on $host is back" eventually 20 component_restarted "$host" containerd "$old"
done
check "and one after containerd was killed" bash -c "'$KUBECTL' -n $NS create deployment last --image=$BUSYBOX --replicas=2 -- sleep 10000 && '$KUBECTL' -n $NS rollout status deployment/last --timeout=90s"
check "the load balancer is killed" pkill -9 -x haproxy
check "and the API is reachable again" eventually 15 k get --raw /readyz

touch "$work/stop"
wait $writer_pid $asker_pid
kn get configmaps -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}' | sort >"$work/present"
check_equal "no acknowledged write is lost ($(acknowledged) acknowledged, $(wc -l <"$work/refused") refused)" "" \
    "$(sort "$work/acknowledged" | comm -23 - "$work/present" | head -n 5)"
check_equal "no container of the app was restarted or replaced" "$before" "$(containers)"
read -r asked bad <"$work/asked"
check_equal "the Service answered each of $asked requests" 0 "$bad"
finish
