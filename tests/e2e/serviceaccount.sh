#!/usr/bin/env bash
# Pods act as their service account: with the token in their volume they call the API, as far as RBAC lets them.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-serviceaccount
kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: script}
data:
  call.js: |
    const fs = require('fs'), d = '/var/run/secrets/kubernetes.io/serviceaccount/';
    const token = fs.readFileSync(d + 'token', 'utf8'), ns = fs.readFileSync(d + 'namespace', 'utf8');
    function call() {
      require('https').get({host: process.env.KUBERNETES_SERVICE_HOST, port: process.env.KUBERNETES_SERVICE_PORT,
        path: '/api/v1/namespaces/' + ns + '/pods', ca: fs.readFileSync(d + 'ca.crt'),
        headers: {Authorization: 'Bearer ' + token}}, r => { console.log(r.statusCode, ns); setTimeout(call, 200); r.resume(); })
        .on('error', e => { console.log(e.message); setTimeout(call, 200); });
    }
    call();
---
apiVersion: v1
kind: Pod
metadata: {name: looper}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: $DEMO_IMAGE
    command: [node, /script/call.js]
    volumeMounts: [{name: script, mountPath: /script}]
  volumes: [{name: script, configMap: {name: script}}]
---
apiVersion: v1
kind: Pod
metadata: {name: none}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: $BUSYBOX, command: [sh, -c, "ls /var/run/secrets/kubernetes.io 2>&1; sleep 3600"]}]
YAML
check "the pods run" kn wait pod --all --for=condition=Ready --timeout=60s
check_output "without rights the API says 403" "^403 $NS\$" eventually_output 15 '^403' kn logs looper --tail=1
check "the account gets the role view" kn create rolebinding view --clusterrole=view --serviceaccount="$NS:default"
check_output "then 200" "^200 $NS\$" eventually_output 15 '^200' kn logs looper --tail=1
kn delete rolebinding view >/dev/null
check_output "and 403 again without it" "^403 $NS\$" eventually_output 15 '^403' kn logs looper --tail=1
check_output "who wants no token has none" 'No such file' eventually_output 10 'No such' kn logs none
finish
