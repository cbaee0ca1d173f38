/* Cells that several kinds share. */
#include "apiserver/registry/tables.h"
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

int64_t tables_fixed_now;

int64_t tables_now(void)
{
    return tables_fixed_now ? tables_fixed_now : time_now_seconds();
}

void cell_str(cJSON *cells, const char *s)
{
    cJSON_AddItemToArray(cells, cJSON_CreateString(s ? s : ""));
}

void cell_int(cJSON *cells, int64_t v)
{
    cJSON_AddItemToArray(cells, cJSON_CreateNumber((double)v));
}

void cell_name(cJSON *cells, const cJSON *object)
{
    cell_str(cells, json_str(object, "metadata.name"));
}

void cell_age(cJSON *cells, const char *timestamp)
{
    int64_t micros;
    char text[TIME_TEXT_MAX];
    if (!timestamp || !time_parse(timestamp, &micros))
        cell_str(cells, "<unknown>");
    else
        cell_str(cells, time_human_duration(tables_now() - micros / 1000000, text));
}

void cell_bool(cJSON *cells, bool v)
{
    cJSON_AddItemToArray(cells, cJSON_CreateBool(v));
}

void cell_created(cJSON *cells, const cJSON *object)
{
    cell_age(cells, json_str(object, "metadata.creationTimestamp"));
}

void cell_path(cJSON *cells, const cJSON *object, const char *path, const char *otherwise)
{
    const cJSON *v = json_path(object, path);
    cleanup_buf struct buf b = {0};
    if (cJSON_IsString(v))
        buf_adds(&b, v->valuestring);
    else if (v && !cJSON_IsNull(v))
        json_print(v, &b);
    cell_str(cells, b.len ? buf_str(&b) : otherwise);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Takes the n strings of list, not list itself. */
static void cell_sorted(cJSON *cells, char **list, size_t n)
{
    if (n == 0) {
        cell_str(cells, "<none>");
        return;
    }
    qsort(list, n, sizeof *list, compare_strings);
    cleanup_buf struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(&b, ',');
        buf_adds(&b, list[i]);
        free(list[i]);
    }
    cell_str(cells, buf_str(&b));
}

void cell_map(cJSON *cells, const cJSON *map)
{
    size_t n = 0;
    cleanup_free char **list = mem_alloc(sizeof *list * (size_t)(cJSON_GetArraySize(map) + 1));
    const cJSON *item;
    cJSON_ArrayForEach(item, map) list[n++] = mem_printf(
        "%s=%s", item->string ? item->string : "", cJSON_IsString(item) ? item->valuestring : "");
    cell_sorted(cells, list, n);
}

static char *requirement_text(const cJSON *expression)
{
    const char *key = json_str_or(expression, "key", "");
    const char *op = json_str_or(expression, "operator", "");
    if (!strcmp(op, "Exists"))
        return mem_strdup(key);
    if (!strcmp(op, "DoesNotExist"))
        return mem_printf("!%s", key);
    const cJSON *values = json_get(expression, "values");
    size_t n = 0;
    cleanup_free const char **list =
        mem_alloc(sizeof *list * (size_t)(cJSON_GetArraySize(values) + 1));
    const cJSON *v;
    cJSON_ArrayForEach(v, values) list[n++] = cJSON_IsString(v) ? v->valuestring : "";
    qsort(list, n, sizeof *list, compare_strings);
    struct buf b = {0};
    buf_printf(&b, "%s %s (", key, !strcmp(op, "NotIn") ? "notin" : "in");
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%s", i ? "," : "", list[i]);
    buf_addc(&b, ')');
    return buf_take(&b);
}

void cell_selector(cJSON *cells, const cJSON *selector)
{
    const cJSON *labels = json_get(selector, "matchLabels"),
                *expressions = json_get(selector, "matchExpressions");
    size_t n = 0;
    cleanup_free char **list = mem_alloc(
        sizeof *list * (size_t)(cJSON_GetArraySize(labels) + cJSON_GetArraySize(expressions) + 1));
    const cJSON *item;
    cJSON_ArrayForEach(item, labels) list[n++] = mem_printf(
        "%s=%s", item->string ? item->string : "", cJSON_IsString(item) ? item->valuestring : "");
    cJSON_ArrayForEach(item, expressions) list[n++] = requirement_text(item);
    cell_sorted(cells, list, n);
}

static void cell_member(cJSON *cells, const cJSON *list, const char *member)
{
    cleanup_buf struct buf b = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
        buf_printf(&b, "%s%s", item == list->child ? "" : ",", json_str_or(item, member, ""));
    cell_str(cells, buf_str(&b));
}

void cell_containers(cJSON *cells, const cJSON *pod_spec)
{
    cell_member(cells, json_get(pod_spec, "containers"), "name");
    cell_member(cells, json_get(pod_spec, "containers"), "image");
}

void row_default(const cJSON *object, cJSON *cells)
{
    cell_name(cells, object);
    cell_str(cells, json_str(object, "metadata.creationTimestamp"));
}

void row_namespace(const cJSON *ns, cJSON *cells)
{
    cell_name(cells, ns);
    cell_str(cells, json_str(ns, "status.phase"));
    cell_age(cells, json_str(ns, "metadata.creationTimestamp"));
}

void row_configmap(const cJSON *configmap, cJSON *cells)
{
    cell_name(cells, configmap);
    cell_int(cells, cJSON_GetArraySize(json_get(configmap, "data")) +
                        cJSON_GetArraySize(json_get(configmap, "binaryData")));
    cell_age(cells, json_str(configmap, "metadata.creationTimestamp"));
}

void row_secret(const cJSON *secret, cJSON *cells)
{
    cell_name(cells, secret);
    cell_str(cells, json_str(secret, "type"));
    cell_int(cells, cJSON_GetArraySize(json_get(secret, "data")));
    cell_age(cells, json_str(secret, "metadata.creationTimestamp"));
}

void row_serviceaccount(const cJSON *account, cJSON *cells)
{
    cell_name(cells, account);
    cell_age(cells, json_str(account, "metadata.creationTimestamp"));
}

void row_lease(const cJSON *lease, cJSON *cells)
{
    cell_name(cells, lease);
    cell_str(cells, json_str(lease, "spec.holderIdentity"));
    cell_age(cells, json_str(lease, "metadata.creationTimestamp"));
}

void row_scale(const cJSON *scale, cJSON *cells)
{
    cell_name(cells, scale);
    cell_int(cells, json_int(scale, "spec.replicas", 0));
    cell_int(cells, json_int(scale, "status.replicas", 0));
    cell_age(cells, json_str(scale, "metadata.creationTimestamp"));
}
