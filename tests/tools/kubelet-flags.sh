# Sourced after cluster.sh: kubelets with flags of a test's own.
# kubelet_flags HOST [FLAG...]: restarts the host's kubelet with more flags (none: as it was) and waits until it is ready.
kubelet_flags() {
    local host=$1 old
    shift
    old=$(component_pid "$host" kubelet)
    if [ $# -gt 0 ]; then
        printf 'KUBELET_EXTRA_ARGS="%s"\n' "$*" | on "$host" tee /etc/kubernetes/kubelet.env >/dev/null
    else
        on "$host" rm -f /etc/kubernetes/kubelet.env
    fi
    on "$host" pkill -x kubelet
    eventually 15 component_restarted "$host" kubelet "$old" && eventually 20 kubelet_answers "$host"
}
kubelet_answers() { on "$1" curl -sf --max-time 2 http://127.0.0.1:10248/readyz; }
node_condition() { k get node "$1" -o jsonpath="{.status.conditions[?(@.type==\"$2\")].status}"; }
node_condition_is() { [ "$(node_condition "$1" "$2")" = "$3" ]; }
