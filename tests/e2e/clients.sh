#!/usr/bin/env bash
# Client libraries, unmodified: npm's @kubernetes/client-node and Debian's python3-kubernetes.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-clients
export NS BUSYBOX
# Each prints "ok what" or "not ok what: why", one line a check.
judge() { # what it is, command...
    local who=$1 line n=0
    shift
    while IFS= read -r line; do
        case $line in
        "ok "*) pass "$who: ${line#ok }" && n=$((n + 1)) ;;
        "not ok "*) fail "$who: ${line#not ok }" && n=$((n + 1)) ;;
        "done") n=$((n + 1000)) ;;
        *) printf '        | %s\n' "$line" ;;
        esac
    done < <(timeout 60 "$@" 2>&1)
    [ $n -gt 1000 ] || fail "$who: the program comes to its end"
}

modules=build/test-clients
if [ ! -d "$modules/node_modules/@kubernetes/client-node" ]; then
    mkdir -p "$modules"
    npm install --silent --no-audit --no-fund --prefix "$modules" @kubernetes/client-node@1 >/dev/null 2>&1
fi
if [ -d "$modules/node_modules/@kubernetes/client-node" ]; then
    cp tests/e2e/clients/client-node.mjs "$modules/client-node.mjs"
    judge client-node node "$modules/client-node.mjs"
else
    fail "client-node: the npm package @kubernetes/client-node can be installed"
fi
if /usr/bin/python3 -c 'import kubernetes' 2>/dev/null; then
    judge python3-kubernetes /usr/bin/python3 tests/e2e/clients/client.py
else
    fail "python3-kubernetes: the Debian package is installed (deploy/packages.txt)"
fi
finish
