/* Gives every node its own blocks of pod addresses, one of each IP family: spec.podCIDR and
 * podCIDRs. The nodes themselves are the record of what is taken; a node that was deleted and comes
 * back gets what it had, if nobody else has it by then. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "controller-manager/cidr_set.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/strmap.h"

enum { MAX_RANGES = 2 };

struct node_ipam {
    struct informer *nodes;
    struct recorder *recorder;
    pthread_mutex_t lock; /* of what follows */
    struct cidr_set sets[MAX_RANGES];
    int set_count;         /* 0: nothing is assigned */
    struct strmap earlier; /* names of nodes that are gone -> their blocks, joined by commas */
};

static void mark(struct node_ipam *s, const char *cidr, bool (*fn)(struct cidr_set *, const char *))
{
    for (int i = 0; i < s->set_count; i++)
        fn(&s->sets[i], cidr);
}

static void each_cidr(struct node_ipam *s, const cJSON *node,
                      bool (*fn)(struct cidr_set *, const char *))
{
    const cJSON *list = json_path(node, "spec.podCIDRs"), *item;
    const char *one = json_str(node, "spec.podCIDR");
    pthread_mutex_lock(&s->lock);
    cJSON_ArrayForEach(item, list) if (cJSON_IsString(item)) mark(s, item->valuestring, fn);
    if (one)
        mark(s, one, fn);
    pthread_mutex_unlock(&s->lock);
}

/* What a node of that name had; a copy, or NULL. */
static char *earlier_blocks(struct node_ipam *s, const char *name)
{
    const char *blocks = strmap_get(&s->earlier, name);
    return blocks ? mem_strdup(blocks) : NULL;
}

static bool allocate_earlier(struct cidr_set *set, const char *blocks, char out[CIDR_TEXT_MAX])
{
    for (const char *p = blocks; p && *p; p += strcspn(p, ","), p += *p == ',') {
        cleanup_free char *cidr = mem_strndup(p, strcspn(p, ","));
        if (strlen(cidr) < CIDR_TEXT_MAX && cidr_set_is_free(set, cidr)) {
            cidr_set_occupy(set, cidr);
            strcpy(out, cidr);
            return true;
        }
    }
    return false;
}

/* One block of each range; on failure none is taken. */
static bool allocate(struct node_ipam *s, const char *node, char out[MAX_RANGES][CIDR_TEXT_MAX])
{
    bool ok = true;
    int got = 0;
    pthread_mutex_lock(&s->lock);
    cleanup_free char *earlier = earlier_blocks(s, node);
    for (; ok && got < s->set_count; got += ok)
        ok = allocate_earlier(&s->sets[got], earlier, out[got]) ||
             cidr_set_allocate(&s->sets[got], out[got]);
    for (int i = 0; !ok && i < got; i++)
        cidr_set_release(&s->sets[i], out[i]);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct node_ipam *s = c->state;
    cleanup_object struct kube_object *node = informer_get(s->nodes, key);
    if (!s->set_count || !node || meta_deleting(node->json))
        return true;
    if (*json_str_or(node->json, "spec.podCIDR", "")) {
        each_cidr(s, node->json, cidr_set_occupy);
        return true;
    }
    /* The cache may be behind: a node that has its block by now must not take a second one. */
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, key, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *live = kube_get(c->client, path, &e);
    if (!live) {
        if (kube_error_is(e, "NotFound"))
            return true;
        error_move(err, e);
        e = NULL;
        return false;
    }
    if (*json_str_or(live, "spec.podCIDR", "")) {
        each_cidr(s, live, cidr_set_occupy);
        return true;
    }
    char cidrs[MAX_RANGES][CIDR_TEXT_MAX];
    if (!allocate(s, key, cidrs)) {
        recorder_event(s->recorder, node->json, "Normal", "CIDRNotAvailable",
                       "Node %s status is now: CIDRNotAvailable", key);
        error_setf(err, "no pod CIDR is left for node %s", key);
        return false;
    }
    cleanup_json cJSON *patch = cJSON_CreateObject();
    /* Without a resourceVersion: kubelets write their node all the time, and the API lets nobody
     * change a podCIDR that is set. */
    json_set_str(patch, "metadata.uid", meta_uid(live));
    json_set_str(patch, "spec.podCIDR", cidrs[0]);
    for (int i = 0; i < s->set_count; i++)
        cJSON_AddItemToArray(json_ensure_array(patch, "spec.podCIDRs"),
                             cJSON_CreateString(cidrs[i]));
    cleanup_json cJSON *answer = kube_merge_patch(c->client, path, patch, &e);
    if (answer) {
        log_info("Assigned pod CIDRs", "node", key, "podCIDR", cidrs[0], "second",
                 s->set_count > 1 ? cidrs[1] : "");
        return true;
    }
    /* A refused write took nothing. When nobody knows, the block stays taken until the node shows
     * that it has another. */
    if (e->code >= 400 && e->code < 500) {
        pthread_mutex_lock(&s->lock);
        for (int i = 0; i < s->set_count; i++)
            cidr_set_release(&s->sets[i], cidrs[i]);
        pthread_mutex_unlock(&s->lock);
    }
    if (!kube_error_is(e, "Conflict"))
        recorder_event(s->recorder, node->json, "Normal", "CIDRAssignmentFailed",
                       "Node %s status is now: CIDRAssignmentFailed", key);
    error_move(err, e);
    e = NULL;
    return false;
}

static void remember(struct node_ipam *s, const struct kube_object *node)
{
    cleanup_buf struct buf blocks = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(node->json, "spec.podCIDRs")) if (cJSON_IsString(item))
        buf_printf(&blocks, "%s%s", blocks.len ? "," : "", item->valuestring);
    if (!blocks.len)
        return;
    pthread_mutex_lock(&s->lock);
    free(strmap_put(&s->earlier, node->name, buf_take(&blocks)));
    pthread_mutex_unlock(&s->lock);
}

static void on_node(void *userdata, enum informer_event event, const struct kube_object *old,
                    const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct node_ipam *s = c->state;
    if (event == INFORMER_DELETED) {
        each_cidr(s, old->json, cidr_set_release);
        remember(s, old);
        return;
    }
    each_cidr(s, new_object->json, cidr_set_occupy);
    if (!*json_str_or(new_object->json, "spec.podCIDR", ""))
        workqueue_add(c->queue, new_object->key);
}

static bool add_range(struct node_ipam *s, const struct manager_options *o, const char *cidr,
                      struct error **err)
{
    int family, mask;
    cidr_number network;
    if (!cidr_parse(cidr, &family, &network, &mask, err))
        return false;
    if (s->set_count == MAX_RANGES || (s->set_count && s->sets[0].family == family)) {
        error_setf(err, "--cluster-cidr: at most one range of each IP family");
        return false;
    }
    bool v6 = strchr(cidr, ':') != NULL;
    if (!cidr_set_init(&s->sets[s->set_count], cidr,
                       v6 ? o->node_cidr_mask_size_ipv6 : o->node_cidr_mask_size, err))
        return false;
    s->set_count++;
    return true;
}

static void setup(struct controller *c)
{
    struct node_ipam *s = mem_alloc(sizeof(*s));
    c->state = s;
    pthread_mutex_init(&s->lock, NULL);
    s->recorder = manager_recorder(c->manager, "cidrAllocator");
    const struct manager_options *o = manager_config(c->manager);
    bool ok = true;
    cleanup_error struct error *e = NULL;
    for (const char *p = o->cluster_cidr; ok && p && *p; p += strcspn(p, ","), p += *p == ',') {
        cleanup_free char *cidr = mem_strndup(p, strcspn(p, ","));
        ok = add_range(s, o, cidr, &e);
    }
    if (!ok) {
        log_error("No pod CIDRs will be assigned", "err", error_message(e));
        s->set_count = 0;
    }
    for (const char *p = o->service_cidr; p && *p; p += strcspn(p, ","), p += *p == ',') {
        cleanup_free char *cidr = mem_strndup(p, strcspn(p, ","));
        mark(s, cidr, cidr_set_occupy);
    }
    s->nodes = manager_informer(c->manager, "v1", "nodes");
    informer_add_handler(s->nodes, on_node, c);
}

static void free_state(struct controller *c)
{
    struct node_ipam *s = c->state;
    for (int i = 0; i < MAX_RANGES; i++)
        cidr_set_free(&s->sets[i]);
    strmap_clear(&s->earlier, free);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct controller_type node_ipam_controller = {.name = "node-ipam-controller",
                                                     .queue = "cidrallocator_node",
                                                     .workers = 1,
                                                     .setup = setup,
                                                     .reconcile = reconcile,
                                                     .free_state = free_state};
