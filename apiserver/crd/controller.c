#include "apiserver/crd/controller.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "apiserver/crd/custom.h"
#include "apiserver/crd/names.h"
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
    int64_t since_ms;            /* monotonic */
    const struct custom *custom; /* NULL: nothing can be served */
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

static bool has_condition(const cJSON *crd, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(crd, "status.conditions"))
    {
        if (!strcmp(json_str_or(c, "type", ""), type))
            return !strcmp(json_str_or(c, "status", ""), "True");
    }
    return false;
}

/* False when its objects cannot be read yet. */
static bool serve(struct served *s, const cJSON *crd, bool accepted)
{
    const char *uid = json_str_or(crd, "metadata.uid", "");
    int64_t generation = json_int(crd, "metadata.generation", 0);
    bool deleting = json_str(crd, "metadata.deletionTimestamp") != NULL;
    if (s->uid && !strcmp(s->uid, uid) && s->generation == generation && s->deleting == deleting &&
        s->accepted == accepted && s->custom)
        return true;
    cleanup_json cJSON *with_names = NULL;
    if (!accepted && has_condition(crd, "Established")) {
        /* New names wait; the old ones stay. */
        with_names = json_dup(crd);
        json_set(with_names, "spec.names", json_dup(json_path(crd, "status.acceptedNames")));
    }
    const struct custom *custom =
        accepted || with_names ? custom_build(with_names ? with_names : crd, deleting) : NULL;
    cleanup_error struct error *err = NULL;
    if (custom && custom->stored && !storage_add_resource(self.storage, custom->stored, &err)) {
        log_warn("The objects of a custom resource cannot be read yet", "crd", s->name, "err",
                 error_message(err));
        return false;
    }
    if (!s->uid || strcmp(s->uid, uid) != 0)
        s->since_ms = time_monotonic_ms();
    s->custom = custom;
    free(s->uid);
    s->uid = mem_strdup(uid);
    s->generation = generation;
    s->deleting = deleting;
    s->accepted = accepted;
    return true;
}

/* By group, then the version that clients prefer, then name: the order of discovery. */
static int in_order(const void *a, const void *b)
{
    const struct resource *x = *(const struct resource *const *)a,
                          *y = *(const struct resource *const *)b;
    int order = strcmp(x->group, y->group);
    if (!order)
        order = custom_compare_versions(x->version, y->version);
    return order ? order : strcmp(x->plural, y->plural);
}

static void publish(void)
{
    size_t n = 0;
    for (struct served *s = self.served; s; s = s->next)
        n += s->custom ? s->custom->count : 0;
    cleanup_free const struct resource **list = mem_alloc(sizeof *list * (n + 1));
    n = 0;
    for (struct served *s = self.served; s; s = s->next)
        for (size_t i = 0; s->custom && i < s->custom->count; i++)
            list[n++] = s->custom->served[i];
    qsort(list, n, sizeof *list, in_order);
    resource_set_custom(list, n);
}

/* --- conditions --- */
struct verdict {
    struct names_verdict names;
    bool ripe, deleting;
};

static bool set_condition(cJSON *crd, const char *type, bool on, const char *reason,
                          const char *message)
{
    cJSON *list = json_ensure_array(crd, "status.conditions"), *c;
    cJSON_ArrayForEach(c, list) if (!strcmp(json_str_or(c, "type", ""), type)) break;
    const char *status = on ? "True" : "False";
    if (c && !strcmp(json_str_or(c, "status", ""), status) &&
        !strcmp(json_str_or(c, "reason", ""), reason) &&
        !strcmp(json_str_or(c, "message", ""), message))
        return false;
    if (!c)
        cJSON_AddItemToArray(list, c = cJSON_CreateObject());
    if (strcmp(json_str_or(c, "status", ""), status) != 0) {
        char now[TIME_TEXT_MAX];
        json_map_set_str(c, "lastTransitionTime", time_format(time_now_seconds(), now));
    }
    json_map_set_str(c, "message", message);
    json_map_set_str(c, "reason", reason);
    json_map_set_str(c, "status", status);
    json_map_set_str(c, "type", type);
    return true;
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

/* Groups of Kubernetes' own say where they were agreed upon. */
static bool judge_approval(cJSON *crd)
{
    const char *group = json_str_or(crd, "spec.group", ""),
               *approval = json_map_str(json_path(crd, "metadata.annotations"),
                                        "api-approved.kubernetes.io");
    if (!custom_is_protected_group(group) || !approval)
        return false;
    bool unapproved = !strncmp(approval, "unapproved", 10);
    cleanup_free char *message =
        mem_printf(unapproved ? "not approved: \"%s\"" : "approved in %s", approval);
    return set_condition(crd, "KubernetesAPIApprovalPolicyConformant", !unapproved,
                         unapproved ? "UnapprovedAnnotation" : "ApprovedAnnotation", message);
}

static bool judge(cJSON *crd, const struct verdict *v)
{
    const struct names_verdict *names = &v->names;
    bool changed = set_condition(crd, "NamesAccepted", !names->reason,
                                 names->reason ? names->reason : "NoConflicts",
                                 names->reason ? names->message : "no conflicts found");
    changed |= judge_approval(crd);
    if (!has_condition(crd, "Established")) {
        if (names->reason)
            changed |= set_condition(crd, "Established", false, "NotAccepted",
                                     "not all names are accepted");
        else if (!v->ripe)
            changed |= set_condition(crd, "Established", false, "Installing",
                                     "the initial names have been accepted");
        else
            changed |= set_condition(crd, "Established", true, "InitialNamesAccepted",
                                     "the initial names have been accepted");
    }
    if (v->deleting && has_finalizer(crd))
        changed |= set_condition(crd, "Terminating", true, "InstanceDeletionInProgress",
                                 "CustomResource deletion is in progress");
    if (!json_equal(names->accepted, json_path(crd, "status.acceptedNames"))) {
        json_set(crd, "status.acceptedNames", json_dup(names->accepted));
        changed = true;
    }
    return changed;
}

static cJSON *change_conditions(void *userdata, cJSON *current, const struct stored *stored,
                                struct error **err)
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
static cJSON *mark_deleted(void *userdata, cJSON *current, const struct stored *stored,
                           struct error **err)
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
    const struct resource *r = s->custom ? s->custom->stored : NULL;
    if (!r)
        return true;
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

static cJSON *drop_finalizer(void *userdata, cJSON *current, const struct stored *stored,
                             struct error **err)
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
    set_condition(o, "Terminating", false, "InstanceDeletionCompleted", "removed all instances");
    u->delete_instead = !list->child;
    if (!list->child)
        json_remove(o, "metadata.finalizers");
    return o;
}

/* --- the loop --- */
/* Writes what is to be written. True when it must be looked at again soon. Takes names. */
static bool follow_up(struct served *s, const cJSON *crd, const struct names_verdict *names)
{
    struct verdict v = {.names = *names,
                        .ripe = s->custom && time_monotonic_ms() - s->since_ms >= ESTABLISH_MS,
                        .deleting = s->deleting};
    cleanup_json cJSON *tried = json_dup(crd);
    if (judge(tried, &v)) {
        struct storage_update u = {.change = change_conditions, .userdata = &v};
        stored_unref(storage_update(self.storage, self.resource, NULL, s->name, &u, NULL));
    }
    if (!s->deleting || !has_finalizer(crd))
        return !names->reason && !v.ripe;
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

static struct served *served_for(const char *name)
{
    struct served *s = find(name);
    if (!s) {
        s = mem_alloc(sizeof *s);
        *s = (struct served){.next = self.served, .name = mem_strdup(name)};
        self.served = s;
    }
    s->seen = true;
    return s;
}

/* All definitions, parsed: an array. */
static cJSON *definitions(void)
{
    uint64_t revision;
    struct tree_root *root = cache_snapshot(self.cache, &revision);
    struct tree_cursor cursor;
    struct stored *o;
    cJSON *list = cJSON_CreateArray();
    tree_seek(&cursor, root, "", false);
    while ((o = tree_next(&cursor)))
        cJSON_AddItemToArray(list, json_parse(o->json, o->len, NULL));
    tree_root_unref(root);
    return list;
}

/* True when it must be called again soon. write: the first round, before anything is served, only
 * reads. */
static bool reconcile(bool write)
{
    cleanup_json cJSON *all = definitions();
    const cJSON *crd;
    bool again = false;
    for (struct served *s = self.served; s; s = s->next)
        s->seen = false;
    cJSON_ArrayForEach(crd, all)
    {
        struct served *s = served_for(json_str_or(crd, "metadata.name", ""));
        cleanup_names_verdict struct names_verdict names = names_judge(crd, all);
        again |= !serve(s, crd, !names.reason);
    }
    forget_unseen();
    publish();
    for (crd = write ? all->child : NULL; crd; crd = crd->next) {
        struct served *s = find(json_str_or(crd, "metadata.name", ""));
        cleanup_names_verdict struct names_verdict names = names_judge(crd, all);
        again |= s && follow_up(s, crd, &names);
    }
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
