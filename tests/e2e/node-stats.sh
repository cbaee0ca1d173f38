#!/usr/bin/env bash
# What a kubelet says of its node, and to whom: resource usage, kubectl top, delegated authentication and authorization.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-node-stats
PKI=$PWD/build/cluster/pki
as() { # path, curl options...: asks worker-1's kubelet
    local path=$1
    shift
    on worker-1 curl -s --max-time 10 --cacert "$PKI/ca.crt" "$@" "https://worker-1:10250$path"
}
admin() { as "$1" --cert "$PKI/admin.crt" --key "$PKI/admin.key"; }
status() { as "$1" -o /dev/null -w '%{http_code}' "${@:2}"; }

kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 1
  nodeName: worker-1
  containers:
  - name: spin
    image: $BUSYBOX
    command: [sh, -c, 'dd if=/dev/zero of=/written bs=1M count=5 2>/dev/null; dd if=/dev/zero of=/data/file bs=1M count=3 2>/dev/null; echo logged; while :; do :; done']
    resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {cpu: 100m, memory: 64Mi}}
    volumeMounts: [{name: data, mountPath: /data}]
  - name: idle
    image: $BUSYBOX
    command: [sleep, "1000"]
  volumes: [{name: data, emptyDir: {}}]
YAML
check "a pod that works, writes and logs" kn wait pod/busy --for=condition=Ready --timeout=30s

pod() { admin /stats/summary | jq -e --arg ns "$NS" '.pods[] | select(.podRef.namespace == $ns and .podRef.name == "busy") | '"$1"; }
check "/stats/summary has it, with a rate in the limit's bounds" eventually 30 pod '.containers[] | select(.name == "spin") | .cpu.usageNanoCores > 50000000 and .cpu.usageNanoCores < 150000000'
check "its memory" pod '.memory.workingSetBytes > 0 and (.containers[] | select(.name == "spin") | .memory.availableBytes > 0)'
check "its network" pod '.network.name == "eth0" and .network.rxBytes >= 0'
check "what its container wrote" eventually 20 pod '.containers[] | select(.name == "spin") | .rootfs.usedBytes >= 5242880'
check "its log" pod '.containers[] | select(.name == "spin") | .logs.usedBytes > 0'
check "its volume" pod '[.volume[] | select(.name == "data")][0].usedBytes >= 3145728'
check "its local storage as a whole" pod '."ephemeral-storage".usedBytes >= 8388608'
node() { admin /stats/summary | jq -e ".node | $1"; }
check "the node's own" node '.nodeName == "worker-1" and .cpu.usageNanoCores > 0 and .memory.availableBytes > 0 and .fs.capacityBytes > 0 and .runtime.imageFs.usedBytes > 0 and .rlimit.curproc > 0'
check_equal "only_cpu_and_memory leaves the rest out" null "$(admin '/stats/summary?only_cpu_and_memory=true' | jq -c '.node.fs')"
check_output "/metrics/resource: container" "^container_cpu_usage_seconds_total\{container=\"spin\",namespace=\"$NS\",pod=\"busy\"\} [0-9.]+ [0-9]+\$" admin /metrics/resource
check_output "/metrics/resource: pod" "^pod_memory_working_set_bytes\{namespace=\"$NS\",pod=\"busy\"\} [0-9.e+]+ [0-9]+\$" admin /metrics/resource
check_output "/metrics/resource: node" '^node_cpu_usage_seconds_total [0-9.e+]+ [0-9]+$' admin /metrics/resource
check_output "/metrics/cadvisor: container" "^container_memory_working_set_bytes\{container=\"spin\",id=\"[^\"]*kubepods[^\"]*\",image=\"$BUSYBOX\",name=\"[0-9a-f]{64}\",namespace=\"$NS\",pod=\"busy\"\} " admin /metrics/cadvisor
check_output "/metrics/cadvisor: network of the pod" "^container_network_receive_bytes_total\{.*pod=\"busy\",interface=\"eth0\"\} " admin /metrics/cadvisor
check_output "/metrics: the kubelet's own" '^kubelet_running_pods [0-9]+' admin /metrics
pod_names() { admin /pods | jq -r '.items[].metadata.name'; }
check_output "/pods" '^busy$' pod_names

# --- the metrics API
check_output "kubectl top node" '^worker-1 +[0-9]+m +[0-9]+% +[0-9]+Mi +[0-9]+%' eventually_output 20 '^worker-1' k top node
check_output "kubectl top pod" '^busy +(8[0-9]|9[0-9]|1[0-4][0-9]|150|7[0-9])m +[0-9]+Mi' eventually_output 20 '^busy' kn top pod
check_output "kubectl top pod --containers" '^busy +spin +[0-9]+m +[0-9]+Mi' kn top pod --containers
check_output "by label" '^busy' kn top pod -l app=busy
check_output "of another label there is none" 'No resources found' kn top pod -l app=nobody
check_output "as a table" '^busy +[0-9]+n +[0-9]+Ki +[0-9.]+s' kn get pods.metrics.k8s.io
check_output "one that does not exist" 'podmetrics.metrics.k8s.io "e2e-node-stats/nobody" not found' kn get pods.metrics.k8s.io nobody
check_output "discovery" 'NodeMetrics' k api-resources --api-group=metrics.k8s.io
kn create serviceaccount viewer >/dev/null
kn create rolebinding viewer --clusterrole=view --serviceaccount="$NS:viewer" >/dev/null
check_output "who may view may see them" "^yes$" eventually_output 5 yes kn auth can-i list pods.metrics.k8s.io --as="system:serviceaccount:$NS:viewer"

# --- who may ask a kubelet
check_equal "without credentials" 401 "$(status /pods)"
check_equal "with a token that nobody gave" 401 "$(status /pods -H 'Authorization: Bearer nonsense')"
kn create serviceaccount scraper >/dev/null
token=$(kn create token scraper)
check_equal "a ServiceAccount without rights" 403 "$(status /metrics -H "Authorization: Bearer $token")"
check_output "is told which ones it lacks" "Forbidden \(user=system:serviceaccount:$NS:scraper, verb=get, resource=nodes, subresource\(s\)=\[metrics\]\)" as /metrics -H "Authorization: Bearer $token"
k create clusterrole e2e-node-stats --verb=get --resource=nodes/metrics,nodes/stats >/dev/null
k create clusterrolebinding e2e-node-stats --clusterrole=e2e-node-stats --serviceaccount="$NS:reader" >/dev/null
kn create serviceaccount reader >/dev/null
token=$(kn create token reader)
check_equal "one with nodes/metrics reads metrics" 200 "$(status /metrics/resource -H "Authorization: Bearer $token")"
check_equal "one with nodes/stats reads the summary" 200 "$(status /stats/summary -H "Authorization: Bearer $token")"
check_equal "but no pods (nodes/proxy, nodes/pods)" 403 "$(status /pods -H "Authorization: Bearer $token")"
check_equal "and no logs" 403 "$(status "/containerLogs/$NS/busy/spin" -H "Authorization: Bearer $token")"
check_equal "another node's certificate is nobody here" 403 "$(status /pods --cert "$PKI/kubelet-client-worker-2.crt" --key "$PKI/kubelet-client-worker-2.key")"
k delete clusterrole,clusterrolebinding e2e-node-stats >/dev/null
finish
