#!/usr/bin/env bash
# Through the API server to pods, services and kubelets: kubectl proxy, kubectl get --raw.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-proxy
WORK=$(mktemp -d)
trap 'kill $proxy 2>/dev/null; rm -rf "$WORK"; k delete ns "$NS" --wait=false >/dev/null 2>&1' EXIT
kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $DEMO_IMAGE
    command:
    - node
    - -e
    - |
      const http = require('http'), crypto = require('crypto');
      const s = http.createServer((q, r) => {
        if (q.url === '/away') { r.writeHead(302, {Location: '/here?x=1'}); return r.end(); }
        if (q.url === '/gone') { r.writeHead(404, {'X-Why': 'none'}); return r.end('nothing'); }
        if (q.url === '/cut') { return q.socket.destroy(); }
        if (q.url === '/slow') { r.write('first\n'); return setTimeout(() => r.end('last\n'), 1500); }
        const parts = [];
        q.on('data', d => parts.push(d)).on('end', () => {
          r.writeHead(200, {'Content-Type': 'application/json', 'Set-Cookie': ['a=1', 'b=2']});
          r.end(JSON.stringify({method: q.method, url: q.url, headers: q.headers, length: Buffer.concat(parts).length}));
        });
      });
      s.on('upgrade', (q, sock) => {
        const key = crypto.createHash('sha1').update(q.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
        sock.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + key + '\r\n\r\n');
        sock.write(Buffer.concat([Buffer.from([0x81, q.url.length]), Buffer.from(q.url)]));
      });
      s.listen(8080);
    ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{name: web, port: 80, targetPort: http}]
YAML
check "the pod runs" kn wait pod/echo --for=condition=Ready --timeout=60s
raw() { k get --raw "$1" 2>&1; }
BASE=/api/v1/namespaces/$NS
check_output "a pod's first port" '"url":"/a/b\?c=d%2Fe"' eventually_output 10 url raw "$BASE/pods/echo/proxy/a/b?c=d%2Fe"
check_output "a pod's port by number" '"method":"GET"' raw "$BASE/pods/http:echo:8080/proxy/"
check_output "a service's port by number" '"url":"/x/"' eventually_output 10 url raw "$BASE/services/echo:80/proxy/x/"
check_output "a service's port by name" '"url":"/"' raw "$BASE/services/echo:web/proxy/"
check_output "a port that the service does not have" 'no service port 81 found for service "echo"' raw "$BASE/services/echo:81/proxy/"
check_output "a name that it does not have" 'no endpoints available for service "echo:other"' raw "$BASE/services/echo:other/proxy/"
check_output "nobody listens there" 'error trying to reach service' raw "$BASE/pods/echo:8081/proxy/"
check_output "no such pod" 'pods "none" not found' raw "$BASE/pods/none/proxy/"
check_output "the server hangs up" 'error trying to reach service' raw "$BASE/pods/echo/proxy/cut"
check_output "a kubelet" 'ok' raw /api/v1/nodes/worker-1/proxy/healthz
check_output "the same by its port" 'ok' raw /api/v1/nodes/worker-1:10250/proxy/healthz

"$KUBECTL" proxy --port=18002 >/dev/null 2>&1 &
proxy=$!
URL=http://127.0.0.1:18002$BASE/services/echo:web/proxy
eventually 5 curl -sf http://127.0.0.1:18002/version
c() { curl -s --max-time 20 "$@"; }
check_equal "a POST with its body" "POST /post 1000000 text/x" "$(head -c 1000000 /dev/zero | c -H 'Content-Type: text/x' --data-binary @- "$URL/post" | jq -r '"\(.method) \(.url) \(.length) \(.headers["content-type"])"')"
check_equal "PUT, PATCH, DELETE" "PUT PATCH DELETE" "$(for m in PUT PATCH DELETE; do c -X $m "$URL/" | jq -r .method; done | xargs)"
check_output "HEAD" '^HTTP/1.1 200' c -I "$URL/"
check_equal "nobody is told the caller's credentials" "null" "$(c -H 'X-Mine: 1' "$URL/" | jq -r '.headers.authorization')"
check_equal "but the rest" "1" "$(c -H 'X-Mine: 1' "$URL/" | jq -r '.headers["x-mine"]')"
check_output "headers of the answer, each of them" 'Set-Cookie: a=1.*Set-Cookie: b=2' bash -c "curl -s -D - -o /dev/null $URL/ | tr '\r\n' '  '"
check_output "a status of the server" '^404 none nothing' bash -c "curl -s -w '' -D $WORK/h $URL/gone >$WORK/b; echo \$(awk 'NR==1{print \$2}' $WORK/h) \$(tr -d '\r' <$WORK/h | awk '/^X-Why/{print \$2}') \$(cat $WORK/b)"
check_output "a redirection leads through the proxy" "Location: .*$BASE/services/echo:web/proxy/here\?x=1" bash -c "curl -s -D - -o /dev/null $URL/away"
check_output "the root gets its slash" "Location: .*$BASE/services/echo:web/proxy/" bash -c "curl -s -D - -o /dev/null $URL"
first_byte=$(c -o /dev/null -w '%{time_starttransfer} %{time_total}' "$URL/slow")
check_output "an answer comes as it is written" '^0\.[0-9]+ (1\.[4-9]|2)' printf '%s' "$first_byte"
check_equal "a WebSocket" "/ws" "$(c --http1.1 --max-time 2 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' "$URL/ws" | tail -c 3)"
check_equal "who may not, does not" "no" "$(k auth can-i get pods/proxy --as=somebody -n "$NS" 2>/dev/null)"
check_output "403 for him" 'cannot get resource "pods/proxy"' k get --raw "$BASE/pods/echo/proxy/" --as=somebody
finish
