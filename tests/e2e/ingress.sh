#!/usr/bin/env bash
# Ingress: hosts, paths, TLS, annotations, what a bad Ingress can't do, and a rolling update under load without a failed request.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-ingress
IC_NS=ingress-nginx
check "two controllers are ready" k -n $IC_NS wait deployment/ingress-nginx-controller --for=jsonpath='{.status.readyReplicas}'=2 --timeout=60s
IP=$(k -n $IC_NS get service ingress-nginx-controller -o jsonpath='{.spec.clusterIP}')
get() { # host, path, curl's options...
    local host=$1 path=$2
    shift 2
    on worker-1 curl -s --max-time 5 --path-as-is --resolve "$host:80:$IP" --resolve "$host:443:$IP" "$@" "http://$host$path"
}
get_tls() {
    local host=$1 path=$2
    shift 2
    on worker-1 curl -sk --max-time 5 --resolve "$host:443:$IP" "$@" "https://$host$path"
}
status() { get "$@" -o /dev/null -w '%{http_code}'; }

# Four backends that tell who they are and what they were asked.
kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: server}
data:
  server.js: |
    require('http').createServer((q, r) => {
      let size = 0;
      q.on('data', d => size += d.length);
      q.on('end', () => setTimeout(() => r.end(process.env.NAME + ' ' + q.url + ' host=' + q.headers.host + ' for=' + q.headers['x-forwarded-for'] +
        ' proto=' + q.headers['x-forwarded-proto'] + ' size=' + size + '\n'), q.url.includes('slow') ? 3000 : 0));
    }).on('upgrade', (q, s) => { s.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n'); s.pipe(s); }).listen(8080);
YAML
for name in a b c d; do
    kn apply -f - >/dev/null <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: $name}
spec:
  selector: {matchLabels: {app: $name}}
  template:
    metadata: {labels: {app: $name}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: $DEMO_IMAGE
        command: [node, /server/server.js]
        env: [{name: NAME, value: $name}]
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: web}, periodSeconds: 1}
        volumeMounts: [{name: server, mountPath: /server}]
      volumes: [{name: server, configMap: {name: server}}]
---
apiVersion: v1
kind: Service
metadata: {name: $name}
spec: {selector: {app: $name}, ports: [{name: http, port: 80, targetPort: web}]}
YAML
done
path() { echo "{path: '$1', pathType: $2, backend: {service: {name: $3, port: {number: 80}}}}"; }
kn apply -f - >/dev/null <<YAML
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: paths}
spec:
  ingressClassName: nginx
  rules:
  - host: paths.test
    http:
      paths: [$(path / Prefix a), $(path /foo Prefix b), $(path /foo/bar Prefix c), $(path /foo/bar Exact d), $(path /end/ Prefix c)]
  - host: "*.wild.test"
    http:
      paths: [$(path / Prefix b)]
  - host: exact.wild.test
    http:
      paths: [$(path / Prefix c)]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: fallback}
spec:
  ingressClassName: nginx
  defaultBackend: {service: {name: d, port: {name: http}}}
  rules:
  - host: fallback.test
    http:
      paths: [$(path /a Exact a)]
YAML
check "the backends are ready" kn wait deployment --all --for=condition=Available --timeout=60s
check_output "a request goes by host and path" '^a / host=paths.test for=[0-9.]+ proto=http' eventually_output 10 '^a ' get paths.test /
check_output "prefix" '^b /foo ' get paths.test /foo
check_output "prefix with a slash" '^b /foo/x ' get paths.test /foo/x
check_output "whole elements only" '^a /foobar ' get paths.test /foobar
check_output "the longer prefix" '^c /foo/bar/x ' get paths.test /foo/bar/x
check_output "exact before prefix" '^d /foo/bar ' get paths.test /foo/bar
check_output "a prefix's last slash does not count" '^c /end ' get paths.test /end
check_output "dots in a path do not lead elsewhere" '^a /foo/../x ' get paths.test /foo/../x
check_output "the query is passed on as it is" '^b /foo/%20x\?y=%2F ' get paths.test '/foo/%20x?y=%2F'
check_output "a wildcard host" '^b / host=any.wild.test' get any.wild.test /
check_output "an exact host before a wildcard" '^c ' get exact.wild.test /
check_output "a wildcard is one label" 404 status a.b.wild.test /
check_output "and not none" 404 status wild.test /
check_output "hosts are case-insensitive" '^a ' get PATHS.test /
check_output "a default backend" '^d /other ' get fallback.test /other
check_output "beside its host's path" '^a /a ' get fallback.test /a
check_output "an unknown host" 'default backend - 404' get unknown.test /
check_output "the status has the controller's address" "$IP" eventually_output 10 "$IP" kn get ingress paths
check_output "and an event" 'Normal +Sync +.*Scheduled for sync' eventually_output 5 Sync kn describe ingress paths
check_output "one controller leads" 'ingress-nginx-controller-' k -n $IC_NS get lease ingress-nginx-leader -o jsonpath='{.spec.holderIdentity}'

# Annotations.
ingress() { # name, host, path, annotations (YAML in one line), pathType
    kn apply -f - >/dev/null <<YAML
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: $1, annotations: {$4}}
spec:
  ingressClassName: nginx
  rules: [{host: $2, http: {paths: [$(path "$3" "${5:-ImplementationSpecific}" a)]}}]
YAML
}
N=nginx.ingress.kubernetes.io
ingress rewrite rewrite.test '/api(/|$)(.*)' "$N/rewrite-target: /\$2"
check_output "rewrite-target with captures" '^a /v1/x\?q=1 ' eventually_output 5 '^a' get rewrite.test '/api/v1/x?q=1'
check_output "and without" '^a / ' get rewrite.test /api
check_output "escapes stay escapes" '^a /x%20y ' get rewrite.test /api/x%20y
check_equal "what the expression does not match" 404 "$(status rewrite.test /apix)"
ingress size size.test / "$N/proxy-body-size: 2k, $N/proxy-read-timeout: \"1\""
post() { head -c "$2" /dev/zero | on worker-1 curl -s --max-time 5 --resolve "$1:80:$IP" -o /dev/null -w '%{http_code}' --data-binary @- "${@:3}" "http://$1/"; }
check "a body of the size that is allowed" eventually 5 bash -c "[ \"\$(head -c 2048 /dev/zero | deploy/host worker-1 curl -s --resolve size.test:80:$IP -o /dev/null -w '%{http_code}' --data-binary @- http://size.test/)\" = 200 ]"
check_equal "one byte more" 413 "$(post size.test 2049)"
check_equal "a long one without a length" 413 "$(post size.test 100000 -H 'Transfer-Encoding: chunked')"
check_equal "1m is the default" 413 "$(post paths.test 1048577)"
check_equal "up to it" 200 "$(post paths.test 1048576)"
check_equal "proxy-read-timeout" 504 "$(status size.test /slow)"
ingress force force.test / "$N/force-ssl-redirect: \"true\""
check_equal "force-ssl-redirect" '308 https://force.test/x?y' "$(eventually_output 5 308 get force.test '/x?y' -o /dev/null -w '%{http_code} %{redirect_url}')"
check_output "an upgraded connection" '^101 ' get paths.test / -o /dev/null -w '%{http_code} ' -H 'Connection: Upgrade' -H 'Upgrade: echo' --max-time 1

# TLS.
work=$(mktemp -d)
certificate() { # secret, subject alternative names
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/$1.key" -out "$work/$1.crt" -days 30 \
        -subj "/CN=$1" -addext "subjectAltName=$2" 2>/dev/null
    kn create secret tls "$1" --cert="$work/$1.crt" --key="$work/$1.key" --dry-run=client -o yaml | kn apply -f - >/dev/null
}
certificate one DNS:one.test
certificate wild 'DNS:*.many.test'
kn apply -f - >/dev/null <<YAML
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: tls}
spec:
  ingressClassName: nginx
  tls: [{hosts: [one.test], secretName: one}, {hosts: ["*.many.test"], secretName: wild}, {hosts: [lost.test], secretName: lost}]
  rules:
  - {host: one.test, http: {paths: [$(path / Prefix a)]}}
  - {host: "*.many.test", http: {paths: [$(path / Prefix b)]}}
  - {host: lost.test, http: {paths: [$(path / Prefix c)]}}
YAML
shown() { on worker-1 sh -c "openssl s_client -connect $IP:443 -servername $1 </dev/null 2>/dev/null | openssl x509 -noout -subject"; }
check_output "a certificate by SNI" 'CN = one$' eventually_output 5 'CN = one$' shown one.test
check_output "a wildcard one" 'CN = wild$' shown x.many.test
check_output "the default one for other hosts" 'Fake Certificate' shown paths.test
check_output "also where the Secret is missing" 'Fake Certificate' shown lost.test
check_output "which an event tells" 'Warning +Certificate .*"e2e-ingress/lost" for "lost.test" is not used: it was not found' eventually_output 5 Certificate kn describe ingress tls
check_output "HTTPS, by a certificate that a client trusts" '^a / host=one.test .*proto=https' on worker-1 curl -s --max-time 5 --cacert "$work/one.crt" --resolve "one.test:443:$IP" https://one.test/
check_equal "with HTTP/2" 2 "$(get_tls one.test / -o /dev/null -w '%{http_version}')"
check_equal "a host with TLS is redirected to it" '308 https://one.test/x' "$(get one.test /x -o /dev/null -w '%{http_code} %{redirect_url}')"
certificate one DNS:one.test,DNS:again.test
check_output "a renewed certificate is used at once" 'again.test' eventually_output 5 again.test on worker-1 sh -c "openssl s_client -connect $IP:443 -servername one.test </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"
rm -rf "$work"

# What is wrong is refused as a whole, and told; nobody else notices.
ingress bad-rewrite bad1.test / "$N/rewrite-target: \"/x; } evil {\""
ingress bad-size bad2.test / "$N/proxy-body-size: \"1m; return 200\""
ingress snippet bad3.test / "$N/configuration-snippet: \"return 200;\""
ingress bad-regex bad4.test '/a(' "$N/use-regex: \"true\""
ingress bad-path bad5.test '/a;b"{' "$N/ssl-redirect: \"true\""
refused() { kn get events --field-selector "involvedObject.name=$1,reason=Rejected" -o jsonpath='{.items[*].message}'; }
check_output "a rewrite target that is no path" 'rewrite-target: "/x; } evil \{" is not a path' eventually_output 5 . refused bad-rewrite
check_output "a size that is none" 'proxy-body-size: .* is not a size such as 8m' eventually_output 5 . refused bad-size
check_output "configuration in an annotation" 'configuration-snippet: configuration in annotations is not allowed' eventually_output 5 . refused snippet
check_output "an expression that is none" 'path .*missing' eventually_output 5 . refused bad-regex
check_output "a path that is none" 'is not a path' eventually_output 5 . refused bad-path
for host in bad1 bad2 bad3 bad4 bad5; do check_equal "$host.test is not served" 404 "$(status $host.test /)"; done
check_output "others are" '^a ' get paths.test /
ingress thief paths.test / "" Prefix
check_output "who comes later does not take another's host and path" 'paths.test/ is served already by the older Ingress e2e-ingress/paths' eventually_output 5 . kn get events --field-selector involvedObject.name=thief,reason=Conflict -o jsonpath='{.items[*].message}'
kn patch ingress paths --type=merge -p '{"spec":{"ingressClassName":"other"}}' >/dev/null
check "an Ingress of another class is not served" eventually 5 bash -c "[ \"\$(deploy/host worker-1 curl -s --resolve paths.test:80:$IP http://paths.test/foo -o /dev/null -w '%{http_code}')\" != 200 ] || deploy/host worker-1 curl -s --resolve paths.test:80:$IP http://paths.test/foo | grep -q '^a'"
kn scale deployment a --replicas=0 >/dev/null
check "a Service without endpoints: 503" eventually 15 bash -c "[ \"\$(deploy/host worker-1 curl -s --resolve fallback.test:80:$IP -o /dev/null -w '%{http_code}' http://fallback.test/a)\" = 503 ]"

# The demo, under 500 requests a second: a rolling update, then a controller that is restarted and an Ingress that comes and goes.
load() { # seconds, file
    on worker-1 timeout 60 h2load --h1 -n $(($1 * 500)) -c 20 --rps 25 -t 1 --connect-to="$IP:80" http://my-nest-app.local/ >"$2" 2>&1
}
failures() { awk '/^requests:/ {print ($2 > 0 ? $10 + $12 + $14 : "none")} /^status codes:/ {split($0, f, /[ ,]+/); print f[7] + f[9]}' "$1" | tr '\n' ' '; }
log=$(mktemp)
load 12 "$log" &
loading=$!
k -n my-nest-app rollout restart deployment/my-nest-app >/dev/null
check "a rolling update of the demo" k -n my-nest-app rollout status deployment/my-nest-app --timeout=60s
for i in 1 2 3; do
    ingress "come-$i" "come-$i.test" / "" Prefix
    kn delete ingress "come-$i" >/dev/null
done
wait $loading
check_output "there was load" 'requests: [4-9][0-9]{3} total' cat "$log"
check_equal "not one request of it failed" "0 0 " "$(failures "$log")" || cat "$log"
load 10 "$log" &
loading=$!
k -n $IC_NS rollout restart deployment/ingress-nginx-controller >/dev/null
check "the controllers are restarted one after the other" k -n $IC_NS rollout status deployment/ingress-nginx-controller --timeout=60s
wait $loading
check_output "no answer was an error meanwhile" ' 0 4xx, 0 5xx' grep '^status codes' "$log"
check_output "new controllers serve" 'Hello from my-nest-app' get my-nest-app.local /
nginx_pid() { on worker-1 pgrep -o -x nginx; }
pid=$(nginx_pid)
check "nginx is killed" on worker-1 kill -9 "$pid"
check "and serves again within a few seconds" eventually 8 get my-nest-app.local / -f
# The way of the demo: kubectl port-forward on this machine.
if ss -Htln 'sport = :8080' src 127.0.0.1 | grep -q .; then
    check_output "curl http://my-nest-app.local:8080/ by kubectl port-forward" 'Hello from my-nest-app' eventually_output 15 Hello \
        curl -s -m 5 --noproxy '*' --resolve my-nest-app.local:8080:127.0.0.1 http://my-nest-app.local:8080/
fi
rm -f "$log"
finish
