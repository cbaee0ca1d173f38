/* NetworkPolicies: ranges, who is meant, and what a change costs. Nothing here touches the kernel.
 */
#include <check.h>
#include <string.h>
#include <sys/socket.h>
#include "common/json.h"
#include "common/mem.h"
#include "kube-proxy/policy/table.h"

static cJSON *parse(const char *text)
{
    cJSON *json = json_parse(text, strlen(text), NULL);
    ck_assert_msg(json != NULL, "%s", text);
    return json;
}

static struct policy *policy(const char *name, const char *spec)
{
    cleanup_free char *text =
        mem_printf("{\"metadata\":{\"namespace\":\"a\",\"name\":\"%s\"},\"spec\":%s}", name, spec);
    cleanup_json cJSON *json = parse(text);
    cleanup_error struct error *err = NULL;
    struct policy *p = policy_parse(json, &err);
    ck_assert_msg(p != NULL, "%s", error_message(err));
    return p;
}

static struct policy_pod *pod(const char *ns, const char *ip, const char *role, bool local,
                              bool terminating)
{
    cleanup_free char *text =
        mem_printf("{\"metadata\":{\"namespace\":\"%s\",\"labels\":{\"role\":\"%s\"}%s},\"spec\":{"
                   "\"nodeName\":\"%s\",\"containers\":"
                   "[{\"ports\":[{\"name\":\"http\",\"containerPort\":8080}]}]},\"status\":{"
                   "\"phase\":\"Running\",\"podIP\":\"%s\","
                   "\"podIPs\":[{\"ip\":\"%s\"},{\"ip\":\"fd00::%s\"}]}}",
                   ns, role, terminating ? ",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"" : "",
                   local ? "here" : "there", ip, ip, strrchr(ip, '.') + 1);
    cleanup_json cJSON *json = parse(text);
    struct policy_pod *p = policy_pod_new(json, "here");
    ck_assert_ptr_nonnull(p);
    return p;
}

static char *changes(struct policies *p)
{
    struct buf b = {0};
    policies_take_changes(p, &b);
    return buf_take(&b);
}

static char *everything(struct policies *p)
{
    struct buf b = {0};
    policies_take_all(p, &b);
    return buf_take(&b);
}

static void expect(const char *text, const char *piece)
{
    ck_assert_msg(strstr(text, piece) != NULL, "no \"%s\" in\n%s", piece, text);
}

static void expect_not(const char *text, const char *piece)
{
    ck_assert_msg(strstr(text, piece) == NULL, "\"%s\" in\n%s", piece, text);
}

START_TEST(ranges_are_exact)
{
    struct ranges r = {0};
    struct range cidr;
    int family;
    ck_assert(range_of_cidr("10.0.0.0/8", &family, &cidr));
    ck_assert_int_eq(family, AF_INET);
    ranges_add(&r, cidr.first, cidr.last);
    ck_assert(range_of_cidr("10.1.2.3/16", &family, &cidr)); /* host bits do not count */
    ranges_remove(&r, cidr.first, cidr.last);
    ck_assert(range_of_cidr("10.255.255.255/32", &family, &cidr));
    ranges_remove(&r, cidr.first, cidr.last);
    cleanup_buf struct buf b = {0};
    ranges_print_addresses(&r, AF_INET, &b);
    ck_assert_str_eq(b.data, "10.0.0.0-10.0.255.255, 10.2.0.0-10.255.255.254");
    ck_assert(range_of_cidr("0.0.0.0/0", &family, &cidr));
    ranges_add(&r, cidr.first, cidr.last);
    ck_assert(ranges_all(&r, AF_INET));
    ranges_clear(&r);
    ck_assert(range_of_cidr("::/0", &family, &cidr));
    ck_assert_int_eq(family, AF_INET6);
    ranges_add(&r, cidr.first, cidr.last);
    ck_assert(ranges_all(&r, AF_INET6));
    ranges_remove(&r, 0, 0);
    ck_assert(!ranges_all(&r, AF_INET6));
    ranges_clear(&r);
    ranges_add(&r, 80, 90);
    ranges_add(&r, 5, 5);
    ranges_add(&r, 91, 100);
    ranges_add(&r, 85, 95);
    ck_assert_uint_eq(r.count, 2);
    ck_assert(r.items[1].first == 80 && r.items[1].last == 100);
    ranges_clear(&r);
    static const char *const bad[] = {"",           "10.0.0.0", "10.0.0.0/33", "::/129",
                                      "10.0.0.0/x", "/8",       "10.0.0.0/8 "};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!range_of_cidr(bad[i], &family, &cidr), "%s", bad[i]);
}
END_TEST

START_TEST(a_pod_costs_its_elements)
{
    struct policies *p = policies_new();
    policies_set_policy(
        p, "a/web",
        policy(
            "web",
            "{\"podSelector\":{\"matchLabels\":{\"role\":\"web\"}},\"ingress\":[{\"from\":["
            "{\"podSelector\":{\"matchLabels\":{\"role\":\"friend\"}}},{\"ipBlock\":{\"cidr\":"
            "\"192.168.0.0/24\",\"except\":[\"192.168.0.0/25\"]}}],\"ports\":[{\"port\":\"http\"},"
            "{\"port\":9000,\"endPort\":9010},{\"protocol\":\"UDP\"}]}]}"));
    policies_set_pod(p, "a/friend", pod("a", "10.0.0.2", "friend", false, false));
    cleanup_free char *idle = everything(p);
    expect_not(idle, "ingress/a/web"); /* it selects no pod of this node */
    policies_set_pod(p, "a/web-1", pod("a", "10.0.0.3", "web", true, false));
    cleanup_free char *first = changes(p);
    expect(first, "ip saddr @ingress/a/web/0-pods4 meta l4proto . th dport { tcp . 9000-9010, udp "
                  ". 0-65535 } accept");
    expect(first, "ip saddr { 192.168.0.128-192.168.0.255 } ip daddr . meta l4proto . th dport "
                  "@ingress/a/web/0-ports4 accept");
    expect(first, "ingress/a/web/0-pods4 { 10.0.0.2 }");
    expect(first, "ingress/a/web/0-pods6 { fd00::2 }");
    expect(first, "ingress/a/web/0-ports6 { fd00::3 . tcp . 8080 }");
    expect(first, "ingress-pods4 { 10.0.0.3 : goto ingress-1 }");
    expect(first, "add rule inet network-policy ingress-1 jump ingress/a/web\nadd rule inet "
                  "network-policy ingress-1 drop");
    expect_not(first, "egress-pods");
    cleanup_free char *none = changes(p);
    ck_assert_str_eq(none, "");

    policies_set_pod(p, "a/web-2", pod("a", "10.0.0.4", "web", true, false));
    cleanup_free char *second = changes(p);
    expect(second, "ingress-pods4 { 10.0.0.4 : goto ingress-1 }");
    expect_not(second, "chain");
    expect_not(second, "rule");
    policies_set_pod(p, "a/friend", pod("a", "10.0.0.2", "stranger", false, false));
    cleanup_free char *third = changes(p);
    ck_assert_uint_eq(
        strlen(third),
        strlen("delete element inet network-policy ingress/a/web/0-pods4 { 10.0.0.2 }\n"
               "delete element inet network-policy ingress/a/web/0-pods6 { fd00::2 }\n"));
    policies_set_pod(p, "a/web-1", NULL);
    policies_set_pod(p, "a/web-2", NULL);
    cleanup_free char *last = changes(p);
    expect(last, "delete chain inet network-policy ingress/a/web\n");
    expect(last, "delete chain inet network-policy ingress-1\n");
    policies_free(p);
}
END_TEST

START_TEST(directions_and_namespaces)
{
    struct policies *p = policies_new();
    policies_set_pod(p, "a/one", pod("a", "10.0.0.2", "x", true, false));
    policies_set_pod(p, "b/two", pod("b", "10.0.0.3", "x", false, false));
    policies_set_policy(
        p, "a/deny",
        policy("deny", "{\"podSelector\":{},\"policyTypes\":[\"Ingress\",\"Egress\"]}"));
    policies_set_policy(
        p, "a/blue",
        policy("blue", "{\"podSelector\":{},\"policyTypes\":[\"Egress\"],\"egress\":[{\"to\":[{"
                       "\"namespaceSelector\":{\"matchLabels\":{\"team\":\"blue\"}}}]}]}"));
    cleanup_free char *first = everything(p);
    expect(first, "jump egress/a/blue\nadd rule inet network-policy egress-2 jump egress/a/deny\n");
    expect(first, "ingress-pods4 { 10.0.0.2 : goto ingress-1 }");
    expect_not(first, "{ 10.0.0.3 }");
    policies_set_namespace(p, "b", parse("{\"team\":\"blue\"}"));
    cleanup_free char *second = changes(p);
    expect(second, "add element inet network-policy egress/a/blue/0-pods4 { 10.0.0.3 }");
    policies_set_namespace(p, "b", NULL);
    cleanup_free char *third = changes(p);
    expect(third, "delete element inet network-policy egress/a/blue/0-pods4 { 10.0.0.3 }");
    policies_set_policy(p, "a/deny", NULL);
    cleanup_free char *fourth = changes(p);
    expect(fourth, "delete element inet network-policy ingress-pods4 { 10.0.0.2 }");
    expect(fourth, "egress-pods4 { 10.0.0.2 : goto egress-3 }");
    policies_set_policy(p, "a/blue", NULL);
    free(changes(p));
    ck_assert(policies_none(p));
    cleanup_free char *nothing = everything(p);
    ck_assert_str_eq(nothing, "add table " POLICY_TABLE "\ndelete table " POLICY_TABLE "\n");
    policies_free(p);
}
END_TEST

START_TEST(an_address_given_to_a_new_pod)
{
    struct policies *p = policies_new();
    policies_set_policy(p, "a/deny",
                        policy("deny", "{\"podSelector\":{\"matchLabels\":{\"role\":\"old\"}}}"));
    policies_set_pod(p, "a/old", pod("a", "10.0.0.2", "old", true, false));
    free(everything(p));
    policies_set_pod(p, "a/new", pod("a", "10.0.0.2", "new", true, false));
    cleanup_free char *both = changes(p);
    ck_assert_str_eq(both, "");
    policies_set_pod(p, "a/old", pod("a", "10.0.0.2", "old", true, true));
    policies_set_pod(p, "a/newer", pod("a", "10.0.0.5", "old", true, false));
    cleanup_free char *taken = changes(p);
    expect(taken, "delete element inet network-policy ingress-pods4 { 10.0.0.2 }");
    expect_not(taken, "{ 10.0.0.2 : ");
    policies_free(p);
}
END_TEST

START_TEST(nonsense_is_told)
{
    static const char *const bad[] = {
        "{\"podSelector\":{},\"ingress\":[{\"from\":[{}]}]}",
        "{\"podSelector\":{},\"ingress\":[{\"from\":[{\"ipBlock\":{\"cidr\":\"x\"}}]}]}",
        "{\"podSelector\":{},\"ingress\":[{\"ports\":[{\"port\":80,\"endPort\":79}]}]}",
        "{\"podSelector\":{},\"egress\":[{\"ports\":[{\"port\":99999}]}]}",
        "{\"podSelector\":{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Near\"}]}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_free char *text =
            mem_printf("{\"metadata\":{\"namespace\":\"a\",\"name\":\"n\"},\"spec\":%s}", bad[i]);
        cleanup_json cJSON *json = parse(text);
        cleanup_error struct error *err = NULL;
        ck_assert_msg(policy_parse(json, &err) == NULL && err, "%s", bad[i]);
    }
}
END_TEST

START_TEST(long_names_stay_apart)
{
    char name[254];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct policies *p = policies_new();
    cleanup_free char *one = mem_printf("a/%s", name);
    policies_set_policy(
        p, one,
        policy(name, "{\"podSelector\":{},\"ingress\":[{\"from\":[{\"podSelector\":{}}]}]}"));
    name[252] = 'm';
    cleanup_free char *two = mem_printf("a/%s", name);
    policies_set_policy(
        p, two,
        policy(name, "{\"podSelector\":{},\"ingress\":[{\"from\":[{\"podSelector\":{}}]}]}"));
    policies_set_pod(p, "a/one", pod("a", "10.0.0.2", "x", true, false));
    cleanup_free char *text = everything(p);
    const char *first = strstr(text, "add set inet network-policy ingress/a/nnn");
    ck_assert_ptr_nonnull(first);
    size_t n = strcspn(first + strlen("add set inet network-policy "), " ");
    ck_assert_uint_lt(n, 200);
    policies_free(p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("NetworkPolicies");
    TCase *t = tcase_create("policies");
    tcase_add_test(t, ranges_are_exact);
    tcase_add_test(t, a_pod_costs_its_elements);
    tcase_add_test(t, directions_and_namespaces);
    tcase_add_test(t, an_address_given_to_a_new_pod);
    tcase_add_test(t, nonsense_is_told);
    tcase_add_test(t, long_names_stay_apart);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
