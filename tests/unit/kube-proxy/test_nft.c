/* The rules in a real kernel: each test has a network namespace of its own, in which all addresses
 * are the loopback device's. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/json.h"
#include "common/mem.h"
#include "kube-proxy/conntrack.h"
#include "kube-proxy/nft.h"
#include "kube-proxy/route.h"
#include "kube-proxy/rules.h"

static const struct proxy_node here = {.name = "here", .zone = ""};
static struct nft *nft;
static struct rules *rules;
static const char *const endpoint_ips[] = {"10.244.1.2", "10.244.1.3"};

static void shell(const char *command)
{
    ck_assert_msg(system(command) == 0, "%s", command);
}

static void run(const char *commands)
{
    cleanup_error struct error *err = NULL;
    ck_assert_msg(nft_run(nft, commands, &err), "%s\n%.2000s", error_message(err), commands);
}

static void commit(void)
{
    cleanup_buf struct buf b = {0};
    rules_take_changes(rules, &b);
    run(buf_str(&b));
}

static void rewrite(void)
{
    cleanup_buf struct buf b = {0};
    rules_take_all(rules, &b);
    run(buf_str(&b));
}

static void setup(void)
{
    ck_assert_msg(unshare(CLONE_NEWNET) == 0, "unshare: %s", strerror(errno));
    shell("ip link set lo up && ip addr add 10.89.0.21/32 dev lo && ip addr add 10.244.1.2/32 dev "
          "lo && ip "
          "addr add 10.244.1.3/32 dev lo"
          " && ip route add 10.96.0.0/16 dev lo src 10.89.0.21");
    nft = nft_new(NULL);
    ck_assert_ptr_nonnull(nft);
    rules = rules_new(AF_INET, "10.244.0.0/16", "10.96.0.0/16");
    rewrite();
}

static void teardown(void)
{
    rules_free(rules);
    nft_free(nft);
}

/* A Service at 10.96.0.7:80 and node port 30080 with the first `count` endpoints from `first`. */
static void set_service(const char *protocol, const char *extra, int first, int count)
{
    cleanup_free char *text = mem_printf(
        "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"type\":"
        "\"NodePort\",\"clusterIP\":"
        "\"10.96.0.7\",\"ports\":[{\"protocol\":\"%s\",\"port\":80,\"nodePort\":30080}]%s}}",
        protocol, extra);
    cleanup_buf struct buf slice_text = {0};
    buf_printf(&slice_text, "{\"ports\":[{\"protocol\":\"%s\",\"port\":8080}],\"endpoints\":[",
               protocol);
    for (int i = first; i < first + count; i++)
        buf_printf(&slice_text, "%s{\"addresses\":[\"%s\"],\"nodeName\":\"here\"}",
                   i > first ? "," : "", endpoint_ips[i]);
    buf_adds(&slice_text, "]}");
    cleanup_json cJSON *service = json_parse(text, strlen(text), NULL),
                       *slice = json_parse(slice_text.data, slice_text.len, NULL);
    ck_assert(service && slice);
    rules_set(rules, "default/web",
              proxy_service_build(service, (const cJSON *[]){slice}, 1, &here, AF_INET));
    commit();
}

static struct sockaddr_in address(const char *ip, int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = inet_addr(ip)};
}

static int server(int type, const char *ip)
{
    struct sockaddr_in a = address(ip, 8080);
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    if (type == SOCK_STREAM)
        ck_assert_int_eq(listen(fd, 64), 0);
    return fd;
}

static int client(int type, const char *from, const char *ip, int port)
{
    struct sockaddr_in a = address(ip, port);
    int fd = socket(AF_INET, type, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){.tv_sec = 2},
                                sizeof(struct timeval)),
                     0);
    if (from) {
        struct sockaddr_in f = address(from, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&f, sizeof f), 0);
    }
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        int e = errno;
        close(fd);
        return -e;
    }
    return fd;
}

/* Connects and tells which of the servers got it; peer: the client's address as that server sees
 * it. */
static int reach(const int servers[2], const char *from, const char *ip, int port, uint32_t *peer)
{
    int fd = client(SOCK_STREAM, from, ip, port), who = -1;
    ck_assert_msg(fd >= 0, "%s:%d: %s", ip, port, strerror(-fd));
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in a;
        int s = accept(servers[i], (struct sockaddr *)&a, &(socklen_t){sizeof a});
        if (s < 0)
            continue;
        ck_assert_int_eq(who, -1);
        who = i;
        if (peer)
            *peer = a.sin_addr.s_addr;
        close(s);
    }
    close(fd);
    ck_assert_int_ge(who, 0);
    return who;
}

START_TEST(connections_are_spread)
{
    int servers[2] = {server(SOCK_STREAM, endpoint_ips[0]), server(SOCK_STREAM, endpoint_ips[1])},
        got[2] = {0, 0};
    set_service("TCP", "", 0, 2);
    for (int i = 0; i < 200; i++)
        got[reach(servers, NULL, "10.96.0.7", 80, NULL)]++;
    ck_assert_int_gt(got[0], 50);
    ck_assert_int_gt(got[1], 50);
    for (int i = 0; i < 20; i++)
        reach(servers, NULL, "10.89.0.21", 30080, NULL);
    set_service("TCP", "", 1, 1);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(reach(servers, NULL, "10.96.0.7", 80, NULL), 1);
}
END_TEST

START_TEST(sources_seen_by_endpoints)
{
    int servers[2] = {server(SOCK_STREAM, endpoint_ips[0]), server(SOCK_STREAM, endpoint_ips[1])};
    uint32_t peer;
    set_service("TCP", "", 1, 1);
    reach(servers, "10.244.1.2", "10.96.0.7", 80, &peer);
    ck_assert_uint_eq(peer, inet_addr("10.244.1.2")); /* pods keep their address */
    run("get element ip kube-proxy hairpin { 10.244.1.3 . 10.244.1.3 }"); /* except towards
                                                                             themselves */
    reach(servers, "10.244.1.3", "10.96.0.7", 80, NULL);
    reach(servers, "10.244.1.2", "10.89.0.21", 30080, &peer);
    ck_assert_uint_ne(peer, inet_addr("10.244.1.2")); /* node ports hide the client */
    set_service("TCP", ",\"externalTrafficPolicy\":\"Local\"", 1, 1);
    reach(servers, "10.244.1.2", "10.89.0.21", 30080, &peer);
    ck_assert_uint_eq(peer, inet_addr("10.244.1.2")); /* unless the policy keeps it */
}
END_TEST

START_TEST(refused_at_once)
{
    set_service("TCP", "", 0, 0);
    ck_assert_int_eq(client(SOCK_STREAM, NULL, "10.96.0.7", 80), -ECONNREFUSED); /* no endpoints */
    ck_assert_int_eq(client(SOCK_STREAM, NULL, "10.89.0.21", 30080), -ECONNREFUSED);
    ck_assert_int_eq(client(SOCK_STREAM, NULL, "10.96.0.7", 81), -ECONNREFUSED); /* no such port */
    ck_assert_int_eq(client(SOCK_STREAM, NULL, "10.96.77.7", 80),
                     -ECONNREFUSED); /* no such Service */
    rules_set(rules, "default/web", NULL);
    commit();
    ck_assert_int_eq(client(SOCK_STREAM, NULL, "10.96.0.7", 80), -ECONNREFUSED);
}
END_TEST

START_TEST(clients_stay_with_their_endpoint)
{
    int servers[2] = {server(SOCK_STREAM, endpoint_ips[0]), server(SOCK_STREAM, endpoint_ips[1])};
    const char *affinity = ",\"sessionAffinity\":\"ClientIP\",\"sessionAffinityConfig\":{"
                           "\"clientIP\":{\"timeoutSeconds\":60}}";
    set_service("TCP", affinity, 0, 2);
    int first = reach(servers, NULL, "10.96.0.7", 80, NULL),
        by_port = reach(servers, NULL, "10.89.0.21", 30080, NULL);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(reach(servers, NULL, "10.96.0.7", 80, NULL), first);
        ck_assert_int_eq(reach(servers, NULL, "10.89.0.21", 30080, NULL), by_port);
    }
    rewrite(); /* as a restarted kube-proxy does */
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(reach(servers, NULL, "10.96.0.7", 80, NULL), first);
    set_service("TCP", affinity, 1 - first, 1);
    ck_assert_int_eq(reach(servers, NULL, "10.96.0.7", 80, NULL), 1 - first);
    set_service("TCP", affinity, 0, 2);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(reach(servers, NULL, "10.96.0.7", 80, NULL), 1 - first);
}
END_TEST

START_TEST(affinity_ends)
{
    int servers[2] = {server(SOCK_STREAM, endpoint_ips[0]), server(SOCK_STREAM, endpoint_ips[1])},
        got[2] = {0, 0};
    set_service("TCP", ",\"sessionAffinity\":\"ClientIP\"", 0, 2);
    for (int i = 0; i < 100; i++) {
        got[reach(servers, NULL, "10.96.0.7", 80, NULL)]++;
        run("flush map ip kube-proxy affinity"); /* what the timeout does */
    }
    ck_assert_int_gt(got[0], 20);
    ck_assert_int_gt(got[1], 20);
}
END_TEST

START_TEST(connections_survive_a_rewrite)
{
    int servers[2] = {server(SOCK_STREAM, endpoint_ips[0]), server(SOCK_STREAM, endpoint_ips[1])};
    set_service("TCP", "", 0, 1);
    int fd = client(SOCK_STREAM, NULL, "10.96.0.7", 80), s = accept(servers[0], NULL, NULL);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ge(s, 0);
    rewrite();
    set_service("TCP", "", 1, 1);
    char c = 0;
    ck_assert_int_eq(write(fd, "x", 1), 1);
    ck_assert_int_eq(read(s, &c, 1), 1);
    ck_assert_int_eq(c, 'x');
    ck_assert_int_eq(write(s, "y", 1), 1);
    ck_assert_int_eq(read(fd, &c, 1), 1);
    ck_assert_int_eq(c, 'y');
}
END_TEST

static int udp_receiver(const int servers[2])
{
    char c;
    for (int i = 0; i < 2; i++)
        if (recv(servers[i], &c, 1, 0) == 1)
            return i;
    return -1;
}

START_TEST(udp_flows_leave_removed_endpoints)
{
    int servers[2] = {server(SOCK_DGRAM, endpoint_ips[0]), server(SOCK_DGRAM, endpoint_ips[1])};
    set_service("UDP", "", 0, 1);
    int fd = client(SOCK_DGRAM, NULL, "10.96.0.7", 80);
    ck_assert_int_eq(send(fd, "x", 1, 0), 1);
    ck_assert_int_eq(udp_receiver(servers), 0);
    struct rules_udp *udp;
    rules_udp_free(udp, rules_take_udp(rules, &udp));
    set_service("UDP", "", 1, 1);
    size_t n = rules_take_udp(rules, &udp);
    cleanup_error struct error *err = NULL;
    ck_assert_msg(conntrack_clean(AF_INET, udp, n, &err) >= 1, "%s", error_message(err));
    ck_assert_int_eq(conntrack_clean(AF_INET, udp, n, &err), 0);
    rules_udp_free(udp, n);
    ck_assert_int_eq(send(fd, "x", 1, 0), 1);
    ck_assert_int_eq(udp_receiver(servers), 1);
}
END_TEST

START_TEST(thousands_of_services)
{
    static const char slice_text[] =
        "{\"ports\":[{\"port\":8080}],\"endpoints\":[{\"addresses\":[\"10.244.1.2\"]},"
        "{\"addresses\":[\"10.244.1.3\"]}]}";
    cleanup_json cJSON *slice = json_parse(slice_text, sizeof slice_text - 1, NULL);
    ck_assert_ptr_nonnull(slice);
    for (int i = 0; i < 2000; i++) {
        cleanup_free char *text = mem_printf(
            "{\"metadata\":{\"name\":\"s%d\",\"namespace\":\"default\"},\"spec\":{\"clusterIP\":"
            "\"10.96.%d.%d\","
            "\"sessionAffinity\":\"%s\",\"ports\":[{\"port\":80},{\"name\":\"b\",\"port\":81}]}}",
            i, 1 + i / 200, 1 + i % 200, i % 2 ? "ClientIP" : "None");
        cleanup_free char *name = mem_printf("default/s%d", i);
        cleanup_json cJSON *service = json_parse(text, strlen(text), NULL);
        rules_set(rules, name,
                  proxy_service_build(service, (const cJSON *[]){slice}, 1, &here, AF_INET));
    }
    commit();
    rewrite();
    int servers[2] = {server(SOCK_STREAM, endpoint_ips[0]), server(SOCK_STREAM, endpoint_ips[1])};
    reach(servers, NULL, "10.96.10.200", 80, NULL);
    reach(servers, NULL, "10.96.1.1", 80, NULL);
}
END_TEST

static int count_routes(const char *grep)
{
    cleanup_free char *command = mem_printf("ip route show | grep -c '%s'", grep);
    FILE *f = popen(command, "r");
    int n = -1;
    ck_assert_int_eq(fscanf(f, "%d", &n), 1);
    pclose(f);
    return n;
}

static struct route route(const char *to, const char *via, const char *from)
{
    struct route r = {0};
    ck_assert(address_parse_cidr(to, &r.destination, &r.prefix));
    ck_assert(!via || address_parse(via, &r.gateway));
    ck_assert(!from || address_parse(from, &r.source));
    return r;
}

START_TEST(routes_follow_the_nodes)
{
    shell("ip route del 10.96.0.0/16 && ip link add br0 type bridge && ip addr add 10.89.0.22/24 "
          "dev br0 && "
          "ip link set br0 up");
    cleanup_error struct error *err = NULL;
    struct routes *r = routes_new(&err);
    ck_assert_ptr_nonnull(r);
    struct route wanted[3] = {route("10.244.1.0/24", "10.89.0.31", NULL),
                              route("10.244.2.7/24", "10.89.0.32", NULL),
                              route("10.96.0.0/16", NULL, "10.89.0.22")};
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(routes_sync(r, wanted, 3, &err), "%s", error_message(err));
        ck_assert_int_eq(count_routes("10.244.1.0/24 via 10.89.0.31 dev br0"), 1);
        ck_assert_int_eq(count_routes("10.244.2.0/24 via 10.89.0.32 dev br0"), 1);
        ck_assert_int_eq(count_routes("10.96.0.0/16 dev br0 .*scope link src 10.89.0.22"), 1);
    }
    wanted[0] = route("10.244.1.0/24", "10.89.0.33", NULL);
    wanted[1] = wanted[2];
    ck_assert_msg(routes_sync(r, wanted, 2, &err), "%s", error_message(err));
    ck_assert_int_eq(count_routes("10.244.1.0/24 via 10.89.0.33"), 1);
    ck_assert_int_eq(count_routes("10.244"), 1);
    ck_assert_int_eq(count_routes("10.96.0.0/16"), 1);
    wanted[0] =
        route("10.244.1.0/24", "172.16.0.1", NULL); /* no way there: told, and the others stay */
    ck_assert(!routes_sync(r, wanted, 2, &err));
    ck_assert_ptr_nonnull(strstr(error_message(err), "10.244.1.0/24 via 172.16.0.1"));
    ck_assert_msg(routes_sync(r, NULL, 0, NULL), "removal");
    ck_assert_int_eq(count_routes("10.244"), 0);
    routes_free(r);
    static const char *const bad[] = {"",
                                      "10.0.0.0",
                                      "10.0.0.0/33",
                                      "10.0.0/8",
                                      "300.0.0.0/8",
                                      "10.0.0.0/8x",
                                      "10.0.0.0/-1",
                                      "fd00::/129",
                                      "fd00::1",
                                      NULL};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert(!address_parse_cidr(bad[i], &wanted[0].destination, &wanted[0].prefix));
}
END_TEST

START_TEST(routes_of_ipv6)
{
    shell("ip link add br0 type bridge && ip addr add fd00:89::22/64 dev br0 nodad && ip link set "
          "br0 up");
    cleanup_error struct error *err = NULL;
    struct routes *r = routes_new(&err);
    struct route wanted[2] = {route("fd00:244:1::/64", "fd00:89::31", NULL),
                              route("fd00:96::/112", NULL, "fd00:89::22")};
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(routes_sync(r, wanted, 2, &err), "%s", error_message(err));
        shell("ip -6 route show | grep -q 'fd00:244:1::/64 via fd00:89::31 dev br0'");
        shell("ip -6 route show | grep -q 'fd00:96::/112 dev br0 .*src fd00:89::22'");
    }
    wanted[0] = route("fd00:244:1::/64", "fd00:89::33", NULL);
    ck_assert_msg(routes_sync(r, wanted, 1, &err), "%s", error_message(err));
    shell("ip -6 route show | grep -q 'fd00:244:1::/64 via fd00:89::33 dev br0'");
    shell("! ip -6 route show | grep -q fd00:96");
    ck_assert(routes_sync(r, NULL, 0, &err));
    shell("! ip -6 route show | grep -q fd00:244");
    routes_free(r);
}
END_TEST

/* A Service as JSON, put into rules of the family, with one endpoint. */
static void set_json(struct rules *r, int family, const char *service_text, const char *endpoint)
{
    cleanup_free char *slice_text =
        mem_printf("{\"addressType\":\"%s\",\"ports\":[{\"port\":8080}],\"endpoints\":[%s]}",
                   family == AF_INET ? "IPv4" : "IPv6", endpoint);
    cleanup_json cJSON *service = json_parse(service_text, strlen(service_text), NULL),
                       *slice = json_parse(slice_text, strlen(slice_text), NULL);
    ck_assert(service && slice);
    rules_set(r, "default/web",
              proxy_service_build(service, (const cJSON *[]){slice}, 1, &here, family));
    cleanup_buf struct buf b = {0};
    rules_take_changes(r, &b);
    run(buf_str(&b));
}

static int connect6(const char *ip, int port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    ck_assert_int_eq(inet_pton(AF_INET6, ip, &a.sin6_addr), 1);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    int e = errno;
    close(fd);
    return -e;
}

START_TEST(services_of_ipv6)
{
    shell("ip addr add fd00:89::21/128 dev lo nodad && ip addr add fd00:244:1::2/128 dev lo nodad "
          "&& ip route add "
          "fd00:96::/112 dev lo src fd00:89::21");
    struct rules *r = rules_new(AF_INET6, "fd00:244::/48", "fd00:96::/112");
    cleanup_buf struct buf all = {0};
    rules_take_all(r, &all);
    run(buf_str(&all));
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(8080)};
    inet_pton(AF_INET6, "fd00:244:1::2", &a.sin6_addr);
    int listener = socket(AF_INET6, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(listener, 64), 0);
    static const char service[] = "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},"
                                  "\"spec\":{\"type\":\"NodePort\",\"clusterIP\":"
                                  "\"10.96.0.7\",\"clusterIPs\":[\"10.96.0.7\",\"fd00:96::7\"],"
                                  "\"sessionAffinity\":\"%s\",\"ports\":[{\"port\":80,"
                                  "\"nodePort\":30080}]}}";
    cleanup_free char *plain = mem_printf("%.*s%s%s", (int)(strstr(service, "%s") - service),
                                          service, "None", strstr(service, "%s") + 2);
    cleanup_free char *sticky = mem_printf("%.*s%s%s", (int)(strstr(service, "%s") - service),
                                           service, "ClientIP", strstr(service, "%s") + 2);
    const char *const texts[] = {plain, sticky};
    for (size_t i = 0; i < 2; i++) {
        set_json(r, AF_INET6, texts[i],
                 "{\"addresses\":[\"fd00:244:1::2\"],\"nodeName\":\"here\"}");
        int fds[2] = {connect6("fd00:96::7", 80), connect6("fd00:89::21", 30080)};
        ck_assert_msg(fds[0] >= 0, "%s", strerror(-fds[0]));
        ck_assert_msg(fds[1] >= 0, "%s", strerror(-fds[1]));
        close(fds[0]);
        close(fds[1]);
    }
    set_json(r, AF_INET6, plain, "");
    ck_assert_int_eq(connect6("fd00:96::7", 80), -ECONNREFUSED);
    ck_assert_int_eq(connect6("fd00:96::8", 80), -ECONNREFUSED);
    rules_free(r);
}
END_TEST

START_TEST(load_balancers_let_some_in)
{
    int servers[2] = {server(SOCK_STREAM, endpoint_ips[0]), server(SOCK_STREAM, endpoint_ips[1])};
    shell("ip route add 192.0.2.9/32 dev lo src 10.89.0.21");
    static const char service[] = "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},"
                                  "\"spec\":{\"type\":\"LoadBalancer\",\"clusterIP\":"
                                  "\"10.96.0.7\",\"loadBalancerSourceRanges\":[\"10.244.0.0/"
                                  "16\",\"10.244.1.0/24\",\"fd00::/8\"],\"ports\":[{\"port\":80}]},"
                                  "\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"192.0.2."
                                  "9\"},{\"ip\":\"192.0.2.10\",\"ipMode\":\"Proxy\"}]}}}";
    set_json(rules, AF_INET, service, "{\"addresses\":[\"10.244.1.2\"],\"nodeName\":\"here\"}");
    reach(servers, "10.244.1.3", "192.0.2.9", 80, NULL);
    reach(servers, "10.89.0.21", "10.96.0.7", 80, NULL); /* the cluster IP has no such limit */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in from = address("10.89.0.21", 0), to = address("192.0.2.9", 80);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), -1);
    ck_assert_int_eq(errno, EINPROGRESS); /* dropped: nothing comes back */
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    ck_assert_int_eq(poll(&p, 1, 300), 0);
    close(fd);
    rules_set(rules, "default/web", NULL);
    commit();
    shell("! nft list set ip kube-proxy sources | grep -q elements && ! nft list map ip kube-proxy "
          "firewall | grep -q elements");
}
END_TEST

START_TEST(local_is_for_those_outside)
{
    int servers[2] = {server(SOCK_STREAM, endpoint_ips[0]), server(SOCK_STREAM, endpoint_ips[1])};
    static const char service[] = "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},"
                                  "\"spec\":{\"type\":\"NodePort\",\"clusterIP\":"
                                  "\"10.96.0.7\",\"externalTrafficPolicy\":\"Local\",\"ports\":[{"
                                  "\"port\":80,\"nodePort\":30080}]}}";
    set_json(rules, AF_INET, service,
             "{\"addresses\":[\"10.244.1.2\"],\"nodeName\":\"elsewhere\"}");
    /* The node itself and its pods get there all the same. */
    reach(servers, NULL, "10.89.0.21", 30080, NULL);
    reach(servers, "10.244.1.3", "10.89.0.21", 30080, NULL);
}
END_TEST

int main(void)
{
    if (geteuid() != 0) {
        printf("0%%: Checks: 0, Failures: 0, Errors: 0 (needs root)\n");
        return 0;
    }
    Suite *s = suite_create("kube-proxy in the kernel");
    TCase *t = tcase_create("nft");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, connections_are_spread);
    tcase_add_test(t, sources_seen_by_endpoints);
    tcase_add_test(t, refused_at_once);
    tcase_add_test(t, clients_stay_with_their_endpoint);
    tcase_add_test(t, affinity_ends);
    tcase_add_test(t, connections_survive_a_rewrite);
    tcase_add_test(t, udp_flows_leave_removed_endpoints);
    tcase_add_test(t, thousands_of_services);
    tcase_add_test(t, routes_follow_the_nodes);
    tcase_add_test(t, routes_of_ipv6);
    tcase_add_test(t, services_of_ipv6);
    tcase_add_test(t, load_balancers_let_some_in);
    tcase_add_test(t, local_is_for_those_outside);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
