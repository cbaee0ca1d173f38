/* Watch fan-out: many watches on one ConfigMap, which is patched at a fixed rate; how long an event takes from the
 * start of the patch to each watcher.
 *   api_watch ADDRESS PORT TOKEN WATCHERS PATCHES_PER_SECOND SECONDS */
#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LATENCY_MAX 8000000
static gnutls_certificate_credentials_t credentials;
static struct sockaddr_in server = {.sin_family = AF_INET};
static const char *token;
static unsigned *latencies; /* us; written by the watching thread only */
static size_t latency_count;
static volatile int over;

static long now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void die(const char *why)
{
    fprintf(stderr, "api_watch: %s\n", why);
    _exit(1);
}

static gnutls_session_t open_session(int *fd)
{
    gnutls_session_t s;
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(*fd, (struct sockaddr *)&server, sizeof server))
        die("cannot connect");
    gnutls_init(&s, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    gnutls_set_default_priority(s);
    gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_int(s, *fd);
    int rc;
    while ((rc = gnutls_handshake(s)) < 0)
        if (gnutls_error_is_fatal(rc))
            die(gnutls_strerror(rc));
    fcntl(*fd, F_SETFL, O_NONBLOCK);
    return s;
}

static void send_text(gnutls_session_t s, const char *text)
{
    for (size_t n = strlen(text); n;) {
        ssize_t rc = gnutls_record_send(s, text, n);
        if (rc < 0 && gnutls_error_is_fatal((int)rc))
            die(gnutls_strerror((int)rc));
        if (rc > 0)
            n -= (size_t)rc, text += rc;
    }
}

/* Watchers have their sockets in an epoll set; each event's data says when its patch began. An event is one TLS
 * record here or a few whole ones, so its mark is never cut in two. */
static void take(const char *text, size_t len)
{
    static const char mark[] = "\"t\":\"";
    const char *end = text + len, *at = text;
    while ((at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1))) {
        at += sizeof mark - 1;
        long began = strtol(at, NULL, 10);
        if (began > 0 && latency_count < LATENCY_MAX)
            latencies[latency_count++] = (unsigned)(now_us() - began);
    }
}

static void *watch(void *arg)
{
    int epoll = *(int *)arg;
    static char text[65536];
    while (!over) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 100);
        for (int i = 0; i < n; i++) {
            ssize_t len;
            while ((len = gnutls_record_recv(events[i].data.ptr, text, sizeof text - 1)) > 0) {
                text[len] = 0;
                take(text, (size_t)len);
            }
            if (len == 0 || gnutls_error_is_fatal((int)len))
                die("a watch was cut off");
        }
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    int watchers = atoi(argv[4]), rate = atoi(argv[5]), seconds = atoi(argv[6]), fd;
    inet_pton(AF_INET, argv[1], &server.sin_addr);
    server.sin_port = htons((unsigned short)atoi(argv[2]));
    token = argv[3];
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    latencies = malloc(LATENCY_MAX * sizeof *latencies);
    gnutls_certificate_allocate_credentials(&credentials); /* the bench's own server on loopback: not verified */
    int epoll = epoll_create1(0);
    char request[1024];
    snprintf(request, sizeof request,
             "GET /api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%%3Dfan HTTP/1.1\r\n"
             "Host: x\r\nAuthorization: Bearer %s\r\n\r\n",
             token);
    for (int i = 0; i < watchers; i++) {
        gnutls_session_t s = open_session(&fd);
        send_text(s, request);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
    pthread_t thread;
    pthread_create(&thread, NULL, watch, &epoll);
    sleep(1); /* all are registered; the answers' heads are read */
    gnutls_session_t s = open_session(&fd);
    long begin = now_us();
    int patches = 0;
    while (now_us() - begin < seconds * 1000000L) {
        char body[128], answer[16384];
        int n = snprintf(body, sizeof body, "{\"data\":{\"t\":\"%ld\"}}", now_us());
        snprintf(request, sizeof request,
                 "PATCH /api/v1/namespaces/default/configmaps/fan HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
                 "Content-Type: application/merge-patch+json\r\nContent-Length: %d\r\n\r\n%s",
                 token, n, body);
        send_text(s, request);
        /* The answer ends with the object's last brace; nothing else is on its way. */
        size_t got = 0;
        do {
            ssize_t rc = gnutls_record_recv(s, answer + got, sizeof answer - 1 - got);
            if (rc == 0 || (rc < 0 && gnutls_error_is_fatal((int)rc)))
                die("the patching connection ended");
            if (rc < 0)
                usleep(100);
            else
                got += (size_t)rc;
            answer[got] = 0;
        } while (got < 13 || !strstr(answer, "\r\n\r\n") || answer[got - 1] != '}');
        if (strncmp(answer, "HTTP/1.1 200", 12) != 0)
            die("a patch failed");
        patches++;
        long next = begin + patches * 1000000L / rate, now = now_us();
        if (next > now)
            usleep((useconds_t)(next - now));
    }
    double took = (double)(now_us() - begin) / 1e6;
    for (int i = 0; i < 50 && latency_count < (size_t)patches * (size_t)watchers; i++)
        usleep(100000);
    over = 1;
    pthread_join(thread, NULL);
    qsort(latencies, latency_count, sizeof *latencies, by_value);
    size_t n = latency_count ? latency_count : 1;
    printf("%zu %.0f %.0f %.1f %.1f\n", latency_count, patches / took, (double)latency_count / took,
           latencies[n / 2] / 1000.0, latencies[n * 99 / 100] / 1000.0);
    return latency_count == (size_t)patches * (size_t)watchers ? 0 : 3;
}
