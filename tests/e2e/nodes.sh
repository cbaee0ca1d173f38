#!/usr/bin/env bash
# A node that dies: not ready, tainted, its pods evicted and made anew elsewhere; it returns by itself.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-nodes
web web 4 >/dev/null
kn patch deployment web -p '{"spec":{"template":{"spec":{"tolerations":[{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":2},{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":2}]}}}}' >/dev/null
check "pods on both nodes" kn rollout status deployment/web --timeout=60s
ready_status() { k get node "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}'; }
ready_is() { [ "$(ready_status "$1")" = "$2" ]; }
check "cordon" k cordon worker-2
check_output "cordoned" 'Ready,SchedulingDisabled' k get node worker-2
check_output "uncordon" 'uncordoned' k uncordon worker-2
check "the host worker-2 is switched off" deploy/host-stop worker-2
check "the node becomes Unknown" eventually 90 ready_is worker-2 Unknown
check_output "NotReady in kubectl get" '^worker-2 +NotReady' k get node worker-2
check_output "it is tainted" 'node.kubernetes.io/unreachable:NoExecute' eventually_output 10 'unreachable:NoExecute' k describe node worker-2
on_worker_1() { [ "$(kn get pods -l app=web -o json | jq '[.items[]|select(.metadata.deletionTimestamp==null and .spec.nodeName=="worker-1" and ([.status.conditions[]|select(.type=="Ready" and .status=="True")]|length)==1)]|length')" = 4 ]; }
check "its pods are made anew on the other node" eventually 60 on_worker_1
ip=$(service_ip web)
answers_all() { for _ in $(seq 1 20); do who worker-1 "$ip" || return 1; done; }
check "and the Service answers from those only" eventually 15 answers_all
check "the host is switched on again" deploy/host-start worker-2
check "the node is Ready by itself" eventually 60 ready_is worker-2 True
untainted() { [ "$(k get node worker-2 -o jsonpath='{.spec.taints}')" = "" ]; }
check "its taints are gone" eventually 20 untainted
only_four() { [ "$(kn get pods -l app=web --no-headers | wc -l)" = 4 ]; }
check "the pods that were evicted are gone" eventually 60 only_four
kn scale deployment web --replicas=8 >/dev/null
check "new pods run on the returned node" eventually 60 bash -c "'$KUBECTL' -n $NS get pods -l app=web -o wide | grep -E '1/1 +Running.*worker-2'"
check "all are ready" kn rollout status deployment/web --timeout=60s
check "drain" k drain worker-2 --ignore-daemonsets --force --delete-emptydir-data --timeout=90s --pod-selector="app=web"
check_equal "nothing of it is left there" 0 "$(kn get pods -l app=web --field-selector spec.nodeName=worker-2 --no-headers 2>/dev/null | wc -l)"
k uncordon worker-2 >/dev/null
finish
