#include "dns/forward.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"

#define QUESTIONS_MAX      2048 /* each has a socket */
#define WAITERS_MAX        1000 /* for one question */
#define BUCKETS            512
#define ATTEMPT_TIMEOUT_MS 1500
#define TOTAL_TIMEOUT_MS   5000

struct question {
    struct question *next; /* in its bucket */
    struct forwarder *forwarder;
    struct loop_source source;
    struct dns_query query;
    uint16_t id;
    uint8_t wire[2 + DNS_QUERY_MAX + 11]; /* the two bytes before it are TCP's length */
    size_t wire_len;
    size_t server, tries;
    bool tcp;
    size_t sent; /* TCP: of wire */
    uint8_t *in; /* TCP */
    size_t in_len;
    int64_t attempt_ends, ends;
    struct forward_waiter *waiters;
    size_t waiter_count;
};

struct forwarder {
    struct loop *loop;
    struct forward_servers servers;
    struct cache *cache;
    uint32_t max_ttl;
    size_t preferred; /* the last server that answered */
    size_t count;
    struct question *buckets[BUCKETS];
    uint16_t ids[64]; /* random numbers, drawn together */
    size_t ids_left;
};

static void answered(struct loop_source *s, uint32_t events);
static void ask(struct question *q);

bool forward_servers_add(struct forward_servers *s, const char *text)
{
    if (s->count == FORWARD_SERVERS_MAX)
        return false;
    cleanup_free char *host = mem_strdup(text);
    char *port = NULL;
    if (host[0] == '[') {
        char *end = strchr(host, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
        port = end[1] ? end + 2 : NULL;
        *end = 0;
        memmove(host, host + 1, strlen(host));
    } else if (strchr(host, ':') && strchr(host, ':') == strrchr(host, ':')) {
        port = strchr(host, ':') + 1;
        port[-1] = 0;
    }
    char *end = NULL;
    long number = port ? strtol(port, &end, 10) : 53;
    if (number < 1 || number > 65535 || (end && *end))
        return false;
    struct sockaddr_storage *a = &s->addresses[s->count];
    memset(a, 0, sizeof(*a));
    struct sockaddr_in *v4 = (struct sockaddr_in *)a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)a;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)number);
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)number);
    } else {
        return false;
    }
    s->count++;
    return true;
}

void forward_servers_read(struct forward_servers *s, const char *path)
{
    cleanup_fclose FILE *f = fopen(path, "re");
    char line[512], address[128];
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, " nameserver %127s", address) == 1 && !forward_servers_add(s, address))
            log_warn("Name server left out", "file", path, "address", address);
}

struct forwarder *forwarder_new(struct loop *l, const struct forward_servers *servers,
                                struct cache *cache, uint32_t max_ttl)
{
    struct forwarder *f = mem_alloc(sizeof(*f));
    f->loop = l;
    f->servers = *servers;
    f->cache = cache;
    f->max_ttl = max_ttl;
    return f;
}

static uint16_t random_id(struct forwarder *f)
{
    if (f->ids_left == 0) {
        if (getrandom(f->ids, sizeof(f->ids), 0) != sizeof(f->ids))
            abort(); /* a kernel without random numbers */
        f->ids_left = ARRAY_LEN(f->ids);
    }
    return f->ids[--f->ids_left];
}

static struct question **bucket(struct forwarder *f, const struct dns_query *q)
{
    return &f->buckets[cache_hash(q) % BUCKETS];
}

static void finish(struct question *q, struct cached *answer)
{
    struct forwarder *f = q->forwarder;
    loop_close(f->loop, &q->source);
    struct question **p = bucket(f, &q->query);
    while (*p != q)
        p = &(*p)->next;
    *p = q->next;
    f->count--;
    free(q->in);
    q->in = NULL;
    for (struct forward_waiter *w = q->waiters, *next; w; w = next) {
        next = w->next;
        w->done(w, answer);
    }
    loop_bury(f->loop, q);
}

void forwarder_free(struct forwarder *f)
{
    for (size_t i = 0; f && i < BUCKETS; i++)
        while (f->buckets[i])
            finish(f->buckets[i], NULL);
    free(f);
}

/* This server does not answer, or not in time: asks the next one, unless all were asked twice or
 * the time is up. */
static void next_server(struct question *q)
{
    struct forwarder *f = q->forwarder;
    loop_close(f->loop, &q->source);
    if (f->preferred == q->server)
        f->preferred = (q->server + 1) % f->servers.count;
    q->server = (q->server + 1) % f->servers.count;
    if (++q->tries >= 2 * f->servers.count + 1 || f->loop->now_ms >= q->ends) {
        finish(q, NULL);
        return;
    }
    q->tcp = false;
    ask(q);
}

static void compose(struct question *q)
{
    uint8_t *w = q->wire + 2;
    q->id = random_id(q->forwarder);
    memset(w, 0, DNS_HEADER_SIZE);
    dns_put16(w, q->id);
    w[2] = 0x01; /* recursion desired */
    w[3] = q->query.checking_disabled ? 0x10 : 0;
    w[5] = 1;
    w[11] = 1;
    size_t len = DNS_HEADER_SIZE;
    memcpy(w + len, q->query.name, q->query.name_len);
    len += q->query.name_len;
    dns_put16(w + len, q->query.type);
    dns_put16(w + len + 2, q->query.class);
    len += 4;
    len += dns_write_opt(w + len, 0, q->query.dnssec_ok);
    q->wire_len = len;
    dns_put16(q->wire, (uint16_t)len);
}

static void ask(struct question *q)
{
    struct forwarder *f = q->forwarder;
    const struct sockaddr_storage *to = &f->servers.addresses[q->server];
    compose(q);
    q->sent = q->in_len = 0;
    q->attempt_ends = f->loop->now_ms + ATTEMPT_TIMEOUT_MS;
    /* A socket of its own: a port that nobody can guess, and errors (port unreachable) that are
     * this question's. */
    int fd = socket(to->ss_family,
                    (q->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    q->source = (struct loop_source){fd, answered};
    socklen_t to_len =
        to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    bool ok = fd >= 0 &&
              (connect(fd, (const struct sockaddr *)to, to_len) == 0 || errno == EINPROGRESS) &&
              loop_add(f->loop, &q->source, q->tcp ? EPOLLOUT : EPOLLIN);
    if (ok && !q->tcp)
        ok = send(fd, q->wire + 2, q->wire_len, 0) == (ssize_t)q->wire_len;
    if (!ok)
        q->attempt_ends = f->loop->now_ms; /* the next tick goes on: not from in here, which may be
                                              called by forward() */
}

/* A whole message has come. True when the question is done with (or is asked anew). */
static bool take(struct question *q, const uint8_t *wire, size_t len)
{
    struct forwarder *f = q->forwarder;
    bool truncated;
    struct cached *answer =
        cached_new(&q->query, q->id, wire, len, f->max_ttl, f->loop->now_ms, &truncated);
    if (!answer)
        return false; /* forged or broken: the right one may still come */
    if (truncated && !q->tcp) {
        cached_unref(answer);
        loop_close(f->loop, &q->source);
        q->tcp = true;
        ask(q);
        return true;
    }
    int rcode = cached_rcode(answer);
    if (rcode != LDNS_RCODE_NOERROR && rcode != LDNS_RCODE_NXDOMAIN &&
        q->tries + 1 < f->servers.count) {
        cached_unref(answer);
        next_server(q); /* it has trouble: another one may know */
        return true;
    }
    f->preferred = q->server;
    cache_put(f->cache, answer, f->loop->now_ms);
    finish(q, answer);
    cached_unref(answer);
    return true;
}

static void answered_udp(struct question *q)
{
    uint8_t wire[4096];
    for (;;) {
        ssize_t n = recv(q->source.fd, wire, sizeof(wire), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            next_server(q);
            return;
        }
        if (take(q, wire, (size_t)n))
            return;
    }
}

static void answered_tcp(struct question *q, uint32_t events)
{
    size_t total = q->wire_len + 2;
    if (q->sent < total && events & EPOLLOUT) {
        ssize_t n = send(q->source.fd, q->wire + q->sent, total - q->sent, MSG_NOSIGNAL);
        if (n > 0 && (q->sent += (size_t)n) == total)
            loop_change(q->forwarder->loop, &q->source, EPOLLIN);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            next_server(q);
        return;
    }
    if (!q->in)
        q->in = mem_alloc(2 + DNS_TCP_SIZE);
    size_t want = q->in_len < 2 ? 2 : 2u + dns_get16(q->in);
    ssize_t n = recv(q->source.fd, q->in + q->in_len, want - q->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        next_server(q);
        return;
    }
    q->in_len += (size_t)n;
    if (q->in_len >= 2 && q->in_len == 2u + dns_get16(q->in) && !take(q, q->in + 2, q->in_len - 2))
        next_server(q);
}

static void answered(struct loop_source *s, uint32_t events)
{
    struct question *q = (struct question *)((char *)s - offsetof(struct question, source));
    if (q->tcp)
        answered_tcp(q, events);
    else
        answered_udp(q);
}

bool forward(struct forwarder *f, const struct dns_query *query, struct forward_waiter *w)
{
    assert(f->servers.count > 0);
    for (struct question *q = *bucket(f, query); q; q = q->next) {
        if (!cache_same_question(&q->query, query))
            continue;
        if (q->waiter_count == WAITERS_MAX)
            return false;
        w->next = q->waiters;
        q->waiters = w;
        q->waiter_count++;
        return true;
    }
    if (f->count == QUESTIONS_MAX)
        return false;
    struct question *q = mem_alloc(sizeof(*q));
    q->forwarder = f;
    q->query = *query;
    q->server = f->preferred;
    q->ends = f->loop->now_ms + TOTAL_TIMEOUT_MS;
    w->next = NULL;
    q->waiters = w;
    q->waiter_count = 1;
    struct question **b = bucket(f, query);
    q->next = *b;
    *b = q;
    f->count++;
    ask(q);
    return true;
}

void forwarder_tick(struct forwarder *f)
{
    for (size_t i = 0; f->count && i < BUCKETS; i++)
        for (struct question *q = f->buckets[i], *next; q; q = next) {
            next = q->next;
            if (f->loop->now_ms >= q->attempt_ends || f->loop->now_ms >= q->ends)
                next_server(q);
        }
}

bool forwarder_busy(const struct forwarder *f)
{
    return f->count > 0;
}
