/* Rows of PriorityClasses and ResourceQuotas. */
#include <stdlib.h>
#include <string.h>
#include "apiserver/registry/tables.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

void row_priorityclass(const cJSON *class, cJSON *cells)
{
    cell_name(cells, class);
    cell_int(cells, json_int(class, "value", 0));
    cJSON_AddItemToArray(cells, cJSON_CreateBool(json_bool(class, "globalDefault", false)));
    cell_age(cells, json_str(class, "metadata.creationTimestamp"));
    cell_str(cells, json_str_or(class, "preemptionPolicy", "PreemptLowerPriority"));
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "cpu: 1/2, pods: 3/4" */
static void cell_usage(cJSON *cells, const cJSON *quota, bool limits)
{
    const cJSON *hard = json_path(quota, "spec.hard"), *used = json_path(quota, "status.used"), *h;
    cleanup_free const char **names =
        mem_alloc(sizeof *names * ((size_t)cJSON_GetArraySize(hard) + 1));
    size_t n = 0;
    cJSON_ArrayForEach(h, hard) if (!strncmp(h->string, "limits.", 7) == limits) names[n++] =
        h->string;
    qsort(names, n, sizeof *names, compare_text);
    cleanup_buf struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        const char *now = json_map_str(used, names[i]), *most = json_map_str(hard, names[i]);
        buf_printf(&b, "%s%s: %s/%s", i ? ", " : "", names[i], now ? now : "0", most ? most : "0");
    }
    cell_str(cells, buf_str(&b));
}

void row_resourcequota(const cJSON *quota, cJSON *cells)
{
    cell_name(cells, quota);
    cell_usage(cells, quota, false);
    cell_usage(cells, quota, true);
    cell_age(cells, json_str(quota, "metadata.creationTimestamp"));
}
