/* Taints, tolerations, zones and pod CIDRs. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/cidr_set.h"
#include "controller-manager/node_taints.h"
#include "controller-manager/objects.h"

#define NOW "2026-01-01T00:00:00Z"

static cJSON *parse(const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_msg(o != NULL, "%s", text);
    return o;
}

static cJSON *node(const char *ready, const char *spec)
{
    cleanup_free char *text = mem_printf("{\"metadata\":{\"name\":\"n\"},\"spec\":%s,\"status\":{"
                                         "\"conditions\":[{\"type\":\"Ready\",\"status\":\"%s\"},"
                                         "{\"type\":\"MemoryPressure\",\"status\":\"False\"}]}}",
                                         spec, ready);
    return parse(text);
}

static bool has_taint(const cJSON *taints, const char *key, const char *effect)
{
    const cJSON *t;
    cJSON_ArrayForEach(t, taints) if (!strcmp(json_str_or(t, "key", ""), key) &&
                                      !strcmp(json_str_or(t, "effect", ""), effect)) return true;
    return false;
}

START_TEST(no_schedule_taints_follow_conditions)
{
    cleanup_json cJSON *good =
        node("True", "{\"taints\":[{\"key\":\"mine\",\"effect\":\"NoSchedule\"}]}");
    ck_assert_ptr_null(taints_for_conditions(good, json_path(good, "spec.taints"), NOW));
    cleanup_json cJSON *bad = node(
        "False", "{\"unschedulable\":true,\"taints\":[{\"key\":\"mine\",\"effect\":\"NoSchedule\"},"
                 "{\"key\":\"node.kubernetes.io/unreachable\",\"effect\":\"NoSchedule\"},"
                 "{\"key\":\"node.kubernetes.io/unreachable\",\"effect\":\"NoExecute\"}]}");
    cleanup_json cJSON *t = taints_for_conditions(bad, json_path(bad, "spec.taints"), NOW);
    ck_assert(has_taint(t, "mine", "NoSchedule"));
    ck_assert(has_taint(t, "node.kubernetes.io/not-ready", "NoSchedule"));
    ck_assert(has_taint(t, "node.kubernetes.io/unschedulable", "NoSchedule"));
    ck_assert(!has_taint(t, "node.kubernetes.io/unreachable", "NoSchedule"));
    ck_assert(has_taint(t, "node.kubernetes.io/unreachable",
                        "NoExecute")); /* another effect is not ours here */
    ck_assert_int_eq(cJSON_GetArraySize(t), 4);
    ck_assert_ptr_null(taints_for_conditions(bad, t, NOW));
}
END_TEST

START_TEST(eviction_taints_are_one_or_the_other)
{
    cleanup_json cJSON *a = taints_for_eviction(NULL, TAINT_NOT_READY, NOW);
    ck_assert(has_taint(a, TAINT_NOT_READY, "NoExecute"));
    ck_assert_str_eq(json_str(a->child, "timeAdded"), NOW);
    cleanup_json cJSON *b = taints_for_eviction(a, TAINT_UNREACHABLE, NOW);
    ck_assert(has_taint(b, TAINT_UNREACHABLE, "NoExecute"));
    ck_assert(!has_taint(b, TAINT_NOT_READY, "NoExecute"));
    ck_assert_ptr_null(taints_for_eviction(b, TAINT_UNREACHABLE, NOW));
    cleanup_json cJSON *c = taints_for_eviction(b, NULL, NOW);
    ck_assert_int_eq(cJSON_GetArraySize(c), 0);
    ck_assert_ptr_null(taints_for_eviction(NULL, NULL, NOW));
}
END_TEST

static enum eviction judge(const char *tolerations, const char *taints, int64_t *seconds,
                           int64_t *since)
{
    cleanup_free char *text = mem_printf("{\"spec\":{\"tolerations\":%s}}", tolerations);
    cleanup_json cJSON *p = parse(text), *t = parse(taints);
    return pod_eviction(p, t, 1767225700, seconds, since);
}

#define TAINTS                                                                                     \
    "[{\"key\":\"a\",\"effect\":\"NoExecute\",\"timeAdded\":\"" NOW                                \
    "\"},{\"key\":\"b\",\"effect\":\"NoSchedule\"}]"

START_TEST(tolerations_decide)
{
    int64_t seconds = 0, since = 0;
    ck_assert_int_eq(judge("[]", "[]", &seconds, &since), EVICT_NEVER);
    ck_assert_int_eq(judge("[]", TAINTS, &seconds, &since), EVICT_NOW);
    ck_assert_int_eq(judge("[{\"operator\":\"Exists\"}]", TAINTS, &seconds, &since), EVICT_NEVER);
    ck_assert_int_eq(judge("[{\"key\":\"a\",\"operator\":\"Exists\",\"effect\":\"NoSchedule\"}]",
                           TAINTS, &seconds, &since),
                     EVICT_NOW);
    ck_assert_int_eq(judge("[{\"key\":\"a\",\"operator\":\"Exists\",\"tolerationSeconds\":300}]",
                           TAINTS, &seconds, &since),
                     EVICT_LATER);
    ck_assert_int_eq(seconds, 300);
    ck_assert_int_eq(since, 1767225600);
    ck_assert_int_eq(judge("[{\"key\":\"a\",\"operator\":\"Exists\",\"tolerationSeconds\":0}]",
                           TAINTS, &seconds, &since),
                     EVICT_NOW);
    ck_assert_int_eq(judge("[{\"key\":\"a\",\"value\":\"x\"}]", TAINTS, &seconds, &since),
                     EVICT_NOW);
    ck_assert_int_eq(judge("[{\"key\":\"a\"}]", TAINTS, &seconds, &since), EVICT_NEVER);
    /* Without a date the time runs from now. */
    ck_assert_int_eq(judge("[{\"key\":\"a\",\"tolerationSeconds\":5}]",
                           "[{\"key\":\"a\",\"effect\":\"NoExecute\"}]", &seconds, &since),
                     EVICT_LATER);
    ck_assert_int_eq(since, 1767225700);
}
END_TEST

START_TEST(zones)
{
    ck_assert_int_eq(zone_state_of(1, 1), ZONE_NORMAL);
    ck_assert_int_eq(zone_state_of(0, 1), ZONE_FULL_DISRUPTION);
    ck_assert_int_eq(zone_state_of(0, 0), ZONE_NORMAL);
    ck_assert_int_eq(zone_state_of(2, 3), ZONE_PARTIAL_DISRUPTION);
    ck_assert_int_eq(zone_state_of(3, 3), ZONE_NORMAL);
}
END_TEST

START_TEST(cidrs_are_given_once)
{
    struct cidr_set s;
    char a[CIDR_TEXT_MAX], b[CIDR_TEXT_MAX];
    ck_assert(cidr_set_init(&s, "10.244.0.0/16", 24, NULL));
    ck_assert_uint_eq(s.count, 256);
    ck_assert(cidr_set_allocate(&s, a));
    ck_assert_str_eq(a, "10.244.0.0/24");
    ck_assert(cidr_set_occupy(&s, "10.244.1.0/24"));
    ck_assert(cidr_set_allocate(&s, b));
    ck_assert_str_eq(b, "10.244.2.0/24");
    ck_assert(cidr_set_release(&s, a));
    ck_assert(cidr_set_allocate(&s, b));
    ck_assert_str_eq(b, "10.244.3.0/24"); /* not at once the one just given back */
    ck_assert(!cidr_set_occupy(&s, "10.96.0.0/16"));
    ck_assert(!cidr_set_occupy(&s, "nonsense"));
    ck_assert(cidr_set_occupy(&s, "10.0.0.0/8"));
    ck_assert(!cidr_set_allocate(&s, b));
    cidr_set_free(&s);
    cleanup_error struct error *e = NULL;
    ck_assert(!cidr_set_init(&s, "10.244.0.0/24", 16, &e));
    cleanup_error struct error *e2 = NULL;
    ck_assert(!cidr_set_init(&s, "300.1.0.0/16", 24, &e2));
    ck_assert(cidr_set_init(&s, "10.0.0.0/24", 26, NULL));
    for (int i = 0; i < 4; i++)
        ck_assert(cidr_set_allocate(&s, a));
    ck_assert_str_eq(a, "10.0.0.192/26");
    ck_assert(!cidr_set_allocate(&s, a));
    cidr_set_free(&s);
}
END_TEST

START_TEST(cidrs_of_ipv6)
{
    struct cidr_set s;
    char a[CIDR_TEXT_MAX];
    ck_assert(cidr_set_init(&s, "fd00:10:244::/56", 64, NULL));
    ck_assert_uint_eq(s.count, 256);
    ck_assert(cidr_set_allocate(&s, a));
    ck_assert_str_eq(a, "fd00:10:244::/64");
    ck_assert(cidr_set_is_free(&s, "fd00:10:244:1::/64"));
    ck_assert(!cidr_set_is_free(&s, "fd00:10:244::/64"));
    ck_assert(!cidr_set_is_free(&s, "10.244.0.0/24"));
    ck_assert(!cidr_set_is_free(&s, "fd00:11::/64"));
    ck_assert(cidr_set_occupy(&s, "fd00:10:244:1::/64"));
    ck_assert(!cidr_set_occupy(&s, "10.244.0.0/24"));
    ck_assert(cidr_set_allocate(&s, a));
    ck_assert_str_eq(a, "fd00:10:244:2::/64");
    ck_assert(cidr_set_occupy(&s, "::/0"));
    ck_assert(!cidr_set_allocate(&s, a));
    cidr_set_free(&s);
    cleanup_error struct error *e = NULL;
    ck_assert(!cidr_set_init(&s, "fd00::/32", 64, &e)); /* too many blocks */
    ck_assert(cidr_set_init(&s, "fd00::1:0/112", 128, NULL));
    ck_assert_uint_eq(s.count, 65536);
    cidr_set_free(&s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("nodes");
    TCase *t = tcase_create("nodes");
    tcase_add_test(t, no_schedule_taints_follow_conditions);
    tcase_add_test(t, eviction_taints_are_one_or_the_other);
    tcase_add_test(t, tolerations_decide);
    tcase_add_test(t, zones);
    tcase_add_test(t, cidrs_of_ipv6);
    tcase_add_test(t, cidrs_are_given_once);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
