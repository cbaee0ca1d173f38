#!/usr/bin/env bash
# Custom resources among the others: garbage collection, namespaces that go, roles, and kubectl of all releases.
. "$(dirname "$0")/../tools/cluster.sh"
test_namespace e2e-custom
# kubectl remembers what it discovered under its home: not what an earlier run left.
work=$(mktemp -d)
export HOME=$work
trap 'rm -rf "$work"; k delete ns "$NS" --wait=false >/dev/null 2>&1; k delete crd plants.garden.example.com --wait=false >/dev/null 2>&1' EXIT
definition() { # name of the newer version
    cat <<END
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: plants.garden.example.com}
spec:
  group: garden.example.com
  scope: Namespaced
  names: {plural: plants, singular: plant, kind: Plant, shortNames: [pl]}
  versions:
  - name: $1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Height, type: integer, jsonPath: .spec.height}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              height: {type: integer, description: In centimetres.}
              beds: {type: array, items: {type: string}}
              pot:
                type: object
                x-kubernetes-embedded-resource: true
                x-kubernetes-preserve-unknown-fields: true
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
END
}
plant() { # name, spec, more of metadata
    printf -- '---\n{apiVersion: garden.example.com/v1, kind: Plant, metadata: {name: %s%s}, spec: %s}\n' "$1" "${3:-}" "$2"
}
definition v1 | k apply -f - >/dev/null
check "a definition is established" k wait crd/plants.garden.example.com --for=condition=established --timeout=10s
for version in 1.27 1.31 1.33 1.35; do
    one=$(tests/tools/kubectl $version) || {
        fail "kubectl $version is at hand"
        continue
    }
    o() { "$one" -n "$NS" "$@"; }
    check_output "$version: apply creates" "plant.garden.example.com/p created" bash -c "$(declare -f plant); plant p '{height: 1, beds: [a]}' | '$one' -n $NS apply -f -"
    check_output "$version: apply changes" "plant.garden.example.com/p configured" bash -c "$(declare -f plant); plant p '{height: 2}' | '$one' -n $NS apply -f -"
    check_equal "$version: and takes away" '2 ' "$(o get plant p -o jsonpath='{.spec.height} {.spec.beds}')"
    check_output "$version: apply changes nothing" "unchanged" bash -c "$(declare -f plant); plant p '{height: 2}' | '$one' -n $NS apply -f -"
    check_output "$version: server-side apply" 'serverside-applied' bash -c "$(declare -f plant); plant p '{height: 3}' | '$one' -n $NS apply --server-side -f -"
    check_output "$version: diff" '^\+  height: 9|^\+ +height: 9' bash -c "$(declare -f plant); plant p '{height: 9}' | '$one' -n $NS diff --server-side -f -"
    check_output "$version: an unknown field is refused" 'unknown field "spec.hight"' bash -c "$(declare -f plant); plant q '{hight: 3}' | '$one' -n $NS apply -f -"
    check_output "$version: columns" '^NAME +HEIGHT' o get pl
    check_output "$version: explain" 'In centimetres' o explain plant.spec.height
    check_output "$version: edit-style patch" 'patched' o patch plant p --type=merge -p '{"spec":{"height":4}}'
    check_output "$version: describe" 'Height: +4' o describe plant p
    check_output "$version: label" 'labeled' o label plant p "a=b"
    check "$version: wait" o wait plant p --for=jsonpath='{.spec.height}'=4 --timeout=5s
    check_output "$version: delete" 'deleted' o delete plant p
done
check_output "an embedded object has its own metadata" 'unknown field "spec.pot.metadata.foo"' bash -c "$(declare -f plant); plant q '{pot: {apiVersion: v1, kind: Pot, metadata: {name: x, foo: 1}, any: 2}}' | '$KUBECTL' -n $NS create --validate=strict -f -"
check_output "and a kind" 'spec.pot.kind: Required value: must not be empty' bash -c "$(declare -f plant); plant q '{pot: {apiVersion: v1, metadata: {name: x}}}' | '$KUBECTL' -n $NS create -f -"

# Owners and owned.
plant owner '{height: 1}' | kn apply -f - >/dev/null
uid=$(kn get plant owner -o jsonpath='{.metadata.uid}')
kn apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: owned, ownerReferences: [{apiVersion: garden.example.com/v1, kind: Plant, name: owner, uid: $uid}]}}
END
uid=$(kn create cm root -o jsonpath='{.metadata.uid}')
plant child '{height: 1}' ", ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: root, uid: $uid}]" | kn apply -f - >/dev/null
check_equal "owner, owned and child are there" 'configmap/owned configmap/root plant.garden.example.com/child plant.garden.example.com/owner' "$(kn get cm/owned cm/root plant/child plant/owner -o name | xargs)"
kn delete plant owner >/dev/null
# The collector discovers kinds every 30 seconds, as Kubernetes' does.
check "what a custom object owns goes with it" kn wait cm/owned --for=delete --timeout=60s
kn delete cm root >/dev/null
check "and it goes with its owner" kn wait plant/child --for=delete --timeout=15s
plant owner '{height: 1}' | kn apply -f - >/dev/null
uid=$(kn get plant owner -o jsonpath='{.metadata.uid}')
kn apply -f - >/dev/null <<END
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: owned, ownerReferences: [{apiVersion: garden.example.com/v1, kind: Plant, name: owner, uid: $uid, blockOwnerDeletion: true}]}}
END
check_output "foreground: owner after owned" 'deleted' kn delete plant owner --cascade=foreground --timeout=15s
check_equal "both are gone" '' "$(kn get cm/owned plant/owner --ignore-not-found -o name)"

# Who may.
kn create sa gardener >/dev/null
kn create role gardener --verb=get,list,create --resource=plants.garden.example.com >/dev/null
kn create rolebinding gardener --role=gardener --serviceaccount="$NS:gardener" >/dev/null
AS="--as=system:serviceaccount:$NS:gardener"
check_output "a role lets in" '^yes' eventually_output 5 yes kn auth can-i create plants.garden.example.com "$AS"
check_output "as far as it says" '^no' kn auth can-i delete plants.garden.example.com "$AS"
check_output "and its bearer is let in" 'created' bash -c "$(declare -f plant); plant mine '{height: 1}' | '$KUBECTL' -n $NS create $AS -f -"
check_output "as far as that" 'forbidden: User "system:serviceaccount:e2e-custom:gardener" cannot delete resource "plants" in API group "garden.example.com" in the namespace "e2e-custom"' kn delete plant mine "$AS"

# A version gets another name; a namespace goes.
definition v2 | sed 's/name: v2$/&/' | k apply -f - 2>&1 | grep -q 'must appear in spec.versions' && pass "a version in use cannot be left out" || fail "a version in use cannot be left out"
k patch crd plants.garden.example.com --type=json -p "$(jq -nc --argjson v "$(k get crd plants.garden.example.com -o json | jq -c '.spec.versions[0] | .name = "v2" | .storage = false')" '[{op: "add", path: "/spec/versions/-", value: $v}]')" >/dev/null
check_output "another one is added" '^garden.example.com/v2 1$' eventually_output 10 v2 kn get plants.v2.garden.example.com mine -o jsonpath='{.apiVersion} {.spec.height}'
check_output "and explained" 'VERSION: +v2' eventually_output 10 v2 k explain plants --api-version=garden.example.com/v2
k patch crd plants.garden.example.com --type=json -p '[{"op":"replace","path":"/spec/versions/1/served","value":false}]' >/dev/null
check "one no longer served is gone" eventually 10 bash -c "! '$KUBECTL' get --raw /apis/garden.example.com/v2"
check_output "from OpenAPI too" '^0$' eventually_output 10 '^0$' bash -c "'$KUBECTL' get --raw /openapi/v2 | grep -c 'com.example.garden.v2.Plant'"
k create ns "$NS-2" >/dev/null
plant last '{height: 1}' | k -n "$NS-2" apply -f - >/dev/null
check "a namespace goes with its custom objects" k delete ns "$NS-2" --timeout=20s
check_equal "none is left of them" '' "$(k get plants.v1.garden.example.com -A -o name | grep last)"
finish
