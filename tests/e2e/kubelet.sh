#!/usr/bin/env bash
# What a kubelet does with a pod: restart policies, probes, volumes, environment, termination, resources,
# and that a restarted kubelet restarts no container.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-kubelet
pod() { # name, extra pod spec (flow YAML), container fields
    kn apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $1, tier: test}}
spec:
  terminationGracePeriodSeconds: 1
  $2
  containers:
  - name: main
    image: $BUSYBOX
$3
EOF
}
field() { kn get pod "$1" -o jsonpath="$2"; }
field_becomes() { [ "$(field "$1" "$2")" = "$3" ]; }

kn create configmap conf --from-literal=color=red --from-literal=file.txt=content >/dev/null
kn create secret generic sec --from-literal=password=hunter2 >/dev/null
check "a pod with all sources of environment and volumes" pod env 'volumes: [{name: c, configMap: {name: conf}}, {name: s, secret: {secretName: sec, defaultMode: 0400}}, {name: e, emptyDir: {}}, {name: m, emptyDir: {medium: Memory}}, {name: h, hostPath: {path: /var/lib/kubelet, type: Directory}}, {name: d, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]' '
    command: [sh, -c, "echo ready >/e/out; exec sleep 100000"]
    args: []
    env:
    - {name: PLAIN, value: "x$(NODE)y"}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: conf, key: color}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: sec, key: password}}}
    - {name: EXPANDED, value: "node=$(NODE)"}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    envFrom: [{prefix: C_, configMapRef: {name: conf}}]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
    volumeMounts: [{name: c, mountPath: /c}, {name: s, mountPath: /s, readOnly: true}, {name: e, mountPath: /e}, {name: m, mountPath: /m}, {name: h, mountPath: /h, readOnly: true}, {name: d, mountPath: /d}]'
check "it runs" kn wait pod/env --for=condition=Ready --timeout=30s
node=$(field env '{.spec.nodeName}')
container=$(field env '{.status.containerStatuses[0].containerID}')
container=${container#containerd://}
pid=$(on "$node" pgrep -f '^sleep 100000$' | head -n 1)
environment=$(on "$node" sh -c "tr '\0' '\n' </proc/$pid/environ")
check_output "fieldRef" "^NODE=$node\$" echo "$environment"
check_output "configMapKeyRef" '^COLOR=red$' echo "$environment"
check_output "secretKeyRef" '^PASSWORD=hunter2$' echo "$environment"
check_output "\$(VAR) expansion" "^EXPANDED=node=$node\$" echo "$environment"
check_output "resourceFieldRef" '^LIMIT=33554432$' echo "$environment"
check_output "envFrom with a prefix" '^C_color=red$' echo "$environment"
check_output "service environment" '^KUBERNETES_SERVICE_HOST=10.96.0.1$' echo "$environment"
see() { on "$node" sh -c "cat /proc/$pid/root$1"; }
check_output "configMap volume" '^content$' see /c/file.txt
check_output "secret volume" '^hunter2$' see /s/password
check_output "secret file mode" '^400$|^-r--------' on "$node" sh -c "stat -L -c %a /proc/$pid/root/s/password"
check_output "emptyDir" '^ready$' see /e/out
check_output "emptyDir in memory" 'tmpfs' on "$node" sh -c "grep ' /m ' /proc/$pid/mounts"
check_output "downwardAPI volume" 'app="env"' see /d/labels
check_output "memory limit reaches the cgroup" '^33554432$' on "$node" sh -c "d=\$(grep -E ':memory:|^0::' /proc/$pid/cgroup | head -n 1 | cut -d: -f3); cat /sys/fs/cgroup/memory\$d/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup\$d/memory.max"
kn create configmap conf --from-literal=color=blue --from-literal=file.txt=changed --dry-run=client -o yaml | k apply -f - >/dev/null 2>&1
check_output "a changed configMap reaches the running pod" '^changed$' eventually_output 90 '^changed$' see /c/file.txt

check "liveness: a failing probe" pod live '' '
    command: [sh, -c, "touch /tmp/ok; sleep 3; rm /tmp/ok; exec sleep 1000"]
    livenessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1, failureThreshold: 2}'
check "restarts the container" eventually 40 field_becomes live '{.status.containerStatuses[0].restartCount}' 1
check_output "with an Unhealthy event" 'Liveness probe failed' eventually_output 5 'Liveness probe failed' kn describe pod live
check_output "and a Killing event" 'failed liveness probe, will be restarted' kn describe pod live

check "readiness: exec probe" pod ready '' '
    command: [sh, -c, "sleep 2; touch /tmp/ok; exec sleep 1000"]
    readinessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1}'
check "not ready at first" eventually 10 field_becomes ready '{.status.containerStatuses[0].ready}' false
check "then ready" kn wait pod/ready --for=condition=Ready --timeout=20s
check "TCP probe" pod tcp '' '
    command: [httpd, -f, -p, "8080", -h, /]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}'
check "ready by TCP" kn wait pod/tcp --for=condition=Ready --timeout=20s

check "restartPolicy Always: a container that fails" pod crash '' '
    command: [sh, -c, "echo oops; exit 3"]'
check_output "is in CrashLoopBackOff" 'CrashLoopBackOff' eventually_output 40 CrashLoopBackOff kn get pod crash
check_equal "its last state has the exit code" 3 "$(field crash '{.status.containerStatuses[0].lastState.terminated.exitCode}')"
check_output "logs --previous" '^oops$' kn logs crash --previous
check_output "BackOff event" 'Back-off restarting failed container' kn describe pod crash
check "restartPolicy OnFailure ends on success" pod onfail 'restartPolicy: OnFailure' '
    command: [sh, -c, "[ -e /e/once ] || { touch /e/once; exit 1; }"]
    volumeMounts: [{name: e, mountPath: /e}]
  volumes: [{name: e, emptyDir: {}}]'
check "Succeeded" eventually 40 field_becomes onfail '{.status.phase}' Succeeded
check_equal "after one restart" 1 "$(field onfail '{.status.containerStatuses[0].restartCount}')"
check "restartPolicy Never fails" pod never 'restartPolicy: Never' '
    command: [sh, -c, "echo why >/dev/termination-log; exit 7"]'
check "Failed" eventually 20 field_becomes never '{.status.phase}' Failed
check_equal "exit code and message" "7 why" "$(field never '{.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.message}' | tr -d '\n')"

check "init containers run in order" pod init 'initContainers: [{name: a, image: '"$BUSYBOX"', command: [sh, -c, "echo a >/e/log"], volumeMounts: [{name: e, mountPath: /e}]}, {name: b, image: '"$BUSYBOX"', command: [sh, -c, "echo b >>/e/log"], volumeMounts: [{name: e, mountPath: /e}]}]' '
    command: [sh, -c, "cat /e/log; exec sleep 1000"]
    volumeMounts: [{name: e, mountPath: /e}]
  volumes: [{name: e, emptyDir: {}}]'
check "then the pod is ready" kn wait pod/init --for=condition=Ready --timeout=30s
check_equal "both ran" "a b" "$(kn logs init | tr '\n' ' ' | sed 's/ $//')"

check "a missing configMap" pod missing '' '
    command: [sleep, "1000"]
    env: [{name: X, valueFrom: {configMapKeyRef: {name: later, key: x}}}]'
check_output "shows CreateContainerConfigError" 'CreateContainerConfigError' eventually_output 20 CreateContainerConfigError kn get pod missing
kn create configmap later --from-literal=x=1 >/dev/null
check "and heals when it appears" kn wait pod/missing --for=condition=Ready --timeout=90s

check "graceful termination" pod graceful '' '
    command: [sh, -c, "trap \"echo bye; sleep 1; exit 0\" TERM; echo up; while :; do sleep 0.1; done"]'
kn wait pod/graceful --for=condition=Ready --timeout=30s >/dev/null
kn logs -f graceful >"${TMPDIR:-/tmp}/skiff-graceful" 2>/dev/null &
follower=$!
kn delete pod graceful --grace-period=10 >/dev/null
wait $follower
check_output "SIGTERM reached the process before the end" 'bye' cat "${TMPDIR:-/tmp}/skiff-graceful"
check_output "the pod is gone" 'not found' kn get pod graceful

before=$(kn get pods -l tier=test -o jsonpath='{range .items[?(@.status.phase=="Running")]}{.metadata.name}={.status.containerStatuses[0].containerID} {end}' | tr ' ' '\n' | grep -vE '^(crash|live)=')
for host in "${WORKERS[@]}"; do
    old=$(component_pid "$host" kubelet)
    on "$host" pkill -9 -x kubelet
    check "the killed kubelet on $host is back" eventually 15 component_restarted "$host" kubelet "$old"
done
check "nodes stay Ready" eventually 20 bash -c "[ \"\$('$KUBECTL' get nodes -o jsonpath='{.items[*].status.conditions[?(@.type==\"Ready\")].status}')\" = 'True True' ]"
check "a new pod runs after it" pod after '' '
    command: [sleep, "1000"]'
check "on the restarted kubelet" kn wait pod/after --for=condition=Ready --timeout=30s
after=$(kn get pods -l tier=test -o jsonpath='{range .items[?(@.status.phase=="Running")]}{.metadata.name}={.status.containerStatuses[0].containerID} {end}' | tr ' ' '\n' | grep -vE '^(crash|live|after)=')
check_equal "no container was restarted" "$before" "$after"
check_output "the adopted pod still has its process" "$pid" on "$node" pgrep -f '^sleep 100000$'
check "deleting everything" kn delete pods --all --timeout=60s
for host in "${WORKERS[@]}"; do
    check_equal "no pod cgroup is left on $host" "" "$(on "$host" sh -c "find /sys/fs/cgroup -type d -path '*kubepods*' -name 'pod*' 2>/dev/null | grep -F /$host/ | while read -r d; do grep -l . \$d/cgroup.procs; done" 2>/dev/null | head -n 3 | grep -vE "$(k get pods -A --field-selector spec.nodeName="$host" -o jsonpath='{range .items[*]}{.metadata.uid}|{end}none')")"
done
finish
