#!/bin/bash
# Disaster recovery: backups of etcd and of etcd-lite, each restored into a new cluster of etcd-lite (of one member and of three)
# and of etcd. Needs etcd, etcdctl, jq, curl. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
BIN=${BUILD:-build}/bin/etcd-lite
PORT=${TEST_PORT:-21900}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/restore.XXXXXX")
declare -A pid=()

cleanup() {
    exec 2>/dev/null
    for p in "${pid[@]}"; do kill -9 "$p"; done
    wait
    if [ "$FAILED" = 0 ]; then rm -rf "$DIR"; else echo "logs are in $DIR"; fi
}
trap cleanup EXIT
export ETCDCTL_API=3
client() { echo "http://127.0.0.1:$((PORT + $1))"; }
peer() { echo "http://127.0.0.1:$((PORT + 20 + $1))"; }
at() { ETCDCTL_ENDPOINTS=$(client "$1") etcdctl "${@:2}" 2>&1; } # MEMBER ARGUMENTS...
post() { curl -s -m 10 "$(client "$1")/v3/$2" -d "$3"; }
b64() { printf %s "$1" | base64 -w0; }
answers() { at "$1" --command-timeout=2s get nothing >/dev/null; }
run_member() { # N PROGRAM FLAGS...: in the background, on its data directory
    local i=$1
    "$2" --name "m$i" --data-dir "$DIR/m$i" --listen-client-urls "$(client "$i")" --advertise-client-urls "$(client "$i")" \
        --listen-peer-urls "$(peer "$i")" --initial-advertise-peer-urls "$(peer "$i")" "${@:3}" >>"$DIR/m$i.log" 2>&1 &
    pid[$i]=$!
}
stop() { kill "${pid[$1]}"; { wait "${pid[$1]}"; } 2>/dev/null; unset "pid[$1]"; }
restore() { # N BACKUP CLUSTER TOKEN [FLAGS...]
    "$BIN" restore "$2" --name "m$1" --data-dir "$DIR/m$1" --initial-cluster "$3" --initial-cluster-token "$4" \
        --initial-advertise-peer-urls "$(peer "$1")" "${@:5}"
}
same() { # WHAT MEMBER MEMBER ARGUMENTS...: both answer etcdctl the same
    check_equal "$1" "$(at "$2" "${@:4}" | sha256sum)" "$(at "$3" "${@:4}" | sha256sum)"
}
compare() { # A B REVISION: the second has all that the first had at the revision
    local r
    same "all keys" "$1" "$2" get "" --prefix --rev="$3"
    for r in 400 220 130; do same "history at $r" "$1" "$2" get "" --prefix --rev="$r"; done
    check_equal "revisions and versions of keys" "$(at "$1" get k/ --prefix --rev="$3" -w json | jq -c '[.kvs[] | [.create_revision, .mod_revision, .version]]')" \
        "$(at "$2" get k/ --prefix --rev="$3" -w json | jq -c '[.kvs[] | [.create_revision, .mod_revision, .version]]')"
    check_output "what was compacted is gone" "required revision has been compacted" at "$2" get k/1 --rev=50
    check_output "leases and their keys" "lease $lease granted with TTL\(5000s\), remaining\([0-9]+s\), attached keys\(\[leased\]\)" at "$2" lease timetolive "$lease" --keys
}

# --- a backup of etcd ---
run_member 1 etcd --initial-cluster "m1=$(peer 1)"
check "etcd starts" eventually 10 answers 1
# 450 revisions of 90 keys, some deleted, over one connection.
for i in $(seq 450); do
    if [ $((i % 9)) = 0 ]; then
        path=kv/deleterange body="{\"key\":\"$(b64 "k/$((i % 90 - 3))")\"}"
    else
        path=kv/put body="{\"key\":\"$(b64 "k/$((i % 90))")\",\"value\":\"$(b64 "value $i")\"}"
    fi
    printf 'next\nurl = "%s/v3/%s"\ndata = "%s"\noutput = /dev/null\n' "$(client 1)" "$path" "${body//\"/\\\"}"
done | sed 1d | curl -s -K - >/dev/null
head -c 1000000 /dev/urandom | base64 -w0 | head -c 1000000 >"$DIR/big"
at 1 put big <"$DIR/big" >/dev/null
lease=$(at 1 lease grant 5000 | awk '{print $2}')
at 1 put leased v --lease="$lease" >/dev/null
at 1 compaction 120 >/dev/null
for i in 1 2 3; do at 1 put "k/$i" last >/dev/null; done
rev=$(at 1 get k/1 -w json | jq .header.revision)
check_output "etcd is saved" "Snapshot saved" at 1 snapshot save "$DIR/etcd.db"

# --- into one member ---
check "restored into one member" restore 2 "$DIR/etcd.db" "m2=$(peer 2)" one
run_member 2 "$BIN" --initial-cluster "m2=$(peer 2)" --initial-cluster-token one
check "it starts" eventually 10 answers 2
compare 1 2 "$rev"
check_equal "a watch brings history" "$(timeout 5 curl -sN -m 2 "$(client 1)/v3/watch" -d "{\"create_request\":{\"key\":\"$(b64 k/)\",\"range_end\":\"$(b64 k0)\",\"start_revision\":200}}" | jq -c '.result.events[]?' | sort | sha256sum)" \
    "$(timeout 5 curl -sN -m 2 "$(client 2)/v3/watch" -d "{\"create_request\":{\"key\":\"$(b64 k/)\",\"range_end\":\"$(b64 k0)\",\"start_revision\":200}}" | jq -c '.result.events[]?' | sort | sha256sum)"
at 2 put new x >/dev/null
check_equal "revisions go on" $((rev + 1)) "$(at 2 get new -w json | jq '.kvs[0].mod_revision')"
check_equal "one member, of a new cluster" "m2" "$(at 2 member list | awk -F', ' '{print $3}')"
stop 2
run_member 2 "$BIN" --initial-cluster "m2=$(peer 2)" --initial-cluster-token one
check "and again after a restart" eventually 10 answers 2
same "all is there" 1 2 get k/ --prefix

# --- into three ---
three="m3=$(peer 3),m4=$(peer 4),m5=$(peer 5)"
for i in 3 4 5; do check "restored into member $i of three" restore $i "$DIR/etcd.db" "$three" three; done
for i in 3 4 5; do run_member $i "$BIN" --initial-cluster "$three" --initial-cluster-token three; done
for i in 3 4 5; do check "member $i starts" eventually 10 answers $i; done
compare 1 5 "$rev"
check_equal "all hold the same" 1 "$(for i in 3 4 5; do post $i maintenance/hash "{\"revision\":\"$rev\"}" | jq -r .hash; done | sort -u | wc -l)"
kill -9 "${pid[3]}"
{ wait "${pid[3]}"; } 2>/dev/null
check_output "writes with two of three" "OK" at 4 put after x
run_member 3 "$BIN" --initial-cluster "$three" --initial-cluster-token three
check "the third is back" eventually 10 answers 3
check_equal "and has what it missed" x "$(at 3 get after --print-value-only)"
added() { at 3 member add m6 --peer-urls "$(peer 6)" | grep "added to cluster"; }
check "a fourth member is added" eventually 10 added
run_member 6 "$BIN" --initial-cluster "$three,m6=$(peer 6)" --initial-cluster-state existing
check "it starts" eventually 15 answers 6
same "it has all, with history" 1 6 get "" --prefix --rev="$rev"

# --- a backup of etcd-lite, under load, into etcd and into etcd-lite ---
(while [ ! -e "$DIR/stop" ]; do post 4 kv/put "{\"key\":\"$(b64 "load/$RANDOM")\",\"value\":\"eA==\"}"; done) >/dev/null 2>&1 &
pid[load]=$!
check_output "etcd-lite is saved while clients write" "Snapshot saved" at 3 snapshot save "$DIR/lite.db"
touch "$DIR/stop"
wait "${pid[load]}"
unset "pid[load]"
saved=$(etcdctl snapshot status "$DIR/lite.db" -w json | jq .revision)
check "restored into etcd" etcdctl snapshot restore "$DIR/lite.db" --name m7 --data-dir "$DIR/m7" --initial-cluster "m7=$(peer 7)" --initial-advertise-peer-urls "$(peer 7)"
run_member 7 etcd --initial-cluster "m7=$(peer 7)"
check "etcd starts from it" eventually 10 answers 7
compare 4 7 "$saved"
check_output "etcd is saved again" "Snapshot saved" at 7 snapshot save "$DIR/again.db"
check "restored into etcd-lite" restore 8 "$DIR/again.db" "m8=$(peer 8)" eight
run_member 8 "$BIN" --initial-cluster "m8=$(peer 8)" --initial-cluster-token eight
check "it starts" eventually 10 answers 8
compare 4 8 "$saved"

# --- what is refused ---
stop 8
check_fails "a directory that has data" restore 8 "$DIR/lite.db" "m8=$(peer 8)" eight
check_output "says so" "has a member's data already" echo "$LAST_OUTPUT"
head -c 100000 "$DIR/lite.db" >"$DIR/short.db"
check_fails "a backup cut short" restore 9 "$DIR/short.db" "m9=$(peer 9)" nine
check_output "says so" "the backup has no hash" echo "$LAST_OUTPUT"
cp "$DIR/lite.db" "$DIR/bad.db"
printf '\xaa\x55' | dd of="$DIR/bad.db" bs=1 seek=30000 conv=notrunc status=none
check_fails "a damaged backup" restore 9 "$DIR/bad.db" "m9=$(peer 9)" nine
check_output "says so" "its hash is another" echo "$LAST_OUTPUT"
check_fails "no backup at all" restore 9 /bin/true "m9=$(peer 9)" nine --skip-hash-check
check_output "says so" "no database file of etcd" echo "$LAST_OUTPUT"
check_fails "what was not finished does not start" timeout 10 "$BIN" --name m9 --data-dir "$DIR/m9" --initial-cluster "m9=$(peer 9)" \
    --listen-peer-urls "$(peer 9)" --initial-advertise-peer-urls "$(peer 9)" --listen-client-urls "$(client 9)"
check_output "says so" "that was not finished" echo "$LAST_OUTPUT"
stop 7
check "a database file without a hash, if one insists" restore 10 "$DIR/m7/member/snap/db" "m10=$(peer 10)" ten --skip-hash-check

finish
