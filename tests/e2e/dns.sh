#!/usr/bin/env bash
# Cluster DNS: the names of Services and pods as pods see them, other names from other servers, and a DNS server that dies.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-dns
DNS_IP=10.96.0.10
ZONE=svc.cluster.local
ask() { on worker-1 dig +short +tries=2 +timeout=2 "@$DNS_IP" "$@"; }
header() { on worker-1 dig +tries=2 +timeout=2 "@$DNS_IP" "$@"; }
check "two copies are ready" k -n kube-system wait deployment/dns --for=jsonpath='{.status.readyReplicas}'=2 --timeout=60s

kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: chat, port: 7000, protocol: UDP}, {name: chat-tcp, port: 7000}]
---
apiVersion: v1
kind: Service
metadata: {name: pets}
spec:
  clusterIP: None
  selector: {app: pets}
  ports: [{name: sql, port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: pets-early}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {app: pets}
  ports: [{name: sql, port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: None, selector: {app: nobody}, ports: [{name: sql, port: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: web.$NS.$ZONE}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: www.example.com}
YAML
for i in 0 1; do
    kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: pet-$i, labels: {app: pets}}
spec:
  hostname: pet-$i
  subdomain: pets
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: $BUSYBOX
    command: [sh, -c, "exec httpd -f -p 5432"]
    readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}
YAML
done
check "a Deployment to talk from" web web-app 1
check "it runs" kn rollout status deployment/web-app --timeout=60s
check "pods run" kn wait pod/pet-0 pod/pet-1 --for=jsonpath='{.status.phase}'=Running --timeout=30s
ip=$(service_ip web)
pet0=$(kn get pod pet-0 -o jsonpath='{.status.podIP}')
pet1=$(kn get pod pet-1 -o jsonpath='{.status.podIP}')
dashes() { echo "${1//./-}"; }

check_equal "A of a Service" "$ip" "$(eventually_output 5 . ask "web.$NS.$ZONE" A)"
check_equal "over TCP" "$ip" "$(ask +tcp "web.$NS.$ZONE" A)"
check_equal "the API's own name" 10.96.0.1 "$(ask "kubernetes.default.$ZONE")"
check_output "AAAA: no data, with SOA" 'NOERROR' header "web.$NS.$ZONE" AAAA
check_output "and the SOA of the cluster's domain" 'cluster.local\.[[:space:]]+30[[:space:]]+IN[[:space:]]+SOA[[:space:]]+ns.dns.cluster.local. hostmaster' header "web.$NS.$ZONE" AAAA
check_output "a Service that does not exist: NXDOMAIN, authoritative" 'status: NXDOMAIN' header "none.$NS.$ZONE"
check_output "with SOA" 'IN[[:space:]]+SOA' header "none.$NS.$ZONE"
check_output "answers are authoritative, with a TTL of 30 s" "web.$NS.$ZONE.[[:space:]]+30[[:space:]]+IN[[:space:]]+A" header "web.$NS.$ZONE"
check_output "flags" 'flags: qr aa rd' header "web.$NS.$ZONE"
check_equal "SRV of a named TCP port" "0 100 80 web.$NS.$ZONE." "$(ask "_http._tcp.web.$NS.$ZONE" SRV)"
check_equal "SRV of a named UDP port" "0 100 7000 web.$NS.$ZONE." "$(ask "_chat._udp.web.$NS.$ZONE" SRV)"
check_output "no SRV with the wrong protocol" NXDOMAIN header "_http._udp.web.$NS.$ZONE" SRV
check_equal "PTR of a cluster IP" "web.$NS.$ZONE." "$(ask -x "$ip")"
check_equal "the schema's version" '"1.1.0"' "$(ask dns-version.cluster.local TXT)"
check_equal "a pod's name" "$pet0" "$(ask "$(dashes "$pet0").$NS.pod.cluster.local")"

check_output "a headless Service without ready pods: NXDOMAIN" NXDOMAIN header "pets.$NS.$ZONE"
check_output "nor a pod's name in it" NXDOMAIN header "pet-0.pets.$NS.$ZONE"
check_equal "with publishNotReadyAddresses they are there" "$(printf '%s\n' "$pet0" "$pet1" | sort)" "$(eventually_output 5 '\..*\.' ask "pets-early.$NS.$ZONE" | sort)"
kn exec pet-0 -- touch /tmp/ready
check_equal "one is ready: one address" "$pet0" "$(eventually_output 10 . ask "pets.$NS.$ZONE")"
kn exec pet-1 -- touch /tmp/ready
two_pets() { [ "$(ask "pets.$NS.$ZONE" | wc -l)" = 2 ]; }
check "then two" eventually 10 two_pets
check_equal "hostname.subdomain" "$pet1" "$(ask "pet-1.pets.$NS.$ZONE")"
check_equal "SRV leads to the pods" "$(printf '0 50 5432 pet-%d.pets.%s.%s.\n' 0 "$NS" "$ZONE" 1 "$NS" "$ZONE")" "$(ask "_sql._tcp.pets.$NS.$ZONE" SRV | sort)"
check_output "with their addresses" "pet-0.pets.$NS.$ZONE.[[:space:]]+30[[:space:]]+IN[[:space:]]+A[[:space:]]+$pet0" header "_sql._tcp.pets.$NS.$ZONE" SRV
check_output "PTR of a pod behind headless Services" "^pet-0.pets.$NS.$ZONE.\$" ask -x "$pet0"
check_output "a headless Service that selects nothing" NXDOMAIN header "nobody.$NS.$ZONE"
check_equal "an ExternalName within the cluster" "web.$NS.$ZONE. $ip" "$(ask "alias.$NS.$ZONE" | tr '\n' ' ' | sed 's/ $//')"
check_equal "an ExternalName elsewhere" www.example.com. "$(ask "outside.$NS.$ZONE")"
check_output "names of the rest of the world are refused without upstream servers" REFUSED header www.example.com

# As pods see it: their own resolver, search path and all.
app() { kn exec deploy/web-app -- "$@"; }
check_output "resolv.conf names the server" "^nameserver $DNS_IP\$" app cat /etc/resolv.conf
check_output "and the search path" "^search $NS.$ZONE $ZONE cluster.local\$" app cat /etc/resolv.conf
check_output "a short name, from a pod" "$ip" app nslookup "web.$NS.$ZONE"
check_output "a web page by a short name" '^web-app-' app wget -qO- http://web-app/cgi-bin/who
check_output "by namespace" '^web-app-' app wget -qO- "http://web-app.$NS/cgi-bin/who"
nest() { k -n my-nest-app exec deploy/my-nest-app -- node -e "$1"; }
check_output "glibc's resolver: the search path of another namespace" "\"$ip\"" nest "require('dns').lookup('web.$NS', {all: true}, (e, a) => console.log(JSON.stringify(e || a)))"
check_output "and c-ares': SRV" '"port":5432' nest "require('dns').resolveSrv('_sql._tcp.pets.$NS.$ZONE', (e, a) => console.log(JSON.stringify(e || a)))"
check_output "a name that does not exist fails at once" 'ENOTFOUND [0-9]{1,3}$' nest "const t = Date.now(); require('dns').resolve4('none.$NS.$ZONE', e => console.log(e.code, Date.now() - t))"

# Another server in a pod forwards what it does not know to the cluster's: its domain is another one.
kn apply -f - >/dev/null <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: e2e-dns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:dns}
subjects: [{kind: ServiceAccount, name: default, namespace: $NS}]
---
apiVersion: v1
kind: Pod
metadata: {name: forwarder}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: dns
    image: skiff.local/dns:1
    args: [--cluster-domain=other.test, "--upstream=10.96.7.7,$DNS_IP", --lameduck=0s, --pods=verified]
    readinessProbe: {httpGet: {path: /readyz, port: 9153}, periodSeconds: 1}
YAML
check "a second server is ready" kn wait pod/forwarder --for=condition=Ready --timeout=30s
forwarder=$(kn get pod forwarder -o jsonpath='{.status.podIP}')
other() { on worker-1 dig +short +tries=1 +timeout=8 "@$forwarder" "$@"; }
check_equal "it asks the next upstream server when the first is silent" "$ip" "$(other "web.$NS.$ZONE")"
check_equal "over TCP too" "$ip" "$(other +tcp "web.$NS.$ZONE")"
check_output "what does not exist there does not exist here" NXDOMAIN on worker-1 dig "@$forwarder" "none.$NS.$ZONE"
check_equal "a CNAME of its own leads to the other's address" "web.$NS.$ZONE. $ip" "$(other "alias.$NS.svc.other.test" | tr '\n' ' ' | sed 's/ $//')"
check_equal "verified pods: one that exists" "$pet0" "$(other "$(dashes "$pet0").$NS.pod.other.test")"
check_equal "and none that does not" "" "$(other "10-244-0-250.$NS.pod.other.test")"
check_output "it remembers" '^coredns_cache_hits_total [1-9]' on worker-1 curl -s "http://$forwarder:9153/metrics"
kn delete service web >/dev/null
gone() { header "web.$NS.$ZONE" | grep -q NXDOMAIN; }
check "a deleted Service's name is gone within a second" eventually 1 gone
check_equal "and remembered by the forwarder for its TTL" "$ip" "$(other "web.$NS.$ZONE")"
k delete clusterrolebinding e2e-dns >/dev/null

# A server is deleted, and one is killed, while questions come in. The one that ends goes on answering until no node asks it any
# more; the one that is killed is missed until the nodes know.
ask_until() { # file: asks while it exists; prints the time of each question without an answer, in ms
    while [ -e "$1" ]; do
        on worker-1 dig +short +tries=1 +timeout=1 "@$DNS_IP" "kubernetes.default.$ZONE" | grep -q '^10\.96\.0\.1$' ||
            echo $(($(date +%s%N) / 1000000))
    done
}
both_ready() { [ "$(k -n kube-system get deployment dns -o jsonpath='{.status.readyReplicas}{.status.unavailableReplicas}')" = 2 ]; }
asking=$(mktemp)
ask_until "$asking" >"$asking.lost" &
pod=$(k -n kube-system get pods -l k8s-app=kube-dns -o jsonpath='{.items[0].metadata.name}')
check "a server's pod is deleted" k -n kube-system delete pod "$pod" --wait=true
check "another one takes its place" eventually 30 both_ready
check_equal "no question was lost" "" "$(cat "$asking.lost")"
: >"$asking.lost"
check "a server is killed" on worker-2 pkill -9 -x dns
restarted() { [ "$(k -n kube-system get pods -l k8s-app=kube-dns -o jsonpath='{.items[*].status.containerStatuses[0].restartCount}' | tr -d ' ')" != 00 ]; }
check "and comes back" eventually 30 restarted
check "ready" eventually 30 both_ready
rm "$asking"
wait
check "questions were lost for less than two seconds" awk 'NR == 1 {first = $1} {last = $1} END {exit !(NR == 0 || last - first < 2000)}' "$asking.lost"
rm -f "$asking.lost"
check "two copies again" k -n kube-system wait deployment/dns --for=jsonpath='{.status.readyReplicas}'=2 --timeout=60s
finish
