/* Custom resources: structural schemas, printer columns, versions, names. */
#include <check.h>
#include <string.h>
#include "apiserver/apply/typed.h"
#include "apiserver/crd/custom.h"
#include "apiserver/crd/names.h"
#include "common/json.h"
#include "common/mem.h"

static cJSON *parse(const char *text)
{
    cleanup_buf struct buf b = {0};
    for (; *text; text++)
        buf_addc(&b, *text == '\'' ? '"' : *text);
    struct error *err = NULL;
    cJSON *json = json_parse(buf_str(&b), b.len, &err);
    ck_assert_msg(json != NULL, "%s in %s", error_message(err), buf_str(&b));
    return json;
}

static void check_json(const cJSON *got, const char *want)
{
    cleanup_json cJSON *wanted = parse(want);
    cleanup_free char *text = json_text(got);
    ck_assert_msg(json_equal(got, wanted), "got %s, want %s", text, want);
}

/* "field: body" of all errors, joined by "; ". */
static void check_errors(const char *schema_text, const char *value_text, const char *old_text,
                         const char *want)
{
    cleanup_json cJSON *schema = parse(schema_text), *value = parse(value_text),
                       *old = old_text ? parse(old_text) : NULL;
    cleanup_field_errors struct field_errors errors = {0};
    structural_validate(schema, value, old, NULL, &errors);
    cleanup_buf struct buf b = {0};
    for (size_t i = 0; i < errors.count; i++)
        buf_printf(&b, "%s%s: %s", i ? "; " : "", errors.items[i].field, errors.items[i].body);
    ck_assert_str_eq(buf_str(&b), want);
}

/* A schema of one property, "a". */
static void check_property(const char *property, const char *value, const char *want)
{
    cleanup_free char *schema = mem_printf("{'type':'object','properties':{'a':%s}}", property);
    cleanup_free char *object = mem_printf("{'a':%s}", value);
    check_errors(schema, object, NULL, want);
}

START_TEST(test_prune)
{
    static const struct {
        const char *schema, *value, *left, *noted;
    } cases[] = {
        {"{'type':'object','properties':{'a':{'type':'string'}}}", "{'a':'x','b':1}", "{'a':'x'}",
         "unknown field \"b\""},
        {"{'type':'object','x-kubernetes-preserve-unknown-fields':true,'properties':{'a':{'type':'"
         "object'}}}",
         "{'a':{'x':1},'b':1}", "{'a':{},'b':1}", "unknown field \"a.x\""},
        {"{'type':'object','additionalProperties':{'type':'object','properties':{'k':{'type':'"
         "string'}}}}",
         "{'m':{'k':'v','z':1}}", "{'m':{'k':'v'}}", "unknown field \"m.z\""},
        {"{'type':'object','additionalProperties':true}", "{'m':{'k':1}}", "{'m':{'k':1}}", ""},
        {"{'type':'object','properties':{'l':{'type':'array','items':{'type':'object','properties':"
         "{'k':{}}}}}}",
         "{'l':[{'k':1},{'z':2}]}", "{'l':[{'k':1},{}]}", "unknown field \"l[1].z\""},
        {"{'type':'object','properties':{'t':{'type':'object','x-kubernetes-embedded-resource':"
         "true}}}",
         "{'t':{'kind':'Pod','apiVersion':'v1','metadata':{'name':'x'},'spec':{}}}",
         "{'t':{'kind':'Pod','apiVersion':'v1','metadata':{'name':'x'}}}",
         "unknown field \"t.spec\""},
        {"{'type':'object','properties':{'a':{'type':'object','properties':{}}}}",
         "{'a':'no object'}", "{'a':'no object'}", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_json cJSON *schema = parse(cases[i].schema), *value = parse(cases[i].value);
        cleanup_strict_errors struct strict_errors strict = {0};
        structural_prune(schema, value, "", &strict);
        check_json(value, cases[i].left);
        ck_assert_str_eq(strict.count ? strict.items[0] : "", cases[i].noted);
        ck_assert_uint_le(strict.count, 1);
    }
}
END_TEST

START_TEST(test_default)
{
    static const struct {
        const char *schema, *value, *want;
    } cases[] = {
        {"{'properties':{'a':{'default':1},'b':{'default':2}}}", "{'b':3}", "{'a':1,'b':3}"},
        {"{'properties':{'a':{'default':{},'properties':{'b':{'default':'x'}}}}}", "{}",
         "{'a':{'b':'x'}}"},
        {"{'properties':{'a':{'properties':{'b':{'default':'x'}}}}}", "{}", "{}"},
        {"{'properties':{'a':{'default':1},'n':{'default':1,'nullable':true}}}",
         "{'a':null,'n':null}", "{'a':1,'n':null}"},
        {"{'additionalProperties':{'properties':{'b':{'default':false}}}}", "{'m':{}}",
         "{'m':{'b':false}}"},
        {"{'items':{'properties':{'b':{'default':0}}}}", "[{},{'b':1}]", "[{'b':0},{'b':1}]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_json cJSON *schema = parse(cases[i].schema), *value = parse(cases[i].value);
        structural_default(schema, value);
        check_json(value, cases[i].want);
    }
}
END_TEST

START_TEST(test_validate)
{
    check_property("{'type':'integer'}", "1", "");
    check_property("{'type':'integer'}", "1.5",
                   "a: Invalid value: \"number\": a in body must be of type integer: \"number\"");
    check_property("{'type':'number'}", "1", "");
    check_property("{'type':'string'}", "null",
                   "a: Invalid value: \"null\": a in body must be of type string: \"null\"");
    check_property("{'type':'string','nullable':true}", "null", "");
    check_property("{'x-kubernetes-int-or-string':true}", "'http'", "");
    check_property(
        "{'x-kubernetes-int-or-string':true}", "true",
        "a: Invalid value: \"boolean\": a in body must be of type integer,string: \"boolean\"");
    check_property("{'type':'integer','minimum':1}", "0",
                   "a: Invalid value: 0: a in body should be greater than or equal to 1");
    check_property("{'type':'integer','minimum':1,'exclusiveMinimum':true}", "1",
                   "a: Invalid value: 1: a in body should be greater than 1");
    check_property("{'type':'integer','maximum':9}", "10",
                   "a: Invalid value: 10: a in body should be less than or equal to 9");
    check_property("{'type':'integer','multipleOf':5}", "7",
                   "a: Invalid value: 7: a in body should be a multiple of 5");
    check_property("{'type':'string','enum':['x','y']}", "'z'",
                   "a: Unsupported value: \"z\": supported values: \"x\", \"y\"");
    check_property("{'type':'string','minLength':2}", "'\u00e4'",
                   "a: Invalid value: \"\u00e4\": a in body should be at least 2 chars long");
    check_property("{'type':'string','maxLength':1}", "'\u00e4'", "");
    check_property("{'type':'string','pattern':'^[a-z]+\\\\d*$'}", "'ab12'", "");
    check_property("{'type':'string','pattern':'^[a-z]+\\\\d*$'}", "'1'",
                   "a: Invalid value: \"1\": a in body should match '^[a-z]+\\d*$'");
    check_property("{'type':'string','pattern':'^(?i:x|(?:yz)+?)$'}", "'YZYZ'", "");
    check_property(
        "{'type':'string','pattern':'^(a+)+$'}",
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'",
        "a: Invalid value: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\": a in body "
        "should match "
        "'^(a+)+$'");
    check_property("{'type':'string','format':'date-time'}", "'2026-11-24T12:00:00Z'", "");
    check_property("{'type':'string','format':'date-time'}", "'now'",
                   "a: Invalid value: \"now\": a in body must be of type date-time: \"now\"");
    check_property("{'type':'string','format':'ipv4'}", "'10.0.0.1'", "");
    check_property("{'type':'string','format':'ipv4'}", "'::1'",
                   "a: Invalid value: \"::1\": a in body must be of type ipv4: \"::1\"");
    check_property("{'type':'string','format':'never-heard-of'}", "'x'", "");
    check_property("{'type':'array','items':{'type':'string'},'minItems':1}", "[]",
                   "a: Invalid value: 0: a in body should have at least 1 items");
    check_property("{'type':'array','items':{'type':'string'},'maxItems':1}", "['x','y']",
                   "a: Too many: 2: must have at most 1 item");
    check_property(
        "{'type':'array','items':{'type':'integer'}}", "[1,'x']",
        "a[1]: Invalid value: \"string\": a[1] in body must be of type integer: \"string\"");
    check_property("{'type':'array','x-kubernetes-list-type':'set','items':{'type':'string'}}",
                   "['x','y','x']", "a[2]: Duplicate value: \"x\"");
    check_property("{'type':'object','required':['b'],'properties':{'b':{'type':'string'}}}", "{}",
                   "a.b: Required value");
    check_property(
        "{'type':'object','additionalProperties':{'type':'string'}}", "{'k':1}",
        "a.k: Invalid value: \"integer\": a.k in body must be of type string: \"integer\"");
    check_property("{'type':'object','maxProperties':1,'additionalProperties':{'type':'string'}}",
                   "{'k':'1','l':'2'}", "a: Too many: 2: must have at most 1 item");
}
END_TEST

START_TEST(test_combined)
{
    check_property("{'type':'string','anyOf':[{'pattern':'^x'},{'enum':['y']}]}", "'y'", "");
    check_property("{'type':'string','anyOf':[{'pattern':'^x'},{'enum':['y']}]}", "'z'",
                   "<nil>: Invalid value: \"\": \"a\" must validate at least one schema (anyOf); "
                   "a: Invalid value: \"z\": a in body should match '^x'");
    check_property("{'type':'object','oneOf':[{'required':['b']},{'required':['c']}]}", "{'b':1}",
                   "");
    check_property("{'type':'object','oneOf':[{'required':['b']},{'required':['c']}]}",
                   "{'b':1,'c':1}",
                   "<nil>: Invalid value: \"\": \"a\" must validate one and only one schema "
                   "(oneOf). Found 2 valid "
                   "alternatives");
    check_property("{'type':'object','oneOf':[{'required':['b']},{'required':['c']}]}", "{}",
                   "<nil>: Invalid value: \"\": \"a\" must validate one and only one schema "
                   "(oneOf). Found none valid; "
                   "a.b: Required value");
    check_property("{'type':'object','not':{'required':['b']}}", "{'b':1}",
                   "<nil>: Invalid value: \"\": \"a\" must not validate the schema (not)");
    check_property("{'type':'integer','allOf':[{'minimum':1},{'maximum':3}]}", "4",
                   "a: Invalid value: 4: a in body should be less than or equal to 3; <nil>: "
                   "Invalid value: \"\": \"a\" "
                   "must validate all the schemas (allOf)");
}
END_TEST

/* What was wrong before a schema became stricter may stay, but not be changed to something else
 * that is wrong. */
START_TEST(test_ratchet)
{
    const char *schema =
        "{'type':'object','properties':{'n':{'type':'integer','maximum':5},'l':{'type':'array',"
        "'x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':['k'],'items':{'type':'object'"
        ","
        "'properties':{'k':{'type':'string'},'n':{'type':'integer','maximum':5}}}}}}";
    check_errors(schema, "{'n':9}", "{'n':9,'l':[]}", "");
    check_errors(schema, "{'n':8}", "{'n':9}",
                 "n: Invalid value: 8: n in body should be less than or equal to 5");
    check_errors(schema, "{'l':[{'k':'b'},{'k':'a','n':9}]}", "{'l':[{'k':'a','n':9}]}", "");
    check_errors(schema, "{'l':[{'k':'b','n':9}]}", "{'l':[{'k':'a','n':9}]}",
                 "l[0].n: Invalid value: 9: l[0].n in body should be less than or equal to 5");
}
END_TEST

START_TEST(test_jsonpath)
{
    cleanup_json cJSON *o =
        parse("{'a':{'b.c':'dotted','l':[{'t':'x','v':1},{'t':'y','v':2}]},'n':[]}");
    static const struct {
        const char *path, *want; /* JSON, or NULL */
    } cases[] = {
        {".a.l[1].v", "2"},
        {".a.l[?(@.t==\"y\")].v", "2"},
        {".a.l[?(@.t=='x')].v", "1"},
        {".a.b\\.c", "'dotted'"},
        {".a['b.c']", "'dotted'"},
        {".a.l[*].v", "1"},
        {".a.l[?(@.t==\"z\")].v", NULL},
        {".a.x", NULL},
        {".n[0]", NULL},
        {".a.l[7]", NULL},
        {"", NULL},
        {".a.l[", NULL},
        {".a.l[?(@.t", NULL},
        {".", NULL},
        {".a.l[-1]", NULL},
        {".a.l['", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const cJSON *got = jsonpath_find(o, cases[i].path);
        if (!*cases[i].path) {
            ck_assert_ptr_eq(got, o); /* the whole */
            continue;
        }
        ck_assert_msg((got != NULL) == (cases[i].want != NULL), "%s", cases[i].path);
        if (got)
            check_json(got, cases[i].want);
    }
}
END_TEST

START_TEST(test_versions)
{
    static const char *const order[] = {"v10",       "v2",      "v1",      "v0",
                                        "v2beta1",   "v1beta2", "v1beta1", "v12alpha1",
                                        "v11alpha2", "foo1",    "foo10",   "v1gamma"};
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        for (size_t k = 0; k < ARRAY_LEN(order); k++) {
            int got = custom_compare_versions(order[i], order[k]);
            ck_assert_msg(i < k   ? got < 0
                          : i > k ? got > 0
                                  : got == 0,
                          "%s %s", order[i], order[k]);
        }
}
END_TEST

static const char definition_text[] =
    "{'metadata':{'name':'xs.e.org','generation':2},'spec':{'group':'e.org','scope':'Namespaced','"
    "names':{'plural':'xs',"
    "'singular':'x','kind':'X','shortNames':['ex']},'versions':["
    "{'name':'v1beta1','served':true,'storage':false,'schema':{'openAPIV3Schema':{'type':'object','"
    "properties':{'spec':"
    "{'type':'object','properties':{'n':{'type':'integer'}}}}}}},"
    "{'name':'v1','served':true,'storage':true,'subresources':{'status':{},'scale':{'"
    "specReplicasPath':'.spec.n',"
    "'statusReplicasPath':'.status.n'}},'additionalPrinterColumns':[{'name':'N','type':'integer','"
    "jsonPath':'.spec.n'},"
    "{'name':'T','type':'string','jsonPath':'.spec.n'},{'name':'B','type':'boolean','jsonPath':'."
    "spec.n'}],"
    "'schema':{'openAPIV3Schema':{'type':'object','required':['spec'],'properties':{"
    "'spec':{'type':'object','properties':{'n':{'type':'integer','default':1},'l':{'type':'array',"
    "'x-kubernetes-list-type':'map','x-kubernetes-list-map-keys':['k','j'],'items':{'type':'object'"
    ",'properties':"
    "{'k':{'type':'string'},'j':{'type':'string'}}}}}},'status':{'type':'object'}}}}},"
    "{'name':'v1alpha1','served':false,'storage':false,'schema':{'openAPIV3Schema':{'type':'object'"
    "}}}]}}";

START_TEST(test_build)
{
    cleanup_json cJSON *crd = parse(definition_text);
    const struct custom *c = custom_build(crd, false);
    ck_assert_uint_eq(c->count, 2);
    ck_assert_str_eq(c->stored->version, "v1");
    const struct resource *beta = c->served[0];
    ck_assert_str_eq(beta->version, "v1beta1");
    ck_assert_ptr_eq(resource_stored(beta), c->stored);
    ck_assert(c->stored->has_status && !beta->has_status);
    ck_assert_str_eq(c->stored->subresources[0].name, "scale");
    ck_assert_str_eq(c->stored->scale_spec, "spec.n");
    ck_assert_str_eq(beta->short_names[0], "ex");
    ck_assert_int_eq(custom_build(crd, true)->stored->verbs & VERB_CREATE, 0);

    const struct schema_field *spec = schema_field(c->stored->type, "spec");
    ck_assert_ptr_nonnull(spec);
    const struct schema_field *list = schema_field(spec->type, "l");
    ck_assert_int_eq(list->list_type, SCHEMA_LIST_MAP);
    ck_assert_str_eq(list->list_keys, "k,j");
    ck_assert_ptr_nonnull(schema_field(c->stored->type, "metadata"));

    cleanup_json cJSON *object =
        parse("{'apiVersion':'e.org/"
              "v1beta1','kind':'X','metadata':{'name':'a','nonsense':1},'spec':{'z':1},'y':2}");
    cleanup_strict_errors struct strict_errors strict = {0};
    cleanup_error struct error *err = NULL;
    ck_assert(schema_decode(c->stored->type, object, &strict, &err));
    ck_assert_uint_eq(strict.count, 3);
    custom_default(c->stored->type, object);
    ck_assert_int_eq(json_int(object, "spec.n", 0), 1);
    cleanup_json cJSON *shown = custom_as(c->stored, object);
    ck_assert_str_eq(json_str_or(shown, "apiVersion", ""), "e.org/v1");
    cleanup_json cJSON *cells = cJSON_CreateArray();
    custom_row(c->stored->type, object, cells);
    check_json(cells, "['a',1,'1',null]");
    cleanup_json cJSON *wrong =
        parse("{'kind':'X','apiVersion':'e.org/v1','metadata':{'labels':{'a':1}}}");
    ck_assert(!schema_decode(c->stored->type, wrong, NULL, &err));
}
END_TEST

START_TEST(test_duplicates)
{
    cleanup_json cJSON *o = parse("{'a':1,'b':{'x':1,'x':2,'x':3},'a':[{'k':1,'k':2}]}");
    cleanup_strict_errors struct strict_errors strict = {0};
    strict_drop_duplicates(o, &strict);
    check_json(o, "{'b':{'x':3},'a':[{'k':2}]}");
    ck_assert_uint_eq(strict.count, 3);
    ck_assert_str_eq(strict.items[0], "duplicate field \"a\"");
    ck_assert_str_eq(strict.items[1], "duplicate field \"b.x\"");
    ck_assert_str_eq(strict.items[2], "duplicate field \"a[0].k\"");
}
END_TEST

/* What has no schema is merged by its members; lists of it have one owner. */
START_TEST(test_apply_without_schema)
{
    cleanup_json cJSON *crd = parse(
        "{'spec':{'group':'e.org','names':{'plural':'xs','kind':'X'},'versions':[{'name':'v1','"
        "served':true,'storage':true,"
        "'schema':{'openAPIV3Schema':{'type':'object','properties':{'spec':{'type':'object','"
        "properties':{"
        "'any':{'type':'object','x-kubernetes-preserve-unknown-fields':true},'m':{'type':'object',"
        "'additionalProperties':{'type':'array','items':{'type':'string'}}},'pot':{'type':'object','x-kubernetes-embedded-resource':true}}}}}}}]}}");
    const struct schema_type *t = custom_build(crd, false)->stored->type;
    cleanup_json cJSON *o = parse("{'spec':{'any':{'a':{'b':1},'l':[1,2]},'m':{'k':['x']}}}");
    cleanup_fieldset struct fieldset *fields = typed_fields(t, o);
    cleanup_json cJSON *shown = fieldset_to_json(fields);
    check_json(shown, "{'f:spec':{'f:any':{'f:a':{'f:b':{}},'f:l':{}},'f:m':{'f:k':{}}}}");
    cleanup_error struct error *err = NULL;
    ck_assert(typed_check(t, o, &err));
    const char *embedded =
        "{'kind':'X','spec':{'pot':{'kind':'P','apiVersion':'v1','metadata':{'name':'p','foo':1},'apiversion':'v1'}}}";
    cleanup_json cJSON *wrong = parse(embedded);
    ck_assert(!typed_check(t, wrong, &err));
    ck_assert_str_eq(error_message(err), "failed to create typed patch object (/; e.org/v1, Kind=X): errors:\n"
                                         "  .spec.pot.metadata.foo: field not declared in schema\n"
                                         "  .spec.pot.apiversion: field not declared in schema");
    error_cleanup(&err);
    err = NULL;
    cleanup_json cJSON *bad = parse("{'kind':'X','spec':{'no':1,'any':{'yes':1}}}");
    ck_assert(!typed_check(t, bad, &err));
    ck_assert_str_eq(error_message(err), "failed to create typed patch object (/; e.org/v1, "
                                         "Kind=X): .spec.no: field not declared in schema");
}
END_TEST

static void check_names(const char *mine, const char *other, const char *reason,
                        const char *accepted)
{
    cleanup_json cJSON *all = cJSON_CreateArray();
    cJSON_AddItemToArray(all, parse(mine));
    cJSON_AddItemToArray(all, parse(other));
    cleanup_names_verdict struct names_verdict v = names_judge(all->child, all);
    ck_assert_str_eq(v.reason ? v.reason : "", reason);
    check_json(v.accepted, accepted);
}

START_TEST(test_names)
{
#define MINE(time, kind)                                                                           \
    "{'metadata':{'name':'as.e.org','creationTimestamp':'" time                                    \
    "'},'spec':{'group':'e.org','names':{'plural':'as',"                                           \
    "'kind':'" kind "','shortNames':['s']}}}"
#define OTHER(group, accepted)                                                                     \
    "{'metadata':{'name':'bs.e.org','creationTimestamp':'2'},'spec':{'group':'" group              \
    "','names':{'plural':'bs','kind':'B'}},"                                                       \
    "'status':{'acceptedNames':" accepted "}}"
    check_names(MINE("3", "A"), OTHER("e.org", "{'plural':'bs','kind':'B'}"), "",
                "{'plural':'as','kind':'A','shortNames':['s']}");
    check_names(MINE("3", "B"), OTHER("e.org", "{'plural':'bs','kind':'B'}"), "KindConflict",
                "{'plural':'as','kind':'','shortNames':['s']}");
    check_names(MINE("3", "B"), OTHER("f.org", "{'plural':'bs','kind':'B'}"), "",
                "{'plural':'as','kind':'B','shortNames':['s']}");
    check_names(MINE("3", "A"), OTHER("e.org", "{'plural':'bs','kind':'B','shortNames':['s']}"),
                "ShortNamesConflict", "{'plural':'as','kind':'A'}");
    /* Neither has it yet: the older one gets it. */
    check_names(MINE("3", "B"), OTHER("e.org", "{'plural':'','kind':''}"), "KindConflict",
                "{'plural':'as','kind':'','shortNames':['s']}");
    check_names(MINE("1", "B"), OTHER("e.org", "{'plural':'','kind':''}"), "",
                "{'plural':'as','kind':'B','shortNames':['s']}");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("custom resources");
    TCase *t = tcase_create("custom resources");
    tcase_add_test(t, test_prune);
    tcase_add_test(t, test_default);
    tcase_add_test(t, test_validate);
    tcase_add_test(t, test_combined);
    tcase_add_test(t, test_ratchet);
    tcase_add_test(t, test_jsonpath);
    tcase_add_test(t, test_versions);
    tcase_add_test(t, test_build);
    tcase_add_test(t, test_names);
    tcase_add_test(t, test_duplicates);
    tcase_add_test(t, test_apply_without_schema);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
