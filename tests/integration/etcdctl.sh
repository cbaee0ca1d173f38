#!/bin/bash
# etcd's own client against etcd-lite: a cluster of three members over TLS with client certificates, driven through gRPC by
# etcdctl. Needs etcdctl, jq, openssl, curl. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/../.."
BIN=${BUILD:-build}/bin/etcd-lite
PORT=${TEST_PORT:-21500}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/etcdctl.XXXXXX")
passed=0 failed=0
declare -A pid=()

cleanup() {
    exec 2>/dev/null
    for p in "${pid[@]}" ${others:-}; do kill -9 "$p"; done
    wait
    if [ "$failed" = 0 ]; then rm -rf "$DIR"; else echo "logs are in $DIR"; fi
}
trap cleanup EXIT

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $*"; }
# check NAME ACTUAL EXPECTED
check() { if [ "$2" == "$3" ]; then ok; else bad "$1: got '$2', want '$3'"; fi; }
# like NAME ACTUAL PATTERN
# shellcheck disable=SC2053
like() { if [[ "$2" == $3 ]]; then ok; else bad "$1: got '$2', want like '$3'"; fi; }
# await SECONDS COMMAND...: until it succeeds
await() {
    local end=$((SECONDS + $1)); shift
    until "$@"; do
        [ $SECONDS -ge $end ] && return 1
        read -rt 0.02 <> <(:) || :
    done
}
has() { [ "$(wc -l <"$1")" -ge "$2" ]; } # FILE LINES

tls() {
    cd "$DIR" || exit 1
    local n
    for n in ca other-ca; do
        openssl ecparam -genkey -name prime256v1 -noout -out $n.key
        openssl req -x509 -new -key $n.key -subj /CN=$n -days 2 -out $n.crt
    done
    for n in server client stranger; do
        local ca=ca
        [ $n = stranger ] && ca=other-ca
        openssl ecparam -genkey -name prime256v1 -noout -out $n.key
        openssl req -new -key $n.key -subj /CN=$n -out $n.csr
        openssl x509 -req -in $n.csr -CA $ca.crt -CAkey $ca.key -CAcreateserial -days 2 -out $n.crt \
            -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n')
    done
    cd - >/dev/null || exit 1
}
tls 2>/dev/null

cluster=
for i in 1 2 3; do cluster+="${cluster:+,}m$i=https://127.0.0.1:$((PORT + 10 + i))"; done
start() { # MEMBER...: with the flags in $more
    local i
    for i in "$@"; do
        "$BIN" --name "m$i" --data-dir "$DIR/m$i" --initial-cluster "$cluster" --initial-cluster-token "$DIR" \
            --listen-client-urls "https://127.0.0.1:$((PORT + i))" --advertise-client-urls "https://127.0.0.1:$((PORT + i))" \
            --listen-peer-urls "https://127.0.0.1:$((PORT + 10 + i))" --initial-advertise-peer-urls "https://127.0.0.1:$((PORT + 10 + i))" \
            --cert-file "$DIR/server.crt" --key-file "$DIR/server.key" --trusted-ca-file "$DIR/ca.crt" --client-cert-auth \
            --peer-cert-file "$DIR/server.crt" --peer-key-file "$DIR/server.key" --peer-trusted-ca-file "$DIR/ca.crt" ${more:-} \
            >>"$DIR/m$i.log" 2>&1 &
        pid[$i]=$!
    done
}
CURL=(curl -s --cacert "$DIR/ca.crt" --cert "$DIR/client.crt" --key "$DIR/client.key")
healthy() { [ "$("${CURL[@]}" -m 2 "https://127.0.0.1:$((PORT + $1))/health" | jq -r .health 2>/dev/null)" = true ]; }
all_healthy() { healthy 1 && healthy 2 && healthy 3; }
rss() { awk '/VmRSS/ {print $2}' "/proc/${pid[$1]}/status"; }

start 1 2 3
await 10 all_healthy || bad "the cluster does not come up"

export ETCDCTL_API=3 ETCDCTL_CACERT=$DIR/ca.crt ETCDCTL_CERT=$DIR/client.crt ETCDCTL_KEY=$DIR/client.key
export ETCDCTL_ENDPOINTS=https://127.0.0.1:$((PORT + 1)),https://127.0.0.1:$((PORT + 2)),https://127.0.0.1:$((PORT + 3))
E() { etcdctl "$@" 2>&1; }
one() { ETCDCTL_ENDPOINTS=https://127.0.0.1:$((PORT + $1)) etcdctl "${@:2}" 2>&1; } # MEMBER ...
# Lines as one: a,b,c
flat() { tr '\n' ',' | sed 's/,$//'; }

idle=$(rss 1)

# --- keys ---
check put "$(E put k1 v1)" OK
check get "$(E get k1 | flat)" k1,v1
check "another member" "$(one 2 get k1 --print-value-only)" v1
check "serializable get" "$(E get k1 --consistency=s --print-value-only)" v1
check "put with the value before" "$(E put k1 v2 --prev-kv | flat)" OK,k1,v1
check "ignore value" "$(E put k1 --ignore-value | flat)" OK
check "its value" "$(E get k1 --print-value-only)" v2
like "ignore value of no key" "$(E put none --ignore-value)" "*etcdserver: key not found*"
for i in 1 2 3 4 5; do E put "p/$i" "x$((6 - i))" >/dev/null; done
check prefix "$(E get p/ --prefix --keys-only | grep . | flat)" p/1,p/2,p/3,p/4,p/5
check range "$(E get p/2 p/4 --print-value-only | flat)" x4,x3
check limit "$(E get p/ --prefix --limit=2 --print-value-only | flat)" x5,x4
check "sorted by value" "$(E get p/ --prefix --sort-by=VALUE --order=ASCEND --print-value-only | flat)" x1,x2,x3,x4,x5
check descending "$(E get p/ --prefix --order=DESCEND --keys-only | grep . | flat)" p/5,p/4,p/3,p/2,p/1
check "from a key" "$(E get p/4 --from-key --keys-only | grep . | flat)" p/4,p/5
check count "$(E get p/ --prefix --limit=1 -w json | jq .count)" 5
check "all keys" "$(E get "" --prefix --keys-only | grep -c .)" 6
rev=$(E get k1 -w json | jq .header.revision)
E put k1 v3 >/dev/null
check "an old revision" "$(E get k1 --rev="$rev" --print-value-only)" v2
like "a future revision" "$(E get k1 --rev=100000)" "*etcdserver: mvcc: required revision is a future revision*"
check "json" "$(E get k1 -w json | jq -r '.kvs[0] | [(.key | @base64d), (.value | @base64d), .version] | @csv')" '"k1","v3",4'
check delete "$(E del p/1)" 1
check "delete with values before" "$(E del p/2 --prev-kv | flat)" 1,p/2,x4
check "delete a prefix" "$(E del p/ --prefix)" 3
check "nothing to delete" "$(E del p/ --prefix)" 0
like "an empty key" "$(E put "" x)" "*etcdserver: key is not provided*"
head -c 1000000 /dev/urandom | base64 -w0 | head -c 1000000 >"$DIR/big"
check "a value of 1 MB" "$(E put big <"$DIR/big")" OK
check "read again" "$(E get big --print-value-only | head -c 1000000 | cmp - "$DIR/big" && echo same)" same
head -c 1800000 /dev/zero | tr '\0' x >"$DIR/too-big"
like "a value too large" "$(E put big <"$DIR/too-big")" "*etcdserver: request is too large*"
check "the gateway sees the same" "$("${CURL[@]}" "https://127.0.0.1:$((PORT + 3))/v3/kv/range" -d '{"key":"azE="}' |
    jq -r '.kvs[0].value | @base64d')" v3

# --- transactions ---
check "txn that holds" "$(printf 'value("k1") = "v3"\n\nput t1 yes\nget k1\n\nput t1 no\n\n' | E txn | flat)" SUCCESS,,OK,,k1,v3
check "txn that does not" "$(printf 'mod("k1") = "1"\n\nput t1 yes\n\nput t1 no\nget t1\n\n' | E txn | flat)" FAILURE,,OK,,t1,no
check "comparisons" "$(printf 'version("k1") > "1"\ncreate("k1") < "100"\nvalue("t1") != "yes"\n\ndel t1\n\n\n' | E txn | flat)" \
    SUCCESS,,1
like "a key twice" "$(printf '\nput a 1\nput a 2\n\n\n' | E txn)" "*etcdserver: duplicate key given in txn request*"

# --- watches ---
others='' watcher=''
watch() { # FILE ARGUMENTS...: watches in the background
    etcdctl watch "${@:2}" >"$1" 2>&1 </dev/null &
    others+=" $!"
    watcher=$!
}
end_watch() { kill "$watcher"; wait "$watcher"; } 2>/dev/null
rev=$(E get k1 -w json | jq .header.revision)
watch "$DIR/w1" w/ --prefix --prev-kv --rev $((rev + 1))
E put w/1 a >/dev/null
E put w/1 b >/dev/null
E del w/1 >/dev/null
E put other x >/dev/null
await 5 has "$DIR/w1" 11 || bad "watch a prefix: $(flat <"$DIR/w1")"
check "watch a prefix, with values before" "$(flat <"$DIR/w1")" PUT,w/1,a,PUT,w/1,a,w/1,b,DELETE,w/1,b,w/1,
end_watch
watch "$DIR/w2" w/1 --rev $((rev + 1))
await 5 has "$DIR/w2" 8
check "watch from the past" "$(flat <"$DIR/w2")" PUT,w/1,a,PUT,w/1,b,DELETE,w/1,
end_watch
# Several watchers on one stream.
mkfifo "$DIR/in"
etcdctl watch -i <"$DIR/in" >"$DIR/w3" 2>&1 &
others+=" $!"
watcher=$!
exec 7>"$DIR/in"
printf 'watch --rev=%s i/1\nwatch --rev=%s i/2\n' $((rev + 1)) $((rev + 1)) >&7
for i in 1 2 3; do E put i/$i "n$i" >/dev/null; done
await 5 has "$DIR/w3" 6
check "several watchers" "$(sort "$DIR/w3" | flat)" PUT,PUT,i/1,i/2,n1,n2
exec 7>&-
end_watch
# Many events in one go, larger than a message may be.
for i in 1 2 3 4; do E put "f/$i" <"$DIR/big" >/dev/null; done
watch "$DIR/w4" f/ --prefix --rev $((rev + 1))
await 10 has "$DIR/w4" 12
check "large events" "$(wc -c <"$DIR/w4")" $((4 * 1000000 + 4 * (4 + 4 + 1)))
end_watch
E del f/ --prefix >/dev/null

# --- leases ---
like grant "$(E lease grant 60)" "lease * granted with TTL(60s)"
lease=$(E lease grant 100 | awk '{print $2}')
E put l1 v --lease="$lease" >/dev/null
like "time to live" "$(E lease timetolive "$lease" --keys)" "lease $lease granted with TTL(100s), remaining(*s), attached keys(\[l1\])"
like list "$(E lease list | flat)" "found 2 leases,*$lease*"
like "keep alive once" "$(E lease keep-alive --once "$lease")" "lease $lease keepalived with TTL(100)"
check revoke "$(E lease revoke "$lease")" "lease $lease revoked"
check "its key is gone" "$(E get l1)" ""
like "revoke again" "$(E lease revoke "$lease")" "*etcdserver: requested lease not found*"
like "put with no such lease" "$(E put x y --lease=1234)" "*etcdserver: requested lease not found*"
like "time to live of none" "$(E lease timetolive 1234)" "lease 0*1234 already expired"
short=$(E lease grant 2 | awk '{print $2}')
E put l2 v --lease="$short" >/dev/null
etcdctl lease keep-alive "$short" >"$DIR/keepalive" 2>&1 &
others+=" $!"
keeper=$!
await 10 has "$DIR/keepalive" 5 || bad "keep alive: $(flat <"$DIR/keepalive")"
check "kept alive" "$(E get l2 --print-value-only)" v
{ kill $keeper; wait $keeper; } 2>/dev/null
gone() { [ -z "$(E get l2)" ]; }
await 8 gone && ok || bad "the lease did not expire"

# --- cluster ---
check "member list" "$(E member list -w json | jq -r '[.members[].name] | sort | join(",")')" m1,m2,m3
check "health" "$(E endpoint health | grep -c 'is healthy: successfully committed proposal')" 3
check "status" "$(E endpoint status -w json | jq -r '[.[].Status.version] | unique | join(",")')" 3.5.16
check "one leader" "$(E endpoint status -w json | jq '[.[].Status | select(.leader == .header.member_id)] | length')" 1
check "hashes agree" "$(E endpoint hashkv -w json | jq '[.[].HashKV.hash] | unique | length')" 1
check "alarm list" "$(E alarm list)" ""
members() { E endpoint status | awk -F', ' -v leads="$1" '$5 == leads {print $2}'; } # true|false: identities
leader=$(members true)
heir=$(members false | head -n 1)
like "move-leader" "$(E move-leader "$heir")" "*Leadership transferred from $leader to $heir"
check "the new leader" "$(members true)" "$heir"
like "move-leader to nobody" "$(E move-leader 1234)" "*etcdserver: bad leader transferee*"
check "writes go on" "$(E put k1 v4)" OK
check defrag "$(E defrag | grep -c '^Finished defragmenting')" 3
rev=$(E get k1 -w json | jq .header.revision)
check compaction "$(E compaction "$rev")" "compacted revision $rev"
like "compaction again" "$(E compaction "$rev")" "*etcdserver: mvcc: required revision has been compacted*"
like "a compacted revision" "$(E get k1 --rev=2)" "*etcdserver: mvcc: required revision has been compacted*"
watch "$DIR/w5" k1 --rev 2
await 5 has "$DIR/w5" 1
like "watch a compacted revision" "$(cat "$DIR/w5")" "*required revision has been compacted*"

used=$(rss 1)
# --- backup: of etcd's own format, restored into etcd ---
for i in $(seq 40); do E put "s/$((i % 7))" "n$i" >/dev/null; done
E del s/3 >/dev/null
lease=$(E lease grant 5000 | awk '{print $2}')
E put leased v --lease="$lease" >/dev/null
E put big <"$DIR/big" >/dev/null
rev=$(E get k1 -w json | jq .header.revision)
like "snapshot save" "$(one 2 snapshot save "$DIR/backup")" "*Snapshot saved at $DIR/backup"
check "snapshot status" "$(E snapshot status "$DIR/backup" -w json | jq .revision)" "$rev"
E snapshot restore "$DIR/backup" --data-dir "$DIR/etcd" >/dev/null
etcd --data-dir "$DIR/etcd" --listen-client-urls "http://127.0.0.1:$((PORT + 31))" --advertise-client-urls "http://127.0.0.1:$((PORT + 31))" \
    --listen-peer-urls "http://127.0.0.1:$((PORT + 32))" >"$DIR/etcd.log" 2>&1 &
others+=" $!"
peer=$!
R() { env -u ETCDCTL_CACERT -u ETCDCTL_CERT -u ETCDCTL_KEY ETCDCTL_ENDPOINTS="http://127.0.0.1:$((PORT + 31))" etcdctl "$@" 2>&1; }
restored() { [ "$(R get k1 --print-value-only)" = v4 ]; }
await 10 restored && ok || bad "etcd does not start from the backup"
same() { # NAME ARGUMENTS...: both answer the same
    check "$1" "$(R "${@:2}" | sha256sum)" "$(E "${@:2}" | sha256sum)"
}
same "all keys, restored" get "" --prefix
same "an old revision, restored" get s/ --prefix --rev=$((rev - 20))
same "what was deleted" get s/3 --rev=$((rev - 5))
like "leases, restored" "$(R lease timetolive "$lease" --keys)" "lease $lease granted with TTL(5000s), remaining(*s), attached keys(\[leased\])"
check "versions, restored" "$(R get s/1 -w json | jq -c '.kvs[0]')" "$(E get s/1 -w json | jq -c '.kvs[0]')"
{ kill $peer; wait $peer; } 2>/dev/null

# --- locks and elections ---
check "lock" "$(etcdctl lock room echo inside 2>&1 | flat)" inside
etcdctl lock room >"$DIR/lock1" 2>&1 &
others+=" $!"
first=$!
await 5 has "$DIR/lock1" 1 && ok || bad "the first does not get the lock"
etcdctl lock room >"$DIR/lock2" 2>&1 &
others+=" $!"
second=$!
waiting() { [ "$(E get room/ --prefix --keys-only | grep -c .)" = 2 ]; }
await 5 waiting
check "the second waits" "$(cat "$DIR/lock2")" ""
kill -INT $first
await 5 has "$DIR/lock2" 1 && ok || bad "the second does not get the lock"
kill -INT $second
etcdctl elect office me >"$DIR/elect" 2>&1 &
others+=" $!"
await 5 has "$DIR/elect" 2
like "elect" "$(flat <"$DIR/elect")" "office/*,me*"
like "listen" "$(timeout 3 etcdctl elect -l office 2>&1 | flat)" "office/*,me*"

# --- who may ---
like "no certificate" "$(ETCDCTL_CERT='' ETCDCTL_KEY='' timeout 10 etcdctl --dial-timeout=1s --command-timeout=2s get k1 2>&1)" "*rror*"
like "another CA's certificate" "$(ETCDCTL_CERT=$DIR/stranger.crt ETCDCTL_KEY=$DIR/stranger.key timeout 10 \
    etcdctl --dial-timeout=1s --command-timeout=2s get k1 2>&1)" "*rror*"
like "what is not there" "$(E auth enable)" "*unknown service etcdserverpb.Auth*"
check "curl that offers h2 gets HTTP/1.1" "$("${CURL[@]}" --http2 -o /dev/null -w '%{http_code} %{http_version}' \
    "https://127.0.0.1:$((PORT + 1))/health")" "200 1.1"

# --- members that die ---
watch "$DIR/w6" d/ --prefix
heard() { E put d/0 x >/dev/null; has "$DIR/w6" 3; } # it may not be there yet
await 5 heard
victim=1
kill -9 "${pid[$victim]}"
{ wait "${pid[$victim]}"; } 2>/dev/null
for i in 1 2 3; do E put d/$i x >/dev/null; done
went_on() { grep -q d/3 "$DIR/w6"; }
await 15 went_on || bad "the watch does not go on: $(flat <"$DIR/w6")"
check "a watch goes on at another member" "$(grep -c 'd/[123]' "$DIR/w6")" 3
start $victim
await 10 healthy $victim
end_watch
check "the member is back" "$(one $victim get d/3 --print-value-only)" x
# One that is asked to stop does so at once, in spite of open watches.
watch "$DIR/w7" d/ --prefix
E get k1 >/dev/null
for i in 1 2 3; do kill -TERM "${pid[$i]}"; done
ended() { ! kill -0 "${pid[1]}" && ! kill -0 "${pid[2]}" && ! kill -0 "${pid[3]}"; } 2>/dev/null
await 5 ended && ok || bad "members do not stop"
for i in 1 2 3; do
    { wait "${pid[$i]}"; } 2>/dev/null
    check "exit code of $i" $? 0
    unset "pid[$i]"
done

# --- a full store ---
more=--quota-backend-bytes=8000000
start 1 2 3
await 10 all_healthy || bad "the members do not start with a quota"
fill() { ! E put fill <"$DIR/big" >"$DIR/fill"; }
await 20 fill
like "the quota is exceeded" "$(cat "$DIR/fill")" "*etcdserver: mvcc: database space exceeded*"
raised() { [[ "$(E alarm list)" == *"alarm:NOSPACE"* ]]; }
await 5 raised && ok || bad "no alarm: $(E alarm list)"
like "small writes are refused" "$(E put small x)" "*etcdserver: mvcc: database space exceeded*"
like "also in transactions" "$(printf '\nput small x\n\n\n' | E txn)" "*etcdserver: mvcc: database space exceeded*"
like "leases too" "$(E lease grant 10)" "*etcdserver: mvcc: database space exceeded*"
check "reads go on" "$(E get k1 --print-value-only)" v4
check "deletions too" "$(E del fill)" 1
like "status tells" "$(E endpoint status)" "*memberID:* alarm:NOSPACE*"
check "health tells" "$("${CURL[@]}" "https://127.0.0.1:$((PORT + 2))/health" | jq -r .reason)" "ALARM NOSPACE"
# The alarm outlives restarts.
for i in 1 2 3; do kill -9 "${pid[$i]}"; done
for i in 1 2 3; do { wait "${pid[$i]}"; } 2>/dev/null; done
start 1 2 3
await 10 raised && ok || bad "the alarm is forgotten: $(E alarm list)"
like "compaction" "$(E compaction "$(E get k1 -w json | jq .header.revision)")" "compacted revision *"
E defrag >/dev/null
small() { [ "$(E endpoint status -w json | jq '[.[].Status.dbSize] | max')" -lt 4000000 ]; }
await 5 small && ok || bad "compaction frees nothing"
like "disarm" "$(E alarm disarm)" "memberID:* alarm:NOSPACE*"
check "no alarm" "$(E alarm list)" ""
check "writes again" "$(E put small x)" OK
check "healthy again" "$("${CURL[@]}" "https://127.0.0.1:$((PORT + 2))/health" | jq -r .health)" true

echo "resident memory of a member: $idle KB before the first gRPC client, $used KB after"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
