#include "tests/unit/dns/ask.h"

#define SOA                                                                                        \
    "~cluster.local. 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 " \
    "30"

static struct answer_config config;

static void setup(void)
{
    config = (struct answer_config){.zone = zone_new(),
                                    .ttl = 30,
                                    .pods = ANSWER_PODS_INSECURE,
                                    .own_namespace = "kube-system",
                                    .own_service = "kube-dns"};
    config.domain_len = dns_name_from_text(config.domain, "cluster.local");
    struct zone *z = config.zone;
    zone_put_namespace(z, "default", true);
    zone_put_namespace(z, "kube-system", true);
    add_service(
        z, "default/web",
        "{\"clusterIP\":\"10.96.0.7\",\"clusterIPs\":[\"10.96.0.7\",\"fd00::7\"],\"ports\":"
        "[{\"name\":\"http\",\"port\":80},{\"name\":\"dns\",\"port\":53,\"protocol\":\"UDP\"}]}",
        NULL);
    add_service(z, "default/plain", "{\"clusterIP\":\"10.96.0.8\",\"ports\":[{\"port\":80}]}",
                NULL);
    add_service(z, "kube-system/kube-dns",
                "{\"clusterIP\":\"10.96.0.10\",\"ports\":[{\"port\":53}]}", NULL);
    add_service(
        z, "default/db", "{\"clusterIP\":\"None\",\"ports\":[{\"name\":\"sql\",\"port\":5432}]}",
        "\"ports\":[{\"name\":\"sql\",\"port\":5432,\"protocol\":\"TCP\"}],\"endpoints\":["
        "{\"addresses\":[\"10.244.1.2\"],\"hostname\":\"db-0\",\"conditions\":{\"ready\":true}},"
        "{\"addresses\":[\"10.244.1.3\"]},"
        "{\"addresses\":[\"10.244.1.4\"],\"hostname\":\"db-2\",\"conditions\":{\"ready\":false}}]");
    add_service(z, "default/empty",
                "{\"clusterIP\":\"None\",\"ports\":[{\"name\":\"sql\",\"port\":5432}]}", NULL);
    add_service(z, "default/out", "{\"type\":\"ExternalName\",\"externalName\":\"example.com\"}",
                NULL);
    add_service(z, "default/alias",
                "{\"type\":\"ExternalName\",\"externalName\":\"web.default.svc.cluster.local\"}",
                NULL);
    add_service(z, "default/ring",
                "{\"type\":\"ExternalName\",\"externalName\":\"ring.default.svc.cluster.local.\"}",
                NULL);
}

static void teardown(void)
{
    zone_free(config.zone);
}

static char *ask_limited(const char *name, ldns_rr_type type, uint16_t edns_size, bool tcp)
{
    uint8_t wire[600], out[DNS_TCP_SIZE], next[DNS_NAME_MAX];
    struct dns_query q;
    struct dns_writer w;
    int rcode;
    ck_assert_int_eq(dns_query_parse(&q, wire, question(wire, name, type, edns_size), &rcode),
                     DNS_PARSED);
    dns_writer_start(&w, &q, out, dns_answer_limit(&q, tcp));
    if (answer(&config, &q, &w, next, &rcode) == ANSWER_FORWARD) {
        char text[DNS_NAME_MAX + 1];
        dns_name_to_text(text, next);
        return mem_printf("forward %s after %d", text, w.counts[DNS_ANSWER]);
    }
    size_t len = dns_writer_finish(&w, rcode, false);
    ck_assert_uint_le(len, dns_answer_limit(&q, tcp));
    return answer_text(out, len);
}

#define EXPECT(name, type, want)                                                                   \
    do {                                                                                           \
        cleanup_free char *got_ = ask_limited(name, LDNS_RR_TYPE_##type, 0, false);                \
        ck_assert_str_eq(got_, want);                                                              \
    } while (0)

START_TEST(services)
{
    EXPECT("web.default.svc.cluster.local", A,
           "NOERROR aa|web.default.svc.cluster.local. 30 IN A 10.96.0.7");
    EXPECT("web.default.svc.cluster.local", AAAA,
           "NOERROR aa|web.default.svc.cluster.local. 30 IN AAAA fd00::7");
    EXPECT("plain.default.svc.cluster.local", AAAA, "NOERROR aa|" SOA);
    EXPECT("WEB.Default.svc.CLUSTER.local", A,
           "NOERROR aa|WEB.Default.svc.CLUSTER.local. 30 IN A 10.96.0.7");
    EXPECT("none.default.svc.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("web.other.svc.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("x.web.default.svc.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("example.com.default.svc.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("default.svc.cluster.local", A, "NOERROR aa|" SOA);
    EXPECT("other.svc.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("svc.cluster.local", A, "NOERROR aa|" SOA);
    EXPECT("nothing.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("web.default.svc.cluster.local", ANY,
           "NOERROR aa|web.default.svc.cluster.local. 30 IN HINFO \"RFC8482\" \"\"");
}
END_TEST

START_TEST(ports)
{
    EXPECT("_http._tcp.web.default.svc.cluster.local", SRV,
           "NOERROR aa|_http._tcp.web.default.svc.cluster.local. 30 IN SRV 0 100 80 "
           "web.default.svc.cluster.local."
           "|+web.default.svc.cluster.local. 30 IN A 10.96.0.7|+web.default.svc.cluster.local. 30 "
           "IN AAAA fd00::7");
    EXPECT("_dns._udp.web.default.svc.cluster.local", SRV,
           "NOERROR aa|_dns._udp.web.default.svc.cluster.local. 30 IN SRV 0 100 53 "
           "web.default.svc.cluster.local."
           "|+web.default.svc.cluster.local. 30 IN A 10.96.0.7|+web.default.svc.cluster.local. 30 "
           "IN AAAA fd00::7");
    EXPECT("_dns._tcp.web.default.svc.cluster.local", SRV, "NXDOMAIN aa|" SOA);
    EXPECT("_http._tcp.web.default.svc.cluster.local", A, "NOERROR aa|" SOA);
    EXPECT("_tcp.web.default.svc.cluster.local", SRV, "NOERROR aa|" SOA);
    EXPECT("_sctp.web.default.svc.cluster.local", SRV, "NXDOMAIN aa|" SOA);
    EXPECT("__tcp.plain.default.svc.cluster.local", SRV, "NXDOMAIN aa|" SOA);
    EXPECT("_._tcp.plain.default.svc.cluster.local", SRV, "NXDOMAIN aa|" SOA);
    EXPECT("_sql._tcp.db.default.svc.cluster.local", SRV,
           "NOERROR aa|_sql._tcp.db.default.svc.cluster.local. 30 IN SRV 0 50 5432 "
           "10-244-1-3.db.default.svc.cluster.local."
           "|_sql._tcp.db.default.svc.cluster.local. 30 IN SRV 0 50 5432 "
           "db-0.db.default.svc.cluster.local."
           "|+10-244-1-3.db.default.svc.cluster.local. 30 IN A 10.244.1.3"
           "|+db-0.db.default.svc.cluster.local. 30 IN A 10.244.1.2");
}
END_TEST

START_TEST(headless)
{
    EXPECT("db.default.svc.cluster.local", A,
           "NOERROR aa|db.default.svc.cluster.local. 30 IN A "
           "10.244.1.2|db.default.svc.cluster.local. 30 IN A 10.244.1.3");
    EXPECT("db-0.db.default.svc.cluster.local", A,
           "NOERROR aa|db-0.db.default.svc.cluster.local. 30 IN A 10.244.1.2");
    EXPECT("10-244-1-3.db.default.svc.cluster.local", A,
           "NOERROR aa|10-244-1-3.db.default.svc.cluster.local. 30 IN A 10.244.1.3");
    EXPECT("db-2.db.default.svc.cluster.local", A, "NXDOMAIN aa|" SOA); /* not ready */
    EXPECT("db-0.db.default.svc.cluster.local", AAAA, "NOERROR aa|" SOA);
    EXPECT("empty.default.svc.cluster.local", A, "NXDOMAIN aa|" SOA);
    /* Turns: the first address is not always the same one. */
    uint8_t wire[600], out[600], next[DNS_NAME_MAX], first[2];
    for (int i = 0; i < 2; i++) {
        struct dns_query q;
        struct dns_writer w;
        int rcode;
        dns_query_parse(&q, wire, question(wire, "db.default.svc.cluster.local", LDNS_RR_TYPE_A, 0),
                        &rcode);
        dns_writer_start(&w, &q, out, 512);
        answer(&config, &q, &w, next, &rcode);
        first[i] = out[12 + q.name_len + 4 + 2 + 10 + 3];
    }
    ck_assert_int_ne(first[0], first[1]);
}
END_TEST

START_TEST(pods)
{
    EXPECT("10-244-1-9.default.pod.cluster.local", A,
           "NOERROR aa|10-244-1-9.default.pod.cluster.local. 30 IN A 10.244.1.9");
    EXPECT("fd00--9.default.pod.cluster.local", AAAA,
           "NOERROR aa|fd00--9.default.pod.cluster.local. 30 IN AAAA fd00::9");
    EXPECT("10-244-1-9.default.pod.cluster.local", AAAA, "NOERROR aa|" SOA);
    EXPECT("10-244-1-9.other.pod.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("10-244-1.default.pod.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("10-244-1-999.default.pod.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("x.10-244-1-9.default.pod.cluster.local", A, "NXDOMAIN aa|" SOA);
    EXPECT("default.pod.cluster.local", A, "NOERROR aa|" SOA);
    config.pods = ANSWER_PODS_VERIFIED;
    struct zone_address a;
    zone_address_parse("10.244.1.9", &a);
    EXPECT("10-244-1-9.default.pod.cluster.local", A, "NXDOMAIN aa|" SOA);
    zone_put_pod(config.zone, "default", &a, true);
    zone_put_pod(config.zone, "default", &a, true);
    zone_put_pod(config.zone, "default", &a, false);
    EXPECT("10-244-1-9.default.pod.cluster.local", A,
           "NOERROR aa|10-244-1-9.default.pod.cluster.local. 30 IN A 10.244.1.9");
    zone_put_pod(config.zone, "default", &a, false);
    EXPECT("10-244-1-9.default.pod.cluster.local", A, "NXDOMAIN aa|" SOA);
    config.pods = ANSWER_PODS_DISABLED;
    EXPECT("10-244-1-9.default.pod.cluster.local", A, "NXDOMAIN aa|" SOA);
}
END_TEST

START_TEST(pointers)
{
    EXPECT("7.0.96.10.in-addr.arpa", PTR,
           "NOERROR aa|7.0.96.10.in-addr.arpa. 30 IN PTR web.default.svc.cluster.local.");
    EXPECT("2.1.244.10.in-addr.arpa", PTR,
           "NOERROR aa|2.1.244.10.in-addr.arpa. 30 IN PTR db-0.db.default.svc.cluster.local.");
    EXPECT("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.F.ip6.arpa", PTR,
           "NOERROR aa|7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.F.ip6.arpa. "
           "30 IN PTR "
           "web.default.svc.cluster.local.");
    EXPECT("9.0.96.10.in-addr.arpa", PTR, "NXDOMAIN aa");
    EXPECT("x.0.96.10.in-addr.arpa", PTR, "NXDOMAIN aa");
    EXPECT("7.7.0.96.10.in-addr.arpa", PTR, "NXDOMAIN aa");
    config.forwards = true;
    EXPECT("9.0.96.10.in-addr.arpa", PTR, "forward 9.0.96.10.in-addr.arpa after 0");
    EXPECT("7.0.96.10.in-addr.arpa", PTR,
           "NOERROR aa|7.0.96.10.in-addr.arpa. 30 IN PTR web.default.svc.cluster.local.");
    /* What is gone leaves nothing behind. */
    zone_put_service(config.zone, "default/db", NULL);
    EXPECT("2.1.244.10.in-addr.arpa", PTR, "forward 2.1.244.10.in-addr.arpa after 0");
    EXPECT("db-0.db.default.svc.cluster.local", A, "NXDOMAIN aa|" SOA);
}
END_TEST

START_TEST(external_names)
{
    EXPECT("out.default.svc.cluster.local", CNAME,
           "NOERROR aa|out.default.svc.cluster.local. 30 IN CNAME example.com.");
    EXPECT("out.default.svc.cluster.local", A,
           "NOERROR aa|out.default.svc.cluster.local. 30 IN CNAME example.com.");
    EXPECT("alias.default.svc.cluster.local", A,
           "NOERROR aa|alias.default.svc.cluster.local. 30 IN CNAME web.default.svc.cluster.local."
           "|web.default.svc.cluster.local. 30 IN A 10.96.0.7");
    EXPECT("x.out.default.svc.cluster.local", A, "NXDOMAIN aa|" SOA);
    cleanup_free char *ring =
        ask_limited("ring.default.svc.cluster.local", LDNS_RR_TYPE_A, 0, false);
    ck_assert_int_eq(strncmp(ring, "SERVFAIL aa tc|ring.", 20), 0);
    config.forwards = true;
    EXPECT("out.default.svc.cluster.local", A, "forward example.com after 1");
    EXPECT("www.example.com", A, "forward www.example.com after 0");
}
END_TEST

START_TEST(apex)
{
    EXPECT("dns-version.cluster.local", TXT,
           "NOERROR aa|dns-version.cluster.local. 30 IN TXT \"1.1.0\"");
    EXPECT("cluster.local", NS,
           "NOERROR aa|cluster.local. 30 IN NS ns.dns.cluster.local.|+ns.dns.cluster.local. 30 IN "
           "A 10.96.0.10");
    EXPECT("ns.dns.cluster.local", A, "NOERROR aa|ns.dns.cluster.local. 30 IN A 10.96.0.10");
    cleanup_free char *soa = ask_limited("cluster.local", LDNS_RR_TYPE_SOA, 0, false);
    ck_assert_int_eq(strncmp(soa, "NOERROR aa|cluster.local. 30 IN SOA ns.dns.cluster.local.", 57),
                     0);
    EXPECT("example.com", A, "REFUSED");
    EXPECT("xcluster.local", A, "REFUSED");
    EXPECT("local", A, "REFUSED");
}
END_TEST

START_TEST(sizes)
{
    struct buf endpoints = {0};
    buf_adds(&endpoints, "\"ports\":[{\"name\":\"p\",\"port\":1}],\"endpoints\":[");
    for (int i = 0; i < 200; i++)
        buf_printf(&endpoints, "%s{\"addresses\":[\"10.244.7.%d\"]}", i ? "," : "", i);
    buf_adds(&endpoints, "]");
    add_service(config.zone, "default/many", "{\"clusterIP\":\"None\"}", endpoints.data);
    buf_free(&endpoints);
    for (int i = 0; i < 4; i++) {
        uint16_t edns = i == 1 ? 1232 : i == 2 ? 65000 : 0;
        cleanup_free char *text =
            ask_limited("many.default.svc.cluster.local", LDNS_RR_TYPE_A, edns, i == 3);
        size_t records = 0;
        for (char *c = text; *c; c++)
            records += *c == '|';
        ck_assert_int_eq(strncmp(text, i == 3 ? "NOERROR aa|" : "NOERROR aa tc|", i == 3 ? 11 : 14),
                         0);
        ck_assert_uint_ge(records, i == 3 ? 200 : i == 0 ? 25 : 70);
        ck_assert_uint_le(records, i == 3 ? 200 : i == 0 ? 30 : 74);
    }
    /* Additional records that do not fit are left out without a word. */
    cleanup_free char *srv =
        ask_limited("_sql._tcp.db.default.svc.cluster.local", LDNS_RR_TYPE_SRV, 1232, false);
    ck_assert_ptr_nonnull(strstr(srv, "|+"));
}
END_TEST

START_TEST(bad_questions)
{
    uint8_t wire[600], out[64];
    struct dns_query q;
    int rcode = 0;
    size_t len = question(wire, "web.default.svc.cluster.local", LDNS_RR_TYPE_A, 1232);
    for (size_t n = 0; n < len; n++) {
        enum dns_parsed p = dns_query_parse(&q, wire, n, &rcode);
        ck_assert_int_eq(p, n < 12 ? DNS_IGNORE : DNS_REFUSE);
        if (p == DNS_REFUSE)
            ck_assert_int_eq(rcode, LDNS_RCODE_FORMERR);
    }
    ck_assert_uint_eq(dns_write_refusal(out, wire, rcode), 12);
    ck_assert_int_eq(out[3], LDNS_RCODE_FORMERR);
    wire[len - 5] = 1; /* EDNS version 1 */
    ck_assert_int_eq(dns_query_parse(&q, wire, len, &rcode), DNS_REFUSE);
    ck_assert_int_eq(rcode, DNS_RCODE_BADVERS);
    ck_assert_uint_eq(dns_write_refusal(out, wire, rcode), 23);
    ck_assert_int_eq(out[12 + 5], 1);
    wire[2] = 0x80;
    ck_assert_int_eq(dns_query_parse(&q, wire, len, &rcode), DNS_IGNORE);
    wire[2] = 0x28; /* UPDATE */
    ck_assert_int_eq(dns_query_parse(&q, wire, len, &rcode), DNS_REFUSE);
    ck_assert_int_eq(rcode, LDNS_RCODE_NOTIMPL);
    wire[2] = 1;
    wire[5] = 2;
    ck_assert_int_eq(dns_query_parse(&q, wire, len, &rcode), DNS_REFUSE);
    /* Labels with any bytes are names like others, which do not exist. */
    len = question(wire, "wXb.default.svc.cluster.local", LDNS_RR_TYPE_A, 0);
    wire[14] = 0;
    struct dns_writer w;
    uint8_t answer_wire[600], next[DNS_NAME_MAX];
    ck_assert_int_eq(dns_query_parse(&q, wire, len, &rcode), DNS_PARSED);
    dns_writer_start(&w, &q, answer_wire, 512);
    answer(&config, &q, &w, next, &rcode);
    ck_assert_int_eq(rcode, LDNS_RCODE_NXDOMAIN);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("answer");
    TCase *t = tcase_create("answer");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, services);
    tcase_add_test(t, ports);
    tcase_add_test(t, headless);
    tcase_add_test(t, pods);
    tcase_add_test(t, pointers);
    tcase_add_test(t, external_names);
    tcase_add_test(t, apex);
    tcase_add_test(t, sizes);
    tcase_add_test(t, bad_questions);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
