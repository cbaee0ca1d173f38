#!/usr/bin/env bash
# Every built-in resource beside those that the other tests live on: kubectl finds it by its names, makes one, prints
# its columns, explains it, patches it and deletes it; wrong objects are refused field by field.
cd "$(dirname "$0")/../.." || exit 1
. tests/lib.sh
. tests/tools/control-plane.sh
KUBECTL=$(tests/tools/kubectl)
k() { "$KUBECTL" "$@"; }
control_plane_start "${TMPDIR:-/tmp}/skiff-resources-$$" "${SKIFF_TEST_PORT:-34100}" || {
    fail "the control plane starts"
    finish
    exit 1
}
trap 'control_plane_stop; rm -rf "$CP_DIR"' EXIT
eventually 10 k get serviceaccounts || true
k create ns t >/dev/null

POD='metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: "img:1"}]}'
apply() { k -n t apply -f - <<<"$1"; }
# kind NAMES HEADER ROW YAML: the object is called x
kind() {
    local name=$1 header=$2 row=$3 yaml=$4 out
    out=$(apply "$yaml" 2>&1) || {
        fail "$name is created" "$out"
        return
    }
    local first=${name%% *}
    check_output "$first is created" ' (created|serverside-applied)$' printf '%s\n' "$out"
    out=$(k -n t get "$first" x -o wide 2>&1)
    check_equal "$first has its columns" "$header" "$(head -n 1 <<<"$out" | sed -E 's/ +$//; s/ {2,}/|/g')"
    check_output "$first has its row" "$row" printf '%s\n' "$(sed -n 2p <<<"$out" | sed -E 's/ +$//; s/ {2,}/|/g')"
    local short
    for short in $name; do
        check "$short names it" k -n t get "$short" x
    done
    check_output "$first is explained" '^FIELDS:' k explain "$first"
    check "$first is patched" k -n t patch "$first" x --type=merge -p '{"metadata":{"labels":{"patched":"yes"}}}'
    check_output "applying it again changes nothing" 'unchanged|configured' apply "$yaml"
}

kind "replicationcontrollers rc replicationcontroller" 'NAME|DESIRED|CURRENT|READY|AGE|CONTAINERS|IMAGES|SELECTOR' '^x\|2\|0\|0\|[0-9]+s\|c\|img:1\|app=x$' \
    "{apiVersion: v1, kind: ReplicationController, metadata: {name: x}, spec: {replicas: 2, selector: {app: x}, template: {$POD}}}"
kind "podtemplates podtemplate" 'NAME|CONTAINERS|IMAGES|POD LABELS' '^x\|c\|img:1\|app=x$' \
    "{apiVersion: v1, kind: PodTemplate, metadata: {name: x}, template: {$POD}}"
kind "daemonsets ds daemonset" 'NAME|DESIRED|CURRENT|READY|UP-TO-DATE|AVAILABLE|NODE SELECTOR|AGE|CONTAINERS|IMAGES|SELECTOR' '^x\|[0-9]+\|[0-9]+\|0\|[0-9]+\|0\|<none>\|[0-9]+s\|c\|img:1\|app=x$' \
    "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: x}, spec: {selector: {matchLabels: {app: x}}, template: {$POD}}}"
kind "statefulsets sts statefulset" 'NAME|READY|AGE|CONTAINERS|IMAGES' '^x\|0/3\|[0-9]+s\|c\|img:1$' \
    "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x}, spec: {replicas: 3, serviceName: s, selector: {matchLabels: {app: x}}, template: {$POD}}}"
kind "controllerrevisions controllerrevision" 'NAME|CONTROLLER|REVISION|AGE' '^x\|<none>\|7\|[0-9]+s$' \
    "{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: x}, revision: 7, data: {a: 1}}"
JOBPOD='metadata: {labels: {app: x}}, spec: {restartPolicy: Never, containers: [{name: c, image: "img:1"}]}'
kind "jobs job" 'NAME|STATUS|COMPLETIONS|DURATION|AGE|CONTAINERS|IMAGES|SELECTOR' '^x\|(Running|Suspended)\|0/1\|([0-9]*s?\|)?[0-9]+s\|c\|img:1\|batch.kubernetes.io/controller-uid=[-0-9a-f]+$' \
    "{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {suspend: true, template: {$JOBPOD}}}"
kind "cronjobs cj cronjob" 'NAME|SCHEDULE|TIMEZONE|SUSPEND|ACTIVE|LAST SCHEDULE|AGE|CONTAINERS|IMAGES|SELECTOR' '^x\|\*/5 \* \* \* \*\|<none>\|True\|0\|<none>\|[0-9]+s\|c\|img:1\|<none>$' \
    "{apiVersion: batch/v1, kind: CronJob, metadata: {name: x}, spec: {suspend: true, schedule: '*/5 * * * *', jobTemplate: {spec: {template: {$JOBPOD}}}}}"
kind "horizontalpodautoscalers hpa" 'NAME|REFERENCE|TARGETS|MINPODS|MAXPODS|REPLICAS|AGE' '^x\|Deployment/web\|cpu: <unknown>/80%\|1\|5\|0\|[0-9]+s$' \
    "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: x}, spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}"
check_equal "an autoscaler is seen in its v1 form" 80 "$(k -n t get horizontalpodautoscalers.v1.autoscaling x -o jsonpath='{.spec.targetCPUUtilizationPercentage}')"
k -n t patch horizontalpodautoscalers.v1.autoscaling x --type=merge -p '{"spec":{"targetCPUUtilizationPercentage":55}}' >/dev/null
check_equal "and changed in it" 55 "$(k -n t get hpa x -o jsonpath='{.spec.metrics[0].resource.target.averageUtilization}')"
kind "poddisruptionbudgets pdb" 'NAME|MIN AVAILABLE|MAX UNAVAILABLE|ALLOWED DISRUPTIONS|AGE' '^x\|50%\|N/A\|0\|[0-9]+s$' \
    "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: x}, spec: {minAvailable: 50%, selector: {matchLabels: {app: x}}}}"
kind "ingresses ing ingress" 'NAME|CLASS|HOSTS|ADDRESS|PORTS|AGE' '^x\|nginx\|a.example\|80, 443\|[0-9]+s$' \
    "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: x}, spec: {ingressClassName: nginx, tls: [{hosts: [a.example]}], rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}}"
kind "ingressclasses ingressclass" 'NAME|CONTROLLER|PARAMETERS|AGE' '^x\|example.com/c\|<none>\|[0-9]+s$' \
    "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: x}, spec: {controller: example.com/c}}"
kind "networkpolicies netpol networkpolicy" 'NAME|POD-SELECTOR|AGE' '^x\|app=x\|[0-9]+s$' \
    "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x}, spec: {podSelector: {matchLabels: {app: x}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 80}]}]}}"
kind "servicecidrs servicecidr" 'NAME|CIDRS|AGE' '^x\|10.0.0.0/24\|[0-9]+s$' \
    "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: x}, spec: {cidrs: [10.0.0.0/24]}}"
kind "persistentvolumes pv" 'NAME|CAPACITY|ACCESS MODES|RECLAIM POLICY|STATUS|CLAIM|STORAGECLASS|VOLUMEATTRIBUTESCLASS|REASON|AGE|VOLUMEMODE' '^x\|1Gi\|RWO\|Retain\|(Pending|Available)\|.*<unset>\|[0-9]+s\|Filesystem$' \
    "{apiVersion: v1, kind: PersistentVolume, metadata: {name: x}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], storageClassName: c, hostPath: {path: /x}}}"
kind "persistentvolumeclaims pvc" 'NAME|STATUS|VOLUME|CAPACITY|ACCESS MODES|STORAGECLASS|VOLUMEATTRIBUTESCLASS|AGE|VOLUMEMODE' '^x\|Pending\|other\|<unset>\|[0-9]+s\|Filesystem$' \
    "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: x}, spec: {accessModes: [ReadWriteOnce], storageClassName: other, resources: {requests: {storage: 1Gi}}}}"
kind "storageclasses sc" 'NAME|PROVISIONER|RECLAIMPOLICY|VOLUMEBINDINGMODE|ALLOWVOLUMEEXPANSION|AGE' '^x \(default\)\|example.com/p\|Delete\|Immediate\|false\|[0-9]+s$' \
    "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: x, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}, provisioner: example.com/p}"
kind "csidrivers csidriver" 'NAME|ATTACHREQUIRED|PODINFOONMOUNT|STORAGECAPACITY|TOKENREQUESTS|REQUIRESREPUBLISH|MODES|AGE' '^x\|true\|false\|false\|<unset>\|false\|Persistent\|[0-9]+s$' \
    "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: x}, spec: {}}"
kind "csinodes csinode" 'NAME|DRIVERS|AGE' '^x\|1\|[0-9]+s$' \
    "{apiVersion: storage.k8s.io/v1, kind: CSINode, metadata: {name: x}, spec: {drivers: [{name: d, nodeID: node-1}]}}"
kind "csistoragecapacities csistoragecapacity" 'NAME|STORAGECLASSNAME|CAPACITY' '^x\|c\|1Gi$' \
    "{apiVersion: storage.k8s.io/v1, kind: CSIStorageCapacity, metadata: {name: x}, storageClassName: c, capacity: 1Gi}"
kind "volumeattachments volumeattachment" 'NAME|ATTACHER|PV|NODE|ATTACHED|AGE' '^x\|d\|pv\|node-1\|false\|[0-9]+s$' \
    "{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: x}, spec: {attacher: d, nodeName: node-1, source: {persistentVolumeName: pv}}}"
kind "volumeattributesclasses vac" 'NAME|DRIVERNAME|AGE' '^x\|d\|[0-9]+s$' \
    "{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: x}, driverName: d, parameters: {a: b}}"
kind "runtimeclasses runtimeclass" 'NAME|HANDLER|AGE' '^x\|runc\|[0-9]+s$' \
    "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: x}, handler: runc}"
CSR=$(openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout /dev/null -subj /CN=x 2>/dev/null | base64 -w0)
kind "certificatesigningrequests csr" 'NAME|AGE|SIGNERNAME|REQUESTOR|REQUESTEDDURATION|CONDITION' '^x\|[0-9]+s\|example.com/s\|kubernetes-admin\|24h\|Pending$' \
    "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: x}, spec: {request: $CSR, signerName: example.com/s, usages: [client auth], expirationSeconds: 86400}}"
check_output "a certificate is approved" 'approved$' k certificate approve x
check_output "which shows" 'Approved$' k get csr x
kind "flowschemas flowschema" 'NAME|PRIORITYLEVEL|MATCHINGPRECEDENCE|DISTINGUISHERMETHOD|AGE|MISSINGPL' '^x\|l\|1000\|<none>\|[0-9]+s\|\?$' \
    "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: x}, spec: {matchingPrecedence: 1000, priorityLevelConfiguration: {name: l}}}"
kind "prioritylevelconfigurations prioritylevelconfiguration" 'NAME|TYPE|NOMINALCONCURRENCYSHARES|QUEUES|HANDSIZE|QUEUELENGTHLIMIT|AGE' '^x\|Exempt\|<none>\|<none>\|<none>\|<none>\|[0-9]+s$' \
    "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: x}, spec: {type: Exempt}}"
HOOK='[{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: "https://a.example/x"}, rules: [{apiGroups: [none.example], apiVersions: [v1], resources: [x], operations: [CREATE]}]}]'
kind "validatingwebhookconfigurations validatingwebhookconfiguration" 'NAME|WEBHOOKS|AGE' '^x\|1\|[0-9]+s$' \
    "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: x}, webhooks: $HOOK}"
kind "mutatingwebhookconfigurations mutatingwebhookconfiguration" 'NAME|WEBHOOKS|AGE' '^x\|1\|[0-9]+s$' \
    "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: x}, webhooks: $HOOK}"
kind "validatingadmissionpolicies" 'NAME|VALIDATIONS|PARAMKIND|AGE' '^x\|1\|<unset>\|[0-9]+s$' \
    "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: x}, spec: {validations: [{expression: 'true'}]}}"
kind "validatingadmissionpolicybindings" 'NAME|POLICYNAME|PARAMREF|AGE' '^x\|none\|<unset>\|[0-9]+s$' \
    "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: x}, spec: {policyName: none, validationActions: [Warn]}}"
kind "apiservices apiservice" 'NAME|SERVICE|AVAILABLE|AGE' '^x\|Local\|Unknown\|[0-9]+s$' \
    "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: x}, spec: {group: none.example, version: v1, groupPriorityMinimum: 100, versionPriority: 10}}"

check_output "a statefulset is scaled" 'scaled$' k -n t scale sts x --replicas=5
check_equal "to what was asked for" 5 "$(k -n t get sts x -o jsonpath='{.spec.replicas}')"
check_output "a replication controller is scaled" 'scaled$' k -n t scale rc x --replicas=4
check_output "all shows the categories' resources" 'statefulset.apps/x' k -n t get all
check_output "status is written through /status only" '^7$' \
    bash -c "'$KUBECTL' -n t patch sts x --subresource=status --type=merge -p '{\"status\":{\"replicas\":7}}' >/dev/null; '$KUBECTL' -n t get sts x -o jsonpath='{.status.replicas}'"

refused() { # what, regular expression, YAML
    check_output "$1" "$2" apply "$3"
}
refused "a job may not restart always" 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"' \
    "{apiVersion: batch/v1, kind: Job, metadata: {name: bad}, spec: {template: {$POD}}}"
refused "a schedule has five fields" 'spec.schedule: Invalid value: "\* \*": expected exactly 5 fields, found 2' \
    "{apiVersion: batch/v1, kind: CronJob, metadata: {name: bad}, spec: {schedule: '* *', jobTemplate: {spec: {template: {$JOBPOD}}}}}"
refused "a claim has an access mode" 'spec.accessModes: Required value: at least 1 access mode is required' \
    "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: bad}, spec: {resources: {requests: {storage: 1Gi}}}}"
refused "an ingress path has its type" 'spec.rules\[0\].http.paths\[0\].pathType: Required value: pathType must be specified' \
    "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: bad}, spec: {rules: [{http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}]}}"
refused "an autoscaler's bounds are in order" 'spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`' \
    "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: bad}, spec: {minReplicas: 3, maxReplicas: 1, scaleTargetRef: {kind: Deployment, name: web}}}"
refused "a statefulset's selector stays" 'updates to statefulset spec for fields other than' \
    "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x}, spec: {replicas: 3, serviceName: other, selector: {matchLabels: {app: x}}, template: {$POD}}}"
check_output "every resource is deleted" 'sc|storageclass.*deleted' k delete sc x
finish
