/* Fuzz target: an Ingress as JSON, turned into what nginx is told. Whatever it is, the document can
 * be read again, its hosts are DNS names, and none of its strings has what would end a string
 * anywhere. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "ingress-controller/model.h"

static void check_text(const char *s)
{
    for (; s && *s; s++)
        if (*s <= ' ' || *s > '~')
            __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_json cJSON *o = json_parse((const char *)data, size, NULL);
    if (!o)
        return 0;
    /* What the API server would have put there. */
    if (!json_str(o, "metadata.name") && cJSON_IsObject(o)) {
        json_set_str(o, "metadata.name", "i");
        json_set_str(o, "metadata.namespace", "n");
    }
    cleanup_buf struct buf warnings = {0};
    cleanup_error struct error *err = NULL;
    struct ingress *i = ingress_new(o, &warnings, &err);
    if (!i)
        return 0;
    cleanup_json cJSON *routes = model_routes(&i, 1, NULL, NULL);
    cleanup_free char *text = json_text(routes);
    cleanup_json cJSON *again = json_parse(text, strlen(text), NULL);
    if (!again || !json_equal(routes, again))
        __builtin_trap();
    const cJSON *server, *l;
    cJSON_ArrayForEach(server, json_get(again, "servers"))
    {
        if (!ingress_host_valid(server->string))
            __builtin_trap();
        cJSON_ArrayForEach(l, json_get(server, "locations"))
        {
            check_text(json_str(l, "path"));
            check_text(json_str(l, "backend"));
            check_text(json_str(l, "rewrite"));
            cJSON_Delete(model_endpoints(json_str(l, "backend"), o, &(struct kube_object_list){0}));
        }
    }
    ingress_free(i);
    return 0;
}
