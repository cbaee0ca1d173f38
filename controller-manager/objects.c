#include "controller-manager/objects.h"
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/strmap.h"

/* Characters of Kubernetes' generated names: no vowels and no look-alikes, so that no words come
 * out. */
static const char safe_alphabet[] = "bcdfghjklmnpqrstvwxz2456789";

/* --- metadata --- */

static const cJSON *meta(const cJSON *o)
{
    return json_get(o, "metadata");
}

static const char *string_member(const cJSON *o, const char *key, const char *otherwise)
{
    const cJSON *item = json_get(o, key);
    return cJSON_IsString(item) ? item->valuestring : otherwise;
}

const char *meta_name(const cJSON *o)
{
    return string_member(meta(o), "name", "");
}

const char *meta_ns(const cJSON *o)
{
    return string_member(meta(o), "namespace", "");
}

const char *meta_uid(const cJSON *o)
{
    return string_member(meta(o), "uid", "");
}

const char *meta_annotation(const cJSON *o, const char *key)
{
    return json_map_str(json_get(meta(o), "annotations"), key);
}

void meta_set_annotation(cJSON *o, const char *key, const char *value)
{
    json_map_set_str(json_ensure_object(o, "metadata.annotations"), key, value);
}

void map_remove(cJSON *map, const char *key)
{
    cJSON *item = json_get(map, key);
    if (item)
        cJSON_Delete(cJSON_DetachItemViaPointer(map, item));
}

const cJSON *meta_labels(const cJSON *o)
{
    return json_get(meta(o), "labels");
}

int64_t json_time(const cJSON *o, const char *dotted, int64_t otherwise)
{
    const char *text = json_str(o, dotted);
    int64_t micros;
    return text && time_parse(text, &micros) ? micros / 1000000 : otherwise;
}

int64_t meta_created(const cJSON *o)
{
    return json_time(o, "metadata.creationTimestamp", 0);
}

bool meta_deleting(const cJSON *o)
{
    return cJSON_IsString(json_get(meta(o), "deletionTimestamp"));
}

bool meta_has_finalizer(const cJSON *o, const char *finalizer)
{
    const cJSON *f;
    cJSON_ArrayForEach(f, json_get(meta(o), "finalizers")) if (cJSON_IsString(f) &&
                                                               strcmp(f->valuestring, finalizer) ==
                                                                   0) return true;
    return false;
}

int64_t meta_generation(const cJSON *o)
{
    return json_int(meta(o), "generation", 0);
}

unsigned long long meta_version(const cJSON *o)
{
    return strtoull(string_member(meta(o), "resourceVersion", "0"), NULL, 10);
}

char *time_now_text(char out[40])
{
    return time_format(time_now_seconds(), out);
}

/* --- ownership --- */

const cJSON *controller_ref(const cJSON *o)
{
    const cJSON *ref;
    cJSON_ArrayForEach(
        ref, json_get(meta(o),
                      "ownerReferences")) if (cJSON_IsTrue(json_get(ref, "controller"))) return ref;
    return NULL;
}

const char *controller_uid(const cJSON *o)
{
    return string_member(controller_ref(o), "uid", NULL);
}

cJSON *controller_ref_new(const char *api_version, const char *kind, const cJSON *owner)
{
    cJSON *ref = cJSON_CreateObject();
    json_map_set_str(ref, "apiVersion", api_version);
    json_map_set_str(ref, "kind", kind);
    json_map_set_str(ref, "name", meta_name(owner));
    json_map_set_str(ref, "uid", meta_uid(owner));
    json_map_set(ref, "controller", cJSON_CreateTrue());
    json_map_set(ref, "blockOwnerDeletion", cJSON_CreateTrue());
    return ref;
}

char *orphan_index_value(const char *ns)
{
    return mem_printf("orphan/%s", ns);
}

void index_controller(const cJSON *object, void (*add)(void *, const char *), void *ctx)
{
    const char *uid = controller_uid(object);
    if (uid) {
        add(ctx, uid);
        return;
    }
    cleanup_free char *value = orphan_index_value(meta_ns(object));
    add(ctx, value);
}

/* --- conditions --- */

cJSON *condition_find(const cJSON *conditions, const char *type)
{
    cJSON *c;
    cJSON_ArrayForEach(c, conditions) if (strcmp(string_member(c, "type", ""), type) == 0) return c;
    return NULL;
}

bool condition_is(const cJSON *o, const char *type, const char *status)
{
    const cJSON *c = condition_find(json_path(o, "status.conditions"), type);
    return c && strcmp(string_member(c, "status", ""), status) == 0;
}

bool condition_set(cJSON *conditions, const char *type, const char *status, const char *reason,
                   const char *message)
{
    char now[TIME_TEXT_MAX];
    cJSON *c = condition_find(conditions, type);
    if (c && strcmp(string_member(c, "status", ""), status) == 0 &&
        strcmp(string_member(c, "reason", ""), reason ? reason : "") == 0 &&
        strcmp(string_member(c, "message", ""), message ? message : "") == 0)
        return false;
    bool moved = !c || strcmp(string_member(c, "status", ""), status) != 0;
    if (!c) {
        c = cJSON_CreateObject();
        json_map_set_str(c, "type", type);
        cJSON_AddItemToArray(conditions, c);
    }
    json_map_set_str(c, "status", status);
    if (moved)
        json_map_set_str(c, "lastTransitionTime", time_now_text(now));
    json_map_set_str(c, "reason", reason);
    json_map_set_str(c, "message", message);
    return true;
}

/* --- pods --- */

const char *pod_phase(const cJSON *pod)
{
    return string_member(json_get(pod, "status"), "phase", "");
}

bool pod_terminal(const cJSON *pod)
{
    const char *phase = pod_phase(pod);
    return strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
}

bool pod_active(const cJSON *pod)
{
    return !pod_terminal(pod) && !meta_deleting(pod);
}

bool pod_ready(const cJSON *pod)
{
    return condition_is(pod, "Ready", "True");
}

int64_t pod_available_in(const cJSON *pod, int64_t min_ready_seconds, int64_t now)
{
    const cJSON *c = condition_find(json_path(pod, "status.conditions"), "Ready");
    if (!c || strcmp(string_member(c, "status", ""), "True") != 0)
        return -1;
    if (min_ready_seconds <= 0)
        return 0;
    int64_t since = json_time(c, "lastTransitionTime", now);
    int64_t left = since + min_ready_seconds - now;
    return left > 0 ? left : 0;
}

bool pod_available(const cJSON *pod, int64_t min_ready_seconds, int64_t now)
{
    return pod_available_in(pod, min_ready_seconds, now) == 0;
}

cJSON *pod_from_template(const cJSON *owner, const char *api_version, const char *kind)
{
    const cJSON *template = json_path(owner, "spec.template");
    cJSON *pod = cJSON_CreateObject();
    json_map_set_str(pod, "apiVersion", "v1");
    json_map_set_str(pod, "kind", "Pod");
    cJSON *m = json_ensure_object(pod, "metadata");
    cleanup_free char *prefix = mem_printf("%s-", meta_name(owner));
    json_map_set_str(m, "generateName", prefix);
    json_map_set_str(m, "namespace", meta_ns(owner));
    static const char *const copied[] = {"labels", "annotations", "finalizers"};
    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        const cJSON *from = json_get(meta(template), copied[i]);
        if (from && !cJSON_IsNull(from))
            json_map_set(m, copied[i], json_dup(from));
    }
    cJSON_AddItemToArray(json_ensure_array(pod, "metadata.ownerReferences"),
                         controller_ref_new(api_version, kind, owner));
    const cJSON *spec = json_get(template, "spec");
    json_map_set(pod, "spec", spec ? json_dup(spec) : cJSON_CreateObject());
    return pod;
}

char *name_generate(const char *prefix)
{
    /* Kubernetes' names.SimpleNameGenerator: at most 63 characters, of which five are random. */
    unsigned char random[5];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        memset(random, (int)(time_now_micros() & 0xff), sizeof(random));
    char suffix[6] = {0};
    for (size_t i = 0; i < sizeof(random); i++)
        suffix[i] = safe_alphabet[random[i] % (sizeof(safe_alphabet) - 1)];
    return mem_printf("%.58s%s", prefix, suffix);
}

/* --- pod templates --- */

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static void print_canonical(const cJSON *o, struct buf *b)
{
    if (cJSON_IsObject(o)) {
        int n = cJSON_GetArraySize(o), used = 0;
        cleanup_free const cJSON **members = mem_alloc(((size_t)n + 1) * sizeof(*members));
        const cJSON *c;
        cJSON_ArrayForEach(c, o) if (!cJSON_IsNull(c) && c->string) members[used++] = c;
        qsort(members, (size_t)used, sizeof(*members), by_key);
        buf_addc(b, '{');
        for (int i = 0; i < used; i++) {
            if (i)
                buf_addc(b, ',');
            json_print_string(members[i]->string, strlen(members[i]->string), b);
            buf_addc(b, ':');
            print_canonical(members[i], b);
        }
        buf_addc(b, '}');
    } else if (cJSON_IsArray(o)) {
        const cJSON *c;
        bool first = true;
        buf_addc(b, '[');
        cJSON_ArrayForEach(c, o)
        {
            if (!first)
                buf_addc(b, ',');
            first = false;
            print_canonical(c, b);
        }
        buf_addc(b, ']');
    } else {
        json_print(o, b);
    }
}

char *json_canonical_text(const cJSON *o)
{
    struct buf b = {0};
    print_canonical(o, &b);
    return buf_take(&b);
}

char *pod_template_hash(const cJSON *pod_template, int64_t collision_count)
{
    cleanup_free char *text = json_canonical_text(pod_template);
    uint32_t h = fnv32(FNV32_START, text, strlen(text));
    if (collision_count >= 0) {
        uint64_t n = (uint64_t)collision_count;
        unsigned char bytes[8];
        for (int i = 0; i < 8; i++)
            bytes[i] = (unsigned char)(n >> (8 * i));
        h = fnv32(h, bytes, sizeof(bytes));
    }
    char *out = mem_printf("%u", h);
    for (char *p = out; *p; p++)
        *p = safe_alphabet[(unsigned char)*p % (sizeof(safe_alphabet) - 1)];
    return out;
}

static cJSON *without_hash(const cJSON *pod_template)
{
    cJSON *copy = json_dup(pod_template);
    cJSON *m = json_get(copy, "metadata");
    cJSON *labels = json_get(m, "labels");
    map_remove(labels, "pod-template-hash");
    static const char *const maps[] = {"labels", "annotations"};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        cJSON *map = json_get(m, maps[i]);
        if (map && !map->child)
            cJSON_Delete(cJSON_DetachItemViaPointer(m, map));
    }
    return copy;
}

bool pod_template_equal(const cJSON *a, const cJSON *b)
{
    cleanup_json cJSON *x = without_hash(a);
    cleanup_json cJSON *y = without_hash(b);
    cleanup_free char *tx = json_canonical_text(x);
    cleanup_free char *ty = json_canonical_text(y);
    return strcmp(tx, ty) == 0;
}

bool int_or_percent(const cJSON *value, int64_t total, bool round_up, int64_t *out)
{
    *out = 0;
    if (!value || cJSON_IsNull(value))
        return true;
    if (cJSON_IsNumber(value)) {
        *out = (int64_t)value->valuedouble;
        return true;
    }
    if (!cJSON_IsString(value))
        return false;
    char *end;
    long percent = strtol(value->valuestring, &end, 10);
    if (end == value->valuestring || strcmp(end, "%") != 0 || percent < 0 || percent > 1000000)
        return false;
    *out = (percent * total + (round_up ? 99 : 0)) / 100;
    return true;
}

/* --- taints --- */

struct taint taint_from_json(const cJSON *t)
{
    return (struct taint){.key = string_member(t, "key", ""),
                          .value = string_member(t, "value", ""),
                          .effect = string_member(t, "effect", ""),
                          .time_added = string_member(t, "timeAdded", NULL)};
}

bool toleration_tolerates(const cJSON *toleration, const struct taint *t)
{
    const char *effect = string_member(toleration, "effect", "");
    const char *key = string_member(toleration, "key", "");
    const char *operator= string_member(toleration, "operator", "");
    const char *value = string_member(toleration, "value", "");
    if (*effect && strcmp(effect, t->effect) != 0)
        return false;
    if (*key && strcmp(key, t->key) != 0)
        return false;
    if (!*operator|| strcmp(operator, "Equal") == 0)
        return strcmp(value, t->value) == 0;
    if (strcmp(operator, "Exists") == 0)
        return true;
    if (strcmp(operator, "Lt") == 0 || strcmp(operator, "Gt") == 0) {
        char *end_a, *end_b;
        long long have = strtoll(t->value, &end_a, 10), bound = strtoll(value, &end_b, 10);
        if (*end_a || *end_b || !*t->value || !*value)
            return false;
        return *operator== 'L' ? have < bound : have> bound;
    }
    return false;
}
