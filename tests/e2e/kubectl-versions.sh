#!/usr/bin/env bash
# The same day's work with several kubectl releases; what they print is compared with what they print
# against Kubernetes (columns and messages).
. "$(dirname "$0")/../tools/cluster.sh"
VERSIONS=(1.27 1.31 1.33 1.35)
# kubectl keeps for hours what it discovered: here each run discovers anew.
HOME=$(mktemp -d)
export HOME

manifest() {
    cat <<EOF
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {app: app}}
spec:
  replicas: $1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: $BUSYBOX
        command: [sh, -c, 'echo started; exec sleep 100000']
EOF
}

for version in "${VERSIONS[@]}"; do
    if ! KUBECTL=$(tests/tools/kubectl "$version"); then
        fail "kubectl $version is at hand"
        continue
    fi
    test_namespace "e2e-kubectl-${version//./-}"
    trap 'k delete ns "$NS" --wait=false >/dev/null 2>&1; rm -rf "$HOME"' EXIT
    v="kubectl $version:"
    manifest 1 >"${TMPDIR:-/tmp}/skiff-app.yaml"
    check_output "$v apply" '^deployment.apps/app created$' kn apply -f "${TMPDIR:-/tmp}/skiff-app.yaml"
    check_output "$v apply again" '^deployment.apps/app unchanged$' kn apply -f "${TMPDIR:-/tmp}/skiff-app.yaml"
    manifest 2 >"${TMPDIR:-/tmp}/skiff-app.yaml"
    check_output "$v apply a change" '^deployment.apps/app configured$' kn apply -f "${TMPDIR:-/tmp}/skiff-app.yaml"
    check_output "$v rollout status" 'deployment "app" successfully rolled out' kn rollout status deployment/app --timeout=60s
    check_output "$v get: columns" '^NAME +READY +UP-TO-DATE +AVAILABLE +AGE$' kn get deployment
    check_output "$v get -o wide: columns" '^NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR$' kn get deployment -o wide
    check_output "$v get pods -o wide: columns" '^NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES$' kn get pods -o wide
    check_output "$v get nodes -o wide: columns" '^NAME +STATUS +ROLES +AGE +VERSION +INTERNAL-IP +EXTERNAL-IP +OS-IMAGE +KERNEL-VERSION +CONTAINER-RUNTIME$' k get nodes -o wide
    check_output "$v get svc: columns" '^NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE$' k get svc
    check_output "$v get -o yaml" '^kind: Deployment$' kn get deployment app -o yaml
    check_equal "$v get -o jsonpath" 2 "$(kn get deployment app -o jsonpath='{.status.readyReplicas}')"
    check_output "$v get -o custom-columns" '^app +2$' kn get deployment app -o custom-columns=N:.metadata.name,R:.spec.replicas
    check_output "$v get several kinds" '^deployment.apps/app' kn get deployment,pods,svc
    check_output "$v get all" '^replicaset.apps/app-' kn get all
    check_output "$v get -w" '^app-.* Running ' bash -c "timeout 2 '$KUBECTL' -n '$NS' get pods -w; true"
    check_output "$v describe deployment" '^Replicas: +2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable' kn describe deployment app
    check_output "$v describe deployment: events" 'ScalingReplicaSet' kn describe deployment app
    check_output "$v describe pod" '^Status: +Running' kn describe pods -l app=app
    check_output "$v describe node" '^  Ready +True .*KubeletReady' k describe node worker-1
    check_output "$v describe ns" '^Status: +Active' k describe ns "$NS"
    pod=$(pods_path app=app '{.items[0].metadata.name}')
    check_equal "$v logs" started "$(kn logs "$pod")"
    check_output "$v logs --timestamps" '^20..-..-..T.*Z started$' kn logs "$pod" --timestamps
    check_output "$v logs by selector" 'started' kn logs -l app=app --prefix
    check_output "$v scale" '^deployment.apps/app scaled$' kn scale deployment app --replicas=1
    check_output "$v scale conflict" 'Expected replicas to be 7' kn scale deployment app --replicas=2 --current-replicas=7
    check_output "$v wait" 'condition met' kn wait deployment/app --for=condition=Available --timeout=30s
    check_output "$v set env" '^deployment.apps/app env updated$' kn set env deployment/app A=1
    check_output "$v rollout status after it" 'successfully rolled out' kn rollout status deployment/app --timeout=60s
    check_output "$v rollout history" '^2 ' kn rollout history deployment/app
    check_output "$v rollout undo" '^deployment.apps/app rolled back$' kn rollout undo deployment/app
    check_output "$v rollout pause" 'paused' kn rollout pause deployment/app
    check_output "$v rollout resume" 'resumed' kn rollout resume deployment/app
    check_output "$v edit" 'deployment.apps/app edited' env KUBE_EDITOR="sed -i s/terminationGracePeriodSeconds:.0/terminationGracePeriodSeconds:\ 1/" "$KUBECTL" -n "$NS" edit deployment app
    check_output "$v label" 'labeled' kn label deployment app tier=x
    check_output "$v annotate" 'annotated?' kn annotate deployment app note=y
    check_output "$v strategic patch merges containers" 'patched' kn patch deployment app -p '{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"B","value":"2"}]}]}}}}'
    check_equal "$v ... and keeps the image" "$BUSYBOX" "$(kn get deployment app -o jsonpath='{.spec.template.spec.containers[0].image}')"
    check_output "$v create configmap" 'configmap/c created' kn create configmap c --from-literal=k=v
    check_output "$v create secret" 'secret/s created' kn create secret generic s --from-literal=k=v
    check_output "$v expose" 'service/app exposed' kn expose deployment app --port=80 --target-port=8080
    check_output "$v create deployment" 'deployment.apps/other created' kn create deployment other --image="$BUSYBOX" -- sleep 1000
    check_output "$v auth can-i" '^yes$' k auth can-i create pods
    check_output "$v explain" 'KIND: +Pod' k explain pod.spec.containers
    check_output "$v unknown field is an error" 'unknown field "spec.replicass"' bash -c "sed s/replicas:/replicass:/ '${TMPDIR:-/tmp}/skiff-app.yaml' | '$KUBECTL' -n '$NS' apply -f -"
    check_output "$v events" 'Scheduled' kn get events
    check_output "$v delete" 'deployment.apps "app" deleted' kn delete deployment app
    check_output "$v delete -f a missing thing" 'NotFound' kn delete -f "${TMPDIR:-/tmp}/skiff-app.yaml"
    check_output "$v delete --all" 'deleted' kn delete configmap,secret,svc,deployment --all
    k delete ns "$NS" --wait=false >/dev/null
done
finish
