/* Clients: one kind reads and changes keys that all share, the other keeps leases. */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "tests/chaos/store/work.h"

#define KEYS          3   /* shared at any time */
#define OPS_AN_EPOCH  160 /* then all go on to new keys: the search for an order is exponential in what is open */
#define KEEP_EPOCHS   3
#define COMPACT_EVERY 400

struct client {
    struct work *w;
    struct prng random;
    struct conn conn;
    int64_t number;
    int member;
    /* What this client last knew of a key's revision. */
    int64_t epoch, known[KEYS], known_epoch[KEYS];
};

static void client_init(struct client *c, const struct worker *me)
{
    *c = (struct client){.w = me->w, .number = me->number, .random = {me->w->seed * 1000003 + (uint64_t)me->number}};
    prng_next(&c->random);
    c->member = prng_below(&c->random, c->w->members);
    conn_open(&c->conn, c->w);
}

/* Stays with a member for some requests. */
static void choose_member(struct client *c)
{
    if (prng_below(&c->random, 5) == 0)
        c->member = prng_below(&c->random, c->w->members);
}

static struct hist_record begin(struct client *c, enum hist_kind kind, char *key)
{
    return (struct hist_record){.kind = kind,
                                .key = key,
                                .client = c->number,
                                .member = c->member + 1,
                                .op = atomic_fetch_add(&c->w->next_op, 1) + 1,
                                .inv = work_now()};
}

static cJSON *call(struct client *c, struct hist_record *r, const char *path, const struct buf *body, bool change)
{
    cJSON *j = conn_call(&c->conn, c->member, path, buf_str(body), change, &r->outcome);
    r->ret = work_now();
    r->conn = c->conn.number[c->member];
    r->rev = json_number(j, "header.revision");
    if (!j && r->outcome != HIST_OK)
        c->member = prng_below(&c->random, c->w->members);
    return j;
}

static void add_base64(struct buf *b, const char *name, const char *s)
{
    buf_printf(b, "\"%s\":\"", name);
    buf_add_base64(b, s, strlen(s));
    buf_addc(b, '"');
}

static void add_put(struct buf *b, const struct hist_record *r)
{
    add_base64(b, "key", r->key);
    buf_adds(b, ",\"value\":\"");
    value_encode(r->value, b);
    buf_addc(b, '"');
    if (r->lease)
        buf_printf(b, ",\"lease\":\"%lld\"", (long long)r->lease);
}

static int64_t new_value(struct client *c)
{
    return atomic_fetch_add(&c->w->next_value, 1) + 1;
}

static void note_found(struct hist_record *r, const cJSON *kv, int64_t *value)
{
    const char *text = json_str(kv, "value");
    *value = kv ? value_decode(text ? text : "") : 0;
    r->mod = json_number(kv, "mod_revision");
    r->version = json_number(kv, "version");
}

/* --- operations --- */
static void do_put(struct client *c, struct hist_record *r)
{
    cleanup_buf struct buf b = {0};
    buf_addc(&b, '{');
    add_put(&b, r);
    buf_addc(&b, '}');
    r->inv = work_now();
    cleanup_json cJSON *j = call(c, r, "kv/put", &b, true);
    work_record(c->w, r);
}

static void do_get(struct client *c, struct hist_record *r)
{
    cleanup_buf struct buf b = {0};
    buf_addc(&b, '{');
    add_base64(&b, "key", r->key);
    buf_adds(&b, r->kind == HIST_SGET ? ",\"serializable\":true}" : "}");
    cleanup_json cJSON *j = call(c, r, "kv/range", &b, false);
    if (j)
        note_found(r, cJSON_GetArrayItem(json_get(j, "kvs"), 0), &r->value);
    work_record(c->w, r);
}

static void do_delete(struct client *c, struct hist_record *r)
{
    cleanup_buf struct buf b = {0};
    buf_addc(&b, '{');
    add_base64(&b, "key", r->key);
    buf_addc(&b, '}');
    cleanup_json cJSON *j = call(c, r, "kv/deleterange", &b, true);
    r->done = json_number(j, "deleted") > 0;
    work_record(c->w, r);
}

static void do_cas(struct client *c, struct hist_record *r)
{
    cleanup_buf struct buf b = {0};
    buf_printf(&b, "{\"compare\":[{\"target\":\"MOD\",\"mod_revision\":\"%lld\",", (long long)r->expect);
    add_base64(&b, "key", r->key);
    buf_adds(&b, "}],\"success\":[{\"request_put\":{");
    add_put(&b, r);
    buf_adds(&b, "}}],\"failure\":[{\"request_range\":{");
    add_base64(&b, "key", r->key);
    buf_adds(&b, "}}]}");
    r->inv = work_now();
    cleanup_json cJSON *j = call(c, r, "kv/txn", &b, true);
    r->done = json_bool(j, "succeeded", false);
    const cJSON *first = cJSON_GetArrayItem(json_get(j, "responses"), 0);
    if (j && !r->done)
        note_found(r, cJSON_GetArrayItem(json_path(first, "response_range.kvs"), 0), &r->seen);
    work_record(c->w, r);
}

/* Two keys in one transaction: one revision, two records. */
static void do_pair(struct client *c, struct hist_record *r, char *other)
{
    struct hist_record second = *r;
    second.key = other;
    second.value = new_value(c);
    cleanup_buf struct buf b = {0};
    buf_adds(&b, "{\"success\":[{\"request_put\":{");
    add_put(&b, r);
    buf_adds(&b, "}},{\"request_put\":{");
    add_put(&b, &second);
    buf_adds(&b, "}}]}");
    r->inv = second.inv = work_now();
    cleanup_json cJSON *j = call(c, r, "kv/txn", &b, true);
    second.outcome = r->outcome;
    second.ret = r->ret;
    second.conn = r->conn;
    second.rev = r->rev;
    work_record(c->w, r);
    work_record(c->w, &second);
}

/* What all watchers have seen is not needed any more. */
static void compact(struct client *c)
{
    int64_t rev = INT64_MAX;
    for (int i = 0; i < WATCHERS; i++)
        rev = rev < atomic_load(&c->w->seen[i]) ? rev : atomic_load(&c->w->seen[i]);
    rev -= 50;
    if (rev <= atomic_load(&c->w->compacted))
        return;
    atomic_store(&c->w->compacted, rev);
    cleanup_free char *body = mem_printf("{\"revision\":\"%lld\"}", (long long)rev);
    enum hist_outcome outcome;
    cleanup_json cJSON *j = conn_call(&c->conn, c->member, "kv/compaction", body, true, &outcome);
}

static void one_operation(struct client *c)
{
    choose_member(c);
    int64_t turn = atomic_load(&c->w->next_op), epoch = turn / OPS_AN_EPOCH;
    int k = prng_below(&c->random, KEYS), dice = prng_below(&c->random, 100);
    cleanup_free char *key = mem_printf("r/%lld/%d", (long long)epoch, k),
                      *other = mem_printf("r/%lld/%d", (long long)epoch, (k + 1) % KEYS);
    if (epoch != c->epoch && epoch >= KEEP_EPOCHS) { /* old keys go */
        c->epoch = epoch;
        free(key);
        key = mem_printf("r/%lld/%d", (long long)(epoch - KEEP_EPOCHS), (int)(c->number % KEYS));
        dice = 99;
    }
    if (c->known_epoch[k] != epoch) {
        c->known_epoch[k] = epoch;
        c->known[k] = 0;
    }
    struct hist_record r = begin(c, HIST_GET, key);
    if (dice < 30) {
        do_get(c, &r);
    } else if (dice < 40) {
        r.kind = HIST_SGET;
        do_get(c, &r);
    } else if (dice < 65) {
        r.kind = HIST_PUT;
        r.value = new_value(c);
        do_put(c, &r);
    } else if (dice < 83) {
        r.kind = HIST_CAS;
        r.value = new_value(c);
        r.expect = c->known[k];
        do_cas(c, &r);
    } else if (dice < 92) {
        r.kind = HIST_PUT;
        r.value = new_value(c);
        do_pair(c, &r, other);
    } else {
        r.kind = HIST_DELETE;
        do_delete(c, &r);
    }
    if (r.outcome == HIST_OK && r.kind != HIST_SGET)
        c->known[k] = r.kind == HIST_PUT || (r.kind == HIST_CAS && r.done) ? r.rev : r.mod;
}

void *work_client(void *arg)
{
    const struct worker *me = arg;
    struct client c;
    client_init(&c, me);
    int64_t compact_at = COMPACT_EVERY;
    while (work_pause(c.w, 8 + prng_below(&c.random, 40))) {
        one_operation(&c);
        if (me->number == 0 && atomic_load(&c.w->next_op) > compact_at) {
            compact_at = atomic_load(&c.w->next_op) + COMPACT_EVERY;
            compact(&c);
        }
    }
    conn_close(&c.conn);
    return NULL;
}

/* --- leases --- */
/* True if the lease lives and has all of its time again. */
static bool do_lease(struct client *c, struct hist_record *r, const char *path)
{
    cleanup_buf struct buf b = {0};
    if (r->kind == HIST_GRANT)
        buf_printf(&b, "{\"TTL\":\"%lld\",\"ID\":\"%lld\"}", (long long)r->ttl, (long long)r->lease);
    else
        buf_printf(&b, "{\"ID\":\"%lld\"}", (long long)r->lease);
    cleanup_json cJSON *j = call(c, r, path, &b, true);
    if (j && r->kind == HIST_KEEPALIVE) {
        r->ttl = json_number(j, "result.TTL");
        if (r->ttl <= 0)
            r->outcome = HIST_FAIL;
    } else if (j && r->kind == HIST_GRANT) {
        r->ttl = json_number(j, "TTL");
    } else if (r->kind == HIST_KEEPALIVE) {
        r->outcome = HIST_UNKNOWN; /* not an answer about this lease */
    }
    work_record(c->w, r);
    return r->outcome == HIST_OK;
}

static bool read_leased(struct client *c, char *key)
{
    choose_member(c);
    struct hist_record r = begin(c, HIST_GET, key);
    do_get(c, &r);
    return r.outcome == HIST_OK && r.value == 0;
}

/* One lease with one key: granted, attached, kept alive (at times only just), then left, revoked or overwritten. */
static void one_lease(struct client *c, int64_t serial)
{
    int64_t id = (int64_t)(prng_next(&c->random) >> 2) + 1;
    cleanup_free char *key = mem_printf("l/%lld/%lld", (long long)c->number, (long long)serial);
    choose_member(c);
    struct hist_record grant = begin(c, HIST_GRANT, NULL);
    grant.lease = id;
    grant.ttl = 2 + prng_below(&c->random, 2);
    if (!do_lease(c, &grant, "lease/grant"))
        return;
    choose_member(c);
    struct hist_record put = begin(c, HIST_PUT, key);
    put.lease = id;
    put.value = new_value(c);
    do_put(c, &put);
    bool daring = prng_below(&c->random, 2);
    int rounds = 2 + prng_below(&c->random, 5);
    for (int i = 0; i < rounds; i++) {
        int wait = daring ? (int)grant.ttl * 1000 - 60 + prng_below(&c->random, 80) : (int)grant.ttl * 300;
        for (int64_t end = work_now() + wait * 1000; work_now() < end;) {
            int left = (int)((end - work_now()) / 1000);
            if (!work_pause(c->w, left < 150 ? (left > 0 ? left : 1) : 150))
                return;
            if (left > 150)
                read_leased(c, key);
        }
        choose_member(c);
        struct hist_record keep = begin(c, HIST_KEEPALIVE, NULL);
        keep.lease = id;
        do_lease(c, &keep, "lease/keepalive");
        if (keep.outcome == HIST_FAIL)
            return;
        read_leased(c, key);
    }
    int end = prng_below(&c->random, 4);
    struct hist_record last = begin(c, end ? HIST_PUT : HIST_REVOKE, end ? key : NULL);
    if (end == 0) {
        last.lease = id;
        do_lease(c, &last, "lease/revoke");
    } else if (end == 1) { /* no longer the lease's: it stays */
        last.value = new_value(c);
        do_put(c, &last);
    }
    for (int i = 0; i < 20 && work_pause(c->w, 150); i++)
        if (read_leased(c, key))
            return;
}

void *work_leases(void *arg)
{
    struct client c;
    client_init(&c, arg);
    for (int64_t serial = 1; work_pause(c.w, 20); serial++)
        one_lease(&c, serial);
    conn_close(&c.conn);
    return NULL;
}
