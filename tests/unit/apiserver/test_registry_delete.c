/* What a deletion does to an object. */
#include <check.h>
#include <string.h>
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

static cJSON *parse(const char *text)
{
    cleanup_buf struct buf b = {0};
    for (; *text; text++)
        buf_addc(&b, *text == '\'' ? '"' : *text);
    cJSON *json = json_parse(buf_str(&b), b.len, NULL);
    ck_assert_ptr_nonnull(json);
    return json;
}

static const char *from_map(void *ctx, const char *name)
{
    return json_map_str(ctx, name);
}

/* body "" for none; query as JSON map. */
static bool options(const char *body, const char *query_text, struct delete_options *out,
                    struct error **err)
{
    cleanup_json cJSON *query = parse(query_text), *json = *body ? parse(body) : NULL;
    return json ? delete_options_from_json(json, out, err)
                : delete_options_from_query(from_map, query, out, err);
}

#define BODY(members) "{'kind':'DeleteOptions','apiVersion':'v1'," members "}"

START_TEST(test_options)
{
    struct delete_options o;
    cleanup_error struct error *err = NULL;
    ck_assert(options("", "{}", &o, &err));
    ck_assert(!o.has_grace && !o.propagation && o.orphan_dependents == -1 && !o.dry_run);
    delete_options_clear(&o);
    ck_assert(options("", "{'gracePeriodSeconds':'5','propagationPolicy':'Foreground'}", &o, &err));
    ck_assert(o.has_grace && o.grace == 5);
    ck_assert_str_eq(o.propagation, "Foreground");
    delete_options_clear(&o);
    ck_assert(options(BODY("'gracePeriodSeconds':0,'preconditions':{'uid':'u'},'dryRun':['All']"),
                      "{}", &o, &err));
    ck_assert(o.has_grace && o.grace == 0 && o.dry_run);
    ck_assert_str_eq(o.uid, "u");
    delete_options_clear(&o);
    ck_assert(
        !options(BODY("'orphanDependents':true,'propagationPolicy':'Background'"), "{}", &o, &err));
    ck_assert_int_eq(err->code, 422);
    ck_assert_ptr_nonnull(
        strstr(err->message, "orphanDependents and deletionPropagation cannot be both set"));
}
END_TEST

START_TEST(test_bad_options)
{
    struct delete_options o;
    cleanup_error struct error *policy = NULL, *dry = NULL, *grace = NULL;
    ck_assert(!options("", "{'propagationPolicy':'Sometimes'}", &o, &policy));
    ck_assert_int_eq(policy->code, 422);
    ck_assert_ptr_nonnull(strstr(policy->message, "Unsupported value: \"Sometimes\""));
    ck_assert(!options(BODY("'dryRun':['Some']"), "{}", &o, &dry));
    ck_assert_int_eq(dry->code, 422);
    ck_assert(!options("", "{'gracePeriodSeconds':'x'}", &o, &grace));
    ck_assert_int_eq(grace->code, 400);
}
END_TEST

static enum delete_outcome decide(const char *plural, cJSON *object, const char *body)
{
    struct delete_options o;
    struct error *err = NULL;
    ck_assert_msg(options(body, "{}", &o, &err), "%s", error_message(err));
    const struct resource *r = resource_find("", "v1", plural);
    enum delete_outcome outcome = !strcmp(plural, "namespaces")
                                      ? delete_decide_namespace(object, &o, &err)
                                      : delete_decide(r, object, &o, &err);
    if (outcome == DELETE_FAILED) {
        ck_assert_int_eq(err->code, 409);
        error_free(err);
    } else {
        ck_assert_ptr_null(err);
    }
    delete_options_clear(&o);
    return outcome;
}

static int64_t deletion_in(const cJSON *object)
{
    int64_t at;
    ck_assert(time_parse(json_str_or(object, "metadata.deletionTimestamp", ""), &at));
    return at / 1000000 - time_now_seconds();
}

#define POD                                                                                        \
    "{'metadata':{'name':'web','uid':'u','generation':1},'spec':{'nodeName':'n1','"                \
    "terminationGracePeriodSeconds':30},"

START_TEST(test_pod_graceful)
{
    cleanup_json cJSON *pod = parse(POD "'status':{'phase':'Running'}}");
    ck_assert_int_eq(decide("pods", pod, ""), DELETE_LATER);
    ck_assert_int_eq(json_int(pod, "metadata.deletionGracePeriodSeconds", -1), 30);
    ck_assert_int_eq(json_int(pod, "metadata.generation", 0), 2);
    ck_assert_int_ge(deletion_in(pod), 28);
    /* Again: nothing new. Longer: nothing. Shorter: yes. */
    cleanup_json cJSON *before = json_dup(pod);
    ck_assert_int_eq(decide("pods", pod, ""), DELETE_PENDING);
    ck_assert_int_eq(decide("pods", pod, BODY("'gracePeriodSeconds':60")), DELETE_PENDING);
    ck_assert(json_equal(pod, before));
    ck_assert_int_eq(decide("pods", pod, BODY("'gracePeriodSeconds':5")), DELETE_LATER);
    ck_assert_int_eq(json_int(pod, "metadata.deletionGracePeriodSeconds", -1), 5);
    ck_assert_int_le(deletion_in(pod), 5);
    ck_assert_int_eq(decide("pods", pod, BODY("'gracePeriodSeconds':0")), DELETE_NOW);
}
END_TEST

START_TEST(test_pod_at_once)
{
    cleanup_json cJSON *forced = parse(POD "'status':{'phase':'Running'}}");
    ck_assert_int_eq(decide("pods", forced, BODY("'gracePeriodSeconds':0")), DELETE_NOW);
    cleanup_json cJSON *unscheduled =
        parse("{'metadata':{'name':'web'},'spec':{'terminationGracePeriodSeconds':30},'status':{'"
              "phase':'Pending'}}");
    ck_assert_int_eq(decide("pods", unscheduled, ""), DELETE_NOW);
    cleanup_json cJSON *finished = parse(POD "'status':{'phase':'Succeeded'}}");
    ck_assert_int_eq(decide("pods", finished, ""), DELETE_NOW);
    cleanup_json cJSON *negative = parse(POD "'status':{'phase':'Running'}}");
    ck_assert_int_eq(decide("pods", negative, BODY("'gracePeriodSeconds':-1")), DELETE_LATER);
    ck_assert_int_eq(json_int(negative, "metadata.deletionGracePeriodSeconds", -1), 1);
}
END_TEST

START_TEST(test_pod_with_finalizer)
{
    cleanup_json cJSON *pod = parse("{'metadata':{'name':'web','finalizers':['x/"
                                    "y']},'spec':{'nodeName':'n1'},'status':{'phase':'Running'}}");
    ck_assert_int_eq(decide("pods", pod, BODY("'gracePeriodSeconds':0")), DELETE_LATER);
    ck_assert_int_eq(json_int(pod, "metadata.deletionGracePeriodSeconds", -1), 0);
    ck_assert(!meta_should_delete(pod));
    json_remove(pod, "metadata.finalizers");
    ck_assert(meta_should_delete(pod));
}
END_TEST

START_TEST(test_finalizers)
{
    cleanup_json cJSON *plain = parse("{'metadata':{'name':'c'}}");
    ck_assert_int_eq(decide("configmaps", plain, ""), DELETE_NOW);
    cleanup_json cJSON *held = parse("{'metadata':{'name':'c','finalizers':['x/y']}}");
    ck_assert_int_eq(decide("configmaps", held, ""), DELETE_LATER);
    ck_assert_int_eq(json_int(held, "metadata.deletionGracePeriodSeconds", -1), 0);
    ck_assert_int_le(deletion_in(held), 0);
    cleanup_json cJSON *before = json_dup(held);
    ck_assert_int_eq(decide("configmaps", held, ""), DELETE_LATER);
    ck_assert(json_equal(before, held));
}
END_TEST

static const char *finalizer(const cJSON *object, int i)
{
    const cJSON *f = cJSON_GetArrayItem(json_path(object, "metadata.finalizers"), i);
    return f ? f->valuestring : "";
}

START_TEST(test_propagation)
{
    cleanup_json cJSON *o = parse("{'metadata':{'name':'c'}}");
    ck_assert_int_eq(decide("configmaps", o, BODY("'propagationPolicy':'Background'")), DELETE_NOW);
    cleanup_json cJSON *fg = parse("{'metadata':{'name':'c'}}");
    ck_assert_int_eq(decide("configmaps", fg, BODY("'propagationPolicy':'Foreground'")),
                     DELETE_LATER);
    ck_assert_str_eq(finalizer(fg, 0), "foregroundDeletion");
    /* Whoever changes his mind may. */
    ck_assert_int_eq(decide("configmaps", fg, BODY("'propagationPolicy':'Orphan'")), DELETE_LATER);
    ck_assert_str_eq(finalizer(fg, 0), "orphan");
    ck_assert_str_eq(finalizer(fg, 1), "");
    ck_assert_int_eq(decide("configmaps", fg, BODY("'propagationPolicy':'Background'")),
                     DELETE_NOW);
    cleanup_json cJSON *legacy = parse("{'metadata':{'name':'c'}}");
    ck_assert_int_eq(decide("configmaps", legacy, BODY("'orphanDependents':true")), DELETE_LATER);
    ck_assert_str_eq(finalizer(legacy, 0), "orphan");
    /* A finalizer that the object has already is a wish too. */
    cleanup_json cJSON *wish = parse("{'metadata':{'name':'c','finalizers':['orphan']}}");
    ck_assert_int_eq(decide("configmaps", wish, ""), DELETE_LATER);
    ck_assert_str_eq(finalizer(wish, 0), "orphan");
}
END_TEST

START_TEST(test_preconditions)
{
    cleanup_json cJSON *o = parse("{'metadata':{'name':'c','uid':'u','resourceVersion':'7'}}");
    ck_assert_int_eq(decide("configmaps", o, BODY("'preconditions':{'uid':'other'}")),
                     DELETE_FAILED);
    ck_assert_int_eq(decide("configmaps", o, BODY("'preconditions':{'resourceVersion':'6'}")),
                     DELETE_FAILED);
    ck_assert_int_eq(
        decide("configmaps", o, BODY("'preconditions':{'uid':'u','resourceVersion':'7'}")),
        DELETE_NOW);
}
END_TEST

START_TEST(test_namespace)
{
    cleanup_json cJSON *ns = parse("{'metadata':{'name':'x'},'spec':{'finalizers':['kubernetes']},'"
                                   "status':{'phase':'Active'}}");
    ck_assert_int_eq(decide("namespaces", ns, ""), DELETE_LATER);
    ck_assert_str_eq(json_str(ns, "status.phase"), "Terminating");
    ck_assert(meta_deleting(ns));
    ck_assert_int_eq(decide("namespaces", ns, ""), DELETE_PENDING);
    json_remove(ns, "spec.finalizers");
    ck_assert_int_eq(decide("namespaces", ns, ""), DELETE_NOW);
    ck_assert(meta_should_delete(ns));
}
END_TEST

START_TEST(test_names)
{
    char a[6], b[37], c[37];
    for (int i = 0; i < 1000; i++) {
        meta_name_suffix(a);
        ck_assert_int_eq(strspn(a, "bcdfghjklmnpqrstvwxz2456789"), 5);
    }
    meta_uuid(b);
    meta_uuid(c);
    ck_assert_str_ne(b, c);
    ck_assert_int_eq(b[14], '4');
}
END_TEST

int main(void)
{
    Suite *s = suite_create("registry_delete");
    TCase *t = tcase_create("delete");
    tcase_add_test(t, test_options);
    tcase_add_test(t, test_bad_options);
    tcase_add_test(t, test_pod_graceful);
    tcase_add_test(t, test_pod_at_once);
    tcase_add_test(t, test_pod_with_finalizer);
    tcase_add_test(t, test_finalizers);
    tcase_add_test(t, test_propagation);
    tcase_add_test(t, test_preconditions);
    tcase_add_test(t, test_namespace);
    tcase_add_test(t, test_names);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
