#!/usr/bin/env bash
# Resident memory of each process of the running cluster, beside the design's budgets and what
# Kubernetes 1.20.2 + etcd 3.4.23 took on a like machine. PSS counts a shared page once over its sharers.
. "$(dirname "$0")/../tools/cluster.sh"
. tests/bench/lib.sh
kb() { on "$1" sh -c "awk '/^$3:/{print \$2}' /proc/$2/$4"; }
echo "Resident memory, idle (MB)"
printf '%-10s %-20s %8s %8s %8s\n' host process RSS PSS private
declare -A sum
for host in "${CONTROL_PLANES[@]}" "${WORKERS[@]}"; do
    case $host in cp-*) list=("${CONTROL_PLANE_COMPONENTS[@]}") ;; *) list=(kubelet kube-proxy) ;; esac
    for component in "${list[@]}"; do
        pid=$(component_pid "$host" "$component") || continue
        rss=$(kb "$host" "$pid" VmRSS status)
        pss=$(kb "$host" "$pid" Pss smaps_rollup)
        private=$(kb "$host" "$pid" Anonymous smaps_rollup)
        printf '%-10s %-20s %8.1f %8.1f %8.1f\n' "$host" "$component" "$(bc -l <<<"$rss/1024")" "$(bc -l <<<"$pss/1024")" "$(bc -l <<<"$private/1024")"
        sum[$host]=$((${sum[$host]:-0} + rss))
    done
done
echo
printf '%-42s %8s %8s %12s\n' "" Skiff budget "Kubernetes"
printf '%-42s %8.1f %8s %12s\n' "control plane, one each (cp-1), RSS MB" "$(bc -l <<<"${sum[cp-1]}/1024")" 25 482
printf '%-42s %8.1f %8s %12s\n' "kubelet + kube-proxy (worker-1), RSS MB" "$(bc -l <<<"${sum[worker-1]}/1024")" 12 116
