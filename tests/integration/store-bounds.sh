#!/usr/bin/env bash
# What etcd-lite takes stays bounded: memory and disk with many keys, under overwrites, while snapshots are taken, after a
# restart; and members that were away catch up by the files that they lack. tests/bench/store_bounds.sh measures times.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
BIN=${BUILD:-build}/bin/etcd-lite
PORT=${STORE_BOUNDS_PORT:-21700}
KEYS=${KEYS:-40000} BYTES=1024
work=$(mktemp -d "${TMPDIR:-/tmp}/store-bounds.XXXXXX")
declare -A pid=()
trap 'kill -9 "${pid[@]}" 2>/dev/null; wait 2>/dev/null; [ $FAILED -gt 0 ] && echo "logs are in $work" || rm -rf "$work"' EXIT
gcc -O2 -std=c11 -pthread -D_GNU_SOURCE -o "$work/client" tests/bench/store_client.c || exit 1

start() { # MEMBER FLAG...
    local i=$1
    shift
    "$BIN" --name "m$i" --data-dir "$work/m$i" --listen-client-urls "http://127.0.0.1:$((PORT + i))" \
        --listen-peer-urls "http://127.0.0.1:$((PORT + 10 + i))" --initial-advertise-peer-urls "http://127.0.0.1:$((PORT + 10 + i))" \
        --quota-backend-bytes=-1 "$@" >>"$work/m$i.log" 2>&1 &
    pid[$i]=$!
}
kill_9() { kill -9 "${pid[$1]}"; wait "${pid[$1]}" 2>/dev/null; unset "pid[$1]"; }
ask() { curl -s -m 20 "http://127.0.0.1:$((PORT + $1))/v3/$2" -d "$3"; }
healthy() { curl -s -m 2 "http://127.0.0.1:$((PORT + $1))/health" | grep -q '"true"'; }
b64() { printf %s "$1" | base64 -w0; }
count() { ask "$1" kv/range "{\"key\":\"$(b64 load/)\",\"range_end\":\"$(b64 load0)\",\"count_only\":true}" | jq -r .count; }
hash() { ask "$1" maintenance/hash "{\"revision\":\"${2:-0}\"}" | jq -r .hash; }
revision() { ask "$1" kv/range '{"key":"YQ=="}' | jq -r .header.revision; }
compact() { ask "$1" kv/compaction "{\"revision\":\"$(revision "$1")\"}" >/dev/null; }
peak_mb() { awk '/^VmHWM/{print int($2 / 1024)}' "/proc/${pid[$1]}/status"; }
disk_mb() { du -sm "$work/m$1" | cut -f1; }
at_most() { [ "$2" -le "$3" ] && pass "$1 ($2, at most $3)" || fail "$1" "$2, must be at most $3"; }
settled() { ! ls "$work/m$1/member/snap/"*.tmp >/dev/null 2>&1; }
data_mb=$((KEYS * (BYTES + 20) / 1048576))

# --- one member ---
start 1
eventually 10 healthy 1
"$work/client" load $((PORT + 1)) 0 $KEYS $BYTES >/dev/null
check_equal "all keys are there" $KEYS "$(count 1)"
at_most "memory with $data_mb MB of data, snapshots included, at its peak" "$(peak_mb 1)" $((data_mb * 3 / 2 + 30))
for round in 1 2 3 4; do
    "$work/client" load $((PORT + 1)) 0 $KEYS $BYTES >/dev/null
    compact 1
done
# The version of before and the one of now, until the compaction has freed the first.
at_most "memory under overwrites, at its peak" "$(peak_mb 1)" $((data_mb * 5 / 2 + 40))
small_disk() { [ "$(disk_mb 1)" -le $((data_mb * 5 + 100)) ]; }
eventually 20 small_disk
at_most "disk after overwrites, log and snapshots" "$(disk_mb 1)" $((data_mb * 5 + 100))
at_most "the log on disk" "$(du -sm "$work/m1/member/raft" | cut -f1)" 60
before=$(hash 1)
kill_9 1
start 1
eventually 20 healthy 1
check_equal "all keys are there after a restart" $KEYS "$(count 1)"
check_equal "and all else is the same" "$before" "$(hash 1)"
# On demand all is written anew, without what compaction has freed; writes go on meanwhile.
touch "$work/mark"
new_base() { find "$work/m1/member/snap" -name '*.base' -newer "$work/mark" | grep -q . && settled 1; }
ask 1 maintenance/defragment '{}' >/dev/null
check "defragment writes the data anew" eventually 20 new_base
"$work/client" load $((PORT + 1)) 0 1000 $BYTES >/dev/null
eventually 10 settled 1
before=$(hash 1)
kill_9 1
start 1
eventually 20 healthy 1
check_equal "and it is loaded again" "$before" "$(hash 1)"
at_most "memory after a restart, at its peak" "$(peak_mb 1)" $((data_mb * 3 / 2 + 30))
kill_9 1
rm -rf "$work/m1"

# --- a member that was away ---
cluster=
for i in 1 2 3; do cluster+="${cluster:+,}m$i=http://127.0.0.1:$((PORT + 10 + i))"; done
three=(--initial-cluster "$cluster" --initial-cluster-token "$work")
for i in 1 2 3; do start $i "${three[@]}"; done
for i in 1 2 3; do eventually 10 healthy $i; done
fetched() { grep -o 'Fetched a snapshot.*bytes="[0-9]*"' "$work/m$1.log" | grep -o '[0-9]*"$' | tr -d '"' | awk '{n += $1} END {print n + 0}'; }
same() { [ "$(count 3)" = "$1" ] && [ "$(hash 3 "$2")" = "$(hash 1 "$2")" ]; }
away() { # KEYS: written while member 3 is down; then it is there again, the same as the others
    kill_9 3
    "$work/client" load $((PORT + 1)) "$1" "$2" $BYTES >/dev/null
    start 3 "${three[@]}"
    eventually 30 healthy 3
    local r
    r=$(revision 1)
    check "$3" eventually 20 same $(($1 + $2)) "$r"
}
away 0 $KEYS "a member that was away for all of the data is the same as the others"
all=$(fetched 3)
check "it has fetched them as files" [ "$all" -gt $((data_mb * 700000)) ]
restored() { grep -o 'Restored a snapshot.*revision="[0-9]*"' "$work/m3.log" | grep -o '[0-9]*"$' | tr -d '"'; }
before=$(restored | wc -l)
away $KEYS 20000 "a member that was away for a part is the same as the others"
part=$(($(fetched 3) - all))
# Its own files reach to the revision that it restored when it started; what it had beyond them, in its log, comes again. A
# hundred keys are one revision.
lacking=$((($(revision 1) - $(restored | sed -n "$((before + 1))p")) * 100))
check "its own files are of use" [ $lacking -lt $((20000 + 6000)) ]
at_most "kB that it has fetched of $((lacking * BYTES / 1000)) that its files lacked" $((part / 1000)) $((lacking * (BYTES + 100) / 1000 + 1000))
at_most "memory of the member that caught up, at its peak" "$(peak_mb 3)" $(((data_mb + 20) * 3 / 2 + 50))
kill_9 3
start 3 "${three[@]}"
eventually 20 healthy 3
check "it holds the same after a restart" eventually 10 same $((KEYS + 20000)) "$(revision 1)"
for i in 1 2 3; do kill -TERM "${pid[$i]}"; done
for i in 1 2 3; do
    wait "${pid[$i]}"
    check_equal "member $i ends in peace" 0 $?
    unset "pid[$i]"
done
finish
