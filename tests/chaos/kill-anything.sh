#!/usr/bin/env bash
# What is not a component of Kubernetes may die as well: supervisors, loggers, inits of hosts, shims, pause processes,
# containers. After each kill the cluster is whole again by itself.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace chaos-any
web web 2 >/dev/null
check "the app runs" kn rollout status deployment/web --timeout=60s
ip=$(service_ip web)
nodes_ready() { [ "$(k get nodes -o jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}')" = "True True" ]; }
app_ready() { [ "$(kn get deployment web -o jsonpath='{.status.readyReplicas}')" = 2 ]; }
apis_ready() {
    local host
    for host in "${CONTROL_PLANES[@]}"; do api_ready_on "$host" || return 1; done
}
whole() { nodes_ready && app_ready && apis_ready && who worker-1 "$ip" && who worker-2 "$ip"; }
check "the cluster is whole" eventually 30 whole
# kill_on HOST WHAT PATTERN: the first process of that command line, inside the host
kill_on() {
    local host=$1 what=$2 pid
    pid=$(on "$host" pgrep -f "$3" | head -n 1)
    if ! on "$host" kill -9 "$pid"; then
        fail "there is a $what on $host"
        return
    fi
    check "whole again after the death of $what on $host" eventually 90 whole
}
kill_on cp-1 "a component's logger" '^svlogd .*/apiserver'
kill_on cp-1 "a component's supervisor" '^runsv apiserver'
kill_on worker-1 "the kubelet's logger" '^svlogd .*/kubelet'
kill_on worker-1 "a container" '^httpd -f'
kill_on worker-2 "a pause process" '^/pause'
kill_on worker-2 "a containerd-shim" '/containerd-shim-runc-v2 '
kill_on worker-1 "the kubelet's supervisor" '^runsv kubelet'
kill_on cp-2 "the host's supervisor" '^runsvdir '
check "a host's init is killed" pkill -9 -o -f "host-init cp-3 "
check "whole again after the death of cp-3's init" eventually 60 whole
check "the load balancer's supervisor is killed" pkill -9 -f '^runsv haproxy'
check "whole again after the death of the load balancer's supervisor" eventually 60 whole
check "the outer supervisor is killed" pkill -9 -f "^runsvdir .*build/cluster/service"
check "whole again after the death of the outer supervisor" eventually 90 whole
finish
