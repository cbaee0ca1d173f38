#!/usr/bin/env bash
# Who may do what: RBAC, tokens of service accounts, reviews, and admission.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/control-plane.sh
work=$(mktemp -d)
KUBECTL=$(tests/tools/kubectl)
if ! control_plane_start "$work/cp" "${PORT:-33000}" "${STORE:-lite}"; then
    fail "store and apiservers become ready" "$(tail -n 20 "$work"/cp/*.log)"
    finish
    exit
fi
k() { "$KUBECTL" "$@"; }
as() { # USER COMMAND...
    local user=$1
    shift
    "$KUBECTL" --as "$user" "$@"
}
may() { "$KUBECTL" auth can-i "$@"; }
may_now() { [ "$("$KUBECTL" auth can-i "$@" 2>/dev/null)" = yes ]; }
may_no_more() { [ "$("$KUBECTL" auth can-i "$@" 2>/dev/null)" = no ]; }

# --- the roles that every cluster has -----------------------------------------------------------------
check_output "default roles are objects" '^cluster-admin$' k get clusterrole cluster-admin -o jsonpath='{.metadata.name}'
check_equal "... with their label and annotation" "rbac-defaults true" "$(k get clusterrole system:kube-scheduler -o json | jq -r '[.metadata.labels["kubernetes.io/bootstrapping"],.metadata.annotations["rbac.authorization.kubernetes.io/autoupdate"]]|join(" ")')"
check_output "... and bindings" 'system:kube-scheduler +ClusterRole/system:kube-scheduler' k get clusterrolebinding system:kube-scheduler -o wide
check_output "a component is what its role says" '^yes$' may create pods --subresource=binding --as system:kube-scheduler
check_output "... and no more" '^no$' may create deployments.apps --as system:kube-scheduler
anonymous() { curl -sS --cacert "$work/cp/pki/ca.crt" -A test -w ' %{http_code}' "$API$1"; }
check_output "anonymous may see the version" ' 200$' anonymous /version
check_output "anonymous may not list pods" 'User \\"system:anonymous\\" cannot list resource \\"pods\\".* 403$' anonymous /api/v1/pods

# --- roles and bindings ---------------------------------------------------------------------------------
k create namespace team >/dev/null
check "create a Role" k create role reader --verb=get,list --resource=pods -n team
check "create a RoleBinding" k create rolebinding jane-reads --role=reader --user=jane -n team
check "a binding counts at once" eventually 5 may_now list pods -n team --as jane
check_output "in its namespace only" '^no$' may list pods -n default --as jane
check_output "for its resources only" '^no$' may list secrets -n team --as jane
check_output "what kubectl get shows" 'Role/reader +[0-9]+s +jane' k get rolebinding jane-reads -n team -o wide
check "through the other apiserver too" eventually 5 may_now list pods -n team --as jane --server "$API2"
check_output "jane reads" 'No resources found' as jane get pods -n team
check_output "jane does not delete" 'pods "x" is forbidden: User "jane" cannot delete resource "pods" in API group "" in the namespace "team"' as jane delete pod x -n team
k delete rolebinding jane-reads -n team >/dev/null
check "without the binding it is over" eventually 5 may_no_more list pods -n team --as jane
check "a ClusterRoleBinding gives everywhere" k create clusterrolebinding devs --clusterrole=system:kube-dns --group=devs
check "... by group" eventually 5 may_now list services -n default --as joe --as-group devs
check_output "resource names limit" 'created' k create role one --verb=get --resource=configmaps --resource-name=a -n team
k create rolebinding one --role=one --user=nick -n team >/dev/null
check "... to the one" eventually 5 may_now get configmaps/a -n team --as nick
check_output "... and no other" '^no$' may get configmaps/b -n team --as nick

# --- validation -----------------------------------------------------------------------------------------
apply() { k apply -f - <<<"$1"; }
check_output "roleRef cannot change" 'roleRef: Invalid value: .*cannot change roleRef' k patch rolebinding one -n team --type=merge -p '{"roleRef":{"name":"reader"}}'
check_output "subjects have known kinds" 'subjects\[0\].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"' apply '{"kind":"ClusterRoleBinding","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},"subjects":[{"kind":"Robot","name":"r"}]}'
check_output "rules have verbs" 'rules\[0\].verbs: Required value: verbs must contain at least one value' apply '{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"},"rules":[{"verbs":[],"apiGroups":[""],"resources":["pods"]}]}'
check_output "a Role has no URLs" 'rules\[0\].nonResourceURLs: Invalid value: .*namespaced rules cannot apply to non-resource URLs' apply '{"kind":"Role","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"},"rules":[{"verbs":["get"],"nonResourceURLs":["/x"]}]}'

# --- nobody gives what he does not hold -------------------------------------------------------------------
k create clusterrole role-maker --verb=create,update,patch,get,list --resource=roles,rolebindings.rbac.authorization.k8s.io >/dev/null
k create clusterrolebinding role-maker --clusterrole=role-maker --user=maker >/dev/null
eventually 5 may_now create roles -n team --as maker
check_output "escalation is refused" 'roles.rbac.authorization.k8s.io "big" is forbidden: user "maker" \(groups=\["system:authenticated"\]\) is attempting to grant RBAC permissions not currently held:' as maker create role big --verb=get,delete --resource=secrets -n team
check_output "... with what is missing" '\{APIGroups:\[""\], Resources:\["secrets"\], Verbs:\["get" "delete"\]\}' printf '%s' "$LAST_OUTPUT"
check_output "a binding to more is refused" 'is attempting to grant RBAC permissions not currently held:' as maker create rolebinding big --clusterrole=cluster-admin --user=maker -n team
check "what he holds he may give" as maker create role small --verb=get,list --resource=roles.rbac.authorization.k8s.io -n team
check_output "a binding to nothing: NotFound" 'roles.rbac.authorization.k8s.io "none" not found' as maker create rolebinding none --role=none --user=x -n team
k create clusterrole binder --verb=bind --resource=clusterroles.rbac.authorization.k8s.io --resource-name=view >/dev/null
k create clusterrolebinding binder --clusterrole=binder --user=maker >/dev/null
eventually 5 may_now bind clusterroles/view --as maker
check "who may bind may" as maker create rolebinding viewers --clusterrole=view --user=x -n team
check_output "... that role only" 'not currently held' as maker create rolebinding admins --clusterrole=cluster-admin --user=x -n team

# --- aggregation: a controller fills in admin, edit and view -------------------------------------------------
sed "s#server: \"[^\"]*\"#server: \"$API\"#" "$work/cp/pki/admin.kubeconfig" >"$work/manager.kubeconfig"
build/bin/controller-manager --kubeconfig="$work/manager.kubeconfig" --leader-elect=false --secure-port=0 --root-ca-file="$work/cp/pki/ca.crt" >"$work/cp/manager.log" 2>&1 &
CP_PIDS+=($!)
k create rolebinding jane-edits --clusterrole=edit --user=jane -n team >/dev/null
check "edit gathers its rules" eventually 10 may_now create deployments.apps -n team --as jane
check "... and those of view" eventually 5 may_now list events -n team --as jane
check_output "... not those of admin" '^no$' may create roles -n team --as jane
apply '{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"more","labels":{"rbac.authorization.k8s.io/aggregate-to-edit":"true"}},"rules":[{"verbs":["approve"],"apiGroups":[""],"resources":["pods"]}]}' >/dev/null
check "a new role joins them" eventually 5 may_now approve pods -n team --as jane
k delete clusterrole more >/dev/null
check "... and leaves them" eventually 5 may_no_more approve pods -n team --as jane
check_output "auth can-i --list" 'deployments.apps +\[\] +\[\] +\[.*create' may --list -n team --as jane
check_output "a deleted rule of a default role comes back at the next start" 'patched' k patch clusterrole system:node-proxier --type=merge -p '{"rules":[]}'
control_plane_kill "${CP_APISERVER[1]}"
control_plane_apiserver 1
eventually 20 "${CURL[@]}" -f "$API2/readyz" >/dev/null
check_output "... it is back" 'servicecidrs' k get clusterrole system:node-proxier -o yaml

check_output "still alive after all that" '^ok$' "${CURL[@]}" "$API/healthz"
[ "$FAILED" -eq 0 ] || tail -n 5 "$work"/cp/*.log
rm -rf "$work"
finish
