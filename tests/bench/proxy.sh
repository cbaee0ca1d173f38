#!/usr/bin/env bash
# What Services cost: kube-proxy's table at 100, 1,000 and 10,000 Services with 10 endpoints each, without a cluster.
cd "$(dirname "$0")/../.." || exit 1
make -s build/lib/kube-proxy.a build/lib/common.a || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
libs=$(pkg-config --libs libnftables libmnl libnetfilter_conntrack libmicrohttpd libcurl libcjson gnutls yaml-0.1 zlib)
# shellcheck disable=SC2086
gcc -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -I. -Ibuild/gen -o "$work/proxy" tests/bench/proxy.c build/lib/kube-proxy.a \
    build/lib/common.a $libs -pthread -lm || exit 1
echo "kube-proxy, Services with 10 endpoints each (goals at 10,000: whole table 2000 ms, one endpoint 10 ms)"
printf '%-10s %16s %22s %38s\n' "" "whole table" "one endpoint's change" "a new connection (us)"
printf '%-10s %16s %11s %10s %12s %12s %12s\n' Services "(ms)" "median (ms)" "max (ms)" "no NAT" "DNAT rule" "Service"
for n in 100 1000 10000; do
    read -r services whole median max direct rule service < <(
        unshare -n bash -c "ip link set lo up && ip addr add 10.89.0.21/32 dev lo && ip route add local 10.128.0.0/9 dev lo &&
            ip route add 10.96.0.0/16 dev lo src 10.89.0.21 &&
            exec '$work/proxy' $n 10"
    ) || exit 1
    printf '%-10s %16s %11s %10s %12s %12s %12s\n' "$services" "$whole" "$median" "$max" "$direct" "$rule" "$service"
done
