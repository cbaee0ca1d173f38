#!/usr/bin/env bash
# NetworkPolicies between real pods on two nodes: both directions, all kinds of peers and ports, and what must never be cut.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-policy
OTHER=e2e-policy-other
k delete ns $OTHER --ignore-not-found --wait=true >/dev/null 2>&1
k create ns $OTHER >/dev/null
trap 'k delete ns "$NS" "$OTHER" --wait=false >/dev/null 2>&1' EXIT
check "the other namespace" eventually 10 k get serviceaccount default -n $OTHER

pod() { # namespace, name, node, labels, more of the spec
    cat <<EOF
---
apiVersion: v1
kind: Pod
metadata: {name: $2, namespace: $1, labels: {$4}}
spec:
  nodeName: $3
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: $BUSYBOX
    command: [sleep, "100000"]
    ${5:-}
EOF
}
server() { # name, node, labels, more of the spec
    cat <<EOF
---
apiVersion: v1
kind: Pod
metadata: {name: $1, namespace: $NS, labels: {$3}}
spec:
  nodeName: $2
  terminationGracePeriodSeconds: 0
  ${4:-}
  containers:
  - name: c
    image: $DEMO_IMAGE
    command:
    - node
    - -e
    - |
      const http = require('http'), net = require('net');
      for (const p of [8080, 9090, 9091, 9092]) http.createServer((q, r) => r.end('yes ' + q.socket.remoteAddress)).listen(p, '0.0.0.0');
      net.createServer(s => { s.on('error', () => {}); s.pipe(s); }).listen(7007, '0.0.0.0');
      const u = require('dgram').createSocket('udp4'); u.on('message', (m, r) => u.send(m, r.port, r.address)); u.bind(5353);
    ports: [{name: http, containerPort: 8080}, {name: udp-echo, containerPort: 5353, protocol: UDP}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, failureThreshold: 1}
EOF
}
{
    server server worker-1 "app: server"
    pod $NS friend worker-1 "role: friend"
    pod $NS far worker-2 "role: friend"
    pod $NS stranger worker-1 "role: stranger"
    pod $OTHER other worker-2 "role: friend"
    cat <<EOF
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: $NS}
spec: {selector: {app: server}, ports: [{name: http, port: 80, targetPort: http}]}
EOF
} | k apply -f - >/dev/null
check "the pods run" kn wait pod/server pod/friend pod/far pod/stranger --for=condition=Ready --timeout=60s
check "the other pod runs" k -n $OTHER wait pod/other --for=condition=Ready --timeout=60s
ip_of() { k -n "${2:-$NS}" get pod "$1" -o jsonpath='{.status.podIP}'; }
SERVER=$(ip_of server)

# A shell command in a pod's network, by the host's programs.
declare -A POD_HOST POD_PID
find_pod() { # name, namespace
    local id node
    id=$(k -n "$2" get pod "$1" -o jsonpath='{.status.containerStatuses[0].containerID}')
    node=$(k -n "$2" get pod "$1" -o jsonpath='{.spec.nodeName}')
    POD_HOST[$1]=$node
    POD_PID[$1]=$(on "$node" sh -c "grep -lF ${id#containerd://} /proc/[0-9]*/cgroup 2>/dev/null | head -n 1 | cut -d/ -f3")
}
for p in server friend far stranger; do find_pod $p $NS; done
find_pod other $OTHER
in_pod() { local p=$1; shift; on "${POD_HOST[$p]}" nsenter -n -t "${POD_PID[$p]}" "$@"; }
reaches() { in_pod "$1" curl -s -o /dev/null --connect-timeout 1 --max-time 2 "http://${2:-$SERVER:8080}/"; }
blocked() { in_pod "$1" curl -s -o /dev/null --connect-timeout 0.4 --max-time 1 "http://${2:-$SERVER:8080}/"; [ $? -eq 28 ]; }
allowed() { check "$1 reaches ${2:-the server}${3:+ ($3)}" eventually 5 reaches "$1" "${2:-}"; }
denied() { check "$1 does not reach ${2:-the server}${3:+ ($3)}" eventually 5 blocked "$1" "${2:-}"; }
policy() { # name, spec in flow style
    kn apply -f - >/dev/null <<EOF
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: $1}
spec: $2
EOF
}
table_there() { on worker-1 nft list table inet network-policy >/dev/null 2>&1; }
no_table() { ! table_there; }

for p in friend far stranger other; do allowed $p; done
check "without policies there is no table" eventually 5 no_table

# A connection that is there before any policy, kept by a process of its own: it asks, and waits for the echo, on demand.
talk=$(mktemp -d)
mkfifo "$talk/ask" "$talk/answer"
in_pod far bash -c "exec 3<>/dev/tcp/$SERVER/7007; while read -r line; do echo \"\$line\" >&3; read -r -t 2 back <&3; echo \"\$back\"; done" <"$talk/ask" >"$talk/answer" &
talker=$!
exec 4>"$talk/ask" 5<"$talk/answer"
trap 'exec 4>&- 5<&-; kill $talker 2>/dev/null; rm -rf "$talk"; k delete ns "$NS" "$OTHER" --wait=false >/dev/null 2>&1' EXIT
echoed() { local back; echo "$1" >&4; read -r -t 3 back <&5; [ "$back" = "$1" ]; }
check "a connection is open" echoed before

policy deny '{podSelector: {}, policyTypes: [Ingress]}'
denied friend "" "default deny"
denied far "" "default deny"
denied other "" "default deny"
denied friend "$(service_ip server)" "by the Service too"
check "the connection from before goes on" echoed after
check "the node's own processes still reach the pod" on worker-1 curl -s -o /dev/null --max-time 2 "http://$SERVER:8080/"
ready() { kn get pod server -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}'; }
transition() { kn get pod server -o jsonpath='{.status.conditions[?(@.type=="Ready")].lastTransitionTime}'; }
since=$(transition)
check "a pod reaches itself" reaches server "$SERVER:8080"

policy allow '{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}], ports: [{port: http}]}]}'
allowed friend "" "podSelector, named port"
allowed far "" "from the other node"
allowed friend "$(service_ip server)" "by the Service"
denied stranger "" "other labels"
denied other "" "other namespace"
denied friend "$SERVER:9090" "other port"
kn label pod stranger role=friend --overwrite >/dev/null
allowed stranger "" "after its labels changed"
kn label pod stranger role=stranger --overwrite >/dev/null
denied stranger "" "and changed back"

policy allow "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {role: friend}}}], ports: [{port: 9090, endPort: 9091}]}, {from: [{podSelector: {matchExpressions: [{key: role, operator: In, values: [stranger]}]}}], ports: [{port: udp-echo, protocol: UDP}]}]}"
denied other "$SERVER:9090" "its namespace has no such label"
k label ns $OTHER team=blue >/dev/null
allowed other "$SERVER:9090" "namespaceSelector and podSelector"
allowed other "$SERVER:9091" "port range"
denied other "$SERVER:9092" "beyond the range"
denied friend "$SERVER:9090" "not in that namespace"
udp() { in_pod "$1" timeout 2 bash -c "exec 3<>/dev/udp/$SERVER/5353; printf 'ping\n' >&3; [ \"\$(timeout 1 dd bs=64 count=1 <&3 2>/dev/null)\" = ping ]"; }
no_udp() { ! udp "$1"; }
check "stranger may speak UDP with a named port" eventually 5 udp stranger
check "friend may not" no_udp friend

far_ip=$(ip_of far)
policy allow "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, except: [$far_ip/32]}}]}]}"
allowed friend "$SERVER:9092" "ipBlock"
allowed other "" "ipBlock"
denied far "" "its exception"
policy allow '{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{namespaceSelector: {}}]}]}'
allowed far "" "the empty namespaceSelector is everybody"
policy allow '{podSelector: {matchLabels: {app: server}}, ingress: [{}]}'
allowed other "$SERVER:9092" "the empty rule is everything"
kn delete networkpolicy deny allow >/dev/null
check "no policies, no table" eventually 5 no_table

policy egress '{podSelector: {matchLabels: {role: stranger}}, policyTypes: [Egress]}'
denied stranger "" "egress denied"
allowed friend "" "not selected"
apiserver() { in_pod "$1" curl -sk -o /dev/null --connect-timeout 0.5 --max-time 2 https://10.89.0.11:6443/version; }
no_apiserver() { ! apiserver "$1"; }
check "stranger cannot reach the API either" no_apiserver stranger
policy egress '{podSelector: {matchLabels: {role: stranger}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: http}]}, {to: [{ipBlock: {cidr: 10.89.0.0/24}}], ports: [{port: 6443}]}]}'
allowed stranger "" "egress to pods, named port"
allowed stranger "$(service_ip server)" "by the Service"
denied stranger "$SERVER:9090" "other port"
check "egress to an ipBlock" apiserver stranger
policy both '{podSelector: {matchLabels: {app: server}}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]}'
denied stranger "" "may send, but is not let in"
allowed friend "" "is let in"
denied server "$(ip_of friend):1" "both types: the server may not send"

# Another policy for the same pod adds to it; a new pod is under them as soon as it is known.
policy more '{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: stranger}}}]}]}'
allowed stranger "" "policies add up"
old=$(component_pid worker-1 kube-proxy)
on worker-1 kill -9 "$old"
check "kube-proxy is back" eventually 15 component_restarted worker-1 kube-proxy "$old"
denied other "" "also while kube-proxy starts anew"
allowed friend
{ server second worker-2 "app: server"; server host worker-2 "app: server" "hostNetwork: true"; } | k apply -f - >/dev/null
check "two more servers" kn wait pod/second pod/host --for=condition=Ready --timeout=30s
second=$(ip_of second)
denied other "$second:8080" "a new pod"
allowed friend "$second:8080" "a new pod"
allowed other "10.89.0.22:8080" "pods with the node's network are the node"
kn delete pod second --wait=true >/dev/null
gone() { ! on worker-2 nft list map inet network-policy ingress-pods4 2>/dev/null | grep -q "$second"; }
check "a deleted pod leaves nothing behind" eventually 5 gone
check_equal "kubelet's probes always passed" "True $since" "$(ready) $(transition)"
check "the connection from before all this still goes on" echoed last
kn delete networkpolicy --all >/dev/null
check "all policies gone: no table" eventually 5 no_table
for p in friend stranger other; do allowed $p; done
finish
