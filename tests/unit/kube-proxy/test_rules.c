/* From Services and EndpointSlices to nftables commands. Nothing here touches the kernel. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "kube-proxy/hash.h"
#include "kube-proxy/rules.h"
#include "kube-proxy/service.h"

static const struct proxy_node here = {.name = "here", .zone = "blue"};

static void ck_assert_ip(const struct address *a, const char *text)
{
    char have[ADDRESS_TEXT_MAX];
    ck_assert_str_eq(address_text(a, have), text);
}

static cJSON *parse(const char *text)
{
    cleanup_error struct error *err = NULL;
    cJSON *o = json_parse(text, strlen(text), &err);
    ck_assert_msg(o != NULL, "%s: %s", error_message(err), text);
    return o;
}

#define WEB                                                                                        \
    "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"type\":\"NodePort\","  \
    "\"clusterIP\":\"10.96.0.7\","                                                                 \
    "\"ports\":[{\"name\":\"http\",\"protocol\":\"TCP\",\"port\":80,\"nodePort\":30080}]%s}}"

static cJSON *slice_of(const char *port_name, const char *protocol, int port, const char *endpoints)
{
    cleanup_free char *text = mem_printf(
        "{\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"%s\",\"protocol\":\"%s\",\"port\":%d}],"
        "\"endpoints\":[%s]}",
        port_name, protocol, port, endpoints);
    return parse(text);
}

#define EP(ip) "{\"addresses\":[\"" ip "\"],\"conditions\":{\"ready\":true},\"nodeName\":\"other\"}"
#define EP_HERE(ip)                                                                                \
    "{\"addresses\":[\"" ip "\"],\"conditions\":{\"ready\":true},\"nodeName\":\"here\"}"
#define EP_NOT_READY(ip) "{\"addresses\":[\"" ip "\"],\"conditions\":{\"ready\":false}}"
#define EP_TERMINATING(ip)                                                                         \
    "{\"addresses\":[\"" ip                                                                        \
    "\"],\"conditions\":{\"ready\":false,\"serving\":true,\"terminating\":true}}"

static struct proxy_service *build(const char *extra, const char *endpoints)
{
    cleanup_free char *text = mem_printf(WEB, extra);
    cleanup_json cJSON *service = parse(text), *slice = slice_of("http", "TCP", 8080, endpoints);
    return proxy_service_build(service, (const cJSON *[]){slice}, 1, &here, AF_INET);
}

static char *changes(struct rules *r)
{
    struct buf b = {0};
    rules_take_changes(r, &b);
    return buf_take(&b);
}

START_TEST(service_with_node_port)
{
    struct proxy_service *s =
        build("", EP("10.244.1.2") "," EP_HERE("10.244.0.3") "," EP_NOT_READY("10.244.1.9"));
    ck_assert_str_eq(s->name, "default/web");
    ck_assert_uint_eq(s->group_count, 1);
    ck_assert_uint_eq(s->groups[0].count, 2);
    ck_assert_ip(&s->groups[0].endpoints[0].ip, "10.244.1.2");
    ck_assert_uint_eq(s->groups[0].endpoints[0].port, 8080);
    ck_assert(!s->groups[0].endpoints[0].local);
    ck_assert(s->groups[0].endpoints[1].local);
    ck_assert_uint_eq(s->frontend_count, 2);
    ck_assert_ip(&s->frontends[0].ip, "10.96.0.7");
    ck_assert(!s->frontends[0].masquerade);
    ck_assert_uint_eq(s->frontends[1].ip.family, 0);
    ck_assert_uint_eq(s->frontends[1].port, 30080);
    ck_assert(s->frontends[1].masquerade);
    proxy_service_free(s);
}
END_TEST

START_TEST(terminating_endpoints_serve_only_when_none_is_ready)
{
    struct proxy_service *s = build("", EP_TERMINATING("10.244.1.2") "," EP("10.244.1.3"));
    ck_assert_uint_eq(s->groups[0].count, 1);
    ck_assert_ip(&s->groups[0].endpoints[0].ip, "10.244.1.3");
    proxy_service_free(s);
    s = build("", EP_TERMINATING("10.244.1.2") "," EP_NOT_READY("10.244.1.3"));
    ck_assert_uint_eq(s->groups[0].count, 1);
    ck_assert_ip(&s->groups[0].endpoints[0].ip, "10.244.1.2");
    proxy_service_free(s);
}
END_TEST

START_TEST(traffic_policies)
{
    struct proxy_service *s =
        build(",\"externalTrafficPolicy\":\"Local\",\"externalIPs\":[\"192.0.2.9\"]",
              EP("10.244.1.2") "," EP_HERE("10.244.0.3"));
    ck_assert_uint_eq(s->group_count, 2);
    ck_assert_uint_eq(s->groups[0].count, 2);
    ck_assert_uint_eq(s->groups[1].count, 1);
    ck_assert_uint_eq(s->frontend_count, 3);
    ck_assert_uint_eq(s->frontends[0].group, 0);
    for (int i = 1; i < 3; i++) {
        ck_assert_uint_eq(s->frontends[i].group, 1);
        ck_assert(!s->frontends[i].masquerade);
    }
    proxy_service_free(s);
    s = build(",\"internalTrafficPolicy\":\"Local\"", EP("10.244.1.2"));
    ck_assert_uint_eq(s->group_count, 2);
    ck_assert_uint_eq(s->frontends[0].group, 1);
    ck_assert_uint_eq(s->groups[1].count, 0);
    ck_assert(s->groups[1].elsewhere);
    proxy_service_free(s);
}
END_TEST

#define EP_HINTED(ip, hints) "{\"addresses\":[\"" ip "\"],\"hints\":{" hints "}}"
#define FOR_ZONE(zone)       "\"forZones\":[{\"name\":\"" zone "\"}]"
#define FOR_NODE(node)       "\"forNodes\":[{\"name\":\"" node "\"}]"

START_TEST(hints_keep_traffic_near)
{
    struct proxy_service *s = build(
        "", EP_HINTED("10.244.1.2", FOR_ZONE("red")) "," EP_HINTED("10.244.1.3", FOR_ZONE("blue")));
    ck_assert_uint_eq(s->groups[0].count, 1);
    ck_assert_ip(&s->groups[0].endpoints[0].ip, "10.244.1.3");
    proxy_service_free(s);
    /* One without a hint, or none for this zone: hints do not count. */
    s = build("", EP_HINTED("10.244.1.2", FOR_ZONE("red")) "," EP_HINTED(
                      "10.244.1.3", FOR_ZONE("blue")) "," EP("10.244.1.4"));
    ck_assert_uint_eq(s->groups[0].count, 3);
    proxy_service_free(s);
    s = build("", EP_HINTED("10.244.1.2", FOR_ZONE("red")) "," EP_HINTED("10.244.1.3",
                                                                         FOR_ZONE("green")));
    ck_assert_uint_eq(s->groups[0].count, 2);
    proxy_service_free(s);
    /* The node before the zone. */
    s = build("", EP_HINTED("10.244.1.2", FOR_ZONE("blue") "," FOR_NODE("other")) "," EP_HINTED(
                      "10.244.1.3", FOR_ZONE("blue") "," FOR_NODE("here")));
    ck_assert_uint_eq(s->groups[0].count, 1);
    ck_assert_ip(&s->groups[0].endpoints[0].ip, "10.244.1.3");
    proxy_service_free(s);
}
END_TEST

START_TEST(load_balancers)
{
    cleanup_free char *text =
        mem_printf(WEB, ",\"externalTrafficPolicy\":\"Local\",\"healthCheckNodePort\":31000,"
                        "\"loadBalancerSourceRanges\":[\"192.0.2.0/25\",\"192.0.2.128/25\",\"x\"]");
    cleanup_json cJSON
        *service = parse(text),
        *slice = slice_of("http", "TCP", 8080, EP("10.244.1.2") "," EP_HERE("10.244.0.3")),
        *status = parse(
            "{\"ingress\":[{\"ip\":\"192.0.2.9\"},{\"ip\":\"fd00::9\"},{\"hostname\":\"x\"}]}");
    json_set_str(service, "spec.type", "LoadBalancer");
    json_set(service, "status.loadBalancer", json_dup(status));
    struct proxy_service *s =
        proxy_service_build(service, (const cJSON *[]){slice}, 1, &here, AF_INET);
    ck_assert_uint_eq(s->health_port, 31000);
    ck_assert_uint_eq(s->local_ready, 1);
    ck_assert_uint_eq(s->frontend_count, 3);
    ck_assert_ip(&s->frontends[1].ip, "192.0.2.9");
    ck_assert(s->frontends[1].firewalled && s->frontends[1].has_inside);
    ck_assert_uint_eq(s->frontends[1].sources.count, 1);
    ck_assert_uint_eq(s->frontends[1].inside_group, 0);
    ck_assert(!s->frontends[0].firewalled && !s->frontends[2].firewalled);
    struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    rules_set(r, "default/web", s);
    cleanup_free char *all = changes(r);
    ck_assert_ptr_nonnull(strstr(all, "firewall { 192.0.2.9 . tcp . 80 : goto check-source }"));
    ck_assert_ptr_nonnull(strstr(all, "sources { 192.0.2.9 . tcp . 80 . 192.0.2.0-192.0.2.255 }"));
    ck_assert_ptr_nonnull(strstr(all, "inside { "));
    rules_free(r);
}
END_TEST

START_TEST(services_that_are_not_ours)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\"}}",
        "{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\"},\"spec\":{\"clusterIP\":\"None\","
        "\"ports\":[{"
        "\"port\":80}]}}",
        "{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\"},\"spec\":{\"type\":\"ExternalName\","
        "\"clusterIP\":\"10.96.0.1\"}}",
        "{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\"},\"spec\":{\"clusterIP\":\"fd00::1\","
        "\"ports\":[{"
        "\"port\":80}]}}",
        "{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\"},\"spec\":{\"clusterIP\":7,\"ports\":"
        "\"no\"}}",
        "{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\",\"labels\":{\"service.kubernetes.io/"
        "service-proxy-name\":\"p\"}},"
        "\"spec\":{\"clusterIP\":\"10.96.0.1\"}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        cleanup_json cJSON *service = parse(texts[i]);
        ck_assert_ptr_null(proxy_service_build(service, NULL, 0, &here, AF_INET));
    }
    cleanup_json cJSON *odd = parse(
        "{\"metadata\":{\"name\":\"x\",\"namespace\":\"y\"},\"spec\":{\"clusterIP\":\"10.96.0.1\","
        "\"ports\":[{\"port\":0},{\"port\":70000},{\"port\":80,\"protocol\":\"ICMP\"},7,{\"port\":"
        "80}]}}");
    cleanup_json cJSON *slice =
        parse("{\"ports\":[{\"port\":-1},{\"port\":8080}],\"endpoints\":[{},{\"addresses\":[1]},"
              "{\"addresses\":[\"x\"]},{\"addresses\":[\"10.244.0.1\"]}]}");
    struct proxy_service *s = proxy_service_build(odd, (const cJSON *[]){slice}, 1, &here, AF_INET);
    ck_assert_uint_eq(s->frontend_count, 1);
    ck_assert_uint_eq(s->groups[0].count, 1);
    proxy_service_free(s);
}
END_TEST

START_TEST(first_transaction_and_no_change)
{
    struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    rules_set(r, "default/web", build("", EP("10.244.1.2") "," EP_HERE("10.244.0.3")));
    cleanup_free char *text = changes(r);
    ck_assert_ptr_nonnull(strstr(text, "add chain ip kube-proxy pick-2"));
    ck_assert_ptr_nonnull(strstr(text, "add chain ip kube-proxy masquerade-2"));
    ck_assert_ptr_nonnull(strstr(text, "10.96.0.7 . tcp . 80 : "));
    ck_assert_ptr_nonnull(strstr(text, "tcp . 30080 : "));
    ck_assert_ptr_nonnull(strstr(text, " : 10.244.1.2 . 8080"));
    ck_assert_ptr_nonnull(strstr(text, " : 10.244.0.3 . 8080"));
    ck_assert_ptr_nonnull(strstr(text, "hairpin { 10.244.0.3 . 10.244.0.3 }"));
    ck_assert_ptr_null(strstr(text, "delete"));
    rules_set(r, "default/web", build("", EP_HERE("10.244.0.3") "," EP("10.244.1.2")));
    cleanup_free char *again = changes(r);
    ck_assert_str_eq(again, "");
    rules_free(r);
}
END_TEST

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

START_TEST(an_update_costs_what_changed)
{
    struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    cleanup_buf struct buf many = {0};
    for (int i = 2; i < 102; i++)
        buf_printf(&many, "%s{\"addresses\":[\"10.244.1.%d\"]}", i > 2 ? "," : "", i);
    rules_set(r, "default/web", build("", buf_str(&many)));
    free(changes(r));
    /* The third of a hundred goes: the last one takes its place. */
    cleanup_buf struct buf fewer = {0};
    for (int i = 2; i < 102; i++)
        if (i != 4)
            buf_printf(&fewer, "%s{\"addresses\":[\"10.244.1.%d\"]}", i > 2 ? "," : "", i);
    rules_set(r, "default/web", build("", buf_str(&fewer)));
    cleanup_free char *text = changes(r);
    ck_assert_ptr_null(strstr(text, "10.244.1."));
    ck_assert_uint_eq(count_of(text, " . 2 : "), 1);
    ck_assert_uint_eq(count_of(text, " . 99"), 1);
    ck_assert_uint_eq(count_of(text, "goto pick-99"),
                      1 + 1); /* the group, and the chain of masquerade-99 */
    ck_assert_ptr_null(strstr(text, "service-ips"));
    ck_assert_uint_lt(strlen(text), 1200);
    rules_free(r);
}
END_TEST

START_TEST(no_endpoints_are_rejected_or_dropped)
{
    struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    rules_set(r, "default/web", build("", ""));
    cleanup_free char *text = changes(r);
    ck_assert_ptr_nonnull(strstr(text, "no-endpoints { "));
    ck_assert_uint_eq(count_of(text, "goto reject-service"), 2);
    ck_assert_ptr_null(strstr(text, "element ip kube-proxy groups"));
    rules_set(r, "default/web", build(",\"externalTrafficPolicy\":\"Local\"", EP("10.244.1.2")));
    cleanup_free char *local = changes(r);
    ck_assert_uint_eq(count_of(local, " : drop"), 1);
    rules_free(r);
}
END_TEST

START_TEST(removal_takes_everything_back)
{
    struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    rules_set(r, "default/web", build(",\"sessionAffinity\":\"ClientIP\"", EP_HERE("10.244.0.3")));
    cleanup_free char *there = changes(r);
    ck_assert_ptr_nonnull(strstr(there, "goto affinity-1-10800"));
    ck_assert_ptr_nonnull(strstr(there, "timeout 10800s"));
    rules_set(r, "default/web", NULL);
    cleanup_free char *gone = changes(r);
    ck_assert_uint_eq(count_of(gone, "add"), 0);
    for (const char *const *map = (const char *[]){"service-ips", "node-ports", "groups", "picks",
                                                   "endpoints", "affinity-alive", "hairpin", NULL};
         *map; map++) {
        cleanup_free char *command = mem_printf("delete element ip kube-proxy %s { ", *map);
        ck_assert_msg(strstr(gone, command) != NULL, "%s", *map);
    }
    cleanup_buf struct buf all = {0};
    rules_take_all(r, &all);
    ck_assert_uint_eq(count_of(all.data, "add element"), 0);
    rules_free(r);
}
END_TEST

START_TEST(pods_of_two_services_stay_in_the_hairpin_set)
{
    struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    cleanup_free char *text = mem_printf(WEB, "");
    cleanup_json cJSON *other = parse(text),
                       *slice = slice_of("http", "TCP", 8080, EP_HERE("10.244.0.3"));
    json_set_str(other, "metadata.name", "other");
    json_set_str(other, "spec.type", "ClusterIP");
    json_set_str(other, "spec.clusterIP", "10.96.0.8");
    rules_set(r, "default/web", build("", EP_HERE("10.244.0.3")));
    rules_set(r, "default/other",
              proxy_service_build(other, (const cJSON *[]){slice}, 1, &here, AF_INET));
    cleanup_free char *first = changes(r);
    ck_assert_uint_eq(count_of(first, "10.244.0.3 . 10.244.0.3"), 1);
    rules_set(r, "default/web", NULL);
    cleanup_free char *second = changes(r);
    ck_assert_ptr_null(strstr(second, "hairpin"));
    rules_set(r, "default/other", NULL);
    cleanup_free char *third = changes(r);
    ck_assert_ptr_nonnull(
        strstr(third, "delete element ip kube-proxy hairpin { 10.244.0.3 . 10.244.0.3 }"));
    rules_free(r);
}
END_TEST

START_TEST(an_address_belongs_to_one_service)
{
    struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    cleanup_free char *text = mem_printf(WEB, "");
    cleanup_json cJSON *thief = parse(text),
                       *slice = slice_of("http", "TCP", 8080, EP("10.244.1.2"));
    json_set_str(thief, "metadata.name", "thief");
    json_set_str(thief, "spec.clusterIP", "10.96.0.8");
    rules_set(r, "default/web", build("", EP("10.244.1.3")));
    free(changes(r));
    rules_set(r, "default/thief",
              proxy_service_build(thief, (const cJSON *[]){slice}, 1, &here, AF_INET));
    cleanup_free char *first = changes(r);
    ck_assert_ptr_null(strstr(first, "node-ports"));
    ck_assert_ptr_nonnull(strstr(first, "10.96.0.8 . tcp . 80"));
    /* The owner goes: the one that waited gets the node port. */
    rules_set(r, "default/web", NULL);
    cleanup_free char *second = changes(r);
    ck_assert_ptr_nonnull(
        strstr(second, "delete element ip kube-proxy node-ports { tcp . 30080 }"));
    ck_assert_ptr_nonnull(strstr(second, "add element ip kube-proxy node-ports { tcp . 30080 : "));
    rules_free(r);
}
END_TEST

START_TEST(stale_udp_frontends_are_told)
{
    struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    cleanup_json cJSON *dns =
        parse("{\"metadata\":{\"name\":\"dns\",\"namespace\":\"kube-system\"},\"spec\":"
              "{\"clusterIP\":\"10.96.0.10\","
              "\"ports\":[{\"name\":\"dns\",\"protocol\":\"UDP\",\"port\":53}]}}");
    cleanup_json cJSON *slice = slice_of("dns", "UDP", 5353, EP("10.244.1.2"));
    struct rules_udp *udp;
    rules_set(r, "kube-system/dns",
              proxy_service_build(dns, (const cJSON *[]){slice}, 1, &here, AF_INET));
    size_t n = rules_take_udp(r, &udp);
    ck_assert_uint_ge(n, 1);
    ck_assert_ip(&udp[0].ip, "10.96.0.10");
    ck_assert_uint_eq(udp[0].port, 53);
    ck_assert_uint_eq(udp[0].count, 1);
    rules_udp_free(udp, n);
    rules_set(r, "kube-system/dns",
              proxy_service_build(dns, (const cJSON *[]){slice}, 1, &here, AF_INET));
    ck_assert_uint_eq(rules_take_udp(r, &udp), 0);
    rules_set(r, "kube-system/dns", NULL);
    n = rules_take_udp(r, &udp);
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(udp[0].count, 0);
    rules_udp_free(udp, n);
    rules_free(r);
}
END_TEST

START_TEST(numbers_are_the_same_in_every_process)
{
    cleanup_buf struct buf a = {0}, b = {0};
    for (int i = 0; i < 2; i++) {
        struct rules *r = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
        rules_set(
            r, "default/web",
            build(",\"sessionAffinity\":\"ClientIP\"", EP_HERE("10.244.0.3") "," EP("10.244.1.2")));
        rules_take_all(r, i ? &a : &b);
        rules_free(r);
    }
    ck_assert_str_eq(a.data, b.data);
}
END_TEST

START_TEST(hash_keeps_what_it_is_given)
{
    struct hash h = {0};
    ck_assert_ptr_null(hash_get(&h, "1"));
    for (int i = 1; i <= 2000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        hash_set(&h, key, (void *)(uintptr_t)i);
    }
    for (int i = 1; i <= 2000; i += 3) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        ck_assert_uint_eq((uintptr_t)hash_remove(&h, key), i);
        ck_assert_ptr_null(hash_remove(&h, key));
    }
    size_t seen = 0;
    for (struct hash_entry *e = NULL; (e = hash_next(&h, e));)
        seen++;
    ck_assert_uint_eq(seen, h.count);
    for (int i = 1; i <= 2000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        ck_assert_uint_eq((uintptr_t)hash_get(&h, key), i % 3 == 1 ? 0 : i);
    }
    hash_clear(&h, NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kube-proxy rules");
    TCase *t = tcase_create("rules");
    tcase_add_test(t, service_with_node_port);
    tcase_add_test(t, terminating_endpoints_serve_only_when_none_is_ready);
    tcase_add_test(t, traffic_policies);
    tcase_add_test(t, hints_keep_traffic_near);
    tcase_add_test(t, load_balancers);
    tcase_add_test(t, services_that_are_not_ours);
    tcase_add_test(t, first_transaction_and_no_change);
    tcase_add_test(t, an_update_costs_what_changed);
    tcase_add_test(t, no_endpoints_are_rejected_or_dropped);
    tcase_add_test(t, removal_takes_everything_back);
    tcase_add_test(t, pods_of_two_services_stay_in_the_hairpin_set);
    tcase_add_test(t, an_address_belongs_to_one_service);
    tcase_add_test(t, stale_udp_frontends_are_told);
    tcase_add_test(t, numbers_are_the_same_in_every_process);
    tcase_add_test(t, hash_keeps_what_it_is_given);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
