/* Pod statuses on their way to the API: computed by the worker, sent by jobs of their own, again until they arrive;
 * and the last word, the removal of a pod that has ended. */
#include "common/json.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/pod/resize.h"
#include "kubelet/pod/static.h"
#include "kubelet/pod/status.h"
#include <string.h>

/* Members that the kubelet owns: what is not in its status is removed. */
static const char *const own_members[] = {
    "phase",    "reason", "message", "hostIP",    "hostIPs",  "podIP",
    "podIPs",   "startTime", "qosClass", "conditions", "initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses",
    "observedGeneration",
};

/* Equality that takes null for absent: the API may write either. */
static bool same(const cJSON *a, const cJSON *b)
{
    if (cJSON_IsNull(a))
        a = NULL;
    if (cJSON_IsNull(b))
        b = NULL;
    if (!a || !b)
        return !a && !b;
    if (cJSON_IsObject(a) && cJSON_IsObject(b)) {
        const cJSON *e;
        cJSON_ArrayForEach(e, a)
        {
            if (!same(e, json_get(b, e->string)))
                return false;
        }
        cJSON_ArrayForEach(e, b)
        {
            if (!json_get(a, e->string) && !cJSON_IsNull(e))
                return false;
        }
        return true;
    }
    if (cJSON_IsArray(a) && cJSON_IsArray(b)) {
        const cJSON *x = a->child, *y = b->child;
        while (x && y && same(x, y)) {
            x = x->next;
            y = y->next;
        }
        return !x && !y;
    }
    return json_equal(a, b);
}

static bool has_type(const cJSON *conditions, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, conditions)
    {
        if (strcmp(json_str_or(c, "type", ""), type) == 0)
            return true;
    }
    return false;
}

/* Conditions of ours that go away when they do not hold any more. */
static bool passes(const cJSON *condition)
{
    return strncmp(json_str_or(condition, "type", ""), "PodResize", 9) == 0;
}

/* Does the API already have this? Conditions of others do not count. */
static bool api_has(const cJSON *api_status, const cJSON *status)
{
    for (size_t i = 0; i < ARRAY_LEN(own_members); i++) {
        const cJSON *a = json_get(api_status, own_members[i]), *b = json_get(status, own_members[i]);
        if (strcmp(own_members[i], "conditions") != 0) {
            if (!same(a, b))
                return false;
            continue;
        }
        const cJSON *c;
        cJSON_ArrayForEach(c, a)
        {
            if (passes(c) && !has_type(b, json_str_or(c, "type", "")))
                return false;
        }
        cJSON_ArrayForEach(c, b)
        {
            bool found = false;
            const cJSON *d;
            cJSON_ArrayForEach(d, a)
            {
                found = found || same(c, d);
            }
            if (!found)
                return false;
        }
    }
    return true;
}

/* Conditions merge member by member: what the old one had and the new one lacks must be named to go. */
static void drop_old_members(cJSON *conditions, const cJSON *old)
{
    cJSON *c;
    const cJSON *was;
    cJSON_ArrayForEach(was, old)
    {
        if (!passes(was) || has_type(conditions, json_str_or(was, "type", "")))
            continue;
        cJSON *gone = cJSON_CreateObject();
        json_map_set_str(gone, "$patch", "delete");
        json_map_set_str(gone, "type", json_str(was, "type"));
        cJSON_AddItemToArray(conditions, gone);
    }
    cJSON_ArrayForEach(c, conditions)
    {
        const cJSON *o, *e;
        cJSON_ArrayForEach(o, old)
        {
            if (strcmp(json_str_or(o, "type", ""), json_str_or(c, "type", "")) != 0)
                continue;
            cJSON_ArrayForEach(e, o)
            {
                if (!json_get(c, e->string))
                    json_map_set(c, e->string, cJSON_CreateNull());
            }
        }
    }
}

/* A strategic merge patch: conditions merge by type; the lists of addresses, which would merge by address, are
 * replaced. */
static cJSON *patch_of(const char *uid, const cJSON *api_status, const cJSON *status)
{
    cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "metadata.uid", uid);
    cJSON *out = json_ensure_object(patch, "status");
    for (size_t i = 0; i < ARRAY_LEN(own_members); i++) {
        const char *name = own_members[i];
        const cJSON *v = json_get(status, name), *a = json_get(api_status, name);
        if (!v) {
            if (a)
                json_map_set(out, name, cJSON_CreateNull());
            continue;
        }
        if (same(a, v))
            continue;
        cJSON *copy = json_dup(v);
        if (strcmp(name, "conditions") == 0)
            drop_old_members(copy, a);
        if (a && (strcmp(name, "podIPs") == 0 || strcmp(name, "hostIPs") == 0)) {
            cJSON *replace = cJSON_CreateObject();
            json_map_set_str(replace, "$patch", "replace");
            cJSON_InsertItemInArray(copy, 0, replace);
        }
        json_map_set(out, name, copy);
    }
    return patch;
}

static void send(void *arg);

static void send_later(struct pod *p, int64_t delay_ms)
{
    if (delay_ms)
        pool_run_after(p->kubelet->pool, delay_ms, send, pod_ref(p));
    else
        pool_run(p->kubelet->pool, send, pod_ref(p));
}

static void schedule(struct pod *p)
{
    pthread_mutex_lock(&p->lock);
    bool start = !p->status_busy && p->status_dirty;
    if (start)
        p->status_busy = true;
    pthread_mutex_unlock(&p->lock);
    if (start)
        send_later(p, 0);
}

static bool gone(const struct error *e)
{
    return e && (e->code == 404 || e->code == 409 || e->code == 422);
}

static void send(void *arg)
{
    cleanup_pod struct pod *p = arg;
    struct kubelet *k = p->kubelet;
    if (atomic_load(&k->stopping))
        return;
    pthread_mutex_lock(&p->lock);
    p->status_dirty = false;
    cleanup_json cJSON *status = json_dup(p->status);
    bool removed = p->removed;
    pthread_mutex_unlock(&p->lock);
    cleanup_error struct error *failure = NULL;
    bool ok = removed || !p->is_static || static_mirror_ensure(p, &failure);
    pthread_mutex_lock(&p->lock);
    cleanup_object struct kube_object *o = kube_object_ref(p->is_static ? p->mirror : p->object);
    bool delete = p->delete_ready && !p->is_static && json_str(o->json, "metadata.deletionTimestamp");
    pthread_mutex_unlock(&p->lock);
    if (ok && o && !removed && status && !api_has(json_get(o->json, "status"), status)) {
        cleanup_json cJSON *patch = patch_of(o->uid, json_get(o->json, "status"), status);
        cleanup_free char *path = kube_path_new("v1", "pods", o->ns, o->name, "status");
        cleanup_json cJSON *answer =
            k->api.request(k->api.userdata, "PATCH", path, "application/strategic-merge-patch+json", patch, &failure);
        ok = answer || gone(failure);
        /* The watch brings the new object as well; but what is computed next compares with it. */
        if (answer && strcmp(json_str_or(answer, "metadata.uid", ""), o->uid) == 0) {
            struct kube_object *fresh = kube_object_new(answer);
            answer = NULL;
            cleanup_free char *text = json_text(status);
            pthread_mutex_lock(&p->lock);
            free(p->status_sent);
            free(p->status_sent_at);
            p->status_sent = mem_strdup(text);
            p->status_sent_at = mem_strdup(fresh->resource_version);
            struct kube_object **known = p->is_static ? &p->mirror : &p->object;
            if (*known == o) {
                kube_object_unref(*known);
                *known = fresh;
            } else {
                kube_object_unref(fresh);
            }
            pthread_mutex_unlock(&p->lock);
        }
    }
    if (ok && delete && !removed) {
        cleanup_json cJSON *options = cJSON_CreateObject();
        json_set_str(options, "apiVersion", "v1");
        json_set_str(options, "kind", "DeleteOptions");
        json_set_int(options, "gracePeriodSeconds", 0);
        json_set_str(options, "preconditions.uid", p->uid);
        cleanup_free char *path = kube_path_new("v1", "pods", o->ns, o->name, NULL);
        cleanup_json cJSON *answer = k->api.request(k->api.userdata, "DELETE", path, NULL, options, &failure);
        ok = answer || gone(failure);
    }
    pthread_mutex_lock(&p->lock);
    p->status_failures = ok ? 0 : p->status_failures + 1;
    int failures = p->status_failures;
    if (!ok)
        p->status_dirty = true;
    bool again = p->status_dirty;
    p->status_busy = again;
    pthread_mutex_unlock(&p->lock);
    if (!ok)
        log_debug(1, "Could not report a pod's status", "pod", p->key, "err", error_message(failure));
    if (again)
        send_later(p, ok ? 0 : failures < 5 ? 200 << failures : 5000);
}

/* The API took exactly this and made something else of it: sending it again would not change that. */
static bool was_taken(const struct pod *p, const struct kube_object *o)
{
    if (!p->status_sent || strtoull(o->resource_version, NULL, 10) > strtoull(p->status_sent_at, NULL, 10))
        return false;
    cleanup_free char *text = json_text(p->status);
    return strcmp(text, p->status_sent) == 0;
}

void pod_update_status(struct pod *p, const struct kube_object *o)
{
    pthread_mutex_lock(&p->lock);
    const struct kube_object *shown = p->is_static ? p->mirror : o; /* how the API shows it */
    const cJSON *api_status = shown ? json_get(shown->json, "status") : NULL;
    if (!p->settled) {
        struct status_input in = {
            .pod = o->json,
            .old_status = p->status ? p->status : api_status,
            .sandboxes = &p->sandboxes,
            .containers = &p->containers,
            .states = p->states,
            .state_count = p->state_count,
            .pod_ips = pod_ips(p),
            .host_ip = p->kubelet->node_ip,
            .end_phase = p->end_phase,
            .end_reason = p->end_reason,
            .end_message = p->end_message,
            .disrupted = p->ended_by_kubelet,
            .terminal = false,
            .now = time_now_seconds(),
        };
        bool running = false;
        for (size_t i = 0; i < p->containers.count; i++)
            running = running || p->containers.items[i].state == CONTAINER_RUNNING;
        in.terminal = p->terminating && !running;
        if (p->end_phase && running)
            in.end_phase = NULL; /* it fails when it has ended */
        /* A pod that had ended before we came: what was reported of it stands. */
        if (!(pod_is_terminal(o->json) && !p->containers.count)) {
            cJSON *fresh = status_compute(&in);
            resize_conditions(p, fresh, in.now);
            cJSON_Delete(p->status);
            p->status = fresh;
        }
    }
    bool delete = p->delete_ready && !p->removed && !p->is_static && json_str(o->json, "metadata.deletionTimestamp");
    if (delete || (p->status && !api_has(api_status, p->status) && !(shown && was_taken(p, shown))))
        p->status_dirty = true;
    pthread_mutex_unlock(&p->lock);
    schedule(p);
}
