/* Admission: checks that depend on other objects or on who asks, in Kubernetes' order.
 * https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/ */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "apiserver/auth/rbac.h"
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/mem.h"

#define MIRROR_POD_ANNOTATION "kubernetes.io/config.mirror"

/* --- NamespaceLifecycle --- */

static const struct resource *namespaces(void)
{
    return resource_find("", "v1", "namespaces");
}

static void error_terminating(struct write *w, const char *name, struct error **err)
{
    cleanup_free char *why = mem_printf(
        "unable to create new content in namespace %s because it is being terminated", w->ns);
    api_error_forbidden(err, w->r, name, why);
    if (!err || !*err)
        return;
    cJSON *causes = cJSON_CreateArray(), *cause = cJSON_CreateObject();
    cleanup_free char *message = mem_printf("namespace %s is being terminated", w->ns);
    json_map_set_str(cause, "reason", "NamespaceTerminating");
    json_map_set_str(cause, "message", message);
    json_map_set_str(cause, "field", "metadata.namespace");
    cJSON_AddItemToArray(causes, cause);
    free((*err)->details);
    (*err)->details = api_error_details(w->r, name, causes);
}

static bool namespace_lifecycle_create(struct write *w, const cJSON *object, struct error **err)
{
    if (!w->r->namespaced)
        return true;
    cleanup_stored struct stored *s = storage_get(w->req->storage, namespaces(), "", w->ns, err);
    if (!s)
        return false;
    cleanup_json cJSON *ns = json_parse(s->json, s->len, err);
    if (!ns)
        return false;
    if (!meta_deleting(ns) && strcmp(json_str_or(ns, "status.phase", ""), "Terminating") != 0)
        return true;
    /* Who writes down why a namespace does not go away may do that in it. */
    if (write_is(w->r, "authorization.k8s.io", "LocalSubjectAccessReview"))
        return true;
    error_terminating(w, json_str_or(object, "metadata.name", ""), err);
    return false;
}

static bool namespace_lifecycle_delete(struct write *w, struct error **err)
{
    static const char *const immortal[] = {"default", "kube-system", "kube-public"};
    if (!write_is(w->r, "", "Namespace"))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(immortal); i++)
        if (!strcmp(w->name, immortal[i])) {
            api_error_forbidden(err, w->r, w->name, "this namespace may not be deleted");
            return false;
        }
    return true;
}

/* --- NodeRestriction: a kubelet writes its own node and the pods on it --- */

static bool refuse(struct write *w, const char *name, char *why_taken, struct error **err)
{
    api_error_forbidden(err, w->r, name, why_taken);
    free(why_taken);
    return false;
}

bool admission_node_pod(struct write *w, const cJSON *pod, struct error **err)
{
    const char *node = auth_node_name(&w->req->user);
    if (!node || !strcmp(json_str_or(pod, "spec.nodeName", ""), node))
        return true;
    const char *what = !strcmp(w->sub, "status")     ? "update pod status for"
                       : !strcmp(w->sub, "eviction") ? "evict"
                                                     : "delete";
    return refuse(
        w, w->name,
        mem_printf("node \"%s\" can only %s pods with spec.nodeName set to itself", node, what),
        err);
}

static bool node_creates_pod(struct write *w, const char *node, const cJSON *pod,
                             struct error **err)
{
    const char *name = json_str_or(pod, "metadata.name", "");
    if (!json_map_str(json_path(pod, "metadata.annotations"), MIRROR_POD_ANNOTATION))
        return refuse(w, name,
                      mem_printf("pod does not have \"" MIRROR_POD_ANNOTATION
                                 "\" annotation, node \"%s\" can only create mirror pods",
                                 node),
                      err);
    if (strcmp(json_str_or(pod, "spec.nodeName", ""), node) != 0)
        return refuse(
            w, name,
            mem_printf("node \"%s\" can only create pods with spec.nodeName set to itself", node),
            err);
    if (*json_str_or(pod, "spec.serviceAccountName", ""))
        return refuse(
            w, name,
            mem_printf("node \"%s\" can not create pods that reference a service account", node),
            err);
    const cJSON *volume;
    cJSON_ArrayForEach(volume, json_path(pod, "spec.volumes")) if (
        json_get(volume, "secret") || json_get(volume, "configMap") ||
        json_get(volume,
                 "persistentVolumeClaim")) return refuse(w, name,
                                                         mem_printf(
                                                             "node \"%s\" can not create pods that "
                                                             "reference secrets, configmaps or "
                                                             "persistentvolumeclaims",
                                                             node),
                                                         err);
    return true;
}

static bool ends_with(const char *s, size_t len, const char *end)
{
    size_t n = strlen(end);
    return len >= n && !strncmp(s + len - n, end, n);
}

/* Labels of Kubernetes' own that are not for kubelets to set. */
static bool label_is_forbidden(const char *key)
{
    static const char *const for_kubelets[] = {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    };
    static const char *const own[] = {"kubelet.kubernetes.io", "node.kubernetes.io"};
    const char *slash = strchr(key, '/');
    size_t len = slash ? (size_t)(slash - key) : 0;
    bool kubernetes = (len == 13 && !strncmp(key, "kubernetes.io", len)) ||
                      (len == 6 && !strncmp(key, "k8s.io", len)) ||
                      ends_with(key, len, ".kubernetes.io") || ends_with(key, len, ".k8s.io");
    if (!kubernetes)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(for_kubelets); i++)
        if (!strcmp(key, for_kubelets[i]))
            return false;
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        size_t n = strlen(own[i]);
        if ((len == n && !strncmp(key, own[i], n)) ||
            (len > n && key[len - n - 1] == '.' && !strncmp(key + len - n, own[i], n)))
            return false;
    }
    return true;
}

static void add_forbidden(struct buf *b, const char *key)
{
    if (label_is_forbidden(key))
        buf_printf(b, "%s%s", b->len ? ", " : "", key);
}

/* The forbidden ones among the labels that differ. */
static void forbidden_labels(const cJSON *labels, const cJSON *old, struct buf *out)
{
    const cJSON *l;
    cJSON_ArrayForEach(l, labels)
    {
        if (!json_equal(l, json_get(old, l->string)))
            add_forbidden(out, l->string);
    }
    cJSON_ArrayForEach(l, old)
    {
        if (!json_get(labels, l->string))
            add_forbidden(out, l->string);
    }
}

static bool node_writes_node(struct write *w, const char *node, const cJSON *object,
                             const cJSON *old, struct error **err)
{
    const char *name = json_str_or(object, "metadata.name", "");
    if (strcmp(name, node) != 0)
        return refuse(w, name,
                      mem_printf("node \"%s\" is not allowed to modify node \"%s\"", node, name),
                      err);
    cleanup_buf struct buf labels = {0};
    forbidden_labels(json_path(object, "metadata.labels"), json_path(old, "metadata.labels"),
                     &labels);
    if (labels.len)
        return refuse(w, name,
                      mem_printf(old ? "node \"%s\" is not allowed to modify labels: %s"
                                     : "node \"%s\" is not allowed to set the following labels: %s",
                                 node, buf_str(&labels)),
                      err);
    if (old && !json_equal(json_path(object, "spec.taints"), json_path(old, "spec.taints")))
        return refuse(w, name, mem_printf("node \"%s\" is not allowed to modify taints", node),
                      err);
    return true;
}

static bool node_restriction(struct write *w, const cJSON *object, const cJSON *old,
                             struct error **err)
{
    const char *node = auth_node_name(&w->req->user);
    if (!node)
        return true;
    if (write_is(w->r, "", "Pod"))
        return old ? admission_node_pod(w, old, err) : node_creates_pod(w, node, object, err);
    if (write_is(w->r, "", "Node"))
        return node_writes_node(w, node, object, old, err);
    const char *name = json_str_or(object, "metadata.name", "");
    if (write_is(w->r, "storage.k8s.io", "CSINode") && strcmp(name, node) != 0)
        return refuse(
            w, name,
            mem_strdup("can only access CSINode with the same name as the requesting node"), err);
    if (write_is(w->r, "coordination.k8s.io", "Lease") && strcmp(name, node) != 0)
        return refuse(
            w, name,
            mem_strdup("can only access node lease with the same name as the requesting node"),
            err);
    return true;
}

/* --- TaintNodesByCondition: nothing is scheduled to a node that has not said that it is ready ---
 */

static void taint_new_node(cJSON *node)
{
    static const char not_ready[] = "node.kubernetes.io/not-ready";
    cJSON *taints = json_ensure_array(node, "spec.taints");
    const cJSON *t;
    cJSON_ArrayForEach(t, taints) if (!strcmp(json_str_or(t, "key", ""), not_ready) &&
                                      !strcmp(json_str_or(t, "effect", ""), "NoSchedule")) return;
    cJSON *taint = cJSON_CreateObject();
    json_map_set_str(taint, "key", not_ready);
    json_map_set_str(taint, "effect", "NoSchedule");
    cJSON_AddItemToArray(taints, taint);
}

/* --- entry points --- */

bool admission_create(struct write *w, cJSON *object, struct error **err)
{
    if (!namespace_lifecycle_create(w, object, err))
        return false;
    /* Before the pod's own admission gives it a service account: mirror pods have none. */
    if (!node_restriction(w, object, NULL, err))
        return false;
    if (write_is(w->r, "", "Pod") && !admission_pod(w, object, err))
        return false;
    if (write_is(w->r, "", "Node"))
        taint_new_node(object);
    if (!classes_admit(w, object, err))
        return false;
    return limit_ranger_admit(w, object, err) && priority_admit_class(w, object, err) &&
           pod_security_admit(w, object, NULL, err) && certificate_admit(w, object, NULL, err) &&
           rbac_check_escalation(w->req, object, NULL, err);
}

bool admission_update(struct write *w, cJSON *object, const cJSON *old, struct error **err)
{
    /* Of pods, the resize alone changes what limits are about. */
    bool limited = !strcmp(w->sub, "resize") || write_is(w->r, "", "PersistentVolumeClaim");
    return node_restriction(w, object, old, err) &&
           (!limited || limit_ranger_admit(w, object, err)) &&
           claim_resize_admit(w, object, old, err) && priority_admit_class(w, object, err) &&
           pod_security_admit(w, object, old, err) && certificate_admit(w, object, old, err) &&
           rbac_check_escalation(w->req, object, old, err);
}

bool admission_delete(struct write *w, const cJSON *old, struct error **err)
{
    if (!namespace_lifecycle_delete(w, err))
        return false;
    return !write_is(w->r, "", "Pod") || admission_node_pod(w, old, err);
}
