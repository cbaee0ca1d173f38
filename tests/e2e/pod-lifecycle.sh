#!/usr/bin/env bash
# What becomes of a pod between its file or object and its end, beyond what kubelet.sh looks at: static pods and their
# mirrors, ephemeral containers, in-place resize, restart policies of containers, RuntimeClass, hooks, namespaces, names.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-lifecycle
WORK=$(mktemp -d)
MANIFESTS=/etc/kubernetes/manifests
cleanup() {
    on worker-1 sh -c "rm -f $MANIFESTS/lifecycle-*"
    rm -rf "$WORK"
    k delete ns "$NS" --wait=false >/dev/null 2>&1
}
trap cleanup EXIT
field() { kn get pod "$1" -o jsonpath="$2"; }
field_becomes() { [ "$(field "$1" "$2")" = "$3" ]; }
gone() { ! kn get pod "$1" >/dev/null 2>&1; }

# --- static pods ---
manifest() { # COMMAND: writes the file as an editor does, by renaming
    cat >"$WORK/static.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata: {name: static, namespace: $NS, labels: {app: static}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: $BUSYBOX, command: [sh, -c, "$1; exec sleep 100000"]}
YAML
    on worker-1 cp "$WORK/static.yaml" "$MANIFESTS/.lifecycle-new"
    on worker-1 mv "$MANIFESTS/.lifecycle-new" "$MANIFESTS/lifecycle-static.yaml"
}
check "a file for a static pod" manifest "echo first"
check "a mirror pod shows it" eventually 10 field_becomes static-worker-1 '{.status.phase}' Running
check_equal "the mirror says where it comes from" "file worker-1" \
    "$(field static-worker-1 '{.metadata.annotations.kubernetes\.io/config\.source} {.spec.nodeName}')"
check_equal "the node owns it" "Node worker-1" "$(field static-worker-1 '{.metadata.ownerReferences[0].kind} {.metadata.ownerReferences[0].name}')"
check_output "kubectl logs" '^first$' kn logs static-worker-1
check_output "kubectl exec" '^static-worker-1$' kn exec static-worker-1 -- hostname
check_output "kubectl describe has its events" 'Started container main' eventually_output 5 'Started container' kn describe pod static-worker-1
container=$(field static-worker-1 '{.status.containerStatuses[0].containerID}')
uid=$(field static-worker-1 '{.metadata.uid}')
kn delete pod static-worker-1 --wait=false >/dev/null
mirror_replaced() { local u; u=$(field static-worker-1 '{.metadata.uid}') && [ -n "$u" ] && [ "$u" != "$uid" ]; }
check "a deleted mirror comes back" eventually 10 mirror_replaced
check "with the same container" eventually 10 field_becomes static-worker-1 '{.status.containerStatuses[0].containerID}' "$container"
old=$(component_pid worker-1 kubelet)
on worker-1 pkill -9 -x kubelet
check "the kubelet is killed and back" eventually 15 component_restarted worker-1 kubelet "$old"
uid=$(field static-worker-1 '{.metadata.uid}')
check "the file changes" manifest "echo second"
check_output "and so does what runs" '^second$' eventually_output 20 '^second$' kn logs static-worker-1
check "the mirror is a new one" mirror_replaced
check_equal "one container runs, never two" 1 "$(on worker-1 pgrep -fc '^sleep 100000$')"
on worker-1 sh -c "echo '{no pod' >$MANIFESTS/lifecycle-bad.yaml; rm $MANIFESTS/lifecycle-static.yaml"
check "the file goes, and the mirror" eventually 15 gone static-worker-1
check_equal "and the processes" 0 "$(on worker-1 pgrep -fc '^sleep 100000$')"

# --- ephemeral containers ---
pod() { # name, extra pod spec (flow YAML), fields of the container "main"
    kn apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $1}}
spec:
  terminationGracePeriodSeconds: 1
  $2
  containers:
  - name: main
    image: $BUSYBOX
$3
YAML
}
ready() { kn wait "pod/$1" --for=condition=Ready --timeout=30s; }
check "a pod to debug" pod debugged '' '    command: [sh, -c, "echo $$ >/tmp/own; exec sleep 54321"]'
check "runs" ready debugged
restarts=$(field debugged '{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}')
check_output "kubectl debug sees the target's processes" 'sleep 54321' \
    sh -c "(sleep 2; echo; sleep 1) | timeout 20 '$KUBECTL' -n $NS debug debugged -c dbg -i -q --image=$BUSYBOX --target=main --profile=general -- sh -c 'read x; ps'"
check "its end is in the status" eventually 10 field_becomes debugged '{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}' 0
check_output "and its output in the log" 'sleep 54321' kn logs debugged -c dbg
check_equal "the pod's own container did not notice" "$restarts" "$(field debugged '{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}')"
check_equal "and the pod stays ready" True "$(field debugged '{.status.conditions[?(@.type=="Ready")].status}')"
check_output "an exec into one that runs" '^inside$' sh -c "'$KUBECTL' -n $NS debug debugged -c dbg2 -q --image=$BUSYBOX --profile=general -- sleep 1000 >/dev/null 2>&1; '$KUBECTL' -n $NS wait pod/debugged --for=jsonpath='{.status.ephemeralContainerStatuses[1].state.running}' --timeout=10s >/dev/null; '$KUBECTL' -n $NS exec debugged -c dbg2 -- echo inside"

# --- in-place resize ---
cgroup_value() { # node, pid, v1 controller and file, v2 file
    on "$1" sh -c "d=\$(grep -E ':([a-z_,]*,)?$3(,[a-z_,]*)?:|^0::' /proc/$2/cgroup | head -n 1 | cut -d: -f3); cat /sys/fs/cgroup/$3\$d/$4 2>/dev/null || cat /sys/fs/cgroup\$d/$5"
}
value_becomes() { local want=$1; shift; [ "$(cgroup_value "$@")" = "$want" ]; }
check "a pod to resize" pod sized '' '    command: [sleep, "65432"]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]'
check "runs" ready sized
node=$(field sized '{.spec.nodeName}')
pid=$(on "$node" pgrep -f '^sleep 65432$')
check_output "with its cpu limit" '^10000' cgroup_value "$node" "$pid" cpu cpu.cfs_quota_us cpu.max
resize() { kn patch pod "$1" --subresource resize -p "{\"spec\":{\"containers\":[{\"name\":\"main\",\"resources\":$2}]}}"; }
check "kubectl patch --subresource resize" resize sized '{"requests":{"cpu":"70m"},"limits":{"cpu":"200m"}}'
check_output "the running process has a new limit" '^20000' eventually_output 10 '^20000' cgroup_value "$node" "$pid" cpu cpu.cfs_quota_us cpu.max
check "the status says so" eventually 10 field_becomes sized '{.status.containerStatuses[0].resources.limits.cpu} {.status.containerStatuses[0].allocatedResources.cpu}' "200m 70m"
check_equal "no restart" 0 "$(field sized '{.status.containerStatuses[0].restartCount}')"
check_output "events" 'ResizeCompleted' eventually_output 5 ResizeCompleted kn describe pod sized
check "memory, whose policy is a restart" resize sized '{"limits":{"memory":"48Mi"}}'
check "the container was restarted" eventually 20 field_becomes sized '{.status.containerStatuses[0].restartCount}' 1
check "with the new limit" eventually 10 field_becomes sized '{.status.containerStatuses[0].resources.limits.memory}' 48Mi
check "more than the node has" resize sized '{"requests":{"cpu":"1000"},"limits":{"cpu":"1000"}}'
check "is infeasible" eventually 10 field_becomes sized '{.status.conditions[?(@.type=="PodResizePending")].reason}' Infeasible
check_output "and says why" "Node didn't have enough capacity: cpu, requested: 1000000, capacity: [0-9]+" field sized '{.status.conditions[?(@.type=="PodResizePending")].message}'
check_equal "what was allocated stays" "200m 70m" "$(field sized '{.status.containerStatuses[0].resources.limits.cpu} {.status.containerStatuses[0].allocatedResources.cpu}')"
old=$(component_pid "$node" kubelet)
on "$node" pkill -9 -x kubelet
check "a restarted kubelet" eventually 15 component_restarted "$node" kubelet "$old"
check "a smaller size" resize sized '{"requests":{"cpu":"30m"},"limits":{"cpu":"60m"}}'
check "is no more pending" eventually 10 field_becomes sized '{.status.conditions[?(@.type=="PodResizePending")].reason}{.status.containerStatuses[0].resources.limits.cpu}' 60m
check_equal "without another restart" 1 "$(field sized '{.status.containerStatuses[0].restartCount}')"

# --- restart policies of containers ---
check "a container with rules of its own" pod rules 'restartPolicy: Never' '    command: [sh, -c, "[ -e /e/once ] || { touch /e/once; exit 42; }; exit 3"]
    restartPolicy: Never
    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]
    volumeMounts: [{name: e, mountPath: /e}]
  volumes: [{name: e, emptyDir: {}}]'
check "is restarted for the code that they name" eventually 40 field_becomes rules '{.status.phase} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.terminated.exitCode}' "Failed 1 3"

# --- RuntimeClass ---
k apply -f - >/dev/null <<YAML
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: e2e-runc}
handler: runc
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: e2e-absent}
handler: no-such-handler
YAML
check "a RuntimeClass" pod runc 'runtimeClassName: e2e-runc' '    command: [sleep, "1000"]'
check "gives the pod its handler" ready runc
check "a handler that the runtime lacks" pod absent 'runtimeClassName: e2e-absent' '    command: [sleep, "1000"]'
check_output "is an event" 'FailedCreatePodSandBox.*no-such-handler' eventually_output 10 FailedCreatePodSandBox kn describe pod absent
k delete runtimeclass e2e-runc e2e-absent >/dev/null

finish
