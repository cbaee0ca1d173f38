#include "apiserver/openapi/document.h"
#include <stdlib.h>
#include "apiserver/openapi/groups.h"
#include "common/component.h"
#include "common/mem.h"

void document_free(struct document *d)
{
    key_index_clear(&d->known);
    free(d->types);
}

void openapi_document(struct buf *out, bool v2, const char *group, const char *version)
{
    struct document d = {.w = {.out = out}, .v2 = v2};
    struct json_writer *w = &d.w;
    json_begin(w, '{');
    json_member(w, v2 ? "swagger" : "openapi", v2 ? "2.0" : "3.0.0");
    json_key(w, "info");
    json_begin(w, '{');
    json_member(w, "title", "Kubernetes");
    json_member(w, "version", KUBERNETES_VERSION);
    json_end(w, '}');
    json_key(w, "paths");
    json_begin(w, '{');
    if (group) {
        document_add_paths(&d, group, version);
    } else {
        const struct resource_list *all = resource_all();
        for (size_t i = 0; i < all->count; i++)
            if (group_version_first(all, i))
                document_add_paths(&d, all->items[i]->group, all->items[i]->version);
    }
    json_end(w, '}');
    json_key(w, v2 ? "definitions" : "components");
    json_begin(w, '{');
    if (!v2) {
        json_key(w, "schemas");
        json_begin(w, '{');
    }
    document_add_schemas(&d);
    if (!v2)
        json_end(w, '}');
    json_end(w, '}');
    json_end(w, '}');
    document_free(&d);
}
