#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

static cJSON *parse(const char *text)
{
    struct error *err = NULL;
    cJSON *o = json_parse(text, strlen(text), &err);
    ck_assert_msg(o != NULL, "%s: %s", text, error_message(err));
    return o;
}

START_TEST(parses_one_document_only)
{
    static const char *const bad[] = {"", "{", "[1,", "{\"a\":}", "{} {}", "nul", "{\"a\":1}x", "\"abc"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_error struct error *err = NULL;
        ck_assert_ptr_null(json_parse(bad[i], strlen(bad[i]), &err));
        ck_assert_ptr_nonnull(err);
    }
    cleanup_json cJSON *ok = parse(" {\"a\": [1, 2]} \n");
    ck_assert_int_eq(cJSON_GetArraySize(json_get(ok, "a")), 2);
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
    size_t n = 1000000;
    cleanup_free char *text = mem_alloc(n + 1);
    memset(text, '[', n);
    cleanup_error struct error *err = NULL;
    ck_assert_ptr_null(json_parse(text, n, &err));
    ck_assert_ptr_nonnull(err);
}
END_TEST

START_TEST(paths)
{
    cleanup_json cJSON *o = parse("{\"spec\":{\"n\":3,\"s\":\"x\",\"b\":true,\"map\":{\"a.b/c\":\"v\"}}}");
    ck_assert_str_eq(json_str(o, "spec.s"), "x");
    ck_assert_int_eq(json_int(o, "spec.n", -1), 3);
    ck_assert_int_eq(json_int(o, "spec.s", -1), -1);
    ck_assert(json_bool(o, "spec.b", false));
    ck_assert_ptr_null(json_path(o, "spec.none.deeper"));
    ck_assert_ptr_null(json_str(NULL, "a"));
    ck_assert_str_eq(json_map_str(json_path(o, "spec.map"), "a.b/c"), "v");
    ck_assert_ptr_null(json_get(o, "SPEC")); /* case matters */
    json_set_str(o, "status.phase", "Running");
    json_set_int(o, "spec.n", 4);
    json_map_set_str(json_path(o, "spec.map"), "a.b/c", NULL);
    json_remove(o, "spec.b");
    json_set_str(o, "spec.none.x", NULL);
    cleanup_free char *text = json_text(o);
    ck_assert_str_eq(text, "{\"spec\":{\"n\":4,\"s\":\"x\",\"map\":{}},\"status\":{\"phase\":\"Running\"}}");
}
END_TEST

START_TEST(equality_ignores_member_order)
{
    cleanup_json cJSON *a = parse("{\"x\":[1,{\"p\":1,\"q\":2}],\"y\":null}");
    cleanup_json cJSON *b = parse("{\"y\":null,\"x\":[1,{\"q\":2,\"p\":1}]}");
    cleanup_json cJSON *c = parse("{\"x\":[1,{\"q\":2,\"p\":1}]}");
    cleanup_json cJSON *d = parse("{\"x\":[{\"q\":2,\"p\":1},1],\"y\":null}");
    ck_assert(json_equal(a, b));
    ck_assert(!json_equal(a, c));
    ck_assert(!json_equal(c, a));
    ck_assert(!json_equal(a, d));
}
END_TEST

START_TEST(printing)
{
    cleanup_json cJSON *o = cJSON_CreateObject();
    json_map_set(o, "big", cJSON_CreateNumber(9007199254740991.0));
    json_map_set(o, "frac", cJSON_CreateNumber(0.1));
    json_map_set_str(o, "text", "a\"\\\n\x01\xc3\xa9\xff");
    cleanup_free char *text = json_text(o);
    ck_assert_str_eq(text, "{\"big\":9007199254740991,\"frac\":0.1,"
                           "\"text\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd\"}");
    cleanup_json cJSON *again = parse(text);
    ck_assert_str_eq(json_str(again, "text"), "a\"\\\n\x01\xc3\xa9\xef\xbf\xbd");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json");
    TCase *t = tcase_create("json");
    tcase_add_test(t, parses_one_document_only);
    tcase_add_test(t, deep_nesting_is_refused);
    tcase_add_test(t, paths);
    tcase_add_test(t, equality_ignores_member_order);
    tcase_add_test(t, printing);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
