#!/usr/bin/env bash
# What a pod may do on its node: users, groups, capabilities, seccomp, mounts, sysctls; its control groups, OOM scores and
# limits; the node's allocatable; graceful shutdown of a node.
. "$(dirname "$0")/../tools/cluster.sh"
. tests/tools/kubelet-flags.sh
test_namespace e2e-node-security
HOST=worker-2
cleanup() {
    kubelet_flags $HOST >/dev/null 2>&1
    on $HOST rm -rf /var/lib/kubelet/seccomp
    k delete ns "$NS" --wait=false >/dev/null 2>&1
}
trap cleanup EXIT
pod() { # name, container fields (YAML, indented), pod fields, command
    kn apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  nodeName: $HOST
  terminationGracePeriodSeconds: 1
  ${3:-}
  containers:
  - name: main
    image: $BUSYBOX
    command: ["sh", "-c", "${4:-exec sleep 1000}"]
    ${2:-}
YAML
}
field() { kn get pod "$1" -o jsonpath="$2"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ]; }
in_pod() { kn exec "$1" -- sh -c "$2"; }
status_line() { in_pod "$1" "cat /proc/1/status" | awk -v n="$2:" '$1 == n {$1 = ""; print substr($0, 2)}'; }
on $HOST mkdir -p /var/lib/kubelet/seccomp/profiles
printf '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}' | on $HOST tee /var/lib/kubelet/seccomp/profiles/no-mkdir.json >/dev/null
check "a kubelet with reservations" kubelet_flags $HOST --system-reserved=cpu=100m,memory=200Mi,ephemeral-storage=1Gi --kube-reserved=memory=100Mi --eviction-hard="memory.available<100Mi,nodefs.available<1Gi" --pod-max-pids=64

# All at once, so that they start side by side.
pod user 'volumeMounts: [{name: d, mountPath: /d}, {name: s, mountPath: /s}]' 'securityContext: {runAsUser: 1234, runAsGroup: 2345, fsGroup: 3456, supplementalGroups: [4567]}
  volumes: [{name: d, emptyDir: {}}, {name: s, projected: {sources: [{downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}]' 'echo x >/d/file; exec sleep 1000' >/dev/null
pod override 'securityContext: {runAsUser: 99, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}' 'securityContext: {runAsUser: 1234}' >/dev/null
pod plain >/dev/null
pod privileged 'securityContext: {privileged: true}' >/dev/null
pod root 'securityContext: {runAsNonRoot: true}' >/dev/null
pod zero 'securityContext: {runAsNonRoot: true, runAsUser: 0}' >/dev/null
pod filtered 'securityContext: {seccompProfile: {type: Localhost, localhostProfile: profiles/no-mkdir.json}}' >/dev/null
pod default-profile 'securityContext: {seccompProfile: {type: RuntimeDefault}}' >/dev/null
pod missing-profile 'securityContext: {seccompProfile: {type: Localhost, localhostProfile: profiles/none.json}}' >/dev/null
pod sysctl '' 'securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "99"}]}' >/dev/null
pod unsafe '' 'securityContext: {sysctls: [{name: kernel.msgmax, value: "65536"}]}' >/dev/null
pod armored 'securityContext: {appArmorProfile: {type: RuntimeDefault}}' >/dev/null
pod guaranteed 'resources: {limits: {cpu: 100m, memory: 32Mi}}' >/dev/null
pod burstable 'resources: {requests: {cpu: 50m, memory: 64Mi}}' >/dev/null
pod eater 'resources: {limits: {memory: 16Mi}}' '' 'sleep 1; exec dd if=/dev/zero of=/dev/null bs=64M count=1' >/dev/null
kn wait pod/user pod/override pod/plain pod/privileged pod/filtered pod/default-profile pod/sysctl pod/guaranteed pod/burstable --for=condition=Ready --timeout=60s >/dev/null

check_equal "runAsUser, runAsGroup" "1234 2345" "$(in_pod user 'echo $(id -u) $(id -g)')"
check_output "supplementalGroups, fsGroup" '(^| )3456 .*4567|(^| )4567 .*3456' in_pod user 'id -G'
check_equal "fsGroup owns volumes, and new files in them" "3456 3456" "$(in_pod user 'echo $(stat -c %g /d) $(stat -c %g /d/file)')"
check_equal "projected files can be read by the group" "3456" "$(in_pod user 'stat -L -c %g /s/name')"
check_equal "the container's user is preferred to the pod's" 99 "$(in_pod override 'id -u')"
check_output "readOnlyRootFilesystem" 'Read-only file system' in_pod override 'echo >/x'
check_equal "allowPrivilegeEscalation: false" 1 "$(status_line override NoNewPrivs)"
check_equal "dropped and added capabilities (bounding set)" "0000000000000400" "$(status_line override CapBnd)"
check_equal "the runtime's own set" "00000000a80425fb" "$(status_line plain CapBnd)"
check_equal "unconfined by default" 0 "$(status_line plain Seccomp)"
check_equal "masked paths, not where privileged" "masked open" "$(in_pod plain 'grep -q "^tmpfs /proc/" /proc/mounts && echo masked') $(in_pod privileged 'grep -q "^tmpfs /proc/" /proc/mounts || echo open')"
check "privileged has the node's devices" in_pod privileged 'test -e /dev/loop-control || test -e /dev/kmsg || test -e /dev/vda'
check_equal "privileged has all capabilities that the node has" "$(on $HOST awk '/^CapBnd/{print $2}' /proc/self/status)" "$(status_line privileged CapBnd)"
check_output "runAsNonRoot with an image that runs as root" '^container has runAsNonRoot and image will run as root \(pod: "root_e2e-node-security\([0-9a-f-]+\)", container: main\)$' eventually_output 10 runAsNonRoot field root '{.status.containerStatuses[0].state.waiting.message}'
check_equal "is CreateContainerConfigError" CreateContainerConfigError "$(field root '{.status.containerStatuses[0].state.waiting.reason}')"
check_output "runAsNonRoot with runAsUser 0" "^container's runAsUser breaks non-root policy " eventually_output 10 non-root field zero '{.status.containerStatuses[0].state.waiting.message}'
check_output "seccomp Localhost" 'Operation not permitted' in_pod filtered 'mkdir /tmp/x'
check_equal "seccomp RuntimeDefault" 2 "$(status_line default-profile Seccomp)"
check_output "a seccomp profile that is not there" 'none.json' eventually_output 10 none.json field missing-profile '{.status.containerStatuses[0].state.waiting.message}'
check_equal "a safe sysctl" 99 "$(in_pod sysctl 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start')"
check "an unsafe one is forbidden" eventually 10 field_is unsafe '{.status.phase} {.status.reason}' 'Failed SysctlForbidden'
check_output "and named" 'forbidden sysctl: "kernel.msgmax" not allowlisted' field unsafe '{.status.message}'
if [ "$(on $HOST cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ]; then
    check_output "AppArmor where the kernel has none" 'Cannot enforce AppArmor: AppArmor is not enabled on the host' eventually_output 10 AppArmor field armored '{.status.message}'
fi

# --- classes, control groups, scores
pid_of() { on $HOST sh -c "for d in /proc/[0-9]*; do grep -q pod$(field "$1" '{.metadata.uid}') \$d/cgroup 2>/dev/null && grep -q '^sleep' \$d/comm && basename \$d; done" | head -n 1; }
group_of() { on $HOST sh -c "grep -E ':memory:|^0::' /proc/$(pid_of "$1")/cgroup | head -n 1"; }
check_output "Guaranteed: below kubepods itself" "kubepods/pod$(field guaranteed '{.metadata.uid}')/" group_of guaranteed
check_output "Burstable" "kubepods/burstable/pod" group_of burstable
check_output "BestEffort" "kubepods/besteffort/pod" group_of plain
check_equal "status.qosClass" "Guaranteed Burstable BestEffort" "$(field guaranteed '{.status.qosClass}') $(field burstable '{.status.qosClass}') $(field plain '{.status.qosClass}')"
score() { on $HOST cat "/proc/$(pid_of "$1")/oom_score_adj"; }
check_equal "OOM score of BestEffort" 1000 "$(score plain)"
order() { [ "$(score guaranteed)" -lt "$(score burstable)" ] && [ "$(score burstable)" -lt 1000 ]; }
check "those of better classes are lower" order
check_output "the pod's limit of processes" '^64$' on $HOST sh -c "cat /sys/fs/cgroup/pids/skiff/$HOST/kubepods/besteffort/pod$(field plain '{.metadata.uid}')/pids.max 2>/dev/null || cat /sys/fs/cgroup/skiff/$HOST/kubepods/besteffort/pod$(field plain '{.metadata.uid}')/pids.max"
oom_killed() { [ "$(field eater '{.status.containerStatuses[0].lastState.terminated.reason}{.status.containerStatuses[0].state.terminated.reason}')" = OOMKilled ]; }
check "who uses more memory than its limit is OOMKilled" eventually 30 oom_killed
check_equal "with exit code 137" 137 "$(field eater '{.status.containerStatuses[0].lastState.terminated.exitCode}{.status.containerStatuses[0].state.terminated.exitCode}')"

# --- allocatable: capacity less what is reserved and what eviction keeps free
kib() { k get node $HOST -o jsonpath="{.status.$1.memory}" | sed 's/Ki$//'; }
less() { [ $(($(kib capacity) - $(kib allocatable))) = $((400 * 1024)) ]; }
check "allocatable memory" eventually 20 less
cpu_less() { [ "$(k get node $HOST -o jsonpath='{.status.allocatable.cpu}')" = "$(($(k get node $HOST -o jsonpath='{.status.capacity.cpu}') * 1000 - 100))m" ]; }
check "allocatable cpu" cpu_less
check_output "the limit of all pods: less what is reserved" "^$(((($(kib capacity) - 300 * 1024)) * 1024 / 4096 * 4096))\$" on $HOST sh -c "cat /sys/fs/cgroup/memory/skiff/$HOST/kubepods/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/skiff/$HOST/kubepods/memory.max"

# --- the node goes off, and comes back
check "a kubelet that ends pods gracefully" kubelet_flags $HOST --shutdown-grace-period=20s --shutdown-grace-period-critical-pods=5s
kn wait pod/plain --for=condition=Ready --timeout=20s >/dev/null
on $HOST pkill -PWR -x kubelet
check "the node is not ready" eventually 15 node_condition_is $HOST Ready False
check_output "and says why" 'node is shutting down' k get node $HOST -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}'
check "its pods end" eventually 30 field_is plain '{.status.phase} {.status.reason}' 'Failed Terminated'
check_equal "and say why" "Pod was terminated in response to imminent node shutdown." "$(field plain '{.status.message}')"
pod late '' 'tolerations: [{operator: Exists}]' >/dev/null
check "no other starts" eventually 15 field_is late '{.status.reason}' NodeShutdown
check "the kubelet starts anew" kubelet_flags $HOST
check "and the node is ready" eventually 20 node_condition_is $HOST Ready True
k delete pods -A --field-selector "status.phase=Failed,spec.nodeName=$HOST" >/dev/null 2>&1
finish
