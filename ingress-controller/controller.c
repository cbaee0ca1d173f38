#include "ingress-controller/controller.h"
#include <stdlib.h>
#include <string.h>
#include "common/component.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "ingress-controller/controller_internal.h"

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"
#define SYNC_KEY           "sync"
#define ELECT_KEY          "elect"

static const char *const document_names[DOCUMENTS] = {"certificates", "backends", "routes"};

/* --- what is watched --- */

static void on_change(void *userdata, enum informer_event event, const struct kube_object *old,
                      const struct kube_object *new_object)
{
    (void)event, (void)old, (void)new_object;
    workqueue_add(((struct controller *)userdata)->queue, SYNC_KEY);
}

static void strip(cJSON *o)
{
    json_remove(o, "metadata.managedFields");
}

static void strip_secret(cJSON *o)
{
    strip(o);
    cJSON *data = json_get(o, "data");
    for (cJSON *d = data ? data->child : NULL, *next; d; d = next) {
        next = d->next;
        if (strcmp(d->string, "tls.crt") && strcmp(d->string, "tls.key"))
            cJSON_Delete(cJSON_DetachItemViaPointer(data, d));
    }
}

static void index_by_service(const cJSON *slice, void (*add)(void *, const char *), void *ctx)
{
    const char *name = json_map_str(json_path(slice, "metadata.labels"), SERVICE_NAME_LABEL);
    if (!name)
        return;
    cleanup_free char *key =
        mem_printf("%s/%s", json_str_or(slice, "metadata.namespace", ""), name);
    add(ctx, key);
}

static struct informer *watch(struct controller *c, const char *api_version, const char *resource,
                              const char *field_selector)
{
    struct informer *i =
        informer_new(&(struct informer_options){.client = c->options.client,
                                                .api_version = api_version,
                                                .resource = resource,
                                                .field_selector = field_selector,
                                                .strip = field_selector ? strip_secret : strip});
    informer_add_handler(i, on_change, c);
    return i;
}

bool controller_takes(struct controller *c, const cJSON *ingress)
{
    const char *name = json_str(ingress, "spec.ingressClassName");
    const char *annotation =
        json_map_str(json_path(ingress, "metadata.annotations"), "kubernetes.io/ingress.class");
    if (json_str(ingress, "metadata.deletionTimestamp"))
        return false;
    if (annotation)
        return !strcmp(annotation, c->options.ingress_class);
    if (!name)
        return c->options.without_class;
    cleanup_object struct kube_object *class = informer_get(c->classes, name);
    return class &&
           !strcmp(json_str_or(class->json, "spec.controller", ""), c->options.controller_class);
}

/* --- one round --- */

struct round {
    struct controller *c;
    struct kube_object_list objects; /* what the ingresses borrow from */
    struct ingress **ingresses;
    size_t count;
};

static void round_clear(struct round *r)
{
    for (size_t i = 0; i < r->count; i++)
        ingress_free(r->ingresses[i]);
    free(r->ingresses);
    kube_object_list_clear(&r->objects);
}

static void translate(struct round *r)
{
    informer_list(r->c->ingresses, &r->objects);
    r->ingresses = mem_alloc((r->objects.count + 1) * sizeof(*r->ingresses));
    for (size_t i = 0; i < r->objects.count; i++) {
        const cJSON *object = r->objects.items[i]->json;
        if (!controller_takes(r->c, object))
            continue;
        cleanup_buf struct buf warnings = {0};
        cleanup_error struct error *err = NULL;
        struct ingress *ingress = ingress_new(object, &warnings, &err);
        if (!ingress) {
            report(r->c, object, "Warning", "Rejected", error_message(err));
            continue;
        }
        r->ingresses[r->count++] = ingress;
        if (warnings.len)
            report(r->c, object, "Warning", "Ignored", warnings.data);
        else
            report(r->c, object, "Normal", "Sync", "Scheduled for sync");
    }
    model_sort(r->ingresses, r->count);
}

static void on_conflict(void *ctx, const struct ingress *i, const char *what,
                        const struct ingress *holder)
{
    cleanup_free char *text =
        mem_printf("%s is served already by the older Ingress %s", what, holder->key);
    report(ctx, i->object, "Warning", "Conflict", text);
}

/* The checked pair of a Secret, owned by the cache; NULL with the reason. */
static const cJSON *key_pair(struct controller *c, const char *secret_key, struct error **err)
{
    cleanup_object struct kube_object *secret = informer_get(c->secrets, secret_key);
    if (!secret) {
        cJSON_DeleteItemFromObjectCaseSensitive(c->key_pairs, secret_key);
        error_setf(err, "it was not found");
        return NULL;
    }
    const cJSON *known = json_get(c->key_pairs, secret_key);
    if (known && !strcmp(json_str_or(known, "version", ""), secret->resource_version))
        return known;
    cJSON *pair = model_key_pair(secret->json, err);
    cJSON_DeleteItemFromObjectCaseSensitive(c->key_pairs, secret_key);
    if (!pair)
        return NULL;
    json_map_set_str(pair, "version", secret->resource_version);
    json_map_set(c->key_pairs, secret_key, pair);
    return pair;
}

static void add_certificate(struct round *r, cJSON *document, const char *host, const char *secret,
                            const cJSON *ingress)
{
    cJSON *hosts = json_get(document, "hosts"), *pairs = json_get(document, "pairs");
    cleanup_error struct error *err = NULL;
    const cJSON *pair = key_pair(r->c, secret, &err);
    if (!pair) {
        cleanup_free char *text = mem_printf("certificate \"%s\" for \"%s\" is not used: %s",
                                             secret, host, error_message(err));
        if (ingress)
            report(r->c, ingress, "Warning", "Certificate", text);
        else
            log_warn("Default certificate is not used", "secret", secret, "error",
                     error_message(err));
        return;
    }
    if (json_get(hosts, host))
        return; /* an older one has it */
    json_map_set_str(hosts, host, secret);
    if (!json_get(pairs, secret))
        json_map_set(pairs, secret, json_dup(pair));
}

static cJSON *certificates(struct round *r)
{
    cJSON *document = cJSON_CreateObject();
    cJSON_AddObjectToObject(document, "hosts");
    cJSON_AddObjectToObject(document, "pairs");
    if (*r->c->options.default_certificate)
        add_certificate(r, document, "", r->c->options.default_certificate, NULL);
    for (size_t i = 0; i < r->count; i++)
        for (size_t j = 0; j < r->ingresses[i]->tls_count; j++) {
            const struct ingress_tls *t = &r->ingresses[i]->tls[j];
            if (t->secret && *t->host)
                add_certificate(r, document, t->host, t->secret, r->ingresses[i]->object);
        }
    return document;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static cJSON *backends(struct round *r)
{
    size_t total = 0, n = 0;
    for (size_t i = 0; i < r->count; i++)
        total += r->ingresses[i]->location_count;
    cleanup_free const char **keys = mem_alloc((total + 1) * sizeof(*keys));
    for (size_t i = 0; i < r->count; i++)
        for (size_t j = 0; j < r->ingresses[i]->location_count; j++)
            keys[n++] = r->ingresses[i]->locations[j].backend;
    qsort(keys, n, sizeof(*keys), compare_keys);
    cJSON *document = cJSON_CreateObject();
    for (size_t i = 0; i < n; i++) {
        if (i && !strcmp(keys[i], keys[i - 1]))
            continue;
        cleanup_free char *service_key =
            mem_strndup(keys[i], (size_t)(strrchr(keys[i], '/') - keys[i]));
        cleanup_object struct kube_object *service = informer_get(r->c->services, service_key);
        cleanup_objects struct kube_object_list slices = {0};
        informer_by_index(r->c->slices, "service", service_key, &slices);
        cJSON_AddItemToObject(document, keys[i],
                              model_endpoints(keys[i], service ? service->json : NULL, &slices));
    }
    return document;
}

/* Gives a document to nginx unless it has it. */
static bool give(struct controller *c, int which, const cJSON *document, struct error **err)
{
    cleanup_free char *text = json_text(document);
    if (c->posted[which] && !strcmp(c->posted[which], text))
        return true;
    if (!nginx_post(c->nginx, document_names[which], text, strlen(text), err))
        return false;
    free(c->posted[which]);
    c->posted[which] = mem_strdup(text);
    log_debug(2, "Gave nginx a document", "name", document_names[which], "bytes",
              log_int((long long)strlen(text)));
    return true;
}

static void forget_posted(struct controller *c)
{
    for (int i = 0; i < DOCUMENTS; i++) {
        if (c->posted[i])
            explicit_bzero(c->posted[i], strlen(c->posted[i]));
        free(c->posted[i]);
        c->posted[i] = NULL;
    }
}

static bool sync_all(struct controller *c, struct error **err)
{
    __attribute__((cleanup(round_clear))) struct round r = {.c = c};
    unsigned generation = nginx_generation(c->nginx);
    if (generation != c->posted_to)
        forget_posted(c);
    c->posted_to = generation;
    translate(&r);
    cleanup_json cJSON *certificate_document = certificates(&r);
    cleanup_json cJSON *backend_document = backends(&r);
    cleanup_json cJSON *route_document = model_routes(r.ingresses, r.count, on_conflict, c);
    if (!give(c, DOCUMENT_CERTIFICATES, certificate_document, err) ||
        !give(c, DOCUMENT_BACKENDS, backend_document, err) ||
        !give(c, DOCUMENT_ROUTES, route_document, err))
        return false;
    if (!atomic_exchange(&c->ready, true))
        log_info("Serving", "ingresses", log_int((long long)r.count));
    report_forget(c, &r.objects);
    status_sync(c, r.ingresses, r.count);
    return true;
}

static void *work(void *arg)
{
    struct controller *c = arg;
    char *key;
    while ((key = workqueue_get(c->queue))) {
        cleanup_error struct error *err = NULL;
        if (!strcmp(key, ELECT_KEY)) {
            status_elect(c);
        } else if (atomic_load(&c->synced)) {
            if (sync_all(c, &err)) {
                workqueue_forget(c->queue, key);
            } else {
                if (workqueue_retries(c->queue, key) > 5) /* nginx needs a moment to start */
                    log_warn("Sync failed", "error", error_message(err));
                workqueue_add_rate_limited(c->queue, key);
            }
        }
        workqueue_done(c->queue, key);
        free(key);
    }
    return NULL;
}

static void *wait_synced(void *arg)
{
    struct controller *c = arg;
    struct informer *all[] = {c->ingresses, c->classes, c->services, c->slices, c->secrets};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (!informer_wait_synced(all[i]))
            return NULL;
    atomic_store(&c->synced, true);
    workqueue_add(c->queue, SYNC_KEY);
    workqueue_add(c->queue, ELECT_KEY);
    return NULL;
}

static void nginx_restarted(void *userdata)
{
    struct controller *c = userdata;
    workqueue_forget(c->queue, SYNC_KEY); /* what failed before says nothing about this one */
    workqueue_add(c->queue, SYNC_KEY);
}

struct controller *controller_start(const struct controller_options *o, struct error **err)
{
    struct controller *c = mem_alloc(sizeof(*c));
    c->options = *o;
    c->queue = workqueue_new("ingress", 20, 5000);
    c->key_pairs = cJSON_CreateObject();
    c->reported = cJSON_CreateObject();
    c->nginx = nginx_start(&(struct nginx_options){.program = o->nginx,
                                                   .configuration = o->nginx_conf,
                                                   .run_dir = o->run_dir,
                                                   .workers = o->workers,
                                                   .restarted = nginx_restarted,
                                                   .userdata = c},
                           err);
    if (!c->nginx)
        return NULL; /* the process ends */
    c->recorder = recorder_new(o->client, "nginx-ingress-controller", NULL);
    c->ingresses = watch(c, "networking.k8s.io/v1", "ingresses", NULL);
    c->classes = watch(c, "networking.k8s.io/v1", "ingressclasses", NULL);
    c->services = watch(c, "v1", "services", NULL);
    c->slices = watch(c, "discovery.k8s.io/v1", "endpointslices", NULL);
    informer_add_index(c->slices, "service", index_by_service);
    c->secrets = watch(c, "v1", "secrets", "type=kubernetes.io/tls");
    struct informer *all[] = {c->ingresses, c->classes, c->services, c->slices, c->secrets};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        informer_start(all[i]);
    if (!thread_start(&c->worker, work, c) || !thread_start(&c->waiter, wait_synced, c))
        abort(); /* no threads at the start of a process: nothing works */
    return c;
}

bool controller_ready(struct controller *c)
{
    return atomic_load(&c->ready);
}

void controller_stop(struct controller *c, int64_t grace_ms)
{
    struct informer *all[] = {c->ingresses, c->classes, c->services, c->slices, c->secrets};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        informer_stop(all[i]);
    pthread_join(c->waiter, NULL);
    workqueue_shut_down(c->queue);
    pthread_join(c->worker, NULL);
    leader_election_release(c->election);
    nginx_stop(c->nginx, grace_ms);
    recorder_flush(c->recorder, 1000);
    recorder_free(c->recorder);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        informer_free(all[i]);
    workqueue_free(c->queue);
    forget_posted(c);
    cJSON_Delete(c->key_pairs);
    cJSON_Delete(c->reported);
    free(c);
}
