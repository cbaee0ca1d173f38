/* Endpoints subsets and the layout of EndpointSlices. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"
#include "controller-manager/slices.h"
#include "controller-manager/subsets.h"

static cJSON *parse(const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_msg(o != NULL, "%s", text);
    return o;
}

static cJSON *endpoint(int i, bool ready)
{
    cleanup_free char *text = mem_printf("{\"addresses\":[\"10.0.%d.%d\"],\"conditions\":{"
                                         "\"ready\":%s},\"targetRef\":{\"uid\":\"u%d\"}}",
                                         i / 250, i % 250, ready ? "true" : "false", i);
    return parse(text);
}

static cJSON *ports80(void)
{
    return parse("[{\"name\":\"\",\"protocol\":\"TCP\",\"port\":80}]");
}

static struct slice_endpoint *wanted_list(int from, int to)
{
    struct slice_endpoint *w = mem_alloc((size_t)(to - from + 1) * sizeof(*w));
    for (int i = from; i < to; i++)
        w[i - from] = (struct slice_endpoint){.endpoint = endpoint(i, true), .ports = ports80()};
    return w;
}

static void wanted_free(struct slice_endpoint *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cJSON_Delete(w[i].endpoint);
        cJSON_Delete(w[i].ports);
    }
    free(w);
}

static cJSON *slice(const char *name, int from, int to)
{
    cJSON *s = cJSON_CreateObject();
    json_set_str(s, "metadata.name", name);
    json_set(s, "ports", ports80());
    cJSON *list = json_ensure_array(s, "endpoints");
    for (int i = from; i < to; i++)
        cJSON_AddItemToArray(list, endpoint(i, true));
    return s;
}

static size_t count_actions(const struct slice_plan *p, enum slice_action a)
{
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++)
        n += p->changes[i].action == a && (a != SLICE_KEEP || p->changes[i].old);
    return n;
}

static const struct slice_change *the_change(const struct slice_plan *p, enum slice_action a)
{
    ck_assert_uint_eq(count_actions(p, a), 1);
    for (size_t i = 0; i < p->count; i++)
        if (p->changes[i].action == a && (a != SLICE_KEEP || p->changes[i].old))
            return &p->changes[i];
    return NULL;
}

START_TEST(slices_hold_a_hundred_each)
{
    struct slice_endpoint *w = wanted_list(0, 250);
    cleanup_slice_plan struct slice_plan p = slices_plan(NULL, 0, w, 250);
    ck_assert_uint_eq(p.count, 3);
    int sum = 0;
    for (size_t i = 0; i < p.count; i++) {
        ck_assert_int_eq(p.changes[i].action, SLICE_CREATE);
        ck_assert_int_le(cJSON_GetArraySize(p.changes[i].endpoints), 100);
        sum += cJSON_GetArraySize(p.changes[i].endpoints);
    }
    ck_assert_int_eq(sum, 250);
    wanted_free(w, 250);
}
END_TEST

START_TEST(a_service_without_pods_has_a_placeholder)
{
    cleanup_slice_plan struct slice_plan p = slices_plan(NULL, 0, NULL, 0);
    const struct slice_change *c = the_change(&p, SLICE_CREATE);
    ck_assert_int_eq(cJSON_GetArraySize(c->endpoints), 0);
    cleanup_json cJSON *placeholder =
        parse("{\"metadata\":{\"name\":\"p\"},\"endpoints\":[],\"ports\":[]}");
    const cJSON *existing[] = {placeholder};
    cleanup_slice_plan struct slice_plan same = slices_plan(existing, 1, NULL, 0);
    the_change(&same, SLICE_KEEP);
    ck_assert_uint_eq(same.count, 1);
    /* The first pod takes the placeholder over; the last pod's end leaves one. */
    struct slice_endpoint *w = wanted_list(0, 1);
    cleanup_slice_plan struct slice_plan first = slices_plan(existing, 1, w, 1);
    ck_assert_ptr_eq(the_change(&first, SLICE_UPDATE)->old, placeholder);
    ck_assert_uint_eq(count_actions(&first, SLICE_DELETE) + count_actions(&first, SLICE_CREATE), 0);
    wanted_free(w, 1);
    cleanup_json cJSON *full = slice("f", 0, 1);
    const cJSON *only[] = {full};
    cleanup_slice_plan struct slice_plan last = slices_plan(only, 1, NULL, 0);
    const struct slice_change *u = the_change(&last, SLICE_UPDATE);
    ck_assert_ptr_eq(u->old, full);
    ck_assert_int_eq(cJSON_GetArraySize(u->endpoints), 0);
}
END_TEST

START_TEST(unchanged_slices_are_left_alone)
{
    cleanup_json cJSON *a = slice("a", 0, 100), *b = slice("b", 100, 150);
    const cJSON *existing[] = {a, b};
    struct slice_endpoint *w = wanted_list(0, 150);
    cleanup_slice_plan struct slice_plan same = slices_plan(existing, 2, w, 150);
    ck_assert_uint_eq(count_actions(&same, SLICE_KEEP), 2);
    ck_assert_uint_eq(same.count, 2);
    wanted_free(w, 150);
    /* One more: into the slice that has room. */
    w = wanted_list(0, 151);
    cleanup_slice_plan struct slice_plan more = slices_plan(existing, 2, w, 151);
    const struct slice_change *u = the_change(&more, SLICE_UPDATE);
    ck_assert_ptr_eq(u->old, b);
    ck_assert_int_eq(cJSON_GetArraySize(u->endpoints), 51);
    wanted_free(w, 151);
    /* One replaced by another: the slice that must be written anyway takes the new one. */
    w = wanted_list(1, 151);
    cleanup_slice_plan struct slice_plan swap = slices_plan(existing, 2, w, 150);
    u = the_change(&swap, SLICE_UPDATE);
    ck_assert_ptr_eq(u->old, a);
    ck_assert_int_eq(cJSON_GetArraySize(u->endpoints), 100);
    wanted_free(w, 150);
}
END_TEST

START_TEST(a_change_of_readiness_writes_one_slice)
{
    cleanup_json cJSON *a = slice("a", 0, 3);
    const cJSON *existing[] = {a};
    struct slice_endpoint *w = wanted_list(0, 3);
    json_set_bool(w[1].endpoint, "conditions.ready", false);
    cleanup_slice_plan struct slice_plan p = slices_plan(existing, 1, w, 3);
    const struct slice_change *u = the_change(&p, SLICE_UPDATE);
    ck_assert(json_equal(cJSON_GetArrayItem(u->endpoints, 1), w[1].endpoint));
    wanted_free(w, 3);
}
END_TEST

START_TEST(other_ports_other_slices)
{
    struct slice_endpoint *w = wanted_list(0, 2);
    json_set_int(w[1].ports->child, "port", 8080);
    cleanup_slice_plan struct slice_plan p = slices_plan(NULL, 0, w, 2);
    ck_assert_uint_eq(count_actions(&p, SLICE_CREATE), 2);
    cleanup_json cJSON *a = slice("a", 0, 2);
    const cJSON *existing[] = {a};
    cleanup_slice_plan struct slice_plan q = slices_plan(existing, 1, w, 2);
    ck_assert_uint_eq(count_actions(&q, SLICE_UPDATE), 1);
    ck_assert_uint_eq(count_actions(&q, SLICE_CREATE), 1);
    wanted_free(w, 2);
}
END_TEST

START_TEST(subsets_are_packed_by_ports)
{
    cleanup_json cJSON *a = parse("{\"ip\":\"10.0.0.2\",\"targetRef\":{\"uid\":\"2\"}}"),
                       *b = parse("{\"ip\":\"10.0.0.1\",\"targetRef\":{\"uid\":\"1\"}}"),
                       *c = parse("{\"ip\":\"10.0.0.3\",\"targetRef\":{\"uid\":\"3\"}}");
    cleanup_json cJSON *http = parse("{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\"}"),
                       *https = parse("{\"name\":\"https\",\"port\":443,\"protocol\":\"TCP\"}");
    const struct subset_entry entries[] = {{a, https, true}, {b, http, true},  {a, http, true},
                                           {b, https, true}, {c, http, false}, {c, https, false}};
    cleanup_json cJSON *s = subsets_pack(entries, ARRAY_LEN(entries));
    cleanup_json cJSON *want =
        parse("[{\"addresses\":[{\"ip\":\"10.0.0.1\",\"targetRef\":{\"uid\":\"1\"}},{\"ip\":\"10.0."
              "0.2\",\"targetRef\":{\"uid\":\"2\"}}],"
              "\"notReadyAddresses\":[{\"ip\":\"10.0.0.3\",\"targetRef\":{\"uid\":\"3\"}}],"
              "\"ports\":[{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\"},"
              "{\"name\":\"https\",\"port\":443,\"protocol\":\"TCP\"}]}]");
    cleanup_free char *text = json_text(s);
    ck_assert_msg(json_equal(s, want), "%s", text);
    /* An address with other ports is a subset of its own. */
    cleanup_json cJSON *two = subsets_pack(entries, 2);
    ck_assert_int_eq(cJSON_GetArraySize(two), 2);
    cleanup_json cJSON *none = subsets_pack(NULL, 0);
    ck_assert_int_eq(cJSON_GetArraySize(none), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("slices");
    TCase *t = tcase_create("slices");
    tcase_add_test(t, slices_hold_a_hundred_each);
    tcase_add_test(t, a_service_without_pods_has_a_placeholder);
    tcase_add_test(t, unchanged_slices_are_left_alone);
    tcase_add_test(t, a_change_of_readiness_writes_one_slice);
    tcase_add_test(t, other_ports_other_slices);
    tcase_add_test(t, subsets_are_packed_by_ports);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
