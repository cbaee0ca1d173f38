#!/usr/bin/env bash
# Puts and gets over the JSON gateway, plain HTTP, by wrk: etcd-lite and etcd beside each other, same disk, fsync on.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/bench/lib.sh
work=$(mktemp -d -p build)
SECONDS_EACH=${BENCH_SECONDS:-4}
ulimit -n 8192 2>/dev/null
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
cat >"$work/put.lua" <<'EOF'
local value = string.rep("dmFsdWUwMTIz", tonumber(os.getenv("VALUE_BYTES")) / 9)
local n = 0
function request()
  n = (n + 1) % 10000
  return wrk.format("POST", "/v3/kv/put", {["Content-Type"]="application/json"},
    string.format('{"key":"%s","value":"%s"}', string.format("a2V5%04d", n), value))
end
EOF
cat >"$work/get.lua" <<'EOF'
local n = 0
local more = os.getenv("SERIALIZABLE") == "1" and ',"serializable":true' or ''
function request()
  n = (n + 1) % 10000
  return wrk.format("POST", "/v3/kv/range", {["Content-Type"]="application/json"},
    string.format('{"key":"%s"%s}', string.format("a2V5%04d", n), more))
end
EOF
# The first LIMIT of the 10,000 keys that the puts made.
cat >"$work/range.lua" <<'EOF'
local body = string.format('{"key":"a2V5","range_end":"a2V6","limit":%s}', os.getenv("LIMIT"))
function request()
  return wrk.format("POST", "/v3/kv/range", {["Content-Type"]="application/json"}, body)
end
EOF
start() { # store, members
    local store=$1 count=$2 i cluster= p
    for ((i = 0; i < count; i++)); do cluster+="${cluster:+,}m$i=http://127.0.0.1:$((31200 + 2 * i + 1))"; done
    pids=()
    for ((i = 0; i < count; i++)); do
        p=$((31200 + 2 * i))
        flags=(--name=m$i --data-dir="$work/$store-$count-$i" --listen-client-urls=http://127.0.0.1:$p --advertise-client-urls=http://127.0.0.1:$p
            --listen-peer-urls=http://127.0.0.1:$((p + 1)) --initial-advertise-peer-urls=http://127.0.0.1:$((p + 1)) --initial-cluster="$cluster")
        if [ "$store" = etcd ]; then
            etcd "${flags[@]}" --log-level=error >/dev/null 2>&1 &
        else
            build/bin/etcd-lite "${flags[@]}" >/dev/null 2>&1 &
        fi
        pids+=($!)
    done
    for ((i = 0; i < count; i++)); do eventually 20 bash -c "curl -sf http://127.0.0.1:$((31200 + 2 * i))/health | grep -q true"; done
}
stop() {
    kill -9 "${pids[@]}" 2>/dev/null
    wait "${pids[@]}" 2>/dev/null
    pids=()
}
rate() { # lua, connections -> "rate p99"
    wrk -t1 -c"$2" -d${SECONDS_EACH}s --timeout 10s --latency -s "$work/$1.lua" http://127.0.0.1:31200 2>/dev/null | awk '/Requests\/sec/{r=$2} $1=="50%"{m=$2} $1=="99%"{p=$2} /Non-2xx/{bad=$0} END{printf "%d (%s, %s)%s", r, m, p, bad ? " ERRORS" : ""}'
}
declare -A result
for count in 1 3; do
    for store in lite etcd; do
        start $store $count
        for c in 1 16 100 1000; do
            for bytes in 256 1024; do result[$store-$count-put-$c-$bytes]=$(VALUE_BYTES=$bytes rate put $c); done
        done
        result[$store-$count-get-16]=$(rate get 16)
        result[$store-$count-sget-16]=$(SERIALIZABLE=1 rate get 16)
        result[$store-$count-range-500]=$(LIMIT=500 rate range 16)
        result[$store-$count-range-10000]=$(LIMIT=10000 rate range 4)
        rss=0
        for pid in "${pids[@]}"; do rss=$((rss + $(awk '/^VmRSS/{print $2}' "/proc/$pid/status"))); done
        result[$store-$count-rss]=$((rss / count / 1024))
        result[$store-$count-disk]=$(($(du -sm "$work/$store-$count-"* | awk '{n += $1} END {print n}') / count))
        stop
    done
done
echo "Store, JSON gateway, requests/s (p50, p99)"
printf '%-44s %24s %24s\n' "" etcd-lite etcd
for count in 1 3; do
    for c in 1 16 100 1000; do
        for bytes in 256 1024; do
            printf '%-44s %24s %24s\n' "$count member(s), put $bytes B, $c clients" "${result[lite-$count-put-$c-$bytes]}" "${result[etcd-$count-put-$c-$bytes]}"
        done
    done
    printf '%-44s %24s %24s\n' "$count member(s), get, 16 clients" "${result[lite-$count-get-16]}" "${result[etcd-$count-get-16]}"
    printf '%-44s %24s %24s\n' "$count member(s), serializable get, 16 clients" "${result[lite-$count-sget-16]}" "${result[etcd-$count-sget-16]}"
    for n in 500 10000; do
        printf '%-44s %24s %24s\n' "$count member(s), range of $n keys" "${result[lite-$count-range-$n]}" "${result[etcd-$count-range-$n]}"
    done
    printf '%-44s %24s %24s\n' "$count member(s), MB on disk per member after" "${result[lite-$count-disk]}" "${result[etcd-$count-disk]}"
    printf '%-44s %24s %24s\n' "$count member(s), resident MB per member after" "${result[lite-$count-rss]}" "${result[etcd-$count-rss]}"
done
