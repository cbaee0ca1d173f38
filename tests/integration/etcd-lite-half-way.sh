#!/bin/bash
# Leaders of etcd-lite are killed while a change of membership is half-way: each change is completed or was never made, the
# cluster comes back, and every acknowledged write is there. Needs etcdctl, jq, curl. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
BIN=${BUILD:-build}/bin/etcd-lite
PORT=${TEST_PORT:-22100}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/half-way.XXXXXX")
RANDOM=${SEED:-$$}
declare -A pid=()

cleanup() {
    exec 2>/dev/null
    for p in "${pid[@]}"; do kill -9 "$p"; done
    wait
    if [ "$FAILED" = 0 ]; then rm -rf "$DIR"; else echo "logs are in $DIR"; fi
}
trap cleanup EXIT
client() { echo "http://127.0.0.1:$((PORT + $1))"; }
peer() { echo "http://127.0.0.1:$((PORT + 20 + $1))"; }
cluster() {
    local i all=
    for i in "$@"; do all+="${all:+,}m$i=$(peer "$i")"; done
    echo "$all"
}
start() { # N: a member of the first cluster; 4 joins it
    local i=$1 how=new first=3
    [ "$FIRST" = 1 ] && first=1
    [ "$i" -gt $first ] && how=existing
    # shellcheck disable=SC2046
    "$BIN" --name "m$i" --data-dir "$DIR/m$i" --listen-client-urls "$(client "$i")" --advertise-client-urls "$(client "$i")" \
        --listen-peer-urls "$(peer "$i")" --initial-advertise-peer-urls "$(peer "$i")" --initial-cluster-token "$DIR" \
        --initial-cluster "$(cluster $(seq $first) $([ $how = existing ] && echo "$i"))" --initial-cluster-state $how >>"$DIR/m$i.log" 2>&1 &
    pid[$i]=$!
}
kill_9() { kill -9 "${pid[$1]}"; { wait "${pid[$1]}"; } 2>/dev/null; unset "pid[$1]"; }
healthy() { curl -s -m 2 "$(client "$1")/health" | grep -q '"true"'; }
endpoints() { local i; ETCDCTL_ENDPOINTS=; for i in "$@"; do ETCDCTL_ENDPOINTS+="${ETCDCTL_ENDPOINTS:+,}$(client "$i")"; done; export ETCDCTL_ENDPOINTS ETCDCTL_API=3; }
E() { etcdctl --command-timeout=3s "$@" 2>/dev/null; }
leader() { E endpoint status | awk -F', ' -v p="$PORT" '$5 == "true" {sub(/.*:/, "", $1); print $1 - p; exit}'; }
id() { E member list | awk -F', ' -v u="$(peer "$1")" '$4 == u {print $1}'; }
listed() { E member list | grep -q "$(peer "$1")"; }
unlisted() { E member list >"$DIR/list" && [ -s "$DIR/list" ] && ! grep -q "$(peer "$1")" "$DIR/list"; }
: >"$DIR/acked"
writes() { # some, each until it is acknowledged
    local i n
    for i in 1 2 3; do
        n=$(($(wc -l <"$DIR/acked") + 1))
        put_one() { E put "w/$n" "v$n" | grep -q OK; }
        eventually 15 put_one || return 1
        echo "w/$n v$n" >>"$DIR/acked"
    done
}
missing() { E get w/ --prefix -w json | jq -r '.kvs[]? | (.key | @base64d) + " " + (.value | @base64d)' | sort | comm -13 - <(sort "$DIR/acked") | wc -l; }
wait_ms() { read -rt "$(printf '0.%03d' "$1")" <> <(:) || :; }
# kill_leader_during MS COMMAND...: the leader dies that long after the command has begun, and is started again
kill_leader_during() {
    local lead
    lead=$(leader)
    "${@:2}" >/dev/null 2>&1 &
    local command=$!
    wait_ms "$1"
    [ -n "$lead" ] && kill_9 "$lead"
    { wait $command; } 2>/dev/null
    [ -n "$lead" ] && start "$lead"
    return 0
}
# One round: member 4 is added, starts and is made a voter, and is removed again.
round() { # MEMBERS...
    endpoints "$@"
    kill_leader_during $((RANDOM % 60 + 20)) E member add m4 --peer-urls "$(peer 4)"
    added() { listed 4 || { E member add m4 --peer-urls "$(peer 4)" && listed 4; }; }
    check "added, though the leader died" eventually 15 added || return 1
    rm -rf "$DIR/m4"
    start 4
    kill_leader_during $((RANDOM % 200 + 10)) true
    joined() { healthy 4 && E member list | grep "$(peer 4)" | grep -q started; }
    kill -0 "${pid[4]}" 2>/dev/null || start 4
    check "joined, though the leader died" eventually 20 joined || return 1
    check "writes go on" writes
    kill_leader_during $((RANDOM % 80 + 5)) E member remove "$(id 4)"
    removed() { unlisted 4 || { E member remove "$(id 4)" && unlisted 4; }; }
    check "removed, though the leader died" eventually 15 removed || return 1
    gone() { ! kill -0 "${pid[4]}"; }
    check "it ends by itself" eventually 15 gone
    wait "${pid[4]}"
    unset "pid[4]"
    check "writes go on" writes
    check_equal "acknowledged writes that are missing" 0 "$(missing)"
}

echo "seed ${SEED:-$$}"
# Of three members, another leads at once; of one, the dead one itself must find its way back.
FIRST=3
for i in 1 2 3; do start $i; done
endpoints 1 2 3
check "three members" eventually 10 healthy 3
check "writes" writes
for _ in 1 2; do round 1 2 3; done
for i in 1 2 3; do kill_9 $i; done
rm -rf "$DIR"/m?
FIRST=1
: >"$DIR/acked"
start 1
endpoints 1
check "one member" eventually 10 healthy 1
check "writes" writes
for _ in 1 2; do round 1; done

finish
