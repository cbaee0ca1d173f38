/* Files of static pods. */
#include <check.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/pod/static.h"

static cJSON *parse(const char *text, struct error **err)
{
    return static_pod_parse(text, strlen(text), "/m/a.yaml", "n1", err);
}

#define GOOD                                                                                       \
    "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: "      \
    "i}]}\n"

START_TEST(test_defaults)
{
    cleanup_json cJSON *pod = parse(GOOD, NULL);
    ck_assert_ptr_nonnull(pod);
    ck_assert_str_eq(json_str(pod, "metadata.name"), "web-n1");
    ck_assert_str_eq(json_str(pod, "metadata.namespace"), "default");
    ck_assert_str_eq(json_str(pod, "spec.nodeName"), "n1");
    ck_assert_str_eq(
        json_map_str(json_path(pod, "metadata.annotations"), "kubernetes.io/config.hash"),
        json_str(pod, "metadata.uid"));
    ck_assert(is_static_pod(pod) && !is_mirror_pod(pod) && pod_is_critical(pod));
    ck_assert_str_eq(json_str(json_path(pod, "spec.tolerations")->child, "operator"), "Exists");
}
END_TEST

START_TEST(test_uid_follows_content)
{
    cleanup_json cJSON
        *a = parse(GOOD, NULL),
        *b = parse("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"web\"},"
                   "\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}",
                   NULL);
    ck_assert_str_eq(json_str(a, "metadata.uid"),
                     json_str(b, "metadata.uid")); /* the form does not matter */
    cleanup_json cJSON *other = parse("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: "
                                      "{containers: [{name: c, image: j}]}\n",
                                      NULL);
    ck_assert_str_ne(json_str(a, "metadata.uid"), json_str(other, "metadata.uid"));
    cleanup_json cJSON *elsewhere = static_pod_parse(GOOD, strlen(GOOD), "/m/a.yaml", "n2", NULL);
    ck_assert_str_ne(json_str(a, "metadata.uid"), json_str(elsewhere, "metadata.uid"));
}
END_TEST

START_TEST(test_refused)
{
    static const char *const bad[] = {
        "",
        "[]",
        "kind: Pod",
        "a: [",
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: []}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: ../x}\nspec: {containers: [{name: c, image: "
        "i}]}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, image: i}], "
        "volumes: [{name: v, secret: {secretName: s}}]}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {serviceAccountName: s, containers: "
        "[{name: c, image: i}]}\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_error struct error *e = NULL;
        cleanup_json cJSON *pod = parse(bad[i], &e);
        ck_assert_ptr_null(pod);
        ck_assert_ptr_nonnull(e);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("static");
    TCase *t = tcase_create("static");
    tcase_add_test(t, test_defaults);
    tcase_add_test(t, test_uid_follows_content);
    tcase_add_test(t, test_refused);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
