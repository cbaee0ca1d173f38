# shellcheck shell=bash disable=SC2034
# What the scripts here share: where things are, which hosts there are. Sourced, never run.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DEPLOY=$ROOT/deploy
BUILD=${BUILD:-build}          # build/san runs the cluster with the sanitizers' binaries
BIN=$ROOT/$BUILD/bin
TOOLS=$ROOT/build/tools        # programs that only deploying needs
IMAGES=$ROOT/build/images
CLUSTER=$ROOT/build/cluster    # all that belongs to the running cluster; `make down` removes it
PKI=$CLUSTER/pki
HOSTS_DIR=$CLUSTER/hosts
RUN=$CLUSTER/run
SERVICE=$CLUSTER/service       # what the supervisor outside of the hosts runs: the hosts and the load balancer

CONTROL_PLANES=(cp-1 cp-2 cp-3)
WORKERS=(worker-1 worker-2)
HOSTS=("${CONTROL_PLANES[@]}" "${WORKERS[@]}")
declare -A HOST_IP=([cp-1]=10.89.0.11 [cp-2]=10.89.0.12 [cp-3]=10.89.0.13 [worker-1]=10.89.0.21 [worker-2]=10.89.0.22)
# IPv6 beside IPv4, where this machine has it; IPV6= in the environment leaves it out.
IPV6=${IPV6-$([[ ! -e /proc/net/if_inet6 ]] || echo 1)}
declare -A HOST_IP6=([cp-1]=fd00:89::11 [cp-2]=fd00:89::12 [cp-3]=fd00:89::13 [worker-1]=fd00:89::21 [worker-2]=fd00:89::22)
LB_IP=10.89.0.1
LB_IP6=fd00:89::1
HOST_CIDR=10.89.0.0/24
POD_CIDR=10.244.0.0/16
SERVICE_CIDR=10.96.0.0/16
SERVICE_LB_CIDR=10.89.1.0/24   # addresses of Services of type LoadBalancer
HOST_CIDR6=fd00:89::/64
POD_CIDR6=fd00:10:244::/56
SERVICE_CIDR6=fd00:10:96::/112
SERVICE_LB_CIDR6=fd00:89:1::/112
SERVICE_FIRST_IP=10.96.0.1
DNS_IP=10.96.0.10
CLUSTER_DOMAIN=cluster.local
PAUSE_IMAGE=skiff.local/pause:1
INGRESS_PORT=${INGRESS_PORT:-8080} # of 127.0.0.1: leads to the ingress controller

# A range of each IP family that the cluster has: both A B
both() { echo "$1${IPV6:+,$2}"; }

is_worker() { [[ $1 == worker-* ]]; }
netns_of() { echo "skiff-$1"; }

services_of() {
    if is_worker "$1"; then
        echo containerd kubelet kube-proxy
    else
        # kube-proxy as well: the API server goes to pods and Services (proxy, webhooks)
        echo etcd-lite apiserver controller-manager scheduler kube-proxy
    fi
}

# The host's process 1 as seen from outside; fails when the host is not running.
host_pid() {
    local pid
    pid=$(cat "$RUN/$1.pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == host-init ]] && echo "$pid"
}

# Runs a command inside a host, as if logged in there.
on_host() {
    local pid
    pid=$(host_pid "$1") || { echo "host $1 is not running" >&2; return 1; }
    shift
    nsenter --target "$pid" --mount --uts --ipc --net --pid --wd=/ -- "$@"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "gave up waiting for $what" >&2
            return 1
        fi
        sleep 0.05
    done
}

# Processes whose command line starts like this (a regular expression), e.g. a program of this work tree.
pids_of() { pgrep -f "^$*" || true; }

# The process that keeps the hosts and the load balancer running; nothing when there is none.
supervisor_pid() { pids_of "$TOOLS/host-init --supervise"; }
