/* LimitRanger: what containers ask for when they don't say, and how little and how much they may.
 * https://kubernetes.io/docs/concepts/policy/limit-range/ */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/quota.h"

#define ANNOTATION "kubernetes.io/limit-ranger"

struct ranger {
    cJSON *pod;          /* to fill in, or */
    const cJSON *object; /* to judge */
    bool claim;          /* a PersistentVolumeClaim */
    struct buf set, wrong;
    size_t wrong_count;
};

/* --- defaults --- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Fills in the members that are missing from list; notes their names. */
static void fill(struct ranger *r, cJSON *container, const char *list, const cJSON *defaults,
                 const char *what, const char *kind)
{
    const char *names[64];
    size_t n = 0;
    const cJSON *d;
    cJSON_ArrayForEach(d, defaults)
    {
        cleanup_free char *path = mem_printf("resources.%s", list);
        cJSON *have = json_ensure_object(container, path);
        if (json_get(have, d->string))
            continue;
        json_map_set(have, d->string, json_dup(d));
        if (n < ARRAY_LEN(names))
            names[n++] = d->string;
    }
    if (!n)
        return;
    qsort(names, n, sizeof *names, compare_text);
    buf_adds(&r->set, r->set.len ? "; " : "");
    for (size_t i = 0; i < n; i++)
        buf_printf(&r->set, "%s%s", i ? ", " : "", names[i]);
    buf_printf(&r->set, " %s for %s %s", what, kind, json_str_or(container, "name", ""));
}

static void fill_containers(struct ranger *r, const char *list, const char *kind,
                            const cJSON *limit)
{
    cJSON *c;
    cJSON_ArrayForEach(c, json_path(r->pod, list))
    {
        if (!cJSON_IsObject(c))
            continue;
        fill(r, c, "requests", json_get(limit, "defaultRequest"), "request", kind);
        fill(r, c, "limits", json_get(limit, "default"), "limit", kind);
    }
}

static bool fill_from(void *ctx, const cJSON *range)
{
    struct ranger *r = ctx;
    const cJSON *limit;
    cJSON_ArrayForEach(limit, json_path(range, "spec.limits"))
    {
        if (strcmp(json_str_or(limit, "type", ""), "Container") != 0)
            continue;
        fill_containers(r, "spec.containers", "container", limit);
        fill_containers(r, "spec.initContainers", "init container", limit);
    }
    return true;
}

void limit_ranger_default(struct write *w, cJSON *pod)
{
    struct ranger r = {.pod = pod};
    admission_each(w->req->storage, "", "limitranges", w->ns, fill_from, &r);
    if (r.set.len) {
        cleanup_free char *text = mem_printf("LimitRanger plugin set: %s", buf_str(&r.set));
        json_map_set_str(json_ensure_object(pod, "metadata.annotations"), ANNOTATION, text);
    }
    buf_free(&r.set);
}

/* --- judging --- */

static void wrong(struct ranger *r, char *text_taken)
{
    cleanup_free char *text = text_taken;
    buf_printf(&r->wrong, "%s%s", r->wrong_count++ ? ", " : "", text);
}

static bool amount(const cJSON *list, const char *name, struct quantity *q)
{
    const cJSON *v = json_get(list, name);
    return cJSON_IsString(v) && quantity_parse(v->valuestring, q);
}

static const char *shown(struct quantity q, char buffer[QUANTITY_TEXT_MAX])
{
    return quantity_print(q, buffer);
}

static void check_min(struct ranger *r, const char *type, const char *name, struct quantity min,
                      const cJSON *requests, const cJSON *limits)
{
    struct quantity q;
    char a[QUANTITY_TEXT_MAX], b[QUANTITY_TEXT_MAX];
    shown(min, a);
    if (!amount(requests, name, &q))
        wrong(r,
              mem_printf("minimum %s usage per %s is %s.  No request is specified", name, type, a));
    else if (q.nano < min.nano)
        wrong(r, mem_printf("minimum %s usage per %s is %s, but request is %s", name, type, a,
                            shown(q, b)));
    else if (amount(limits, name, &q) && q.nano < min.nano)
        wrong(r, mem_printf("minimum %s usage per %s is %s, but limit is %s", name, type, a,
                            shown(q, b)));
}

static void check_max(struct ranger *r, const char *type, const char *name, struct quantity max,
                      const cJSON *requests, const cJSON *limits)
{
    struct quantity q;
    char a[QUANTITY_TEXT_MAX], b[QUANTITY_TEXT_MAX];
    shown(max, a);
    if (!r->claim) {
        if (!amount(limits, name, &q)) {
            wrong(r, mem_printf("maximum %s usage per %s is %s.  No limit is specified", name, type,
                                a));
            return;
        }
        if (q.nano > max.nano) {
            wrong(r, mem_printf("maximum %s usage per %s is %s, but limit is %s", name, type, a,
                                shown(q, b)));
            return;
        }
    }
    if (amount(requests, name, &q) && q.nano > max.nano)
        wrong(r, mem_printf("maximum %s usage per %s is %s, but request is %s", name, type, a,
                            shown(q, b)));
}

static void check_ratio(struct ranger *r, const char *type, const char *name, struct quantity max,
                        const cJSON *requests, const cJSON *limits)
{
    struct quantity request, limit;
    char a[QUANTITY_TEXT_MAX];
    shown(max, a);
    const char *start = "max limit to request ratio per";
    if (!amount(requests, name, &request) || request.nano == 0) {
        wrong(r, mem_printf("%s %s %s is %s, but no request is specified or request is 0", name,
                            start, type, a));
    } else if (!amount(limits, name, &limit) || limit.nano == 0) {
        wrong(r, mem_printf("%s %s %s is %s, but no limit is specified or limit is 0", name, start,
                            type, a));
    } else {
        double ratio = (double)limit.nano / (double)request.nano;
        if (ratio > (double)max.nano / 1e9)
            wrong(r, mem_printf("%s %s %s is %s, but provided ratio is %f", name, start, type, a,
                                ratio));
    }
}

static void check_limit(struct ranger *r, const char *type, const cJSON *limit,
                        const cJSON *requests, const cJSON *limits)
{
    const cJSON *m;
    struct quantity q;
    cJSON_ArrayForEach(m, json_get(limit, "min")) if (amount(json_get(limit, "min"), m->string, &q))
        check_min(r, type, m->string, q, requests, limits);
    cJSON_ArrayForEach(m, json_get(limit, "max")) if (amount(json_get(limit, "max"), m->string, &q))
        check_max(r, type, m->string, q, requests, limits);
    cJSON_ArrayForEach(
        m,
        json_get(limit, "maxLimitRequestRatio")) if (amount(json_get(limit, "maxLimitRequestRatio"),
                                                            m->string, &q))
        check_ratio(r, type, m->string, q, requests, limits);
}

static void check_containers(struct ranger *r, const char *list, const cJSON *limit)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(r->object, list))
        check_limit(r, "Container", limit, json_path(c, "resources.requests"),
                    json_path(c, "resources.limits"));
}

static bool check_range(void *ctx, const cJSON *range)
{
    struct ranger *r = ctx;
    const cJSON *limit;
    cJSON_ArrayForEach(limit, json_path(range, "spec.limits"))
    {
        const char *type = json_str_or(limit, "type", "");
        if (r->claim) {
            if (!strcmp(type, "PersistentVolumeClaim"))
                check_limit(r, type, limit, json_path(r->object, "spec.resources.requests"), NULL);
        } else if (!strcmp(type, "Container")) {
            check_containers(r, "spec.containers", limit);
            check_containers(r, "spec.initContainers", limit);
        } else if (!strcmp(type, "Pod")) {
            cleanup_json cJSON *requests = quota_pod_amounts(r->object, "requests"),
                               *limits = quota_pod_amounts(r->object, "limits");
            check_limit(r, type, limit, requests, limits);
        }
    }
    return true;
}

bool limit_ranger_admit(struct write *w, const cJSON *object, struct error **err)
{
    bool claim = write_is(w->r, "", "PersistentVolumeClaim");
    if ((*w->sub && strcmp(w->sub, "resize")) || (!claim && !write_is(w->r, "", "Pod")))
        return true;
    struct ranger r = {.object = object, .claim = claim};
    admission_each(w->req->storage, "", "limitranges", w->ns, check_range, &r);
    if (r.wrong_count) {
        cleanup_free char *why = r.wrong_count > 1 ? mem_printf("[%s]", buf_str(&r.wrong))
                                                   : mem_strdup(buf_str(&r.wrong));
        api_error_forbidden(err, w->r, json_str_or(object, "metadata.name", ""), why);
    }
    buf_free(&r.wrong);
    return r.wrong_count == 0;
}
