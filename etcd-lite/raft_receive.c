#include "etcd-lite/raft_receive.h"
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/raft_guard.h"
#include "etcd-lite/transport.h"

#define ENTRY_BYTES 16 /* term (8), type (1), nothing (3), length (4) */
#define UNUSED                                                                                     \
    8 /* at the end of the headers that a leader sends: libraft counts a field too many */

/* --- decoding --- */
static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v)); /* little-endian, as all machines that we run on */
    return v;
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static bool decode_append_entries(const uint8_t *p, size_t len, struct raft_append_entries *a,
                                  size_t *payload)
{
    if (len < 40)
        return false;
    *a = (struct raft_append_entries){.term = get64(p),
                                      .prev_log_index = get64(p + 8),
                                      .prev_log_term = get64(p + 16),
                                      .leader_commit = get64(p + 24)};
    uint64_t n = get64(p + 32);
    if (n > RAFT_HEADER_MAX / ENTRY_BYTES || len != 40 + n * ENTRY_BYTES + UNUSED)
        return false;
    if (n == 0)
        return true;
    a->entries = raft_calloc(n, sizeof(*a->entries));
    if (!a->entries)
        abort();
    a->n_entries = (unsigned)n;
    p += 40;
    for (uint64_t i = 0; i < n; i++, p += ENTRY_BYTES) {
        struct raft_entry *e = &a->entries[i];
        e->term = get64(p);
        e->type = p[8];
        e->buf.len = get32(p + 12);
        *payload += e->buf.len;
        if (e->term == 0 || e->type < RAFT_COMMAND || e->type > RAFT_CHANGE || e->buf.len % 8 ||
            *payload > RAFT_PAYLOAD_MAX) {
            raft_free(a->entries);
            return false;
        }
    }
    return true;
}

static bool decode_install_snapshot(const uint8_t *p, size_t len, struct raft_install_snapshot *a,
                                    size_t *payload)
{
    if (len < 48 + UNUSED)
        return false;
    *a = (struct raft_install_snapshot){.term = get64(p),
                                        .last_index = get64(p + 8),
                                        .last_term = get64(p + 16),
                                        .conf_index = get64(p + 24)};
    uint64_t conf = get64(p + 32);
    if (conf != len - 48 - UNUSED)
        return false;
    uint64_t data = get64(p + 40 + conf);
    struct raft_buffer buf = {(void *)(p + 40), conf};
    if (data == 0 || data > RAFT_PAYLOAD_MAX || a->last_index == 0 ||
        raft_guard_decode(&buf, &a->conf) != 0)
        return false;
    a->data.len = *payload = data;
    return true;
}

static bool decode(uint64_t type, const uint8_t *p, size_t len, struct raft_message *m,
                   size_t *payload)
{
    switch (type) {
    case RAFT_IO_APPEND_ENTRIES:
        return decode_append_entries(p, len, &m->append_entries, payload);
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        if (len != 24)
            return false;
        m->append_entries_result =
            (struct raft_append_entries_result){get64(p), get64(p + 8), get64(p + 16)};
        return true;
    case RAFT_IO_REQUEST_VOTE:
        if (len != 40)
            return false;
        m->request_vote = (struct raft_request_vote){.term = get64(p),
                                                     .candidate_id = get64(p + 8),
                                                     .last_log_index = get64(p + 16),
                                                     .last_log_term = get64(p + 24),
                                                     .disrupt_leader = get64(p + 32) & 1,
                                                     .pre_vote = get64(p + 32) & 2};
        return true;
    case RAFT_IO_REQUEST_VOTE_RESULT:
        if (len != 24)
            return false;
        m->request_vote_result =
            (struct raft_request_vote_result){.term = get64(p), .vote_granted = get64(p + 8) != 0};
        m->request_vote_result.pre_vote =
            get64(p + 16) & 1 ? raft_tribool_true : raft_tribool_false;
        return true;
    case RAFT_IO_INSTALL_SNAPSHOT:
        return decode_install_snapshot(p, len, &m->install_snapshot, payload);
    case RAFT_IO_TIMEOUT_NOW:
        if (len != 24)
            return false;
        m->timeout_now = (struct raft_timeout_now){get64(p), get64(p + 8), get64(p + 16)};
        return true;
    default:
        return false;
    }
}

bool raft_decode_header(uint64_t type, const uint8_t *header, size_t len, struct raft_message *msg,
                        size_t *payload)
{
    memset(msg, 0, sizeof(*msg));
    *payload = 0;
    if (!decode(type, header, len, msg, payload)) {
        memset(msg, 0, sizeof(*msg));
        return false;
    }
    msg->type = (unsigned short)type;
    return true;
}

void raft_message_clear(struct raft_message *msg)
{
    if (msg->type == RAFT_IO_APPEND_ENTRIES)
        raft_free(msg->append_entries.entries);
    else if (msg->type == RAFT_IO_INSTALL_SNAPSHOT)
        raft_configuration_close(&msg->install_snapshot.conf);
    memset(msg, 0, sizeof(*msg));
}

/* libraft would take whatever a change of membership holds. */
static bool good_change(const struct raft_entry *e)
{
    struct raft_configuration c;
    if (e->type != RAFT_CHANGE)
        return true;
    if (raft_guard_decode(&e->buf, &c) != 0)
        return false;
    raft_configuration_close(&c);
    return true;
}

bool raft_decode_payload(struct raft_message *msg, void *payload, size_t len)
{
    bool good = true;
    if (msg->type == RAFT_IO_APPEND_ENTRIES) {
        struct raft_append_entries *a = &msg->append_entries;
        uint8_t *p = payload, *end = p + len;
        for (unsigned i = 0; i < a->n_entries && good; i++) {
            struct raft_entry *e = &a->entries[i];
            good = e->buf.len <= (size_t)(end - p);
            e->batch = payload;
            e->buf.base = e->buf.len ? p : NULL;
            p += good ? e->buf.len : 0;
            good = good && good_change(e);
        }
    } else if (msg->type == RAFT_IO_INSTALL_SNAPSHOT) {
        good = msg->install_snapshot.data.len == len;
        msg->install_snapshot.data.base = payload;
    }
    if (!good) {
        raft_free(payload);
        raft_message_clear(msg);
    }
    return good;
}

/* --- connections --- */
struct raft_receiver {
    struct raft_receiver *next, **link;
    struct raft_receivers *all;
    uint64_t from;
    char *address;
    uv_stream_t *stream;
    uint8_t preamble[RAFT_PREAMBLE];
    uint8_t *header, *payload;
    size_t header_len, payload_len;
    size_t have; /* of the part that is being read */
    struct raft_message msg;
    bool delivering, ended;
};

static void end(struct raft_receiver *r)
{
    if (r->delivering) { /* what is being delivered makes us stop */
        r->ended = true;
        return;
    }
    *r->link = r->next;
    if (r->next)
        r->next->link = r->link;
    r->stream->data = NULL;
    uv_read_stop(r->stream);
    transport_close_stream(r->stream);
    raft_message_clear(&r->msg);
    free(r->header);
    raft_free(r->payload);
    free(r->address);
    free(r);
}

/* The part that comes next, and how long it is. */
static uint8_t *part(struct raft_receiver *r, size_t *len)
{
    if (r->payload) {
        *len = r->payload_len;
        return r->payload;
    }
    if (r->header) {
        *len = r->header_len;
        return r->header;
    }
    *len = RAFT_PREAMBLE;
    return r->preamble;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct raft_receiver *r = handle->data;
    if (!r) {
        *buf = uv_buf_init(NULL, 0);
        return;
    }
    size_t len;
    uint8_t *p = part(r, &len);
    *buf = uv_buf_init((char *)p + r->have, (unsigned)(len - r->have));
}

static bool begin_header(struct raft_receiver *r)
{
    uint64_t len = get64(r->preamble + 8);
    if (len == 0 || len > RAFT_HEADER_MAX)
        return false;
    r->header_len = len;
    r->header = mem_alloc(len);
    return true;
}

static bool deliver(struct raft_receiver *r)
{
    struct raft_message msg = r->msg;
    void *payload = r->payload;
    r->payload = NULL;
    memset(&r->msg, 0, sizeof(r->msg));
    if (!raft_decode_payload(&msg, payload, r->payload_len))
        return false;
    msg.server_id = r->from;
    msg.server_address = r->address;
    r->delivering = true;
    r->all->on_message(r->all->io, &msg);
    r->delivering = false;
    return !r->ended;
}

/* A part is whole. */
static bool go_on(struct raft_receiver *r)
{
    r->have = 0;
    if (r->payload)
        return deliver(r);
    if (!r->header)
        return begin_header(r);
    bool good =
        raft_decode_header(get64(r->preamble), r->header, r->header_len, &r->msg, &r->payload_len);
    free(r->header);
    r->header = NULL;
    if (!good)
        return false;
    if (r->payload_len == 0)
        return deliver(r);
    r->payload = raft_malloc(r->payload_len);
    return r->payload != NULL;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct raft_receiver *r = stream->data;
    if (!r || n == 0)
        return;
    if (n < 0) {
        end(r);
        return;
    }
    size_t len;
    part(r, &len);
    r->have += (size_t)n;
    if (r->have < len || go_on(r))
        return;
    if (r->ended) {
        end(r);
        return;
    }
    log_error("A member sends what is no message of raft: closing its connection", "member",
              r->address, "type", log_int((long long)get64(r->preamble)), "bytes",
              log_int((long long)get64(r->preamble + 8)));
    end(r);
}

void raft_receive(struct raft_receivers *all, uint64_t from, const char *address,
                  uv_stream_t *stream)
{
    struct raft_receiver *r = mem_alloc(sizeof(*r));
    r->all = all;
    r->from = from;
    r->address = mem_strdup(address);
    r->stream = stream;
    r->next = all->head;
    if (r->next)
        r->next->link = &r->next;
    r->link = &all->head;
    all->head = r;
    stream->data = r;
    if (uv_read_start(stream, on_alloc, on_read) != 0)
        end(r);
}

void raft_receivers_close(struct raft_receivers *all)
{
    for (struct raft_receiver *r = all->head, *next; r; r = next) {
        next = r->next;
        end(r);
    }
}
