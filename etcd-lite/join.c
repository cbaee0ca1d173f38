#include "etcd-lite/join.h"
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/transport.h"

#define ANSWER_MAX (1u << 20)

struct asking;
struct question {
    struct asking *a;
    uv_stream_t *stream;
    struct buf in;
    bool over;
};
struct asking {
    uv_loop_t loop;
    uv_timer_t timer;
    struct transport *transport;
    struct question *questions;
    size_t n, open;
    bool done, ended;
    bool (*found)(void *userdata, const struct member_list_response *answer);
    void *userdata;
};

static void end(struct asking *a)
{
    if (a->ended)
        return;
    a->ended = true;
    uv_close((uv_handle_t *)&a->timer, NULL);
    for (size_t i = 0; i < a->n; i++)
        if (a->questions[i].stream) {
            a->questions[i].stream->data = NULL;
            transport_close_stream(a->questions[i].stream);
        }
    transport_stop(a->transport);
}

static void close_question(struct question *q)
{
    if (q->over)
        return;
    q->over = true;
    if (q->stream) {
        q->stream->data = NULL;
        transport_close_stream(q->stream);
        q->stream = NULL;
    }
    if (--q->a->open == 0 || q->a->done)
        end(q->a);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct question *q = handle->data;
    (void)suggested;
    if (!q) {
        *buf = uv_buf_init(NULL, 0);
        return;
    }
    buf_reserve(&q->in, 4096);
    *buf = uv_buf_init(q->in.data + q->in.len, 4096);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct question *q = stream->data;
    if (!q || n == 0)
        return;
    if (n > 0)
        q->in.len += (size_t)n;
    uint32_t len = ANSWER_MAX + 1;
    if (q->in.len >= sizeof(len))
        memcpy(&len, q->in.data, sizeof(len));
    if (q->in.len >= sizeof(len) && len <= ANSWER_MAX && q->in.len - sizeof(len) >= len) {
        cleanup_arena struct arena arena = {0};
        struct member_list_response answer = {0};
        if (msg_decode(&member_list_response_type, q->in.data + sizeof(len), len, &answer,
                       &arena) &&
            answer.header && !q->a->done)
            q->a->done = q->a->found(q->a->userdata, &answer);
        close_question(q);
    } else if (n < 0 || (q->in.len >= sizeof(len) && len > ANSWER_MAX)) {
        close_question(q);
    }
}

static void on_connected(void *userdata, uv_stream_t *stream)
{
    struct question *q = userdata;
    if (q->a->ended) {
        transport_close_stream(stream);
        return;
    }
    q->stream = stream;
    if (stream)
        stream->data = q;
    if (!stream || uv_read_start(stream, on_alloc, on_read) != 0)
        close_question(q);
}

static void on_timeout(uv_timer_t *timer)
{
    end(timer->data);
}

bool join_ask(const struct join_tls *tls, char *const *urls, unsigned timeout_ms,
              bool (*found)(void *userdata, const struct member_list_response *answer),
              void *userdata, struct error **err)
{
    struct asking a = {.found = found, .userdata = userdata};
    while (urls[a.n])
        a.n++;
    if (a.n == 0)
        return false;
    uv_loop_init(&a.loop);
    a.transport = transport_new(&(struct transport_options){.loop = &a.loop,
                                                            .cert_file = tls->cert_file,
                                                            .key_file = tls->key_file,
                                                            .ca_file = tls->ca_file,
                                                            .advertise_url = ""},
                                err);
    if (!a.transport) {
        uv_loop_close(&a.loop);
        return false;
    }
    a.questions = mem_alloc(a.n * sizeof(*a.questions));
    a.open = a.n;
    uv_timer_init(&a.loop, &a.timer);
    a.timer.data = &a;
    uv_timer_start(&a.timer, on_timeout, timeout_ms, 0);
    for (size_t i = 0; i < a.n; i++)
        a.questions[i].a = &a;
    for (size_t i = 0; i < a.n && !a.ended; i++)
        if (!transport_connect(a.transport, CONNECTION_MEMBERS, 0, urls[i], on_connected,
                               &a.questions[i]))
            close_question(&a.questions[i]);
    uv_run(&a.loop, UV_RUN_DEFAULT);
    transport_free(a.transport);
    uv_loop_close(&a.loop);
    for (size_t i = 0; i < a.n; i++)
        buf_free(&a.questions[i].in);
    free(a.questions);
    return a.done;
}
