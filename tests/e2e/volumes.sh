#!/usr/bin/env bash
# Volumes of the kubelet alone (types of hostPath, updates, optional sources, modes, sub-paths, propagation), and PersistentVolumeClaims (dynamic, static, node affinity, protection, reclaim, expansion, ephemeral).
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

# --- what needs no claim ---
kn create configmap conf --from-literal=key=one >/dev/null
kn create secret generic sec --from-literal=key=one >/dev/null
check "a pod with content from the API" pod content '[{name: s, secret: {secretName: sec, items: [{key: key, path: dir/file, mode: 0440}]}}, {name: p, projected: {sources: [{configMap: {name: conf}}, {secret: {name: absent, optional: true}}, {downwardAPI: {items: [{path: color, fieldRef: {fieldPath: "metadata.labels[\x27color\x27]"}}]}}, {serviceAccountToken: {path: token, expirationSeconds: 600}}]}}, {name: o, configMap: {name: later, optional: true}}, {name: e, emptyDir: {}}]' '
    command: [sleep, "100000"]
    env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    volumeMounts: [{name: s, mountPath: /s}, {name: p, mountPath: /p}, {name: o, mountPath: /o}, {name: e, mountPath: /e, subPathExpr: "of/$(WHO)"}, {name: p, mountPath: /one, subPath: key}, {name: e, mountPath: /whole}]'
check "runs" ready content
check_output "items and modes" '^one 440$' in_pod content 'echo $(cat /s/dir/file) $(stat -Lc %a /s/dir/file)'
check_output "projected sources" '^one blue eyJ$' in_pod content 'echo $(cat /p/key) $(cat /p/color) $(cut -c 1-3 /p/token)'
check_output "an optional source that is absent" '^0$' in_pod content 'ls /o | wc -l'
check_output "subPathExpr" '^found$' in_pod content 'echo found >/e/x; cat /whole/of/content/x'
check_output "subPath of one file" '^one$' in_pod content 'cat /one'
kn label pod content color=green --overwrite >/dev/null
kn create configmap later --from-literal=now=here >/dev/null
kn patch secret sec -p '{"stringData":{"key":"two"}}' >/dev/null
# A change of the pod makes the kubelet look at once; without one, it looks every minute.
look() {
    kn label pod content look=$RANDOM --overwrite >/dev/null
    kn exec content -- sh -c 'echo $(cat /s/dir/file) $(cat /p/color) $(cat /o/now)'
}
check_output "changes reach the pod" '^two green here$' eventually_output 30 'two green here' look
check_output "not what is mounted by subPath" '^one$' in_pod content 'cat /one'
on worker-1 sh -c 'mkdir -p /var/lib/skiff/e2e-types; touch /var/lib/skiff/e2e-types/file'
hostpath() { # name, path, type
    pod "$1" "[{name: h, hostPath: {path: /var/lib/skiff/e2e-types/$2, type: $3}}]" '    command: [sleep, "100000"]
    volumeMounts: [{name: h, mountPath: /h}]' 'nodeName: worker-1' >/dev/null
}
hostpath hdir file Directory
hostpath hfile none File
hostpath hsock file Socket
hostpath hchar file CharDevice
hostpath hblock file BlockDevice
hostpath hmake made DirectoryOrCreate
hostpath htouch touched FileOrCreate
check "DirectoryOrCreate" ready hmake
check "FileOrCreate" ready htouch
check_output "made them" '^directory regular empty file$' on worker-1 sh -c 'echo $(stat -c %F /var/lib/skiff/e2e-types/made /var/lib/skiff/e2e-types/touched)'
check_output "Directory" 'hostPath type check failed: .*/file is not a directory' event pod hdir 'type check'
check_output "File" 'hostPath type check failed: .*/none is not a file' event pod hfile 'type check'
check_output "Socket" 'hostPath type check failed: .*/file is not a socket file' event pod hsock 'type check'
check_output "CharDevice" 'hostPath type check failed: .*/file is not a character device' event pod hchar 'type check'
check_output "BlockDevice" 'hostPath type check failed: .*/file is not a block device' event pod hblock 'type check'
kn delete pod hdir hfile hsock hchar hblock hmake htouch content --wait=false >/dev/null
pod maker '[{name: h, hostPath: {path: /var/lib/skiff/e2e-types}}]' '    command: [sh, -c, "mkdir -p /h/sub && mount -t tmpfs e2e /h/sub && echo seen >/h/sub/x; trap \"umount /h/sub; exit\" TERM; while :; do sleep 0.1; done"]
    securityContext: {privileged: true}
    volumeMounts: [{name: h, mountPath: /h, mountPropagation: Bidirectional}]' 'nodeName: worker-1' >/dev/null
pod taker '[{name: h, hostPath: {path: /var/lib/skiff/e2e-types}}]' '    command: [sleep, "100000"]
    volumeMounts: [{name: h, mountPath: /h, mountPropagation: HostToContainer, readOnly: true}]' 'nodeName: worker-1' >/dev/null
check "pods with mount propagation" ready taker
check_output "a mount in one is seen in the other" '^seen$' eventually_output 10 '^seen$' kn exec taker -- cat /h/sub/x
check_output "read-only stays so" 'Read-only file system' in_pod taker 'touch /h/y'
kn delete pod maker taker >/dev/null

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
