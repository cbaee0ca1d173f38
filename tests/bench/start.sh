#!/usr/bin/env bash
# Time from the start of the processes, with empty data, to /readyz: store and API; beside etcd alone.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/bench/lib.sh
. tests/tools/control-plane.sh
work=$(mktemp -d)
spin() { until "$@" >/dev/null 2>&1; do :; done; }
readyz() { curl -sf --max-time 1 --cacert "$CP_DIR/pki/ca.crt" "$API/readyz"; }
healthy() { curl -sf --max-time 1 --cacert "$CP_DIR/pki/ca.crt" --cert "$CP_DIR/pki/admin.crt" --key "$CP_DIR/pki/admin.key" "https://127.0.0.1:$CP_PORT/health" | grep -q true; }
CP_DIR=$work/cp CP_PORT=31100 API=https://127.0.0.1:31110
control_plane_pki "$CP_DIR/pki"
measure() { # store, members, with apiserver (yes/no)
    local i t runs=()
    CP_STORE=$1
    for _ in 1 2 3 4 5; do
        rm -rf "$CP_DIR"/m?
        t=$(now_ms)
        if [ "$2" = 1 ]; then
            CP_SINGLE=1 control_plane_member 0
        else
            for i in 0 1 2; do control_plane_member $i; done
        fi
        if [ "$3" = yes ]; then
            control_plane_apiserver 0
            spin readyz
        else
            spin healthy
        fi
        runs+=($(($(now_ms) - t)))
        control_plane_stop 2>/dev/null
    done
    median "${runs[@]}"
}
echo "Start to ready (ms, median of 5)"
printf '%-52s %8s\n' "etcd-lite, 1 member, to healthy" "$(measure lite 1 no)"
printf '%-52s %8s\n' "etcd-lite, 3 members, to healthy" "$(measure lite 3 no)"
printf '%-52s %8s   (budget 300; Kubernetes 4400)\n' "etcd-lite, 1 member, and apiserver, to /readyz" "$(measure lite 1 yes)"
printf '%-52s %8s\n' "etcd-lite, 3 members, and apiserver, to /readyz" "$(measure lite 3 yes)"
printf '%-52s %8s\n' "etcd, 1 member, to healthy" "$(measure etcd 1 no)"
printf '%-52s %8s\n' "etcd, 3 members, to healthy" "$(measure etcd 3 no)"
printf '%-52s %8s\n' "etcd, 3 members, and apiserver, to /readyz" "$(measure etcd 3 yes)"
rm -rf "$work"
