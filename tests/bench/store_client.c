/* A client of the store's JSON gateway for benchmarks and bounds tests (plain HTTP, 127.0.0.1):
 *   store_client load PORT FROM COUNT BYTES      puts keys FROM... with values of BYTES, 100 in a
 * transaction, on 4 connections store_client steady PORT RATE                puts one key RATE
 * times a second until SIGTERM, then tells how long they took store_client watch PORT WATCHERS RATE
 * SECONDS  one key, changed RATE times a second, is watched by many connections */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BATCH       100
#define CONNECTIONS 4
#define SAMPLES_MAX 4000000

static struct sockaddr_in address = {.sin_family = AF_INET};
static volatile sig_atomic_t over;

static void die(const char *what)
{
    fprintf(stderr, "store_client: %s: %s\n", what, errno ? strerror(errno) : "unexpected answer");
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void sleep_until(int64_t us)
{
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* --- base64 --- */
static size_t base64(char *out, const char *in, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *p = out;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)(unsigned char)in[i] << 16;
        v |= i + 1 < n ? (unsigned)(unsigned char)in[i + 1] << 8 : 0;
        v |= i + 2 < n ? (unsigned)(unsigned char)in[i + 2] : 0;
        *p++ = digits[v >> 18];
        *p++ = digits[v >> 12 & 63];
        *p++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *p++ = i + 2 < n ? digits[v & 63] : '=';
    }
    *p = '\0';
    return (size_t)(p - out);
}

/* --- HTTP --- */
static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void post(int fd, const char *path, const char *body, size_t len)
{
    char head[256];
    int n = snprintf(head, sizeof(head),
                     "POST /v3/%s HTTP/1.1\r\nHost: store\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     path, len);
    struct iovec {
        const void *p;
        size_t n;
    } parts[2] = {{head, (size_t)n}, {body, len}};
    for (int i = 0; i < 2; i++)
        for (size_t done = 0; done < parts[i].n;) {
            ssize_t w =
                send(fd, (const char *)parts[i].p + done, parts[i].n - done, i == 0 ? MSG_MORE : 0);
            if (w <= 0)
                die("cannot send");
            done += (size_t)w;
        }
}

/* Reads one answer with a length or in chunks to its end; true when its status is 200. */
static int answered(int fd)
{
    static __thread char in[1 << 20];
    size_t have = 0;
    for (;;) {
        ssize_t n = recv(fd, in + have, sizeof(in) - 1 - have, 0);
        if (n <= 0)
            die("the connection ended");
        have += (size_t)n;
        in[have] = '\0';
        char *end = strstr(in, "\r\n\r\n"), *length = strcasestr(in, "content-length:");
        if (!end)
            continue;
        size_t head = (size_t)(end + 4 - in);
        if (length && length < end ? have >= head + strtoul(length + 15, NULL, 10)
                                   : strstr(end + 2, "\r\n0\r\n") && /* trailers may follow */
                                         strcmp(in + have - 4, "\r\n\r\n") == 0)
            return strncmp(in, "HTTP/1.1 200", 12) == 0;
    }
}

/* --- load --- */
static long load_next, load_end;
static size_t load_bytes;
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;

static void *load_some(void *arg)
{
    (void)arg;
    int fd = dial();
    char *body = malloc(BATCH * (load_bytes * 4 / 3 + 200) + 100), *value = malloc(load_bytes + 1);
    uint64_t random = (uint64_t)now_us() | 1;
    for (;;) {
        pthread_mutex_lock(&load_lock);
        long from = load_next, to = from + BATCH < load_end ? from + BATCH : load_end;
        load_next = to;
        pthread_mutex_unlock(&load_lock);
        if (from >= to)
            break;
        char *p = body + sprintf(body, "{\"success\":[");
        for (long i = from; i < to; i++) {
            char key[32];
            p += sprintf(p, "%s{\"request_put\":{\"key\":\"", i > from ? "," : "");
            p += base64(p, key, (size_t)sprintf(key, "load/%012ld", i));
            for (size_t k = 0; k < load_bytes; k++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                value[k] = (char)(random >> 56);
            }
            p += sprintf(p, "\",\"value\":\"");
            p += base64(p, value, load_bytes);
            p += sprintf(p, "\"}}");
        }
        p += sprintf(p, "]}");
        post(fd, "kv/txn", body, (size_t)(p - body));
        errno = 0;
        if (!answered(fd))
            die("a transaction was refused");
    }
    free(body);
    free(value);
    close(fd);
    return NULL;
}

static void load(long from, long count, size_t bytes)
{
    load_next = from;
    load_end = from + count;
    load_bytes = bytes;
    pthread_t threads[CONNECTIONS];
    int64_t began = now_us();
    for (int i = 0; i < CONNECTIONS; i++)
        if (pthread_create(&threads[i], NULL, load_some, NULL) != 0)
            die("thread");
    for (int i = 0; i < CONNECTIONS; i++)
        pthread_join(threads[i], NULL);
    printf("%.1f\n", (double)(now_us() - began) / 1e6);
}

/* --- figures --- */
static unsigned *samples; /* us */
static size_t n_samples;

static void sample(int64_t us)
{
    if (n_samples < SAMPLES_MAX)
        samples[n_samples++] = us < 0 ? 0 : (unsigned)us;
}

static int by_size(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static double share(double part)
{
    if (!n_samples)
        return 0;
    size_t i = (size_t)((double)n_samples * part);
    return samples[i < n_samples ? i : n_samples - 1] / 1000.0;
}

/* --- steady --- */
static void stop(int signal)
{
    (void)signal;
    over = 1;
}

/* One write at a time, tried again until it is done: the longest is the longest time without a
 * write. */
static void steady(long rate)
{
    int fd = dial();
    char body[256], value[32], key[32];
    base64(key, "steady", 6);
    int64_t due = now_us();
    for (long i = 0; !over; i++, due += 1000000 / rate) {
        sleep_until(due);
        int64_t began = now_us();
        char number[32];
        base64(value, number, (size_t)sprintf(number, "%ld", i));
        int n = snprintf(body, sizeof(body), "{\"key\":\"%s\",\"value\":\"%s\"}", key, value);
        post(fd, "kv/put", body, (size_t)n);
        while (!answered(fd) && !over) {
            usleep(1000);
            post(fd, "kv/put", body, (size_t)n);
        }
        sample(now_us() - began);
        if (due < began - 1000000)
            due = began;
    }
    qsort(samples, n_samples, sizeof(*samples), by_size);
    printf("%zu %.1f %.1f %.1f\n", n_samples, share(0.5), share(0.99), share(1));
}

/* --- watch --- */
static int epoll_fd;

static void *watch_all(void *arg)
{
    (void)arg;
    static char in[65536];
    while (!over) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll_fd, events, 256, 100);
        for (int i = 0; i < n; i++) {
            ssize_t got = recv(events[i].data.fd, in, sizeof(in) - 1, MSG_DONTWAIT);
            if (got <= 0)
                continue;
            int64_t now = now_us();
            in[got] = '\0';
            /* Values are times, in digits that survive base64: three of them make four. */
            for (char *p = in; (p = strstr(p, "\"value\":\"")); p++) {
                char digits[64] = "";
                size_t k = 0;
                unsigned v = 0, bits = 0;
                for (char *c = p + 9; *c && *c != '"' && *c != '=' && k < sizeof(digits) - 1; c++) {
                    static const char *alphabet =
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                    const char *at = strchr(alphabet, *c);
                    if (!at)
                        break;
                    v = v << 6 | (unsigned)(at - alphabet);
                    bits += 6;
                    if (bits >= 8) {
                        bits -= 8;
                        digits[k++] = (char)(v >> bits);
                    }
                }
                sample(now - atoll(digits));
            }
        }
    }
    return NULL;
}

static void watch(long watchers, long rate, long seconds)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    char key[32], body[256], value[64], number[32];
    base64(key, "watched", 7);
    int n = snprintf(body, sizeof(body), "{\"create_request\":{\"key\":\"%s\"}}", key);
    for (long i = 0; i < watchers; i++) {
        int fd = dial();
        post(fd, "watch", body, (size_t)n);
        /* The watch stands when its first answer is here. */
        char in[4096];
        for (size_t have = 0; have == 0 || !strstr(in, "created");) {
            ssize_t got = recv(fd, in + have, sizeof(in) - 1 - have, 0);
            if (got <= 0)
                die("no watch");
            have += (size_t)got;
            in[have] = '\0';
        }
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, watch_all, NULL) != 0)
        die("thread");
    int fd = dial();
    int64_t due = now_us(), began = due;
    long count = rate * seconds;
    for (long i = 0; i < count; i++, due += 1000000 / rate) {
        sleep_until(due);
        base64(value, number, (size_t)sprintf(number, "%lld", (long long)now_us()));
        int len = snprintf(body, sizeof(body), "{\"key\":\"%s\",\"value\":\"%s\"}", key, value);
        post(fd, "kv/put", body, (size_t)len);
        errno = 0;
        if (!answered(fd))
            die("a put was refused");
    }
    double took = (double)(now_us() - began) / 1e6;
    usleep(500000);
    over = 1;
    pthread_join(thread, NULL);
    qsort(samples, n_samples, sizeof(*samples), by_size);
    printf("%.0f %zu %ld %.1f %.1f\n", (double)count / took, n_samples, count * watchers,
           share(0.5), share(0.99));
}

int main(int argc, char **argv)
{
    if (argc < 4)
        die("arguments");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, stop);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    samples = malloc(SAMPLES_MAX * sizeof(*samples));
    if (strcmp(argv[1], "load") == 0 && argc == 6)
        load(atol(argv[3]), atol(argv[4]), (size_t)atol(argv[5]));
    else if (strcmp(argv[1], "steady") == 0)
        steady(atol(argv[3]));
    else if (strcmp(argv[1], "watch") == 0 && argc == 6)
        watch(atol(argv[3]), atol(argv[4]), atol(argv[5]));
    else
        die("arguments");
    free(samples);
    return 0;
}
