#!/usr/bin/env bash
# Admission beside what the integration tests show: default classes, RuntimeClass, resize within limits; volumes in use stay.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-admission
cleanup() {
    k delete storageclass e2e-old e2e-new --ignore-not-found >/dev/null 2>&1
    k delete ingressclass e2e-default --ignore-not-found >/dev/null 2>&1
    k delete runtimeclass e2e-rc --ignore-not-found >/dev/null 2>&1
    k delete pv e2e-pv --ignore-not-found --wait=false >/dev/null 2>&1
}
cleanup
trap 'cleanup; k delete ns "$NS" --wait=false >/dev/null 2>&1' EXIT
claim() { # name, [more of spec]
    kn apply -f - <<EOF
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $1}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, ${2:-}}
EOF
}
class() { kn get pvc "$1" -o jsonpath='{.spec.storageClassName}'; }
storage_class() { # name, default
    k apply -f - >/dev/null <<EOF
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: $1, annotations: {storageclass.kubernetes.io/is-default-class: "$2"}}
provisioner: example.com/none
allowVolumeExpansion: ${3:-false}
EOF
}
storage_class e2e-old true
sleep 1.1 # creation times are told in seconds
storage_class e2e-new true true
seen() { claim "$1" && [ "$(class "$1")" = e2e-new ] || { kn delete pvc "$1" --wait=false; false; }; }
check "the newest default class is taken" eventually 10 seen default
check_output "by kubectl's columns" 'Pending.* e2e-new ' kn get pvc default
claim none 'storageClassName: ""' >/dev/null
check_equal "none is a choice, too" "" "$(class none)"
claim named 'storageClassName: e2e-old' >/dev/null
check_equal "and so is a name" e2e-old "$(class named)"
check_equal "claims are protected" '["kubernetes.io/pvc-protection"]' "$(kn get pvc default -o jsonpath='{.metadata.finalizers}')"
check_output "only bound claims grow" 'Only bound persistent volume claims can be expanded' kn patch pvc default -p '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}'

k apply -f - >/dev/null <<EOF
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: e2e-default, annotations: {ingressclass.kubernetes.io/is-default-class: "true"}}
spec: {controller: example.com/none}
EOF
ingress() { kn delete ingress web --ignore-not-found; kn create ingress web --rule=a.example/=web:80 && [ "$(kn get ingress web -o jsonpath='{.spec.ingressClassName}')" = e2e-default ]; }
check "the default ingress class" eventually 10 ingress
kn create ingress other --class=mine --rule=a.example/=web:80 >/dev/null
check_equal "unless there is one" mine "$(kn get ingress other -o jsonpath='{.spec.ingressClassName}')"

k apply -f - >/dev/null <<EOF
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: e2e-rc}
handler: runc
overhead: {podFixed: {cpu: 5m, memory: 1Mi}}
scheduling: {nodeSelector: {kubernetes.io/os: linux}, tolerations: [{key: rc, operator: Exists}]}
EOF
run() { kn run "$1" --image=$BUSYBOX --restart=Never --overrides="{\"spec\":$2}" -- sleep 1000 2>&1; }
check_output "no such RuntimeClass" 'pod rejected: RuntimeClass "none" not found' run rc0 '{"runtimeClassName":"none"}'
check_output "an overhead of one's own" 'Pod Overhead set without corresponding RuntimeClass' run rc0 '{"overhead":{"cpu":"1"}}'
check_output "a selector against the class'" 'conflict: runtimeClass.scheduling.nodeSelector' run rc0 '{"runtimeClassName":"e2e-rc","nodeSelector":{"kubernetes.io/os":"other"}}'
check_output "a pod of the class" 'created' run rc1 '{"runtimeClassName":"e2e-rc"}'
check_equal "has its overhead, selector and tolerations" '5m linux rc' "$(kn get pod rc1 -o jsonpath='{.spec.overhead.cpu} {.spec.nodeSelector.kubernetes\.io/os} {.spec.tolerations[?(@.key=="rc")].key}')"

kn apply -f - >/dev/null <<EOF
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, max: {cpu: 200m}}]}
EOF
kn run sized --image=$BUSYBOX --restart=Never --overrides='{"spec":{"containers":[{"name":"sized","image":"'$BUSYBOX'","command":["sleep","1000"],"resources":{"requests":{"cpu":"10m"},"limits":{"cpu":"100m"}}}]}}' >/dev/null
limit() { kn patch pod sized --subresource=resize -p "{\"spec\":{\"containers\":[{\"name\":\"sized\",\"resources\":{\"limits\":{\"cpu\":\"$1\"}}}]}}" 2>&1; }
check_output "a resize within the limits" 'patched' limit 150m
check_output "and one beyond them" 'maximum cpu usage per Container is 200m, but limit is 300m' limit 300m

kn apply -f - >/dev/null <<EOF
apiVersion: v1
kind: PersistentVolume
metadata: {name: e2e-pv}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /tmp}, storageClassName: e2e-none, persistentVolumeReclaimPolicy: Retain}
EOF
check_equal "volumes are protected" '["kubernetes.io/pv-protection"]' "$(k get pv e2e-pv -o jsonpath='{.metadata.finalizers}')"
check "a free one goes" k delete pv e2e-pv --timeout=10s
# A claim is in use as soon as a pod with a node names it.
claim used 'storageClassName: e2e-old' >/dev/null
kn apply -f - >/dev/null <<EOF
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  nodeName: worker-1
  containers: [{name: c, image: $BUSYBOX, command: [sleep, "1000"]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: used}}]
EOF
kn delete pvc used --wait=false >/dev/null
check_output "a claim in use lingers" 'Terminating' kn get pvc used
check_output "another goes at once" 'deleted' kn delete pvc named --timeout=10s
check_output "it lingers still" 'Terminating' kn get pvc used
kn delete pod user --force >/dev/null 2>&1
check "and goes with its pod" kn wait pvc/used --for=delete --timeout=20s
finish
