/* Checks that several kinds share. Inside apiserver/validation/. */
#pragma once
#include "apiserver/validation/names.h"
#include "apiserver/validation/validation.h"
#include "common/text.h"

#define EACH(element, list)                                                                                  \
    for (const cJSON *element = (list) ? (list)->child : NULL; element; element = element->next)

/* A member's text; "" when it is absent or none. */
const char *text_of(const cJSON *o, const char *name);

void check_labels(const cJSON *labels, const struct field_path *p, struct field_errors *e);
void check_annotations(const cJSON *annotations, const struct field_path *p, struct field_errors *e);
/* A metav1.LabelSelector. */
void check_label_selector(const cJSON *selector, const struct field_path *p, struct field_errors *e);
/* A required name that follows `check`. */
void check_name(const char *name, const char *(*check)(const char *), const struct field_path *p,
                struct field_errors *e);
/* An optional number that may not be negative. */
void check_non_negative(const cJSON *o, const char *name, const struct field_path *p, struct field_errors *e);
/* A port by number or by name. */
void check_int_or_port_name(const cJSON *v, const struct field_path *p, struct field_errors *e);
/* member of `now` must be that of `old`. */
void check_immutable(const cJSON *now, const cJSON *old, const char *name, const struct field_path *p,
                     struct field_errors *e);

void check_pod_spec(const cJSON *spec, const cJSON *pod_meta, const struct field_path *p,
                    struct field_errors *e);
/* A PodTemplateSpec of a controller whose pods are restarted always. selector: must match the template's
 * labels. */
void check_pod_template(const cJSON *template, const cJSON *selector, const struct field_path *p,
                        struct field_errors *e);
/* The same without a restart policy that must be: the caller says which ones may be. */
void check_selected_pod_template(const cJSON *template, const cJSON *selector, const struct field_path *p,
                                 struct field_errors *e);
/* And of one whose labels nobody selects by. */
void check_any_pod_template(const cJSON *template, const struct field_path *p, struct field_errors *e);
/* A number, or a percentage of a whole. */
void check_int_or_percent(const cJSON *v, const struct field_path *p, struct field_errors *e);
void check_tolerations(const cJSON *tolerations, const struct field_path *p, struct field_errors *e);
void check_containers(const cJSON *spec, const struct field_path *p, struct field_errors *e);
/* One container by itself: its name, image, environment, mounts; not its probes. spec: of its pod. */
void check_container_alone(const cJSON *c, const cJSON *spec, const struct field_path *p, struct field_errors *e);
void check_ephemeral_containers(const cJSON *spec, const struct field_path *p, struct field_errors *e);
/* What pods/ephemeralcontainers and pods/resize may change. */
void validate_pod_ephemeral(const cJSON *pod, const cJSON *old, struct field_errors *e);
void validate_pod_resize(const cJSON *pod, const cJSON *old, struct field_errors *e);
void check_volumes(const cJSON *volumes, const struct field_path *p, struct field_errors *e);
void check_affinity(const cJSON *affinity, const struct field_path *p, struct field_errors *e);
void check_probe_handler(const cJSON *handler, const struct field_path *p, struct field_errors *e);

validate_fn validate_pod, validate_binding, validate_deployment, validate_replicaset, validate_scale,
    validate_service, validate_namespace, validate_node, validate_configmap, validate_secret,
    validate_serviceaccount, validate_endpoints, validate_endpointslice, validate_lease, validate_event,
    validate_event_v1, validate_role, validate_clusterrole, validate_rolebinding,
    validate_clusterrolebinding, validate_priorityclass, validate_limitrange, validate_resourcequota;
validate_fn validate_replicationcontroller, validate_podtemplate, validate_daemonset,
    validate_statefulset, validate_job, validate_cronjob, validate_horizontalpodautoscaler,
    validate_poddisruptionbudget, validate_ingress, validate_ingressclass, validate_networkpolicy,
    validate_persistentvolume, validate_persistentvolumeclaim, validate_storageclass,
    validate_mutatingwebhookconfiguration, validate_validatingwebhookconfiguration, validate_flowschema,
    validate_prioritylevelconfiguration, validate_runtimeclass, validate_certificatesigningrequest, validate_customresourcedefinition;
