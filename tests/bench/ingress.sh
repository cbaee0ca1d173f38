#!/usr/bin/env bash
# Requests per second and latency to the demo's pods: straight to one pod, through the Service, through the ingress controller.
# Asked from a worker, 16 connections. Needs a running cluster with the demo.
. "$(dirname "$0")/../tools/cluster.sh"
app() { k -n my-nest-app get "$@"; }
pod=$(app pods -l app=my-nest-app -o jsonpath='{.items[0].status.podIP}')
service=$(app service my-nest-app -o jsonpath='{.spec.clusterIP}')
ingress=$(k -n ingress-nginx get service ingress-nginx-controller -o jsonpath='{.spec.clusterIP}')
echo "GET of the NestJS demo, 16 connections, one client thread"
printf '%-30s %12s %12s %12s\n' "" "requests/s" "p50" "p99"
measure() { # what, url
    on worker-1 wrk -t 1 -c 16 -d 5 --latency -H 'Host: my-nest-app.local' "$2" |
        awk -v what="$1" '$1 == "50%" {p50 = $2} $1 == "99%" {p99 = $2} /^Requests\/sec/ {rate = $2} /Non-2xx/ {bad = " (" $0 ")"}
            END {printf "%-30s %12d %12s %12s%s\n", what, rate, p50, p99, bad}'
}
measure "one pod" "http://$pod:3000/"
measure "Service (three pods)" "http://$service/"
measure "ingress controller" "http://$ingress/"
controller=$(on worker-1 pgrep -x ingress-control | head -n 1)
printf '%-30s %12s\n' "ingress-controller, kB" "$(on worker-1 awk '/VmRSS/ {print $2}' "/proc/$controller/status")"
printf '%-30s %12s\n' "its nginx (Pss), kB" "$(for pid in $(on worker-1 pgrep -x nginx); do on worker-1 awk '/^Pss:/ {print $2}' "/proc/$pid/smaps_rollup"; done | awk '{s += $1} END {print s}')"
