#!/usr/bin/env bash
# Services beyond cluster IPs: load balancers, traffic policies and their health checks, external IPs, topology, endpoints of a
# user's own, UDP flows, IPv6.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-services
jsonpath() { kn get "$1" -o jsonpath="$2"; }

# web NAME REPLICAS: answers over IPv4 and IPv6 with "POD CLIENT".
listener() { # name, node
    cat <<EOF
---
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: web}}
spec:
  nodeName: $2
  terminationGracePeriodSeconds: 20
  containers:
  - name: c
    image: $DEMO_IMAGE
    env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    command:
    - node
    - -e
    - |
      require('http').createServer((q, r) => r.end(process.env.POD + ' ' + q.socket.remoteAddress.replace('::ffff:', '') + '\n')).listen(8080, '::');
      const u = require('dgram').createSocket('udp6'); u.on('message', (m, r) => u.send(process.env.POD + '\n', r.port, r.address)); u.bind(5353);
      process.on('SIGTERM', () => {});
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
EOF
}
{ listener one worker-1; listener two worker-2; } | kn apply -f - >/dev/null
check "two pods on two nodes" kn wait pod/one pod/two --for=condition=Ready --timeout=60s
# Every host of the cluster runs kube-proxy; outside is the network's router, with 10.89.0.1.
at() {
    local where=$1
    shift
    if [ "$where" = outside ]; then ip netns exec skiff "$@"; else on "$where" "$@"; fi
}
get() { at "$1" curl -s --connect-timeout 1 --max-time 2 "http://$2/"; }
pods_at() { for _ in $(seq 1 "${3:-16}"); do get "$1" "$2"; done | cut -d' ' -f1 | sort -u | xargs; }
both() { [ "$(pods_at "$1" "$2")" = "one two" ]; }
only() { [ "$(pods_at "$1" "$2" 8)" = "$3" ]; }

kn apply -f - >/dev/null <<EOF
apiVersion: v1
kind: Service
metadata: {name: lb}
spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: classy}
spec: {type: LoadBalancer, loadBalancerClass: example.com/x, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
EOF
lb_ip() { jsonpath svc/lb '{.status.loadBalancer.ingress[0].ip}'; }
has_lb() { [ -n "$(lb_ip)" ]; }
check "a LoadBalancer gets an address" eventually 10 has_lb
LB=$(lb_ip)
check_output "out of the pool" '^10\.89\.1\.' echo "$LB"
check_equal "without node ports if so wanted" "" "$(jsonpath svc/lb '{.spec.ports[0].nodePort}')"
check_equal "another class is left alone" "" "$(jsonpath svc/classy '{.status.loadBalancer.ingress}')"
check "it is told in an event" eventually 5 bash -c "'$KUBECTL' -n $NS get events | grep -q EnsuredLoadBalancer"
check "answers from outside" eventually 10 both outside "$LB"
check "and to a node" both worker-1 "$LB"
kn patch svc lb -p '{"spec":{"loadBalancerSourceRanges":["10.89.0.1/32"]}}' >/dev/null
silent() { at "$1" curl -s -o /dev/null --connect-timeout 1 "http://$2/"; [ $? -eq 28 ]; }
check "loadBalancerSourceRanges keep others out" eventually 5 silent worker-2 "$LB"
check "and let these in" both outside "$LB"
check "the cluster IP is for all" both worker-2 "$(service_ip lb)"
kn patch svc lb -p '{"spec":{"loadBalancerSourceRanges":null,"externalTrafficPolicy":"Local"}}' >/dev/null
HEALTH=$(jsonpath svc/lb '{.spec.healthCheckNodePort}')
code() { on cp-1 curl -s -o /dev/null -w '%{http_code}' --max-time 2 "http://$1:$HEALTH/"; }
answers() { [ "$(code "$1")" = "$2" ]; }
check "externalTrafficPolicy Local: a health-check node port" eventually 5 answers 10.89.0.21 200
check_output "tells how many endpoints the node has" '"localEndpoints": 1' on cp-1 curl -s "http://10.89.0.21:$HEALTH/"
at outside ip route replace "$LB/32" via 10.89.0.21
client_seen() { get outside "$LB" | grep -qx "one 10.89.0.1"; }
check "the client's address is kept, and its node's pods are asked only" eventually 5 client_seen
check "only these" only outside "$LB" one
check "inside the cluster all are asked" both worker-1 "$LB"
kn label pod one app=none --overwrite >/dev/null
check "no endpoint on a node: its health check says so" eventually 5 answers 10.89.0.21 503
check "the other node has one" answers 10.89.0.22 200
check "no endpoint there: no answer there" silent outside "$LB"
check "a node without endpoints still reaches the others'" only worker-1 "$LB" two
at outside ip route del "$LB/32"
kn label pod one app=web --overwrite >/dev/null
kn patch svc lb --type=merge -p '{"spec":{"type":"ClusterIP","externalTrafficPolicy":null,"allocateLoadBalancerNodePorts":null}}' >/dev/null
check "no LoadBalancer any more, no address any more" eventually 5 bash -c "[ -z \"\$('$KUBECTL' -n $NS get svc lb -o jsonpath='{.status.loadBalancer.ingress}')\" ]"
no_health_port() { ! on cp-1 curl -s -o /dev/null --max-time 2 "http://10.89.0.21:$HEALTH/"; }
check "nor a health-check port" eventually 5 no_health_port

kn patch svc lb -p '{"spec":{"externalIPs":["10.89.1.200"]}}' >/dev/null
check "externalIPs" eventually 5 both outside 10.89.1.200
kn patch svc lb -p '{"spec":{"externalIPs":null,"internalTrafficPolicy":"Local"}}' >/dev/null
IP=$(service_ip lb)
check "internalTrafficPolicy Local on one node" eventually 5 only worker-1 "$IP" one
check "and on the other" eventually 5 only worker-2 "$IP" two
kn patch svc lb -p '{"spec":{"internalTrafficPolicy":"Cluster","trafficDistribution":"PreferSameNode"}}' >/dev/null
check_output "an unknown trafficDistribution is refused" 'Unsupported value: "PreferMine"' kn patch svc lb -p '{"spec":{"trafficDistribution":"PreferMine"}}'
check "trafficDistribution PreferSameNode" eventually 5 only worker-1 "$IP" one
check "on the other node too" eventually 5 only worker-2 "$IP" two
for node in worker-1 worker-2; do k label node $node topology.kubernetes.io/zone=zone-$node --overwrite >/dev/null; done
kn patch svc lb -p '{"spec":{"trafficDistribution":"PreferSameZone"}}' >/dev/null
# Slices learn of a node's zone when they are looked at again.
kn annotate svc lb look=again >/dev/null
zoned() { jsonpath endpointslices '{.items[*].endpoints[*].hints.forZones[*].name}' | grep -q "zone-worker-1"; }
check "PreferSameZone: endpoints say for which zone they are" eventually 10 zoned
check "and are asked in their zone" eventually 5 only worker-2 "$IP" two
for node in worker-1 worker-2; do k label node $node topology.kubernetes.io/zone- >/dev/null; done
kn patch svc lb -p '{"spec":{"trafficDistribution":null}}' >/dev/null
check "without it all are asked" eventually 10 both worker-2 "$IP"

kn patch svc lb -p '{"spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":1}}}}' >/dev/null
sticky() { [ "$(pods_at worker-1 "$IP" 8 | wc -w)" = 1 ]; }
check "session affinity" eventually 5 sticky
spreads_again() { # with pauses longer than its timeout
    local i
    for i in 1 2 3 4 5 6 7; do
        get worker-1 "$IP"
        sleep 1.2
    done | cut -d' ' -f1 | sort -u | wc -l | grep -qx 2
}
check "ends after its timeout" spreads_again
kn patch svc lb -p '{"spec":{"sessionAffinity":"None"}}' >/dev/null

# Slices and Endpoints that a user writes.
ONE=$(jsonpath pod/one '{.status.podIP}')
kn apply -f - >/dev/null 2>&1 <<EOF
apiVersion: v1
kind: Service
metadata: {name: byslice}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: byslice-mine, labels: {kubernetes.io/service-name: byslice}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: ["$ONE"]}]
---
apiVersion: v1
kind: Service
metadata: {name: byendpoints}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: byendpoints}
subsets: [{addresses: [{ip: "$ONE"}], ports: [{port: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: example.com}
EOF
check "a Service without selector, with a slice of the user's" eventually 10 only worker-2 "$(service_ip byslice)" one
check "Endpoints of the user's are mirrored" eventually 10 only worker-2 "$(service_ip byendpoints)" one
check_equal "an ExternalName has no address" "" "$(service_ip elsewhere)"

# Terminating pods serve as the last resort.
kn delete pod two --wait=false >/dev/null
check "a pod that ends is asked no more" eventually 10 only worker-1 "$IP" one
kn delete pod one --wait=false >/dev/null
serves() { get worker-1 "$IP" | grep -qE '^(one|two) '; }
check "when all end, those that still serve are asked" serves
check "and go on to be" bash -c 'sleep 1.5' && check "..." serves
kn delete pod one two --force --grace-period=0 >/dev/null 2>&1
kn delete svc lb >/dev/null

# UDP: one socket that keeps sending is led to the pod that is there.
{ listener first worker-1; } | kn apply -f - >/dev/null
kn apply -f - >/dev/null <<EOF
apiVersion: v1
kind: Service
metadata: {name: udp}
spec: {ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 53, targetPort: 5353, protocol: UDP}]}
EOF
check "a UDP server" kn wait pod/first --for=condition=Ready --timeout=60s
U=$(service_ip udp)
talk=$(mktemp -d)
mkfifo "$talk/ask" "$talk/answer"
on worker-2 bash -c "exec 3<>/dev/udp/$U/53; while read -r line; do echo \"\$line\" >&3 || true; back=\$(timeout 1 dd bs=64 count=1 <&3 2>/dev/null); echo \"\$back\"; done" <"$talk/ask" >"$talk/answer" 2>/dev/null &
talker=$!
exec 4>"$talk/ask" 5<"$talk/answer"
trap 'exec 4>&- 5<&-; kill $talker 2>/dev/null; rm -rf "$talk"; k delete ns "$NS" --wait=false >/dev/null 2>&1' EXIT
told() { local back; echo ask >&4; read -r -t 3 back <&5; [ "$back" = "$1" ]; }
check "answers one socket" eventually 10 told first
kn delete pod first --force --grace-period=0 >/dev/null 2>&1
{ listener second worker-1; } | kn apply -f - >/dev/null
check "another pod in its place" kn wait pod/second --for=condition=Ready --timeout=60s
check "the same socket reaches it" eventually 10 told second

if [ "$(jsonpath svc/udp '{.spec.ipFamilies[1]}')" = IPv6 ]; then
    kn apply -f - >/dev/null <<EOF
apiVersion: v1
kind: Service
metadata: {name: dual}
spec: {type: LoadBalancer, ipFamilyPolicy: RequireDualStack, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: six}
spec: {podSelector: {matchLabels: {app: closed}}}
EOF
    check_output "pods have an address of each family" '^10\.244\..*fd00:10:244:' jsonpath pod/second '{.status.podIPs[*].ip}'
    check_output "and see their host's" '10\.89\.0\.21.*fd00:89::21' jsonpath pod/second '{.status.hostIPs[*].ip}'
    SIX=$(service_ip six) DUAL6=$(jsonpath svc/dual '{.spec.clusterIPs[1]}') PORT=$(jsonpath svc/dual '{.spec.ports[0].nodePort}')
    check_output "an IPv6 Service" '^fd00:10:96::' echo "$SIX"
    check_equal "slices of both families" "IPv4 IPv6" "$(kn get endpointslices -l kubernetes.io/service-name=dual -o jsonpath='{.items[*].addressType}' | xargs -n1 | sort | xargs)"
    check "answers on its node" eventually 10 only worker-1 "[$SIX]" second
    check "and on the other one" only worker-2 "[$SIX]" second
    check "a dual-stack Service by its second address" eventually 5 only worker-2 "[$DUAL6]" second
    check "by node port over IPv6" only outside "[fd00:89::22]:$PORT" second
    check "and over IPv4" only outside "10.89.0.22:$PORT" second
    lb6() { jsonpath svc/dual '{.status.loadBalancer.ingress[1].ip}'; }
    check_output "a load balancer's address of each family" '^fd00:89:1::' eventually_output 10 fd00 lb6
    check "answers" eventually 5 only outside "[$(lb6)]" second
    refused6() { on worker-1 curl -s --max-time 3 "http://[$1]/"; [ $? -eq 7 ]; }
    check "an unused IPv6 Service address refuses" refused6 fd00:10:96::fade
    check "routes to the other node's IPv6 pods" on worker-1 sh -c 'ip -6 route | grep -q "fd00:10:244:1::/64 via fd00:89::22"'
    kn label pod second app=closed --overwrite >/dev/null
    six=$(jsonpath pod/second '{.status.podIPs[1].ip}')
    closed6() { on worker-2 curl -s -o /dev/null --connect-timeout 1 "http://[$six]:8080/"; [ $? -eq 28 ]; }
    check "NetworkPolicies hold in IPv6" eventually 5 closed6
    kn patch svc dual -p '{"spec":{"ipFamilyPolicy":"SingleStack"}}' >/dev/null
    check_equal "back to one family" 1 "$(jsonpath svc/dual '{.spec.clusterIPs[*]}' | wc -w)"
else
    echo "  (no IPv6 in this cluster)"
fi
finish
