/* Acting as somebody else:
 * https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation */
#include <string.h>
#include <ctype.h>
#include "apiserver/auth/auth.h"
#include "common/json.h"
#include "common/mem.h"

enum { GROUPS_MAX = 64 };

static bool may_sub(const struct api_user *u, const char *group, const char *resource,
                    const char *subresource, const char *ns, const char *name, struct error **err)
{
    struct auth_attributes a = {
        .user = u,
        .verb = "impersonate",
        .is_resource = true,
        .group = group,
        .version = "v1",
        .resource = resource,
        .subresource = subresource,
        .ns = ns,
        .name = name,
        .path = "",
    };
    cleanup_buf struct buf reason = {0};
    if (auth_allowed(&a, &reason))
        return true;
    auth_forbidden(err, &a, buf_str(&reason));
    return false;
}

static bool may(const struct api_user *u, const char *group, const char *resource, const char *ns,
                const char *name, struct error **err)
{
    return may_sub(u, group, resource, "", ns, name, err);
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Impersonate-Extra-<key>: the key in lower case, percent-decoded. */
static void add_extra(void *ctx, const char *rest, const char *value)
{
    cJSON *extra = ctx;
    cleanup_free char *key = mem_strdup(rest);
    char *to = key;
    for (const char *p = rest; *p; p++) {
        int high = *p == '%' && p[1] ? hex((char)tolower((unsigned char)p[1])) : -1;
        int low = high >= 0 && p[2] ? hex((char)tolower((unsigned char)p[2])) : -1;
        if (low >= 0 && (high || low)) {
            *to++ = (char)(high * 16 + low);
            p += 2;
        } else {
            *to++ = (char)tolower((unsigned char)*p);
        }
    }
    *to = '\0';
    cJSON *list = json_get(extra, key);
    if (!list) {
        list = cJSON_CreateArray();
        json_map_set(extra, key, list);
    }
    cJSON_AddItemToArray(list, cJSON_CreateString(value));
}

static bool may_all_extra(const struct api_user *u, const cJSON *extra, struct error **err)
{
    const cJSON *list, *v;
    cJSON_ArrayForEach(list, extra) cJSON_ArrayForEach(
        v, list) if (!may_sub(u, "authentication.k8s.io", "userextras", list->string, "",
                              v->valuestring, err)) return false;
    return true;
}

/* "system:serviceaccount:ns:name" -> its parts (caller frees); false if it is no service account.
 */
static bool service_account_parts(const char *user, char **ns, char **name)
{
    if (strncmp(user, SA_USER_PREFIX, sizeof SA_USER_PREFIX - 1) != 0)
        return false;
    const char *p = user + sizeof SA_USER_PREFIX - 1, *colon = strchr(p, ':');
    if (!colon || colon == p || !colon[1] || strchr(colon + 1, ':'))
        return false;
    *ns = mem_strndup(p, (size_t)(colon - p));
    *name = mem_strdup(colon + 1);
    return true;
}

bool auth_impersonate(struct api_request *req, struct error **err)
{
    struct httpd_request *http = req->http;
    const char *user = httpd_header(http, "Impersonate-User");
    const char *groups[GROUPS_MAX + 3] = {0};
    size_t n = httpd_header_all(http, "Impersonate-Group", groups, GROUPS_MAX);
    const char *uid = httpd_header(http, "Impersonate-Uid");
    cleanup_json cJSON *extra = cJSON_CreateObject();
    httpd_headers_prefixed(http, "Impersonate-Extra-", add_extra, extra);
    if (!user || !*user) {
        if (n == 0 && !uid && !extra->child)
            return true;
        error_set(err, 400, "BadRequest", "requested %s impersonation without impersonating a user",
                  n     ? "group"
                  : uid ? "uid"
                        : "user-extra");
        return false;
    }
    if (n > GROUPS_MAX) {
        error_set(err, 400, "BadRequest", "too many groups to impersonate");
        return false;
    }
    cleanup_free char *sa_ns = NULL, *sa_name = NULL;
    bool account = service_account_parts(user, &sa_ns, &sa_name);
    if (!may(&req->user, "", account ? "serviceaccounts" : "users", account ? sa_ns : "",
             account ? sa_name : user, err))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!may(&req->user, "", "groups", "", groups[i], err))
            return false;
    if (uid && !may(&req->user, "authentication.k8s.io", "uids", "", uid, err))
        return false;
    if (!may_all_extra(&req->user, extra, err))
        return false;
    cleanup_free char *sa_group = account ? mem_printf("system:serviceaccounts:%s", sa_ns) : NULL;
    if (account && n == 0) {
        groups[n++] = "system:serviceaccounts";
        groups[n++] = sa_group;
    }
    const char *who = strcmp(user, USER_ANONYMOUS) ? GROUP_AUTHENTICATED : GROUP_UNAUTHENTICATED;
    bool present = false;
    for (size_t i = 0; i < n; i++)
        present |= !strcmp(groups[i], who);
    if (!present)
        groups[n++] = who;
    groups[n] = NULL;
    api_user_set(&req->user, user, groups);
    req->user.uid = mem_strdup(uid);
    if (extra->child) {
        req->user.extra = extra;
        extra = NULL;
    }
    return true;
}
