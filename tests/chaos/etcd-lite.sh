#!/usr/bin/env bash
# etcd-lite under faults: a workload runs against three members while they are killed, stopped, cut off, slowed, have their disks
# filled and their logs damaged; then everything heals, and the history of what clients saw is judged (tests/chaos/store/).
#   tests/chaos/etcd-lite.sh [SECONDS] [SEED]     the seed chooses the faults and what the clients do; it is printed
# Everything lives in namespaces of its own (processes, mounts, network), so nothing is left behind however the test ends.
# With KEEP=1, or after a failure, the history and the members' logs stay in build/chaos/.
set -u
[ -n "${CHAOS_DIR:-}" ] || cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
BUILD_DIR=${BUILD:-build}

if [ -z "${CHAOS_DIR:-}" ]; then
    seconds=${1:-40}
    seed=${2:-$((RANDOM * 32768 + RANDOM))}
    echo "seed $seed, faults for $seconds s: repeat with $0 $seconds $seed"
    make -s store-chaos $([ -n "${ETCD_LITE:-}" ] || echo etcd-lite) >/dev/null || { echo "0 passed, 1 failed"; exit 1; }
    CHAOS_DIR=$(pwd)/build/chaos/$seed-$$
    mkdir -p "$CHAOS_DIR"
    # A rebuild or an edit while the test runs must not change it.
    cp "${ETCD_LITE:-$BUILD_DIR/bin/etcd-lite}" "$CHAOS_DIR/etcd-lite"
    cp "$BUILD_DIR/bin/store-workload" "$BUILD_DIR/bin/store-checker" tests/chaos/etcd-lite.sh "$CHAOS_DIR"
    export CHAOS_DIR
    unshare --mount --pid --net --fork --kill-child --mount-proc --propagation private bash "$CHAOS_DIR/etcd-lite.sh" "$seconds" "$seed" &
    inner=$!
    trap 'kill -KILL $inner 2>/dev/null; rm -f "$CHAOS_DIR"/{etcd-lite,etcd-lite.sh,store-workload,store-checker}' EXIT
    trap 'exit 130' INT TERM HUP
    wait $inner
    status=$?
    if [ $status -eq 0 ] && [ -z "${KEEP:-}" ]; then rm -rf "$CHAOS_DIR"; else echo "logs and history are in $CHAOS_DIR"; fi
    exit $status
fi

# --- inside ---
RUN_SECONDS=$1
RANDOM=$(($2 % 32768))
WORK=$CHAOS_DIR/tmp
mkdir -p "$WORK" /run/netns
mount -t tmpfs chaos "$WORK"
mount -t tmpfs netns /run/netns # the names of our network namespaces are nobody else's
cd "$WORK" || exit 1
DISK_MB=160
declare -A pid=()
stopped=

net() { # MEMBER COMMAND...: in its network namespace
    ip netns exec "skiff-chaos-$1" "${@:2}"
}
client() { net client "$@"; }

# --- hosts ---
host() { # NAME ADDRESS
    ip netns add "skiff-chaos-$1"
    ip link add "port-$1" type veth peer name eth0 netns "skiff-chaos-$1"
    ip link set "port-$1" master bridge up
    ip -n "skiff-chaos-$1" addr add "$2/24" dev eth0
    ip -n "skiff-chaos-$1" link set eth0 up
    ip -n "skiff-chaos-$1" link set lo up
}
ip link set lo up
ip link add bridge type bridge
ip link set bridge up
host client 10.91.0.10
for i in 1 2 3; do
    host $i 10.91.0.$i
    mkdir disk$i
    mount -t tmpfs -o size=${DISK_MB}m "disk$i" disk$i
done

certificates() {
    openssl ecparam -genkey -name prime256v1 -noout -out ca.key
    openssl req -x509 -new -key ca.key -subj /CN=chaos-ca -days 2 -out ca.crt
    openssl ecparam -genkey -name prime256v1 -noout -out peer.key
    openssl req -new -key peer.key -subj /CN=peer -out peer.csr
    openssl x509 -req -in peer.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out peer.crt -extfile <(
        printf 'subjectAltName=IP:10.91.0.1,IP:10.91.0.2,IP:10.91.0.3\nextendedKeyUsage=serverAuth,clientAuth\n')
}
certificates 2>/dev/null

# --- members ---
run_member() { # MEMBER DATA_DIR LOG: in the foreground
    exec ip netns exec "skiff-chaos-$1" "$CHAOS_DIR/etcd-lite" --name "m$1" --data-dir "$2" \
        --initial-cluster "m1=https://10.91.0.1:2380,m2=https://10.91.0.2:2380,m3=https://10.91.0.3:2380" \
        --listen-client-urls "http://10.91.0.$1:2379" --advertise-client-urls "http://10.91.0.$1:2379" \
        --listen-peer-urls "https://10.91.0.$1:2380" --initial-advertise-peer-urls "https://10.91.0.$1:2380" \
        --peer-cert-file peer.crt --peer-key-file peer.key --peer-trusted-ca-file ca.crt --snapshot-count "${SNAPSHOT_COUNT:-100}" >>"$3" 2>&1
}
start() { # MEMBER...
    local i
    for i in "$@"; do
        run_member "$i" "disk$i/data" "$CHAOS_DIR/m$i.log" &
        pid[$i]=$!
    done
}
running() { kill -0 "${pid[$1]}" 2>/dev/null; }
kill_9() { # MEMBER...
    local i
    for i in "$@"; do kill -9 "${pid[$i]}" 2>/dev/null; done
    for i in "$@"; do wait "${pid[$i]}" 2>/dev/null; done
}
ask() { # MEMBER PATH [BODY]
    client curl -s -m "${LIMIT:-2}" "http://10.91.0.$1:2379/v3/$2" -d "${3:-{\}}"
}
healthy() { client curl -s -m 2 "http://10.91.0.$1:2379/health" | grep -q '"true"'; }
all_healthy() { healthy 1 && healthy 2 && healthy 3; }
leader() { # a member that says that it leads; any, when none does
    local i
    for i in 1 2 3; do
        [ "$(LIMIT=1 ask $i maintenance/status | jq -r 'if .leader == .header.member_id then 1 else 0 end' 2>/dev/null)" = 1 ] && echo $i && return
    done
    echo 1
}
nap() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; } # MILLISECONDS
below() { REPLY=$((RANDOM % $1)); }                               # in this shell: a subshell would not move RANDOM on
victim() { # half of the time the leader
    below 2
    if [ "$REPLY" = 0 ]; then
        below 3
        REPLY=$((REPLY + 1))
    else
        below 3 # moves RANDOM on as the other branch does: the seed alone decides what comes
        REPLY=$(leader)
    fi
}

# --- faults: each makes trouble for a while and ends it ---
deafen() { # MEMBER ADDRESS...: it hears nothing from them
    local i=$1
    shift
    net "$i" nft "add table inet chaos; add chain inet chaos in { type filter hook input priority 0; }; add rule inet chaos in ip saddr { $(
        IFS=,
        echo "$*"
    ) } drop"
}
mend() { net "$1" nft 'add table inet chaos; delete table inet chaos'; }
peers_of() { for p in 1 2 3; do [ $p = "$1" ] || echo 10.91.0.$p; done; }
isolate() {
    local p
    # shellcheck disable=SC2046
    deafen "$1" $(peers_of "$1")
    for p in 1 2 3; do [ $p = "$1" ] || deafen $p "10.91.0.$1"; done
}
rejoin() { for p in 1 2 3; do mend $p; done; }

fault_kill() {
    victim; local v=$REPLY
    what="member $v is killed"
    kill_9 "$v"
    below 1500; nap "$REPLY"
    start "$v"
}
# So long that the others' logs no more go back to where it stopped: it must fetch what it lacks.
fault_away() {
    victim; local v=$REPLY
    what="member $v is away for long"
    kill_9 "$v"
    below 4000; nap $((REPLY + 4000))
    start "$v"
}
fault_pause() {
    victim; local v=$REPLY
    below 3000; local ms=$((REPLY + 200))
    what="member $v is stopped for $ms ms"
    stopped=$v
    kill -STOP "${pid[$v]}"
    nap $ms
    kill -CONT "${pid[$v]}"
    stopped=
}
fault_power() {
    what="all members lose power"
    kill_9 1 2 3
    below 300; nap "$REPLY"
    start 1 2 3
}
fault_halves() {
    victim; local v=$REPLY
    below 3000; local ms=$((REPLY + 1000))
    what="member $v is cut off for $ms ms"
    isolate "$v"
    nap $ms
    rejoin
}
fault_oneway() {
    victim; local v=$REPLY
    below 3000; local ms=$((REPLY + 1000))
    what="member $v hears nobody for $ms ms"
    # shellcheck disable=SC2046
    deafen "$v" $(peers_of "$v")
    nap $ms
    rejoin
}
fault_link() {
    below 3; local v=$((REPLY + 1)) w=$(((REPLY + 1) % 3 + 1))
    below 2000; local ms=$((REPLY + 1000))
    what="members $v and $w do not hear each other for $ms ms"
    deafen $v 10.91.0.$w
    deafen $w 10.91.0.$v
    nap $ms
    rejoin
}
fault_flapping() {
    victim; local v=$REPLY i
    what="member $v's link flaps"
    for i in 1 2 3 4 5; do
        isolate "$v"
        below 700; nap $((REPLY + 50))
        rejoin
        below 500; nap "$REPLY"
    done
}
fault_slow() {
    below 3; local v=$((REPLY + 1))
    below 80; local delay=$((REPLY + 5))
    below 20; local loss=$((REPLY + 1))
    what="member $v's packets take $delay ms and $loss % are lost"
    # Kernels without netem: packets are lost, and a narrow link makes the others wait.
    net $v tc qdisc replace dev eth0 root netem delay ${delay}ms $((delay / 2))ms loss $loss% 2>/dev/null || {
        what="member $v's link carries $((delay * 20)) kbit/s and loses $loss %"
        net $v tc qdisc replace dev eth0 root tbf rate $((delay * 20))kbit burst 20kb latency 300ms
        net $v nft "add table inet chaos; add chain inet chaos in { type filter hook input priority 0; }; add rule inet chaos in numgen random mod 100 < $loss drop"
    }
    below 2500; nap $((REPLY + 1000))
    net $v tc qdisc del dev eth0 root
    mend $v
}
fault_disk() {
    victim; local v=$REPLY
    what="member $v's disk is full"
    dd if=/dev/zero of="disk$v/filler" bs=1M status=none 2>/dev/null
    # Segments are allocated ahead: they must be used up first, by transactions that are large and change nothing.
    local i
    for ((i = 0; i < 30; i++)); do ask $((i % 3 + 1)) kv/txn @large >/dev/null; done
    below 1500; nap $((REPLY + 500))
    rm -f "disk$v/filler"
    # It may have given up (not crashed); a supervisor would start it again.
    if ! running "$v"; then
        wait "${pid[$v]}"
        local status=$?
        what+=" (it ended)"
        [ $status -eq 1 ] || fail "a member whose disk is full ends in order" "exit status $status: $(tail -n 3 "$CHAOS_DIR/m$v.log")"
        start "$v"
    fi
}

# The segment that the log ends in, and the place of its last byte that is not zero.
find_tail() { # DIRECTORY: TAIL, USED
    local f last
    TAIL='' USED=0
    for f in "$1"/open-*; do
        [ -e "$f" ] || continue
        last=$(python3 - "$f" <<'P'
import sys
print(len(open(sys.argv[1], 'rb').read().rstrip(b'\0')))
P
        )
        [ "$last" -gt 8 ] && TAIL=$f USED=$last
    done
}
# Bytes that a batch would begin with, as a power loss in the middle of a write leaves them. Nobody acknowledged them.
fault_torn() {
    victim; local v=$REPLY
    what="member $v dies in the middle of a write"
    kill_9 "$v"
    find_tail "disk$v/data/member/raft"
    below 3000; local n=$((REPLY + 1))
    if [ -n "$TAIL" ]; then
        openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv "$(printf %032x $n)" -nosalt </dev/zero 2>/dev/null |
            head -c $n | dd of="$TAIL" bs=1 seek=$(((USED + 7) / 8 * 8)) conv=notrunc status=none
    fi
    start "$v"
}
# The end of a log is lost that both other members have on disk, and this one's neighbours live: nothing may be lost.
fault_tail() {
    victim; local v=$REPLY other=$((REPLY % 3 + 1)) i
    what="member $v loses the end of its log"
    kill_9 "$v"
    for ((i = 0; i < 50; i++)); do
        ask $other lease/grant '{"TTL":"1"}' | grep -q '"ID"' && break # through the log, without a revision
    done
    find_tail "disk$v/data/member/raft"
    below 2000; local n=$((REPLY + 1))
    if [ $i -lt 50 ] && [ -n "$TAIL" ] && [ $((USED - n)) -gt 100 ]; then
        below 2
        if [ "$REPLY" = 0 ]; then
            truncate -s $((USED - n)) "$TAIL"
        else
            printf '\xaa\x55' | dd of="$TAIL" bs=1 seek=$((USED - 3)) conv=notrunc status=none
        fi
    fi
    start "$v"
}
# A damaged middle of the log: the member must say so and not start. It is tried on a copy; then the member goes on with its own.
fault_middle() {
    victim; local v=$REPLY segment middle
    what="member $v is killed, and a copy of its log damaged in the middle"
    kill_9 "$v"
    rm -rf copy
    cp -r "disk$v/data" copy
    # A closed segment, or the one that is still written to.
    segment=$(ls copy/member/raft/0*-* 2>/dev/null | tail -n 1)
    below 1000; local permille=$REPLY
    below 2
    find_tail copy/member/raft
    if [ "$REPLY" = 0 ] && [ "$USED" -gt 50000 ]; then
        segment=$TAIL
        middle=$((USED * (permille + 200) / 2000))
    elif [ -n "$segment" ]; then
        middle=$(($(stat -c %s "$segment") * (permille + 200) / 1400))
    fi
    # Or a file of the snapshot that is in use.
    local snap
    snap=$(ls -t copy/member/snap/*.changes 2>/dev/null | head -n 1)
    below 3
    if [ "$REPLY" = 0 ] && [ -n "$snap" ]; then
        segment=$snap
        middle=$((16 + ($(stat -c %s "$snap") - 16) * permille / 1000))
    fi
    if [ -n "$segment" ]; then
        flip "$segment" $middle
        : >copy.log
        (run_member "$v" copy copy.log) &
        local p=$!
        if eventually 10 gone $p && wait $p; [ $? -ne 0 ] && grep -q 'damaged.*restore a backup' copy.log; then
            pass "a log damaged in its middle is refused, with advice"
        else
            fail "a log damaged in its middle is refused, with advice ($segment at $middle)" "$(tail -n 5 copy.log)"
            cp -r copy "$CHAOS_DIR/damaged-$v-$SECONDS"
        fi
        kill -9 $p 2>/dev/null
        wait $p 2>/dev/null
    fi
    rm -rf copy
    start "$v"
}
gone() { ! kill -0 "$1" 2>/dev/null; }
flip() { # FILE OFFSET: all bits of one byte
    printf "\\x$(printf %02x $((0xff ^ $(od -An -tu1 -j "$2" -N 1 "$1"))))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

printf '{"compare":[{"target":"VERSION","key":"eA==","version":"1"}],"success":[{"request_put":{"key":"eA==","value":"%s"}}]}' \
    "$(head -c 900000 /dev/zero | tr '\0' x | base64 -w0)" >large

read -ra FAULTS <<<"${FAULTS:-kill away pause power halves oneway link flapping slow disk torn tail middle}" # FAULTS="disk kill" tries these only

# --- the run ---
start 1 2 3
check "three members start" eventually 15 all_healthy || { cat "$CHAOS_DIR"/m?.log; finish; exit 1; }
history=$CHAOS_DIR/history.jsonl
ip netns exec skiff-chaos-client "$CHAOS_DIR/store-workload" --seed "$2" --history "$history" \
    --endpoints http://10.91.0.1:2379,http://10.91.0.2:2379,http://10.91.0.3:2379 >workload.out 2>&1 &
workload=$!
trap 'kill -9 $workload "${pid[@]}" 2>/dev/null; exit 130' INT TERM

# Each fault once in an order of the seed's, then again in another.
end=$((SECONDS + RUN_SECONDS)) order=()
nap 1000
while [ $SECONDS -lt $end ]; do
    if [ ${#order[@]} -eq 0 ]; then
        for f in "${FAULTS[@]}"; do
            below $((${#order[@]} + 1))
            order=("${order[@]:0:REPLY}" "$f" "${order[@]:REPLY}")
        done
    fi
    f=${order[0]}
    order=("${order[@]:1}")
    for i in 1 2 3; do
        running $i && continue
        fail "member $i has ended by itself" "$(tail -n 5 "$CHAOS_DIR/m$i.log")"
        [ -e "$CHAOS_DIR/ended-$i" ] || cp -r "disk$i/data" "$CHAOS_DIR/ended-$i"
        start $i
    done
    what=$f
    echo "$(date +%T.%N | cut -c 1-12) fault_$f" >>"$CHAOS_DIR/faults.log"
    "fault_$f"
    echo "$(date +%T.%N | cut -c 1-12) $what" >>"$CHAOS_DIR/faults.log"
    check "$what; all is well again" eventually 20 all_healthy || for i in 1 2 3; do running $i || start $i; done
    below 800; nap $((REPLY + 100))
done

# --- the end ---
kill -TERM $workload
if wait $workload; then pass "all comes to rest"; else fail "all comes to rest" "$(cat workload.out)"; fi
tail -n 1 workload.out
revision=$(ask 1 kv/range '{"key":"YQ=="}' | jq -r .header.revision)
for i in 2 3; do
    ask $i kv/range '{"key":"YQ=="}' >/dev/null
    check_equal "member $i holds what member 1 holds" "$(ask 1 maintenance/hash "{\"revision\":\"$revision\"}" | jq -r .hash)" \
        "$(ask $i maintenance/hash "{\"revision\":\"$revision\"}" | jq -r .hash)"
done
echo "$(cat "$CHAOS_DIR"/m?.log | grep -c 'Fetched a snapshot') times a member fetched files of a snapshot"
for i in 1 2 3; do
    kill -TERM "${pid[$i]}"
    wait "${pid[$i]}"
    check_equal "member $i ends in peace" 0 $?
done
"$CHAOS_DIR/store-checker" "$history" >verdict 2>&1
cat verdict
if grep -qE '^  (ok|FAIL) ' verdict; then
    PASSED=$((PASSED + $(grep -c '^  ok' verdict)))
    FAILED=$((FAILED + $(grep -c '^  FAIL' verdict)))
else
    fail "the history is judged"
fi
echo "seed $2, $(wc -l <"$history") records"
finish
