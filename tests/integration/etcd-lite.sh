#!/bin/bash
# etcd-lite as a cluster of three members over TLS, driven through its JSON API by curl: what it answers, and what survives
# when members are killed. Needs curl, jq, openssl. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/../.."
BIN=${BUILD:-build}/bin/etcd-lite
PORT=${ETCD_LITE_PORT:-21300}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/etcd-lite.XXXXXX")
passed=0 failed=0
declare -A pid=()

cleanup() {
    exec 2>/dev/null
    for p in "${pid[@]}" ${writers:-}; do kill -9 "$p"; done
    wait
    if [ "$failed" = 0 ]; then rm -rf "$DIR"; else echo "logs are in $DIR"; fi
}
trap cleanup EXIT

kill_9() { # MEMBER...
    local i
    for i in "$@"; do kill -9 "${pid[$i]}"; done
    for i in "$@"; do { wait "${pid[$i]}"; } 2>/dev/null; unset "pid[$i]"; done
}
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $*"; }
# check NAME ACTUAL EXPECTED
check() { if [ "$2" == "$3" ]; then ok; else bad "$1: got '$2', want '$3'"; fi; }
# await SECONDS COMMAND...: until it succeeds
await() {
    local end=$((SECONDS + $1)); shift
    until "$@"; do
        [ $SECONDS -ge $end ] && return 1
        read -rt 0.02 <> <(:) || :
    done
}

# --- certificates ---
tls() {
    cd "$DIR" || exit 1
    openssl ecparam -genkey -name prime256v1 -noout -out ca.key
    openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 2 -out ca.crt
    for n in server client; do
        openssl ecparam -genkey -name prime256v1 -noout -out $n.key
        openssl req -new -key $n.key -subj /CN=$n -out $n.csr
        openssl x509 -req -in $n.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $n.crt \
            -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n')
    done
    cd - >/dev/null || exit 1
}
tls 2>/dev/null

cluster=
for i in 1 2 3; do cluster+="${cluster:+,}m$i=https://127.0.0.1:$((PORT + 10 + i))"; done
start() { # MEMBER...
    local i
    for i in "$@"; do
        "$BIN" --name "m$i" --data-dir "$DIR/m$i" --initial-cluster "$cluster" --initial-cluster-token "$DIR" \
            --listen-client-urls "https://127.0.0.1:$((PORT + i))" --advertise-client-urls "https://127.0.0.1:$((PORT + i))" \
            --listen-peer-urls "https://127.0.0.1:$((PORT + 10 + i))" --initial-advertise-peer-urls "https://127.0.0.1:$((PORT + 10 + i))" \
            --cert-file "$DIR/server.crt" --key-file "$DIR/server.key" --trusted-ca-file "$DIR/ca.crt" --client-cert-auth \
            --peer-cert-file "$DIR/server.crt" --peer-key-file "$DIR/server.key" --peer-trusted-ca-file "$DIR/ca.crt" \
            >>"$DIR/m$i.log" 2>&1 &
        pid[$i]=$!
    done
}
CURL=(curl -s --cacert "$DIR/ca.crt" --cert "$DIR/client.crt" --key "$DIR/client.key")
call() { # MEMBER PATH [BODY]: POST
    "${CURL[@]}" -m "${LIMIT:-10}" "https://127.0.0.1:$((PORT + $1))/v3/$2" -d "${3:-{\}}"
}
healthy() { [ "$("${CURL[@]}" -m 2 "https://127.0.0.1:$((PORT + $1))/health" | jq -r .health 2>/dev/null)" = true ]; }
all_healthy() { healthy 1 && healthy 2 && healthy 3; }
b64() { printf %s "$1" | base64 -w0; }
put() { call "$1" kv/put "{\"key\":\"$(b64 "$2")\",\"value\":\"$(b64 "$3")\"}"; }
get() { call "$1" kv/range "{\"key\":\"$(b64 "$2")\"}" | jq -r '.kvs[0].value // "" | @base64d'; }
leader() { # the member that leads, as member $1 (default 1) sees it
    local want member
    want=$(call "${1:-1}" maintenance/status | jq -r .leader)
    for member in 1 2 3; do
        [ "$(LIMIT=2 call $member maintenance/status | jq -r .header.member_id)" = "$want" ] && echo $member && return
    done
}

started=$(date +%s%N)
start 1 2 3
if ! await 10 all_healthy; then
    bad "no leader in 10 s"; cat "$DIR"/*.log; echo "$passed passed, $failed failed"; exit 1
fi
echo "healthy after $((($(date +%s%N) - started) / 1000000)) ms (certificate checks and polling included)"
lead=$(leader)
follow=$((lead % 3 + 1)); third=$((follow % 3 + 1))

# --- reads and writes through every member ---
r1=$(put "$lead" a 1 | jq -r .header.revision)
r2=$(put $follow a 2 | jq -r .header.revision)
check "revisions grow by one, also through a follower" "$((r2 - r1))" 1
check "a follower reads what another member acknowledged" "$(get $third a)" 2
put $third b 3 >/dev/null
check "range with count, from a follower" "$(call $follow kv/range "{\"key\":\"$(b64 a)\",\"range_end\":\"$(b64 c)\"}" | jq -c '[.count, (.kvs|length), .kvs[1].version]')" '["2",2,"1"]'
check "limit and more" "$(call $follow kv/range "{\"key\":\"$(b64 a)\",\"range_end\":\"$(b64 c)\",\"limit\":1}" | jq -c '[.count, .more, (.kvs|length)]')" '["2",true,1]'
check "an old revision" "$(call $third kv/range "{\"key\":\"$(b64 a)\",\"revision\":\"$r1\"}" | jq -r '.kvs[0].value|@base64d')" 1
check "a future revision" "$(call $third kv/range "{\"key\":\"$(b64 a)\",\"revision\":\"9999\"}" | jq -c '[.code,.error]')" '[11,"etcdserver: mvcc: required revision is a future revision"]'
check "serializable" "$(call "$lead" kv/range "{\"key\":\"$(b64 a)\",\"serializable\":true}" | jq -r '.kvs[0].value|@base64d')" 2
check "prev_kv" "$(call $follow kv/put "{\"key\":\"$(b64 a)\",\"value\":\"$(b64 4)\",\"prev_kv\":true}" | jq -r '.prev_kv.value|@base64d')" 2
check "an empty key" "$(call $follow kv/put '{"value":"YQ=="}' | jq -r .message)" "etcdserver: key is not provided"
check "malformed JSON" "$("${CURL[@]}" -o /dev/null -w '%{http_code}' "https://127.0.0.1:$((PORT + 1))/v3/kv/put" -d '{"key":"YQ=="')" 400
check "no path" "$("${CURL[@]}" -o /dev/null -w '%{http_code}' "https://127.0.0.1:$((PORT + 1))/v3/nothing" -d '{}')" 404
check "without a client certificate" "$(curl -s --cacert "$DIR/ca.crt" -m 5 "https://127.0.0.1:$((PORT + 1))/v3/kv/range" -d '{"key":"YQ=="}' | grep -c kvs)" 0
head -c 4000000 /dev/zero | tr '\0' A >"$DIR/big"
check "too large" "$(printf '{"key":"YQ==","value":"%s"}' "$(cat "$DIR/big")" | "${CURL[@]}" "https://127.0.0.1:$((PORT + 1))/v3/kv/put" -d @- | jq -r .error)" "etcdserver: request is too large"

# --- transactions ---
create() { echo "{\"compare\":[{\"target\":\"CREATE\",\"key\":\"$(b64 "$1")\",\"create_revision\":\"0\"}],\"success\":[{\"request_put\":{\"key\":\"$(b64 "$1")\",\"value\":\"$(b64 "$2")\"}}],\"failure\":[{\"request_range\":{\"key\":\"$(b64 "$1")\"}}]}"; }
check "txn creates" "$(call $follow kv/txn "$(create t x)" | jq -r .succeeded)" true
check "txn does not create twice" "$(call $third kv/txn "$(create t y)" | jq -c '[.succeeded, (.responses[0].response_range.kvs[0].value|@base64d)]')" '[null,"x"]'
mod=$(call "$lead" kv/range "{\"key\":\"$(b64 t)\"}" | jq -r '.kvs[0].mod_revision')
update() { echo "{\"compare\":[{\"target\":\"MOD\",\"key\":\"$(b64 t)\",\"modRevision\":\"$1\"},{\"target\":\"VALUE\",\"result\":\"NOT_EQUAL\",\"key\":\"$(b64 t)\",\"value\":\"$(b64 q)\"}],\"success\":[{\"requestPut\":{\"key\":\"$(b64 t)\",\"value\":\"$(b64 z)\"}},{\"requestDeleteRange\":{\"key\":\"$(b64 b)\",\"prev_kv\":true}}]}"; }
check "txn on the mod revision" "$(call $third kv/txn "$(update "$mod")" | jq -c '[.succeeded, .responses[1].response_delete_range.deleted, (.responses|length)]')" '[true,"1",2]'
check "txn on a stale mod revision" "$(call "$lead" kv/txn "$(update "$mod")" | jq -c '[.succeeded, .responses]')" '[null,null]'
check "a key twice in a txn" "$(call "$lead" kv/txn '{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}' | jq -r .error)" "etcdserver: duplicate key given in txn request"

# --- watches ---
watch_lines() { # MEMBER COUNT REQUEST: the first COUNT lines
    local line n p
    exec 8< <(exec "${CURL[@]}" -m 10 -N "https://127.0.0.1:$((PORT + $1))/v3/watch" -d "$3")
    p=$!
    for ((n = 0; n < $2; n++)); do read -r line <&8 && echo "$line"; done
    kill $p
    exec 8<&-
}
events() { jq -c '.result.events[]? | [(.type // "PUT"), (.kv.key|@base64d), (.kv.value // "" | @base64d), (.prev_kv.value // "" | @base64d)]' | tr -d '\n'; }
check "watch from the past, on a follower" "$(watch_lines $follow 2 "{\"create_request\":{\"key\":\"$(b64 a)\",\"range_end\":\"$(b64 u)\",\"start_revision\":\"$r1\",\"prev_kv\":true}}" | events)" \
    '["PUT","a","1",""]["PUT","a","2","1"]["PUT","b","3",""]["PUT","a","4","2"]["PUT","t","x",""]["PUT","t","z","x"]["DELETE","b","","3"]'
mkfifo "$DIR/live"
timeout 20 "${CURL[@]}" -N "https://127.0.0.1:$((PORT + third))/v3/watch" \
    -d "{\"create_request\":{\"key\":\"$(b64 live)\",\"filters\":[\"NODELETE\"]}}" >"$DIR/live" 2>/dev/null &
exec 7<"$DIR/live"
read -r -t 10 line <&7
check "watch is created" "$(jq -r .result.created <<<"$line")" true
put "$lead" live 1 >/dev/null
read -r -t 10 line <&7
check "watch hears of a change through another member" "$(events <<<"$line")" '["PUT","live","1",""]'
call $follow kv/deleterange "{\"key\":\"$(b64 live)\"}" >/dev/null
put $follow live 2 >/dev/null
read -r -t 10 line <&7
check "watch filter" "$(events <<<"$line")" '["PUT","live","2",""]'
exec 7<&-

# --- compaction ---
now=$(put "$lead" c 1 | jq -r .header.revision)
put "$lead" c 2 >/dev/null
check "compaction" "$(call $follow kv/compaction "{\"revision\":\"$now\"}" | jq -r '.header.revision|tonumber > 0')" true
check "compaction again" "$(call $third kv/compaction "{\"revision\":\"$now\"}" | jq -c '[.code,.error]')" '[11,"etcdserver: mvcc: required revision has been compacted"]'
check "reading compacted history" "$("${CURL[@]}" -o /dev/null -w '%{http_code}' "https://127.0.0.1:$((PORT + third))/v3/kv/range" -d "{\"key\":\"YQ==\",\"revision\":\"$r1\"}")" 400
check "reading at the compacted revision" "$(call $third kv/range "{\"key\":\"$(b64 c)\",\"revision\":\"$now\"}" | jq -r '.kvs[0].value|@base64d')" 1
check "watching compacted history" "$(watch_lines $follow 2 '{"create_request":{"key":"YQ==","start_revision":"2"}}' | tail -1 | jq -c '[.result.canceled,.result.compact_revision]')" "[true,\"$now\"]"

# --- leases ---
id=$(call $follow lease/grant '{"TTL":"2"}' | jq -r .ID)
call $third kv/put "{\"key\":\"$(b64 leased)\",\"value\":\"$(b64 x)\",\"lease\":\"$id\"}" >/dev/null
check "lease keep-alive through a follower" "$(call $third lease/keepalive "{\"ID\":\"$id\"}" | jq -c '[.result.ID,.result.TTL]')" "[\"$id\",\"2\"]"
check "lease time to live with keys" "$(call $follow lease/timetolive "{\"ID\":\"$id\",\"keys\":true}" | jq -c '[.grantedTTL, (.keys[0]|@base64d)]')" '["2","leased"]'
check "leases" "$(call $follow lease/leases | jq -c '[.leases[].ID]')" "[\"$id\"]"
expired() { [ -z "$(get $third leased)" ]; }
if await 6 expired; then ok; else bad "the lease does not expire"; fi
check "an expired lease" "$(call $follow lease/timetolive "{\"ID\":\"$id\"}" | jq -r .TTL)" -1
id=$(call "$lead" lease/grant '{"TTL":"100","ID":"77"}' | jq -r .ID)
call "$lead" kv/put "{\"key\":\"$(b64 leased)\",\"value\":\"$(b64 x)\",\"lease\":77}" >/dev/null
check "grant of a number in use" "$(call $follow lease/grant '{"TTL":"100","ID":"77"}' | jq -r .error)" "etcdserver: lease already exists"
call $third kv/lease/revoke '{"ID":"77"}' >/dev/null
check "revoking deletes the keys" "$(get $follow leased)" ""
check "an unknown lease" "$(call $follow kv/put '{"key":"YQ==","lease":"5"}' | jq -c '[.code,.error]')" '[5,"etcdserver: requested lease not found"]'
check "members" "$(call $follow cluster/member/list | jq -c '[.members[] | .name + (.clientURLs|length|tostring)] | sort')" '["m11","m21","m31"]'
check "metrics" "$("${CURL[@]}" "https://127.0.0.1:$((PORT + 1))/metrics" | grep -c '^etcd_server_has_leader 1')" 1

# --- nothing acknowledged is lost when leaders die ---
writer() { # NUMBER: writes until told to stop; notes what was acknowledged
    local i=0 m=$1
    while [ ! -e "$DIR/stop" ]; do
        i=$((i + 1))
        if LIMIT=9 put "$m" "w$1-$i" "$i" | grep -q '"revision"'; then echo "w$1-$i $i" >>"$DIR/acked$1"; else m=$((m % 3 + 1)); fi
    done
}
lease=$(call 1 lease/grant '{"TTL":"60"}' | jq -r .ID)
writers=
for w in 1 2 3; do writer $w & writers+=" $!"; done
acked() { cat "$DIR"/acked* 2>/dev/null | wc -l; }
more_than() { [ "$(acked)" -gt "$1" ]; }
await 10 more_than 20
for round in 1 2 3; do
    for i in 1 2 3; do l=$(leader $i); [ -n "$l" ] && break; done
    before=$(acked)
    kill_9 "$l"
    if await 10 more_than $((before + 30)); then ok; else bad "writes do not go on after the leader's death"; fi
    start "$l"
    if await 10 healthy "$l"; then ok; else bad "member $l does not come back"; fi
done
touch "$DIR/stop"
wait $writers
writers=
total=$(acked)
dump() { call "$1" kv/range "{\"key\":\"$(b64 w)\",\"range_end\":\"$(b64 x)\"}" | jq -r '.kvs[] | (.key|@base64d) + " " + (.value|@base64d) + (if .version == "1" then "" else " written " + .version + " times" end)' | sort; }
cat "$DIR"/acked* | sort >"$DIR/want"
for i in 1 2 3; do
    dump $i >"$DIR/have$i"
    check "acknowledged writes missing on member $i (of $total)" "$(comm -23 "$DIR/want" "$DIR/have$i" | wc -l)" 0
done
check "writes applied more than once" "$(grep -c times "$DIR/have1")" 0
check "a lease survives leaders" "$(call 2 lease/timetolive "{\"ID\":\"$lease\"}" | jq -r .grantedTTL)" 60

# --- all members lose power at once ---
put 1 last word >/dev/null
kill_9 1 2 3
started=$(date +%s%N)
start 1 2 3
if await 10 all_healthy; then ok; else bad "the cluster does not come back"; fi
echo "all three healthy again after $((($(date +%s%N) - started) / 1000000)) ms; $total acknowledged writes"
check "the last word" "$(get 2 last)" word
for i in 1 2 3; do
    dump $i >"$DIR/have$i"
    check "after power loss, missing on member $i" "$(comm -23 "$DIR/want" "$DIR/have$i" | wc -l)" 0
done
revision=$(call 1 kv/range '{"key":"YQ=="}' | jq -r .header.revision)
for i in 2 3; do
    get $i last >/dev/null
    check "members hold the same" "$(call $i maintenance/hash "{\"revision\":\"$revision\"}" | jq -r .hash)" "$(call 1 maintenance/hash "{\"revision\":\"$revision\"}" | jq -r .hash)"
done

# --- another cluster's data ---
kill_9 3
if timeout 5 "$BIN" --name m3 --data-dir "$DIR/m3" --initial-cluster "m3=http://127.0.0.1:$((PORT + 20))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$((PORT + 20))" --listen-peer-urls "http://127.0.0.1:$((PORT + 20))" \
    --listen-client-urls "http://127.0.0.1:$((PORT + 21))" >"$DIR/other.log" 2>&1; then bad "starts with another cluster's data"; else ok; fi
check "says why" "$(grep -c "refusing to start with another cluster's data" "$DIR/other.log")" 1
for i in 1 2; do kill -TERM "${pid[$i]}"; done
for i in 1 2; do wait "${pid[$i]}"; check "exit status at SIGTERM" $? 0; done

# --- damaged files, a single member ---
single() {
    "$BIN" --name s --data-dir "$DIR/s" --listen-client-urls "http://127.0.0.1:$((PORT + 30))" \
        --listen-peer-urls "http://127.0.0.1:$((PORT + 31))" >"$DIR/s.log" 2>&1 &
    pid[s]=$!
}
single_call() { curl -s -m 10 "http://127.0.0.1:$((PORT + 30))/v3/$1" -d "$2"; }
single_healthy() { curl -s -m 2 "http://127.0.0.1:$((PORT + 30))/health" | grep -q '"true"'; }
single_dead() { ! kill -0 "${pid[s]}" 2>/dev/null; }
# Changes byte $2 of file $1.
damage() { printf '\xaa' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
single
await 10 single_healthy
for i in 1 2 3; do single_call kv/put "{\"key\":\"$(b64 k$i)\",\"value\":\"$(b64 "$(head -c 3000 /dev/zero | tr '\0' $i)")\"}" >/dev/null; done
kill_9 s
tail=$(for f in "$DIR"/s/member/raft/open-*; do [ -n "$(head -c 4096 "$f" | tr -d '\0' | head -c 1)" ] && echo "$f"; done | head -1)
used=$(LC_ALL=C grep -obUaP '[^\x00]' "$tail" | tail -1 | cut -d: -f1)
damage "$tail" $((used - 40))
single
if await 10 single_healthy; then ok; else bad "does not start with a torn tail"; fi
check "what stands before a torn tail" "$(single_call kv/range "{\"key\":\"$(b64 k)\",\"range_end\":\"$(b64 l)\",\"keys_only\":true}" | jq -r .count)" 2
kill -TERM "${pid[s]}"; wait "${pid[s]}"
closed=$(printf '%s\n' "$DIR"/s/member/raft/0* | tail -1)
damage "$closed" $(($(stat -c %s "$closed") / 2))
single
if await 10 single_dead; then ok; else bad "starts with a damaged log"; fi
check "a damaged log, and what to do" "$(grep -c 'corrupted.*restore a backup' "$DIR/s.log")" 1
unset 'pid[s]'

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
