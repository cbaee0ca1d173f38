/* What a node says of itself: name, spec.unschedulable, taints, host ports in use, images. */
#include <math.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "scheduler/framework.h"

/* --- NodeName --- */

static enum verdict filter_name(struct cycle *c, const struct node_info *n)
{
    const char *wanted = c->pod->node_name;
    if (!*wanted || !strcmp(wanted, n->name))
        return VERDICT_FITS;
    reasons_add(c->reasons, "node(s) didn't match the requested node name");
    return VERDICT_UNRESOLVABLE;
}
const struct plugin plugin_node_name = {.name = "NodeName", .events = EVENT_NODE_ADD, .filter = filter_name};

/* --- taints --- */

bool taint_tolerated(const cJSON *tolerations, const cJSON *taint)
{
    const char *key = json_str_or(taint, "key", ""), *value = json_str_or(taint, "value", "");
    const char *effect = json_str_or(taint, "effect", "");
    const cJSON *t;
    cJSON_ArrayForEach(t, tolerations) {
        const char *t_effect = json_str_or(t, "effect", ""), *t_key = json_str_or(t, "key", "");
        const char *op = json_str_or(t, "operator", "Equal");
        if (*t_effect && strcmp(t_effect, effect))
            continue;
        if (*t_key && strcmp(t_key, key))
            continue;
        if (!strcmp(op, "Exists"))
            return true;
        /* An empty key matches all keys only with Exists. */
        if ((!*op || !strcmp(op, "Equal")) && *t_key && !strcmp(json_str_or(t, "value", ""), value))
            return true;
    }
    return false;
}

const cJSON *untolerated_taint(const cJSON *spec, const struct node_info *n)
{
    const cJSON *tolerations = json_get(spec, "tolerations"), *taint;
    cJSON_ArrayForEach(taint, n->taints) {
        const char *effect = json_str_or(taint, "effect", "");
        if ((!strcmp(effect, "NoSchedule") || !strcmp(effect, "NoExecute")) &&
            !taint_tolerated(tolerations, taint))
            return taint;
    }
    return NULL;
}

static enum verdict filter_taints(struct cycle *c, const struct node_info *n)
{
    const cJSON *taint = untolerated_taint(c->pod->spec, n);
    if (!taint)
        return VERDICT_FITS;
    reasons_add(c->reasons, "node(s) had untolerated taint {%s: %s}", json_str_or(taint, "key", ""),
                json_str_or(taint, "value", ""));
    return VERDICT_UNRESOLVABLE;
}

/* Fewer untolerated PreferNoSchedule taints are better. */
static void score_taints(struct cycle *c, int64_t *scores)
{
    const cJSON *tolerations = json_get(c->pod->spec, "tolerations"), *taint;
    for (size_t i = 0; i < c->node_count; i++) {
        cJSON_ArrayForEach(taint, c->nodes[i]->taints) {
            if (!strcmp(json_str_or(taint, "effect", ""), "PreferNoSchedule") &&
                !taint_tolerated(tolerations, taint))
                scores[i]++;
        }
    }
    scores_normalize(scores, c->node_count, true);
}
const struct plugin plugin_taint_toleration = {.name = "TaintToleration",
                                               .events = EVENT_NODE_ADD | EVENT_NODE_TAINT,
                                               .filter = filter_taints,
                                               .weight = 3,
                                               .score = score_taints};

/* --- NodeUnschedulable: kubectl cordon --- */

static enum verdict filter_unschedulable(struct cycle *c, const struct node_info *n)
{
    if (!n->unschedulable)
        return VERDICT_FITS;
    cleanup_json cJSON *taint = cJSON_CreateObject();
    json_set_str(taint, "key", "node.kubernetes.io/unschedulable");
    json_set_str(taint, "effect", "NoSchedule");
    if (taint_tolerated(json_get(c->pod->spec, "tolerations"), taint))
        return VERDICT_FITS;
    reasons_add(c->reasons, "node(s) were unschedulable");
    return VERDICT_UNRESOLVABLE;
}
const struct plugin plugin_node_unschedulable = {
    .name = "NodeUnschedulable", .events = EVENT_NODE_ADD | EVENT_NODE_TAINT, .filter = filter_unschedulable};

/* --- NodePorts --- */

static bool ports_conflict(const struct host_port *a, const struct host_port *b)
{
    if (a->port != b->port || strcmp(a->protocol, b->protocol))
        return false;
    return !strcmp(a->ip, "0.0.0.0") || !strcmp(b->ip, "0.0.0.0") || !strcmp(a->ip, b->ip);
}

static enum verdict filter_ports(struct cycle *c, const struct node_info *n)
{
    for (size_t i = 0; c->pod->port_count && i < n->pod_count; i++) {
        const struct pod_info *other = n->pods[i];
        for (size_t a = 0; a < other->port_count; a++) {
            for (size_t b = 0; b < c->pod->port_count; b++) {
                if (!ports_conflict(&other->ports[a], &c->pod->ports[b]))
                    continue;
                reasons_add(c->reasons, "node(s) didn't have free ports for the requested pod ports");
                return VERDICT_UNSCHEDULABLE;
            }
        }
    }
    return VERDICT_FITS;
}
const struct plugin plugin_node_ports = {
    .name = "NodePorts", .events = EVENT_NODE_ADD | EVENT_POD_DELETE, .filter = filter_ports};

/* --- ImageLocality: nodes that have the images already, more so for big ones that many nodes have --- */

#define IMAGE_MIN (23.0 * 1024 * 1024)
#define IMAGE_MAX (1000.0 * 1024 * 1024) /* a container */

/* "nginx" and "docker.io/library/nginx:latest" may be written differently: only the tag is completed here. */
static int64_t image_size(const struct node_info *n, const char *image)
{
    const char *slash = strrchr(image, '/');
    bool tagged = strchr(slash ? slash : image, ':') || strchr(image, '@');
    size_t len = strlen(image);
    const cJSON *entry, *name;
    cJSON_ArrayForEach(entry, json_path(n->object->json, "status.images")) {
        cJSON_ArrayForEach(name, json_get(entry, "names")) {
            if (!cJSON_IsString(name) || strncmp(name->valuestring, image, len))
                continue;
            if (!strcmp(name->valuestring + len, tagged ? "" : ":latest"))
                return json_int(entry, "sizeBytes", 0);
        }
    }
    return 0;
}

static void score_images(struct cycle *c, int64_t *scores)
{
    const cJSON *containers = json_get(c->pod->spec, "containers"), *container;
    int count = cJSON_GetArraySize(containers) + cJSON_GetArraySize(json_get(c->pod->spec, "initContainers"));
    double max = IMAGE_MAX * (count > 0 ? count : 1);
    cleanup_free double *sums = mem_alloc(c->node_count * sizeof(*sums));
    cleanup_free int64_t *sizes = mem_alloc(c->node_count * sizeof(*sizes));
    cJSON_ArrayForEach(container, containers) {
        size_t have = 0;
        for (size_t i = 0; i < c->node_count; i++) {
            sizes[i] = image_size(c->nodes[i], json_str_or(container, "image", ""));
            have += sizes[i] > 0;
        }
        for (size_t i = 0; have && i < c->node_count; i++)
            sums[i] += (double)sizes[i] * (double)have / (double)c->cache->node_count;
    }
    for (size_t i = 0; i < c->node_count; i++) {
        double v = fmin(fmax(sums[i], IMAGE_MIN), max);
        scores[i] = (int64_t)(SCORE_MAX * (v - IMAGE_MIN) / (max - IMAGE_MIN));
    }
}
const struct plugin plugin_image_locality = {.name = "ImageLocality", .weight = 1, .score = score_images};
