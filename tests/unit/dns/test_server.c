/* The server over loopback, with another server behind it that the test plays itself. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/time.h>
#include "dns/server.h"
#include "dns/server_internal.h"
#include "tests/unit/dns/ask.h"

/* --- the other server --- */
struct other {
    int udp, tcp;
    pthread_t udp_thread, tcp_thread;
    atomic_int asked, asked_tcp;
    atomic_int mode;
    char address[40];
};
enum { NORMAL, SILENT, FORGED, NEGATIVE, BROKEN };

/* Two addresses for any name, more than fit UDP for "big.example". */
static size_t other_answer(struct other *o, const uint8_t *query, size_t len, uint8_t *out,
                           bool tcp)
{
    struct dns_query q;
    struct dns_writer w;
    int rcode;
    ck_assert_int_eq(dns_query_parse(&q, query, len, &rcode), DNS_PARSED);
    int mode = atomic_load(&o->mode);
    if (mode == FORGED)
        q.id++;
    dns_writer_start(&w, &q, out, tcp ? DNS_TCP_SIZE : 1232);
    int count = q.name[0] == 3 && !memcmp(q.name + 1, "big", 3) ? 300 : 2;
    for (int i = 0; i < count && mode != NEGATIVE && mode != BROKEN; i++)
        dns_writer_add(&w, DNS_ANSWER, NULL, LDNS_RR_TYPE_A, 100,
                       (uint8_t[]){192, 0, (uint8_t)(2 + i / 256), (uint8_t)i}, 4);
    if (mode == NEGATIVE) {
        uint8_t soa[] = "\0\0........................";
        memset(soa + 2, 0, 20);
        soa[21] = 60;
        dns_writer_add(&w, DNS_AUTHORITY, (const uint8_t *)"\7example", LDNS_RR_TYPE_SOA, 50, soa,
                       22);
    }
    return dns_writer_finish(&w,
                             mode == NEGATIVE ? LDNS_RCODE_NXDOMAIN
                             : mode == BROKEN ? LDNS_RCODE_SERVFAIL
                                              : 0,
                             true);
}

static void *serve_udp(void *arg)
{
    struct other *o = arg;
    uint8_t in[2000], out[1300];
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    ssize_t n;
    while ((n = recvfrom(o->udp, in, sizeof(in), 0, (struct sockaddr *)&from, &from_len)) > 0) {
        atomic_fetch_add(&o->asked, 1);
        if (atomic_load(&o->mode) == SILENT)
            continue;
        size_t len = other_answer(o, in, (size_t)n, out, false);
        sendto(o->udp, out, len, 0, (struct sockaddr *)&from, from_len);
        from_len = sizeof(from);
    }
    return NULL;
}

static void *serve_tcp(void *arg)
{
    struct other *o = arg;
    int fd;
    while ((fd = accept(o->tcp, NULL, NULL)) >= 0) {
        static uint8_t in[2000], out[2 + DNS_TCP_SIZE];
        size_t len = 0;
        ssize_t n;
        while ((len < 2 || len < 2u + dns_get16(in)) &&
               (n = recv(fd, in + len, sizeof(in) - len, 0)) > 0)
            len += (size_t)n;
        atomic_fetch_add(&o->asked_tcp, 1);
        size_t size = other_answer(o, in + 2, len - 2, out + 2, true);
        dns_put16(out, (uint16_t)size);
        for (size_t sent = 0;
             sent < size + 2;) /* in pieces: a message may come in any number of them */
            sent +=
                (size_t)send(fd, out + sent, size + 2 - sent < 1000 ? size + 2 - sent : 1000, 0);
        close(fd);
    }
    return NULL;
}

/* A port that is free for both. */
static void other_bind(struct other *o, struct sockaddr_in *a)
{
    for (int tries = 0; tries < 50; tries++) {
        socklen_t len = sizeof(*a);
        *a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        o->udp = socket(AF_INET, SOCK_DGRAM, 0);
        o->tcp = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(bind(o->udp, (struct sockaddr *)a, sizeof(*a)), 0);
        getsockname(o->udp, (struct sockaddr *)a, &len);
        if (bind(o->tcp, (struct sockaddr *)a, sizeof(*a)) == 0)
            return;
        close(o->udp);
        close(o->tcp);
    }
    ck_abort_msg("no free port");
}

static void other_start(struct other *o)
{
    struct sockaddr_in a;
    memset(o, 0, sizeof(*o));
    other_bind(o, &a);
    listen(o->tcp, 5);
    snprintf(o->address, sizeof(o->address), "127.0.0.1:%d", ntohs(a.sin_port));
    pthread_create(&o->udp_thread, NULL, serve_udp, o);
    pthread_create(&o->tcp_thread, NULL, serve_tcp, o);
}

static void other_stop(struct other *o)
{
    shutdown(o->udp, SHUT_RDWR);
    shutdown(o->tcp, SHUT_RDWR);
    pthread_join(o->udp_thread, NULL);
    pthread_join(o->tcp_thread, NULL);
    close(o->udp);
    close(o->tcp);
}

/* --- the server under test --- */
static struct answer_config config;
static struct server *server;
static struct other other, second;
static atomic_bool is_synced;

static bool synced(void *userdata)
{
    (void)userdata;
    return atomic_load(&is_synced);
}

static void start(const char *a, const char *b)
{
    struct forward_servers upstream = {0};
    if (a)
        ck_assert(forward_servers_add(&upstream, a));
    if (b)
        ck_assert(forward_servers_add(&upstream, b));
    config.forwards = upstream.count > 0;
    struct server_options o = {.address = "::",
                               .answers = &config,
                               .upstream = &upstream,
                               .max_ttl = 3600,
                               .synced = synced};
    server = NULL;
    for (int tries = 0; !server && tries < 50;
         tries++) /* the port that is free for UDP may be taken for TCP */
        server = server_start(&o, NULL);
    ck_assert_ptr_nonnull(server);
}

static void setup(void)
{
    server_metrics();
    config = (struct answer_config){
        .zone = zone_new(), .ttl = 30, .own_namespace = "n", .own_service = "s"};
    config.domain_len = dns_name_from_text(config.domain, "cluster.local");
    zone_put_namespace(config.zone, "default", true);
    add_service(config.zone, "default/web", "{\"clusterIP\":\"10.96.0.7\"}", NULL);
    add_service(config.zone, "default/out",
                "{\"type\":\"ExternalName\",\"externalName\":\"www.example\"}", NULL);
    atomic_store(&is_synced, true);
    other_start(&other);
    other_start(&second);
}

static void teardown(void)
{
    server_stop(server);
    other_stop(&other);
    other_stop(&second);
    zone_free(config.zone);
}

static int connect_server(int type)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)server_port(server))};
    int fd = socket(AF_INET, type, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 10},
               sizeof(struct timeval));
    return fd;
}

static int connect_v6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6,
                             .sin6_addr = IN6ADDR_LOOPBACK_INIT,
                             .sin6_port = htons((uint16_t)server_port(server))};
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        close(fd);
        return -1; /* this machine has no IPv6 */
    }
    return fd;
}

static char *ask_udp(const char *name)
{
    uint8_t wire[4096];
    cleanup_close int fd = connect_server(SOCK_DGRAM);
    size_t len = question(wire, name, LDNS_RR_TYPE_A, 1232);
    ck_assert_int_eq(send(fd, wire, len, 0), (ssize_t)len);
    ssize_t n = recv(fd, wire, sizeof(wire), 0);
    ck_assert_int_gt(n, 0);
    return answer_text(wire, (size_t)n);
}

#define EXPECT(name, want)                                                                         \
    do {                                                                                           \
        cleanup_free char *got_ = ask_udp(name);                                                   \
        ck_assert_str_eq(got_, want);                                                              \
    } while (0)
#define TWO(name) "NOERROR|" name ". 100 IN A 192.0.2.0|" name ". 100 IN A 192.0.2.1"

START_TEST(own_and_other_names)
{
    start(other.address, NULL);
    EXPECT("web.default.svc.cluster.local",
           "NOERROR aa|web.default.svc.cluster.local. 30 IN A 10.96.0.7");
    EXPECT("www.example", TWO("www.example"));
    ck_assert_int_eq(atomic_load(&other.asked), 1);
    EXPECT("wWw.eXample", TWO("wWw.eXample")); /* remembered, and in the letters of the question */
    ck_assert_int_eq(atomic_load(&other.asked), 1);
    EXPECT("out.default.svc.cluster.local",
           "NOERROR aa|out.default.svc.cluster.local. 30 IN CNAME www.example."
           "|www.example. 100 IN A 192.0.2.0|www.example. 100 IN A 192.0.2.1");
    ck_assert_int_eq(atomic_load(&other.asked), 1);
    atomic_store(&other.mode, NEGATIVE);
    EXPECT("nothing.example", "NXDOMAIN|~example. 50 IN SOA . . 0 0 0 0 60");
    EXPECT("nothing.example", "NXDOMAIN|~example. 50 IN SOA . . 0 0 0 0 60");
    ck_assert_int_eq(atomic_load(&other.asked), 2);
}
END_TEST

START_TEST(both_families)
{
    start(NULL, NULL);
    EXPECT("web.default.svc.cluster.local",
           "NOERROR aa|web.default.svc.cluster.local. 30 IN A 10.96.0.7");
    cleanup_close int fd = connect_v6();
    if (fd < 0)
        return;
    uint8_t wire[600];
    size_t len = question(wire, "web.default.svc.cluster.local", LDNS_RR_TYPE_A, 0);
    ck_assert_int_eq(send(fd, wire, len, 0), (ssize_t)len);
    ssize_t n = recv(fd, wire, sizeof(wire), 0);
    ck_assert_int_gt(n, 0);
    cleanup_free char *text = answer_text(wire, (size_t)n);
    ck_assert_str_eq(text, "NOERROR aa|web.default.svc.cluster.local. 30 IN A 10.96.0.7");
}
END_TEST

START_TEST(external_name_asks)
{
    start(other.address, NULL);
    EXPECT("out.default.svc.cluster.local",
           "NOERROR aa|out.default.svc.cluster.local. 30 IN CNAME www.example."
           "|www.example. 100 IN A 192.0.2.0|www.example. 100 IN A 192.0.2.1");
}
END_TEST

START_TEST(truncated_answers_come_over_tcp)
{
    start(other.address, NULL);
    EXPECT("big.example", "NOERROR tc");
    ck_assert_int_eq(atomic_load(&other.asked_tcp), 1);
    cleanup_close int fd = connect_server(SOCK_STREAM);
    /* Three questions at once on one connection; one of them for the others to answer. */
    static const char *const names[] = {"big.example", "web.default.svc.cluster.local",
                                        "www.example"};
    uint8_t wire[2000];
    size_t len = 0;
    for (int i = 0; i < 3; i++) {
        size_t n = question(wire + len + 2, names[i], LDNS_RR_TYPE_A, 0);
        dns_put16(wire + len, (uint16_t)n);
        len += n + 2;
    }
    for (size_t i = 0; i < len; i++) /* byte by byte */
        ck_assert_int_eq(send(fd, wire + i, 1, 0), 1);
    size_t sizes[3];
    for (int i = 0; i < 3; i++) {
        static uint8_t in[DNS_TCP_SIZE];
        ck_assert_int_eq(recv(fd, in, 2, MSG_WAITALL), 2);
        sizes[i] = dns_get16(in);
        ck_assert_int_eq(recv(fd, in, sizes[i], MSG_WAITALL), (ssize_t)sizes[i]);
        cleanup_free char *text = answer_text(in, sizes[i]);
        ck_assert_ptr_null(strstr(text, " tc"));
        ck_assert_int_eq(strncmp(text, "NOERROR", 7), 0);
    }
    ck_assert_uint_gt(sizes[0], 4000);
    ck_assert_int_eq(atomic_load(&other.asked_tcp), 1);
}
END_TEST

START_TEST(servers_that_fail)
{
    start(other.address, second.address);
    atomic_store(&other.mode, SILENT);
    EXPECT("a.example", TWO("a.example"));
    ck_assert_int_eq(atomic_load(&other.asked), 1);
    EXPECT("b.example", TWO("b.example")); /* the one that answers is asked first from now on */
    ck_assert_int_eq(atomic_load(&other.asked), 1);
    atomic_store(&second.mode, BROKEN);
    atomic_store(&other.mode, NORMAL);
    EXPECT("c.example", TWO("c.example"));
    atomic_store(&other.mode, BROKEN);
    EXPECT("d.example", "SERVFAIL");
    atomic_store(&other.mode, FORGED);
    atomic_store(&second.mode, FORGED);
    EXPECT("e.example", "SERVFAIL");
}
END_TEST

START_TEST(nobody_there)
{
    start("127.0.0.1:1", NULL);
    EXPECT("a.example", "SERVFAIL");
    EXPECT("web.default.svc.cluster.local",
           "NOERROR aa|web.default.svc.cluster.local. 30 IN A 10.96.0.7");
    cleanup_free char *out = ask_udp("out.default.svc.cluster.local");
    ck_assert_str_eq(out, "SERVFAIL aa|out.default.svc.cluster.local. 30 IN CNAME www.example.");
}
END_TEST

START_TEST(without_upstream_and_before_the_first_lists)
{
    atomic_store(&is_synced, false);
    start(NULL, NULL);
    EXPECT("web.default.svc.cluster.local", "SERVFAIL");
    atomic_store(&is_synced, true);
    EXPECT("web.default.svc.cluster.local",
           "NOERROR aa|web.default.svc.cluster.local. 30 IN A 10.96.0.7");
    EXPECT("a.example", "REFUSED");
    EXPECT("out.default.svc.cluster.local",
           "NOERROR aa|out.default.svc.cluster.local. 30 IN CNAME www.example.");
}
END_TEST

START_TEST(equal_questions_are_asked_once)
{
    start(other.address, NULL);
    atomic_store(&other.mode, SILENT);
    uint8_t wire[600];
    int fds[50];
    size_t len = question(wire, "same.example", LDNS_RR_TYPE_A, 0);
    for (int i = 0; i < 50; i++) {
        fds[i] = connect_server(SOCK_DGRAM);
        ck_assert_int_eq(send(fds[i], wire, len, 0), (ssize_t)len);
    }
    while (atomic_load(&other.asked) == 0)
        usleep(1000);
    atomic_store(&other.mode, NORMAL); /* answers when it is asked again */
    for (int i = 0; i < 50; i++) {
        uint8_t in[600];
        ssize_t n = recv(fds[i], in, sizeof(in), 0);
        ck_assert_int_gt(n, 0);
        cleanup_free char *text = answer_text(in, (size_t)n);
        ck_assert_str_eq(text, TWO("same.example"));
        close(fds[i]);
    }
    ck_assert_int_eq(atomic_load(&other.asked), 2);
}
END_TEST

START_TEST(addresses_of_servers)
{
    struct forward_servers s = {0};
    static const char *const good[] = {"192.0.2.1", "192.0.2.1:5353", "2001:db8::1",
                                       "[2001:db8::1]", "[2001:db8::1]:54"};
    static const char *const bad[] = {
        "",       "x",  "192.0.2", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:65536", "[2001:db8::1",
        "[::1]x", ":53"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(forward_servers_add(&s, good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!forward_servers_add(&s, bad[i]), "%s", bad[i]);
    ck_assert_uint_eq(s.count, ARRAY_LEN(good));
    ck_assert_uint_eq(ntohs(((struct sockaddr_in6 *)&s.addresses[4])->sin6_port), 54);
    start(NULL, NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("server");
    TCase *t = tcase_create("server");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, own_and_other_names);
    tcase_add_test(t, both_families);
    tcase_add_test(t, external_name_asks);
    tcase_add_test(t, truncated_answers_come_over_tcp);
    tcase_add_test(t, servers_that_fail);
    tcase_add_test(t, nobody_there);
    tcase_add_test(t, without_upstream_and_before_the_first_lists);
    tcase_add_test(t, equal_questions_are_asked_once);
    tcase_add_test(t, addresses_of_servers);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
