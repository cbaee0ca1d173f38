#!/usr/bin/env bash
# The store with many keys, etcd-lite and etcd beside each other, one and three members: memory, disk, restart, what a write
# waits for while all data are written anew; and the fan-out of watches.
#   BENCH_KEYS=1000000 BENCH_MEMBERS="1 3"
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/bench/lib.sh
work=$(mktemp -d -p build)
KEYS=${BENCH_KEYS:-1000000} BYTES=1024 WATCHERS=1000 EVENTS=100
ulimit -n 8192 2>/dev/null
pids=()
trap 'kill -9 "${pids[@]}" ${writer:-} 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
gcc -O2 -std=c11 -pthread -D_GNU_SOURCE -o "$work/client" tests/bench/store_client.c || exit 1
port() { echo $((31300 + 2 * $1)); }
start_member() { # store, members, number
    local store=$1 count=$2 i=$3 p cluster= k
    for ((k = 0; k < count; k++)); do cluster+="${cluster:+,}m$k=http://127.0.0.1:$(($(port $k) + 1))"; done
    p=$(port $i)
    local flags=(--name=m$i --data-dir="$work/$store-$i" --listen-client-urls=http://127.0.0.1:$p --advertise-client-urls=http://127.0.0.1:$p
        --listen-peer-urls=http://127.0.0.1:$((p + 1)) --initial-advertise-peer-urls=http://127.0.0.1:$((p + 1)) --initial-cluster="$cluster"
        --quota-backend-bytes=17179869184)
    if [ "$store" = etcd ]; then
        etcd "${flags[@]}" --log-level=error >/dev/null 2>&1 &
    else
        build/bin/etcd-lite "${flags[@]}" >/dev/null 2>&1 &
    fi
    pids[$i]=$!
}
healthy() { curl -sf -m 2 "http://127.0.0.1:$(port "$1")/health" | grep -q true; }
await_health() { until healthy "$1"; do sleep 0.02; done; }
rss_mb() { local n=0 p; for p in "${pids[@]}"; do n=$((n + $(awk "/^$1/{print \$2}" "/proc/$p/status"))); done; echo $((n / ${#pids[@]} / 1024)); }
disk_mb() { echo $(($(du -sm "$work/$1-"* | awk '{n += $1} END {print n}') / ${#pids[@]})); }
ticks() { local n=0 p; for p in "${pids[@]}"; do n=$((n + $(awk '{print $14 + $15}' "/proc/$p/stat"))); done; echo $n; }
steady() { "$work/client" steady "$(port 0)" 100 >"$work/steady" & writer=$!; }
end_steady() { # REPLY: the longest write, ms
    kill -TERM $writer
    wait $writer
    writer=
    REPLY=$(awk '{print $4 " (p99 " $3 ")"}' "$work/steady")
}
revision() { curl -s "http://127.0.0.1:$(port 0)/v3/kv/range" -d '{"key":"YQ=="}' | jq -r .header.revision; }
# etcd answers when it is done; etcd-lite at once, and writes beside all else.
rewrite_all() { # store
    local mark=$work/mark
    touch "$mark"
    curl -s -m 300 "http://127.0.0.1:$(port 0)/v3/maintenance/defragment" -d '{}' >/dev/null
    [ "$1" = etcd ] || eventually 300 bash -c "find '$work/$1-0/member/snap' -name '*.base' -newer '$mark' | grep -q ."
}
declare -A result
for count in ${BENCH_MEMBERS:-1 3}; do
    for store in lite etcd; do
        r=$store-$count
        pids=()
        for ((i = 0; i < count; i++)); do start_member $store $count $i; done
        for ((i = 0; i < count; i++)); do await_health $i; done
        result[$r-load]=$("$work/client" load "$(port 0)" 0 $KEYS $BYTES)
        sleep 5
        result[$r-rss]=$(rss_mb VmRSS)
        result[$r-peak]=$(rss_mb VmHWM)
        result[$r-disk]=$(disk_mb $store)
        steady
        sleep 10
        end_steady
        result[$r-alone]=$REPLY
        steady
        rewrite_all $store
        end_steady
        result[$r-rewrite]=$REPLY
        result[$r-rewrite-peak]=$(rss_mb VmHWM)
        kill -9 "${pids[0]}"
        wait "${pids[0]}" 2>/dev/null
        began=$(now_ms)
        start_member $store $count 0
        await_health 0
        result[$r-restart]=$(($(now_ms) - began))
        for round in 1 2; do
            "$work/client" load "$(port 0)" 0 $((KEYS / 2)) $BYTES >/dev/null
            curl -s -m 60 "http://127.0.0.1:$(port 0)/v3/kv/compaction" -d "{\"revision\":\"$(revision)\"}" >/dev/null
        done
        sleep 5
        result[$r-over-rss]=$(rss_mb VmHWM)
        result[$r-over-disk]=$(disk_mb $store)
        kill -9 "${pids[@]}"
        wait "${pids[@]}" 2>/dev/null
        rm -rf "$work/$store-"*
        # Watches, on a fresh store.
        pids=()
        for ((i = 0; i < count; i++)); do start_member $store $count $i; done
        for ((i = 0; i < count; i++)); do await_health $i; done
        before=$(ticks) began=$(now_ms)
        read -r rate got wanted p50 p99 < <("$work/client" watch "$(port 0)" $WATCHERS $EVENTS 10)
        result[$r-watch]="$p50, $p99"
        [ "$got" = "$wanted" ] || result[$r-watch]+=" ($got of $wanted, $rate/s)"
        result[$r-watch-cpu]=$((($(ticks) - before) * 1000 / ($(now_ms) - began)))
        kill -9 "${pids[@]}"
        wait "${pids[@]}" 2>/dev/null
        rm -rf "$work/$store-"*
    done
done
row() { printf '%-62s %18s %18s\n' "$1" "${result[lite-$2]}" "${result[etcd-$2]}"; }
echo "Store, $KEYS keys of $BYTES B ($((KEYS * BYTES / 1048576)) MB), per member"
printf '%-62s %18s %18s\n' "" etcd-lite etcd
for c in ${BENCH_MEMBERS:-1 3}; do
    row "$c member(s), put all in, s" $c-load
    row "$c member(s), resident MB" $c-rss
    row "$c member(s), resident MB at the peak of it" $c-peak
    row "$c member(s), MB on disk" $c-disk
    row "$c member(s), longest write of a steady writer, ms" $c-alone
    row "$c member(s), while all data are written anew (defragment), ms" $c-rewrite
    row "$c member(s), resident MB at the peak of that" $c-rewrite-peak
    row "$c member(s), restart of one until healthy, ms" $c-restart
    row "$c member(s), resident MB at the peak of overwriting half, twice" $c-over-rss
    row "$c member(s), MB on disk after it" $c-over-disk
    row "$c member(s), $WATCHERS watchers, $EVENTS events/s: ms (p50, p99)" $c-watch
    row "$c member(s), processor of all members meanwhile, %" $c-watch-cpu
done
