#include <string.h>
#include "apiserver/auth/auth.h"
#include "apiserver/auth/rbac.h"
#include "common/json.h"
#include "common/mem.h"

void auth_attributes_of(const struct api_request *req, struct auth_attributes *out)
{
    const struct request_info *i = &req->info;
    *out = (struct auth_attributes){
        .user = &req->user,
        .verb = i->verb,
        .is_resource = i->is_resource,
        .group = i->group,
        .version = i->version,
        .resource = i->resource,
        .subresource = i->subresource,
        .ns = i->ns,
        .name = i->name,
        .path = i->path,
    };
}

bool auth_allowed(const struct auth_attributes *a, struct buf *reason)
{
    if (api_user_in_group(a->user, GROUP_MASTERS))
        return true;
    bool decided = false;
    if (node_authorize(a, &decided, reason))
        return true;
    return rbac_allowed(a);
}

void auth_forbidden(struct error **err, const struct auth_attributes *a, const char *reason)
{
    if (!err)
        return;
    cleanup_buf struct buf b = {0};
    if (!a->is_resource) {
        buf_printf(&b, "forbidden: User \"%s\" cannot %s path \"%s\"", a->user->name, a->verb,
                   a->path);
    } else {
        buf_adds(&b, a->resource);
        if (*a->group)
            buf_printf(&b, ".%s", a->group);
        if (*a->name)
            buf_printf(&b, " \"%s\"", a->name);
        buf_printf(&b,
                   " is forbidden: User \"%s\" cannot %s resource \"%s%s%s\" in API group \"%s\"",
                   a->user->name, a->verb, a->resource, *a->subresource ? "/" : "", a->subresource,
                   a->group);
        if (*a->ns)
            buf_printf(&b, " in the namespace \"%s\"", a->ns);
        else
            buf_adds(&b, " at the cluster scope");
    }
    if (reason && *reason)
        buf_printf(&b, ": %s", reason);
    error_set(err, 403, "Forbidden", "%s", buf_str(&b));
    cleanup_json cJSON *details = cJSON_CreateObject();
    if (a->is_resource) {
        if (*a->name)
            json_map_set_str(details, "name", a->name);
        if (*a->group)
            json_map_set_str(details, "group", a->group);
        json_map_set_str(details, "kind", a->resource);
    }
    (*err)->details = json_text(details);
}

bool auth_authorize(struct api_request *req, struct error **err)
{
    if (!auth_impersonate(req, err))
        return false;
    struct auth_attributes a;
    auth_attributes_of(req, &a);
    cleanup_buf struct buf reason = {0};
    if (auth_allowed(&a, &reason))
        return true;
    auth_forbidden(err, &a, buf_str(&reason));
    return false;
}
