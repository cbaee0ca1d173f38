#!/bin/bash
# The membership of etcd-lite changes while clients write: 1 -> 3 -> 5 -> 1 members over TLS, driven by etcdctl; every write that
# was acknowledged must be there in the end. Needs etcdctl, jq, openssl, curl. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
BIN=${BUILD:-build}/bin/etcd-lite
PORT=${TEST_PORT:-21700}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/membership.XXXXXX")
declare -A pid=() flags=()
writers=()

cleanup() {
    exec 2>/dev/null
    touch "$DIR/stop"
    for p in "${pid[@]}" "${writers[@]}"; do kill -9 "$p"; done
    wait
    if [ "$FAILED" = 0 ]; then rm -rf "$DIR"; else echo "logs are in $DIR"; fi
}
trap cleanup EXIT

tls() {
    cd "$DIR" || exit 1
    openssl ecparam -genkey -name prime256v1 -noout -out ca.key
    openssl req -x509 -new -key ca.key -subj /CN=ca -days 2 -out ca.crt
    openssl ecparam -genkey -name prime256v1 -noout -out server.key
    openssl req -new -key server.key -subj /CN=server -out server.csr
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt \
        -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n')
    cd - >/dev/null || exit 1
}
tls 2>/dev/null

client() { echo "https://127.0.0.1:$((PORT + $1))"; }
peer() { echo "https://127.0.0.1:$((PORT + 20 + $1))"; }
cluster() { # MEMBER...: as --initial-cluster wants it
    local i all=
    for i in "$@"; do all+="${all:+,}m$i=$(peer "$i")"; done
    echo "$all"
}
# member N FLAGS...: runs member N in the foreground.
member() {
    local i=$1
    shift
    exec "$BIN" --name "m$i" --data-dir "$DIR/m$i" --listen-client-urls "$(client "$i")" --advertise-client-urls "$(client "$i")" \
        --listen-peer-urls "$(peer "$i")" --initial-advertise-peer-urls "$(peer "$i")" \
        --cert-file "$DIR/server.crt" --key-file "$DIR/server.key" --trusted-ca-file "$DIR/ca.crt" --client-cert-auth \
        --peer-cert-file "$DIR/server.crt" --peer-key-file "$DIR/server.key" --peer-trusted-ca-file "$DIR/ca.crt" "$@"
}
start() { # N [FLAGS...]: with the flags of its first start if none are given
    local i=$1
    shift
    [ $# -gt 0 ] && flags[$i]="$*"
    # shellcheck disable=SC2086
    member "$i" ${flags[$i]} >>"$DIR/m$i.log" 2>&1 &
    pid[$i]=$!
}
kill_9() { kill -9 "${pid[$1]}"; { wait "${pid[$1]}"; } 2>/dev/null; unset "pid[$1]"; }
CURL=(curl -s --cacert "$DIR/ca.crt" --cert "$DIR/server.crt" --key "$DIR/server.key")
healthy() { "${CURL[@]}" -m 2 "$(client "$1")/health" | grep -q '"true"'; }
post() { "${CURL[@]}" -m "${4:-10}" "$(client "$1")/v3/$2" -d "$3"; } # MEMBER PATH BODY [SECONDS]
export ETCDCTL_API=3 ETCDCTL_CACERT=$DIR/ca.crt ETCDCTL_CERT=$DIR/server.crt ETCDCTL_KEY=$DIR/server.key
endpoints() { # MEMBER...: whom etcdctl asks from now on
    local i
    ETCDCTL_ENDPOINTS=
    for i in "$@"; do ETCDCTL_ENDPOINTS+="${ETCDCTL_ENDPOINTS:+,}$(client "$i")"; done
    export ETCDCTL_ENDPOINTS
    echo "$@" >"$DIR/targets.new" && mv "$DIR/targets.new" "$DIR/targets"
}
id() { etcdctl member list 2>/dev/null | awk -F', ' -v n="$1" '$3 == n {print $1}'; }
id_by_url() { etcdctl member list 2>/dev/null | awk -F', ' -v u="$(peer "$1")" '$4 == u {print $1}'; }
names() { etcdctl member list 2>/dev/null | awk -F', ' '{print $3}' | sort | xargs; }
leader() { # number of the member that leads
    etcdctl endpoint status 2>/dev/null | awk -F', ' -v p="$PORT" '$5 == "true" {sub(/.*:/, "", $1); print $1 - p; exit}'
}
at() { ETCDCTL_ENDPOINTS=$(client "$1") etcdctl "${@:2}"; } # MEMBER ARGUMENTS...

# --- writers: each writes its own keys, one after the other, wherever it is answered; what was acknowledged stands in its file ---
writer() {
    local n=0 key body t targets
    while [ ! -e "$DIR/stop" ]; do
        n=$((n + 1))
        key=$(printf 'w%s/%06d' "$1" $n | base64 -w0)
        body="{\"key\":\"$key\",\"value\":\"$(printf 'v%d' $n | base64 -w0)\"}"
        while [ ! -e "$DIR/stop" ]; do
            read -ra targets <"$DIR/targets"
            t=${targets[RANDOM % ${#targets[@]}]}
            if post "$t" kv/put "$body" 2 2>/dev/null | grep -q '"revision"'; then
                printf 'w%s/%06d v%d\n' "$1" $n $n >>"$DIR/acked.$1"
                break
            fi
        done
    done
}
acked() { cat "$DIR"/acked.* 2>/dev/null | wc -l; }
more_acked() { [ "$(acked)" -ge "$want" ]; }
writes_go_on() { # SECONDS: some more writes are acknowledged
    want=$(($(acked) + 20))
    eventually "$1" more_acked
}
missing() { # MEMBER: acknowledged writes that it does not have
    at "$1" get w --prefix -w json | jq -r '.kvs[]? | (.key | @base64d) + " " + (.value | @base64d)' | sort >"$DIR/have"
    cat "$DIR"/acked.* | sort | comm -23 - "$DIR/have" | wc -l
}

# --- one member ---
endpoints 1
start 1 --initial-cluster "$(cluster 1)" --initial-cluster-token one
check "a single member starts" eventually 10 healthy 1
for w in 1 2 3; do
    writer $w &
    writers+=($!)
done
check "writes" writes_go_on 10
check_output "the last member cannot be removed" "re-configuration failed due to not enough started members" etcdctl member remove "$(id m1)"
check_output "no such member" "member not found" etcdctl member remove 1234
check_output "update no such member" "member not found" etcdctl member update 1234 --peer-urls "$(peer 9)"
check_output "promote a voter" "can only promote a learner member" etcdctl member promote "$(id m1)"

# --- 1 -> 3 ---
check_output "a voter is added" 'ETCD_INITIAL_CLUSTER_STATE="existing"' etcdctl member add m2 --peer-urls "$(peer 2)"
check_output "it is listed as not started" "unstarted, , $(peer 2)" etcdctl member list
check_output "another while it has not started" "re-configuration failed due to not enough started members" etcdctl member add m3 --peer-urls "$(peer 3)"
check_output "a URL that is none" "given member URLs are invalid" post 1 cluster/member/add '{"peerURLs":["nonsense"]}'
check_output "no URL" "given member URLs are invalid" post 1 cluster/member/add '{}'
check "until it starts it is needed for nothing" writes_go_on 5
check_fails "one that was not added cannot join" timeout 20 "$BIN" --name m3 --data-dir "$DIR/none" --initial-cluster "$(cluster 1 3)" --initial-cluster-state existing \
    --listen-peer-urls "$(peer 3)" --initial-advertise-peer-urls "$(peer 3)" --listen-client-urls "$(client 3)" \
    --peer-cert-file "$DIR/server.crt" --peer-key-file "$DIR/server.key" --peer-trusted-ca-file "$DIR/ca.crt" \
    --cert-file "$DIR/server.crt" --key-file "$DIR/server.key"
check_output "it says what to do" "add it first" echo "$LAST_OUTPUT"
start 2 --initial-cluster "$(cluster 1 2)" --initial-cluster-state existing
check "it joins" eventually 10 healthy 2
endpoints 1 2
two_vote() { grep -q "let vote" "$DIR/m1.log"; }
check "it votes" eventually 10 two_vote
learner_added() { post 1 cluster/member/add "{\"peerURLs\":[\"$(peer 3)\"],\"isLearner\":true}" | grep '"isLearner":true'; }
check "a learner is added, over JSON" eventually 10 learner_added
check_output "the peer URL of another" "Peer URLs already exists" etcdctl member add m9 --peer-urls "$(peer 2)"
check_output "a second learner" "too many learner members in cluster" etcdctl member add m4 --learner --peer-urls "$(peer 4)"
check_output "promoted before it has started" "can only promote a learner member which is in sync with leader" etcdctl member promote "$(id_by_url 3)"
start 3 --initial-cluster "$(cluster 1 2 3)" --initial-cluster-state existing
named3() { [ -n "$(id m3)" ]; }
check "the learner joins" eventually 10 named3
check_output "status tells a learner" '"isLearner":true' post 3 maintenance/status '{}'
check_output "a learner takes no writes" "rpc not supported for learner" at 3 --command-timeout=2s put x y
check_output "nor watches by JSON" "rpc not supported for learner" post 3 watch '{"create_request":{"key":"eA=="}}'
check_output "a learner serves what it has" '"count"' post 3 kv/range '{"key":"dzE=","range_end":"dzI=","serializable":true,"count_only":true}'
promoted() { etcdctl member promote "$(id m3)"; }
check "it is promoted" eventually 10 promoted
check_output "and then it is none" "can only promote a learner member" etcdctl member promote "$(id m3)"
endpoints 1 2 3
check_equal "three members" "m1 m2 m3" "$(names)"
check_output "health" "is healthy" etcdctl endpoint health --cluster
check_equal "all healthy" 3 "$(etcdctl endpoint health --cluster 2>&1 | grep -c 'is healthy')"
check "writes go on with three" writes_go_on 5
# A majority of three is enough, so all three vote.
kill_9 1
check "one of three may die" writes_go_on 10
start 1
check "it is back, with the flags of its first start" eventually 10 healthy 1

# --- 3 -> 5 ---
for i in 4 5; do
    added() { etcdctl member add "m$i" --peer-urls "$(peer "$i")"; }
    check "member $i is added" eventually 10 added
    # shellcheck disable=SC2046
    start $i --initial-cluster "$(cluster $(seq $i))" --initial-cluster-state existing
    check "member $i joins" eventually 10 healthy $i
done
endpoints 1 2 3 4 5
check_equal "five members" "m1 m2 m3 m4 m5" "$(names)"
check "writes go on with five" writes_go_on 5
check_equal "status of all" 5 "$(etcdctl endpoint status --cluster 2>/dev/null | wc -l)"

# --- what etcdctl does with a cluster ---
heir=$(($(leader) % 5 + 1))
check_output "move-leader" "Leadership transferred" etcdctl move-leader "$(id m$heir)"
check_equal "it leads" $heir "$(leader)"
check_output "lock" "^inside$" etcdctl lock room echo inside
etcdctl elect office me >"$DIR/elect" 2>&1 &
writers+=($!)
elected() { timeout 2 etcdctl elect -l office | grep -q me; }
check "elect" eventually 10 elected
check_output "update peer URLs" "updated in cluster" etcdctl member update "$(id m2)" --peer-urls "$(peer 2),$(peer 12)"
check_output "they are listed" "$(peer 2),$(peer 12)" etcdctl member list
check_output "another member's URL" "Peer URLs already exists" etcdctl member update "$(id m2)" --peer-urls "$(peer 3)"

# --- a dead member is replaced by one with a new disk ---
victim=$(($(leader) % 5 + 1))
kill_9 $victim
rm -rf "$DIR/m$victim"
check "writes go on without it" writes_go_on 10
check_fails "its disk is lost: it is not taken back with an empty one" timeout 20 bash -c "$(declare -f member client peer); PORT=$PORT DIR=$DIR BIN=$BIN; member $victim --initial-cluster '$(cluster 1 2 3 4 5)' --initial-cluster-state existing"
check_output "and told why" "has been started before" echo "$LAST_OUTPUT"
check_output "the dead member is removed" "removed from cluster" etcdctl member remove "$(id m$victim)"
added6() { etcdctl member add m6 --peer-urls "$(peer 6)"; }
check "a fresh one is added" eventually 10 added6
alive=()
for i in 1 2 3 4 5; do [ "$i" = "$victim" ] || alive+=("$i"); done
start 6 --initial-cluster "$(cluster "${alive[@]}" 6)" --initial-cluster-state existing
check "it joins" eventually 10 healthy 6
alive+=(6)
endpoints "${alive[@]}"
hashes() { [ "$(etcdctl endpoint hashkv --cluster -w json 2>/dev/null | jq '[.[].HashKV | select(.compact_revision == 0 or true)] | length')" = 5 ]; }
check "hashkv of all" eventually 10 hashes

# --- the leader is removed: another leads first, and it ends in order ---
old=$(leader)
rest=()
for i in "${alive[@]}"; do [ "$i" = "$old" ] || rest+=("$i"); done
check_output "the leader is removed" "removed from cluster" etcdctl member remove "$(id "m$old")"
endpoints "${rest[@]}"
ended() { ! kill -0 "${pid[$old]}" 2>/dev/null; }
check "it ends" eventually 10 ended
wait "${pid[$old]}"
check_equal "in order" 0 $?
unset "pid[$old]"
check_output "and says why" "was removed from the cluster" cat "$DIR/m$old.log"
check "writes go on" writes_go_on 10
: >"$DIR/again.log"
# shellcheck disable=SC2086
(member "$old" ${flags[$old]}) >"$DIR/again.log" 2>&1
check_equal "started again, it ends in order" 0 $?
check_output "and says why again" "was removed from the cluster" cat "$DIR/again.log"
# One that was down when it was removed hears of it from the others.
down=${rest[0]}
[ "$down" = "$(leader)" ] && down=${rest[1]}
kill_9 "$down"
check_output "a member that is down is removed" "removed from cluster" etcdctl member remove "$(id "m$down")"
timeout 20 bash -c "$(declare -f member client peer); PORT=$PORT DIR=$DIR BIN=$BIN; member $down ${flags[$down]}" >"$DIR/down.log" 2>&1
check_equal "started later, it ends in order" 0 $?
check_output "and says why, too" "was removed from the cluster" cat "$DIR/down.log"

# --- -> 1 ---
left=()
for i in "${rest[@]}"; do [ "$i" = "$down" ] || left+=("$i"); done
endpoints "${left[@]}"
while [ ${#left[@]} -gt 1 ]; do
    go=${left[0]}
    removed() { etcdctl member remove "$(id "m$go")"; }
    check "down to $((${#left[@]} - 1)) members" eventually 10 removed
    left=("${left[@]:1}")
    endpoints "${left[@]}"
done
check "writes go on with one" writes_go_on 10
touch "$DIR/stop"
for p in "${writers[@]:0:3}"; do wait "$p"; done
kill "${writers[3]}" 2>/dev/null
last=${left[0]}
check_equal "one member is left" "m$last" "$(names)"
check_equal "acknowledged writes that are missing ($(acked) in all)" 0 "$(missing "$last")"
kill_9 "$last"
start "$last"
check "it starts alone, whatever its flags say" eventually 10 healthy "$last"
check_equal "and has all" 0 "$(missing "$last")"

# --- another cluster's data ---
kill_9 "$last"
mv "$DIR/m$last" "$DIR/m8"
start 9 --initial-cluster "$(cluster 9)" --initial-cluster-token two
check "another cluster" eventually 10 healthy 9
check_fails "a member with another cluster's data refuses to start" timeout 20 bash -c "$(declare -f member client peer); PORT=$PORT DIR=$DIR BIN=$BIN; member 8 --initial-cluster '$(cluster 8 9)' --initial-cluster-state existing"
check_output "it names the mismatch, and what to do" "cluster ID mismatch.*member add" echo "$LAST_OUTPUT"

finish
