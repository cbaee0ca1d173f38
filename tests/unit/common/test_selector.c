#include <check.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/selector.h"

static cJSON *parse(const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_msg(o != NULL, "%s", text);
    return o;
}

START_TEST(matching)
{
    static const struct {
        const char *selector;
        bool matches;
    } cases[] = {
        {"", true},
        {"app=web", true},
        {"app==web", true},
        {" app = web ", true},
        {"app=db", false},
        {"app!=db", true},
        {"app!=web", false},
        {"none!=x", true},
        {"app", true},
        {"!app", false},
        {"!none", true},
        {"none", false},
        {"app in (web,db)", true},
        {"app in (db)", false},
        {"app notin (db)", true},
        {"none notin (db)", true},
        {"none in (db)", false},
        {"app=web,tier=front", true},
        {"app=web,tier=back", false},
        {"n>3", true},
        {"n>5", false},
        {"n<6", true},
        {"app>1", false},
        {"empty=", true},
        {"empty", true},
        {"none=", false},
        {"empty in (,a)", true},
        {"app in ()", false}, /* refused: see below */
        {"example.com/x=1", true},
        {"in=in", false},
        {"in", false},
    };
    cleanup_json cJSON *labels =
        parse("{\"app\":\"web\",\"tier\":\"front\",\"n\":\"5\",\"empty\":\"\",\"example.com/x\":\"1\"}");
    static const char *const flat[] = {"app",   "web", "tier",          "front", "n", "5",
                                       "empty", "",    "example.com/x", "1",     NULL};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct label_selector *s = label_selector_parse(cases[i].selector, NULL);
        if (!strcmp(cases[i].selector, "app in ()")) {
            ck_assert(!s);
            continue;
        }
        ck_assert_msg(s != NULL, "%s", cases[i].selector);
        ck_assert_msg(label_selector_matches(s, labels) == cases[i].matches, "%s", cases[i].selector);
        ck_assert_msg(label_selector_matches_flat(s, flat) == cases[i].matches, "%s", cases[i].selector);
        label_selector_free(s);
    }
}
END_TEST

START_TEST(parse_errors)
{
    static const struct {
        const char *selector, *message;
    } cases[] = {
        {"x in", "unable to parse requirement: found '' expected: '('"},
        {"x in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"},
        {"x in (a", "unable to parse requirement: found '', expected: ',' or ')'"},
        {"x in ()",
         "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set "
         "can't be empty"},
        {"=x", "found '=', expected: !, identifier, or 'end of string'"},
        {",", "found ',', expected: !, identifier, or 'end of string'"},
        {"x,", "found '', expected: identifier after ','"},
        {"x=a b", "found 'b', expected: ',' or 'end of string'"},
        {"x y", "unable to parse requirement: found 'y', expected: in, notin, =, ==, !=, gt, lt"},
        {"x=(", "unable to parse requirement: found '(', expected: identifier"},
        {"!", "unable to parse requirement: found '', expected: identifier"},
        {"!x=a", "found '=', expected: ',' or 'end of string'"},
        {"x>a", "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the "
                "value must "
                "be an integer"},
        {"x=-a", "unable to parse requirement: values[0][x]: Invalid value: \"-a\": a valid label must be an "
                 "empty string "
                 "or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                 "alphanumeric "
                 "character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                 "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"},
        {"-x=a",
         "unable to parse requirement: <nil>: Invalid value: \"-x\": name part must consist of alphanumeric "
         "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName', "
         " or "
         "'my.name',  or '123-abc', regex used for validation is "
         "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_error struct error *err = NULL;
        ck_assert(!label_selector_parse(cases[i].selector, &err));
        ck_assert_msg(!strcmp(err->message, cases[i].message), "%s: %s", cases[i].selector, err->message);
        ck_assert_int_eq(err->code, 400);
        ck_assert_str_eq(err->reason, "BadRequest");
    }
}
END_TEST

START_TEST(text_form)
{
    static const struct {
        const char *in, *out;
    } cases[] = {{"b=1,a in (x,y)", "a in (x,y),b=1"}, {"!x, y", "!x,y"}, {"a!=1", "a!=1"},
                 {"a notin (b)", "a notin (b)"},       {"n>3", "n>3"},    {"", ""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct label_selector *s = label_selector_parse(cases[i].in, NULL);
        cleanup_free char *text = label_selector_text(s);
        ck_assert_str_eq(text, cases[i].out);
        label_selector_free(s);
    }
}
END_TEST

START_TEST(from_json)
{
    cleanup_json cJSON *labels = parse("{\"app\":\"web\",\"env\":\"prod\"}");
    cleanup_json cJSON *all = parse("{}");
    cleanup_json cJSON *one = parse("{\"matchLabels\":{\"app\":\"web\"},\"matchExpressions\":["
                                    "{\"key\":\"env\",\"operator\":\"In\",\"values\":[\"prod\",\"dev\"]},"
                                    "{\"key\":\"x\",\"operator\":\"DoesNotExist\"},"
                                    "{\"key\":\"app\",\"operator\":\"Exists\"},"
                                    "{\"key\":\"env\",\"operator\":\"NotIn\",\"values\":[\"qa\"]}]}");
    cleanup_json cJSON *bad = parse("{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Near\"}]}");
    struct label_selector *s = label_selector_from_json(NULL, NULL);
    ck_assert(!label_selector_matches(s, labels));
    ck_assert(!label_selector_empty(s));
    label_selector_free(s);
    s = label_selector_from_json(all, NULL);
    ck_assert(label_selector_matches(s, labels));
    ck_assert(label_selector_matches(s, NULL));
    ck_assert(label_selector_empty(s));
    label_selector_free(s);
    s = label_selector_from_json(one, NULL);
    ck_assert(label_selector_matches(s, labels));
    ck_assert(!label_selector_matches(s, NULL));
    label_selector_free(s);
    cleanup_error struct error *err = NULL;
    ck_assert(!label_selector_from_json(bad, &err));
    ck_assert_str_eq(err->message, "\"Near\" is not a valid label selector operator");
    cleanup_json cJSON *map = parse("{\"app\":\"web\"}");
    s = label_selector_from_map(map);
    ck_assert(label_selector_matches(s, labels));
    label_selector_free(s);
    s = label_selector_from_map(NULL);
    ck_assert(label_selector_empty(s));
    label_selector_free(s);
}
END_TEST

START_TEST(fields)
{
    struct field_selector f;
    ck_assert(field_selector_parse("metadata.name=x,status.phase!=Running,a==b\\,c\\=d,,e=", &f, NULL));
    ck_assert_int_eq(f.count, 4);
    ck_assert_str_eq(f.terms[0].field, "metadata.name");
    ck_assert_str_eq(f.terms[0].value, "x");
    ck_assert(f.terms[0].equals);
    ck_assert(!f.terms[1].equals);
    ck_assert_str_eq(f.terms[1].value, "Running");
    ck_assert_str_eq(f.terms[2].value, "b,c=d");
    ck_assert_str_eq(f.terms[3].value, "");
    field_selector_clear(&f);
    ck_assert(field_selector_parse(NULL, &f, NULL));
    ck_assert_int_eq(f.count, 0);
    cleanup_error struct error *err = NULL;
    ck_assert(!field_selector_parse("a=b,nonsense", &f, &err));
    ck_assert_str_eq(err->message, "invalid selector: 'a=b,nonsense'; can't understand 'nonsense'");
    ck_assert_int_eq(err->code, 400);
    ck_assert(!field_selector_parse("a=b=c", &f, NULL));
    ck_assert(!field_selector_parse("a=b\\x", &f, NULL));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("selector");
    TCase *t = tcase_create("selector");
    tcase_add_test(t, matching);
    tcase_add_test(t, parse_errors);
    tcase_add_test(t, text_form);
    tcase_add_test(t, from_json);
    tcase_add_test(t, fields);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
