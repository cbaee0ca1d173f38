#!/usr/bin/env bash
# What a kubelet keeps in bounds: logs of running containers (and who follows them), images, dead containers.
. "$(dirname "$0")/../tools/cluster.sh"
. tests/tools/kubelet-flags.sh
test_namespace e2e-node-garbage
HOST=worker-2
work=$(mktemp -d)
ctr() { on $HOST ctr -n k8s.io "$@"; }
cleanup() {
    kubelet_flags $HOST >/dev/null 2>&1
    ctr images ls -q | grep '^skiff.local/garbage' | while read -r i; do ctr images rm "$i" >/dev/null; done
    k delete ns "$NS" --wait=false >/dev/null 2>&1
    rm -rf "$work"
}
trap cleanup EXIT
ctr images tag --force "$BUSYBOX" skiff.local/garbage:1 >/dev/null
check "a kubelet with small limits" kubelet_flags $HOST --container-log-max-size=20Ki --container-log-max-files=3 --container-log-monitor-interval=500ms \
    --image-gc-period=1s --minimum-image-ttl-duration=2s --image-gc-high-threshold=100 --image-gc-low-threshold=99

# --- logs
kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  nodeName: $HOST
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: $BUSYBOX
    command: [sh, -c, 'while [ ! -e /go ]; do sleep 0.1; done; n=0; while [ \$n -lt 3000 ]; do n=\$((n+1)); echo "line \$n of a text that makes the log grow"; [ \$((n % 100)) != 0 ] || usleep 150000; done; echo done >/done; while [ ! -e /more ]; do sleep 0.1; done; for i in 1 2 3 4 5; do echo "line 300\$i, the last ones"; done; exec sleep 1000']
YAML
kn wait pod/talker --for=condition=Ready --timeout=30s >/dev/null
kn logs -f talker >"$work/followed" 2>"$work/follow-errors" &
follower=$!
uid=$(kn get pod talker -o jsonpath='{.metadata.uid}')
dir=/var/log/pods/${NS}_talker_$uid/main
check "it begins to talk" kn exec talker -- touch /go
check "and ends" eventually 40 kn exec talker -- test -e /done
followed_all() { tail -n 1 "$work/followed" | grep -q 'line 3000 '; }
check "who followed has the last line" eventually 10 followed_all
kill $follower 2>/dev/null
check_equal "and each line once, in order, across rotations" "$(seq 3000 | md5sum)" "$(sed -n 's/^line \([0-9]*\) .*/\1/p' "$work/followed" | md5sum)"
files() { on $HOST ls "$dir"; }
check_output "the log was rotated" '^0\.log\.[0-9]{8}-[0-9]{6}(\.gz)?$' files
check_output "older ones are compressed" '^0\.log\.[0-9]{8}-[0-9]{6}\.gz$' eventually_output 5 'gz$' files
check_equal "never more files than allowed" 3 "$(files | wc -l)"
check_output "what is compressed is the log" 'stdout F line [0-9]+ of a text' on $HOST sh -c "zcat $dir/*.gz | tail -n 1"
# kubectl logs reads the current file alone, which a rotation may have left empty.
kn exec talker -- touch /more
check_output "kubectl logs reads the current one" '^line 3005,' eventually_output 10 3005 kn logs talker --tail=1
check_equal "--tail" 5 "$(kn logs talker --tail=5 | wc -l)"
check_output "--timestamps" '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z line 3005,' kn logs talker --tail=1 --timestamps
check_equal "--limit-bytes" "line" "$(kn logs talker --limit-bytes=4)"
check_equal "--since: long ago there is more than nothing" 1 "$(($(kn logs talker --since=1h | wc -l) > 0))"
check_equal "--since-time in the future" 0 "$(kn logs talker --since-time=2099-01-01T00:00:00Z | wc -l)"
check_output "no previous container" 'previous terminated container "main" in pod "talker" not found' kn logs talker --previous

# --- images
check_output "status.images tells of them" 'skiff.local/garbage:1' eventually_output 15 'garbage:1' k get node $HOST -o jsonpath='{.status.images[*].names}'
# An image of its own, to be found unused.
mkdir "$work/rootfs" && head -c 1000000 /dev/urandom >"$work/rootfs/file"
deploy/images/mkimage "$work/rootfs" skiff.local/garbage:unused '{"Cmd": ["none"]}' "$work/unused.tar"
ctr images import "$work/unused.tar" >/dev/null
check_output "an unused image" 'garbage:unused' ctr images ls -q
check "a kubelet that finds the disk full" kubelet_flags $HOST --image-gc-period=1s --minimum-image-ttl-duration=3s --image-gc-high-threshold=1 --image-gc-low-threshold=0
sleep 1
check_output "a young one stays" 'garbage:unused' ctr images ls -q
gone() { ! ctr images ls -q | grep -q garbage:unused; }
check "then it is removed" eventually 15 gone
check_output "images of running containers stay" "^$BUSYBOX\$" ctr images ls -q
check_output "and that of sandboxes" '^skiff.local/pause:1$' ctr images ls -q
check_output "an event tells that it was not enough" 'FreeDiskSpaceFailed.*Failed to garbage collect required amount of images. Attempted to free [0-9]+ bytes, but only found [0-9]+ bytes eligible to free' eventually_output 10 FreeDiskSpaceFailed k get events -n default --field-selector involvedObject.name=$HOST
kubelet_flags $HOST
deploy/images/import $HOST >/dev/null 2>&1

# --- dead containers
kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: dies}
spec:
  nodeName: $HOST
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: $BUSYBOX, command: [sh, -c, 'echo run; sleep 1; [ -e /data/\$\$ ] || exit 1'], volumeMounts: [{name: d, mountPath: /data}]}
  volumes: [{name: d, emptyDir: {}}]
YAML
restarted() { [ "$(kn get pod dies -o jsonpath='{.status.containerStatuses[0].restartCount}')" -ge 2 ]; }
check "a container that dies again and again" eventually 60 restarted
uid=$(kn get pod dies -o jsonpath='{.metadata.uid}')
of_pod() { on $HOST ctr -n k8s.io containers ls -q "labels.\"io.kubernetes.pod.uid\"==$uid,labels.\"io.cri-containerd.kind\"==container" | wc -l; }
few() { [ "$(of_pod)" -le 2 ]; }
check "leaves no more than its newest and the one before" eventually 10 few
check_output "logs --previous" '^run$' kn logs dies --previous
finish
