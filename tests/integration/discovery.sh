#!/usr/bin/env bash
# Discovery, OpenAPI, content types and health, over every resource that is served.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/control-plane.sh
KUBECTL=$(tests/tools/kubectl)
k() { "$KUBECTL" "$@"; }
control_plane_start "${TMPDIR:-/tmp}/skiff-discovery-$$" "${SKIFF_TEST_PORT:-34300}" || {
    fail "the control plane starts"
    finish
    exit 1
}
WORK=$CP_DIR/work
mkdir -p "$WORK"
trap 'control_plane_stop; rm -rf "$CP_DIR"' EXIT
eventually 10 k get serviceaccounts || true
k create ns t >/dev/null

# --- every resource is explained, to its last field ---
k api-resources --no-headers | awk '{print $1, $(NF-2)}' | sort -u >"$WORK/names"
total=$(wc -l <"$WORK/names")
check "there are many resources" [ "$total" -ge 60 ]
explain_all() {
    local name version failed=0
    while read -r name version; do
        k explain "$name" --api-version="$version" --recursive >"$WORK/explained" 2>&1 && grep -q '^KIND:' "$WORK/explained" && grep -qE '^  (metadata|spec)\s*<' "$WORK/explained" ||
            { echo "$name: $(head -c 300 "$WORK/explained")"; failed=1; }
    done <"$WORK/names"
    return $failed
}
check "kubectl explain --recursive knows all $total of them" explain_all
explain_v2() { "$KUBECTL" explain pods.spec.containers.resources --output=plaintext-openapiv2; }
check_output "and by OpenAPI v2" 'limits' explain_v2

# --- discovery in all its forms, with ETags ---
head_of() { "${CURL[@]}" -D - -o /dev/null "$@" | tr -d '\r'; }
status_of() { "${CURL[@]}" -o /dev/null -w '%{http_code}' "$@"; }
etag_of() { head_of "$@" | sed -n 's/^[Ee][Tt]ag: //p'; }
V2='application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList'
V2B='application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList'
for form in "$V2" "$V2B"; do
    version=$(sed -E 's/.*v=([a-z0-9]+).*/\1/' <<<"$form")
    for path in /api /apis; do
        check_equal "aggregated discovery $version of $path" "apidiscovery.k8s.io/$version APIGroupDiscoveryList" "$("${CURL[@]}" -H "Accept: $form" "$API$path" | jq -r '"\(.apiVersion) \(.kind)"')"
        etag=$(etag_of -H "Accept: $form" "$API$path")
        check_output "it has an ETag" '^"[0-9A-Fa-f]+"$' printf '%s\n' "$etag"
        check_equal "and is not sent twice" 304 "$(status_of -H "Accept: $form" -H "If-None-Match: $etag" "$API$path")"
    done
done
same_lists() { # plain and aggregated discovery name the same resources
    "${CURL[@]}" -H "Accept: $V2" "$API/apis" | jq -r '.items[]|.metadata.name as $g|.versions[]|.version as $v|.resources[]|"\($g)/\($v) \(.resource)", (.resource as $r|.subresources[]?|"\($g)/\($v) \($r)/\(.subresource)")' | sort >"$WORK/aggregated"
    local version
    for version in $("${CURL[@]}" "$API/apis" | jq -r '.groups[].versions[].groupVersion'); do
        "${CURL[@]}" "$API/apis/$version" | jq -r --arg v "$version" '.resources[]|"\($v) \(.name)"'
    done | sort >"$WORK/plain"
    diff "$WORK/plain" "$WORK/aggregated"
}
check "plain discovery says the same" same_lists
check_equal "pods' subresources" "attach binding ephemeralcontainers eviction exec log portforward proxy resize status" "$("${CURL[@]}" "$API/api/v1" | jq -r '[.resources[].name|select(startswith("pods/"))|.[5:]]|sort|join(" ")')"
check_equal "HEAD is answered as GET" 200 "$(status_of -I "$API/apis")"

# --- OpenAPI ---
check_equal "OpenAPI v2 as JSON" 2.0 "$("${CURL[@]}" "$API/openapi/v2" | jq -r .swagger)"
PB2='application/com.github.proto-openapi.spec.v2@v1.0+protobuf'
check_equal "OpenAPI v2 in gnostic's protobuf" "200 ${PB2/@/.}" "$("${CURL[@]}" -o /dev/null -w '%{http_code} %{content_type}' -H "Accept: $PB2" "$API/openapi/v2")"
for accept in application/json "$PB2"; do
    etag=$(etag_of -H "Accept: $accept" "$API/openapi/v2")
    check_equal "OpenAPI v2 not twice ($accept)" 304 "$(status_of -H "Accept: $accept" -H "If-None-Match: $etag" "$API/openapi/v2")"
done
check "each document of OpenAPI v3 under the hash that its index says" bash -c '
    failed=0
    while read -r url; do
        out=$("$@" -D "$0/h" -o "$0/doc" -w "%{http_code}" "'"$API"'$url")
        [ "$out" = 200 ] && jq -e ".openapi==\"3.0.0\" and (.paths|length>0)" "$0/doc" >/dev/null && grep -qi "^cache-control: .*immutable" "$0/h" || { echo "$url: $out"; cat "$0/h"; failed=1; }
    done < <("$@" "'"$API"'/openapi/v3" | jq -r ".paths[].serverRelativeURL")
    exit $failed' "$WORK" "${CURL[@]}"
check_equal "an old hash leads to the new one" 301 "$(status_of "$API/openapi/v3/apis/apps/v1?hash=0123")"

# --- every list and watch in every form ---
PB=application/vnd.kubernetes.protobuf
forms() { # a list as protobuf, YAML and Table, a watch as protobuf
    local name group path failed=0 out
    while read -r name group verbs; do
        case $verbs in *list*) ;; *) continue ;; esac
        path=$API/api/v1/$name
        [[ $group != */* ]] || path=$API/apis/$group/$name
        out=$("${CURL[@]}" -H "Accept: $PB" -o "$WORK/pb" -w '%{http_code} %{content_type}' "$path")
        [ "$out" = "200 $PB" ] && [ "$(head -c 3 "$WORK/pb")" = k8s ] || { echo "$group $name in protobuf: $out"; failed=1; }
        out=$("${CURL[@]}" -H "Accept: application/yaml" -w ' %{http_code} %{content_type}' "$path")
        [[ $out == *"kind: "*"List"*" 200 application/yaml" ]] || { echo "$group $name in YAML: ${out:0:200}"; failed=1; }
        out=$("${CURL[@]}" -H "Accept: application/json;as=Table;g=meta.k8s.io;v=v1" "$path" | jq -r .kind)
        [ "$out" = Table ] || { echo "$group $name as a Table: $out"; failed=1; }
        out=$("${CURL[@]}" -H "Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" "$path" | jq -r .kind)
        [ "$out" = PartialObjectMetadataList ] || { echo "$group $name as metadata: $out"; failed=1; }
    done < <({ "${CURL[@]}" "$API/api/v1" | jq -r '.resources[]|select(.name|contains("/")|not)|"\(.name) v1 \(.verbs|join(","))"'
        "${CURL[@]}" -H "Accept: $V2" "$API/apis" | jq -r '.items[]|.metadata.name as $g|.versions[]|.version as $v|.resources[]|"\(.resource) \($g)/\($v) \(.verbs|join(","))"'; } | grep -v ' metrics.k8s.io/')
    return $failed
}
check "every collection as protobuf, YAML, Table and metadata" forms
watches() {
    local failed=0 out path
    for path in api/v1/namespaces apis/rbac.authorization.k8s.io/v1/clusterroles apis/scheduling.k8s.io/v1/priorityclasses; do
        out=$("${CURL[@]}" -H "Accept: $PB;stream=watch" -o "$WORK/pb" -w '%{http_code} %{content_type}' "$API/$path?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
        [ "$out" = "200 $PB;stream=watch" ] && grep -qa ADDED "$WORK/pb" && grep -qa BOOKMARK "$WORK/pb" || { echo "$path: $out"; failed=1; }
    done
    return $failed
}
check "watch lists in protobuf" watches

# --- a long list, whole and page by page ---
long_list() {
    seq 1 150 | awk -v filler="$(head -c 900 /dev/zero | tr '\0' x)" 'BEGIN {print "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":["}
        {printf "%s{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c-%03d\",\"namespace\":\"t\"},\"data\":{\"a\":\"%s\",\"n\":\"%d\"}}", (NR > 1 ? "," : ""), $1, filler, $1} END {print "]}"}' >"$WORK/many.json"
    k create -f "$WORK/many.json" >/dev/null
}
check "150 objects of 1 KB" long_list
LIST=$API/api/v1/namespaces/t/configmaps
"${CURL[@]}" -D "$WORK/h" -o "$WORK/whole.json" "$LIST"
check_equal "a long list comes whole" "ConfigMapList 150 11325" "$(jq -r '"\(.kind) \(.items|length) \([.items[].data.n|tonumber]|add)"' "$WORK/whole.json")"
check_equal "with its length told before" "$(stat -c %s "$WORK/whole.json")" "$(tr -d '\r' <"$WORK/h" | awk 'tolower($1) == "content-length:" {print $2}')"
check_equal "the same gzipped" "$(jq -cS .items "$WORK/whole.json" | md5sum)" "$("${CURL[@]}" --compressed "$LIST" | jq -cS .items | md5sum)"
pages() {
    local token='' out
    while :; do
        out=$("${CURL[@]}" "$LIST?limit=70&continue=$token")
        jq -r '"\(.items|length)+\(.metadata.remainingItemCount // "none")"' <<<"$out"
        token=$(jq -r '.metadata.continue // empty' <<<"$out")
        [ -n "$token" ] || break
    done | xargs
}
check_equal "pages tell how much is left" "70+80 70+10 10+none" "$(pages)"
check_equal "of a selection nobody knows" "1+none" "$("${CURL[@]}" "$LIST?limit=1&labelSelector=!none" | jq -r '"\(.items|length)+\(.metadata.remainingItemCount // "none")"')"
check_equal "the last page is full and the end" "150+none" "$("${CURL[@]}" "$LIST?limit=150" | jq -r '"\(.items|length)+\(.metadata.continue // "none")"')"

# --- health and metrics ---
for path in livez readyz healthz; do
    check_equal "/$path" ok "$("${CURL[@]}" "$API/$path")"
    check_output "/$path?verbose names its checks" "\[\+\]ping ok.*$path check passed" bash -c "\"\$@\" | tr '\n' ' '" - "${CURL[@]}" "$API/$path?verbose"
    check_equal "/$path/ping alone" ok "$("${CURL[@]}" "$API/$path/ping")"
    check_output "/$path without one of them" 'etcd excluded: ok|check passed' "${CURL[@]}" "$API/$path?verbose&exclude=etcd"
done
check_output "readyz looks at the store and the caches" '\[\+\]etcd-readiness ok.*\[\+\]informer-sync ok' bash -c "\"\$@\" | tr '\n' ' '" - "${CURL[@]}" "$API/readyz?verbose"
check_equal "no such check" 404 "$(status_of "$API/readyz/nothing")"
metrics=$("${CURL[@]}" "$API/metrics")
check_output "requests are counted" 'apiserver_request_total\{.*code="200".*verb="(LIST|GET)".*\} [1-9]|apiserver_request_total\{.*verb="(LIST|GET)".*code="200".*\} [1-9]' grep '^apiserver_request_total' <(printf '%s\n' "$metrics")
check_output "and timed" 'apiserver_request_duration_seconds_bucket\{.*le="\+Inf"\} [1-9]' grep '^apiserver_request_duration' <(printf '%s\n' "$metrics")
check_output "requests that are under way" 'apiserver_current_inflight_requests\{request_kind="(readOnly|mutating)"\} [0-9]+' grep '^apiserver_current_inflight' <(printf '%s\n' "$metrics")
check_output "objects by kind" 'apiserver_storage_objects\{resource="namespaces"\} [4-9]' grep '^apiserver_storage_objects' <(printf '%s\n' "$metrics")
finish
