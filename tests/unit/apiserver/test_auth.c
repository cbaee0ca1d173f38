/* Who may do what. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/auth/auth.h"
#include "apiserver/auth/rbac.h"
#include "common/json.h"
#include "common/mem.h"

/* "get /api", "list pods", "update coordination.k8s.io/leases kube-system/kube-scheduler", "update
 * pods/status ns/x": verb, then [group/]resource[:subresource], then [namespace/]name. */
struct question {
    struct api_user user;
    struct auth_attributes a;
    char *memory[6];
};

static void question(struct question *q, const char *name, const char *group_list, const char *verb,
                     const char *group, const char *resource, const char *sub, const char *ns,
                     const char *object)
{
    memset(q, 0, sizeof *q);
    const char *groups[8] = {0};
    size_t n = 0;
    char *copy = strdup(group_list), *save = NULL;
    for (char *g = strtok_r(copy, ",", &save); g; g = strtok_r(NULL, ",", &save))
        groups[n++] = g;
    api_user_set(&q->user, name, groups);
    free(copy);
    q->a = (struct auth_attributes){.user = &q->user,
                                    .verb = verb,
                                    .is_resource = true,
                                    .group = group,
                                    .version = "v1",
                                    .resource = resource,
                                    .subresource = sub,
                                    .ns = ns,
                                    .name = object,
                                    .path = ""};
}

static bool may(const char *user, const char *groups, const char *verb, const char *group,
                const char *resource, const char *sub, const char *ns, const char *object)
{
    struct question q;
    question(&q, user, groups, verb, group, resource, sub, ns, object);
    cleanup_buf struct buf reason = {0};
    bool ok = auth_allowed(&q.a, &reason);
    api_user_clear(&q.user);
    return ok;
}

static bool may_path(const char *user, const char *groups, const char *verb, const char *path)
{
    struct question q;
    question(&q, user, groups, verb, "", "", "", "", "");
    q.a.is_resource = false;
    q.a.path = path;
    cleanup_buf struct buf reason = {0};
    bool ok = auth_allowed(&q.a, &reason);
    api_user_clear(&q.user);
    return ok;
}

#define AUTHENTICATED "system:authenticated"
#define ANONYMOUS     "system:anonymous", "system:unauthenticated"

START_TEST(test_masters)
{
    ck_assert(may("kubernetes-admin", "system:masters," AUTHENTICATED, "delete", "apps",
                  "deployments", "", "x", "y"));
    ck_assert(may_path("kubernetes-admin", "system:masters," AUTHENTICATED, "post", "/anything"));
}
END_TEST

START_TEST(test_nobody)
{
    ck_assert(!may("jane", AUTHENTICATED, "get", "", "pods", "", "default", "web"));
    ck_assert(may_path("jane", AUTHENTICATED, "get", "/apis/apps/v1"));
    ck_assert(may_path("jane", AUTHENTICATED, "get", "/openapi/v3"));
    ck_assert(!may_path("jane", AUTHENTICATED, "get", "/metrics"));
    ck_assert(!may_path("jane", AUTHENTICATED, "post", "/api"));
    ck_assert(may("jane", AUTHENTICATED, "create", "authorization.k8s.io",
                  "selfsubjectaccessreviews", "", "", ""));
    ck_assert(!may("jane", AUTHENTICATED, "create", "authorization.k8s.io", "subjectaccessreviews",
                   "", "", ""));
}
END_TEST

START_TEST(test_anonymous)
{
    ck_assert(may_path(ANONYMOUS, "get", "/healthz"));
    ck_assert(may_path(ANONYMOUS, "get", "/livez"));
    ck_assert(may_path(ANONYMOUS, "get", "/readyz"));
    ck_assert(may_path(ANONYMOUS, "get", "/version"));
    ck_assert(!may_path(ANONYMOUS, "get", "/readyz/etcd"));
    ck_assert(!may_path(ANONYMOUS, "get", "/metrics"));
    ck_assert(!may_path(ANONYMOUS, "get", "/apis"));
    ck_assert(!may(ANONYMOUS, "get", "", "pods", "", "default", "web"));
    ck_assert(
        !may(ANONYMOUS, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", ""));
}
END_TEST

#define SCHEDULER "system:kube-scheduler", AUTHENTICATED

START_TEST(test_scheduler)
{
    ck_assert(may(SCHEDULER, "list", "", "pods", "", "", ""));
    ck_assert(may(SCHEDULER, "create", "", "pods", "binding", "default", "web"));
    ck_assert(may(SCHEDULER, "patch", "", "pods", "status", "default", "web"));
    ck_assert(!may(SCHEDULER, "create", "", "pods", "", "default", ""));
    ck_assert(!may(SCHEDULER, "get", "", "secrets", "", "default", "s"));
    ck_assert(may(SCHEDULER, "create", "", "events", "", "default", ""));
    ck_assert(may(SCHEDULER, "patch", "events.k8s.io", "events", "", "default", "e"));
    ck_assert(may(SCHEDULER, "update", "coordination.k8s.io", "leases", "", "kube-system",
                  "kube-scheduler"));
    ck_assert(!may(SCHEDULER, "update", "coordination.k8s.io", "leases", "", "kube-system",
                   "kube-controller-manager"));
    ck_assert(may(SCHEDULER, "create", "coordination.k8s.io", "leases", "", "kube-system", ""));
}
END_TEST

#define MANAGER "system:kube-controller-manager", AUTHENTICATED

START_TEST(test_controller_manager)
{
    ck_assert(may(MANAGER, "create", "apps", "replicasets", "", "default", ""));
    ck_assert(may(MANAGER, "update", "apps", "deployments", "status", "default", "web"));
    ck_assert(may(MANAGER, "create", "", "pods", "", "default", ""));
    ck_assert(may(MANAGER, "update", "", "namespaces", "finalize", "", "x"));
    ck_assert(may(MANAGER, "deletecollection", "example.com", "things", "", "x", ""));
    ck_assert(may(MANAGER, "watch", "example.com", "things", "", "", ""));
    ck_assert(may(MANAGER, "create", "", "serviceaccounts", "", "x", ""));
    ck_assert(may(MANAGER, "update", "", "endpoints", "", "x", "web"));
    ck_assert(may(MANAGER, "patch", "", "nodes", "", "", "n1"));
    ck_assert(!may(MANAGER, "create", "", "pods", "exec", "x", "web"));
    ck_assert(!may(MANAGER, "create", "", "nodes", "", "", ""));
    ck_assert(!may(MANAGER, "impersonate", "", "users", "", "", "jane"));
}
END_TEST

START_TEST(test_proxy)
{
    ck_assert(may("system:kube-proxy", AUTHENTICATED, "watch", "", "services", "", "", ""));
    ck_assert(may("system:kube-proxy", AUTHENTICATED, "list", "discovery.k8s.io", "endpointslices",
                  "", "", ""));
    ck_assert(may("system:kube-proxy", AUTHENTICATED, "get", "", "nodes", "", "", "n1"));
    ck_assert(!may("system:kube-proxy", AUTHENTICATED, "update", "", "services", "", "x", "web"));
    ck_assert(may("system:kube-proxy", AUTHENTICATED, "list", "networking.k8s.io", "networkpolicies",
                  "", "", ""));
    ck_assert(may("system:kube-proxy", AUTHENTICATED, "watch", "", "pods", "", "", "")); /* for these */
    ck_assert(!may("system:kube-proxy", AUTHENTICATED, "list", "", "secrets", "", "", ""));
}
END_TEST

#define NODE "system:node:n1", "system:nodes," AUTHENTICATED

START_TEST(test_node)
{
    ck_assert(may(NODE, "create", "", "nodes", "", "", ""));
    ck_assert(may(NODE, "patch", "", "nodes", "status", "", "n1"));
    ck_assert(!may(NODE, "patch", "", "nodes", "status", "", "n2"));
    ck_assert(!may(NODE, "delete", "", "nodes", "", "", "n2"));
    ck_assert(may(NODE, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1"));
    ck_assert(!may(NODE, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2"));
    ck_assert(!may(NODE, "update", "coordination.k8s.io", "leases", "", "kube-system", "n1"));
    ck_assert(may(NODE, "list", "", "pods", "", "", ""));
    ck_assert(may(NODE, "delete", "", "pods", "", "default", "web"));
    ck_assert(!may(NODE, "patch", "", "pods", "", "default", "web"));
    ck_assert(
        !may(NODE, "get", "", "secrets", "", "default", "s")); /* no pod on the node refers to it */
    ck_assert(!may(NODE, "list", "", "secrets", "", "default", ""));
    ck_assert(!may(NODE, "list", "", "configmaps", "", "", ""));
    ck_assert(!may(NODE, "create", "apps", "deployments", "", "default", ""));
    ck_assert(may_path(NODE, "get", "/api"));
    /* The name alone makes no node. */
    ck_assert(!may("system:node:n1", AUTHENTICATED, "list", "", "pods", "", "", ""));
    ck_assert(!may("n1", "system:nodes," AUTHENTICATED, "list", "", "pods", "", "", ""));
}
END_TEST

static void check_message(const char *verb, const char *group, const char *resource,
                          const char *sub, const char *ns, const char *name, const char *want,
                          const char *details)
{
    struct question q;
    question(&q, "jane", AUTHENTICATED, verb, group, resource, sub, ns, name);
    cleanup_error struct error *err = NULL;
    auth_forbidden(&err, &q.a, "");
    ck_assert_int_eq(err->code, 403);
    ck_assert_str_eq(err->reason, "Forbidden");
    ck_assert_str_eq(err->message, want);
    ck_assert_str_eq(err->details, details);
    api_user_clear(&q.user);
}

START_TEST(test_messages)
{
    check_message("list", "", "pods", "", "y", "",
                  "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group "
                  "\"\" in the namespace \"y\"",
                  "{\"kind\":\"pods\"}");
    check_message("list", "", "nodes", "", "", "",
                  "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group "
                  "\"\" at the cluster scope",
                  "{\"kind\":\"nodes\"}");
    check_message("patch", "apps", "deployments", "scale", "y", "web",
                  "deployments.apps \"web\" is forbidden: User \"jane\" cannot patch resource "
                  "\"deployments/scale\" in API "
                  "group \"apps\" in the namespace \"y\"",
                  "{\"name\":\"web\",\"group\":\"apps\",\"kind\":\"deployments\"}");
    struct question q;
    question(&q, "system:anonymous", "", "get", "", "", "", "", "");
    q.a.is_resource = false;
    q.a.path = "/metrics";
    cleanup_error struct error *err = NULL;
    auth_forbidden(&err, &q.a, NULL);
    ck_assert_str_eq(err->message,
                     "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"");
    api_user_clear(&q.user);
}
END_TEST

START_TEST(test_rules)
{
    struct rbac_rule rule = {
        .verbs = (char *[]){"get", NULL},
        .groups = (char *[]){"", "apps", NULL},
        .resources = (char *[]){"pods/log", "*/scale", NULL},
        .names = (char *[]){"web", NULL},
    };
    struct question q;
    question(&q, "jane", "", "get", "", "pods", "log", "y", "web");
    ck_assert(rbac_rule_allows(&rule, &q.a));
    q.a.name = "other";
    ck_assert(!rbac_rule_allows(&rule, &q.a));
    q.a.name = "web";
    q.a.subresource = "";
    ck_assert(!rbac_rule_allows(&rule, &q.a));
    q.a.resource = "deployments";
    q.a.subresource = "scale";
    q.a.group = "apps";
    ck_assert(rbac_rule_allows(&rule, &q.a));
    q.a.group = "batch";
    ck_assert(!rbac_rule_allows(&rule, &q.a));
    api_user_clear(&q.user);
}
END_TEST

/* --- reviews --- */

static cJSON *review(const char *kind, const char *user, const char *groups, const char *spec,
                     struct error **err)
{
    struct resource r = {
        .group = "authorization.k8s.io", .version = "v1", .kind = kind, .plural = ""};
    struct question q;
    question(&q, user, groups, "", "", "", "", "", "");
    struct api_request req = {.resource = &r, .user = q.user, .info = {.ns = "y"}};
    cJSON *object = cJSON_CreateObject();
    cJSON *parsed = json_parse(spec, strlen(spec), NULL);
    ck_assert_ptr_nonnull(parsed);
    json_map_set(object, "spec", parsed);
    bool ok = access_review(&req, object, err);
    api_user_clear(&q.user);
    if (ok)
        return object;
    cJSON_Delete(object);
    return NULL;
}

#define PODS "\"resourceAttributes\":{\"namespace\":\"y\",\"verb\":\"list\",\"resource\":\"pods\"}"

START_TEST(test_reviews)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *a =
        review("SelfSubjectAccessReview", "admin", "system:masters", "{" PODS "}", &err);
    ck_assert(json_bool(a, "status.allowed", false));
    cleanup_json cJSON *b =
        review("SelfSubjectAccessReview", "jane", AUTHENTICATED, "{" PODS "}", &err);
    ck_assert(!json_bool(b, "status.allowed", true));
    cleanup_json cJSON *c = review("SubjectAccessReview", "admin", "system:masters",
                                   "{\"user\":\"system:kube-scheduler\"," PODS "}", &err);
    ck_assert(json_bool(c, "status.allowed", false));
    cleanup_json cJSON *d =
        review("SelfSubjectRulesReview", "jane", AUTHENTICATED, "{\"namespace\":\"y\"}", &err);
    ck_assert_int_gt(cJSON_GetArraySize(json_path(d, "status.nonResourceRules")), 0);
    ck_assert_int_eq(cJSON_GetArraySize(json_path(d, "status.resourceRules")), 2);
    cleanup_json cJSON *e = review("SelfSubjectReview", "jane", AUTHENTICATED, "{}", &err);
    ck_assert_str_eq(json_str(e, "status.userInfo.username"), "jane");
    ck_assert_ptr_null(err);
    ck_assert_ptr_null(review("SelfSubjectAccessReview", "jane", AUTHENTICATED, "{}", &err));
    ck_assert_int_eq(err->code, 422);
}
END_TEST

static void setup(void)
{
    rbac_start();
}

int main(void)
{
    Suite *s = suite_create("auth");
    TCase *t = tcase_create("rules");
    tcase_add_unchecked_fixture(t, setup, NULL);
    tcase_add_test(t, test_masters);
    tcase_add_test(t, test_nobody);
    tcase_add_test(t, test_anonymous);
    tcase_add_test(t, test_scheduler);
    tcase_add_test(t, test_controller_manager);
    tcase_add_test(t, test_proxy);
    tcase_add_test(t, test_node);
    tcase_add_test(t, test_messages);
    tcase_add_test(t, test_rules);
    tcase_add_test(t, test_reviews);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
