# Sourced: a store of three members and two apiservers on loopback, without nodes, for integration tests.
#   control_plane_start DIR BASE_PORT [lite|etcd]     exports KUBECONFIG, API (url), API2, CURL (array: admin's curl)
#   control_plane_stop
# Every process is this script's child: it ends with the script.
CP_PIDS=()
CP_APISERVER_FLAGS=() # more flags for every apiserver

# pki DIR: one CA, a server certificate for loopback, client certificates.
control_plane_pki() {
    local dir=$1
    mkdir -p "$dir"
    (
        cd "$dir" || exit 1
        openssl ecparam -name prime256v1 -genkey -noout -out ca.key
        openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 2 -out ca.crt
        openssl ecparam -name prime256v1 -genkey -noout -out sa.key
        openssl ec -in sa.key -pubout -out sa.pub
        issue() { # file, subject, extensions
            openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
            openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
            openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out "$1.crt" -extfile <(printf '%s\n' "$3")
        }
        issue server /CN=server $'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth'
        issue admin /O=system:masters/CN=kubernetes-admin extendedKeyUsage=clientAuth
        issue nobody /CN=nobody extendedKeyUsage=clientAuth
        issue scheduler /CN=system:kube-scheduler extendedKeyUsage=clientAuth
        issue node /O=system:nodes/CN=system:node:node-1 extendedKeyUsage=clientAuth
    ) >/dev/null 2>&1
    local name
    for name in admin nobody scheduler node; do
        cat >"$dir/$name.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "$API", certificate-authority: $dir/ca.crt}}]
users: [{name: u, user: {client-certificate: $dir/$name.crt, client-key: $dir/$name.key}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
EOF
    done
}

control_plane_member() { # index
    local i=$1 p=$((CP_PORT + 2 * $1)) cluster
    cluster="m0=https://127.0.0.1:$((CP_PORT + 1)),m1=https://127.0.0.1:$((CP_PORT + 3)),m2=https://127.0.0.1:$((CP_PORT + 5))"
    [ -z "${CP_SINGLE:-}" ] || cluster="m$i=https://127.0.0.1:$((p + 1))"
    local tls=(--cert-file="$CP_DIR/pki/server.crt" --key-file="$CP_DIR/pki/server.key" --trusted-ca-file="$CP_DIR/pki/ca.crt"
        --client-cert-auth --peer-cert-file="$CP_DIR/pki/server.crt" --peer-key-file="$CP_DIR/pki/server.key"
        --peer-trusted-ca-file="$CP_DIR/pki/ca.crt")
    local flags=(--name="m$i" --data-dir="$CP_DIR/m$i" --listen-client-urls="https://127.0.0.1:$p" --advertise-client-urls="https://127.0.0.1:$p"
        --listen-peer-urls="https://127.0.0.1:$((p + 1))" --initial-advertise-peer-urls="https://127.0.0.1:$((p + 1))" --initial-cluster="$cluster")
    local program=build/bin/etcd-lite
    [ "$CP_STORE" = etcd ] && program=etcd && flags+=(--peer-client-cert-auth --log-level=warn)
    "$program" "${flags[@]}" "${tls[@]}" >>"$CP_DIR/m$i.log" 2>&1 &
    CP_PIDS+=($!)
    CP_MEMBER[i]=$!
}

control_plane_apiserver() { # index
    local i=$1
    "${CP_APISERVER_PROGRAM:-build/bin/apiserver}" --etcd-servers="https://127.0.0.1:$CP_PORT,https://127.0.0.1:$((CP_PORT + 2)),https://127.0.0.1:$((CP_PORT + 4))" \
        --etcd-cafile="$CP_DIR/pki/ca.crt" --etcd-certfile="$CP_DIR/pki/server.crt" --etcd-keyfile="$CP_DIR/pki/server.key" \
        --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port=$((CP_PORT + 10 + i)) \
        --tls-cert-file="$CP_DIR/pki/server.crt" --tls-private-key-file="$CP_DIR/pki/server.key" --client-ca-file="$CP_DIR/pki/ca.crt" \
        --service-cluster-ip-range=10.96.0.0/16 --service-node-port-range=30000-32767 \
        --service-account-key-file="$CP_DIR/pki/sa.pub" --service-account-signing-key-file="$CP_DIR/pki/sa.key" \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --kubelet-client-certificate="$CP_DIR/pki/admin.crt" --kubelet-client-key="$CP_DIR/pki/admin.key" \
        --kubelet-certificate-authority="$CP_DIR/pki/ca.crt" "${CP_APISERVER_FLAGS[@]}" >>"$CP_DIR/apiserver$i.log" 2>&1 &
    CP_PIDS+=($!)
    CP_APISERVER[i]=$!
}

control_plane_start() {
    CP_DIR=$1 CP_PORT=$2 CP_STORE=${3:-lite}
    CP_MEMBER=() CP_APISERVER=()
    API=https://127.0.0.1:$((CP_PORT + 10))
    API2=https://127.0.0.1:$((CP_PORT + 11))
    rm -rf "$CP_DIR"
    mkdir -p "$CP_DIR"
    control_plane_pki "$CP_DIR/pki"
    CURL=(curl -sS --max-time 30 --cacert "$CP_DIR/pki/ca.crt" --cert "$CP_DIR/pki/admin.crt" --key "$CP_DIR/pki/admin.key")
    export KUBECONFIG=$CP_DIR/pki/admin.kubeconfig
    local i
    for i in 0 1 2; do control_plane_member $i; done
    for i in 0 1; do control_plane_apiserver $i; done
    eventually 20 "${CURL[@]}" -f "$API/readyz" && eventually 20 "${CURL[@]}" -f "$API2/readyz"
}

# Kills without warning and waits until they are dead.
control_plane_kill() {
    kill -9 "$@" 2>/dev/null
    wait "$@" 2>/dev/null
    return 0
}

control_plane_stop() {
    [ ${#CP_PIDS[@]} -eq 0 ] || kill -9 "${CP_PIDS[@]}" 2>/dev/null
    wait 2>/dev/null
    CP_PIDS=()
}
trap control_plane_stop EXIT
