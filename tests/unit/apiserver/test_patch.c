/* The three kinds of patches. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/patch/patch.h"
#include "common/json.h"
#include "common/mem.h"

struct test_case {
    const char *target, *patch, *result; /* result NULL: refused */
    int code;
    const char *message;
};

static void run(enum patch_kind kind, const struct schema_type *type, const struct test_case *c)
{
    cleanup_json cJSON *target = json_parse(c->target, strlen(c->target), NULL);
    cleanup_json cJSON *before = json_dup(target);
    ck_assert_ptr_nonnull(target);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *got = patch_apply_text(kind, type, target, c->patch, strlen(c->patch), &e);
    ck_assert(json_equal(target, before));
    if (!c->result) {
        ck_assert_msg(!got, "%s", c->patch);
        ck_assert_int_eq(e->code, c->code);
        if (c->message)
            ck_assert_str_eq(error_message(e), c->message);
        return;
    }
    ck_assert_msg(got != NULL, "%s: %s", c->patch, error_message(e));
    cleanup_json cJSON *want = json_parse(c->result, strlen(c->result), NULL);
    ck_assert_ptr_nonnull(want);
    cleanup_free char *text = json_text(got);
    ck_assert_msg(json_equal(got, want), "%s gives %s", c->patch, text);
}

static const struct test_case merge_cases[] = {
    /* RFC 7386, appendix A */
    {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}", 0, NULL},
    {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}", 0, NULL},
    {"{\"a\":\"b\"}", "{\"a\":null}", "{}", 0, NULL},
    {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}", 0, NULL},
    {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}", 0, NULL},
    {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}", 0, NULL},
    {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}", 0, NULL},
    {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}", 0, NULL},
    {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}", 0, NULL},
    {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}", 0, NULL},
    {"{\"a\":1}", "[1]", NULL, 400,
     "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"},
    {"{\"a\":1}", "{\"a\":", NULL, 400, "error decoding patch: unexpected end of JSON input"},
};
START_TEST(merge_patch)
{
    run(PATCH_MERGE, NULL, &merge_cases[_i]);
}
END_TEST

#define UNPROCESSABLE "the server rejected our request due to an error in our request"
static const struct test_case json_cases[] = {
    {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]",
     "{\"foo\":\"bar\",\"baz\":\"qux\"}", 0, NULL},
    {"{\"foo\":[1,3]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":2}]", "{\"foo\":[1,2,3]}", 0, NULL},
    {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/foo/-\",\"value\":2}]", "{\"foo\":[1,2]}", 0, NULL},
    {"{\"foo\":[1]}", "[{\"op\":\"add\",\"path\":\"/foo/2\",\"value\":2}]", NULL, 422, UNPROCESSABLE},
    {"{\"foo\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/foo/1\"}]", "{\"foo\":[1,3]}", 0, NULL},
    {"{\"a\":{\"b\":1}}", "[{\"op\":\"remove\",\"path\":\"/a/b\"}]", "{\"a\":{}}", 0, NULL},
    {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", NULL, 422, UNPROCESSABLE},
    {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":null}]", "{\"a\":null}", 0, NULL},
    {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":1}]", NULL, 422, UNPROCESSABLE},
    {"{\"a\":[1,2]}", "[{\"op\":\"replace\",\"path\":\"/a/0\",\"value\":5}]", "{\"a\":[5,2]}", 0, NULL},
    {"{\"a\":{\"b\":1},\"c\":{}}", "[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/c/d\"}]",
     "{\"a\":{},\"c\":{\"d\":1}}", 0, NULL},
    {"{\"a\":{\"b\":1}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]", NULL, 422, NULL},
    {"{\"a\":{\"b\":1}}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/c\"}]",
     "{\"a\":{\"b\":1},\"c\":{\"b\":1}}", 0, NULL},
    {"{\"a\":1}",
     "[{\"op\":\"test\",\"path\":\"/a\",\"value\":1},{\"op\":\"add\",\"path\":\"/b\",\"value\":2}]",
     "{\"a\":1,\"b\":2}", 0, NULL},
    {"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]", NULL, 422, UNPROCESSABLE},
    {"{\"a\":1}", "[{\"op\":\"test\",\"path\":\"/b\",\"value\":null}]", "{\"a\":1}", 0, NULL},
    {"{\"a/b\":1,\"m~n\":2}",
     "[{\"op\":\"remove\",\"path\":\"/a~1b\"},{\"op\":\"replace\",\"path\":\"/m~0n\",\"value\":3}]",
     "{\"m~n\":3}", 0, NULL},
    {"{\"a\":1}", "[{\"op\":\"dance\",\"path\":\"/a\"}]", NULL, 422, NULL},
    {"{\"a\":1}", "[1]", NULL, 422, NULL},
    {"{\"a\":1}", "{\"op\":\"add\"}", NULL, 400,
     "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"},
    {"{\"a\":1}", "[]", "{\"a\":1}", 0, NULL},
    {"{\"a\":[]}", "[{\"op\":\"add\",\"path\":\"/a/01\",\"value\":2}]", NULL, 422, NULL},
    {"{\"a\":{}}", "[{\"op\":\"add\",\"path\":\"/a/b/c\",\"value\":2}]", NULL, 422, NULL},
    {"{\"a\":{}}", "[{\"op\":\"add\",\"path\":\"a\",\"value\":2}]", NULL, 422, NULL},
};
START_TEST(json_patch)
{
    run(PATCH_JSON, NULL, &json_cases[_i]);
}
END_TEST

START_TEST(json_patch_copies_are_bounded)
{
    struct buf b = {0};
    buf_adds(&b, "[");
    for (int i = 0; i < 60; i++)
        buf_adds(&b, "{\"op\":\"copy\",\"from\":\"\",\"path\":\"/a/-\"},");
    buf_adds(&b, "{\"op\":\"test\",\"path\":\"/x\",\"value\":null}]");
    struct test_case c = {"{\"a\":[]}", b.data, NULL, 422, UNPROCESSABLE};
    run(PATCH_JSON, NULL, &c);
    buf_free(&b);
}
END_TEST

#define POD(containers) "{\"spec\":{\"containers\":" containers "}}"
static const struct test_case pod_cases[] = {
    {POD("[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"1\"}]"),
     POD("[{\"name\":\"b\",\"image\":\"2\"}]"),
     POD("[{\"name\":\"a\",\"image\":\"1\"},{\"name\":\"b\",\"image\":\"2\"}]"), 0, NULL},
    /* a new element comes before those that the patch does not name */
    {POD("[{\"name\":\"a\"}]"), POD("[{\"name\":\"c\",\"args\":[\"x\"]}]"),
     POD("[{\"name\":\"c\",\"args\":[\"x\"]},{\"name\":\"a\"}]"), 0, NULL},
    {POD("[{\"name\":\"a\"},{\"name\":\"b\"}]"), POD("[{\"$patch\":\"delete\",\"name\":\"a\"}]"),
     POD("[{\"name\":\"b\"}]"), 0, NULL},
    {POD("[{\"name\":\"a\"},{\"name\":\"b\"}]"), POD("[{\"$patch\":\"replace\"},{\"name\":\"z\"}]"),
     POD("[{\"name\":\"z\"}]"), 0, NULL},
    {POD("[{\"name\":\"a\"}]"), POD("[{\"image\":\"x\"}]"), NULL, 400,
     "map: {\"image\":\"x\"} does not contain declared merge key: name"},
    {POD("[{\"name\":\"a\"}]"), POD("[{\"$patch\":\"delete\"}]"), NULL, 400,
     "delete patch type with no merge key defined"},
    {POD("[{\"name\":\"a\"}]"), POD("[{\"$patch\":\"juggle\",\"name\":\"a\"}]"), NULL, 400,
     "Unknown patch type found: juggle"},
    {"{\"spec\":{}}",
     POD("[{\"name\":\"a\",\"image\":null,\"env\":[{\"$patch\":\"delete\",\"name\":\"E\"}]}]"),
     POD("[{\"name\":\"a\",\"env\":[]}]"), 0, NULL},
    /* atomic lists are replaced */
    {POD("[{\"name\":\"a\",\"args\":[\"1\",\"2\"]}]"), POD("[{\"name\":\"a\",\"args\":[\"3\"]}]"),
     POD("[{\"name\":\"a\",\"args\":[\"3\"]}]"), 0, NULL},
    /* ports merge by containerPort, env by name, volumeMounts by mountPath */
    {POD("[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,\"name\":\"x\"}],\"env\":[{\"name\":\"A\","
         "\"value\":\"1\"},{\"name\":\"B\"}],"
         "\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/a\"}]}]"),
     POD("[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,\"name\":\"y\"}],\"env\":[{\"name\":\"A\","
         "\"value\":\"2\"}],"
         "\"volumeMounts\":[{\"name\":\"w\",\"mountPath\":\"/a\"}]}]"),
     POD("[{\"name\":\"a\",\"ports\":[{\"containerPort\":80,\"name\":\"y\"}],\"env\":[{\"name\":\"A\","
         "\"value\":\"2\"},{\"name\":\"B\"}],"
         "\"volumeMounts\":[{\"name\":\"w\",\"mountPath\":\"/a\"}]}]"),
     0, NULL},
    /* what `kubectl apply` sends */
    {POD("[{\"name\":\"a\"},{\"name\":\"b\"}]"),
     "{\"spec\":{\"$setElementOrder/"
     "containers\":[{\"name\":\"b\"},{\"name\":\"a\"},{\"name\":\"c\"}],\"containers\":[{\"name\":\"c\"}]}}",
     POD("[{\"name\":\"b\"},{\"name\":\"a\"},{\"name\":\"c\"}]"), 0, NULL},
    {POD("[{\"name\":\"s\"},{\"name\":\"a\"},{\"name\":\"t\"},{\"name\":\"b\"}]"),
     "{\"spec\":{\"$setElementOrder/"
     "containers\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"containers\":[{\"name\":\"b\",\"image\":\"2\"}]}}",
     POD("[{\"name\":\"s\"},{\"name\":\"a\"},{\"name\":\"t\"},{\"name\":\"b\",\"image\":\"2\"}]"), 0, NULL},
    {POD("[{\"name\":\"a\"},{\"name\":\"b\"}]"),
     "{\"spec\":{\"$setElementOrder/"
     "containers\":[{\"name\":\"b\"}],\"containers\":[{\"$patch\":\"delete\",\"name\":\"a\"}]}}",
     POD("[{\"name\":\"b\"}]"), 0, NULL},
    {POD("[{\"name\":\"a\"}]"),
     "{\"spec\":{\"$setElementOrder/containers\":[],\"containers\":[{\"name\":\"a\"}]}}", NULL, 400, NULL},
    {"{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
     "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"a\"]}}",
     "{\"metadata\":{\"finalizers\":[\"b\"]}}", 0, NULL},
    {"{\"metadata\":{\"finalizers\":[\"a\"]}}", "{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
     "{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}", 0, NULL},
    {"{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
     "{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"b\"],\"$setElementOrder/"
     "finalizers\":[\"c\",\"a\"],\"finalizers\":[\"c\"]}}",
     "{\"metadata\":{\"finalizers\":[\"c\",\"a\"]}}", 0, NULL},
    {"{\"metadata\":{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}}",
     "{\"metadata\":{\"labels\":{\"a\":null,\"c\":\"3\"}}}",
     "{\"metadata\":{\"labels\":{\"b\":\"2\",\"c\":\"3\"}}}", 0, NULL},
    {"{\"metadata\":{\"labels\":{\"a\":\"1\"}}}",
     "{\"metadata\":{\"labels\":{\"$patch\":\"replace\",\"c\":\"3\"}}}",
     "{\"metadata\":{\"labels\":{\"c\":\"3\"}}}", 0, NULL},
    {"{\"metadata\":{\"labels\":{\"a\":\"1\"}}}", "{\"metadata\":{\"labels\":null}}", "{\"metadata\":{}}", 0,
     NULL},
    {"{\"metadata\":{}}", "{\"metadata\":{\"labels\":null,\"annotations\":{\"a\":null,\"b\":\"1\"}}}",
     "{\"metadata\":{\"annotations\":{\"b\":\"1\"}}}", 0, NULL},
    {"{\"metadata\":{\"ownerReferences\":[{\"uid\":\"1\",\"name\":\"a\"}]}}",
     "{\"metadata\":{\"ownerReferences\":[{\"uid\":\"2\",\"name\":\"b\"}]}}",
     "{\"metadata\":{\"ownerReferences\":[{\"uid\":\"2\",\"name\":\"b\"},{\"uid\":\"1\",\"name\":\"a\"}]}}",
     0, NULL},
    /* volumes: retainKeys lets a volume change its kind */
    {"{\"spec\":{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]}}",
     "{\"spec\":{\"volumes\":[{\"name\":\"v\",\"$retainKeys\":[\"name\",\"hostPath\"],\"hostPath\":{\"path\":"
     "\"/x\"}}]}}",
     "{\"spec\":{\"volumes\":[{\"name\":\"v\",\"hostPath\":{\"path\":\"/x\"}}]}}", 0, NULL},
    {"{\"spec\":{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]}}",
     "{\"spec\":{\"volumes\":[{\"name\":\"v\",\"$retainKeys\":[\"name\"],\"hostPath\":{\"path\":\"/x\"}}]}}",
     NULL, 400, NULL},
    {"{\"spec\":{\"nodeSelector\":{\"a\":\"b\"}}}", "{\"spec\":{\"nodeSelector\":[1]}}",
     "{\"spec\":{\"nodeSelector\":[1]}}", 0, NULL},
    {"{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\"},{\"type\":\"X\"}]}}",
     "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}",
     "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"},{\"type\":\"X\"}]}}", 0, NULL},
};
START_TEST(strategic_patch_of_pods)
{
    run(PATCH_STRATEGIC, schema_find("", "v1", "Pod"), &pod_cases[_i]);
}
END_TEST

static const struct test_case deployment_cases[] = {
    {"{\"spec\":{\"strategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"maxSurge\":1}}}}",
     "{\"spec\":{\"strategy\":{\"$retainKeys\":[\"type\"],\"type\":\"Recreate\"}}}",
     "{\"spec\":{\"strategy\":{\"type\":\"Recreate\"}}}", 0, NULL},
    {"{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"1\",\"resources\":{"
     "\"limits\":{\"cpu\":\"1\"}}}]}}}}",
     "{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{\"kubectl.kubernetes.io/"
     "restartedAt\":\"now\"}},\"spec\":{\"containers\":[{"
     "\"name\":\"a\",\"resources\":{\"limits\":{\"cpu\":null,\"memory\":\"1Gi\"}}}]}}}}",
     "{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{\"kubectl.kubernetes.io/"
     "restartedAt\":\"now\"}},\"spec\":{\"containers\":[{"
     "\"name\":\"a\",\"image\":\"1\",\"resources\":{\"limits\":{\"memory\":\"1Gi\"}}}]}}}}",
     0, NULL},
    /* matchExpressions is atomic */
    {"{\"spec\":{\"selector\":{\"matchExpressions\":[{\"key\":\"a\"}]}}}",
     "{\"spec\":{\"selector\":{\"matchExpressions\":[{\"key\":\"b\"}]}}}",
     "{\"spec\":{\"selector\":{\"matchExpressions\":[{\"key\":\"b\"}]}}}", 0, NULL},
};
START_TEST(strategic_patch_of_deployments)
{
    run(PATCH_STRATEGIC, schema_find("apps", "v1", "Deployment"), &deployment_cases[_i]);
}
END_TEST

START_TEST(service_ports_merge_by_port)
{
    struct test_case c = {
        "{\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":30000},{\"port\":81}]}}",
        "{\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":8080}]}}",
        "{\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":30000,\"targetPort\":8080},{\"port\":81}]}}", 0,
        NULL};
    run(PATCH_STRATEGIC, schema_find("", "v1", "Service"), &c);
}
END_TEST

START_TEST(large_maps_and_lists_merge_in_bounded_time)
{
    struct buf target = {0}, patch = {0};
    buf_adds(&target, "{\"metadata\":{\"labels\":{\"x\":\"y\"");
    buf_adds(&patch, "{\"metadata\":{\"labels\":{\"x\":null");
    for (int i = 0; i < 50000; i++) {
        buf_printf(&target, ",\"k%d\":\"1\"", i);
        buf_printf(&patch, ",\"k%d\":\"2\",\"n%d\":\"3\"", 49999 - i, i);
    }
    buf_adds(&target, "}},\"spec\":{\"containers\":[{\"name\":\"a\"}");
    buf_adds(&patch, "}},\"spec\":{\"containers\":[{\"name\":\"b\"}");
    for (int i = 0; i < 20000; i++) {
        buf_printf(&target, ",{\"name\":\"c%d\"}", i);
        buf_printf(&patch, ",{\"name\":\"c%d\",\"image\":\"i\"}", 19999 - i);
    }
    buf_adds(&target, "]}}");
    buf_adds(&patch, "]}}");
    cleanup_json cJSON *t = json_parse(target.data, target.len, NULL);
    for (int kind = PATCH_MERGE; kind <= PATCH_STRATEGIC; kind++) {
        cleanup_json cJSON *got =
            patch_apply_text(kind, schema_find("", "v1", "Pod"), t, patch.data, patch.len, NULL);
        ck_assert_ptr_nonnull(got);
        ck_assert_int_eq(cJSON_GetArraySize(json_path(got, "metadata.labels")), 100000);
        ck_assert_int_eq(cJSON_GetArraySize(json_path(got, "spec.containers")),
                         kind == PATCH_MERGE ? 20001 : 20002);
    }
    buf_free(&target);
    buf_free(&patch);
}
END_TEST

START_TEST(kinds_by_content_type)
{
    enum patch_kind k;
    ck_assert(patch_kind_parse("application/merge-patch+json; charset=utf-8", &k, NULL) && k == PATCH_MERGE);
    ck_assert(patch_kind_parse("application/json-patch+json", &k, NULL) && k == PATCH_JSON);
    ck_assert(patch_kind_parse("application/strategic-merge-patch+json", &k, NULL) && k == PATCH_STRATEGIC);
    cleanup_error struct error *e = NULL;
    ck_assert(!patch_kind_parse("application/json", &k, &e));
    ck_assert_int_eq(e->code, 415);
    cleanup_error struct error *none = NULL;
    ck_assert(!patch_kind_parse(NULL, &k, &none));
}
END_TEST

START_TEST(undecodable_results_are_invalid)
{
    cleanup_json cJSON *doc = cJSON_Parse("{\"spec\":{\"replicas\":\"x\"}}");
    cleanup_error struct error *e = NULL;
    cleanup_free char *shown = patch_shown(PATCH_MERGE, doc, "", 0);
    patch_error_invalid(&e, shown, "json: nope");
    ck_assert_int_eq(e->code, 422);
    ck_assert_str_eq(error_message(e), " \"\" is invalid: patch: Invalid value: "
                                       "\"{\\\"spec\\\":{\\\"replicas\\\":\\\"x\\\"}}\": json: nope");
    const char *patch = "{\"spec\":{\"replicas\":\"x\",\"a\":[1,null,{\"b\":true}]}}";
    cleanup_free char *go = patch_shown(PATCH_STRATEGIC, doc, patch, strlen(patch));
    ck_assert_str_eq(go, "map[spec:map[a:[1 <nil> map[b:true]] replicas:x]]");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("patch");
    TCase *t = tcase_create("patch");
    tcase_set_timeout(t, 20);
    tcase_add_loop_test(t, merge_patch, 0, (int)ARRAY_LEN(merge_cases));
    tcase_add_loop_test(t, json_patch, 0, (int)ARRAY_LEN(json_cases));
    tcase_add_test(t, json_patch_copies_are_bounded);
    tcase_add_loop_test(t, strategic_patch_of_pods, 0, (int)ARRAY_LEN(pod_cases));
    tcase_add_loop_test(t, strategic_patch_of_deployments, 0, (int)ARRAY_LEN(deployment_cases));
    tcase_add_test(t, service_ports_merge_by_port);
    tcase_add_test(t, large_maps_and_lists_merge_in_bounded_time);
    tcase_add_test(t, kinds_by_content_type);
    tcase_add_test(t, undecodable_results_are_invalid);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
