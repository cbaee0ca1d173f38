#!/usr/bin/env bash
# What becomes of a pod between its file or object and its end, beyond what kubelet.sh looks at: static pods and their
# mirrors.
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

finish
