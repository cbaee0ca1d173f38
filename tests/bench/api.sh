#!/usr/bin/env bash
# The API under load: three store members and one apiserver on loopback, wrk over TLS with 16 connections.
# wrk has no client certificates, so this control plane takes a token (--token-auth-file).
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/bench/lib.sh
. tests/tools/control-plane.sh
PORT=${PORT:-31300} WATCHERS=${WATCHERS:-1000} EVENTS=${EVENTS:-200}
work=$(mktemp -d)
CP_DIR=$work/cp CP_PORT=$PORT CP_STORE=${STORE:-lite} API=https://127.0.0.1:$((PORT + 10))
mkdir -p "$CP_DIR"
token=$(head -c 16 /dev/urandom | xxd -p)
echo "$token,bench,1,\"system:masters\"" >"$CP_DIR/tokens.csv"
CP_APISERVER_FLAGS=(--token-auth-file="$CP_DIR/tokens.csv")
control_plane_pki "$CP_DIR/pki"
CURL=(curl -sS --max-time 60 --cacert "$CP_DIR/pki/ca.crt" -H "Authorization: Bearer $token" -H 'Content-Type: application/json')
for i in 0 1 2; do control_plane_member $i; done
control_plane_apiserver 0
eventually 20 "${CURL[@]}" -f "$API/readyz" || exit 1

export TOKEN=$token NS=default
cat >"$work/load.lua" <<'EOF'
-- KIND: get, create, update, patch; each thread has names of its own
local kind, run = os.getenv("KIND"), os.getenv("RUN")
local filler = string.rep("x", tonumber(os.getenv("BYTES") or "700"))
local base = "/api/v1/namespaces/" .. os.getenv("NS") .. "/configmaps"
local headers = {["Authorization"] = "Bearer " .. os.getenv("TOKEN"), ["Content-Type"] = "application/json"}
local patch_headers = {["Authorization"] = headers["Authorization"], ["Content-Type"] = "application/merge-patch+json"}
number, n = 0, 0
threads = 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
local function object(name, i)
  return string.format('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"i":"%d","a":"%s"}}', name, i, filler)
end
function request()
  n = n + 1
  if kind == "create" then
    return wrk.format("POST", base, headers, object(string.format("%s-%d-%d", run, number, n), n))
  end
  local name = string.format("fixed-%d", (n * 2 + number) % 200)
  if kind == "update" then return wrk.format("PUT", base .. "/" .. name, headers, object(name, n)) end
  return wrk.format("PATCH", base .. "/" .. name, patch_headers, string.format('{"data":{"i":"%d-%d"}}', number, n))
end
EOF
cat >"$work/get.lua" <<'EOF'
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
EOF
# rate SECONDS SCRIPT URL: "requests/s p50 p99 not-2xx"
rate() {
    wrk -t2 -c16 -d"$1"s --timeout 30s --latency -s "$work/$2.lua" "$3" 2>/dev/null |
        awk '/Requests\/sec/{r=$2} $1=="50%"{a=$2} $1=="99%"{b=$2} /Non-2xx/{bad=$NF} END{printf "%d %s %s %s", r, a, b, bad ? bad : 0}'
}
row() { # what, result, peer, goal
    set -- "$1" "$3" "$4" $2
    printf '%-46s %9s %9s %9s %10s %10s%s\n' "$1" "$4" "$5" "$6" "$2" "$3" "$([ "${7:-0}" = 0 ] || echo "  ($7 failed)")"
}
fill() { # namespace, count: objects of 1 KB, by one curl with 32 connections
    "${CURL[@]}" -o /dev/null -X POST -d "{\"metadata\":{\"name\":\"$1\"}}" "$API/api/v1/namespaces"
    seq 1 "$2" | awk -v api="$API" -v ns="$1" -v filler="$(head -c 700 /dev/zero | tr '\0' x)" '{
        printf "next\nurl=%s/api/v1/namespaces/%s/configmaps\noutput=/dev/null\nrequest=POST\ndata={\"metadata\":{\"name\":\"fixed-%d\"},\"data\":{\"a\":\"%s\"}}\n", api, ns, $1 - 1, filler}' |
        sed '1d' | awk -v head="cacert=$CP_DIR/pki/ca.crt\nheader=\"Authorization: Bearer $token\"\nheader=\"Content-Type: application/json\"\nsilent" '
        BEGIN {gsub(/\\n/, "\n", head); print head} $0 == "next" {print; print head; next} {print}' >"$work/fill.curl"
    curl --parallel --parallel-max 32 -K "$work/fill.curl" >/dev/null 2>&1
}
count() { "${CURL[@]}" "$API/api/v1/namespaces/$1/configmaps?limit=1&resourceVersion=" | jq '(.items|length) + (.metadata.remainingItemCount // 0)'; }
rss() { awk '/^VmRSS/{printf "%.1f", $2/1024}' "/proc/${CP_APISERVER[0]}/status"; }

echo "API, three members of $CP_STORE, requests/s (wrk, TLS, 16 connections, objects of 1 KB)"
printf '%-46s %9s %9s %9s %10s %10s\n' "" rate p50 p99 Kubernetes goal
fill default 200
one=$API/api/v1/namespaces/default/configmaps/fixed-1
row "GET one object, consistent" "$(rate 5 get "$one")" 4400 44000
row "GET one object, resourceVersion=0" "$(rate 5 get "$one?resourceVersion=0")" - -
export RUN=a
row "create" "$(KIND=create rate 5 load "$API")" 1600 8000
row "update" "$(KIND=update rate 5 load "$API")" - -
row "patch (merge)" "$(KIND=patch rate 5 load "$API")" - -
fill big 10000
n=$(count big)
row "LIST 500 of $n (limit=500)" "$(rate 5 get "$API/api/v1/namespaces/big/configmaps?limit=500")" 147 2940
row "LIST all $n" "$(rate 5 get "$API/api/v1/namespaces/big/configmaps")" - -
echo
echo "Watch fan-out: $WATCHERS watches on one object, $EVENTS changes a second for 5 s"
"${CURL[@]}" -o /dev/null -X POST -d '{"metadata":{"name":"fan"}}' "$API/api/v1/namespaces/default/configmaps"
if gcc -O2 -pthread -D_GNU_SOURCE -o "$work/api_watch" tests/bench/api_watch.c -lgnutls; then
    cpu() { awk '{print ($14 + $15) * 10}' "/proc/${CP_APISERVER[0]}/stat"; }
    before=$(cpu)
    read -r events changes delivered p50 p99 < <(timeout 40 "$work/api_watch" 127.0.0.1 $((PORT + 10)) "$token" "$WATCHERS" "$EVENTS" 5)
    [ -n "$events" ] || echo "  (did not end in time)"
    printf '  %-44s %9s\n' "changes/s" "$changes" "events delivered" "$events" "events delivered/s" "$delivered" \
        "latency p50 (ms)" "$p50" "latency p99 (ms)" "$p99" "CPU of the apiserver (us an event)" "$((($(cpu) - before) * 1000 / (${events:-0} + 1)))"
fi
echo
echo "Resident memory of the apiserver (MB)"
settle() { # the same twice in a row
    local last=
    for _ in 1 2 3 4 5; do
        sleep 6
        [ "$(rss)" != "$last" ] || break
        last=$(rss)
    done
    rss
}
printf '  %-44s %9s\n' "$(("$(count big)" + $(count default))) objects of 1 KB, after all that" "$(settle)"
# Pods as a Deployment makes them, ten thousand at a time (PODS="10000 50000 150000" takes some minutes).
pods() { # from, to
    seq "$1" "$2" | awk -v api="$API" -v token="$token" -v ca="$CP_DIR/pki/ca.crt" '{
        printf "%surl=%s/api/v1/namespaces/pods/pods\noutput=/dev/null\nrequest=POST\nsilent\ncacert=%s\nheader=\"Authorization: Bearer %s\"\nheader=\"Content-Type: application/json\"\n", (NR > 1 ? "next\n" : ""), api, ca, token
        printf "data={\"metadata\":{\"name\":\"web-5d78f9c6b4-%06d\",\"labels\":{\"app\":\"web\",\"pod-template-hash\":\"5d78f9c6b4\"}},\"spec\":{\"automountServiceAccountToken\":false,\"containers\":[{\"name\":\"app\",\"image\":\"registry.example/web:1\",\"ports\":[{\"name\":\"http\",\"containerPort\":8080}],\"env\":[{\"name\":\"POD_NAME\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.name\"}}}],\"resources\":{\"requests\":{\"cpu\":\"50m\",\"memory\":\"64Mi\"}}}]}}\n", $1
    }' >"$work/pods.curl"
    curl --parallel --parallel-max 32 -K "$work/pods.curl" >/dev/null 2>&1
}
"${CURL[@]}" -o /dev/null -X POST -d '{"metadata":{"name":"pods"}}' "$API/api/v1/namespaces"
"${CURL[@]}" -o /dev/null -X POST -d '{"metadata":{"name":"default"}}' "$API/api/v1/namespaces/pods/serviceaccounts"
made=0
for wanted in ${PODS:-10000}; do
    while [ "$made" -lt "$wanted" ]; do
        next=$((made + 10000 < wanted ? made + 10000 : wanted))
        pods $((made + 1)) "$next"
        made=$next
    done
    n=$("${CURL[@]}" "$API/api/v1/namespaces/pods/pods?limit=1" | jq '(.items|length) + (.metadata.remainingItemCount // 0)')
    printf '  %-44s %9s\n' "and $n pods" "$(settle)"
done
control_plane_stop 2>/dev/null
rm -rf "$work"
