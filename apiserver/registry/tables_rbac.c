/* Rows of role bindings. */
#include <string.h>
#include "apiserver/registry/tables.h"
#include "common/buf.h"
#include "common/json.h"

/* Names of the subjects of one kind: "jane, joe". */
static void cell_subjects(cJSON *cells, const cJSON *subjects, const char *kind)
{
    cleanup_buf struct buf b = {0};
    const cJSON *s;
    cJSON_ArrayForEach(s, subjects)
    {
        if (strcmp(json_str_or(s, "kind", ""), kind) != 0)
            continue;
        if (b.len)
            buf_adds(&b, ", ");
        if (!strcmp(kind, "ServiceAccount"))
            buf_printf(&b, "%s/", json_str_or(s, "namespace", ""));
        buf_adds(&b, json_str_or(s, "name", ""));
    }
    cell_str(cells, buf_str(&b));
}

void row_rolebinding(const cJSON *binding, cJSON *cells)
{
    cleanup_buf struct buf role = {0};
    buf_printf(&role, "%s/%s", json_str_or(binding, "roleRef.kind", ""),
               json_str_or(binding, "roleRef.name", ""));
    const cJSON *subjects = json_get(binding, "subjects");
    cell_name(cells, binding);
    cell_str(cells, buf_str(&role));
    cell_age(cells, json_str(binding, "metadata.creationTimestamp"));
    cell_subjects(cells, subjects, "User");
    cell_subjects(cells, subjects, "Group");
    cell_subjects(cells, subjects, "ServiceAccount");
}
