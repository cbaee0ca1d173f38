#!/usr/bin/env bash
# Services as kube-proxy makes them: cluster IPs, node ports, UDP, affinity, no endpoints, hairpin, across nodes.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-network
web web 4 >/dev/null
check "four pods" kn rollout status deployment/web --timeout=60s
ip=$(service_ip web)
check "the Service answers" eventually 10 who worker-1 "$ip"
many() { for _ in $(seq 1 40); do who "$1" "$2"; done | sort -u | wc -l; }
check_equal "40 requests reach all four pods" 4 "$(many worker-1 "$ip")"
check_equal "from the other node too" 4 "$(many worker-2 "$ip")"

kn patch svc web -p '{"spec":{"type":"NodePort"}}' >/dev/null
port=$(kn get svc web -o jsonpath='{.spec.ports[0].nodePort}')
for node in 10.89.0.21 10.89.0.22; do
    check "node port on $node, from a control plane host" eventually 10 who cp-1 "$node:$port"
    check_equal "... reaches all four pods" 4 "$(many cp-1 "$node:$port")"
done
check "the node port on the node itself" who worker-1 "10.89.0.21:$port"
kn patch svc web -p '{"spec":{"sessionAffinity":"ClientIP"}}' >/dev/null
sticky() { [ "$(many "$1" "$2")" = 1 ]; }
check "session affinity keeps a client with one pod" eventually 10 sticky worker-1 "$ip"
kn patch svc web -p '{"spec":{"sessionAffinity":"None"}}' >/dev/null
spread() { [ "$(many "$1" "$2")" = 4 ]; }
check "and without it spreads again" eventually 10 spread worker-1 "$ip"

kn scale deployment web --replicas=1 >/dev/null
check "one pod is left" eventually 30 bash -c "[ \"\$('$KUBECTL' -n $NS get pods -l app=web -o name | wc -l)\" = 1 ]"
check "endpoints shrink" eventually 20 bash -c "[ \"\$('$KUBECTL' -n $NS get endpoints web -o jsonpath='{.subsets[0].addresses[*].ip}' | wc -w)\" = 1 ]"
no_failures() { for _ in $(seq 1 20); do who "$1" "$2" >/dev/null || return 1; done; }
check "all requests reach the one that is left" eventually 10 no_failures worker-1 "$ip"
pod=$(pods_path app=web '{.items[0].metadata.name}')
node=$(pods_path app=web '{.items[0].spec.nodeName}')
id=$(pods_path app=web '{.items[0].status.containerStatuses[0].containerID}')
pid=$(on "$node" sh -c "grep -lF ${id#containerd://} /proc/[0-9]*/cgroup 2>/dev/null | head -n 1 | cut -d/ -f3")
check_output "hairpin: a pod reaches itself through its Service" "^$pod" on "$node" nsenter -n -t "$pid" curl -sf --max-time 3 "http://$ip/cgi-bin/who"
kn scale deployment web --replicas=0 >/dev/null
check "no endpoints" eventually 20 bash -c "[ -z \"\$('$KUBECTL' -n $NS get endpoints web -o jsonpath='{.subsets[*].addresses[*].ip}')\" ]"
refused() { on worker-1 curl -s --max-time 3 "http://$1/"; [ $? -eq 7 ]; }
check "a Service without endpoints refuses at once" eventually 10 refused "$ip"

kn apply -f - >/dev/null <<EOF
apiVersion: v1
kind: Pod
metadata: {name: udp, labels: {app: udp}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: u
    image: $DEMO_IMAGE
    command: [node, -e, "const s=require('dgram').createSocket('udp4');s.on('message',(m,r)=>s.send(m,r.port,r.address));s.bind(5353)"]
    ports: [{containerPort: 5353, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: udp}
spec: {selector: {app: udp}, ports: [{port: 53, targetPort: 5353, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: udp}, ports: [{port: 53, protocol: UDP}]}
EOF
check "UDP server" kn wait pod/udp --for=condition=Ready --timeout=30s
uip=$(service_ip udp)
# By bash' own UDP: one datagram out, one back.
echo_udp() { on "$1" timeout 3 bash -c "exec 3<>/dev/udp/$2/53; printf 'ping\n' >&3; [ \"\$(timeout 2 dd bs=64 count=1 <&3 2>/dev/null)\" = ping ]"; }
for host in "${WORKERS[@]}"; do
    check "UDP through the Service from $host" eventually 15 echo_udp "$host" "$uip"
done
check_equal "a headless Service has no address" None "$(service_ip headless)"
check_equal "but endpoints" 1 "$(kn get endpoints headless -o jsonpath='{.subsets[0].addresses[*].ip}' | wc -w)"
check_output "an address of the Service range without a Service goes nowhere" '^$' on worker-1 bash -c "curl -s --max-time 1 http://10.96.250.250/; true"
for host in "${WORKERS[@]}"; do
    check_output "routes to the other node's pods on $host" '10\.244\.[0-9]+\.0/24 via 10\.89\.0\.2[12]' on "$host" ip route
done

web keep 2 >/dev/null
kn rollout status deployment/keep --timeout=60s >/dev/null
kip=$(service_ip keep)
check "a Service" eventually 10 who worker-1 "$kip"
# A stream of requests, each on a connection of its own, and one connection that stays, while other Services come and go.
load=$(mktemp -d)
on worker-1 wrk -t1 -c4 -d8s -H 'Connection: close' "http://$kip/ready" >"$load/new" 2>&1 &
on worker-2 bash -c "exec 3<>/dev/tcp/$kip/80; printf 'GET /ready HTTP/1.1\r\nHost: x\r\n' >&3; sleep 7; printf 'Connection: close\r\n\r\n' >&3; timeout 2 head -n 1 <&3" >"$load/kept" 2>&1 &
many_services() {
    for i in $(seq 1 60); do
        printf -- '---\napiVersion: v1\nkind: Service\nmetadata: {name: many-%s, labels: {many: "yes"}}\nspec: {selector: {app: keep}, ports: [{port: 80, targetPort: http}]}\n' "$i"
    done
}
for _ in 1 2; do
    many_services | kn apply -f - >/dev/null
    kn delete svc -l many=yes >/dev/null
done
wait $(jobs -p)
check_output "many requests meanwhile" 'requests in' cat "$load/new"
check "none of them failed" bash -c "! grep -E 'Socket errors|Non-2xx' '$load/new'"
check_output "a connection from before still answers" '200 OK' cat "$load/kept"
rm -rf "$load"

old=$(component_pid worker-1 kube-proxy)
on worker-1 pkill -9 -x kube-proxy
check "answers while kube-proxy is dead" no_failures worker-1 "$kip"
check "kube-proxy is back" eventually 15 component_restarted worker-1 kube-proxy "$old"
check "and answers after" no_failures worker-1 "$kip"
finish
