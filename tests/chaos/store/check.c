#include "tests/chaos/store/check.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "tests/chaos/store/linear.h"

#define SECOND   1000000
#define CLOCK_MS 2000 /* the store counts milliseconds, we microseconds */

static const char *const names[RULES] = {
    [RULE_WATCH] = "watchers hear of each event once, in order, without gaps",
    [RULE_HISTORY] = "the events make one history: no revision and no version is left out",
    [RULE_LOST] = "what was acknowledged is in the history",
    [RULE_APPLIED] = "nothing is applied twice, unasked or though it was refused",
    [RULE_ORDER] = "revisions agree with real time",
    [RULE_READ] = "reads and transactions answer what was there at their revision",
    [RULE_SERIALIZABLE] = "serializable reads never go back on a connection",
    [RULE_LINEAR] = "each key is linearizable",
    [RULE_LEASE_EARLY] = "no key goes while its lease lives",
    [RULE_LEASE_LATE] = "keys go with their leases",
    [RULE_FINAL] = "all members hold in the end what the history says",
};

const char *rule_name(enum rule r)
{
    return names[r];
}

typedef const struct hist_record *rec;

struct recs {
    rec *items;
    size_t n, cap;
};

struct checker {
    const struct history *h;
    struct verdict *v;
    struct recs events; /* each once, by key and revision */
    struct recs writes; /* puts and compare-and-swaps, by value */
    struct recs seen;   /* reads, by the value that they saw */
};

static void add(struct recs *r, rec x)
{
    if (r->n == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 256;
        r->items = mem_realloc(r->items, r->cap * sizeof(rec));
    }
    r->items[r->n++] = x;
}

static void sort(struct recs *r, int (*compare)(const void *, const void *))
{
    if (r->n)
        qsort(r->items, r->n, sizeof(rec), compare);
}

__attribute__((format(printf, 3, 4))) static void violation(struct checker *c, enum rule rule, const char *fmt, ...)
{
    size_t i = c->v->violated[rule]++;
    if (i >= RULE_MESSAGES)
        return;
    va_list ap;
    va_start(ap, fmt);
    char text[2048];
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->v->messages[rule][i] = mem_strdup(text);
}

/* A record that breaks a rule, and why. */
static void accuse(struct checker *c, enum rule rule, rec r, const char *why)
{
    char text[512];
    hist_describe(r, text, sizeof(text));
    violation(c, rule, "%s %s", text, why);
}

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_key_rev(const void *a, const void *b)
{
    rec x = *(const rec *)a, y = *(const rec *)b;
    int d = strcmp(x->key, y->key);
    return d ? d : compare_numbers(x->rev, y->rev);
}

static int by_rev_key(const void *a, const void *b)
{
    rec x = *(const rec *)a, y = *(const rec *)b;
    int d = compare_numbers(x->rev, y->rev);
    return d ? d : strcmp(x->key, y->key);
}

static int by_value(const void *a, const void *b)
{
    return compare_numbers((*(const rec *)a)->value, (*(const rec *)b)->value);
}

static int64_t value_seen(rec r)
{
    return r->kind == HIST_CAS ? r->seen : r->value;
}

static int by_seen(const void *a, const void *b)
{
    return compare_numbers(value_seen(*(const rec *)a), value_seen(*(const rec *)b));
}

static int by_inv(const void *a, const void *b)
{
    return compare_numbers((*(const rec *)a)->inv, (*(const rec *)b)->inv);
}

static int by_ret(const void *a, const void *b)
{
    return compare_numbers((*(const rec *)a)->ret, (*(const rec *)b)->ret);
}

static bool is_write(rec r)
{
    return r->kind == HIST_PUT || r->kind == HIST_CAS;
}

static bool leased_key(rec r)
{
    return r->key[0] == 'l';
}

/* --- the history that the watchers tell --- */
static void gather(struct checker *c)
{
    struct recs all = {0};
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->kind == HIST_EVENT)
            add(&all, r);
        else if (is_write(r) && (r->kind == HIST_PUT || r->outcome != HIST_OK || r->done))
            add(&c->writes, r);
        if (r->outcome == HIST_OK && (r->kind == HIST_GET || r->kind == HIST_SGET || (r->kind == HIST_CAS && !r->done)) &&
            value_seen(r))
            add(&c->seen, r);
    }
    sort(&all, by_key_rev);
    for (size_t i = 0; i < all.n; i++) {
        rec r = all.items[i], last = c->events.n ? c->events.items[c->events.n - 1] : NULL;
        if (!last || by_key_rev(&last, &r) != 0)
            add(&c->events, r);
        else if (last->value != r->value || last->version != r->version)
            accuse(c, RULE_HISTORY, r, "is told otherwise to another watcher");
    }
    free(all.items);
    sort(&c->writes, by_value);
    sort(&c->seen, by_seen);
}

/* What key holds at a revision; NULL before its first event. */
static rec event_at(const struct checker *c, const char *key, int64_t rev)
{
    size_t low = 0, high = c->events.n;
    struct hist_record wanted = {.key = (char *)key, .rev = rev};
    rec w = &wanted;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (by_key_rev(&c->events.items[mid], &w) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    rec r = low ? c->events.items[low - 1] : NULL;
    return r && strcmp(r->key, key) == 0 ? r : NULL;
}

static rec find_value(const struct recs *sorted, int64_t value, int64_t (*of)(rec))
{
    size_t low = 0, high = sorted->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (of(sorted->items[mid]) < value)
            low = mid + 1;
        else
            high = mid;
    }
    return low < sorted->n && of(sorted->items[low]) == value ? sorted->items[low] : NULL;
}

static int64_t value_of(rec r)
{
    return r->value;
}

static rec writer_of(const struct checker *c, int64_t value)
{
    return find_value(&c->writes, value, value_of);
}

static void check_events(struct checker *c)
{
    struct recs by_rev = {0};
    for (size_t i = 0; i < c->events.n; i++) {
        rec r = c->events.items[i], before = event_at(c, r->key, r->rev - 1);
        int64_t version = before && before->value ? before->version : 0;
        if (r->value ? r->version != version + 1 : version == 0)
            accuse(c, RULE_HISTORY, r, "does not follow from the version before");
        add(&by_rev, r);
        c->v->checked[RULE_HISTORY]++;
    }
    sort(&by_rev, by_rev_key);
    int64_t first = INT64_MAX, last = 0;
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->kind == HIST_WATCH && r->rev < first)
            first = r->rev;
        if ((r->kind == HIST_UNTIL || r->kind == HIST_END) && r->rev > last)
            last = r->rev;
    }
    int64_t next = first;
    for (size_t i = 0; i < by_rev.n; i++) {
        int64_t rev = by_rev.items[i]->rev;
        if (rev > next)
            violation(c, RULE_HISTORY, "nobody was told of the revisions %lld to %lld", (long long)next, (long long)rev - 1);
        next = rev + 1;
    }
    if (first != INT64_MAX && next <= last)
        violation(c, RULE_HISTORY, "nobody was told of the revisions %lld to %lld", (long long)next, (long long)last);
    free(by_rev.items);
}

/* --- each watcher --- */
static void check_watcher(struct checker *c, rec start, const struct recs *expected)
{
    struct recs got = {0};
    rec end = NULL, last = NULL;
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->client != start->client)
            continue;
        if (r->kind == HIST_UNTIL)
            end = r;
        if (r->kind == HIST_COMPACTED)
            accuse(c, RULE_WATCH, r, "though nobody compacted so far");
        if (r->kind != HIST_EVENT)
            continue;
        if (last && r->rev < last->rev)
            accuse(c, RULE_WATCH, r, "after a later one");
        last = r;
        add(&got, r);
    }
    if (!end || end->outcome != HIST_OK)
        violation(c, RULE_WATCH, "watcher %lld never came to the end", (long long)start->client);
    int64_t until = end && end->outcome == HIST_OK ? end->rev : last ? last->rev : 0;
    sort(&got, by_rev_key);
    size_t g = 0;
    for (size_t i = 0; i < expected->n; i++) {
        rec want = expected->items[i];
        if (want->rev < start->rev || want->rev > until)
            continue;
        c->v->checked[RULE_WATCH]++;
        while (g < got.n && by_rev_key(&got.items[g], &want) < 0)
            accuse(c, RULE_WATCH, got.items[g++], "is from before the watch began");
        if (g == got.n || by_rev_key(&got.items[g], &want) != 0) {
            char text[512];
            hist_describe(want, text, sizeof(text));
            violation(c, RULE_WATCH, "watcher %lld was not told: %s", (long long)start->client, text);
            continue;
        }
        for (g++; g < got.n && by_rev_key(&got.items[g], &want) == 0; g++)
            accuse(c, RULE_WATCH, got.items[g], "a second time");
    }
    free(got.items);
}

static void check_watchers(struct checker *c)
{
    struct recs by_rev = {0};
    for (size_t i = 0; i < c->events.n; i++)
        add(&by_rev, c->events.items[i]);
    sort(&by_rev, by_rev_key);
    for (size_t i = 0; i < c->h->n; i++)
        if (c->h->records[i].kind == HIST_WATCH)
            check_watcher(c, &c->h->records[i], &by_rev);
    free(by_rev.items);
}

/* --- what clients were told of their changes, and where the history's events come from --- */
static void check_acknowledged(struct checker *c)
{
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        bool write = is_write(r) && (r->kind == HIST_PUT || r->done);
        if (r->outcome != HIST_OK || !(write || (r->kind == HIST_DELETE && r->done)))
            continue;
        c->v->checked[RULE_LOST]++;
        rec e = event_at(c, r->key, r->rev);
        if (!e || e->rev != r->rev || e->value != (write ? r->value : 0))
            accuse(c, RULE_LOST, r, "is acknowledged, but not in the history");
    }
}

/* Who deleted? Acknowledged deletions name their revision. Others are explained by the lease of what was deleted, or each by one
 * deletion of that key of which nobody knows whether it happened. */
static void check_deletes(struct checker *c)
{
    struct recs acked = {0}, unknown = {0};
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->kind == HIST_DELETE && r->outcome == HIST_UNKNOWN)
            add(&unknown, r);
        else if (r->kind == HIST_DELETE && r->outcome == HIST_OK && r->done)
            add(&acked, r);
    }
    sort(&acked, by_key_rev);
    for (size_t i = 1; i < acked.n; i++)
        if (by_key_rev(&acked.items[i - 1], &acked.items[i]) == 0)
            accuse(c, RULE_APPLIED, acked.items[i], "was also another client's");
    for (size_t i = 0; i < c->events.n; i++) {
        rec e = c->events.items[i];
        if (e->value)
            continue;
        c->v->checked[RULE_APPLIED]++;
        if (acked.n && bsearch(&e, acked.items, acked.n, sizeof(rec), by_key_rev))
            continue;
        rec before = event_at(c, e->key, e->rev - 1), writer = before ? writer_of(c, before->value) : NULL;
        if (writer && writer->lease)
            continue;
        size_t k = 0;
        while (k < unknown.n && (!unknown.items[k] || strcmp(unknown.items[k]->key, e->key) != 0))
            k++;
        if (k < unknown.n)
            unknown.items[k] = NULL;
        else
            accuse(c, RULE_APPLIED, e, "was deleted by nobody");
    }
    free(acked.items);
    free(unknown.items);
}

static void check_applied(struct checker *c)
{
    struct recs puts = {0};
    for (size_t i = 0; i < c->events.n; i++)
        if (c->events.items[i]->value)
            add(&puts, c->events.items[i]);
    sort(&puts, by_value);
    for (size_t i = 0; i < puts.n; i++) {
        rec e = puts.items[i], w = writer_of(c, e->value);
        c->v->checked[RULE_APPLIED]++;
        if (i && puts.items[i - 1]->value == e->value)
            accuse(c, RULE_APPLIED, e, "is applied twice");
        if (!w || strcmp(w->key, e->key) != 0)
            accuse(c, RULE_APPLIED, e, "was written by nobody");
        else if (w->outcome == HIST_FAIL)
            accuse(c, RULE_APPLIED, w, "was refused, but is in the history");
    }
    free(puts.items);
    for (size_t i = 1; i < c->seen.n; i++)
        if (value_seen(c->seen.items[i - 1]) == value_seen(c->seen.items[i]) && c->seen.items[i - 1]->mod != c->seen.items[i]->mod)
            accuse(c, RULE_APPLIED, c->seen.items[i], "sees a value that was seen with another revision");
    check_deletes(c);
}

/* --- revisions and real time --- */
struct stamp {
    int64_t inv, ret, rev;
    bool change;
    rec r;
};

static int stamp_by_inv(const void *a, const void *b)
{
    return compare_numbers(((const struct stamp *)a)->inv, ((const struct stamp *)b)->inv);
}

static void check_order(struct checker *c)
{
    struct stamp *begun = mem_alloc((c->h->n + 1) * sizeof(*begun));
    struct recs returned = {0};
    size_t n = 0;
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->kind > HIST_DELETE || r->kind == HIST_SGET || r->outcome == HIST_FAIL)
            continue;
        bool change = r->kind == HIST_PUT || (r->kind != HIST_GET && r->done);
        if (r->outcome == HIST_OK) {
            begun[n++] = (struct stamp){r->inv, r->ret, r->rev, change, r};
            add(&returned, r);
            continue;
        }
        /* It may have happened after all: the history tells when. */
        for (size_t k = 0; is_write(r) && k < c->events.n; k++)
            if (c->events.items[k]->value == r->value) {
                begun[n++] = (struct stamp){r->inv, INT64_MAX, c->events.items[k]->rev, true, r};
                break;
            }
    }
    qsort(begun, n, sizeof(*begun), stamp_by_inv);
    sort(&returned, by_ret);
    rec highest = NULL;
    for (size_t i = 0, k = 0; i < n; i++) {
        for (; k < returned.n && returned.items[k]->ret < begun[i].inv; k++)
            if (!highest || returned.items[k]->rev > highest->rev)
                highest = returned.items[k];
        c->v->checked[RULE_ORDER]++;
        if (!highest || begun[i].rev > highest->rev || (begun[i].rev == highest->rev && !begun[i].change))
            continue;
        char later[512], earlier[512];
        hist_describe(begun[i].r, later, sizeof(later));
        hist_describe(highest, earlier, sizeof(earlier));
        violation(c, RULE_ORDER, "%s has revision %lld, though %s had returned before", later, (long long)begun[i].rev, earlier);
    }
    /* One revision is one transaction's. */
    struct recs changes = {0};
    for (size_t i = 0; i < n; i++)
        if (begun[i].change && begun[i].ret != INT64_MAX)
            add(&changes, begun[i].r);
    sort(&changes, by_rev_key);
    for (size_t i = 1; i < changes.n; i++)
        if (changes.items[i]->rev == changes.items[i - 1]->rev && changes.items[i]->op != changes.items[i - 1]->op)
            accuse(c, RULE_ORDER, changes.items[i], "shares its revision with another transaction");
    free(changes.items);
    free(returned.items);
    free(begun);
}

/* --- answers --- */
static bool is_at(const struct checker *c, rec r, int64_t rev, int64_t value)
{
    rec e = event_at(c, r->key, rev);
    if (!e || !e->value)
        return value == 0;
    return value == e->value && r->mod == e->rev && r->version == e->version;
}

static void check_answers(struct checker *c)
{
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->outcome != HIST_OK || r->kind > HIST_DELETE || r->kind == HIST_PUT)
            continue;
        c->v->checked[RULE_READ]++;
        rec before = event_at(c, r->key, r->done ? r->rev - 1 : r->rev);
        int64_t mod = before && before->value ? before->rev : 0;
        if ((r->kind == HIST_GET || r->kind == HIST_SGET) && !is_at(c, r, r->rev, r->value))
            accuse(c, RULE_READ, r, "is not what was there at that revision");
        else if (r->kind == HIST_CAS && r->done != (mod == r->expect))
            accuse(c, RULE_READ, r, "compared with something that was not there");
        else if (r->kind == HIST_CAS && !r->done && !is_at(c, r, r->rev, r->seen))
            accuse(c, RULE_READ, r, "shows something that was not there");
        else if (r->kind == HIST_DELETE && r->done != (mod != 0))
            accuse(c, RULE_READ, r, r->done ? "deleted what was not there" : "did not see what was there");
    }
}

static void check_serializable(struct checker *c)
{
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->kind != HIST_SGET || r->outcome != HIST_OK)
            continue;
        c->v->checked[RULE_SERIALIZABLE]++;
        /* A client has few reads on a connection, and they stand near each other. */
        for (size_t k = i; k-- > 0 && i - k < 2000;) {
            rec p = &c->h->records[k];
            if (p->kind != HIST_SGET || p->outcome != HIST_OK || p->client != r->client || p->member != r->member ||
                p->conn != r->conn)
                continue;
            if (p->rev > r->rev)
                accuse(c, RULE_SERIALIZABLE, r, "is older than what the same connection read before");
            break;
        }
    }
}

/* --- linearizability, key by key --- */
static int64_t mod_of(void *data, int64_t value)
{
    rec r = find_value(&((struct checker *)data)->seen, value, value_seen);
    return r ? r->mod : 0;
}

static int by_key_inv(const void *a, const void *b)
{
    int d = strcmp((*(const rec *)a)->key, (*(const rec *)b)->key);
    return d ? d : by_inv(a, b);
}

static void check_linear(struct checker *c)
{
    struct recs ops = {0};
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        /* Leased keys are deleted by no client: they have rules of their own. */
        if (r->kind <= HIST_DELETE && r->kind != HIST_SGET && r->outcome != HIST_FAIL &&
            (r->kind != HIST_GET || r->outcome == HIST_OK) && !leased_key(r))
            add(&ops, r);
    }
    sort(&ops, by_key_inv);
    for (size_t from = 0, to; from < ops.n; from = to) {
        for (to = from + 1; to < ops.n && strcmp(ops.items[to]->key, ops.items[from]->key) == 0;)
            to++;
        c->v->checked[RULE_LINEAR]++;
        rec stuck = NULL;
        enum linear_result result = linear_check(ops.items + from, to - from, mod_of, c, &stuck);
        if (result == LINEAR_NO)
            accuse(c, RULE_LINEAR, stuck, "fits into no order of this key's operations");
        else if (result == LINEAR_GAVE_UP)
            violation(c, RULE_LINEAR, "key %s: too many operations at once to decide", ops.items[from]->key);
    }
    free(ops.items);
}

/* --- leases --- */
/* Until when a lease certainly lives: each renewal that was answered found it alive after its call and gave it its whole time. */
static int64_t alive_until(const struct checker *c, int64_t lease, bool *revoked)
{
    int64_t until = 0;
    *revoked = false;
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->lease != lease)
            continue;
        if (r->kind == HIST_REVOKE && r->outcome != HIST_FAIL)
            *revoked = true;
        if ((r->kind == HIST_GRANT || r->kind == HIST_KEEPALIVE) && r->outcome == HIST_OK && r->inv + r->ttl * SECOND > until)
            until = r->inv + r->ttl * SECOND;
    }
    return until;
}

static void check_lease(struct checker *c, rec put)
{
    bool revoked;
    int64_t until = alive_until(c, put->lease, &revoked);
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (revoked)
            break;
        bool gone = r->kind == HIST_GET && r->outcome == HIST_OK && !r->value && strcmp(r->key, put->key) == 0 && r->inv >= put->ret;
        bool dead = r->kind == HIST_KEEPALIVE && r->lease == put->lease && r->outcome == HIST_FAIL;
        if (!gone && !dead)
            continue;
        c->v->checked[RULE_LEASE_EARLY]++;
        if (r->ret < until - CLOCK_MS)
            accuse(c, RULE_LEASE_EARLY, r, gone ? "finds no key, though its lease lives" : "finds no lease, though it lives");
    }
}

static void check_leases(struct checker *c)
{
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->kind == HIST_PUT && r->lease && r->outcome == HIST_OK)
            check_lease(c, r);
        if (r->kind == HIST_PUT && r->lease)
            c->v->checked[RULE_LEASE_LATE]++;
        if (r->kind == HIST_FINAL && r->lease)
            accuse(c, RULE_LEASE_LATE, r, "outlives its lease");
    }
}

/* --- in the end --- */
static void check_member(struct checker *c, rec end)
{
    size_t present = 0, listed = 0;
    for (size_t i = 0; i < c->h->n; i++) {
        rec r = &c->h->records[i];
        if (r->kind != HIST_FINAL || r->member != end->member)
            continue;
        listed++;
        c->v->checked[RULE_FINAL]++;
        if (!is_at(c, r, end->rev, r->value))
            accuse(c, RULE_FINAL, r, "is not what the history ends with");
    }
    for (size_t i = 0; i < c->events.n; i++) {
        rec e = c->events.items[i];
        present += e->value && e->rev <= end->rev && event_at(c, e->key, end->rev) == e;
    }
    if (present != listed)
        violation(c, RULE_FINAL, "member %lld holds %zu keys at revision %lld, the history has %zu", (long long)end->member, listed,
                  (long long)end->rev, present);
}

void check_history(const struct history *h, struct verdict *v)
{
    struct checker c = {.h = h, .v = v};
    *v = (struct verdict){0};
    gather(&c);
    check_events(&c);
    check_watchers(&c);
    check_acknowledged(&c);
    check_applied(&c);
    check_order(&c);
    check_answers(&c);
    check_serializable(&c);
    check_linear(&c);
    check_leases(&c);
    for (size_t i = 0; i < h->n; i++)
        if (h->records[i].kind == HIST_END)
            check_member(&c, &h->records[i]);
    free(c.events.items);
    free(c.writes.items);
    free(c.seen.items);
}

void verdict_clear(struct verdict *v)
{
    for (size_t r = 0; r < RULES; r++)
        for (size_t i = 0; i < RULE_MESSAGES; i++)
            free(v->messages[r][i]);
    *v = (struct verdict){0};
}
