#!/usr/bin/env bash
# CertificateSigningRequests: asked for, approved or denied, signed, used; what each signer takes and who may do what.
. "$(dirname "$0")/../tools/cluster.sh"
WORK=$(mktemp -d)
CSRS=(e2e-jane e2e-denied e2e-node e2e-node-2 e2e-serving e2e-bad-serving e2e-other e2e-short)
cleanup() {
    k delete csr "${CSRS[@]}" --ignore-not-found >/dev/null 2>&1
    k delete clusterrole e2e-csr --ignore-not-found >/dev/null 2>&1
    k delete clusterrolebinding e2e-csr e2e-selfnodeclient --ignore-not-found >/dev/null 2>&1
    rm -rf "$WORK"
}
cleanup
mkdir -p "$WORK"
trap cleanup EXIT
request() { # name, subject, signer, usages, [more of spec], [alternative names]
    local san=()
    [ -z "${6:-}" ] || san=(-addext "subjectAltName=$6")
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout "$WORK/$1.key" -out "$WORK/$1.csr" -subj "$2" "${san[@]}" 2>/dev/null
    cat <<EOF
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: $1}
spec:
  request: $(base64 -w0 <"$WORK/$1.csr")
  signerName: $3
  usages: $4
  ${5:-}
EOF
}
ask() { request "$@" | k create -f - 2>&1; }
CLIENT=kubernetes.io/kube-apiserver-client
KUBELET=kubernetes.io/kube-apiserver-client-kubelet
SERVING=kubernetes.io/kubelet-serving
condition() { k get csr "$1" -o jsonpath="{.status.conditions[?(@.type==\"$2\")].${3:-status}}"; }
has_condition() { [ "$(condition "$1" "$2")" = True ]; }
issued() { [ -n "$(k get csr "$1" -o jsonpath='{.status.certificate}')" ]; }
certificate() { k get csr "$1" -o jsonpath='{.status.certificate}' | base64 -d >"$WORK/$1.crt"; }

check_output "asked for" 'created' ask e2e-jane /O=e2e-dev/CN=jane $CLIENT '[client auth]' 'expirationSeconds: 3600'
check_output "it waits" 'e2e-jane .*kubernetes-admin +60m +Pending' eventually_output 5 Pending k get csr e2e-jane
check_output "describe" 'Common Name: +jane' k describe csr e2e-jane
check_output "approve" 'approved' k certificate approve e2e-jane
check "signed" eventually 10 issued e2e-jane
check_output "and shown so" 'Approved,Issued' k get csr e2e-jane
check_equal "by kubectl's own reason" KubectlApprove "$(condition e2e-jane Approved reason)"
certificate e2e-jane
CA=build/cluster/pki/ca.crt
check "by the cluster's CA" openssl verify -CAfile $CA "$WORK/e2e-jane.crt"
text=$(openssl x509 -in "$WORK/e2e-jane.crt" -noout -text)
check_output "the subject that was asked for" 'O ?= ?e2e-dev, CN ?= ?jane' openssl x509 -in "$WORK/e2e-jane.crt" -noout -subject
check_output "for clients only" 'TLS Web Client Authentication$' grep -A1 'Extended Key Usage' <(printf '%s\n' "$text")
check_output "no authority" 'CA:FALSE' printf '%s\n' "$text"
ends_in=$(($(date -d "$(openssl x509 -in "$WORK/e2e-jane.crt" -noout -enddate | cut -d= -f2)" +%s) - $(date +%s)))
check "for the time that was asked for" [ "$ends_in" -gt 2900 -a "$ends_in" -le 3600 ]
whoami() { curl -s --cacert $CA --cert "$WORK/e2e-jane.crt" --key "$WORK/e2e-jane.key" -H 'Content-Type: application/json' \
    -d '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}' https://127.0.0.1:6443/apis/authentication.k8s.io/v1/selfsubjectreviews; }
check_equal "the API knows its holder" 'jane ["e2e-dev","system:authenticated"]' "$(whoami | jq -r '"\(.status.userInfo.username) \(.status.userInfo.groups|tojson)"')"

ask e2e-denied /CN=eve $CLIENT '[client auth]' >/dev/null
check_output "deny" 'denied' k certificate deny e2e-denied
check_output "it stays so" 'Denied' k get csr e2e-denied
check_output "both is not possible" 'Approved and Denied conditions are mutually exclusive' k patch csr e2e-denied --subresource=approval --type=json -p '[{"op":"add","path":"/status/conditions/-","value":{"type":"Approved","status":"True","reason":"r"}}]'
check_output "what was decided stays" 'may not remove a condition of type "Denied"' k patch csr e2e-denied --subresource=approval --type=merge -p '{"status":{"conditions":null}}'
check_fails "and nothing is signed" issued e2e-denied
check_output "spec never changes" 'unchanged|no change|patched' k patch csr e2e-denied --type=merge -p '{"spec":{"signerName":"a.b/c"}}'
check_equal "as said" $CLIENT "$(k get csr e2e-denied -o jsonpath='{.spec.signerName}')"

check_output "nobody asks for the rights of all" "use of $CLIENT signer with system:masters group is not allowed" ask e2e-masters /O=system:masters/CN=eve $CLIENT '[client auth]'
printf '%s' '{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"x"},"spec":{"request":"YQ==","signerName":"a/c","usages":["fly","any","any"],"expirationSeconds":5}}' >"$WORK/bad.json"
check_output "all that is wrong with one" 'spec.request: Invalid value: .*0x61.*PEM block type must be CERTIFICATE REQUEST.*spec.usages\[0\]: Unsupported value: "fly".*spec.usages\[2\]: Duplicate value: "any".*two segments.*600 seconds' bash -c "'$KUBECTL' create -f $WORK/bad.json 2>&1 | tr '\n' ' '"
check_output "the legacy signer is gone" 'the legacy signerName is not allowed' ask e2e-legacy /CN=x kubernetes.io/legacy-unknown '[client auth]'
check_output "the signers' roles exist" 'approver' k get clusterrole system:certificates.k8s.io:kubelet-serving-approver

node() { request "$@" | k create --as=system:node:e2e-node --as-group=system:nodes --as-group=system:authenticated -f - 2>&1; }
node e2e-node /O=system:nodes/CN=system:node:e2e-node $KUBELET '[client auth, digital signature]' >/dev/null
check_equal "who asks is who sent it" system:node:e2e-node "$(k get csr e2e-node -o jsonpath='{.spec.username}')"
k create clusterrolebinding e2e-selfnodeclient --clusterrole=system:certificates.k8s.io:certificatesigningrequests:selfnodeclient --group=system:nodes >/dev/null
node e2e-node-2 /O=system:nodes/CN=system:node:e2e-node $KUBELET '[client auth, digital signature]' >/dev/null
check "a kubelet that may gets its client certificate by itself" eventually 10 issued e2e-node-2
check_output "approved after asking" 'self kubelet client certificate after SubjectAccessReview' condition e2e-node-2 Approved message
check_fails "one that might not, did not" has_condition e2e-node Approved
node e2e-serving /O=system:nodes/CN=system:node:e2e-node $SERVING '[server auth, digital signature]' '' DNS:e2e-node,IP:10.9.9.9 >/dev/null
k certificate approve e2e-serving >/dev/null
check "a kubelet's serving certificate, once approved" eventually 10 issued e2e-serving
certificate e2e-serving
check_output "with its names" 'DNS:e2e-node, IP Address:10.9.9.9' openssl x509 -in "$WORK/e2e-serving.crt" -noout -ext subjectAltName
node e2e-bad-serving /O=system:nodes/CN=system:node:e2e-node $SERVING '[server auth, digital signature]' >/dev/null
k certificate approve e2e-bad-serving >/dev/null
check "without a name it fails" eventually 10 has_condition e2e-bad-serving Failed
check_output "and says why" 'SignerValidationFailure DNS or IP subjectAltName is required' k get csr e2e-bad-serving -o jsonpath='{.status.conditions[?(@.type=="Failed")].reason} {.status.conditions[?(@.type=="Failed")].message}'
ask e2e-other /CN=x example.com/mine '[any]' >/dev/null
k certificate approve e2e-other >/dev/null
printf '{"status":{"certificate":"%s"}}' "$(base64 -w0 <$CA)" >"$WORK/status.json"
check_output "other signers sign themselves" 'patched' k patch csr e2e-other --subresource=status --type=merge --patch-file="$WORK/status.json"
check_output "once" 'updates may not modify existing certificate content' k patch csr e2e-other --subresource=status --type=merge -p "{\"status\":{\"certificate\":\"$(base64 -w0 <"$WORK/e2e-serving.crt")\"}}"
k create clusterrole e2e-csr --verb=get,update,patch --resource=csr,csr/status,csr/approval >/dev/null
k create clusterrolebinding e2e-csr --clusterrole=e2e-csr --user=eve >/dev/null
check_output "to approve takes a right for the signer" "user not permitted to approve requests with signerName \"$KUBELET\"" eventually_output 5 approve k certificate approve e2e-node --as=eve
check_output "and so does to sign" 'user not permitted to sign requests with signerName' k patch csr e2e-denied --as=eve --subresource=status --type=merge --patch-file="$WORK/status.json"
finish
