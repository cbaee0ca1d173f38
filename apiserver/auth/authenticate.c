#include <string.h>
#include <strings.h>
#include "apiserver/auth/auth.h"
#include "apiserver/auth/rbac.h"
#include "apiserver/auth/token.h"
#include "apiserver/auth/token_file.h"
#include "common/mem.h"

bool auth_start(const struct api_config *config, struct storage *storage, struct error **err)
{
    (void)config;
    return token_start(config, storage, err) && rbac_watch_start(storage, err) && node_graph_start(storage, err);
}

void api_user_clear(struct api_user *u)
{
    free(u->name);
    free(u->uid);
    for (char **g = u->groups; g && *g; g++)
        free(*g);
    free(u->groups);
    cJSON_Delete(u->extra);
    *u = (struct api_user){0};
}

void api_user_set(struct api_user *u, const char *name, const char *const *groups)
{
    struct api_user new = {.name = mem_strdup(name)};
    size_t n = 0;
    while (groups && groups[n])
        n++;
    new.groups = mem_alloc(sizeof *new.groups *(n + 1));
    for (size_t i = 0; i < n; i++)
        new.groups[i] = mem_strdup(groups[i]);
    api_user_clear(u);
    *u = new;
}

static bool unauthorized(struct error **err)
{
    error_set(err, 401, "Unauthorized", "Unauthorized");
    return false;
}

bool auth_authenticate(struct api_request *req, struct error **err)
{
    struct httpd_request *http = req->http;
    if (httpd_client_cert_invalid(http))
        return unauthorized(err);
    const char *cn = httpd_client_cn(http);
    if (cn && *cn) {
        const char *const *orgs = httpd_client_orgs(http);
        size_t n = 0;
        while (orgs && orgs[n])
            n++;
        cleanup_free const char **groups = mem_alloc(sizeof *groups * (n + 2));
        if (n)
            memcpy(groups, orgs, n * sizeof *groups);
        groups[n] = GROUP_AUTHENTICATED;
        api_user_set(&req->user, cn, groups);
        return true;
    }
    /* A token that nobody can vouch for is a failed login, not an anonymous request. */
    const char *authorization = httpd_header(http, "Authorization");
    if (authorization && !strncasecmp(authorization, "Bearer ", 7)) {
        const char *token = authorization + 7;
        while (*token == ' ')
            token++;
        return token_file_authenticate(token, &req->user) ||
               token_authenticate(token, NULL, &req->user, NULL, NULL) || unauthorized(err);
    }
    api_user_set(&req->user, USER_ANONYMOUS, (const char *const[]){GROUP_UNAUTHENTICATED, NULL});
    return true;
}
