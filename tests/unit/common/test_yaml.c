/* YAML as Kubernetes reads it. */
#include <check.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/yaml.h"

START_TEST(test_duplicates)
{
    static const char text[] = "a: 1\nb: {x: 1, y: 2}\na: [2]\nb:\n  x: 3\n  x: 4\n";
    cleanup_error struct error *err = NULL;
    ck_assert_ptr_null(yaml_to_json(text, sizeof text - 1, &err));
    ck_assert_str_eq(error_message(err), "yaml: line 6: key \"x\" already set in map");
    cleanup_buf struct buf noted = {0};
    cleanup_json cJSON *o = yaml_to_json_noting(text, sizeof text - 1, &noted, NULL);
    cleanup_free char *shown = json_text(o);
    ck_assert_str_eq(shown, "{\"a\":[2],\"b\":{\"x\":4}}");
    ck_assert_str_eq(buf_str(&noted), "\n  line 6: key \"x\" already set in map"
                                      "\n  line 3: key \"a\" already set in map"
                                      "\n  line 4: key \"b\" already set in map");
}
END_TEST

START_TEST(test_values)
{
    static const struct {
        const char *yaml, *json; /* NULL: refused */
    } cases[] = {
        {"{a: yes, b: 'yes', c: ~, d: 010, e: 1_000, f: 1.5, g: 0x1f}",
         "{\"a\":true,\"b\":\"yes\",\"c\":null,\"d\":8,\"e\":1000,\"f\":1.5,\"g\":31}"},
        {"a: &x {k: 1}\nb: {<<: *x, k: 2, l: 3}\nc: {<<: *x}",
         "{\"a\":{\"k\":1},\"b\":{\"k\":2,\"l\":3},\"c\":{\"k\":1}}"},
        {"a: |\n  x\n  y\n", "{\"a\":\"x\\ny\\n\"}"},
        {"", "null"},
        {"{[a]: 1}", NULL},
        {"a: [", NULL},
        {"a: {<<: 1}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_error struct error *err = NULL;
        cleanup_json cJSON *o = yaml_to_json(cases[i].yaml, strlen(cases[i].yaml), &err);
        ck_assert_msg((o != NULL) == (cases[i].json != NULL), "%s", cases[i].yaml);
        ck_assert(o || err);
        cleanup_free char *shown = o ? json_text(o) : NULL;
        if (o)
            ck_assert_str_eq(shown, cases[i].json);
    }
}
END_TEST

/* Many keys cost no more than sorting them. */
START_TEST(test_large_map)
{
    cleanup_buf struct buf b = {0};
    for (int i = 0; i < 100000; i++)
        buf_printf(&b, "key%d: %d\n", i, i);
    cleanup_json cJSON *o = yaml_to_json(b.data, b.len, NULL);
    ck_assert_int_eq(cJSON_GetArraySize(o), 100000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("yaml");
    TCase *t = tcase_create("yaml");
    tcase_add_test(t, test_duplicates);
    tcase_add_test(t, test_values);
    tcase_add_test(t, test_large_map);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
