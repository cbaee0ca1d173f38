#!/usr/bin/env bash
# CustomResourceDefinitions: what one defines is served by every apiserver, with kubectl as the judge.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/control-plane.sh
KUBECTL=$(tests/tools/kubectl)
k() { "$KUBECTL" "$@"; }
k2() { "$KUBECTL" --server="$API2" "$@"; }
control_plane_start "${TMPDIR:-/tmp}/skiff-crd-$$" "${SKIFF_TEST_PORT:-34200}" || {
    fail "the control plane starts"
    finish
    exit 1
}
trap 'control_plane_stop; rm -rf "$CP_DIR"' EXIT
k create ns t >/dev/null
server_side() { k "${@:1:3}" --server-side "${@:4}"; }
apply() { "${@:2}" -n t apply -f - <<<"$1"; }
CRD=$(cat <<'END'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shelves.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: shelves, singular: shelf, kind: Shelf, shortNames: [shlf], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: Holds books.
        required: [spec]
        properties:
          spec:
            type: object
            required: [width]
            properties:
              width: {type: integer, minimum: 1, maximum: 100, description: In centimetres.}
              wood: {type: string, enum: [oak, pine], default: oak}
              label: {type: string, pattern: '^[a-z]+\d*$', maxLength: 8}
              replicas: {type: integer}
              port: {x-kubernetes-int-or-string: true}
              extra: {type: object, x-kubernetes-preserve-unknown-fields: true}
              tags: {type: object, additionalProperties: {type: string}}
              books:
                type: array
                maxItems: 3
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [title]
                items: {type: object, required: [title], properties: {title: {type: string}, pages: {type: integer, default: 100}}}
          status:
            type: object
            properties: {replicas: {type: integer}, phase: {type: string}, selector: {type: string}}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Width, type: integer, jsonPath: .spec.width}
    - {name: Wood, type: string, jsonPath: .spec.wood, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
  - name: v1beta1
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
END
)
check_output "a definition is created" 'created$' apply "$CRD" k
check "it becomes established" k wait crd/shelves.stable.example.com --for=condition=established --timeout=10s
check_equal "its names are accepted" 'True v1 Shelf' "$(k get crd shelves.stable.example.com -o jsonpath='{.status.conditions[?(@.type=="NamesAccepted")].status} {.status.storedVersions[0]} {.status.acceptedNames.kind}')"
for server in k k2; do
    check_output "discovery shows it ($server)" '^shelves +shlf +stable.example.com/v1 +true +Shelf' $server api-resources --api-group=stable.example.com
done
check_output "an object is created" 'shelf.stable.example.com/a created' apply '{apiVersion: stable.example.com/v1, kind: Shelf, metadata: {name: a, labels: {x: z}}, spec: {width: 40, port: http, extra: {any: [1, {b: 2}]}, tags: {k: v}, books: [{title: one}]}}' k
check_equal "the other apiserver gives it, with defaults" 'oak 100 2 http' "$(k2 -n t get shlf a -o jsonpath='{.spec.wood} {.spec.books[0].pages} {.spec.extra.any[1].b} {.spec.port}')"
check_output "it has its columns" '^NAME +WIDTH +AGE$' k -n t get shelves
check_output "and its row" '^a +40 +oak +[0-9]+s$' k -n t get shelf -o wide
check_output "kubectl get all shows it" 'shelf.stable.example.com/a' k -n t get all
check_output "explain knows its fields" 'In centimetres' k explain shelf.spec.width
check_output "explain --recursive" 'pages' k explain shelf --recursive
check_output "explain by OpenAPI v2" 'In centimetres' k explain shelf.spec.width --output=plaintext-openapiv2
check_equal "OpenAPI v3 has the schema whole" 'oak,pine oak object com.example.stable.v1.Shelf true' "$(k get --raw /openapi/v3/apis/stable.example.com/v1 | jq -r '.components.schemas
    | (.["com.example.stable.v1.Shelf"].properties | "\(.spec.properties.wood.enum | join(",")) \(.spec.properties.wood.default) \(.spec.properties.books.items.type)")
    + " " + (.["com.example.stable.v1.ShelfList"].properties.items.items["$ref"] | ltrimstr("#/components/schemas/"))
    + " " + (.["com.example.stable.v1.Shelf"].properties.spec.properties.extra["x-kubernetes-preserve-unknown-fields"] | tostring)')"
check_equal "OpenAPI v2 knows no type for what may be anything" 'null integer' "$(k get --raw /openapi/v2 | jq -r '.definitions["com.example.stable.v1.Shelf"].properties.spec.properties | "\(.extra.type) \(.width.type)"')"
check_output "describe" 'Width: +40' k -n t describe shelf a
check_output "a merge patch" 'patched' k -n t patch shelf a --type=merge -p '{"spec":{"width":50}}'
check_output "a JSON patch" 'patched' k -n t patch shelf a --type=json -p '[{"op":"add","path":"/spec/label","value":"b1"}]'
check_output "a strategic patch is refused" 'application/merge-patch\+json|strategic merge patch is not supported|UnsupportedMediaType|unsupported' k -n t patch shelf a --type=strategic -p '{"spec":{"width":51}}'
check_output "apply changes what changed" 'configured' apply '{apiVersion: stable.example.com/v1, kind: Shelf, metadata: {name: a, labels: {x: z}}, spec: {width: 60, books: [{title: one}]}}' k
check_equal "generation counts" 4 "$(k -n t get shelf a -o jsonpath='{.metadata.generation}')"
check_equal "what apply no longer says is gone" '60 ' "$(k -n t get shelf a -o jsonpath='{.spec.width} {.spec.tags}')"
check_output "an unknown field is refused" 'unknown field "spec.colour"' apply '{apiVersion: stable.example.com/v1, kind: Shelf, metadata: {name: b}, spec: {width: 4, colour: red}}' k
LAST=$(k -n t create --validate=warn -f - <<<'{apiVersion: stable.example.com/v1, kind: Shelf, metadata: {name: pruned}, spec: {width: 4, colour: red}}' 2>&1)
check_output "an unknown field is warned of" 'Warning: unknown field "spec.colour"' printf '%s\n' "$LAST"
check_equal "and pruned" '' "$(k -n t get shelf pruned -o jsonpath='{.spec.colour}')"
refused() { check_output "$1" "$2" apply "{apiVersion: stable.example.com/v1, kind: Shelf, metadata: {name: bad}, spec: $3}" k; }
refused "a missing field" 'spec.width: Required value' '{wood: oak}'
refused "a wrong type" 'spec.width: Invalid value: "string": spec.width in body must be of type integer: "string"' '{width: wide}'
refused "too small" 'spec.width: Invalid value: 0: spec.width in body should be greater than or equal to 1' '{width: 0}'
refused "too great" 'spec.width: Invalid value: 500: spec.width in body should be less than or equal to 100' '{width: 500}'
refused "not in the list" 'spec.wood: Unsupported value: "ash": supported values: "oak", "pine"' '{width: 1, wood: ash}'
refused "the pattern" "spec.label: Invalid value: \"B\": spec.label in body should match" '{width: 1, label: B}'
refused "too many items" 'spec.books: Too many: 4: must have at most 3 items' '{width: 1, books: [{title: a}, {title: b}, {title: c}, {title: d}]}'
refused "twice the same key" 'spec.books\[1\]: Duplicate value' '{width: 1, books: [{title: a}, {title: a}]}'
check_output "status is its own" 'patched' k -n t patch shelf a --subresource=status --type=merge -p '{"status":{"replicas":2,"selector":"app=a"},"spec":{"width":99}}'
check_equal "and leaves the rest" '2 60' "$(k -n t get shelf a -o jsonpath='{.status.replicas} {.spec.width}')"
check_output "it is scaled" 'scaled' k -n t scale shelf a --replicas=7
check_equal "where the definition says" 7 "$(k -n t get shelf a -o jsonpath='{.spec.replicas}')"
check_equal "scale shows its selector" 'app=a 7 2' "$(k get --raw /apis/stable.example.com/v1/namespaces/t/shelves/a/scale | jq -r '"\(.status.selector) \(.spec.replicas) \(.status.replicas)"')"
check_output "the other version shows the same object" '^stable.example.com/v1beta1 60$' k -n t get shelves.v1beta1.stable.example.com a -o jsonpath='{.apiVersion} {.spec.width}{"\n"}'
ssa() { k -n t apply --server-side --field-manager="$1" "${@:3}" -f - <<<"{apiVersion: stable.example.com/v1, kind: Shelf, metadata: {name: s}, spec: $2}"; }
ssa me '{width: 61, books: [{title: one}], tags: {k: v}}' >/dev/null
check_output "server-side apply" 'serverside-applied' ssa other '{books: [{title: two, pages: 3}]}'
check_equal "merges lists by key" 'one two 61' "$(k -n t get shelf s -o jsonpath='{.spec.books[*].title} {.spec.width}')"
check_output "and knows conflicts" 'conflict with "me": .spec.width' ssa other '{width: 62, books: [{title: two, pages: 3}]}'
ssa me '{width: 61}' >/dev/null
check_equal "what its owner says no more is gone" 'two ' "$(k -n t get shelf s -o jsonpath='{.spec.books[*].title} {.spec.tags}')"
ssa other '{width: 62, wood: pine}' --force-conflicts >/dev/null
check_equal "forced" '62 pine ' "$(k -n t get shelf s -o jsonpath='{.spec.width} {.spec.wood} {.spec.books}')"
ssa me '{width: 62, extra: {a: {b: 1}}}' --force-conflicts >/dev/null
check_output "what has no schema is merged by its members" 'serverside-applied' ssa other '{extra: {a: {c: 2}}}'
check_equal "each with its owner" '{"b":1,"c":2}' "$(k -n t get shelf s -o jsonpath='{.spec.extra.a}')"
check_output "apply minds unknown fields" '\.colour: field not declared in schema' apply '{apiVersion: stable.example.com/v1, kind: Shelf, metadata: {name: s}, colour: red, spec: {width: 4}}' server_side

# A definition changes.
change() { k patch crd shelves.stable.example.com --type=json -p "$1" 2>&1; }
LAST=$(change '[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/depth","value":{"type":"integer","default":25}},
    {"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/width/maximum","value":50}]')
check_output "a definition changes" 'patched' printf '%s\n' "$LAST"
for server in k k2; do
    check_output "an object of before has the new default ($server)" '^25$' eventually_output 5 '^25$' $server -n t get shelf a -o jsonpath='{.spec.depth}'
done
check_output "and is listed and watched with it" '25 25' eventually_output 5 '25 25' k -n t get shelf a s -o jsonpath='{.items[*].spec.depth}'
check_output "explain knows the new field" 'depth' eventually_output 5 depth k explain shelf.spec
check_output "what was good before may stay" 'patched' k -n t patch shelf a --type=merge -p '{"spec":{"label":"ok"}}'
refused "but nothing new may be so" 'spec.width: Invalid value: 60: spec.width in body should be less than or equal to 50' '{width: 60}'
LAST=$(change '[{"op":"replace","path":"/spec/versions/0/storage","value":false},{"op":"replace","path":"/spec/versions/1/storage","value":true}]')
check_output "another version is stored" 'patched' printf '%s\n' "$LAST"
check_equal "the definition knows of both" '["v1","v1beta1"]' "$(k get crd shelves.stable.example.com -o jsonpath='{.status.storedVersions}')"
check_output "objects of both are read as asked for" '^stable.example.com/v1 stable.example.com/v1$' eventually_output 5 . k -n t get shelf a s -o jsonpath='{.items[*].apiVersion}'
k -n t patch shelf a --type=merge -p '{"spec":{"wood":"pine"}}' >/dev/null
check_output "and written" '^stable.example.com/v1 pine stable.example.com/v1$' k -n t get shelf a s -o jsonpath='{.items[0].apiVersion} {.items[0].spec.wood} {.items[1].apiVersion}'
LAST=$(change '[{"op":"remove","path":"/spec/versions/0"}]')
check_output "a version that objects are stored as stays" 'status.storedVersions\[0\]: Invalid value: "v1": must appear in spec.versions' printf '%s\n' "$LAST"
change '[{"op":"replace","path":"/spec/versions/0/storage","value":true},{"op":"replace","path":"/spec/versions/1/storage","value":false}]' >/dev/null
check_equal "clients are told to prefer v1" v1 "$(k get --raw /apis/stable.example.com | jq -r .preferredVersion.version)"
k2 -n t get shelves -w -o name --request-timeout=6s >"$CP_DIR/watch" 2>&1 &
watcher=$!
eventually 5 grep -q '/a' "$CP_DIR/watch"
k -n t delete shelf pruned >/dev/null
k -n t create -f - <<<'{apiVersion: stable.example.com/v1, kind: Shelf, metadata: {generateName: gen-}, spec: {width: 4}}' >/dev/null
check "a watch through the other apiserver hears of a new one" eventually 5 grep -q gen- "$CP_DIR/watch"
kill $watcher 2>/dev/null
control_plane_kill "${CP_APISERVER[0]}"
control_plane_apiserver 0
eventually 20 "${CURL[@]}" -f "$API/readyz" >/dev/null
check_equal "a restarted apiserver has it all" 60 "$(k -n t get shelf a -o jsonpath='{.spec.width}')"

# What is no definition.
definition() { # plural, kind, group, schema, more of names
    echo "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: $1.$3}, spec: {group: $3, scope: Cluster, names: {plural: $1, kind: $2${5:-}}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: $4}}]}}"
}
bad() { check_output "$1" "$2" apply "$(definition xs X x.example.com "$3")" k; }
ROOT='spec.versions\[0\].schema.openAPIV3Schema'
bad "a schema without types" "$ROOT.properties\[a\].type: Required value: must not be empty for specified object fields" '{type: object, properties: {a: {}}}'
bad "a root that is no object" "$ROOT.type: Invalid value: \"string\": must be object at the root" '{type: string}'
bad "a list without items" "$ROOT.properties\[a\].items: Required value: must be specified" '{type: object, properties: {a: {type: array}}}'
bad "a default that does not fit" "$ROOT.properties\[a\].default: Invalid value" '{type: object, properties: {a: {type: integer, default: x}}}'
bad "a key that may be missing" 'it must have a default or be a required property' '{type: object, properties: {a: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k], items: {type: object, properties: {k: {type: string}}}}}}'
bad "a pattern that is none" 'must be a valid regular expression' '{type: object, properties: {a: {type: string, pattern: "("}}}'
check_output "Kubernetes' own groups want an approval" 'protected groups must have approval annotation' apply "$(definition xs X x.k8s.io '{type: object}')" k
# Two of one kind.
apply "$(definition firsts Thing dup.example.com '{type: object}')" k >/dev/null
k wait crd/firsts.dup.example.com --for=condition=established --timeout=10s >/dev/null
apply "$(definition seconds Thing dup.example.com '{type: object}' ', shortNames: [sec]')" k >/dev/null
check_output "a kind belongs to one resource" 'False ListKindConflict "ThingList" is already in use False' eventually_output 5 ListKindConflict k get crd seconds.dup.example.com -o jsonpath='{range .status.conditions[*]}{.status} {.reason} {.message} {end}'
check_fails "the other is not served" k get seconds.dup.example.com
k delete crd firsts.dup.example.com >/dev/null
check "until the name is free" k wait crd/seconds.dup.example.com --for=condition=established --timeout=10s
check "then it is" k get sec
k delete crd seconds.dup.example.com >/dev/null
check_output "a definition must fit its name" 'must be spec.names.plural\+"."\+spec.group' apply '{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: x.y.z}, spec: {group: g.h, scope: Cluster, names: {plural: p, kind: P}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}' k
k -n t patch shelf a --type=merge -p '{"metadata":{"finalizers":["example.com/hold"]}}' >/dev/null
check_equal "a definition has no finalizer of its own while it lives" '' "$(k get crd shelves.stable.example.com -o jsonpath='{.metadata.finalizers}')"
k delete crd shelves.stable.example.com --wait=false >/dev/null
check_output "a definition waits for its objects' finalizers" 'Terminating|True' eventually_output 5 True k get crd shelves.stable.example.com -o jsonpath='{.status.conditions[?(@.type=="Terminating")].status}'
k -n t patch shelf a --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null
check "then it goes, and its objects with it" k wait crd/shelves.stable.example.com --for=delete --timeout=15s
for server in k k2; do
    check "it is served no more ($server)" eventually 5 bash -c "! '$KUBECTL' --server=$([ $server = k ] && echo "$API" || echo "$API2") get --raw /apis/stable.example.com/v1 2>/dev/null"
done
check_output "it can come again" 'created' apply "$CRD" k
check "and is established again" k wait crd/shelves.stable.example.com --for=condition=established --timeout=10s
check_output "without the objects of before" 'No resources found' k -n t get shelves
finish
