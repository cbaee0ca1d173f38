#include "apiserver/storage/etcd_question.h"

#include <string.h>
#include <strings.h>

#include "apiserver/storage/etcd_client_internal.h"
#include "common/connection.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define CONNECT_MS 800
#define ANSWER_MS  500
#define PAUSE_MS   1000 /* after a failure etcd_call() has it alone for so long */
#define ANSWER_MAX 4096
#define BODY       "{\"key\":\"AA==\",\"limit\":\"1\",\"count_only\":true}"

struct etcd_question {
    struct etcd_client *client;
    struct tls_client *tls;
    unsigned server;       /* to which this is connected */
    struct connection *to; /* NULL: not */
    char *request;
    int64_t pause_until_ms;
};

struct etcd_question *etcd_question_new(struct etcd_client *c)
{
    struct etcd_question *q = mem_alloc(sizeof *q);
    q->client = c;
    q->tls = tls_client_new(c->ca_file, c->cert_file, c->key_file, false);
    return q;
}

static void hang_up(struct etcd_question *q)
{
    connection_close(q->to);
    q->to = NULL;
    free(q->request);
    q->request = NULL;
}

void etcd_question_free(struct etcd_question *q)
{
    if (!q)
        return;
    hang_up(q);
    tls_client_free(q->tls);
    free(q);
}

static bool call_up(struct etcd_question *q)
{
    q->server = atomic_load(&q->client->current) % q->client->server_count;
    q->to = connection_open(q->client->servers[q->server], q->tls, CONNECT_MS, -1, NULL);
    if (!q->to)
        return false;
    q->request =
        mem_printf("POST /v3/kv/range HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n" BODY,
                   connection_authority(q->to), sizeof BODY - 1);
    return true;
}

/* --- asking --- */

static bool wait_for(const struct etcd_question *q, bool to_write, int64_t deadline_ms)
{
    return connection_wait(q->to, to_write, deadline_ms, -1) == CONNECTION_READY;
}

/* Where the body begins and how long it is; false when this is no answer that we can use. */
static bool read_head(const char *answer, const char **body, size_t *len)
{
    const char *end = strstr(answer, "\r\n\r\n");
    if (!end || strncmp(answer, "HTTP/1.1 200 ", 13) != 0)
        return false;
    *body = end + 4;
    for (const char *line = strstr(answer, "\r\n"); line && line < end;
         line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "Content-Length:", 15)) {
            *len = strtoul(line + 17, NULL, 10);
            return *len < ANSWER_MAX;
        }
    }
    return false;
}

static bool read_revision(const char *body, uint64_t *revision)
{
    static const char name[] = "\"revision\":\"";
    const char *at = strstr(body, name);
    if (!at)
        return false;
    *revision = strtoull(at + sizeof name - 1, NULL, 10);
    return *revision > 0;
}

static bool exchange(struct etcd_question *q, uint64_t *revision)
{
    int64_t deadline = time_monotonic_ms() + ANSWER_MS;
    size_t all = strlen(q->request);
    for (size_t sent = 0; sent < all;) {
        ssize_t n = connection_write(q->to, q->request + sent, all - sent);
        if (n < 0 || (!n && !wait_for(q, true, deadline)))
            return false;
        sent += (size_t)n;
    }
    char answer[ANSWER_MAX + 1];
    size_t got = 0;
    while (got < ANSWER_MAX) {
        ssize_t n = connection_read(q->to, answer + got, ANSWER_MAX - got);
        if (n < 0 || (!n && !wait_for(q, false, deadline)))
            return false;
        got += (size_t)n;
        answer[got] = 0;
        if (!n || !strstr(answer, "\r\n\r\n"))
            continue;
        const char *body;
        size_t len;
        if (!read_head(answer, &body, &len))
            return false;
        size_t have = (size_t)(answer + got - body);
        if (have > len) /* nobody asked for more: we are out of step */
            return false;
        if (have == len)
            return read_revision(body, revision);
    }
    return false;
}

bool etcd_question_ask(struct etcd_question *q, uint64_t *revision)
{
    if (q->to && q->server != atomic_load(&q->client->current) % q->client->server_count)
        hang_up(q);
    bool kept = q->to != NULL;
    if (kept) {
        if (exchange(q, revision))
            return true;
        hang_up(q); /* it may have been closed while it was idle: once more with a new one */
    }
    if (time_monotonic_ms() < q->pause_until_ms)
        return false;
    if (call_up(q) && exchange(q, revision))
        return true;
    hang_up(q);
    q->pause_until_ms = time_monotonic_ms() + PAUSE_MS;
    return false;
}
