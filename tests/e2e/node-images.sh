#!/usr/bin/env bash
# Images from a registry with TLS and basic authentication: pull policies, pull secrets, back-off, parallel pulls,
# credential provider plug-ins.
. "$(dirname "$0")/../tools/cluster.sh"
. tests/tools/kubelet-flags.sh
test_namespace e2e-node-images
HOST=worker-1
REGISTRY=cp-1:5000
work=$(mktemp -d)
chmod 755 "$work"
PKI=$PWD/build/cluster/pki
certs=build/cluster/hosts/$HOST/etc/kubernetes/certs.d/$REGISTRY
ctr() { on $HOST ctr -n k8s.io "$@"; }
remove_images() { ctr images ls -q | grep "^$REGISTRY/" | while read -r i; do ctr images rm "$i" >/dev/null; done; }
cleanup() {
    [ -z "${registry:-}" ] || kill "$registry" 2>/dev/null
    on cp-1 pkill -f "$work/registry.yml"
    k delete ns "$NS" --wait=false >/dev/null 2>&1
    kubelet_flags $HOST >/dev/null 2>&1
    remove_images
    rm -rf "$work" "$certs"
}
trap cleanup EXIT

# --- the registry, on a host of the cluster, with a certificate of the cluster's authority
printf '[req]\ndistinguished_name=dn\n[dn]\n' >"$work/openssl.cnf"
openssl req -x509 -config "$work/openssl.cnf" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" \
    -keyout "$work/tls.key" -out "$work/tls.crt" -days 2 -subj /CN=cp-1 -addext subjectAltName=DNS:cp-1 -addext basicConstraints=critical,CA:FALSE 2>/dev/null
perl -e 'my @c = ("a".."z", "A".."Z", 0..9); print "puller:", crypt("open-sesame", "\$2b\$05\$" . join("", map { $c[rand @c] } 1..21) . "e"), "\n"' >"$work/htpasswd"
cat >"$work/registry.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/data}}
http: {addr: "0.0.0.0:5000", secret: x, tls: {certificate: $work/tls.crt, key: $work/tls.key}}
auth: {htpasswd: {realm: skiff, path: $work/htpasswd}}
YAML
on cp-1 docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry=$!
mkdir -p "$certs"
cp "$PKI/ca.crt" "$certs/ca.crt"
printf 'server = "https://%s"\n[host."https://%s"]\n  ca = "/etc/kubernetes/certs.d/%s/ca.crt"\n' "$REGISTRY" "$REGISTRY" "$REGISTRY" >"$certs/hosts.toml"
asks() { [ "$(on $HOST curl -s -o /dev/null -w '%{http_code}' --cacert "$PKI/ca.crt" "$@" https://$REGISTRY/v2/)" = "${wanted:-401}" ]; }
check "a registry that wants a password" eventually 15 asks
wanted=200
check "and takes the right one" asks -u puller:open-sesame
push() { # name
    ctr images tag --force "$BUSYBOX" "$REGISTRY/$1" >/dev/null
    ctr images push --user puller:open-sesame --hosts-dir /etc/kubernetes/certs.d "$REGISTRY/$1" >/dev/null
}
check "images are pushed" push team/app:1
for i in app:2 app:3 app:4; do push "team/$i"; done
remove_images

pod() { # name, image, policy, pod fields
    kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  nodeName: $HOST
  terminationGracePeriodSeconds: 0
  ${4:-}
  containers:
  - {name: main, image: "$2", imagePullPolicy: $3, command: [sleep, "1000"]}
YAML
}
waiting() { kn get pod "$1" -o jsonpath='{.status.containerStatuses[0].state.waiting.reason}'; }
waiting_is() { [ "$(waiting "$1")" = "$2" ]; }
ready() { kn wait "pod/$1" --for=condition=Ready --timeout="${2:-30}s"; }

# --- without credentials
pod anonymous $REGISTRY/team/app:1 IfNotPresent
check "without credentials" eventually 20 waiting_is anonymous ErrImagePull
check "the kubelet backs off" eventually 20 waiting_is anonymous ImagePullBackOff
check_output "and says of what" 'Back-off pulling image "cp-1:5000/team/app:1"' eventually_output 5 'Back-off pulling' kn describe pod anonymous
check_output "and why" 'Failed to pull image "cp-1:5000/team/app:1": .*(401|authorization|no basic auth)' kn describe pod anonymous
pod never $REGISTRY/team/app:1 Never
check "policy Never of an absent image" eventually 10 waiting_is never ErrImageNeverPull
check_output "says so" 'Container image "cp-1:5000/team/app:1" is not present with pull policy of Never' kn get pod never -o jsonpath='{.status.containerStatuses[0].state.waiting.message}'
pod invalid 'team/UPPER' IfNotPresent
check "a name that is none" eventually 10 waiting_is invalid InvalidImageName

# --- pull secrets
kn create secret docker-registry wrong --docker-server=$REGISTRY --docker-username=puller --docker-password=nonsense >/dev/null
kn create secret docker-registry right --docker-server=$REGISTRY --docker-username=puller --docker-password=open-sesame >/dev/null
pod secret $REGISTRY/team/app:1 IfNotPresent 'imagePullSecrets: [{name: right}]'
check "with a pull secret" ready secret
check_output "an event tells of the pull" 'Successfully pulled image "cp-1:5000/team/app:1" in ' kn describe pod secret
check "the one without credentials, and with policy IfNotPresent, has it now too" ready anonymous 60
check "so has the one that never pulls" ready never 30
pod always $REGISTRY/team/app:1 Always
check "policy Always asks the registry again" eventually 20 waiting_is always ErrImagePull
pod several $REGISTRY/team/app:2 IfNotPresent 'imagePullSecrets: [{name: missing}, {name: wrong}, {name: right}]'
check "of several secrets the right one is found" ready several
check_output "one that is missing is told of" 'FailedToRetrieveImagePullSecret' kn describe pod several
kn patch serviceaccount default -p '{"imagePullSecrets":[{"name":"right"}]}' >/dev/null
pod account $REGISTRY/team/app:3 Always
check "a pull secret of the ServiceAccount" ready account
remove_images
many=(one two three four five)
for n in "${many[@]}"; do pod "$n" "$REGISTRY/team/app:$((RANDOM % 4 + 1))" Always; done
check "five pulls at a time" kn wait pod/one pod/two pod/three pod/four pod/five --for=condition=Ready --timeout=40s
check_output "status.containerStatuses has the image's id" '^sha256:[0-9a-f]{64}|@sha256:' kn get pod one -o jsonpath='{.status.containerStatuses[0].imageID}'

# --- a credential provider plug-in
mkdir "$work/plugins"
cat >"$work/plugins/keys" <<'SH'
#!/bin/sh
# Gives the password for the image that it is asked for, and keeps a diary.
request=$(cat)
echo "$1 $PLUGIN_REALM $request" >>"$(dirname "$0")/diary"
echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry","cacheDuration":"1h","auth":{"cp-*:5000/team":{"username":"puller","password":"open-sesame"}}}'
SH
chmod 755 "$work/plugins/keys"
cat >"$work/providers.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: keys
  matchImages: ["cp-*:5000/team"]
  defaultCacheDuration: 10m
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [--of-the-test]
  env: [{name: PLUGIN_REALM, value: realm-1}]
YAML
kn patch serviceaccount default --type=json -p '[{"op":"remove","path":"/imagePullSecrets"}]' >/dev/null
kn delete pods --all --grace-period=0 --force >/dev/null 2>&1
remove_images
check "a kubelet with a credential provider" kubelet_flags $HOST --image-credential-provider-config="$work/providers.yaml" --image-credential-provider-bin-dir="$work/plugins"
pod plugged $REGISTRY/team/app:1 Always
check "its pods need no secret" ready plugged
check_output "the plug-in was asked as configured" '^--of-the-test realm-1 \{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"cp-1:5000/team/app:1"\}$' cat "$work/plugins/diary"
pod again $REGISTRY/team/app:2 Always
check "another image of the registry" ready again
check_equal "comes by the answer that is remembered" 1 "$(wc -l <"$work/plugins/diary")"
finish
