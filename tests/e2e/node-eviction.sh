#!/usr/bin/env bash
# A node under pressure: conditions, taints, ranking, evicted pods, refused pods; limits of local storage.
. "$(dirname "$0")/../tools/cluster.sh"
. tests/tools/kubelet-flags.sh
test_namespace e2e-node-eviction
HOST=worker-2
cleanup() {
    kubelet_flags $HOST >/dev/null 2>&1
    deploy/images/import $HOST >/dev/null 2>&1
    k delete ns "$NS" --wait=false >/dev/null 2>&1
    k delete priorityclass e2e-node-eviction >/dev/null 2>&1
    k delete pods -A --field-selector "status.phase=Failed,spec.nodeName=$HOST" >/dev/null 2>&1 # of others, evicted too
}
trap cleanup EXIT
k create priorityclass e2e-node-eviction --value=1000 >/dev/null
pod() { # name, container fields, pod fields
    kn apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  nodeName: $HOST
  restartPolicy: Always
  terminationGracePeriodSeconds: 1
  ${3:-}
  containers:
  - name: main
    image: $BUSYBOX
    $2
YAML
}
field() { kn get pod "$1" -o jsonpath="$2"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ]; }

# --- local storage
check "the kubelet looks often" kubelet_flags $HOST --housekeeping-interval=1s
check "a pod that writes more than its container's limit" pod writes 'command: [sh, -c, "dd if=/dev/zero of=/big bs=1M count=6; exec sleep 1000"]
    resources: {limits: {ephemeral-storage: 4Mi}}' >/dev/null
check "one that fills its emptyDir" pod fills 'command: [sh, -c, "dd if=/dev/zero of=/d/big bs=1M count=6; exec sleep 1000"]
    volumeMounts: [{name: d, mountPath: /d}]' 'volumes: [{name: d, emptyDir: {sizeLimit: 4Mi}}]' >/dev/null
check "one that stays below" pod modest 'command: [sh, -c, "dd if=/dev/zero of=/d/small bs=1M count=2; exec sleep 1000"]
    resources: {requests: {cpu: 10m, memory: 10Mi}, limits: {ephemeral-storage: 8Mi}}
    volumeMounts: [{name: d, mountPath: /d}]' 'volumes: [{name: d, emptyDir: {sizeLimit: 4Mi}}]' >/dev/null
check "the first is evicted" eventually 40 field_is writes '{.status.phase} {.status.reason}' 'Failed Evicted'
check_output "and told why" '(Pod ephemeral local storage usage exceeds the total limit of containers 4Mi|Container main exceeded its local ephemeral storage limit "4Mi")\. ' field writes '{.status.message}'
check "the second is evicted" eventually 30 field_is fills '{.status.phase} {.status.reason}' 'Failed Evicted'
check_output "and told why" '^Usage of EmptyDir volume "d" exceeds the limit "4Mi"\. ' field fills '{.status.message}'
check_output "an event says so" 'Warning +Evicted +.*Usage of EmptyDir volume "d" exceeds the limit "4Mi"' eventually_output 5 Evicted kn get events --field-selector involvedObject.name=fills
check_equal "the condition says who ended it" "True TerminationByKubelet" "$(field fills '{.status.conditions[?(@.type=="DisruptionTarget")].status} {.status.conditions[?(@.type=="DisruptionTarget")].reason}')"
check "the third runs on" kn wait pod/modest --for=condition=Ready --timeout=10s
kn delete pod writes fills --wait=false >/dev/null

# --- memory: thresholds around what is free now, so that nothing needs to be used up
meminfo() { on $HOST awk -v n="$1:" '$1 == n {print $2}' /proc/meminfo; }
free_kib() { echo $(($(meminfo MemFree) + $(meminfo 'Inactive(file)'))); }
pod greedy 'command: [sh, -c, "dd if=/dev/zero of=/m/use bs=1M count=20; exec sleep 1000"]
    volumeMounts: [{name: m, mountPath: /m}]
    resources: {requests: {cpu: 10m, memory: 8Mi}}' 'volumes: [{name: m, emptyDir: {medium: Memory}}]' >/dev/null
pod important 'command: [sh, -c, "dd if=/dev/zero of=/m/use bs=1M count=30; exec sleep 1000"]
    volumeMounts: [{name: m, mountPath: /m}]
    resources: {requests: {cpu: 10m, memory: 8Mi}}' 'volumes: [{name: m, emptyDir: {medium: Memory}}]
  priorityClassName: e2e-node-eviction' >/dev/null
pod small 'command: [sleep, "1000"]
    resources: {requests: {cpu: 10m, memory: 64Mi}}' >/dev/null
kn wait pod/greedy pod/important pod/small --for=condition=Ready --timeout=30s >/dev/null
on $HOST sh -c 'sleep 2'
check "the node runs short of memory" kubelet_flags $HOST --housekeeping-interval=2s --eviction-pressure-transition-period=3s --eviction-hard="memory.available<$(($(free_kib) * 12 / 10))Ki"
check "MemoryPressure" eventually 20 node_condition_is $HOST MemoryPressure True
check_output "its taint" 'node.kubernetes.io/memory-pressure:NoSchedule' eventually_output 10 memory-pressure k describe node $HOST
check_output "the event about it" 'EvictionThresholdMet.*Attempting to reclaim memory' eventually_output 10 EvictionThresholdMet k get events -n default --field-selector involvedObject.name=$HOST
check "the pod beyond its request and of low priority goes" eventually 30 field_is greedy '{.status.phase} {.status.reason}' 'Failed Evicted'
check_output "with Kubernetes' message" '^The node was low on resource: memory\. Threshold quantity: [0-9]+[KMG]i, available: [0-9]+[KMG]i\. Container main was using [0-9]+[KM]i, request is 8Mi, has larger consumption of memory\. ' field greedy '{.status.message}'
pod late 'command: [sleep, "1000"]' >/dev/null
check "a BestEffort pod is refused" eventually 15 field_is late '{.status.phase} {.status.reason}' 'Failed Evicted'
check_output "and told why" 'The node had condition: \[MemoryPressure\]' field late '{.status.message}'
pod wanted 'command: [sleep, "1000"]
    resources: {requests: {cpu: 10m, memory: 200Mi}}' >/dev/null
check "one that requested memory starts" eventually 40 field_is wanted '{.status.phase}' Running
check "the pressure ends" kubelet_flags $HOST --housekeeping-interval=1s
check "MemoryPressure is over" eventually 20 node_condition_is $HOST MemoryPressure False
untainted() { [ -z "$(k get node $HOST -o jsonpath='{.spec.taints}')" ]; }
check "the taint goes" eventually 15 untainted
check_equal "evicted before the one that is important" "0" "$(kn get events --field-selector involvedObject.name=important,reason=Evicted -o jsonpath='{.items[*].firstTimestamp}' | awk -v g="$(kn get events --field-selector involvedObject.name=greedy,reason=Evicted -o jsonpath='{.items[0].firstTimestamp}')" '{print ($1 < g)}' | grep -c 1)"
kn delete pods --all --wait=false >/dev/null

# --- processes and disk: a soft threshold waits for its grace period
max=$(on $HOST cat /proc/sys/kernel/pid_max)
threads=$(on $HOST cat /proc/sys/kernel/threads-max)
[ "$threads" -ge "$max" ] || max=$threads
check "the node runs short of processes, softly" kubelet_flags $HOST --housekeeping-interval=1s --eviction-soft="pid.available<$max" --eviction-soft-grace-period=pid.available=1h --eviction-pressure-transition-period=1s
check "PIDPressure" eventually 20 node_condition_is $HOST PIDPressure True
pod patient 'command: [sleep, "1000"]' 'tolerations: [{operator: Exists}]' >/dev/null
check "its grace period keeps pods alive, but none starts" eventually 15 field_is patient '{.status.reason}' Evicted
disk=$(on $HOST df -k --output=avail /var/lib/kubelet | tail -n 1)
pod keeper 'command: [sleep, "1000"]' >/dev/null
check "the node runs short of disk" kubelet_flags $HOST --housekeeping-interval=1s --eviction-hard="nodefs.available<$((disk * 2))Ki" --eviction-pressure-transition-period=1s --minimum-image-ttl-duration=10m
check "DiskPressure" eventually 20 node_condition_is $HOST DiskPressure True
check_output "its taint" 'node.kubernetes.io/disk-pressure:NoSchedule' eventually_output 10 disk-pressure k describe node $HOST
kubelet_flags $HOST >/dev/null
check "all is well again" eventually 30 node_condition_is $HOST DiskPressure False
check "the node is ready" node_condition_is $HOST Ready True
finish
