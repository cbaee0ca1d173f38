/* How long kube-proxy needs for N Services with M endpoints each: the whole table, and one
 * endpoint's change; and what a new connection through the table costs beside one through a single
 * DNAT rule, and one without any. Runs in a network namespace of its own (tests/bench/proxy.sh),
 * without an API: the Services are made here, their endpoints are all this process, on the loopback
 * device. proxy SERVICES ENDPOINTS */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "common/json.h"
#include "common/mem.h"
#include "kube-proxy/nft.h"
#include "kube-proxy/rules.h"

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static cJSON *service(int i)
{
    cleanup_free char *text =
        mem_printf("{\"metadata\":{\"name\":\"s%d\",\"namespace\":\"default\"},\"spec\":{\"type\":"
                   "\"ClusterIP\",\"clusterIP\":"
                   "\"10.96.%d.%d\",\"ports\":[{\"name\":\"http\",\"port\":80}]}}",
                   i, 1 + i / 250, 1 + i % 250);
    return json_parse(text, strlen(text), NULL);
}

/* The first endpoint's last byte changes with `version`. */
static cJSON *slice(int i, int endpoints, int version)
{
    cleanup_buf struct buf b = {0};
    buf_adds(&b, "{\"ports\":[{\"name\":\"http\",\"port\":8080}],\"endpoints\":[");
    for (int e = 0; e < endpoints; e++) {
        int n = i * endpoints + e;
        buf_printf(&b, "%s{\"addresses\":[\"10.%d.%d.%d\"],\"nodeName\":\"node-%d\"}", e ? "," : "",
                   128 + (n >> 16), n >> 8 & 255, e == 0 && version ? 255 - version % 2 : n & 255,
                   n % 50);
    }
    buf_adds(&b, "]}");
    return json_parse(b.data, b.len, NULL);
}

static void set(struct rules *r, int i, int endpoints, int version)
{
    cleanup_json cJSON *s = service(i), *e = slice(i, endpoints, version);
    cleanup_free char *name = mem_printf("default/s%d", i);
    rules_set(r, name,
              proxy_service_build(s, (const cJSON *[]){e}, 1,
                                  &(struct proxy_node){.name = "node-0", .zone = ""}, AF_INET));
}

static void run(struct nft *nft, struct buf *commands)
{
    cleanup_error struct error *err = NULL;
    if (!nft_run(nft, buf_str(commands), &err)) {
        fprintf(stderr, "%s\n", error_message(err));
        exit(1);
    }
}

static int compare(const void *a, const void *b) /* of doubles */
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *accept_all(void *arg)
{
    int fd;
    while ((fd = accept(*(int *)arg, NULL, NULL)) >= 0)
        close(fd);
    return NULL;
}

static void serve(void)
{
    static int fd;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
    pthread_t thread;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 1024) != 0)
        die("listening");
    pthread_create(&thread, NULL, accept_all, &fd);
}

/* Microseconds for one connection, the median of five rounds. */
static double connections(const char *ip, int port)
{
    enum { ROUNDS = 5, EACH = 2000 };
    double round[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        double began = now_ms();
        for (int i = 0; i < EACH; i++) {
            struct sockaddr_in a = {.sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)port),
                                    .sin_addr.s_addr = inet_addr(ip)};
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
                die(ip);
            /* A reset leaves nothing behind that would slow the next round. */
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                       sizeof(struct linger));
            close(fd);
        }
        round[r] = (now_ms() - began) * 1e3 / EACH;
    }
    qsort(round, ROUNDS, sizeof *round, compare);
    return round[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    int services = argc > 1 ? atoi(argv[1]) : 1000, endpoints = argc > 2 ? atoi(argv[2]) : 10;
    enum { CHANGES = 101 };
    double change[CHANGES];
    mem_tune();
    serve();
    struct nft *nft = nft_new(NULL);
    if (!nft)
        die("nftables");
    double direct = connections("10.128.0.1", 8080);
    cleanup_buf struct buf plain = {0}, gone = {0}, all = {0};
    buf_adds(
        &plain,
        "table ip plain {\n chain output { type nat hook output priority -100; policy accept;\n"
        "  ip daddr 10.96.0.7 tcp dport 80 dnat to 10.128.0.1:8080\n }\n}\n");
    run(nft, &plain);
    double one_rule = connections("10.96.0.7", 80);
    buf_adds(&gone, "delete table ip plain\n");
    run(nft, &gone);

    struct rules *r = rules_new(AF_INET, "10.128.0.0/9", "10.96.0.0/16");
    double began = now_ms();
    for (int i = 0; i < services; i++)
        set(r, i, endpoints, 0);
    rules_take_all(r, &all);
    run(nft, &all);
    double whole = now_ms() - began;
    for (int v = 0; v < CHANGES; v++) {
        double t = now_ms();
        set(r, services / 2, endpoints, v + 1);
        cleanup_buf struct buf b = {0};
        rules_take_changes(r, &b);
        run(nft, &b);
        change[v] = now_ms() - t;
    }
    qsort(change, CHANGES, sizeof *change, compare);
    double by_service = connections("10.96.1.1", 80);
    printf("%d %.0f %.2f %.2f %.1f %.1f %.1f\n", services, whole, change[CHANGES / 2],
           change[CHANGES - 1], direct, one_rule, by_service);
    nft_free(nft);
    rules_free(r);
    return 0;
}
