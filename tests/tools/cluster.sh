# Sourced by the e2e and chaos tests: the cluster started by `make up`.
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/lib.sh
export KUBECONFIG=$PWD/build/cluster/admin.kubeconfig
KUBECTL=$(tests/tools/kubectl)
BUSYBOX=skiff.local/busybox:1
DEMO_IMAGE=skiff.local/my-nest-app:1
CONTROL_PLANES=(cp-1 cp-2 cp-3)
WORKERS=(worker-1 worker-2)
CONTROL_PLANE_COMPONENTS=(etcd-lite apiserver scheduler controller-manager)

k() { "$KUBECTL" "$@"; }
on() { deploy/host "$@"; } # host, command...

# A namespace of the test's own, removed at its end whatever happens.
test_namespace() {
    NS=$1
    k delete ns "$NS" --ignore-not-found --wait=true >/dev/null 2>&1
    k create ns "$NS" >/dev/null
    trap 'k delete ns "$NS" --wait=false >/dev/null 2>&1' EXIT
    check "the namespace gets its default ServiceAccount" eventually 40 k get serviceaccount default -n "$NS"
}
kn() { "$KUBECTL" -n "$NS" "$@"; }

pod_uids() { kn get pods -o jsonpath='{range .items[*]}{.metadata.uid} {end}' "$@"; }
restarts() { kn get pods -o jsonpath='{range .items[*]}{.metadata.uid}={.status.containerStatuses[*].restartCount} {end}' "$@"; }
# Pods of the selection as JSONPath yields.
pods_path() { kn get pods -l "$1" -o jsonpath="$2"; }
# Process id, inside the host, of a component.
component_pid() { on "$1" pgrep -f "^([^ ]*/)?$2( |\$)" | head -n 1; }
component_runs() { [ -n "$(component_pid "$1" "$2")" ]; }
component_restarted() { # host, component, old pid
    local pid
    pid=$(component_pid "$1" "$2") && [ -n "$pid" ] && [ "$pid" != "$3" ]
}
api_ready_on() { on "$1" curl -skf --max-time 2 https://127.0.0.1:6443/readyz; }

# web NAME REPLICAS: a Deployment of busybox' web server answering with the pod's name, and its Service.
web() {
    kn apply -f - <<EOF
apiVersion: apps/v1
kind: Deployment
metadata: {name: $1, labels: {app: $1}}
spec:
  replicas: $2
  selector: {matchLabels: {app: $1}}
  template:
    metadata: {labels: {app: $1}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: $BUSYBOX
        command: [sh, -c, 'mkdir -p /www/cgi-bin; printf "#!/bin/sh\necho; echo \$POD_NAME; echo \$REMOTE_ADDR\n" >/www/cgi-bin/who; chmod +x /www/cgi-bin/who; echo ok >/www/ready; exec httpd -f -v -p 8080 -h /www']
        env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1}
        resources: {requests: {cpu: 10m, memory: 8Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: $1}
spec:
  selector: {app: $1}
  ports: [{name: http, port: 80, targetPort: http}]
EOF
}
service_ip() { kn get svc "$1" -o jsonpath='{.spec.clusterIP}'; }
# The pod that answered at an address.
who() { on "$1" curl -sf --max-time 3 "http://$2/cgi-bin/who" | head -n 1; }
