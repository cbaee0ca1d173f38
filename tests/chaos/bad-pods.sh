#!/usr/bin/env bash
# Pods that fork without end, fill the disk, flood their log, eat memory, burn all processors or are exec'ed into without pause:
# their node stays ready, other pods keep answering, the kubelet stays small and does not restart. Each has limits, as it should.
. "$(dirname "$0")/../tools/cluster.sh"
. tests/tools/kubelet-flags.sh
test_namespace chaos-bad-pods
HOST=worker-2
SECONDS_OF_IT=${1:-15}
cleanup() {
    kill "${asker:-}" "${execer:-}" "${watcher:-}" 2>/dev/null
    k delete ns "$NS" --wait=false >/dev/null 2>&1
    kubelet_flags $HOST >/dev/null 2>&1
    rm -rf "$work"
}
work=$(mktemp -d)
trap cleanup EXIT
check "a kubelet with limits" kubelet_flags $HOST --pod-max-pids=64 --container-log-max-size=1Mi --container-log-max-files=2 \
    --container-log-monitor-interval=1s --housekeeping-interval=2s
kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: good, labels: {app: good}}
spec:
  nodeName: $HOST
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: $BUSYBOX
    command: [sh, -c, 'mkdir /www; echo fine >/www/index.html; exec httpd -f -p 8080 -h /www']
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 5}
    livenessProbe: {exec: {command: [cat, /www/index.html]}, periodSeconds: 2, timeoutSeconds: 8, failureThreshold: 4}
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {memory: 32Mi}}
YAML
check "a good pod" kn wait pod/good --for=condition=Ready --timeout=30s
ip=$(kn get pod good -o jsonpath='{.status.podIP}')
kubelet=$(component_pid $HOST kubelet)
rss() { on $HOST awk '/^VmRSS/{print $2}' "/proc/$kubelet/status"; }
before=$(rss)

# Asks the good pod all the while, and how ready its node is.
(
    while :; do
        if on $HOST curl -sf --max-time 4 "http://$ip:8080/" >/dev/null; then echo ok; else echo failed; fi >>"$work/answers"
        sleep 0.2
    done
) &
asker=$!
(
    while :; do
        node_condition $HOST Ready >>"$work/ready"
        echo >>"$work/ready"
        sleep 1
    done
) &
watcher=$!

bad() { # name, command, limits, more
    kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {bad: "yes"}}
spec:
  nodeName: $HOST
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: $BUSYBOX
    command: [sh, -c, '$2']
    resources: {limits: {$3}}
    ${4:-}
  volumes: [{name: d, emptyDir: {sizeLimit: 8Mi}}]
YAML
}
bad forks 'f() { f & f & wait; }; while :; do f; sleep 1; done' 'cpu: 100m, memory: 32Mi'
bad fills 'n=0; while [ $n -lt 48 ]; do n=$((n+1)); dd if=/dev/zero of=/d/$n bs=1M count=1 2>/dev/null; done; exec sleep 1000' 'cpu: 100m, memory: 64Mi, ephemeral-storage: 16Mi' 'volumeMounts: [{name: d, mountPath: /d}]'
bad floods 'exec yes a line that is repeated without end to fill the log of this container' 'cpu: 200m, memory: 32Mi'
bad eats 'exec dd if=/dev/zero of=/dev/null bs=256M' 'cpu: 100m, memory: 24Mi'
bad burns 'while :; do :; done' 'cpu: 200m, memory: 16Mi'
bad target 'exec sleep 1000' 'cpu: 100m, memory: 32Mi'
kn wait pod/target pod/forks --for=condition=Ready --timeout=40s >/dev/null
(
    while :; do
        for _ in 1 2 3 4; do timeout 20 "$KUBECTL" -n "$NS" exec target -- head -c 100000 /dev/zero >/dev/null 2>&1 & done
        wait
    done
) &
execer=$!
end=$((SECONDS + SECONDS_OF_IT))
most=0 most_log=0
while [ $SECONDS -lt $end ]; do
    now=$(rss)
    [ "${now:-0}" -le "$most" ] || most=$now
    log=$(on $HOST sh -c "du -sk /var/log/pods/${NS}_floods_* 2>/dev/null | cut -f1")
    [ "${log:-0}" -le "$most_log" ] || most_log=$log
    sleep 1
done
kill $execer 2>/dev/null

pids=$(on $HOST sh -c "cat /sys/fs/cgroup/pids/skiff/$HOST/kubepods/pod$(kn get pod forks -o jsonpath='{.metadata.uid}')/pids.current 2>/dev/null || cat /sys/fs/cgroup/skiff/$HOST/kubepods/pod$(kn get pod forks -o jsonpath='{.metadata.uid}')/pids.current 2>/dev/null")
echo "        kubelet: $before kB before, at most $most kB; log of the flood: at most $most_log kB; processes of the forks: ${pids:-none}"
check "who forks has no more processes than allowed" test "${pids:-0}" -le 64
evicted() { [ "$(kn get pod fills -o jsonpath='{.status.reason}')" = Evicted ]; }
check "who fills the disk is evicted" eventually 30 evicted
check "the flood's log stays in bounds" test "$most_log" -lt 200000
oom() { kn get pod eats -o jsonpath='{.status.containerStatuses[0].lastState.terminated.reason}{.status.containerStatuses[0].state.terminated.reason}' | grep -q OOMKilled; }
check "who eats memory is OOMKilled" eventually 20 oom
check_equal "the node was ready all the while" True "$(grep -v '^$' "$work/ready" | sort -u | tr '\n' ' ' | sed 's/ $//')"
kill $asker $watcher 2>/dev/null
answers=$(wc -l <"$work/answers")
check "the good pod was asked often ($answers times)" test "$answers" -ge 20
check_equal "and answered each time" 0 "$(grep -c failed "$work/answers")"
check_equal "it was not restarted" 0 "$(kn get pod good -o jsonpath='{.status.containerStatuses[0].restartCount}')"
check_equal "the kubelet is the same process" "$kubelet" "$(component_pid $HOST kubelet)"
check "and has not grown beyond measure" test "$most" -lt $((before + 40000))
uids=$(kn get pods -l bad=yes -o jsonpath='{.items[*].metadata.uid}')
check "all of them can be deleted" kn delete pods -l bad=yes --grace-period=0 --timeout=60s
no_groups() { # only the good pod's is left on the host, of this namespace
    local uid
    for uid in $uids; do
        ! on $HOST sh -c "find /sys/fs/cgroup -type d -name pod$uid | grep -F skiff/$HOST/" | grep -q . || return 1
    done
}
check "none of their control groups is left" eventually 20 no_groups
check_output "and the next pod starts at once" 'condition met' bash -c "'$KUBECTL' -n $NS run next --image=$BUSYBOX --overrides='{\"spec\":{\"nodeName\":\"$HOST\",\"terminationGracePeriodSeconds\":0}}' --command -- sleep 1000 >/dev/null && '$KUBECTL' -n $NS wait pod/next --for=condition=Ready --timeout=20s"
finish
