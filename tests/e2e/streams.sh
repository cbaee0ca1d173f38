#!/usr/bin/env bash
# What goes through the apiserver and the kubelet as a stream: exec, cp, attach, run -i, port-forward, with several kubectl
# releases; and that nothing stays behind when the streams are over.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-streams
WORK=$(mktemp -d)
: >"$WORK/forwards" # the port-forwards' process ids: they are started in subshells
stop_forwards() { xargs -r kill <"$WORK/forwards" 2>/dev/null; }
cleanup() {
    stop_forwards
    rm -rf "$WORK"
    k delete ns "$NS" --wait=false >/dev/null 2>&1
}
trap cleanup EXIT

kn apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $BUSYBOX
    command: [sh, -c, 'mkdir -p /www; head -c 3000000 /dev/urandom >/www/big; echo small >/www/small; httpd -p 8080 -h /www; i=0; while true; do echo tick; sleep 0.2; done']
    ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: first, image: $BUSYBOX, command: [sleep, "100000"]}
  - {name: second, image: $BUSYBOX, command: [sh, -c, 'read line; echo "got \$line"; sleep 100000'], stdin: true}
---
apiVersion: v1
kind: Pod
metadata: {name: done}
spec: {restartPolicy: Never, containers: [{name: main, image: $BUSYBOX, command: ["true"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: nowhere}
spec: {nodeSelector: {no: such}, containers: [{name: main, image: $BUSYBOX}]}
---
apiVersion: v1
kind: Service
metadata: {name: one}
spec: {selector: {app: one}, ports: [{port: 80, targetPort: http}]}
YAML
check "pods run" kn wait pod/one pod/two --for=condition=Ready --timeout=30s
check "and one has run" kn wait pod/done --for=jsonpath={.status.phase}=Succeeded --timeout=60s
head -c 1000000 /dev/urandom >"$WORK/data"

status_of() { "$@" >/dev/null 2>&1 </dev/null; echo $?; }
# forward PORT ARGS...: a port-forward in the background, awaited.
forward() {
    local port=$1
    shift
    timeout 80 "$KUBECTL" -n "$NS" port-forward "$@" >"$WORK/forward.$port" 2>&1 &
    echo $! >>"$WORK/forwards"
    eventually 10 grep -q "^Forwarding from 127.0.0.1:$port" "$WORK/forward.$port"
}
four_at_once() { # port: the same large file over four connections
    local i pids=() pid
    for i in 1 2 3 4; do
        curl -sf --max-time 20 "http://127.0.0.1:$1/big" -o "$WORK/big.$i" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || return 1; done
    for i in 1 2 3 4; do
        [ "$(sha256sum <"$WORK/big.$i")" = "$(kn exec one -- sha256sum /www/big | sed 's|/www/big|-|')" ] || return 1
    done
}
# The size arrives a moment after the process has started.
in_terminal() {
    cat >"$WORK/terminal" <<END
stty rows 24 cols 80
exec $KUBECTL -n $NS exec -it one -- sh -c 'for i in 1 2 3 4 5 6 7 8; do stty size; sleep 0.1; done'
END
    rm -f "$WORK/keys"
    mkfifo "$WORK/keys"
    timeout 20 script -qec "sh $WORK/terminal" /dev/null <>"$WORK/keys" | tr -d '\r' # nobody types
}
# kubectl 1.31 and later forward through a WebSocket, and would silently fall back to SPDY.
websocket_forward() { # port
    timeout 30 "$KUBECTL" -v=8 -n "$NS" port-forward pod/one "$1:8080" >"$WORK/verbose" 2>&1 &
    echo $! >>"$WORK/forwards"
    eventually 15 grep -q '^Forwarding from 127.0.0.1' "$WORK/verbose"
    curl -sf --max-time 10 "http://127.0.0.1:$1/small" || echo "nothing came" >&2
    kill $!
    cat "$WORK/verbose"
}
port=35100
for version in 1.27 1.33 1.35; do
    echo "-- kubectl $version"
    KUBECTL=$(tests/tools/kubectl $version)
    begin=$(date +%s%N)
    check_output "exec prints" '^hello$' timeout 10 "$KUBECTL" -n "$NS" exec one -- echo hello
    took=$((($(date +%s%N) - begin) / 1000000))
    check "it does so at once ($took ms)" [ $took -lt 3000 ]
    check_equal "stdout alone" out "$(kn exec one -- sh -c 'echo out; echo err >&2' 2>/dev/null)"
    check_equal "stderr alone" err "$(kn exec one -- sh -c 'echo out; echo err >&2' 2>&1 >/dev/null)"
    check_equal "the exit code" 3 "$(status_of kn exec one -- sh -c 'exit 3')"
    check_output "and what kubectl says of it" 'command terminated with exit code 3' kn exec one -- sh -c 'exit 3'
    check_equal "stdin" hi "$(echo hi | timeout 10 "$KUBECTL" -n "$NS" exec -i one -- cat)"
    check_equal "1 MB there and back" "$(sha256sum <"$WORK/data")" \
        "$(timeout 20 "$KUBECTL" -n "$NS" exec -i one -- cat <"$WORK/data" | sha256sum)"
    check "cp into the pod" timeout 20 "$KUBECTL" -n "$NS" cp "$WORK/data" one:/tmp/data
    check "cp out of it" timeout 20 "$KUBECTL" -n "$NS" cp one:/tmp/data "$WORK/back"
    check "what came back is what went" cmp "$WORK/data" "$WORK/back"
    kn exec one -- rm /tmp/data
    rm -f "$WORK/back"
    check_output "attach" '^tick$' timeout 2 "$KUBECTL" -n "$NS" attach one
    check_output "run --rm -i" '^from run: typed$' \
        sh -c "echo typed | timeout 30 $KUBECTL -n $NS run once-$port --rm -i --restart=Never --image=$BUSYBOX --command -- sh -c 'read x; echo from run: \$x'"
    check_fails "and the pod is gone" kn get pod once-$port
    if command -v script >/dev/null; then
        check_output "a terminal, with its size" '^24 80' in_terminal
    fi
    check_output "command not there" 'executable file not found|no such file' kn exec one -- no-such-command
    check_output "no such container" 'container nope is not valid for pod two' kn exec two -c nope -- true
    check_output "a completed pod" 'completed pod; current phase is Succeeded' kn exec done -- true
    check_output "a pod without a node" 'pod nowhere does not have a host assigned' kn exec nowhere -- true
    check_output "no such pod" 'pods "absent" not found' kn exec absent -- true
    check "port-forward to a pod" forward $port pod/one $port:8080
    if [ $version != 1.27 ]; then
        check_output "over a WebSocket" 'SPDY/3.1\+portforward.k8s.io' websocket_forward $((port + 2))
        check_fails "without falling back" grep -qi fallback "$WORK/verbose"
    fi
    check_equal "a request through it" small "$(curl -sf --max-time 5 http://127.0.0.1:$port/small)"
    check "four large answers at once" four_at_once $port
    check "port-forward to a Service" forward $((port + 1)) svc/one $((port + 1)):80
    check_equal "a request through that" small "$(curl -sf --max-time 5 http://127.0.0.1:$((port + 1))/small)"
    port=$((port + 10))
done

echo "-- the API itself"
check_output "no upgrade asked for" 'Upgrade request required' k get --raw "/api/v1/namespaces/$NS/pods/one/exec?command=true"
check_output "which container is a must" 'a container name must be specified for pod two, choose one of: \[first second\]' \
    k get --raw "/api/v1/namespaces/$NS/pods/two/exec?command=true"
check_output "discovery" '"name": *"pods/exec".*"kind": *"PodExecOptions"' \
    sh -c "$KUBECTL --kubeconfig $KUBECONFIG get --raw /api/v1 | tr '{' '\n'"
kn create serviceaccount reader >/dev/null
kn create role reader --verb=get --resource=pods,pods/exec >/dev/null
kn create rolebinding reader --role=reader --serviceaccount="$NS:reader" >/dev/null
check_output "who may only get may not exec" 'cannot create resource "pods/exec"' \
    eventually_output 5 'pods/exec' k --as="system:serviceaccount:$NS:reader" -n "$NS" exec one -- true

echo "-- nothing stays behind"
# Open files and threads of all apiservers and kubelets.
holds() {
    local host pid
    for host in "${CONTROL_PLANES[@]}" "${WORKERS[@]}"; do
        for what in apiserver kubelet; do
            pid=$(component_pid "$host" $what) || continue
            [ -n "$pid" ] && on "$host" sh -c "ls /proc/$pid/fd | wc -l; ls /proc/$pid/task | wc -l"
        done
    done | awk '{n += $1} END {print n}'
}
stop_forwards
many() { # count, at most eight at once
    local i
    for ((i = 0; i < $1; i += 8)); do
        for _ in 1 2 3 4 5 6 7 8; do kn exec one -- true >/dev/null 2>&1 & done
        wait
    done
}
many 16
sleep 1
before=$(holds)
many 200
"$KUBECTL" -n "$NS" exec one -- sleep 1000 >/dev/null 2>&1 & # a client that vanishes
vanishing=$!
disown $vanishing
sleep 1
kill -KILL $vanishing
few_more() { [ "$(holds)" -le $((before + 24)) ]; }
check "200 execs leave no files or threads ($before before)" eventually 20 few_more
finish
