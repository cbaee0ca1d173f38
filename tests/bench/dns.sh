#!/usr/bin/env bash
# Answers per second of one dns thread, over loopback. Needs a running cluster: the names are its own.
. "$(dirname "$0")/../tools/cluster.sh"
work=$(mktemp -d)
build/bin/dns --kubeconfig="$KUBECONFIG" --bind-address=127.0.0.1 --port=15353 --metrics-port=15354 --upstream=127.0.0.1:1 --lameduck=0s 2>"$work/log" &
pid=$!
trap 'kill $pid; rm -rf "$work"' EXIT
eventually 10 curl -sf http://127.0.0.1:15354/readyz
cat >"$work/queries" <<EOF
kubernetes.default.svc.cluster.local A
kubernetes.default.svc.cluster.local AAAA
_https._tcp.kubernetes.default.svc.cluster.local SRV
kube-dns.kube-system.svc.cluster.local A
10-244-0-7.default.pod.cluster.local A
none.default.svc.cluster.local A
1.0.96.10.in-addr.arpa PTR
example.com.default.svc.cluster.local AAAA
EOF
cpu() { awk '{print ($14 + $15) * 10}' /proc/$pid/stat; } # ms
echo "dns, one thread (goal: 50,000 answers/s on one core)"
printf '%-30s %12s %14s %12s %12s\n' "" "answers/s" "per CPU-second" "average ms" "lost"
for mode in udp tcp; do
    before=$(cpu)
    dnsperf -s 127.0.0.1 -p 15353 -d "$work/queries" -m $mode -l 5 -c 16 -T 1 -q 400 >"$work/out" 2>&1
    used=$(($(cpu) - before))
    awk -v mode=$mode -v used=$used '/Queries completed/ {done = $3} /Queries lost/ {lost = $3} /Queries per second/ {rate = $4}
        /Average Latency/ {ms = $4 * 1000} END {printf "%-30s %12d %14d %12.2f %12d\n", mode, rate, done * 1000 / (used ? used : 1), ms, lost}' "$work/out"
done
printf '%-30s %12d\n' "resident memory, kB" "$(awk '/VmRSS/ {print $2}' /proc/$pid/status)"
