/* "May I?" and "Who am I?": the resources that are answered, never stored.
 * https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access */
#include <string.h>
#include "apiserver/auth/auth.h"
#include "apiserver/auth/rbac.h"
#include "apiserver/auth/token.h"
#include "common/json.h"
#include "common/mem.h"

bool access_review_handles(const struct resource *r)
{
    return !r->storage_prefix && (!strcmp(r->group, "authorization.k8s.io") ||
                                  !strcmp(r->group, "authentication.k8s.io"));
}

static cJSON *user_json(const struct api_user *u)
{
    cJSON *out = cJSON_CreateObject();
    json_map_set_str(out, "username", u->name);
    if (u->uid && *u->uid)
        json_map_set_str(out, "uid", u->uid);
    cJSON *groups = cJSON_AddArrayToObject(out, "groups");
    for (char **g = u->groups; g && *g; g++)
        cJSON_AddItemToArray(groups, cJSON_CreateString(*g));
    if (u->extra)
        json_map_set(out, "extra", json_dup(u->extra));
    return out;
}

/* A token that is not good is an answer, not an error. */
static void review_token(cJSON *review)
{
    struct api_user user = {0};
    cJSON *audiences = NULL, *status = cJSON_CreateObject();
    cleanup_error struct error *why = NULL;
    if (token_authenticate(json_str_or(review, "spec.token", ""),
                           json_path(review, "spec.audiences"), &user, &audiences, &why)) {
        cJSON_AddTrueToObject(status, "authenticated");
        json_map_set(status, "user", user_json(&user));
        json_map_set(status, "audiences", audiences);
    } else {
        cJSON_AddItemToObject(status, "user", cJSON_CreateObject());
        cleanup_free char *text = mem_printf("[invalid bearer token, %s]", error_message(why));
        json_map_set_str(status, "error", text);
    }
    json_map_set(review, "status", status);
    api_user_clear(&user);
}

/* Judges spec.resourceAttributes or spec.nonResourceAttributes for the user. */
static void judge(const struct api_user *u, cJSON *review)
{
    const cJSON *resource = json_path(review, "spec.resourceAttributes"),
                *path = json_path(review, "spec.nonResourceAttributes");
    struct auth_attributes a = {
        .user = u,
        .is_resource = resource != NULL,
        .verb = json_str_or(resource ? resource : path, "verb", ""),
        .group = json_str_or(resource, "group", ""),
        .version = json_str_or(resource, "version", ""),
        .resource = json_str_or(resource, "resource", ""),
        .subresource = json_str_or(resource, "subresource", ""),
        .ns = json_str_or(resource, "namespace", ""),
        .name = json_str_or(resource, "name", ""),
        .path = json_str_or(path, "path", ""),
    };
    cleanup_buf struct buf reason = {0};
    bool allowed = auth_allowed(&a, &reason);
    cJSON *status = cJSON_CreateObject();
    cJSON_AddBoolToObject(status, "allowed", allowed);
    if (!allowed && reason.len)
        json_map_set_str(status, "reason", buf_str(&reason));
    json_map_set(review, "status", status);
}

static bool invalid(struct error **err, const char *kind, const char *field, const char *why)
{
    error_set(err, 422, "Invalid", "%s.authorization.k8s.io \"\" is invalid: %s: %s", kind, field,
              why);
    return false;
}

static bool check_attributes(const cJSON *review, const char *kind, struct error **err)
{
    bool resource = json_path(review, "spec.resourceAttributes"),
         path = json_path(review, "spec.nonResourceAttributes");
    if (resource && path)
        return invalid(
            err, kind, "spec.nonResourceAttributes",
            "Invalid value: \"\": cannot be specified in combination with resourceAttributes");
    if (!resource && !path)
        return invalid(err, kind, "spec.resourceAttributes",
                       "Invalid value: null: exactly one of nonResourceAttributes or "
                       "resourceAttributes must be specified");
    return true;
}

/* Reviews about somebody else name the user in their spec. */
static bool judge_other(cJSON *review, const char *kind, struct error **err)
{
    const char *name = json_str_or(review, "spec.user", "");
    const cJSON *groups = json_path(review, "spec.groups"), *g;
    if (!*name && cJSON_GetArraySize(groups) == 0)
        return invalid(err, kind, "spec.user",
                       "Invalid value: \"\": at least one of user or group must be specified");
    size_t n = 0;
    cleanup_free const char **list =
        mem_alloc(sizeof *list * (size_t)(cJSON_GetArraySize(groups) + 1));
    cJSON_ArrayForEach(g, groups) if (cJSON_IsString(g)) list[n++] = g->valuestring;
    struct api_user user = {0};
    api_user_set(&user, name, list);
    judge(&user, review);
    api_user_clear(&user);
    return true;
}

static void add_list(cJSON *object, const char *name, char *const *list)
{
    if (!list)
        return;
    cJSON *array = cJSON_AddArrayToObject(object, name);
    for (; *list; list++)
        cJSON_AddItemToArray(array, cJSON_CreateString(*list));
}

struct rules_status {
    cJSON *resources, *urls;
};

static void add_rule(void *ctx, const struct rbac_rule *rule)
{
    struct rules_status *s = ctx;
    cJSON *out = cJSON_CreateObject();
    add_list(out, "verbs", rule->verbs);
    if (rule->urls) {
        add_list(out, "nonResourceURLs", rule->urls);
        cJSON_AddItemToArray(s->urls, out);
        return;
    }
    add_list(out, "apiGroups", rule->groups);
    add_list(out, "resources", rule->resources);
    add_list(out, "resourceNames", rule->names);
    cJSON_AddItemToArray(s->resources, out);
}

static void list_rules(const struct api_user *u, cJSON *review)
{
    cJSON *status = cJSON_CreateObject();
    struct rules_status s = {
        .resources = cJSON_AddArrayToObject(status, "resourceRules"),
        .urls = cJSON_AddArrayToObject(status, "nonResourceRules"),
    };
    rbac_visit_rules(u, json_str_or(review, "spec.namespace", ""), add_rule, &s);
    /* The node authorizer's rules depend on names and cannot be listed. */
    bool incomplete = auth_node_name(u) != NULL;
    cJSON_AddBoolToObject(status, "incomplete", incomplete);
    if (incomplete)
        json_map_set_str(status, "evaluationError",
                         "node authorizer does not support user rule resolution");
    json_map_set(review, "status", status);
}

bool access_review(struct api_request *req, cJSON *object, struct error **err)
{
    const char *kind = req->resource->kind;
    json_ensure_object(object, "metadata");
    if (!strcmp(kind, "SelfSubjectReview")) {
        cJSON *status = cJSON_CreateObject();
        json_map_set(status, "userInfo", user_json(&req->user));
        json_map_set(object, "status", status);
        return true;
    }
    if (!strcmp(kind, "TokenReview")) {
        if (!*json_str_or(object, "spec.token", "")) {
            api_error_bad_request(err, "token is required for TokenReview in authentication");
            return false;
        }
        review_token(object);
        return true;
    }
    if (!strcmp(kind, "SelfSubjectRulesReview")) {
        if (!*json_str_or(object, "spec.namespace", "")) {
            error_set(err, 400, "BadRequest", "no namespace on request");
            return false;
        }
        list_rules(&req->user, object);
        return true;
    }
    if (!check_attributes(object, kind, err))
        return false;
    if (!strcmp(kind, "SelfSubjectAccessReview")) {
        judge(&req->user, object);
        return true;
    }
    if (!strcmp(kind, "LocalSubjectAccessReview") &&
        strcmp(json_str_or(object, "spec.resourceAttributes.namespace", ""), req->info.ns) != 0) {
        error_set(err, 400, "BadRequest",
                  "spec.resourceAttributes.namespace must match namespace: %s", req->info.ns);
        return false;
    }
    return judge_other(object, kind, err);
}
