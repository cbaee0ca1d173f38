#!/usr/bin/env bash
# Volumes: PersistentVolumeClaims (dynamic, static, node affinity, protection, reclaim, expansion, ephemeral).
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-volumes
WORK=$(mktemp -d)
cleanup() {
    rm -rf "$WORK"
    k delete ns "$NS" --wait=false >/dev/null 2>&1
    k delete pv,storageclass -l e2e=volumes --wait=false >/dev/null 2>&1
    for host in "${WORKERS[@]}"; do
        on "$host" sh -c 'rm -rf /var/lib/skiff/e2e-*'
    done
}
trap cleanup EXIT
get() { kn get "$1" "$2" -o jsonpath="$3"; }
becomes() { [ "$(get "$1" "$2" "$3")" = "$4" ]; }
ready() { kn wait "pod/$1" --for=condition=Ready --timeout=30s; }
event() { eventually_output 10 "$3" kn describe "$1" "$2"; }
pod() { # name, volumes (flow YAML), container fields, more of the spec
    kn apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $1, color: blue}}
spec:
  terminationGracePeriodSeconds: 1
  ${4:-}
  volumes: $2
  containers:
  - name: main
    image: $BUSYBOX
$3
YAML
}
claim() { # name, size, more of the spec
    kn apply -f - <<YAML
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $1}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: $2}}${3:+, $3}}
YAML
}
in_pod() { kn exec "$1" -- sh -c "$2"; }

# --- the default class: a directory on the node of the first pod ---
check "a claim" claim data 1Gi
check_equal "gets the default class" local-path "$(get pvc data '{.spec.storageClassName}')"
check_output "and waits for its pod" 'waiting for first consumer to be created before binding' event pvc data 'first consumer'
check_equal "Pending" Pending "$(get pvc data '{.status.phase}')"
user='    command: [sh, -c, "hostname >>/data/log; exec sleep 100000"]
    volumeMounts: [{name: d, mountPath: /data}]'
check "a pod that uses it" pod user '[{name: d, persistentVolumeClaim: {claimName: data}}]' "$user"
check "runs" ready user
check_equal "the claim is bound" "Bound 1Gi" "$(get pvc data '{.status.phase} {.status.capacity.storage}')"
check_output "by an event" 'ProvisioningSucceeded.*Successfully provisioned volume pvc-' kn describe pvc data
volume=$(get pvc data '{.spec.volumeName}')
node=$(get pod user '{.spec.nodeName}')
check_equal "the scheduler's choice is noted" "$node" "$(get pvc data '{.metadata.annotations.volume\.kubernetes\.io/selected-node}')"
check_equal "the volume is of that node" "$node" "$(k get pv "$volume" -o jsonpath='{.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]}')"
check_output "its data is a directory there" '^user$' on "$node" cat "/var/lib/skiff/volumes/$volume/log"
check_output "the node tells of it" "kubernetes.io/local-volume/$volume" eventually_output 15 "$volume" k get node "$node" -o jsonpath='{.status.volumesInUse}'
kn delete pvc data --wait=false >/dev/null
check_output "a claim in use is protected" 'kubernetes.io/pvc-protection.*Terminating|Terminating' kn get pvc data
check_output "and says so" 'Finalizers: *\[kubernetes.io/pvc-protection\]' kn describe pvc data
kn delete pod user >/dev/null
check "it goes with its last pod" eventually 15 sh -c "! '$KUBECTL' -n $NS get pvc data"
check "so does the volume (Delete)" eventually 30 sh -c "! '$KUBECTL' get pv $volume"
check_fails "and the directory" on "$node" test -e "/var/lib/skiff/volumes/$volume"

check "a claim for two pods, one after the other" claim twice 100Mi
pod first '[{name: d, persistentVolumeClaim: {claimName: twice}}]' "$user" >/dev/null
check "the first runs" ready first
node=$(get pod first '{.spec.nodeName}')
kn delete pod first >/dev/null
pod second '[{name: d, persistentVolumeClaim: {claimName: twice}}]' "$user" >/dev/null
check "the second runs" ready second
check_equal "where the data is" "$node" "$(get pod second '{.spec.nodeName}')"
check_output "and sees it" 'first second' sh -c "'$KUBECTL' -n $NS exec second -- cat /data/log | tr '\n' ' '"
other=$([ "$node" = worker-1 ] && echo worker-2 || echo worker-1)
pod away '[{name: d, persistentVolumeClaim: {claimName: twice}}]' "$user" "nodeSelector: {kubernetes.io/hostname: $other}" >/dev/null
check_output "a pod that must be elsewhere cannot have it" "1 node\(s\) didn't match PersistentVolume's node affinity" event pod away "PersistentVolume's node affinity"
kn delete pod away --wait=false >/dev/null
check "expansion" kn patch pvc twice -p '{"spec":{"resources":{"requests":{"storage":"200Mi"}}}}'
check "reaches claim and volume" eventually 10 becomes pvc twice '{.status.capacity.storage}' 200Mi
check_equal "200Mi" 200Mi "$(k get pv "$(get pvc twice '{.spec.volumeName}')" -o jsonpath='{.spec.capacity.storage}')"
check_output "with an event" VolumeResizeSuccessful event pvc twice VolumeResizeSuccessful

pod lost '[{name: d, persistentVolumeClaim: {claimName: nowhere}}]' "$user" >/dev/null
check_output "a pod whose claim is missing" '0/2 nodes are available: persistentvolumeclaim "nowhere" not found. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling' event pod lost 'not found'
claim nowhere 1Mi >/dev/null
check "is scheduled when it comes" ready lost

# --- ephemeral volumes ---
check "a pod with an ephemeral volume" pod eph '[{name: d, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}}}}]' "$user"
check "runs" ready eph
check_equal "its claim is the pod's own" "Pod eph" "$(get pvc eph-d '{.metadata.ownerReferences[0].kind} {.metadata.ownerReferences[0].name}')"
kn delete pod eph >/dev/null
check "and goes with it" eventually 15 sh -c "! '$KUBECTL' -n $NS get pvc eph-d"

# --- volumes that the administrator made ---
on worker-1 mkdir -p /var/lib/skiff/e2e-static
k apply -f - >/dev/null <<YAML
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: e2e-static, labels: {e2e: volumes}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: e2e-static, labels: {e2e: volumes}}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: e2e-static
  local: {path: /var/lib/skiff/e2e-static}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [worker-1]}]}]}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: e2e-host, labels: {e2e: volumes}}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce, ReadWriteMany]
  storageClassName: manual
  hostPath: {path: /var/lib/skiff/e2e-host, type: DirectoryOrCreate}
YAML
check "a volume without a claim is Available" eventually 10 sh -c "[ \$('$KUBECTL' get pv e2e-host -o jsonpath='{.status.phase}') = Available ]"
check "a claim of its class" claim manual 500Mi 'storageClassName: manual'
check "is bound at once" eventually 10 becomes pvc manual '{.status.phase} {.spec.volumeName} {.status.capacity.storage}' "Bound e2e-host 1Gi"
check "a second one" claim manual2 500Mi 'storageClassName: manual'
check_output "finds none" 'storageclass.storage.k8s.io "manual" not found' event pvc manual2 ProvisioningFailed
claim none 1Mi 'storageClassName: ""' >/dev/null
check_output "nor does one without a class" 'FailedBinding.*no persistent volumes available for this claim and no storage class is set' event pvc none FailedBinding
pod hostuser '[{name: d, persistentVolumeClaim: {claimName: manual}}]' "$user" >/dev/null
check "a pod with the hostPath volume" ready hostuser
check_output "has its data on the host" '^hostuser$' on "$(get pod hostuser '{.spec.nodeName}')" cat /var/lib/skiff/e2e-host/log
pod waiting '[{name: d, persistentVolumeClaim: {claimName: manual2}}]' "$user" >/dev/null
check_output "a pod with the unbound claim" 'pod has unbound immediate PersistentVolumeClaims' event pod waiting 'unbound immediate'
host=$(get pod hostuser '{.spec.nodeName}')
kn delete pod hostuser waiting >/dev/null
kn delete pvc manual >/dev/null
check "a retained volume is Released" eventually 10 sh -c "[ \$('$KUBECTL' get pv e2e-host -o jsonpath='{.status.phase}') = Released ]"
check_output "its data stays" '^hostuser$' on "$host" cat /var/lib/skiff/e2e-host/log

check "a claim for a local volume" claim fixed 1Gi 'storageClassName: e2e-static'
pod fixed '[{name: d, persistentVolumeClaim: {claimName: fixed}}]' "$user" >/dev/null
check "its pod runs" ready fixed
check_equal "on the volume's node, with that volume" "worker-1 e2e-static" "$(get pod fixed '{.spec.nodeName}') $(get pvc fixed '{.spec.volumeName}')"
check_output "in its directory" '^fixed$' on worker-1 cat /var/lib/skiff/e2e-static/log
claim fixed2 1Gi 'storageClassName: e2e-static' >/dev/null
pod fixed2 '[{name: d, persistentVolumeClaim: {claimName: fixed2}}]' "$user" >/dev/null
check_output "no more of them" "2 node\(s\) didn't find available persistent volumes to bind" event pod fixed2 'available persistent volumes'

finish
