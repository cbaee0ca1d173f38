/* The index of roles and bindings, what rules cover, and the Pod Security Standards. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/admission/admission.h"
#include "apiserver/auth/rbac.h"
#include "common/json.h"
#include "common/mem.h"

static void put(const char *kind, const char *text)
{
    cleanup_json cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_ptr_nonnull(o);
    rbac_put(kind, o);
}

static bool may(const char *user, const char *group, const char *verb, const char *resource, const char *ns)
{
    struct api_user u = {0};
    api_user_set(&u, user, (const char *const[]){group, NULL});
    struct auth_attributes a = {.user = &u,
                                .verb = verb,
                                .is_resource = true,
                                .group = "",
                                .version = "v1",
                                .resource = resource,
                                .subresource = "",
                                .ns = ns,
                                .name = "",
                                .path = ""};
    bool ok = rbac_allowed(&a);
    api_user_clear(&u);
    return ok;
}

#define ROLE(ns, name, verb)                                                                                  \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"" ns "\"},\"rules\":[{\"verbs\":[\"" verb           \
    "\"],\"apiGroups\":[\"\"],\"resources\":[\"pods\"]}]}"
#define BINDING(ns, name, kind, role, subject)                                                                \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"" ns "\"},\"roleRef\":{\"kind\":\"" kind            \
    "\",\"name\":\"" role "\"},\"subjects\":[" subject "]}"
#define USER(name)        "{\"kind\":\"User\",\"name\":\"" name "\"}"
#define GROUP(name)       "{\"kind\":\"Group\",\"name\":\"" name "\"}"
#define ACCOUNT(ns, name) "{\"kind\":\"ServiceAccount\",\"namespace\":\"" ns "\",\"name\":\"" name "\"}"

START_TEST(test_bindings_come_and_go)
{
    ck_assert(!may("jane", "g", "get", "pods", "x"));
    put("RoleBinding", BINDING("x", "b", "Role", "r", USER("jane") "," GROUP("devs")));
    ck_assert(!may("jane", "g", "get", "pods", "x")); /* the role is missing */
    put("Role", ROLE("x", "r", "get"));
    ck_assert(may("jane", "g", "get", "pods", "x"));
    ck_assert(may("joe", "devs", "get", "pods", "x"));
    ck_assert(!may("joe", "g", "get", "pods", "x"));
    ck_assert(!may("jane", "g", "get", "pods", "y"));
    ck_assert(!may("jane", "g", "get", "pods", ""));
    ck_assert(!may("devs", "jane", "get", "pods", "x")); /* users and groups are not mixed up */
    put("Role", ROLE("x", "r", "list"));
    ck_assert(!may("jane", "g", "get", "pods", "x"));
    ck_assert(may("jane", "g", "list", "pods", "x"));
    put("RoleBinding", BINDING("x", "b", "Role", "r", USER("joe")));
    ck_assert(!may("jane", "g", "list", "pods", "x"));
    ck_assert(may("joe", "g", "list", "pods", "x"));
    rbac_remove("Role", "x", "r");
    ck_assert(!may("joe", "g", "list", "pods", "x"));
    put("Role", ROLE("x", "r", "list"));
    rbac_remove("RoleBinding", "x", "b");
    ck_assert(!may("joe", "g", "list", "pods", "x"));
    rbac_remove("RoleBinding", "x", "b");
}
END_TEST

START_TEST(test_cluster_roles)
{
    put("ClusterRole", ROLE("", "c", "get"));
    put("RoleBinding", BINDING("x", "b", "ClusterRole", "c", ACCOUNT("x", "robot")));
    ck_assert(may("system:serviceaccount:x:robot", "g", "get", "pods", "x"));
    ck_assert(!may("system:serviceaccount:x:robot", "g", "get", "pods", "y"));
    ck_assert(!may("system:serviceaccount:y:robot", "g", "get", "pods", "x"));
    put("ClusterRoleBinding", BINDING("", "b", "ClusterRole", "c", GROUP("all")));
    ck_assert(may("a", "all", "get", "pods", "y"));
    ck_assert(may("a", "all", "get", "pods", ""));
    /* A Role of that name is another thing. */
    put("RoleBinding", BINDING("z", "b", "Role", "c", USER("a")));
    ck_assert(!may("a", "g", "get", "pods", "z"));
}
END_TEST

START_TEST(test_many_and_rebuild)
{
    char text[512];
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, BINDING("x", "b%d", "ClusterRole", "c", USER("u%d")), i, i);
        put("RoleBinding", text);
    }
    put("ClusterRole", ROLE("", "c", "get"));
    ck_assert(may("u1999", "g", "get", "pods", "x"));
    rbac_remove("RoleBinding", "x", "b7");
    ck_assert(!may("u7", "g", "get", "pods", "x"));
    ck_assert(may("u8", "g", "get", "pods", "x"));
    rbac_rebuild_begin();
    put("RoleBinding", BINDING("x", "only", "ClusterRole", "c", USER("u7")));
    ck_assert(may("u8", "g", "get", "pods", "x")); /* until the new one is whole */
    put("ClusterRole", ROLE("", "c", "get"));
    rbac_rebuild_end();
    ck_assert(!may("u8", "g", "get", "pods", "x"));
    ck_assert(may("u7", "g", "get", "pods", "x"));
}
END_TEST

START_TEST(test_odd_objects)
{
    /* The store may hold what an older version or another program wrote. */
    put("Role", "{}");
    put("ClusterRole", "{\"metadata\":{\"name\":\"x\"},\"rules\":null}");
    put("ClusterRole", "{\"metadata\":{\"name\":\"y\"},\"rules\":[{},{\"verbs\":null},{\"verbs\":[1,null]}]}");
    put("RoleBinding", "{\"metadata\":{\"name\":\"z\"},\"subjects\":[{},{\"kind\":\"User\"},{\"kind\":\"ServiceAccount\","
                       "\"name\":\"a\"},5]}");
    put("ClusterRoleBinding",
        "{\"metadata\":{\"name\":\"z\"},\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"y\"},\"subjects\":[" USER(
            "odd") "]}");
    ck_assert(!may("odd", "g", "get", "pods", "x"));
    ck_assert(!may("", "", "", "", ""));
}
END_TEST

static char **list(char *a)
{
    static char *lists[8][2];
    static int next;
    char **l = lists[next++ % 8];
    l[0] = a;
    return l;
}

START_TEST(test_covers)
{
    struct rbac_rule some = {.verbs = (char *[]){"get", "list", NULL},
                             .groups = (char *[]){"", NULL},
                             .resources = (char *[]){"pods", "*/scale", NULL}},
                     named = some, all = {.verbs = (char *[]){"*", NULL},
                                          .groups = (char *[]){"*", NULL},
                                          .resources = (char *[]){"*", NULL}},
                     urls = {.verbs = (char *[]){"get", NULL}, .urls = (char *[]){"/api/*", NULL}};
    named.names = (char *[]){"a", NULL};
    struct rbac_rule pods = {.verbs = list("get"), .groups = list(""), .resources = list("pods")};
    ck_assert(rbac_rule_covers(&some, &pods));
    ck_assert(rbac_rule_covers(&all, &pods));
    ck_assert(!rbac_rule_covers(&named, &pods)); /* one name is not all names */
    ck_assert(!rbac_rule_covers(&urls, &pods));
    pods.names = list("a");
    ck_assert(rbac_rule_covers(&named, &pods));
    ck_assert(rbac_rule_covers(&some, &pods));
    pods.names = list("b");
    ck_assert(!rbac_rule_covers(&named, &pods));
    pods.names = NULL;
    pods.resources = list("deployments/scale");
    ck_assert(rbac_rule_covers(&some, &pods));
    pods.resources = list("pods/log");
    ck_assert(!rbac_rule_covers(&some, &pods));
    pods.resources = list("*");
    ck_assert(!rbac_rule_covers(&some, &pods));
    ck_assert(rbac_rule_covers(&all, &pods));
    pods.verbs = list("*");
    ck_assert(!rbac_rule_covers(&some, &pods));
    ck_assert(rbac_rule_covers(&all, &pods));
    struct rbac_rule url = {.verbs = list("get"), .urls = list("/api/v1")};
    ck_assert(rbac_rule_covers(&urls, &url));
    ck_assert(!rbac_rule_covers(&all, &url));
    url.urls = list("*");
    ck_assert(!rbac_rule_covers(&urls, &url));
}
END_TEST

/* --- Pod Security Standards --- */

static char *judge(const char *level, const char *spec)
{
    cleanup_json cJSON *json = json_parse(spec, strlen(spec), NULL);
    ck_assert_ptr_nonnull(json);
    struct buf out = {0};
    pod_security_evaluate(NULL, json, level, &out);
    return buf_take(&out);
}

static void expect(const char *level, const char *spec, const char *want)
{
    cleanup_free char *got = judge(level, spec);
    ck_assert_str_eq(got, want);
}

#define SAFE                                                                                                  \
    "\"securityContext\":{\"allowPrivilegeEscalation\":false,\"runAsNonRoot\":true,\"capabilities\":{"          \
    "\"drop\":[\"ALL\"]},\"seccompProfile\":{\"type\":\"Localhost\"}}"

START_TEST(test_pod_security)
{
    expect("privileged", "{\"hostNetwork\":true,\"containers\":[{\"name\":\"c\"}]}", "");
    expect("baseline", "{\"containers\":[{\"name\":\"c\"}]}", "");
    expect("restricted", "{\"containers\":[{\"name\":\"c\"," SAFE "}],\"initContainers\":[{\"name\":\"i\"," SAFE "}]}",
           "");
    expect("baseline",
           "{\"containers\":[{\"name\":\"a\",\"ports\":[{\"hostPort\":1}]},{\"name\":\"b\",\"ports\":[{\"hostPort\":"
           "2}]}]}",
           "hostPort (containers \"a\", \"b\" use hostPorts 1, 2)");
    expect("baseline", "{\"containers\":[{\"name\":\"c\"}],\"ephemeralContainers\":[{\"name\":\"e\",\"securityContext\":"
                       "{\"privileged\":true}}]}",
           "privileged (container \"e\" must not set securityContext.privileged=true)");
    expect("baseline",
           "{\"securityContext\":{\"sysctls\":[{\"name\":\"kernel.msgmax\"},{\"name\":\"net.ipv4.tcp_syncookies\"}]},"
           "\"containers\":[{\"name\":\"c\"}]}",
           "forbidden sysctls (kernel.msgmax)");
    expect("restricted",
           "{\"securityContext\":{\"runAsNonRoot\":false},\"containers\":[{\"name\":\"c\"," SAFE "}]}",
           "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)");
    /* What it does not know is the strictest. */
    cleanup_free char *unknown = judge("x", "{\"containers\":[{\"name\":\"c\"}]}");
    ck_assert_ptr_nonnull(strstr(unknown, "allowPrivilegeEscalation != false"));
    expect("restricted", "{}", "");
    expect("baseline", "{\"containers\":[5,null,{\"securityContext\":7}],\"volumes\":[3,{}]}", "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("auth rbac");
    TCase *t = tcase_create("index");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_bindings_come_and_go);
    tcase_add_test(t, test_cluster_roles);
    tcase_add_test(t, test_many_and_rebuild);
    tcase_add_test(t, test_odd_objects);
    tcase_add_test(t, test_covers);
    tcase_add_test(t, test_pod_security);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
