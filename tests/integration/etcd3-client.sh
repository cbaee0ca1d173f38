#!/usr/bin/env bash
# npm's etcd3, unmodified, against three members over TLS with client certificates.
#   STORE=etcd tests/integration/etcd3-client.sh    holds the test itself against etcd
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
PORT=${TEST_PORT:-21900}
work=$(mktemp -d "${TMPDIR:-/tmp}/etcd3-client.XXXXXX")
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null; wait 2>/dev/null; [ $FAILED -gt 0 ] && echo "logs are in $work" || rm -rf "$work"' EXIT

modules=build/test-clients
if [ ! -d "$modules/node_modules/etcd3" ]; then
    mkdir -p "$modules"
    npm install --silent --no-audit --no-fund --prefix "$modules" etcd3@1 >/dev/null 2>&1
fi
if [ ! -d "$modules/node_modules/etcd3" ]; then
    fail "the npm package etcd3 can be installed"
    finish
    exit
fi
{
    openssl ecparam -genkey -name prime256v1 -noout -out "$work/ca.key"
    openssl req -x509 -new -key "$work/ca.key" -subj /CN=test-ca -days 2 -out "$work/ca.crt"
    for n in server client; do
        openssl ecparam -genkey -name prime256v1 -noout | openssl pkcs8 -topk8 -nocrypt -out "$work/$n.key"
        openssl req -new -key "$work/$n.key" -subj /CN=$n -out "$work/$n.csr"
        openssl x509 -req -in "$work/$n.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 2 -out "$work/$n.crt" \
            -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n')
    done
} 2>/dev/null
binary=${BUILD:-build}/bin/etcd-lite extra=()
[ "${STORE:-}" != etcd ] || binary=etcd extra=(--log-level=error)
cluster= hosts=
for i in 1 2 3; do
    cluster+="${cluster:+,}m$i=https://127.0.0.1:$((PORT + 10 + i))"
    hosts+="${hosts:+,}https://127.0.0.1:$((PORT + i))"
done
for i in 1 2 3; do
    $binary --name m$i --data-dir "$work/m$i" --initial-cluster "$cluster" --initial-cluster-token "$work" "${extra[@]}" \
        --listen-client-urls "https://127.0.0.1:$((PORT + i))" --advertise-client-urls "https://127.0.0.1:$((PORT + i))" \
        --listen-peer-urls "https://127.0.0.1:$((PORT + 10 + i))" --initial-advertise-peer-urls "https://127.0.0.1:$((PORT + 10 + i))" \
        --cert-file "$work/server.crt" --key-file "$work/server.key" --trusted-ca-file "$work/ca.crt" --client-cert-auth \
        --peer-cert-file "$work/server.crt" --peer-key-file "$work/server.key" --peer-trusted-ca-file "$work/ca.crt" --peer-client-cert-auth \
        >>"$work/m$i.log" 2>&1 &
    pids+=($!)
done
healthy() { curl -s -m 2 --cacert "$work/ca.crt" --cert "$work/client.crt" --key "$work/client.key" "https://127.0.0.1:$((PORT + $1))/health" | grep -q '"true"'; }
for i in 1 2 3; do eventually 15 healthy $i || fail "member $i starts"; done

ended=
while IFS= read -r line; do
    case $line in
    "ok "*) pass "${line#ok }" ;;
    "not ok "*) fail "${line#not ok }" ;;
    "done") ended=1 ;;
    *) printf '        | %s\n' "$line" ;;
    esac
done < <(HOSTS=$hosts CA=$work/ca.crt CERT=$work/client.crt KEY=$work/client.key MODULES=$(realpath "$modules") \
    timeout 90 node tests/integration/etcd3-client.mjs 2>&1)
[ "$ended" ] || fail "the program comes to its end"
finish
