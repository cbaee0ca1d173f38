#include "scheduler/resources.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"

#define DEFAULT_CPU    100
#define DEFAULT_MEMORY (INT64_C(200) << 20)

static int64_t *scalar_at(struct resources *r, const char *name)
{
    for (size_t i = 0; i < r->scalar_count; i++)
        if (!strcmp(r->scalars[i].name, name))
            return &r->scalars[i].value;
    r->scalars = mem_realloc(r->scalars, (r->scalar_count + 1) * sizeof(*r->scalars));
    r->scalars[r->scalar_count] = (struct scalar){mem_strdup(name), 0};
    return &r->scalars[r->scalar_count++].value;
}

void resources_from_json(struct resources *r, const cJSON *list)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        /* The API writes quantities as strings, but clients may send numbers. */
        char number[32];
        const char *text = item->valuestring;
        if (!item->string)
            return; /* no map */
        if (cJSON_IsNumber(item)) {
            snprintf(number, sizeof(number), "%.15g", item->valuedouble);
            text = number;
        } else if (!cJSON_IsString(item)) {
            continue;
        }
        const char *name = item->string;
        if (!strcmp(name, "cpu"))
            r->cpu = quantity_text_milli(text);
        else if (!strcmp(name, "memory"))
            r->memory = quantity_text_value(text);
        else if (!strcmp(name, "ephemeral-storage"))
            r->ephemeral_storage = quantity_text_value(text);
        else if (!strcmp(name, "pods"))
            r->pods = quantity_text_value(text);
        else
            *scalar_at(r, name) = quantity_text_value(text);
    }
}

static int64_t add_capped(int64_t a, int64_t b, int sign)
{
    int64_t v;
    if (sign > 0 ? __builtin_add_overflow(a, b, &v) : __builtin_sub_overflow(a, b, &v))
        return sign > 0 ? INT64_MAX : INT64_MIN;
    return v;
}

void resources_add(struct resources *r, const struct resources *other, int sign)
{
    r->cpu = add_capped(r->cpu, other->cpu, sign);
    r->memory = add_capped(r->memory, other->memory, sign);
    r->ephemeral_storage = add_capped(r->ephemeral_storage, other->ephemeral_storage, sign);
    r->pods = add_capped(r->pods, other->pods, sign);
    for (size_t i = 0; i < other->scalar_count; i++) {
        int64_t *v = scalar_at(r, other->scalars[i].name);
        *v = add_capped(*v, other->scalars[i].value, sign);
    }
}

#define RAISE(to, from)                                                                                      \
    do {                                                                                                     \
        if ((from) > (to))                                                                                   \
            (to) = (from);                                                                                   \
    } while (0)

void resources_max(struct resources *r, const struct resources *other)
{
    RAISE(r->cpu, other->cpu);
    RAISE(r->memory, other->memory);
    RAISE(r->ephemeral_storage, other->ephemeral_storage);
    RAISE(r->pods, other->pods);
    for (size_t i = 0; i < other->scalar_count; i++) {
        int64_t *v = scalar_at(r, other->scalars[i].name);
        RAISE(*v, other->scalars[i].value);
    }
}

int64_t resources_scalar(const struct resources *r, const char *name)
{
    for (size_t i = 0; i < r->scalar_count; i++)
        if (!strcmp(r->scalars[i].name, name))
            return r->scalars[i].value;
    return 0;
}

void resources_clear(struct resources *r)
{
    for (size_t i = 0; i < r->scalar_count; i++)
        free(r->scalars[i].name);
    free(r->scalars);
    *r = (struct resources){0};
}

static void container_requests(struct resources *r, const cJSON *container, int nonzero)
{
    const cJSON *requests = json_path(container, "resources.requests");
    resources_from_json(r, requests);
    if (nonzero && !json_get(requests, "cpu"))
        r->cpu = DEFAULT_CPU;
    if (nonzero && !json_get(requests, "memory"))
        r->memory = DEFAULT_MEMORY;
}

void resources_of_pod(struct resources *r, const cJSON *spec, int nonzero)
{
    const cJSON *container;
    cJSON_ArrayForEach(container, json_get(spec, "containers")) {
        struct resources one = {0};
        container_requests(&one, container, nonzero);
        resources_add(r, &one, 1);
        resources_clear(&one);
    }
    /* Init containers run one after the other, beside the sidecars started before them. */
    struct resources sidecars = {0}, peak = {0};
    cJSON_ArrayForEach(container, json_get(spec, "initContainers")) {
        struct resources one = {0};
        container_requests(&one, container, nonzero);
        if (!strcmp(json_str_or(container, "restartPolicy", ""), "Always")) {
            resources_add(r, &one, 1);
            resources_add(&sidecars, &one, 1);
            resources_max(&peak, &sidecars);
        } else {
            resources_add(&one, &sidecars, 1);
            resources_max(&peak, &one);
        }
        resources_clear(&one);
    }
    resources_max(r, &peak);
    resources_clear(&peak);
    resources_clear(&sidecars);

    /* Requests of the pod as a whole replace the containers' sums, for the resources that it names. */
    const cJSON *pod_level = json_path(spec, "resources.requests");
    if (pod_level) {
        struct resources whole = {0};
        resources_from_json(&whole, pod_level);
        if (json_get(pod_level, "cpu"))
            r->cpu = whole.cpu;
        if (json_get(pod_level, "memory"))
            r->memory = whole.memory;
        for (size_t i = 0; i < whole.scalar_count; i++)
            *scalar_at(r, whole.scalars[i].name) = whole.scalars[i].value;
        resources_clear(&whole);
    }
    struct resources overhead = {0};
    resources_from_json(&overhead, json_get(spec, "overhead"));
    resources_add(r, &overhead, 1);
    resources_clear(&overhead);
    r->pods = 1;
}
