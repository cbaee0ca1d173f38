#!/usr/bin/env bash
# The main flow: Deployment -> ReplicaSet -> Pods -> node -> containers -> status -> endpoints -> Service -> answer,
# with the kubectl commands that a user's day is made of.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-flow

check_equal "two nodes are Ready" "True True" "$(k get nodes -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}' | sed 's/ $//')"
check "apply a Deployment and a Service" web web 3
check "rollout status" kn rollout status deployment/web --timeout=60s
check_output "get deployment" '^web +3/3 +3 +3 ' kn get deployment web
check_output "get pods -o wide shows addresses and nodes" '1/1 +Running +0 +[0-9a-z]+ +10\.244\.[0-9]+\.[0-9]+ +worker-[12]' kn get pods -o wide
check_equal "pods are spread over both nodes" 2 "$(pods_path app=web '{range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort -u | wc -l)"
check_output "get rs" '^web-[a-z0-9]+ +3 +3 +3' kn get rs
check_output "describe pod shows the events" 'Scheduled.*Successfully assigned e2e-flow/web-' kn describe pods -l app=web
check_output "describe pod: Started" 'Started' kn describe pods -l app=web
check_output "describe deployment" 'Scaled up replica set web-[a-z0-9]+ (to|from 0 to) 3' kn describe deployment web
check_output "describe node lists the pods" 'e2e-flow +web-' k describe node worker-1
check_equal "endpoints follow readiness" 3 "$(kn get endpoints web -o jsonpath='{.subsets[0].addresses[*].ip}' | wc -w)"
check_equal "endpoint slices too" 3 "$(kn get endpointslice -l kubernetes.io/service-name=web -o jsonpath='{.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}' | wc -w)"

ip=$(service_ip web)
answers() { for _ in $(seq 1 30); do who "$1" "$2"; done | sort | uniq -c; }
for host in "${WORKERS[@]}"; do
    check "the Service answers on $host" eventually 10 who "$host" "$ip"
    check_equal "every pod answers on $host" 3 "$(answers "$host" "$ip" | wc -l)"
done
pod=$(pods_path app=web '{.items[0].metadata.name}')
check_output "pods reach the Service" 'web-' on worker-1 sh -c "curl -sf --max-time 3 http://$ip/cgi-bin/who"

check_output "logs" 'GET|response|connection|^$' kn logs "$pod"
kn run talker --image="$BUSYBOX" --restart=Never --command -- sh -c 'for i in 1 2 3; do echo line-$i; sleep 1; done; echo done' >/dev/null
check "a pod runs" kn wait pod/talker --for=condition=Ready --timeout=10s
check_output "logs -f follows to the end" 'line-1 line-2 line-3 done' bash -c "timeout 20 '$KUBECTL' -n $NS logs -f talker | tr '\n' ' '"
check_equal "logs --tail" "done" "$(kn logs talker --tail=1)"
check "the pod's phase becomes Succeeded" kn wait pod/talker --for=jsonpath='{.status.phase}'=Succeeded --timeout=20s
check_output "a finished pod shows as Completed" 'talker +0/1 +Completed +0' kn get pod talker

check "scale up" kn scale deployment/web --replicas=5
check "scaled up" kn rollout status deployment/web --timeout=60s
check "scale down" kn scale deployment/web --replicas=2
check "scaled down" eventually 30 bash -c "[ \"\$('$KUBECTL' -n $NS get pods -l app=web --no-headers | wc -l)\" = 2 ]"

check "change the template" kn set env deployment/web COLOR=blue
check "rolled out" kn rollout status deployment/web --timeout=60s
check_output "rollout history" '^2 ' kn rollout history deployment/web
check "rollout undo" kn rollout undo deployment/web
check "rolled back" kn rollout status deployment/web --timeout=60s
check_output "the old template is back" '^POD_NAME$' kn get deployment web -o jsonpath='{.spec.template.spec.containers[0].env[*].name}'
check "an image that does not exist" kn set image deployment/web web=skiff.local/none:1
check_output "shows as ErrImagePull or ImagePullBackOff" 'ErrImagePull|ImagePullBackOff' eventually_output 20 'ErrImagePull|ImagePullBackOff' kn get pods
check_equal "and the Service keeps its ready pods" 2 "$(kn get endpoints web -o jsonpath='{.subsets[0].addresses[*].ip}' | wc -w)"
check "undo that" kn rollout undo deployment/web
check "healthy again" kn rollout status deployment/web --timeout=60s
check "rollout restart" kn rollout restart deployment/web
check "restarted" kn rollout status deployment/web --timeout=60s

kn run big --image="$BUSYBOX" --restart=Never --overrides='{"spec":{"containers":[{"name":"big","image":"'$BUSYBOX'","resources":{"requests":{"cpu":"1000"}}}]}}' >/dev/null
check_output "an unschedulable pod says why" 'FailedScheduling.*0/2 nodes are available: 2 Insufficient cpu' eventually_output 10 'Insufficient cpu' kn describe pod big
kn delete pod big --wait=true >/dev/null

owner=$(kn get rs -l app=web -o jsonpath='{.items[0].metadata.ownerReferences[0].kind}')
check_equal "the ReplicaSet is owned by the Deployment" Deployment "$owner"
check "delete --cascade=foreground" kn delete deployment web --cascade=foreground --timeout=60s
check "ReplicaSets and Pods are gone" eventually 30 bash -c "[ -z \"\$('$KUBECTL' -n $NS get rs,pods -l app=web -o name)\" ]"
check "delete the namespace" k delete ns "$NS" --timeout=60s
check_output "it is gone" 'not found' k get ns "$NS"
finish
