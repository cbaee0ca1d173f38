#!/bin/bash
# etcd-lite beside Debian's etcd: the same requests, the same answers. The last line is "N passed, N failed".
#   SEED=n repeats a run
set -u
cd "$(dirname "$0")/../.." || exit 1
PORT=${ETCD_LITE_PORT:-21400}
if ! command -v etcd >/dev/null || ! command -v node >/dev/null; then
    echo "needs etcd (etcd-server) and node"
    echo "0 passed, 1 failed"
    exit 1
fi
DIR=$(mktemp -d "${TMPDIR:-/tmp}/beside-etcd.XXXXXX")
pids=()
cleanup() {
    kill -9 "${pids[@]}"
    wait
    rm -rf "$DIR"
} 2>/dev/null
trap cleanup EXIT

start() { # PROGRAM PORT
    "$1" --name m --data-dir "$DIR/$2" --listen-client-urls "http://127.0.0.1:$2" --advertise-client-urls "http://127.0.0.1:$2" \
        --listen-peer-urls "http://127.0.0.1:$(($2 + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$(($2 + 1))" \
        --initial-cluster "m=http://127.0.0.1:$(($2 + 1))" >"$DIR/$2.log" 2>&1 &
    pids+=($!)
}
healthy() { curl -s -m 2 "http://127.0.0.1:$1/health" | grep -q '"true"'; }
start etcd "$PORT"
start "${BUILD:-build}/bin/etcd-lite" $((PORT + 10))
end=$((SECONDS + 20))
until healthy "$PORT" && healthy $((PORT + 10)); do
    if [ $SECONDS -ge $end ]; then
        tail -n 20 "$DIR"/*.log
        echo "0 passed, 1 failed"
        exit 1
    fi
    read -rt 0.05 <> <(:)
done
node tests/integration/etcd-lite-beside-etcd.mjs "$PORT" $((PORT + 10)) ${SEED:+"$SEED"}
