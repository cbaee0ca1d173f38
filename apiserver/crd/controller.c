#include "apiserver/crd/controller.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "apiserver/crd/custom.h"
#include "apiserver/storage/cacher.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define FINALIZER "customresourcecleanup.apiextensions.k8s.io"
/* "Established" tells clients to come: by then the other apiservers have heard of it too. */
#define ESTABLISH_MS 300
#define RETRY_MS     250

/* One definition as this server serves it. */
struct served {
    struct served *next;
    char *name, *uid;
    int64_t generation;
    bool deleting, accepted, seen;
    int64_t since_ms; /* monotonic */
    struct resource **resources;
    size_t count;
};

/* One per process; the mutex guards `changed`, all else is the thread's own. */
static struct {
    struct storage *storage;
    struct cache *cache;
    const struct resource *resource;
    struct cache_watcher watcher;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool changed, gap;
    struct served *served;
} self = {.mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void wake(bool gap)
{
    pthread_mutex_lock(&self.mutex);
    self.changed = true;
    self.gap |= gap;
    pthread_cond_signal(&self.wake);
    pthread_mutex_unlock(&self.mutex);
}

static void deliver(struct cache_watcher *w, struct cache_event *e)
{
    (void)w;
    (void)e;
    wake(false);
}

static void reset(struct cache_watcher *w)
{
    (void)w;
    wake(true);
}

/* --- what is served --- */
static struct served *find(const char *name)
{
    for (struct served *s = self.served; s; s = s->next)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}

/* Does another resource of the group have one of the names? */
static bool conflicts(const cJSON *crd, const char *own_name)
{
    const char *group = json_str_or(crd, "spec.group", ""), *plural = json_str_or(crd, "spec.names.plural", ""),
               *kind = json_str_or(crd, "spec.names.kind", "");
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->builtin; i++) {
        const struct resource *r = all->items[i];
        if (!strcmp(r->group, group) && (!strcmp(r->plural, plural) || !strcmp(r->kind, kind)))
            return true;
    }
    for (const struct served *s = self.served; s; s = s->next) {
        const struct resource *r = s->accepted && s->count && strcmp(s->name, own_name) ? s->resources[0] : NULL;
        if (r && !strcmp(r->group, group) && (!strcmp(r->plural, plural) || !strcmp(r->kind, kind)))
            return true;
    }
    return false;
}

/* False when its objects cannot be read yet. */
static bool serve(struct served *s, const cJSON *crd)
{
    const char *uid = json_str_or(crd, "metadata.uid", "");
    int64_t generation = json_int(crd, "metadata.generation", 0);
    bool deleting = json_str(crd, "metadata.deletionTimestamp") != NULL;
    if (s->uid && !strcmp(s->uid, uid) && s->generation == generation && s->deleting == deleting && s->accepted)
        return true;
    s->accepted = !conflicts(crd, s->name);
    s->count = 0;
    if (s->accepted) {
        s->resources = custom_build(crd, deleting, &s->count);
        const struct resource *first = s->count ? resource_stored(s->resources[0]) : NULL;
        cleanup_error struct error *err = NULL;
        if (first && !storage_add_resource(self.storage, first, &err)) {
            log_warn("The objects of a custom resource cannot be read yet", "crd", s->name, "err",
                     error_message(err));
            s->accepted = false;
            s->count = 0;
            return false;
        }
    }
    if (!s->uid || strcmp(s->uid, uid) != 0)
        s->since_ms = time_monotonic_ms();
    free(s->uid);
    s->uid = mem_strdup(uid);
    s->generation = generation;
    s->deleting = deleting;
    return true;
}

static void publish(void)
{
    size_t n = 0;
    for (struct served *s = self.served; s; s = s->next)
        n += s->count;
    const struct resource **list = mem_alloc(sizeof *list * (n + 1));
    n = 0;
    for (struct served *s = self.served; s; s = s->next)
        for (size_t i = 0; i < s->count; i++)
            list[n++] = s->resources[i];
    resource_set_custom(list, n);
    free(list);
}

/* --- conditions --- */
struct verdict {
    bool accepted, established, terminating;
};

static bool set_condition(cJSON *crd, const char *type, bool on, const char *reason, const char *message)
{
    cJSON *list = json_ensure_array(crd, "status.conditions"), *c;
    cJSON_ArrayForEach(c, list) if (!strcmp(json_str_or(c, "type", ""), type)) break;
    const char *status = on ? "True" : "False";
    if (c && !strcmp(json_str_or(c, "status", ""), status))
        return false;
    if (!c)
        cJSON_AddItemToArray(list, c = cJSON_CreateObject());
    char now[TIME_TEXT_MAX];
    time_format(time_now_seconds(), now);
    json_map_set_str(c, "type", type);
    json_map_set_str(c, "status", status);
    json_map_set_str(c, "lastTransitionTime", now);
    json_map_set_str(c, "reason", reason);
    json_map_set_str(c, "message", message);
    return true;
}

static bool judge(cJSON *crd, const struct verdict *v)
{
    bool changed =
        set_condition(crd, "NamesAccepted", v->accepted, v->accepted ? "NoConflicts" : "NamesConflict",
                      v->accepted ? "no conflicts found" : "another resource of the group has these names");
    if (v->established)
        changed |= set_condition(crd, "Established", true, "InitialNamesAccepted",
                                 "the initial names have been accepted");
    else if (!v->accepted)
        changed |= set_condition(crd, "Established", false, "NotAccepted", "not all names are accepted");
    if (v->terminating)
        changed |= set_condition(crd, "Terminating", true, "InstanceDeletionInProgress",
                                 "CustomResource deletion is in progress");
    const cJSON *names = json_path(crd, "spec.names"), *version;
    if (v->accepted && !json_equal(names, json_path(crd, "status.acceptedNames"))) {
        json_set(crd, "status.acceptedNames", json_dup(names));
        changed = true;
    }
    cJSON *versions = json_ensure_array(crd, "status.storedVersions"), *known;
    cJSON_ArrayForEach(version, json_path(crd, "spec.versions"))
    {
        const char *name = json_str_or(version, "name", "");
        if (!json_bool(version, "storage", false))
            continue;
        cJSON_ArrayForEach(known, versions) if (cJSON_IsString(known) && !strcmp(known->valuestring, name)) break;
        if (!known) {
            cJSON_AddItemToArray(versions, cJSON_CreateString(name));
            changed = true;
        }
    }
    return changed;
}

static cJSON *change_conditions(void *userdata, cJSON *current, const struct stored *stored, struct error **err)
{
    (void)stored;
    (void)err;
    cJSON *crd = json_dup(current);
    if (judge(crd, userdata))
        return crd;
    cJSON_Delete(crd);
    return NULL;
}

/* --- deletion --- */
static cJSON *mark_deleted(void *userdata, cJSON *current, const struct stored *stored, struct error **err)
{
    (void)userdata;
    (void)stored;
    (void)err;
    if (json_str(current, "metadata.deletionTimestamp"))
        return NULL;
    cJSON *o = json_dup(current);
    char now[TIME_TEXT_MAX];
    time_format(time_now_seconds(), now);
    json_set_str(o, "metadata.deletionTimestamp", now);
    json_set_int(o, "metadata.deletionGracePeriodSeconds", 0);
    return o;
}

/* True when none is left. */
static bool clear_instances(const struct served *s)
{
    if (!s->count)
        return true;
    const struct resource *r = resource_stored(s->resources[0]);
    struct stored **items = NULL;
    size_t count = 0;
    if (!storage_list(self.storage, r, NULL, &items, &count, NULL, NULL))
        return false;
    for (size_t i = 0; i < count; i++) {
        cleanup_json cJSON *o = json_parse(items[i]->json, items[i]->len, NULL);
        const char *ns = items[i]->ns, *name = items[i]->name;
        struct stored *last;
        if (cJSON_GetArraySize(json_path(o, "metadata.finalizers"))) {
            struct storage_update u = {.change = mark_deleted};
            last = storage_update(self.storage, r, ns, name, &u, NULL);
        } else {
            last = storage_delete(self.storage, r, ns, name, items[i]->uid, 0, NULL, 0, NULL);
        }
        stored_unref(last);
        stored_unref(items[i]);
    }
    free(items);
    size_t left = 0;
    if (!storage_list(self.storage, r, NULL, &items, &left, NULL, NULL))
        return false;
    for (size_t i = 0; i < left; i++)
        stored_unref(items[i]);
    free(items);
    return left == 0;
}

static cJSON *drop_finalizer(void *userdata, cJSON *current, const struct stored *stored, struct error **err)
{
    struct storage_update *u = userdata;
    (void)stored;
    (void)err;
    cJSON *o = json_dup(current), *list = json_path(o, "metadata.finalizers"), *f;
    cJSON_ArrayForEach(f, list) if (cJSON_IsString(f) && !strcmp(f->valuestring, FINALIZER)) break;
    if (!f) {
        cJSON_Delete(o);
        return NULL;
    }
    cJSON_Delete(cJSON_DetachItemViaPointer(list, f));
    u->delete_instead = !list->child;
    if (!list->child)
        json_remove(o, "metadata.finalizers");
    return o;
}

static bool has_finalizer(const cJSON *crd)
{
    const cJSON *f;
    cJSON_ArrayForEach(f, json_path(crd, "metadata.finalizers"))
    {
        if (cJSON_IsString(f) && !strcmp(f->valuestring, FINALIZER))
            return true;
    }
    return false;
}

/* --- the loop --- */
/* Writes what is to be written. True when it must be looked at again soon. */
static bool follow_up(struct served *s, const cJSON *crd)
{
    bool ripe = time_monotonic_ms() - s->since_ms >= ESTABLISH_MS;
    struct verdict v = {.accepted = s->accepted, .established = s->accepted && ripe, .terminating = s->deleting};
    cleanup_json cJSON *tried = json_dup(crd);
    if (judge(tried, &v)) {
        struct storage_update u = {.change = change_conditions, .userdata = &v};
        stored_unref(storage_update(self.storage, self.resource, NULL, s->name, &u, NULL));
    }
    if (!s->deleting || !has_finalizer(crd))
        return s->accepted && !ripe;
    if (!clear_instances(s))
        return true;
    struct storage_update u = {.change = drop_finalizer};
    u.userdata = &u;
    stored_unref(storage_update(self.storage, self.resource, NULL, s->name, &u, NULL));
    return false;
}

static void forget_unseen(void)
{
    for (struct served **link = &self.served; *link;) {
        struct served *s = *link;
        if (s->seen) {
            link = &s->next;
            continue;
        }
        *link = s->next;
        free(s->name);
        free(s->uid);
        free(s);
    }
}

/* True when it must be called again soon. write: the first round, before anything is served, only reads. */
static bool reconcile(bool write)
{
    uint64_t revision;
    struct tree_root *root = cache_snapshot(self.cache, &revision);
    struct tree_cursor cursor;
    struct stored *o;
    bool again = false;
    for (struct served *s = self.served; s; s = s->next)
        s->seen = false;
    tree_seek(&cursor, root, "", false);
    while ((o = tree_next(&cursor))) {
        struct served *s = find(o->name);
        if (!s) {
            s = mem_alloc(sizeof *s);
            *s = (struct served){.next = self.served, .name = mem_strdup(o->name)};
            self.served = s;
        }
        s->seen = true;
        cleanup_json cJSON *crd = json_parse(o->json, o->len, NULL);
        again |= !crd || !serve(s, crd);
    }
    forget_unseen();
    publish();
    tree_seek(&cursor, root, "", false);
    while (write && (o = tree_next(&cursor))) {
        cleanup_json cJSON *crd = json_parse(o->json, o->len, NULL);
        struct served *s = find(o->name);
        if (crd && s)
            again |= follow_up(s, crd);
    }
    tree_root_unref(root);
    return again || !write;
}

static void watch(void)
{
    cache_unwatch(self.cache, &self.watcher);
    self.watcher = (struct cache_watcher){.deliver = deliver, .reset = reset};
    uint64_t revision;
    tree_root_unref(cache_watch_list(self.cache, &self.watcher, &revision));
}

static void *run(void *arg)
{
    (void)arg;
    bool again = true;
    for (;;) {
        pthread_mutex_lock(&self.mutex);
        while (!self.changed) {
            if (!again) {
                pthread_cond_wait(&self.wake, &self.mutex);
                continue;
            }
            struct timespec at;
            clock_gettime(CLOCK_REALTIME, &at);
            at.tv_nsec += RETRY_MS * 1000000L;
            at.tv_sec += at.tv_nsec / 1000000000;
            at.tv_nsec %= 1000000000;
            if (pthread_cond_timedwait(&self.wake, &self.mutex, &at))
                break;
        }
        bool gap = self.gap;
        self.changed = self.gap = false;
        pthread_mutex_unlock(&self.mutex);
        if (gap)
            watch();
        again = reconcile(true);
    }
    return NULL;
}

bool crd_start(struct storage *storage, struct error **err)
{
    self.storage = storage;
    self.resource = resource_find("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    self.cache = storage_cache(storage, self.resource);
    watch();
    reconcile(false); /* before the first request comes */
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run, NULL);
    if (rc) {
        error_set_errno(err, rc, "start a thread");
        return false;
    }
    pthread_detach(thread);
    return true;
}
