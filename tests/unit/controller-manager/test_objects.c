/* Small things that all controllers stand on: maps, hashes, deletion order, claims of names. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"
#include "controller-manager/ranking.h"
#include "controller-manager/strmap.h"

static cJSON *parse(const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_msg(o != NULL, "%s", text);
    return o;
}

START_TEST(map_keeps_what_it_is_given)
{
    struct strmap m = {0};
    char key[32];
    ck_assert_ptr_null(strmap_get(&m, "x"));
    ck_assert_ptr_null(strmap_remove(&m, "x"));
    for (intptr_t i = 1; i <= 2000; i++) {
        snprintf(key, sizeof(key), "k%ld", (long)i);
        ck_assert_ptr_null(strmap_put(&m, key, (void *)i));
    }
    ck_assert_uint_eq(m.count, 2000);
    for (intptr_t i = 1; i <= 2000; i += 2) {
        snprintf(key, sizeof(key), "k%ld", (long)i);
        ck_assert_int_eq((intptr_t)strmap_remove(&m, key), i);
    }
    for (intptr_t i = 1; i <= 2000; i++) {
        snprintf(key, sizeof(key), "k%ld", (long)i);
        ck_assert_int_eq((intptr_t)strmap_get(&m, key), i % 2 ? 0 : i);
    }
    size_t at = 0, seen = 0;
    while (strmap_next(&m, &at))
        seen++;
    ck_assert_uint_eq(seen, 1000);
    ck_assert_int_eq((intptr_t)strmap_put(&m, "k2", (void *)7), 2);
    strmap_clear(&m, NULL);
    ck_assert_uint_eq(m.count, 0);
}
END_TEST

START_TEST(template_hash_is_deterministic_and_safe)
{
    cleanup_json cJSON *a =
        parse("{\"metadata\":{\"labels\":{\"x\":\"1\",\"y\":\"2\"}},\"spec\":{\"n\":1}}");
    cleanup_json cJSON *b = parse("{\"spec\":{\"n\":1},\"metadata\":{\"creationTimestamp\":null,"
                                  "\"labels\":{\"y\":\"2\",\"x\":\"1\"}}}");
    cleanup_free char *ha = pod_template_hash(a, -1), *hb = pod_template_hash(b, -1),
                      *hc = pod_template_hash(a, 1);
    ck_assert_str_eq(ha, hb);
    ck_assert_str_ne(ha, hc);
    ck_assert_uint_eq(strspn(ha, "bcdfghjklmnpqrstvwxz2456789"), strlen(ha));
    ck_assert_uint_le(strlen(ha), 10);
    json_set_int(b, "spec.n", 2);
    cleanup_free char *hd = pod_template_hash(b, -1);
    ck_assert_str_ne(ha, hd);
    ck_assert(!pod_template_equal(a, b));
}
END_TEST

START_TEST(generated_names)
{
    cleanup_free char *a = name_generate("web-"), *b = name_generate("web-");
    ck_assert_uint_eq(strlen(a), 9);
    ck_assert_str_ne(a, b);
    cleanup_free char *c =
        name_generate("a123456789b123456789c123456789d123456789e123456789f123456789g123456789");
    ck_assert_uint_eq(strlen(c), 63);
}
END_TEST

START_TEST(percentages)
{
    int64_t v;
    cleanup_json cJSON *n = cJSON_CreateNumber(3), *p = cJSON_CreateString("34%"),
                       *bad = cJSON_CreateString("x%"), *half = cJSON_CreateString("5");
    ck_assert(int_or_percent(n, 10, true, &v) && v == 3);
    ck_assert(int_or_percent(p, 10, true, &v) && v == 4);
    ck_assert(int_or_percent(p, 10, false, &v) && v == 3);
    ck_assert(int_or_percent(NULL, 10, true, &v) && v == 0);
    ck_assert(!int_or_percent(bad, 10, true, &v));
    ck_assert(!int_or_percent(half, 10, true, &v));
}
END_TEST

static cJSON *pod(const char *uid, const char *node, const char *phase, const char *ready_since,
                  const char *created)
{
    cleanup_free char *text =
        mem_printf("{\"metadata\":{\"name\":\"%s\",\"uid\":\"%s\",\"creationTimestamp\":\"%s\"},"
                   "\"spec\":{\"nodeName\":\"%s\"},\"status\":{\"phase\":"
                   "\"%s\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\","
                   "\"lastTransitionTime\":\"%s\"}]}}",
                   uid, uid, created, node, phase, *ready_since ? "True" : "False",
                   *ready_since ? ready_since : created);
    return parse(text);
}

START_TEST(deletion_takes_what_costs_least)
{
    enum { DAY = 86400 };
    int64_t now = 1767312000; /* 2026-01-02T00:00:00Z */
    cJSON *pods[] = {
        pod("old-ready", "n1", "Running", "2025-12-20T00:00:10Z", "2025-12-20T00:00:00Z"),
        pod("young-ready", "n2", "Running", "2026-01-01T23:59:10Z", "2026-01-01T23:59:00Z"),
        pod("doubled", "n3", "Running", "2025-12-20T00:00:10Z", "2025-12-20T00:00:00Z"),
        pod("cheap", "n1", "Running", "2025-12-20T00:00:10Z", "2025-12-20T00:00:00Z"),
        pod("not-ready", "n1", "Running", "", "2025-12-20T00:00:00Z"),
        pod("pending", "n1", "Pending", "", "2025-12-20T00:00:00Z"),
        pod("unassigned", "", "Pending", "", "2025-12-20T00:00:00Z"),
        pod("restarting", "n1", "Running", "2025-12-20T00:00:10Z", "2025-12-20T00:00:00Z"),
    };
    meta_set_annotation(pods[3], "controller.kubernetes.io/pod-deletion-cost", "-10");
    cJSON *statuses = json_ensure_array(pods[7], "status.containerStatuses");
    cJSON *status = cJSON_CreateObject();
    json_set_int(status, "restartCount", 5);
    cJSON_AddItemToArray(statuses, status);
    struct ranked_pod ranked[ARRAY_LEN(pods)];
    for (size_t i = 0; i < ARRAY_LEN(pods); i++)
        ranked[i] = (struct ranked_pod){.pod = pods[i], .related_on_node = i == 2 ? 2 : 1};
    rank_pods_for_deletion(ranked, ARRAY_LEN(ranked), now);
    static const char *const want[] = {"unassigned", "pending",     "not-ready",  "cheap",
                                       "doubled",    "young-ready", "restarting", "old-ready"};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        ck_assert_str_eq(meta_name(ranked[i].pod), want[i]);
    for (size_t i = 0; i < ARRAY_LEN(pods); i++)
        cJSON_Delete(pods[i]);
}
END_TEST

START_TEST(availability_needs_its_time)
{
    cleanup_json cJSON *p =
        pod("a", "n", "Running", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    int64_t since = 1767225600;
    ck_assert(pod_available(p, 0, since));
    ck_assert(!pod_available(p, 10, since + 9));
    ck_assert_int_eq(pod_available_in(p, 10, since + 4), 6);
    ck_assert(pod_available(p, 10, since + 10));
    json_set(p, "status.conditions", cJSON_CreateArray());
    ck_assert_int_eq(pod_available_in(p, 0, since), -1);
}
END_TEST

START_TEST(conditions_and_owners)
{
    cleanup_json cJSON *conditions = cJSON_CreateArray();
    ck_assert(condition_set(conditions, "A", "True", "R", "m"));
    ck_assert(!condition_set(conditions, "A", "True", "R", "m"));
    json_map_set_str(condition_find(conditions, "A"), "lastTransitionTime", "2020-01-01T00:00:00Z");
    ck_assert(condition_set(conditions, "A", "True", "R2", "m"));
    ck_assert_str_eq(json_str(condition_find(conditions, "A"), "lastTransitionTime"),
                     "2020-01-01T00:00:00Z");
    ck_assert(condition_set(conditions, "A", "False", "R2", "m"));
    ck_assert_str_ne(json_str(condition_find(conditions, "A"), "lastTransitionTime"),
                     "2020-01-01T00:00:00Z");

    cleanup_json cJSON *set = parse("{\"metadata\":{\"name\":\"web-1\",\"namespace\":\"x\",\"uid\":"
                                    "\"u\"},\"spec\":{\"template\":{\"metadata\":"
                                    "{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[]}}}}");
    cleanup_json cJSON *made = pod_from_template(set, "apps/v1", "ReplicaSet");
    ck_assert_str_eq(json_str(made, "metadata.generateName"), "web-1-");
    ck_assert_str_eq(controller_uid(made), "u");
    ck_assert_str_eq(json_map_str(meta_labels(made), "a"), "b");
    ck_assert_ptr_null(controller_ref(set));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("objects");
    TCase *t = tcase_create("objects");
    tcase_add_test(t, map_keeps_what_it_is_given);
    tcase_add_test(t, template_hash_is_deterministic_and_safe);
    tcase_add_test(t, generated_names);
    tcase_add_test(t, percentages);
    tcase_add_test(t, deletion_takes_what_costs_least);
    tcase_add_test(t, availability_needs_its_time);
    tcase_add_test(t, conditions_and_owners);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
