/* Validation, in Kubernetes' words. Documents are decoded and defaulted first, as a request's body is. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/schema/decode.h"
#include "apiserver/schema/defaults.h"
#include "apiserver/validation/names.h"
#include "apiserver/validation/validation.h"
#include "common/json.h"
#include "common/mem.h"

static cJSON *object_of(const char *version, const char *kind, const char *text)
{
    const struct schema_type *t = schema_find_api_version(version, kind);
    cleanup_error struct error *e = NULL;
    cJSON *o = schema_decode_body(t, text, strlen(text), FIELD_VALIDATION_STRICT, NULL, NULL, &e);
    ck_assert_msg(o != NULL, "%s: %s", text, error_message(e));
    defaults_fn *fn = schema_defaults_for(t->group, t->version, kind);
    if (fn)
        fn(o);
    return o;
}

/* The message, or NULL when all is well. */
static char *judged(const char *version, const char *kind, const char *text, const char *old, const char *sub)
{
    cleanup_json cJSON *o = object_of(version, kind, text),
                       *before = old ? object_of(version, kind, old) : NULL;
    const struct schema_type *t = schema_find_api_version(version, kind);
    validate_fn *fn = validation_for(t->group, t->version, kind);
    cleanup_field_errors struct field_errors errors = {0};
    cleanup_error struct error *e = NULL;
    ck_assert_ptr_nonnull(fn);
    fn(o, before, sub, &errors);
    if (field_errors_check(&errors, t->group, kind, json_str_or(o, "metadata.name", ""), &e))
        return NULL;
    ck_assert_int_eq(e->code, 422);
    ck_assert_str_eq(e->reason, "Invalid");
    cleanup_json cJSON *details = cJSON_Parse(e->details);
    ck_assert_int_eq(cJSON_GetArraySize(json_get(details, "causes")), (int)errors.count);
    return mem_strdup(e->message);
}

#define META "\"metadata\":{\"name\":\"web\",\"namespace\":\"default\",\"labels\":{\"app\":\"x\"}}"
#define LABEL_RULE                                                                                           \
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "  \
    "and end with "                                                                                          \
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "                \
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define SUBDOMAIN_RULE                                                                                       \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "    \
    "must start and "                                                                                        \
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "                  \
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define TEMPLATE(labels, spec) "\"template\":{\"metadata\":{\"labels\":" labels "},\"spec\":" spec "}"
#define CONTAINERS             "{\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}"
#define DEPLOYMENT(spec)       "{" META ",\"spec\":{" spec "}}"
#define POD(spec)              "{" META ",\"spec\":" spec "}"
#define SIZED(resources)       POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"resources\":{" resources "}}]}")
#define SERVICE(spec)          "{" META ",\"spec\":" spec "}"

static const struct {
    const char *version, *kind, *text, *old, *sub, *message;
} cases[] = {
    {"apps/v1", "Deployment",
     DEPLOYMENT("\"selector\":{\"matchLabels\":{\"app\":\"x\"}}," TEMPLATE("{\"app\":\"x\"}", CONTAINERS)),
     NULL, "", NULL},
    {"apps/v1", "Deployment",
     DEPLOYMENT("\"selector\":{\"matchLabels\":{\"app\":\"y\"}}," TEMPLATE("{\"app\":\"x\"}", CONTAINERS)),
     NULL, "",
     "Deployment.apps \"web\" is invalid: spec.template.metadata.labels: Invalid value: "
     "map[string]string{\"app\":\"x\"}: `selector` does "
     "not match template `labels`"},
    {"apps/v1", "Deployment", DEPLOYMENT("\"replicas\":-1,\"template\":{\"spec\":{\"containers\":[]}}"), NULL,
     "",
     "Deployment.apps \"web\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal "
     "to 0, spec.selector: Required "
     "value, spec.template.metadata.labels: Invalid value: map[string]string(nil): `selector` does not match "
     "template `labels`, "
     "spec.template.spec.containers: Required value]"},
    {"apps/v1", "Deployment",
     DEPLOYMENT("\"selector\":{\"matchLabels\":{\"app\":\"x\"}},\"strategy\":{\"type\":\"Recreate\","
                "\"rollingUpdate\":{\"maxSurge\":1}}," TEMPLATE("{\"app\":\"x\"}", CONTAINERS)),
     NULL, "",
     "Deployment.apps \"web\" is invalid: spec.strategy.rollingUpdate: Forbidden: may not be specified when "
     "strategy `type` is 'Recreate'"},
    {"apps/v1", "Deployment",
     DEPLOYMENT("\"selector\":{\"matchLabels\":{\"app\":\"x\"}},\"strategy\":{\"rollingUpdate\":{"
                "\"maxSurge\":0,\"maxUnavailable\":0}}," TEMPLATE("{\"app\":\"x\"}", CONTAINERS)),
     NULL, "",
     "Deployment.apps \"web\" is invalid: spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may "
     "not be 0 when `maxSurge` is 0"},
    {"apps/v1", "Deployment",
     DEPLOYMENT("\"selector\":{\"matchLabels\":{\"app\":\"x\"}}," TEMPLATE(
         "{\"app\":\"x\"}", "{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"A\"}]}")),
     NULL, "",
     "Deployment.apps \"web\" is invalid: [spec.template.spec.containers[0].name: Invalid value: "
     "\"A\": " LABEL_RULE ", spec.template.spec.containers[0].image: Required value, "
                          "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported "
     "values: \"Always\"]"},
    {"apps/v1", "Deployment",
     DEPLOYMENT("\"selector\":{\"matchLabels\":{\"app\":\"x\"}}," TEMPLATE("{\"app\":\"x\"}", CONTAINERS)),
     DEPLOYMENT("\"selector\":{\"matchLabels\":{\"app\":\"z\"}}," TEMPLATE("{\"app\":\"x\"}", CONTAINERS)),
     "",
     "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: "
     "v1.LabelSelector{MatchLabels:map[string]string{\"app\":\"x\"}, "
     "MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable"},
    {"v1", "Pod", "{\"metadata\":{\"name\":\"Web_1\",\"namespace\":\"default\"},\"spec\":" CONTAINERS "}",
     NULL, "", "Pod \"Web_1\" is invalid: metadata.name: Invalid value: \"Web_1\": " SUBDOMAIN_RULE},
    {"v1", "Pod",
     "{\"metadata\":{\"generateName\":\"web-\",\"namespace\":\"default\",\"name\":\"web-1\"},"
     "\"spec\":" CONTAINERS "}",
     NULL, "", NULL},
    {"v1", "Pod", "{\"metadata\":{\"namespace\":\"default\"},\"spec\":" CONTAINERS "}", NULL, "",
     "Pod \"\" is invalid: metadata.name: Required value: name or generateName is required"},
    {"v1", "Pod",
     "{\"metadata\":{\"name\":\"a\",\"namespace\":\"default\",\"labels\":{\"a\":\"b "
     "c\"}},\"spec\":" CONTAINERS "}",
     NULL, "",
     "Pod \"a\" is invalid: metadata.labels: Invalid value: \"b c\": a valid label must be an empty string "
     "or consist of alphanumeric "
     "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  "
     "or 'my_value',  or '12345', "
     "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"},
    {"v1", "Pod", POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\"},{\"name\":\"a\",\"image\":\"i\"}]}"),
     NULL, "", "Pod \"web\" is invalid: spec.containers[1].name: Duplicate value: \"a\""},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":"
         "\"/x\"}]}]}"),
     NULL, "", "Pod \"web\" is invalid: spec.containers[0].volumeMounts[0].name: Not found: \"v\""},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"imagePullPolicy\":\"Sometimes\"}]}"), NULL, "",
     "Pod \"web\" is invalid: spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": "
     "supported values: \"Always\", "
     "\"IfNotPresent\", \"Never\""},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"ports\":[{\"containerPort\":70000},{\"name\":"
         "\"Web\",\"containerPort\":1}]}]}"),
     NULL, "",
     "Pod \"web\" is invalid: [spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be "
     "between 1 and 65535, inclusive, "
     "spec.containers[0].ports[1].name: Invalid value: \"Web\": must contain only alpha-numeric characters "
     "(a-z, 0-9), and hyphens (-)]"},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"resources\":{\"requests\":{\"cpu\":\"2\"},"
         "\"limits\":{\"cpu\":\"1\"}}}]}"),
     NULL, "",
     "Pod \"web\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2\": must be less than "
     "or equal to cpu limit of 1"},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"livenessProbe\":{\"periodSeconds\":5}}]}"), NULL,
     "",
     "Pod \"web\" is invalid: spec.containers[0].livenessProbe: Required value: must specify a handler type"},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"livenessProbe\":{\"tcpSocket\":{\"port\":1},"
         "\"exec\":{\"command\":[\"x\"]}}}]}"),
     NULL, "",
     "Pod \"web\" is invalid: spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more "
     "than 1 handler type"},
    {"v1", "Pod",
     POD("{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{},\"hostPath\":{\"path\":\"/"
         "a\"}},{\"name\":\"w\",\"secret\":{}}],\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}"),
     NULL, "",
     "Pod \"web\" is invalid: [spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type, "
     "spec.volumes[1].secret.secretName: "
     "Required value]"},
    {"v1", "Pod",
     POD("{\"restartPolicy\":\"Maybe\",\"dnsPolicy\":\"None\",\"containers\":[{\"name\":\"a\",\"image\":"
         "\"i\"}]}"),
     NULL, "",
     "Pod \"web\" is invalid: [spec.restartPolicy: Unsupported value: \"Maybe\": supported values: "
     "\"Always\", \"OnFailure\", \"Never\", "
     "spec.dnsConfig: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None]"},
    {"v1", "Pod",
     POD("{\"tolerations\":[{\"operator\":\"Equal\"}],\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}"),
     NULL, "",
     "Pod \"web\" is invalid: spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be "
     "Exists when `key` is empty, which means "
     "\"match all values and all keys\""},
    {"v1", "Pod", POD("{\"containers\":[{\"name\":\"a\",\"image\":\"j\"}]}"), POD(CONTAINERS), "", NULL},
    {"v1", "Pod", POD("{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}"),
     POD(CONTAINERS), "",
     "Pod \"web\" is invalid: spec: Forbidden: pod updates may not change fields other than "
     "`spec.containers[*].image`,"
     "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
     "existing tolerations),"
     "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"},
    {"v1", "Pod", POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\"},{\"name\":\"b\",\"image\":\"i\"}]}"),
     POD(CONTAINERS), "",
     "Pod \"web\" is invalid: spec.containers: Forbidden: pod updates may not add or remove containers"},
    {"v1", "Pod",
     POD("{\"tolerations\":[{\"key\":\"a\",\"operator\":\"Exists\"}],\"containers\":[{\"name\":\"a\","
         "\"image\":\"i\"}]}"),
     POD(CONTAINERS), "", NULL},
    {"v1", "Pod", POD(CONTAINERS),
     POD("{\"tolerations\":[{\"key\":\"a\",\"operator\":\"Exists\"}],\"containers\":[{\"name\":\"a\","
         "\"image\":\"i\"}]}"),
     "",
     "Pod \"web\" is invalid: spec.tolerations: Forbidden: existing toleration can not be modified except "
     "its tolerationSeconds"},
    {"v1", "Service", SERVICE("{\"ports\":[{\"port\":80}]}"), NULL, "", NULL},
    {"v1", "Service", SERVICE("{}"), NULL, "", "Service \"web\" is invalid: spec.ports: Required value"},
    {"v1", "Service", SERVICE("{\"clusterIP\":\"None\"}"), NULL, "", NULL},
    {"v1", "Service", SERVICE("{\"ports\":[{\"port\":80},{\"port\":0,\"name\":\"b\"}]}"), NULL, "",
     "Service \"web\" is invalid: [spec.ports[0].name: Required value, spec.ports[1].port: Invalid value: 0: "
     "must be between 1 and 65535, "
     "inclusive, spec.ports[1].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive]"},
    {"v1", "Service", SERVICE("{\"ports\":[{\"port\":80,\"nodePort\":30000}]}"), NULL, "",
     "Service \"web\" is invalid: spec.ports[0].nodePort: Forbidden: may not be used when `type` is "
     "'ClusterIP'"},
    {"v1", "Service", SERVICE("{\"type\":\"Magic\",\"ports\":[{\"port\":80}]}"), NULL, "",
     "Service \"web\" is invalid: spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", "
     "\"ExternalName\", \"LoadBalancer\", "
     "\"NodePort\""},
    {"v1", "Service",
     SERVICE("{\"clusterIP\":\"10.96.0.7\",\"clusterIPs\":[\"10.96.0.7\"],\"ports\":[{\"port\":80}]}"),
     SERVICE("{\"clusterIP\":\"10.96.0.8\",\"clusterIPs\":[\"10.96.0.8\"],\"ports\":[{\"port\":80}]}"), "",
     "Service \"web\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.7\"]: may not change once set"},
    {"v1", "Service",
     "{\"metadata\":{\"name\":\"1web\",\"namespace\":\"a\"},\"spec\":{\"ports\":[{\"port\":80}]}}", NULL, "",
     "Service \"1web\" is invalid: metadata.name: Invalid value: \"1web\": a DNS-1035 label must consist of "
     "lower case alphanumeric characters "
     "or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  "
     "or 'abc-123', regex used for "
     "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"},
    {"v1", "Namespace", "{\"metadata\":{\"name\":\"a.b\"}}", NULL, "",
     "Namespace \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": " LABEL_RULE},
    {"v1", "Node",
     "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"taints\":[{\"key\":\"a\",\"effect\":\"Never\"}]}}", NULL, "",
     "Node \"n\" is invalid: spec.taints[0].effect: Unsupported value: \"Never\": supported values: "
     "\"NoSchedule\", \"PreferNoSchedule\", "
     "\"NoExecute\""},
    {"v1", "Node", "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"podCIDR\":\"10.244.1.0/24\"}}",
     "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"podCIDR\":\"10.244.0.0/24\"}}", "",
     "Node \"n\" is invalid: spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" "
     "to valid"},
    {"v1", "Pod", POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":\"d\",\"image\":\"i\"}]}"),
     NULL, "", "Pod \"web\" is invalid: spec.ephemeralContainers: Forbidden: cannot be set on create"},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":\"d\",\"image\":\"i\","
         "\"targetContainerName\":\"a\"}]}"),
     POD(CONTAINERS), "ephemeralcontainers", NULL},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":\"a\",\"image\":\"i\","
         "\"targetContainerName\":\"b\",\"ports\":[{\"containerPort\":1}],\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/v\","
         "\"subPath\":\"s\"}]}]}"),
     POD(CONTAINERS), "ephemeralcontainers",
     "Pod \"web\" is invalid: [spec.ephemeralContainers[0].volumeMounts[0].name: Not found: \"v\", "
     "spec.ephemeralContainers[0].name: Duplicate value: \"a\", spec.ephemeralContainers[0].targetContainerName: Not "
     "found: \"b\", spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container, "
     "spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container]"},
    {"v1", "Pod",
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":\"d\",\"image\":\"j\"}]}"),
     POD("{\"containers\":[{\"name\":\"a\",\"image\":\"i\"}],\"ephemeralContainers\":[{\"name\":\"d\",\"image\":\"i\"},{"
         "\"name\":\"e\",\"image\":\"i\"}]}"),
     "ephemeralcontainers",
     "Pod \"web\" is invalid: [spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be "
     "changed\n, spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n]"},
    {"v1", "Pod", SIZED("\"requests\":{\"cpu\":\"2\",\"memory\":\"1Mi\"}"), SIZED("\"requests\":{\"cpu\":\"1\",\"memory\":\"1Mi\"}"),
     "resize", NULL},
    {"v1", "Pod", SIZED("\"requests\":{\"cpu\":\"1\"},\"limits\":{\"ephemeral-storage\":\"1Gi\"}"),
     SIZED("\"requests\":{\"cpu\":\"1\",\"memory\":\"1Mi\"}"), "resize",
     "Pod \"web\" is invalid: spec: Forbidden: only cpu and memory resources are mutable"},
    {"v1", "Pod", SIZED("\"requests\":{\"cpu\":\"1\"}"), SIZED("\"requests\":{\"cpu\":\"1\",\"memory\":\"1Mi\"}"), "resize",
     "Pod \"web\" is invalid: spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"},
    {"v1", "Pod", SIZED("\"limits\":{\"cpu\":\"1\",\"memory\":\"1Mi\"}"), SIZED("\"requests\":{\"cpu\":\"1\",\"memory\":\"1Mi\"}"),
     "resize",
     "Pod \"web\" is invalid: spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"},
    {"batch/v1", "CronJob", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"schedule\":\"* * * * *\",\"timeZone\":\"Mars/Olympus\",\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}}}}}}", NULL, "",
     "CronJob.batch \"web\" is invalid: spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus"},
    {"batch/v1", "CronJob", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"schedule\":\"* * * *\",\"concurrencyPolicy\":\"Never\",\"jobTemplate\":{\"spec\":{\"template\":{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}}}}}}", NULL, "",
     "CronJob.batch \"web\" is invalid: [spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4: [* * * *], spec.concurrencyPolicy: Unsupported value: \"Never\": supported values: \"Allow\", \"Forbid\", \"Replace\"]"},
    {"batch/v1", "Job", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"backoffLimitPerIndex\":1,\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}}}}", NULL, "",
     "Job.batch \"web\" is invalid: spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"},
    {"batch/v1", "Job", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"podFailurePolicy\":{\"rules\":[{\"action\":\"Explode\",\"onExitCodes\":{\"operator\":\"In\",\"containerName\":\"b\",\"values\":[0,5,3]}},{\"action\":\"Ignore\",\"onPodConditions\":[{\"type\":\"DisruptionTarget\"}]}]},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"restartPolicy\":\"OnFailure\",\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}}}}", NULL, "",
     "Job.batch \"web\" is invalid: [spec.podFailurePolicy.rules[0].action: Unsupported value: \"Explode\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\", spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"b\": must be one of the container or initContainer names in the pod template, spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator, spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,5,3]: must be ordered, spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified]"},
    {"policy/v1", "PodDisruptionBudget", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"minAvailable\":\"x\",\"maxUnavailable\":1,\"unhealthyPodEvictionPolicy\":\"Never\"}}", NULL, "",
     "PodDisruptionBudget.policy \"web\" is invalid: [spec: Invalid value: "
     "{\"minAvailable\":\"x\",\"maxUnavailable\":1,\"unhealthyPodEvictionPolicy\":\"Never\"}: minAvailable and "
     "maxUnavailable cannot be both set, spec.minAvailable: Invalid value: \"x\": a valid percent string must be a "
     "numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%'), "
     "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", "
     "\"IfHealthyBudget\"]"},
    {"autoscaling/v2", "HorizontalPodAutoscaler", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"maxReplicas\":3,\"scaleTargetRef\":{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"name\":\"web\"},\"metrics\":[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":\"Utilization\",\"averageUtilization\":50}}}],\"behavior\":{\"scaleUp\":{\"stabilizationWindowSeconds\":0}}}}", NULL, "",
     NULL},
    {"autoscaling/v2", "HorizontalPodAutoscaler", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"minReplicas\":5,\"maxReplicas\":3,\"scaleTargetRef\":{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"name\":\"web\"},\"metrics\":[{\"type\":\"Pods\",\"resource\":{\"name\":\"cpu\",\"target\":{\"type\":\"Value\"}}},{\"type\":\"Odd\"}],\"behavior\":{\"scaleDown\":{\"stabilizationWindowSeconds\":4000,\"policies\":[{\"type\":\"Pods\",\"value\":0,\"periodSeconds\":2000}]}}}}", NULL, "",
     "HorizontalPodAutoscaler.autoscaling \"web\" is invalid: [spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`, spec.metrics[0].pods: Required value: must populate information for the given metric source, spec.metrics[0].resource: Forbidden: must populate the given metric source only, spec.metrics[1].type: Unsupported value: \"Odd\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\", spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600, spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero, spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800]"},
    {"networking.k8s.io/v1", "NetworkPolicy", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"podSelector\":{},\"ingress\":[{\"from\":[{\"ipBlock\":{\"cidr\":\"10.0.0.0/8\",\"except\":[\"10.1.0.0/16\",\"11.0.0.0/16\",\"10.0.0.0/8\"]}}],\"ports\":[{\"port\":\"http\",\"endPort\":9},{\"port\":90,\"endPort\":80}]}]}}", NULL, "",
     "NetworkPolicy.networking.k8s.io \"web\" is invalid: [spec.ingress[0].ports[0].endPort: Required value: may not be specified when `port` is non-numeric, spec.ingress[0].ports[1].endPort: Invalid value: 80: must be greater than or equal to `port`, spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`, spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`]"},
    {"networking.k8s.io/v1", "Ingress", "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\",\"annotations\":{\"kubernetes.io/ingress.class\":\"a\"}},\"spec\":{\"ingressClassName\":\"b\",\"tls\":[{\"hosts\":[\"10.0.0.1\"],\"secretName\":\"-\"}],\"defaultBackend\":{\"service\":{\"name\":\"s\",\"port\":{\"number\":80}}}}}", NULL, "",
     "Ingress.networking.k8s.io \"web\" is invalid: [metadata.annotations.kubernetes.io/ingress.class: Invalid value: \"a\": can not be set when the class field is also set, spec.tls[0].hosts[0]: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address, spec.tls[0].secretName: Invalid value: \"-\": " SUBDOMAIN_RULE "]"},
    {"v1", "PersistentVolume", "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"capacity\":{\"storage\":\"1Gi\"},\"accessModes\":[\"ReadWriteOncePod\",\"ReadWriteOnce\"],\"local\":{\"path\":\"/a/../b\"}}}", NULL, "",
     "PersistentVolume \"web\" is invalid: [spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes, spec.local.path: Invalid value: \"/a/../b\": must not contain '..', spec.nodeAffinity: Required value: Local volume requires node affinity]"},
    {"admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "{\"metadata\":{\"name\":\"web\"},\"webhooks\":[{\"name\":\"a.b.c\",\"sideEffects\":\"None\",\"admissionReviewVersions\":[\"v1\"],\"clientConfig\":{\"service\":{\"name\":\"s\",\"namespace\":\"n\"}},\"rules\":[{\"operations\":[\"CREATE\"],\"apiGroups\":[\"\"],\"apiVersions\":[\"v1\"],\"resources\":[\"pods\"]}]}]}", NULL, "",
     NULL},
    {"admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "{\"metadata\":{\"name\":\"web\"},\"webhooks\":[{\"name\":\"a.b\",\"sideEffects\":\"Some\",\"admissionReviewVersions\":[\"v9\"],\"clientConfig\":{\"url\":\"http://h/p\"},\"rules\":[{\"operations\":[\"MOVE\"],\"apiGroups\":[\"*\",\"apps\"],\"apiVersions\":[\"v1\"],\"resources\":[\"pods\"]}]}]}", NULL, "",
     "ValidatingWebhookConfiguration.admissionregistration.k8s.io \"web\" is invalid: [webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots, webhooks[0].admissionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1, webhooks[0].rules[0].operations[0]: Unsupported value: \"MOVE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\", webhooks[0].rules[0].apiGroups: Invalid value: [\"*\",\"apps\"]: if '*' is present, must not specify other API groups, webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\", webhooks[0].clientConfig.url: Invalid value: \"http://h/p\": 'https' is the only allowed URL scheme; desired format: https://host[/path]]"},
    {"flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"priorityLevelConfiguration\":{\"name\":\"l\"},\"rules\":[{\"subjects\":[{\"kind\":\"User\",\"user\":{\"name\":\"a\"}}],\"resourceRules\":[{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"],\"namespaces\":[\"*\"]}]}]}}", NULL, "",
     NULL},
    {"flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"matchingPrecedence\":1,\"priorityLevelConfiguration\":{\"name\":\"l\"},\"rules\":[{\"subjects\":[{\"kind\":\"Group\",\"user\":{\"name\":\"a\"}}]}]}}", NULL, "",
     "FlowSchema.flowcontrol.apiserver.k8s.io \"web\" is invalid: [spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1, spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User', spec.rules[0].subjects[0].group: Required value, spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty]"},
    {"flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"type\":\"Limited\",\"limited\":{\"limitResponse\":{\"type\":\"Queue\",\"queuing\":{\"handSize\":80}}}}}", NULL, "",
     "PriorityLevelConfiguration.flowcontrol.apiserver.k8s.io \"web\" is invalid: spec.limited.limitResponse.queuing.handSize: Invalid value: 80: should not be greater than queues (64)"},
    {"flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", "{\"metadata\":{\"name\":\"web\"},\"spec\":{\"type\":\"Exempt\"}}", NULL, "",
     NULL},
    {"node.k8s.io/v1", "RuntimeClass", "{\"metadata\":{\"name\":\"web\"},\"handler\":\"Run\",\"overhead\":{\"podFixed\":{\"cpu\":\"-1\"}},\"scheduling\":{\"nodeSelector\":{\"a b\":\"c\"}}}", NULL, "",
     "RuntimeClass.node.k8s.io \"web\" is invalid: [handler: Invalid value: \"Run\": " LABEL_RULE
     ", scheduling.nodeSelector: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or "
     "'.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex "
     "used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), overhead.podFixed[cpu]: Invalid value: "
     "\"-1\": must be greater than or equal to 0]"},
    {"v1", "ConfigMap", "{" META ",\"data\":{\"a b\":\"\"}}", NULL, "",
     "ConfigMap \"web\" is invalid: data[a b]: Invalid value: \"a b\": a valid config key must consist of "
     "alphanumeric characters, '-', '_' or "
     "'.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"},
    {"v1", "ConfigMap", "{" META ",\"data\":{\"a\":\"2\"},\"immutable\":true}",
     "{" META ",\"data\":{\"a\":\"1\"},\"immutable\":true}", "",
     "ConfigMap \"web\" is invalid: data: Forbidden: field is immutable when `immutable` is set"},
    {"v1", "Secret", "{" META ",\"type\":\"kubernetes.io/tls\",\"data\":{\"tls.crt\":\"\"}}", NULL, "",
     "Secret \"web\" is invalid: data[tls.key]: Required value"},
    {"v1", "Secret", "{" META ",\"type\":\"b\"}", "{" META ",\"type\":\"a\"}", "",
     "Secret \"web\" is invalid: type: Invalid value: \"b\": field is immutable"},
    {"v1", "Endpoints",
     "{" META ",\"subsets\":[{\"addresses\":[{\"ip\":\"1.2.3\"}],\"ports\":[{\"port\":1}]}]}", NULL, "",
     "Endpoints \"web\" is invalid: subsets[0].addresses[0].ip: Invalid value: \"1.2.3\": must be a valid IP "
     "address, (e.g. 10.9.8.7 or "
     "2001:db8::ffff)"},
    {"discovery.k8s.io/v1", "EndpointSlice",
     "{" META ",\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"::1\"]},{\"addresses\":[]}]}", NULL,
     "",
     "EndpointSlice.discovery.k8s.io \"web\" is invalid: [endpoints[0].addresses[0]: Invalid value: \"::1\": "
     "must be a valid IPv4 address, "
     "endpoints[1].addresses: Required value: must contain at least 1 address]"},
    {"coordination.k8s.io/v1", "Lease", "{" META ",\"spec\":{\"leaseDurationSeconds\":0}}", NULL, "",
     "Lease.coordination.k8s.io \"web\" is invalid: spec.leaseDurationSeconds: Invalid value: 0: must be "
     "greater than 0"},
    {"v1", "Event", "{" META ",\"involvedObject\":{\"namespace\":\"other\"}}", NULL, "",
     "Event \"web\" is invalid: involvedObject.namespace: Invalid value: \"other\": does not match "
     "event.namespace"},
    {"v1", "Binding", "{" META ",\"target\":{\"kind\":\"Rock\"}}", NULL, "",
     "Binding \"web\" is invalid: [target.kind: Unsupported value: \"Rock\": supported values: \"Node\", "
     "\"<empty>\", target.name: Required value]"},
    {"autoscaling/v1", "Scale", "{" META ",\"spec\":{\"replicas\":-3}}", NULL, "",
     "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -3: must be greater than or equal "
     "to 0"},
    {"v1", "ServiceAccount",
     "{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"finalizers\":[\"x\"],\"ownerReferences\":[{"
     "\"apiVersion\":\"v1\",\"kind\":\"Pod\","
     "\"name\":\"p\",\"uid\":\"\"}]}}",
     NULL, "",
     "ServiceAccount \"a\" is invalid: [metadata.ownerReferences[0].uid: Invalid value: \"\": must not be "
     "empty, metadata.finalizers[0]: Invalid "
     "value: \"x\": name is neither a standard finalizer name nor is it fully qualified]"},
    {"v1", "ServiceAccount",
     "{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\","
     "\"finalizers\":[\"a/b\",\"a/c\"]}}",
     "{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\","
     "\"finalizers\":[\"a/b\"]}}",
     "",
     "ServiceAccount \"a\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the "
     "object is being deleted, found new "
     "finalizers []string{\"a/c\"}"},
    {"v1", "ServiceAccount", "{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"uid\":\"1\"}}",
     "{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"uid\":\"2\"}}", "",
     "ServiceAccount \"a\" is invalid: metadata.uid: Invalid value: \"1\": field is immutable"},
};

START_TEST(judges)
{
    cleanup_free char *got =
        judged(cases[_i].version, cases[_i].kind, cases[_i].text, cases[_i].old, cases[_i].sub);
    if (!cases[_i].message)
        ck_assert_msg(!got, "%s", got);
    else
        ck_assert_msg(got && !strcmp(got, cases[_i].message), "got  %s\nwant %s", got, cases[_i].message);
}
END_TEST

START_TEST(annotations_are_bounded)
{
    cleanup_json cJSON *o =
        cJSON_Parse("{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"annotations\":{\"k\":\"\"}}}");
    cleanup_free char *big = mem_alloc(256 * 1024 + 1);
    memset(big, 'x', 256 * 1024);
    json_set_str(o, "metadata.annotations.k", big);
    cleanup_field_errors struct field_errors errors = {0};
    validate_generic(o, NULL, true, &errors);
    ck_assert_uint_eq(errors.count, 1);
    ck_assert_str_eq(errors.items[0].field, "metadata.annotations");
    ck_assert_str_eq(errors.items[0].body, "Too long: may not be more than 262144 bytes");
}
END_TEST

START_TEST(names)
{
    ck_assert_ptr_null(name_dns_label("a-1"));
    ck_assert_ptr_nonnull(name_dns_label("-a"));
    ck_assert_ptr_nonnull(name_dns_label(""));
    ck_assert_ptr_null(name_dns_subdomain("a.b-c.1"));
    ck_assert_ptr_nonnull(name_dns_subdomain("a..b"));
    ck_assert_ptr_null(name_qualified("example.com/My_Name.x"));
    ck_assert_str_eq(name_qualified("/x"), "prefix part must be non-empty");
    ck_assert_str_eq(name_qualified("a/"), "name part must be non-empty");
    ck_assert_ptr_nonnull(name_qualified("a/b/c"));
    ck_assert_ptr_null(name_label_value(""));
    ck_assert_ptr_nonnull(name_label_value("a-"));
    ck_assert_ptr_null(name_config_key(".a_b-C"));
    ck_assert_str_eq(name_config_key(".."), "must not be '..'");
    ck_assert_ptr_null(name_port("http-2"));
    ck_assert_ptr_nonnull(name_port("123"));
    ck_assert_ptr_null(name_path_segment("a:b"));
    ck_assert_str_eq(name_path_segment("a/b"), "may not contain '/'");
    ck_assert_ptr_null(name_by_rule(NAME_DNS_SUBDOMAIN, "web-", true));
    ck_assert_ptr_nonnull(name_by_rule(NAME_DNS_SUBDOMAIN, "web-", false));
    ck_assert(is_cidr("10.0.0.0/8") && !is_cidr("10.0.0.0/33") && !is_cidr("10.0.0.0") &&
              is_cidr("fd00::/64"));
}
END_TEST

START_TEST(details_name_the_causes)
{
    cleanup_field_errors struct field_errors errors = {0};
    field_required(&errors, PATH_CHILD(PATH_INDEX(PATH_CHILD(PATH_ROOT("spec"), "ports"), 2), "name"), "why");
    cleanup_error struct error *e = NULL;
    ck_assert(!field_errors_check(&errors, "apps", "Deployment", "web", &e));
    cleanup_json cJSON *got = cJSON_Parse(e->details);
    cleanup_json cJSON *want =
        cJSON_Parse("{\"name\":\"web\",\"group\":\"apps\",\"kind\":\"Deployment\",\"causes\":[{\"reason\":"
                    "\"FieldValueRequired\","
                    "\"message\":\"Required value: why\",\"field\":\"spec.ports[2].name\"}]}");
    ck_assert_msg(json_equal(got, want), "%s", e->details);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("validation");
    TCase *t = tcase_create("validation");
    tcase_add_loop_test(t, judges, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(t, annotations_are_bounded);
    tcase_add_test(t, names);
    tcase_add_test(t, details_name_the_causes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
