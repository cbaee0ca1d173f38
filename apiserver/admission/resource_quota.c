/* ResourceQuota: nothing is made that a quota of its namespace has no room for. What is made is
 * added to the quota's used at once, by compare and swap, so that requests at the same time cannot
 * both take the last place; a controller counts anew when objects go. */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/quota.h"

struct asked {
    struct write *w;
    const cJSON *object;
    cJSON *delta; /* what it takes: names and quantities */
    cJSON *names; /* of the quotas that have a say */
    struct error *error;
    bool back; /* give back rather than take */
};

static __int128 nano_of(const cJSON *map, const char *name)
{
    const char *text = json_map_str(map, name);
    struct quantity q;
    return text && quantity_parse(text, &q) ? q.nano : 0;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_values(struct buf *b, const char **names, size_t n, const cJSON *values)
{
    for (size_t i = 0; i < n; i++) {
        const char *text = json_map_str(values, names[i]);
        buf_printf(b, "%s%s=%s", i ? "," : "", names[i], text ? text : "0");
    }
}

static bool refuse(struct asked *a, char *why_taken, struct error **err)
{
    api_error_forbidden(err, a->w->r, json_str_or(a->object, "metadata.name", ""), why_taken);
    free(why_taken);
    return false;
}

static bool has_room(struct asked *a, const cJSON *quota, struct error **err)
{
    const cJSON *hard = json_path(quota, "status.hard"), *used = json_path(quota, "status.used"),
                *d;
    cleanup_free const char **over =
        mem_alloc(sizeof *over * ((size_t)cJSON_GetArraySize(a->delta) + 1));
    size_t n = 0;
    cJSON_ArrayForEach(d, a->delta)
    {
        __int128 more = nano_of(a->delta, d->string);
        if (more > 0 && json_get(hard, d->string) &&
            nano_of(used, d->string) + more > nano_of(hard, d->string))
            over[n++] = d->string;
    }
    if (!n)
        return true;
    qsort(over, n, sizeof *over, compare_text);
    struct buf b = {0};
    buf_printf(&b, "exceeded quota: %s, requested: ", json_str_or(quota, "metadata.name", ""));
    add_values(&b, over, n, a->delta);
    buf_adds(&b, ", used: ");
    add_values(&b, over, n, used);
    buf_adds(&b, ", limited: ");
    add_values(&b, over, n, hard);
    return refuse(a, buf_take(&b), err);
}

/* A quota for cpu or memory wants every container to say how much it needs. */
static bool says_enough(struct asked *a, const cJSON *quota, struct error **err)
{
    static const struct {
        const char *name, *list, *member;
    } needs[] = {
        {"cpu", "requests", "cpu"},
        {"limits.cpu", "limits", "cpu"},
        {"limits.memory", "limits", "memory"},
        {"memory", "requests", "memory"},
        {"requests.cpu", "requests", "cpu"},
        {"requests.memory", "requests", "memory"},
    };
    static const char *const containers[] = {"spec.initContainers", "spec.containers"};
    cleanup_buf struct buf missing = {0};
    const cJSON *hard = json_path(quota, "status.hard"), *c;
    for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
        bool first = true;
        if (!json_get(hard, needs[i].name) ||
            json_get(json_get(json_path(a->object, "spec.resources"), needs[i].list),
                     needs[i].member))
            continue;
        for (size_t k = 0; k < ARRAY_LEN(containers); k++)
            cJSON_ArrayForEach(c, json_path(a->object, containers[k]))
            {
                if (json_get(json_get(json_get(c, "resources"), needs[i].list), needs[i].member))
                    continue;
                if (first)
                    buf_printf(&missing, "%s%s for: ", missing.len ? "; " : "", needs[i].name);
                buf_printf(&missing, "%s%s", first ? "" : ",", json_str_or(c, "name", ""));
                first = false;
            }
    }
    if (!missing.len)
        return true;
    return refuse(a,
                  mem_printf("failed quota: %s: must specify %s",
                             json_str_or(quota, "metadata.name", ""), buf_str(&missing)),
                  err);
}

static bool concerns(const struct asked *a, const cJSON *quota)
{
    const cJSON *d;
    if (!quota_in_scope(quota, a->w->r->group, a->w->r->plural, a->object))
        return false;
    cJSON_ArrayForEach(
        d, a->delta) if (nano_of(a->delta, d->string) != 0 &&
                         json_get(json_path(quota, "status.hard"), d->string)) return true;
    return false;
}

static bool look(void *ctx, const cJSON *quota)
{
    struct asked *a = ctx;
    if (write_is(a->w->r, "", "Pod") && quota_in_scope(quota, "", "pods", a->object) &&
        !says_enough(a, quota, &a->error))
        return false;
    if (!concerns(a, quota))
        return true;
    cJSON_AddItemToArray(a->names, cJSON_CreateString(json_str_or(quota, "metadata.name", "")));
    return has_room(a, quota, &a->error);
}

static cJSON *take(void *userdata, cJSON *current, const struct stored *stored, struct error **err)
{
    (void)stored;
    struct asked *a = userdata;
    if (!a->back && !has_room(a, current, err))
        return NULL;
    cJSON *quota = json_dup(current);
    quota_sum(json_ensure_object(quota, "status.used"), a->delta, json_path(current, "status.hard"),
              a->back);
    return quota;
}

static bool take_from(struct asked *a, const char *name, bool back, struct error **err)
{
    struct storage_update u = {.change = take, .userdata = a};
    struct error *why = NULL;
    a->back = back;
    stored_unref(storage_update(a->w->req->storage, resource_find("", "v1", "resourcequotas"),
                                a->w->ns, name, &u, &why));
    if (!why || why->code == 404) { /* a quota that has gone limits nothing */
        error_free(why);
        return true;
    }
    error_move(err, why);
    return false;
}

/* From all of them or from none. */
static bool take_all(struct asked *a, struct error **err)
{
    int n = cJSON_GetArraySize(a->names);
    for (int i = 0; i < n; i++) {
        if (take_from(a, cJSON_GetArrayItem(a->names, i)->valuestring, false, err))
            continue;
        while (i-- > 0)
            take_from(a, cJSON_GetArrayItem(a->names, i)->valuestring, true, NULL);
        return false;
    }
    return true;
}

bool resource_quota_admit(struct write *w, const cJSON *object, const cJSON *old,
                          struct error **err)
{
    const struct resource *r = w->r;
    bool resize = !strcmp(w->sub, "resize");
    if (!r->namespaced || (*w->sub && !resize) || !w->stored->storage_prefix ||
        write_is(r, "", "Event") || write_is(r, "events.k8s.io", "Event"))
        return true;
    /* Of what exists, Services, claims and resized pods alone can come to need more. */
    if (old && !resize && !write_is(r, "", "Service") && !write_is(r, "", "PersistentVolumeClaim"))
        return true;
    cleanup_json cJSON *delta = cJSON_CreateObject(), *names = cJSON_CreateArray(),
                       *before = cJSON_CreateObject();
    quota_add_usage(r->group, r->plural, object, delta);
    if (old) {
        quota_add_usage(r->group, r->plural, old, before);
        quota_sum(delta, before, NULL, true);
    }
    struct asked a = {.w = w, .object = object, .delta = delta, .names = names};
    if (!admission_each(w->req->storage, "", "resourcequotas", w->ns, look, &a)) {
        error_move(err, a.error);
        return false;
    }
    return w->dry_run || take_all(&a, err);
}
