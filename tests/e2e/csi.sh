#!/usr/bin/env bash
# Volumes of a CSI driver (csi/driver.py, on worker-1): registration, staging and publishing, volumes inline in pods, what
# happens when kubelet or driver are killed meanwhile, and that nothing stays behind.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-csi
WORK=$(mktemp -d)
DRIVER=csi.e2e.skiff.dev
DATA=/var/lib/skiff/e2e-csi
LOG=$DATA/calls
REGISTRY=/var/lib/kubelet/plugins_registry/$DRIVER-reg.sock
protoc --proto_path=. --python_out="$WORK" kubelet/csi/csi.proto kubelet/csi/registration.proto
start_driver() {
    on worker-1 mkdir -p "$DATA"
    on worker-1 env PYTHONPATH="$WORK" PYTHONDONTWRITEBYTECODE=1 setsid /usr/bin/python3 "$PWD/tests/e2e/csi/driver.py" "$DRIVER" worker-1 /var/lib/kubelet "$DATA" "$LOG" >"$WORK/driver.log" 2>&1 </dev/null &
}
stop_driver() { on worker-1 pkill "$@" -f "csi/driver.py $DRIVER"; }
cleanup() {
    k delete ns "$NS" --wait=true --timeout=30s >/dev/null 2>&1
    k delete pv,csidriver -l e2e=csi --wait=false >/dev/null 2>&1
    stop_driver
    on worker-1 sh -c "rm -rf $DATA /var/lib/kubelet/plugins/$DRIVER $REGISTRY"
    rm -rf "$WORK"
}
trap cleanup EXIT
csinode() { k get csinode worker-1 -o jsonpath="$1"; }
ready() { kn wait "pod/$1" --for=condition=Ready --timeout=30s; }
event() { eventually_output 15 "$3" kn describe "$1" "$2"; }
calls() { on worker-1 grep -c "\"method\": \"$1\".*\"volumeId\": \"$2\"" "$LOG"; }
mounts() { on worker-1 grep -c "$1" /proc/self/mounts; }
volume() { # name, handle
    k apply -f - <<YAML
apiVersion: v1
kind: PersistentVolume
metadata: {name: $1, labels: {e2e: csi}}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  claimRef: {namespace: $NS, name: $1}
  csi: {driver: $DRIVER, volumeHandle: $2, fsType: ext4, volumeAttributes: {color: blue}, nodeStageSecretRef: {name: stage, namespace: $NS}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $1, namespace: $NS}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: "", volumeName: $1}
YAML
}
pod() { # name, volumes, more of the spec
    kn apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  nodeName: worker-1
  terminationGracePeriodSeconds: 1
  ${3:-}
  volumes: $2
  containers:
  - name: main
    image: $BUSYBOX
    command: [sh, -c, 'hostname >>/data/log; exec sleep 100000']
    volumeMounts: [{name: v, mountPath: /data}]
YAML
}
check "each node has its CSINode" eventually 10 k get csinode worker-1 worker-2
k apply -f - >/dev/null <<YAML
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: $DRIVER, labels: {e2e: csi}}
spec: {attachRequired: false, podInfoOnMount: true, volumeLifecycleModes: [Persistent, Ephemeral]}
YAML
kn create secret generic stage --from-literal=password=hunter2 >/dev/null
check "a volume and its claim" volume e2e-csi vol-1
pod early '[{name: v, persistentVolumeClaim: {claimName: e2e-csi}}]' >/dev/null
check_output "without the driver a pod waits" "driver name $DRIVER not found in the list of registered CSI drivers" event pod early 'not found in the list'
start_driver
check_output "the driver registers" "^$DRIVER id-worker-1 7" eventually_output 15 "$DRIVER" csinode '{.spec.drivers[0].name} {.spec.drivers[0].nodeID} {.spec.drivers[0].allocatable.count}'
check_output "and is told so" '"pluginRegistered": true' eventually_output 5 true on worker-1 cat "$LOG"
check_equal "its topology is a label of the node" worker-1 "$(k get node worker-1 -o jsonpath="{.metadata.labels.csi\.e2e\.skiff\.dev/node}")"
check "the pod runs" ready early
check_output "on the driver's volume" '^early$' on worker-1 cat "$DATA/vol-1/log"
check_output "the driver was told of volume, secret and pod" '^blue aHVudGVyMg==|^blue hunter2' on worker-1 sh -c "jq -r 'select(.method==\"NodeStageVolume\") | .volumeContext.color + \" \" + .secrets.password' $LOG | head -n 1"
check_output "and of the pod" '^early$' on worker-1 sh -c "jq -r 'select(.method==\"NodePublishVolume\") | .volumeContext[\"csi.storage.k8s.io/pod.name\"]' $LOG"
pod second '[{name: v, persistentVolumeClaim: {claimName: e2e-csi, readOnly: true}}]' >/dev/null
check_output "a second pod, read-only" 'true' eventually_output 15 true on worker-1 sh -c "jq -r 'select(.method==\"NodePublishVolume\") | .readonly' $LOG | tail -n 1"
old=$(component_pid worker-1 kubelet)
container=$(kn get pod early -o jsonpath='{.status.containerStatuses[0].containerID}')
on worker-1 pkill -9 -x kubelet
check "the kubelet is killed and back" eventually 15 component_restarted worker-1 kubelet "$old"
check_output "it knows the driver again" "$DRIVER" eventually_output 10 "$DRIVER" csinode '{.spec.drivers[*].name}'
kn delete pod second >/dev/null
check_equal "one pod goes: it is unpublished, but stays staged" "0" "$(calls NodeUnstageVolume vol-1)"
check_equal "the other runs on" "$container" "$(kn get pod early -o jsonpath='{.status.containerStatuses[0].containerID}')"
stop_driver -9
kn delete pod early --wait=false >/dev/null
check_output "while the driver is down, a pod cannot be taken down" '[1-9]' mounts 'kubernetes.io~csi'
on worker-1 rm -f "$REGISTRY"
start_driver
check "it goes when the driver is back" kn wait pod/early --for=delete --timeout=30s
check_output "unpublished and unstaged" '^[1-9]' calls NodeUnstageVolume vol-1
check_output "no mount is left" '^0$' mounts "kubernetes.io~csi"
check_output "no staging directory" '^0$' on worker-1 sh -c "find /var/lib/kubelet/plugins/kubernetes.io/csi/$DRIVER -mindepth 1 2>/dev/null | wc -l"

pod inline "[{name: v, csi: {driver: $DRIVER, volumeAttributes: {content: hello}}}]" >/dev/null
check "a volume that is inline in its pod" ready inline
check_output "has what its attributes say" '^hello$' kn exec inline -- cat /data/content
kn delete pod inline >/dev/null
check_output "and goes with it" '^0$' mounts "kubernetes.io~csi"

volume e2e-csi-broken broken >/dev/null
pod broken '[{name: v, persistentVolumeClaim: {claimName: e2e-csi-broken}}]' >/dev/null
check_output "the driver's errors are events" 'FailedMount.*this volume is broken' event pod broken 'is broken'
kn delete pod broken --wait=false >/dev/null
check "such a pod can be deleted" kn wait pod/broken --for=delete --timeout=20s
stop_driver
check_output "the driver leaves the CSINode" '^$' sh -c "'$KUBECTL' wait csinode/worker-1 --for=jsonpath='{.spec.drivers}'='[]' --timeout=15s >/dev/null 2>&1; '$KUBECTL' get csinode worker-1 -o jsonpath='{.spec.drivers[*].name}'"
finish
