#include "kubelet/pod/env.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

#include <ctype.h>
#include <string.h>

void env_list_clear(struct env_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i].name);
        free(l->items[i].value);
    }
    free(l->items);
    *l = (struct env_list){0};
}

void env_set(struct env_list *l, const char *name, const char *value)
{
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->items[i].name, name) == 0) {
            char *copy = mem_strdup(value);
            free(l->items[i].value);
            l->items[i].value = copy;
            return;
        }
    }
    if (l->count == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 16;
        l->items = mem_realloc(l->items, l->cap * sizeof(*l->items));
    }
    l->items[l->count++] = (struct env_var){mem_strdup(name), mem_strdup(value)};
}

const char *env_get(const struct env_list *l, const char *name)
{
    for (size_t i = 0; l && i < l->count; i++)
        if (strcmp(l->items[i].name, name) == 0)
            return l->items[i].value;
    return NULL;
}

char *env_expand(const char *text, const struct env_list *vars, const struct env_list *more)
{
    cleanup_buf struct buf out = {0};
    for (const char *p = text; *p; p++) {
        if (*p != '$' || !p[1]) {
            buf_addc(&out, *p);
            continue;
        }
        p++;
        if (*p == '$') {
            buf_addc(&out, '$');
            continue;
        }
        const char *end = *p == '(' ? strchr(p, ')') : NULL;
        if (!end) { /* no reference after all */
            buf_addc(&out, '$');
            buf_addc(&out, *p);
            continue;
        }
        cleanup_free char *name = mem_strndup(p + 1, (size_t)(end - p - 1));
        const char *value = env_get(vars, name);
        if (!value)
            value = env_get(more, name);
        if (value)
            buf_adds(&out, value);
        else
            buf_printf(&out, "$(%s)", name);
        p = end;
    }
    return buf_take(&out);
}

/* "my-svc" -> "MY_SVC" */
static void add_upper(struct buf *b, const char *s)
{
    for (; *s; s++)
        buf_addc(b, *s == '-' ? '_' : (char)toupper((unsigned char)*s));
}

static void set_printf(struct env_list *l, const char *prefix, const char *suffix, const char *value)
{
    cleanup_free char *name = mem_printf("%s%s", prefix, suffix);
    env_set(l, name, value);
}

void env_add_services(struct env_list *l, const cJSON *service_list, const char *only)
{
    const cJSON *s;
    cJSON_ArrayForEach(s, json_get(service_list, "items"))
    {
        const char *name = json_str_or(s, "metadata.name", "");
        const char *ip = json_str_or(s, "spec.clusterIP", "");
        const cJSON *ports = json_path(s, "spec.ports");
        if ((only && strcmp(only, name) != 0) || !*ip || strcmp(ip, "None") == 0 || !cJSON_GetArraySize(ports))
            continue;
        cleanup_buf struct buf prefix = {0};
        add_upper(&prefix, name);
        const char *base = buf_str(&prefix);
        bool v6 = strchr(ip, ':') != NULL;
        char number[32];
        set_printf(l, base, "_SERVICE_HOST", ip);
        snprintf(number, sizeof(number), "%lld", (long long)json_int(ports->child, "port", 0));
        set_printf(l, base, "_SERVICE_PORT", number);
        const cJSON *p;
        cJSON_ArrayForEach(p, ports)
        {
            const char *port_name = json_str(p, "name");
            if (!port_name || !*port_name)
                continue;
            cleanup_buf struct buf suffix = {0};
            buf_adds(&suffix, "_SERVICE_PORT_");
            add_upper(&suffix, port_name);
            snprintf(number, sizeof(number), "%lld", (long long)json_int(p, "port", 0));
            set_printf(l, base, buf_str(&suffix), number);
        }
        bool first = true;
        cJSON_ArrayForEach(p, ports)
        {
            const char *protocol = json_str_or(p, "protocol", "TCP");
            cleanup_buf struct buf lower = {0};
            for (const char *c = protocol; *c; c++)
                buf_addc(&lower, (char)tolower((unsigned char)*c));
            snprintf(number, sizeof(number), "%lld", (long long)json_int(p, "port", 0));
            cleanup_free char *url =
                mem_printf(v6 ? "%s://[%s]:%s" : "%s://%s:%s", buf_str(&lower), ip, number);
            if (first)
                set_printf(l, base, "_PORT", url);
            first = false;
            cleanup_free char *port_base = mem_printf("%s_PORT_%s_%s", base, number, protocol);
            set_printf(l, port_base, "", url);
            set_printf(l, port_base, "_PROTO", buf_str(&lower));
            set_printf(l, port_base, "_PORT", number);
            set_printf(l, port_base, "_ADDR", ip);
        }
    }
}

static bool valid_name(const char *name)
{
    if (!*name)
        return false;
    for (; *name; name++)
        if (*name == '=' || *name < 0x20 || *name > 0x7e)
            return false;
    return true;
}

/* A Secret's value is base64 in JSON; env variables end at a NUL, as everywhere. */
static char *secret_text(const char *base64)
{
    cleanup_buf struct buf b = {0};
    buf_add_base64_decoded(&b, base64, strlen(base64));
    return buf_take(&b);
}

static bool add_env_from(const struct downward_source *downward, const cJSON *from, struct object_cache *objects,
                         struct env_list *out, int64_t began_ms, struct error **err)
{
    const cJSON *ref = json_get(from, "configMapRef");
    bool secret = !ref;
    if (secret)
        ref = json_get(from, "secretRef");
    if (!ref)
        return true;
    cleanup_error struct error *failure = NULL;
    cleanup_object struct kube_object *object =
        object_cache_get(objects, secret ? "secrets" : "configmaps", json_str_or(downward->pod, "metadata.namespace", ""),
                         json_str_or(ref, "name", ""), time_monotonic_ms() - began_ms + 1, &failure);
    if (!object) {
        if (failure && failure->code == 404 && json_bool(ref, "optional", false))
            return true;
        error_move(err, failure);
        failure = NULL;
        return false;
    }
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(object->json, "data"))
    {
        cleanup_free char *name = mem_printf("%s%s", json_str_or(from, "prefix", ""), e->string);
        if (!cJSON_IsString(e) || !valid_name(name))
            continue;
        cleanup_free char *decoded = secret ? secret_text(e->valuestring) : NULL;
        env_set(out, name, secret ? decoded : e->valuestring);
    }
    return true;
}

/* true with *value NULL: optional and absent, the variable is left out. */
static bool value_from(const struct downward_source *downward, const cJSON *container, const cJSON *source,
                       struct object_cache *objects, int64_t began_ms, char **value, struct error **err)
{
    *value = NULL;
    cleanup_buf struct buf text = {0};
    const cJSON *ref;
    if ((ref = json_get(source, "fieldRef"))) {
        if (!downward_field(downward, json_str_or(ref, "fieldPath", ""), &text, err))
            return false;
        *value = buf_take(&text);
        return true;
    }
    if ((ref = json_get(source, "resourceFieldRef"))) {
        if (!downward_resource(downward, container, ref, &text, err))
            return false;
        *value = buf_take(&text);
        return true;
    }
    bool secret = false;
    if (!(ref = json_get(source, "configMapKeyRef"))) {
        secret = true;
        if (!(ref = json_get(source, "secretKeyRef"))) {
            error_setf(err, "unsupported valueFrom");
            return false;
        }
    }
    const char *ns = json_str_or(downward->pod, "metadata.namespace", "");
    const char *name = json_str_or(ref, "name", ""), *key = json_str_or(ref, "key", "");
    bool optional = json_bool(ref, "optional", false);
    cleanup_error struct error *failure = NULL;
    cleanup_object struct kube_object *object =
        object_cache_get(objects, secret ? "secrets" : "configmaps", ns, name, time_monotonic_ms() - began_ms + 1, &failure);
    if (!object) {
        if (failure && failure->code == 404 && optional)
            return true;
        error_move(err, failure);
        failure = NULL;
        return false;
    }
    const char *found = json_map_str(json_get(object->json, "data"), key);
    if (!found) {
        if (optional)
            return true;
        error_setf(err, "couldn't find key %s in %s %s/%s", key, secret ? "Secret" : "ConfigMap", ns, name);
        return false;
    }
    *value = secret ? secret_text(found) : mem_strdup(found);
    return true;
}

bool env_build(const struct downward_source *downward, const cJSON *container, struct object_cache *objects,
               const struct env_list *services, struct env_list *out, struct error **err)
{
    /* What the API has now, for it is never renewed; but each object is fetched once. */
    int64_t began_ms = time_monotonic_ms();
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(container, "envFrom"))
    {
        if (!add_env_from(downward, e, objects, out, began_ms, err))
            return false;
    }
    cJSON_ArrayForEach(e, json_get(container, "env"))
    {
        const char *name = json_str_or(e, "name", ""), *value = json_str(e, "value");
        const cJSON *source = json_get(e, "valueFrom");
        cleanup_free char *final = NULL;
        if (source && (!value || !*value)) {
            if (!value_from(downward, container, source, objects, began_ms, &final, err))
                return false;
            if (!final)
                continue;
        } else {
            final = env_expand(value ? value : "", out, services);
        }
        if (*name)
            env_set(out, name, final);
    }
    for (size_t i = 0; services && i < services->count; i++)
        if (!env_get(out, services->items[i].name))
            env_set(out, services->items[i].name, services->items[i].value);
    return true;
}
