/* Objects of a namespace as the watch cache has them. */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "apiserver/storage/cacher.h"
#include "common/json.h"

bool admission_each(struct storage *storage, const char *group, const char *plural, const char *ns,
                    bool (*fn)(void *ctx, const cJSON *object), void *ctx)
{
    const struct resource *r = resource_find(group, "v1", plural);
    struct cache *c = r ? storage_cache(storage, r) : NULL;
    if (!c)
        return true;
    cleanup_buf struct buf prefix = {0};
    cache_prefix(c, r->namespaced ? ns : "", &prefix);
    uint64_t revision;
    struct tree_root *root = cache_snapshot(c, &revision);
    struct tree_cursor cursor;
    struct stored *s;
    bool go_on = true;
    tree_seek(&cursor, root, buf_str(&prefix), false);
    while (go_on && (s = tree_next(&cursor)) && !strncmp(s->key, buf_str(&prefix), prefix.len)) {
        cleanup_json cJSON *object = json_parse(s->json, s->len, NULL);
        go_on = !object || fn(ctx, object);
    }
    tree_root_unref(root);
    return go_on;
}
