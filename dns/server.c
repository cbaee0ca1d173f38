/* One thread of the server: what is asked, and what is said. */
#include "dns/server.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/component.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "dns/server_internal.h"

/* Made once by server_metrics(). Names as CoreDNS has them. */
static struct metric *requests_metric, *responses_metric, *hits_metric, *misses_metric;

void server_metrics(void)
{
    requests_metric = metric_new(METRIC_COUNTER, "coredns_dns_requests_total", "DNS requests made.",
                                 "proto", NULL);
    responses_metric = metric_new(METRIC_COUNTER, "coredns_dns_responses_total",
                                  "DNS response status codes.", "rcode", NULL);
    hits_metric = metric_new(METRIC_COUNTER, "coredns_cache_hits_total",
                             "Answers of other servers that were remembered.", "", NULL);
    misses_metric = metric_new(METRIC_COUNTER, "coredns_cache_misses_total",
                               "Answers that others had to be asked for.", "", NULL);
}

/* Counters are this thread's own until now: the metrics have a lock. */
static void tell_metrics(struct server *s)
{
    static const char *const protocols[] = {"udp", "tcp"};
    static const char *const rcodes[] = {"NOERROR",  "FORMERR", "SERVFAIL",
                                         "NXDOMAIN", "NOTIMP",  "REFUSED"};
    for (size_t i = 0; i < 2; i++)
        if (s->requests[i])
            metric_add(requests_metric, protocols[i], (double)s->requests[i]);
    for (size_t i = 0; i < ARRAY_LEN(s->rcodes); i++)
        if (s->rcodes[i])
            metric_add(responses_metric, i < ARRAY_LEN(rcodes) ? rcodes[i] : "other",
                       (double)s->rcodes[i]);
    if (s->cache_hits)
        metric_add(hits_metric, "", (double)s->cache_hits);
    if (s->cache_misses)
        metric_add(misses_metric, "", (double)s->cache_misses);
    memset(s->requests, 0, sizeof(s->requests));
    memset(s->rcodes, 0, sizeof(s->rcodes));
    s->cache_hits = s->cache_misses = 0;
    s->dirty = false;
}

static size_t counted(struct server *s, const uint8_t *wire, size_t len)
{
    s->rcodes[wire[3] & 0xf]++;
    return len;
}

/* The answer that another server gave, for this question: as it is, or behind the CNAMEs that led
 * to it (w has them). */
static size_t write_cached(struct server *s, const struct request *r, struct dns_writer *w,
                           size_t limit, uint8_t *out, const struct cached *answer)
{
    if (w->counts[DNS_ANSWER] == 0) {
        if (!answer) {
            w->authoritative = false;
            return counted(s, out, dns_writer_finish(w, LDNS_RCODE_SERVFAIL, true));
        }
        return counted(s, out, cached_write(answer, &r->query, out, limit, s->loop.now_ms));
    }
    if (answer)
        cached_append(answer, w, s->loop.now_ms);
    return counted(s, out,
                   dns_writer_finish(w, answer ? cached_rcode(answer) : LDNS_RCODE_SERVFAIL, true));
}

static void forward_done(struct forward_waiter *waiter, struct cached *cached)
{
    struct request *r = (struct request *)((char *)waiter - offsetof(struct request, waiter));
    struct server *s = r->server;
    size_t limit = dns_answer_limit(&r->query, r->connection != NULL);
    struct dns_writer w;
    uint8_t next[DNS_NAME_MAX];
    int rcode;
    dns_writer_start(&w, &r->query, s->scratch, limit);
    size_t len;
    /* Once more, for the CNAMEs that may stand before. The Service may have changed meanwhile. */
    if (answer(s->options.answers, &r->query, &w, next, &rcode) == ANSWER_FORWARD)
        len = write_cached(s, r, &w, limit, s->scratch, cached);
    else
        len = counted(s, s->scratch, dns_writer_finish(&w, rcode, true));
    if (r->connection) {
        tcp_send(r->connection, s->scratch, len);
        tcp_let_go(r->connection);
    } else {
        udp_send(s, r, s->scratch, len);
    }
    free(r);
}

size_t server_handle(struct server *s, const uint8_t *wire, size_t len, uint8_t *out,
                     const struct request *from)
{
    struct request r = {.server = s};
    int rcode;
    s->dirty = true;
    s->requests[from->connection != NULL]++;
    switch (dns_query_parse(&r.query, wire, len, &rcode)) {
    case DNS_IGNORE:
        return 0;
    case DNS_REFUSE:
        return counted(s, out, dns_write_refusal(out, wire, rcode));
    case DNS_PARSED:
        break;
    }
    size_t limit = dns_answer_limit(&r.query, from->connection != NULL);
    bool forwards = s->forwarder != NULL;
    struct dns_writer w;
    struct dns_query lookup = r.query;
    dns_writer_start(&w, &r.query, out, limit);
    if (!s->synced && !(s->synced = s->options.synced(s->options.userdata)))
        return counted(s, out, dns_writer_finish(&w, LDNS_RCODE_SERVFAIL, forwards));
    if (answer(s->options.answers, &r.query, &w, lookup.name, &rcode) == ANSWER_DONE)
        return counted(s, out, dns_writer_finish(&w, rcode, forwards));
    if (!r.query.recursion_desired && w.counts[DNS_ANSWER] == 0)
        return counted(s, out, dns_writer_finish(&w, LDNS_RCODE_REFUSED, forwards));
    lookup.name_len = (uint8_t)dns_name_length(lookup.name);
    struct cached *known = cache_get(s->cache, &lookup, s->loop.now_ms);
    if (known) {
        s->cache_hits++;
        return write_cached(s, &r, &w, limit, out, known);
    }
    s->cache_misses++;
    struct request *kept = mem_dup(from, sizeof(*from));
    kept->server = s;
    kept->query = r.query;
    kept->waiter.done = forward_done;
    if (!forward(s->forwarder, &lookup, &kept->waiter)) {
        free(kept);
        return write_cached(s, &r, &w, limit, out, NULL);
    }
    if (kept->connection)
        tcp_hold(kept->connection);
    return 0;
}

static void tick(void *userdata)
{
    struct server *s = userdata;
    if (s->dirty)
        tell_metrics(s);
    if (s->forwarder)
        forwarder_tick(s->forwarder);
    tcp_tick(s);
}

static bool tick_wanted(void *userdata)
{
    const struct server *s = userdata;
    return s->dirty || s->connections || (s->forwarder && forwarder_busy(s->forwarder));
}

int server_socket(struct server *s, int type, struct error **err)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)s->port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    bool is_v6 = inet_pton(AF_INET6, s->options.address, &v6.sin6_addr) == 1;
    if (!is_v6 && inet_pton(AF_INET, s->options.address, &v4.sin_addr) != 1) {
        error_setf(err, "\"%s\" is no address", s->options.address);
        return -1;
    }
    int one = 1, zero = 0,
        fd = socket(is_v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 && is_v6 && errno == EAFNOSUPPORT && !strcmp(s->options.address, "::")) {
        is_v6 = false; /* a kernel without IPv6: v4 is 0.0.0.0 */
        fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (fd < 0) {
        error_set_errno(err, errno, "opening a socket");
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (is_v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    const struct sockaddr *a = is_v6 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
    if (bind(fd, a, is_v6 ? sizeof(v6) : sizeof(v4)) < 0) {
        error_set_errno(err, errno, "listening on %s port %d", s->options.address, s->port);
        close(fd);
        return -1;
    }
    struct sockaddr_storage bound;
    socklen_t bound_len = sizeof(bound);
    if (getsockname(fd, (struct sockaddr *)&bound, &bound_len) == 0)
        s->port = ntohs(is_v6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                              : ((struct sockaddr_in *)&bound)->sin_port);
    return fd;
}

static void *run(void *arg)
{
    struct server *s = arg;
    loop_run(&s->loop);
    return NULL;
}

static void server_free(struct server *s)
{
    forwarder_free(s->forwarder); /* first: its waiters answer over what follows */
    udp_close(s);
    tcp_close(s);
    loop_free(&s->loop);
    cache_free(s->cache);
    free(s->scratch);
    free(s);
}

struct server *server_start(const struct server_options *o, struct error **err)
{
    struct server *s = mem_alloc(sizeof(*s));
    s->options = *o;
    s->port = o->port;
    s->udp.fd = s->tcp.fd = -1;
    s->cache = cache_new();
    s->scratch = mem_alloc(DNS_TCP_SIZE);
    bool ok = loop_init(&s->loop);
    if (!ok)
        error_set_errno(err, errno, "making an event loop");
    s->loop.tick = tick;
    s->loop.tick_wanted = tick_wanted;
    s->loop.userdata = s;
    if (o->upstream->count)
        s->forwarder = forwarder_new(&s->loop, o->upstream, s->cache, o->max_ttl);
    if (!ok || !udp_open(s, err) || !tcp_open(s, err)) {
        server_free(s);
        return NULL;
    }
    if (!thread_start(&s->thread, run, s)) {
        error_setf(err, "cannot start a thread");
        server_free(s);
        return NULL;
    }
    return s;
}

int server_port(const struct server *s)
{
    return s->port;
}

void server_stop(struct server *s)
{
    if (!s)
        return;
    loop_stop(&s->loop);
    pthread_join(s->thread, NULL);
    server_free(s);
}
