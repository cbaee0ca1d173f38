/* Server-side apply: who owns what, what is merged, what is refused. */
#include <check.h>
#include <string.h>
#include "apiserver/apply/managed.h"
#include "apiserver/apply/typed.h"
#include "common/json.h"
#include "common/mem.h"

static cJSON *parse(const char *text)
{
    cleanup_buf struct buf b = {0};
    for (; *text; text++)
        buf_addc(&b, *text == '\'' ? '"' : *text);
    struct error *err = NULL;
    cJSON *json = json_parse(buf_str(&b), b.len, &err);
    ck_assert_msg(json != NULL, "%s", error_message(err));
    return json;
}

static const struct schema_type *deployment(void)
{
    return schema_find("apps", "v1", "Deployment");
}

static struct field_manager by(const char *name, const char *sub)
{
    return (struct field_manager){
        .name = name, .api_version = "apps/v1", .subresource = sub, .has_status = true};
}

/* Applies text over *live (taken and replaced). */
static bool apply(cJSON **live, const char *name, const char *text, bool force, struct error **err)
{
    cleanup_json cJSON *applied = parse(text);
    struct field_manager who = by(name, "");
    cJSON *merged = managed_apply(deployment(), *live, applied, &who, force, err);
    if (!merged)
        return false;
    json_cleanup(live);
    *live = merged;
    return true;
}

static void must_apply(cJSON **live, const char *name, const char *text)
{
    struct error *err = NULL;
    ck_assert_msg(apply(live, name, text, false, &err), "%s", error_message(err));
}

static void update(cJSON **live, const char *name, const char *sub, const char *path, cJSON *value)
{
    cJSON *changed = json_dup(*live);
    if (value)
        json_set(changed, path, value);
    else
        json_remove(changed, path);
    struct field_manager who = by(name, sub);
    managed_update(deployment(), changed, *live, &who);
    json_cleanup(live);
    *live = changed;
}

/* The FieldsV1 text of a manager's entry; "" when it has none. */
static char *owned(const cJSON *live, const char *name)
{
    const cJSON *e;
    cJSON_ArrayForEach(
        e,
        json_path(
            live,
            "metadata.managedFields")) if (!strcmp(json_str_or(e, "manager", ""),
                                                   name)) return json_text(json_get(e, "fieldsV1"));
    return mem_strdup("");
}

static void check_owned(const cJSON *live, const char *name, const char *want)
{
    cleanup_free char *text = owned(live, name);
    ck_assert_str_eq(text, want);
}

#define HEAD            "'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d'}"
#define POD(containers) "'template':{'spec':{'containers':[" containers "]}}"

START_TEST(test_create)
{
    cJSON *live = NULL;
    must_apply(&live, "a",
               "{" HEAD ",'spec':{'replicas':1,'selector':{'matchLabels':{'x':'y'}}," POD(
                   "{'name':'c','image':'i'}") "}}");
    check_owned(live, "a",
                "{\"f:spec\":{\"f:replicas\":{},\"f:selector\":{},\"f:template\":{\"f:spec\":{\"f:"
                "containers\":{"
                "\"k:{\\\"name\\\":\\\"c\\\"}\":{\".\":{},\"f:image\":{},\"f:name\":{}}}}}}}");
    ck_assert_str_eq(json_str(json_path(live, "metadata.managedFields")->child, "operation"),
                     "Apply");
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_again)
{
    cJSON *live = NULL;
    static const char text[] = "{" HEAD ",'spec':{'replicas':1}}";
    must_apply(&live, "a", text);
    cleanup_json cJSON *before = json_dup(live);
    must_apply(&live, "a", text);
    ck_assert(json_equal(before, live));
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_two_managers)
{
    cJSON *live = NULL;
    must_apply(&live, "a", "{" HEAD ",'spec':{'replicas':1," POD("{'name':'c','image':'i'}") "}}");
    must_apply(&live, "b", "{" HEAD ",'spec':{'paused':true," POD("{'name':'d','image':'j'}") "}}");
    ck_assert_int_eq(json_int(live, "spec.replicas", 0), 1);
    ck_assert(json_bool(live, "spec.paused", false));
    ck_assert_int_eq(cJSON_GetArraySize(json_path(live, "spec.template.spec.containers")), 2);
    /* b says no more of its container: it goes, a's stays. */
    must_apply(&live, "b", "{" HEAD ",'spec':{'paused':true}}");
    const cJSON *containers = json_path(live, "spec.template.spec.containers");
    ck_assert_int_eq(cJSON_GetArraySize(containers), 1);
    ck_assert_str_eq(json_str(containers->child, "name"), "c");
    must_apply(&live, "b", "{" HEAD "}");
    ck_assert_ptr_null(json_path(live, "spec.paused"));
    check_owned(live, "b", "");
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_shared)
{
    cJSON *live = NULL;
    must_apply(&live, "a", "{" HEAD ",'spec':{'replicas':1}}");
    must_apply(&live, "b", "{" HEAD ",'spec':{'replicas':1}}"); /* the same value: both own it */
    must_apply(&live, "a", "{" HEAD ",'spec':{}}");
    ck_assert_int_eq(json_int(live, "spec.replicas", 0), 1);
    must_apply(&live, "b", "{" HEAD ",'spec':{}}");
    ck_assert_ptr_null(json_path(live, "spec.replicas"));
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_conflict)
{
    cJSON *live = NULL;
    must_apply(&live, "a", "{" HEAD ",'spec':{'replicas':1," POD("{'name':'c','image':'i'}") "}}");
    cleanup_error struct error *one = NULL, *two = NULL, *none = NULL;
    ck_assert(!apply(&live, "b", "{" HEAD ",'spec':{'replicas':2}}", false, &one));
    ck_assert_int_eq(one->code, 409);
    ck_assert_str_eq(one->message,
                     "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
    ck_assert_str_eq(
        one->details,
        "{\"causes\":[{\"reason\":\"FieldManagerConflict\",\"message\":\"conflict with \\\"a\\\"\","
        "\"field\":\".spec.replicas\"}]}");
    ck_assert(!apply(&live, "b",
                     "{" HEAD ",'spec':{'replicas':2," POD("{'name':'c','image':'j'}") "}}", false,
                     &two));
    ck_assert_str_eq(two->message,
                     "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.replicas\n"
                     "- .spec.template.spec.containers[name=\"c\"].image");
    ck_assert_msg(apply(&live, "b", "{" HEAD ",'spec':{'replicas':2}}", true, &none), "%s",
                  error_message(none));
    ck_assert_int_eq(json_int(live, "spec.replicas", 0), 2);
    check_owned(live, "b", "{\"f:spec\":{\"f:replicas\":{}}}");
    cleanup_free char *a = owned(live, "a");
    ck_assert_ptr_null(strstr(a, "f:replicas"));
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_update)
{
    cJSON *live = NULL;
    must_apply(&live, "a", "{" HEAD ",'spec':{'replicas':1,'paused':true}}");
    update(&live, "kubectl", "scale", "spec.replicas", cJSON_CreateNumber(3));
    check_owned(live, "kubectl", "{\"f:spec\":{\"f:replicas\":{}}}");
    check_owned(live, "a", "{\"f:spec\":{\"f:paused\":{}}}");
    cleanup_error struct error *err = NULL;
    ck_assert(!apply(&live, "a", "{" HEAD ",'spec':{'replicas':1,'paused':true}}", false, &err));
    ck_assert_str_eq(
        err->message,
        "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using "
        "apps/v1: .spec.replicas");
    /* What nobody says any more nobody owns. */
    update(&live, "x", "", "spec.paused", NULL);
    check_owned(live, "a", "");
    /* A write that changes nothing leaves all as it is. */
    cleanup_json cJSON *before = json_dup(live);
    update(&live, "y", "", "spec.replicas", cJSON_CreateNumber(3));
    ck_assert(json_equal(before, live));
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_status_is_apart)
{
    cJSON *live = NULL;
    must_apply(&live, "a", "{" HEAD ",'spec':{'replicas':1},'status':{'replicas':7}}");
    check_owned(live, "a", "{\"f:spec\":{\"f:replicas\":{}}}");
    update(&live, "controller", "status", "status.replicas", cJSON_CreateNumber(1));
    check_owned(live, "controller", "{\"f:status\":{\"f:replicas\":{}}}");
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_lists)
{
    cJSON *live = parse("{" HEAD ",'spec':{" POD(
        "{'name':'x','image':'1'},{'name':'y','image':'2'},{'name':'z','image':'3'}") "}}");
    must_apply(
        &live, "a",
        "{" HEAD ",'spec':{" POD(
            "{'name':'n','image':'4'},{'name':'z','image':'3'},{'name':'y','image':'2'}") "}}");
    const cJSON *c;
    cleanup_buf struct buf names = {0};
    cJSON_ArrayForEach(c, json_path(live, "spec.template.spec.containers"))
        buf_adds(&names, json_str(c, "name"));
    ck_assert_int_eq(names.len, 4);
    ck_assert_ptr_nonnull(strstr(buf_str(&names), "n"));
    ck_assert(strchr(buf_str(&names), 'z') < strchr(buf_str(&names), 'y')); /* as it was applied */
    cJSON_Delete(live);

    /* Ports are known by number and protocol; the protocol's default is one. */
    live = NULL;
    must_apply(&live, "a",
               "{" HEAD ",'spec':{" POD("{'name':'c','ports':[{'containerPort':80}]}") "}}");
    cleanup_free char *text = owned(live, "a");
    ck_assert_ptr_nonnull(
        strstr(text, "k:{\\\"containerPort\\\":80,\\\"protocol\\\":\\\"TCP\\\"}"));
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_refused)
{
    cJSON *live = NULL;
    cleanup_error struct error *err = NULL;
    ck_assert(!apply(&live, "a", "{'metadata':{'name':'d','managedFields':[{}]}}", false, &err));
    ck_assert_str_eq(err->message, "metadata.managedFields must be nil");
}
END_TEST

/* kubectl moves from client-side to server-side apply without conflicts, but not over what others
 * changed. */
START_TEST(test_from_client_side)
{
    static const char last[] = "{" HEAD ",'spec':{'replicas':1,'paused':true}}";
    cJSON *live = parse(last);
    cleanup_json cJSON *said = parse(last);
    cleanup_free char *text = json_text(said);
    json_map_set_str(json_ensure_object(live, "metadata.annotations"),
                     "kubectl.kubernetes.io/last-applied-configuration", text);
    struct field_manager csa = by("kubectl-client-side-apply", "");
    managed_update(deployment(), live, NULL, &csa);
    must_apply(&live, "kubectl", "{" HEAD ",'spec':{'replicas':2,'paused':true}}");
    ck_assert_int_eq(json_int(live, "spec.replicas", 0), 2);
    ck_assert_ptr_nonnull(strstr(json_map_str(json_path(live, "metadata.annotations"),
                                              "kubectl.kubernetes.io/last-applied-configuration"),
                                 "\"replicas\":2"));
    update(&live, "autoscaler", "scale", "spec.replicas", cJSON_CreateNumber(7));
    cleanup_error struct error *err = NULL, *other = NULL;
    ck_assert(
        !apply(&live, "kubectl", "{" HEAD ",'spec':{'replicas':2,'paused':true}}", false, &err));
    ck_assert_ptr_nonnull(strstr(err->message, "\"autoscaler\""));
    ck_assert(!apply(&live, "somebody", "{" HEAD ",'spec':{'paused':false}}", false, &other));
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_many_updaters)
{
    cJSON *live = NULL;
    must_apply(&live, "a", "{" HEAD ",'spec':{'replicas':1}}");
    for (int i = 0; i < 15; i++) {
        cleanup_free char *name = mem_printf("m%02d", i),
                          *label = mem_printf("metadata.labels.l%d", i);
        update(&live, name, "", label, cJSON_CreateString("x"));
    }
    int updaters = 0;
    const cJSON *e;
    cJSON_ArrayForEach(e, json_path(live, "metadata.managedFields")) updaters +=
        !strcmp(json_str_or(e, "operation", ""), "Update");
    ck_assert_int_eq(updaters, 10);
    cleanup_free char *ancient = owned(live, "ancient-changes");
    ck_assert_ptr_nonnull(strstr(ancient, "f:l0"));
    cJSON_Delete(live);
}
END_TEST

START_TEST(test_sets)
{
    cleanup_json cJSON *json =
        parse("{'f:a':{'.':{},'f:b':{}},'f:c':{},'k:{\\'x\\':1}':{'.':{},'f:d':{}},'v:1':{}}");
    cleanup_fieldset struct fieldset *s = fieldset_from_json(json);
    ck_assert_ptr_nonnull(s);
    cleanup_json cJSON *back = fieldset_to_json(s);
    ck_assert(json_equal(json, back));
    cleanup_fieldset struct fieldset *copy = fieldset_copy(s);
    ck_assert(fieldset_equal(s, copy));
    fieldset_subtract(copy, s);
    ck_assert(fieldset_empty(copy));
    fieldset_add(copy, s);
    ck_assert(fieldset_equal(s, copy));
    cleanup_json cJSON *bad = parse("{'x':{}}"), *worse = parse("{'f:a':1}");
    ck_assert_ptr_null(fieldset_from_json(bad));
    ck_assert_ptr_null(fieldset_from_json(worse));
    ck_assert_ptr_null(fieldset_from_json(NULL));
}
END_TEST

START_TEST(test_check)
{
#define CONTAINER(more)                                                                            \
    "{'metadata':{'name':'w','namespace':'n'},'spec':{'template':{'spec':{'containers':[{'name':'c'" more "}]}}}}"
#define REFUSED "failed to create typed patch object (n/w; apps/v1, Kind=Deployment): "
#define IN_C    ".spec.template.spec.containers[name=\"c\"]"
    static const struct {
        const char *object, *why; /* "": fine */
    } cases[] = {
        {CONTAINER(",'image':'i','ports':[{'containerPort':80},{'containerPort':80,'protocol':'UDP'}]"), ""},
        {CONTAINER(",'resources':{'limits':{'cpu':1,'memory':'1Gi'}},'image':null"), ""},
        {CONTAINER(",'foo':1"), REFUSED IN_C ".foo: field not declared in schema"},
        {CONTAINER(",'image':1"), REFUSED IN_C ".image: expected string, got 1"},
        {CONTAINER(",'stdin':'yes'"), REFUSED IN_C ".stdin: expected boolean, got \"yes\""},
        {CONTAINER(",'env':{}"), REFUSED IN_C ".env: expected list, got {}"},
        {CONTAINER(",'resources':[]"), REFUSED IN_C ".resources: expected map, got []"},
        {CONTAINER(",'ports':[{'containerPort':80},{'containerPort':80,'protocol':'TCP'}]"),
         REFUSED IN_C ".ports: duplicate entries for key [containerPort=80,protocol=\"TCP\"]"},
        {CONTAINER(",'ports':[{'name':'x'}]"),
         REFUSED IN_C ".ports: element 0: associative list with keys has an element that omits key field "
                      "\"containerPort\" (and doesn't have default value)"},
        {CONTAINER(",'args':[1]"), REFUSED IN_C ".args[0]: expected string, got 1"},
        {"{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'w','namespace':'n','finalizers':['a','a'],"
         "'labels':{'x':1}}}",
         REFUSED "errors:\n  .metadata.finalizers: duplicate entries for key [=\"a\"]\n  .metadata.labels.x: expected "
                 "string, got 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_json cJSON *object = parse(cases[i].object);
        cleanup_error struct error *err = NULL;
        ck_assert_msg(typed_check(deployment(), object, &err) == !*cases[i].why, "%s", cases[i].object);
        ck_assert_str_eq(err ? error_message(err) : "", cases[i].why);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("apply");
    TCase *t = tcase_create("apply");
    tcase_add_test(t, test_create);
    tcase_add_test(t, test_again);
    tcase_add_test(t, test_two_managers);
    tcase_add_test(t, test_shared);
    tcase_add_test(t, test_conflict);
    tcase_add_test(t, test_update);
    tcase_add_test(t, test_status_is_apart);
    tcase_add_test(t, test_lists);
    tcase_add_test(t, test_refused);
    tcase_add_test(t, test_from_client_side);
    tcase_add_test(t, test_many_updaters);
    tcase_add_test(t, test_sets);
    tcase_add_test(t, test_check);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
