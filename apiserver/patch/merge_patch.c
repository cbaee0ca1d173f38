/* JSON merge patch, RFC 7386. */
#include "apiserver/patch/kinds.h"
#include "apiserver/patch/members.h"
#include "common/json.h"

cJSON *merge_patch_apply(cJSON *doc, const cJSON *patch)
{
    if (!cJSON_IsObject(patch)) {
        cJSON_Delete(doc);
        return json_dup(patch);
    }
    if (!cJSON_IsObject(doc)) {
        cJSON_Delete(doc);
        doc = cJSON_CreateObject();
    }
    cleanup_members struct members m = members_of(doc);
    for (const cJSON *p = patch->child; p; p = p->next) {
        if (cJSON_IsNull(p)) {
            members_remove(&m, p->string);
            continue;
        }
        cJSON *old = members_get(&m, p->string);
        if (cJSON_IsObject(p) && cJSON_IsObject(old))
            merge_patch_apply(old, p); /* in place */
        else
            members_set(&m, p->string, merge_patch_apply(NULL, p));
    }
    return doc;
}
