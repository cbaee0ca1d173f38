#include "tests/chaos/store/linear.h"
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

#define MAX_STEPS 20000000

struct state {
    int64_t value, mod, version; /* all 0: absent */
};

/* A call or a return, in the list of what is not placed yet, in order of time. */
struct entry {
    struct entry *prev, *next;
    struct entry *partner; /* of a call: its return; NULL in a return */
    size_t op;
    int64_t time;
};

struct placed {
    struct entry *call;
    struct state before;
};

struct search {
    const struct hist_record *const *ops;
    size_t n, words;
    int64_t (*mod_of)(void *data, int64_t value);
    void *data;
    uint64_t *set; /* the operations placed */
    /* Hash table of configurations: words of the set, then the state. */
    uint64_t **seen;
    size_t n_seen, cap_seen;
};

/* --- the model: what an operation does to a key, and whether its answer is right --- */
static struct state written(const struct search *s, const struct hist_record *r, struct state before)
{
    int64_t mod = r->outcome == HIST_OK ? r->rev : s->mod_of(s->data, r->value);
    /* A value that nobody ever saw has a revision that nobody can have compared with. */
    return (struct state){r->value, mod ? mod : -1, before.version + 1};
}

static bool step(const struct search *s, const struct hist_record *r, struct state before, struct state *after)
{
    bool ok = r->outcome == HIST_OK;
    *after = before;
    switch (r->kind) {
    case HIST_PUT:
        *after = written(s, r, before);
        return true;
    case HIST_GET:
        return !ok || (r->value == before.value && r->mod == before.mod && r->version == before.version);
    case HIST_CAS:
        if (!ok || r->done) {
            if (before.mod == r->expect)
                *after = written(s, r, before);
            return !ok || before.mod == r->expect;
        }
        return before.mod != r->expect && r->seen == before.value && r->mod == before.mod && r->version == before.version;
    case HIST_DELETE:
        *after = (struct state){0};
        return !ok || r->done == (before.value != 0);
    default:
        return true;
    }
}

/* --- configurations already tried --- */
static uint64_t hash(const uint64_t *words, size_t n)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ words[i]) * 1099511628211u;
        h ^= h >> 29;
    }
    return h;
}

static void insert(uint64_t **table, size_t cap, uint64_t *words, size_t n)
{
    size_t i = hash(words, n) & (cap - 1);
    while (table[i])
        i = (i + 1) & (cap - 1);
    table[i] = words;
}

/* False if it was there. */
static bool remember(struct search *s, const struct state *state)
{
    size_t n = s->words + 3;
    uint64_t *words = mem_alloc(n * sizeof(*words));
    memcpy(words, s->set, s->words * sizeof(*words));
    memcpy(words + s->words, state, 3 * sizeof(*words));
    for (size_t i = hash(words, n) & (s->cap_seen - 1); s->seen[i]; i = (i + 1) & (s->cap_seen - 1))
        if (memcmp(s->seen[i], words, n * sizeof(*words)) == 0) {
            free(words);
            return false;
        }
    if (s->n_seen * 2 >= s->cap_seen) {
        size_t cap = s->cap_seen * 2;
        uint64_t **bigger = mem_alloc(cap * sizeof(*bigger));
        for (size_t i = 0; i < s->cap_seen; i++)
            if (s->seen[i])
                insert(bigger, cap, s->seen[i], n);
        free(s->seen);
        s->seen = bigger;
        s->cap_seen = cap;
    }
    insert(s->seen, s->cap_seen, words, n);
    s->n_seen++;
    return true;
}

/* --- the list --- */
static void lift(struct entry *call)
{
    struct entry *both[] = {call, call->partner};
    for (size_t i = 0; i < 2; i++) {
        both[i]->prev->next = both[i]->next;
        if (both[i]->next)
            both[i]->next->prev = both[i]->prev;
    }
}

static void put_back(struct entry *call)
{
    struct entry *both[] = {call->partner, call};
    for (size_t i = 0; i < 2; i++) {
        both[i]->prev->next = both[i];
        if (both[i]->next)
            both[i]->next->prev = both[i];
    }
}

/* Calls before returns of the same instant: they may have overlapped. */
static int by_time(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return (x->partner == NULL) - (y->partner == NULL);
}

/* entries[0] is the head. A call is told from a return by its partner, which is set after sorting. */
static struct entry *make_list(const struct search *s)
{
    struct entry *e = mem_alloc((2 * s->n + 1) * sizeof(*e));
    struct entry **calls = mem_alloc((s->n + 1) * sizeof(*calls));
    for (size_t i = 0; i < s->n; i++) {
        e[1 + 2 * i] = (struct entry){.op = i, .time = s->ops[i]->inv, .partner = e};
        e[2 + 2 * i] = (struct entry){.op = i, .time = s->ops[i]->outcome == HIST_OK ? s->ops[i]->ret : INT64_MAX};
    }
    qsort(e + 1, 2 * s->n, sizeof(*e), by_time);
    for (size_t i = 1; i <= 2 * s->n; i++) {
        e[i - 1].next = &e[i];
        e[i].prev = &e[i - 1];
        if (e[i].partner)
            calls[e[i].op] = &e[i];
        else
            calls[e[i].op]->partner = &e[i];
    }
    free(calls);
    return e;
}

enum linear_result linear_check(const struct hist_record *const *ops, size_t n, int64_t (*mod_of)(void *data, int64_t value),
                                void *data, const struct hist_record **stuck)
{
    struct search s = {.ops = ops, .n = n, .words = (n + 63) / 64, .mod_of = mod_of, .data = data, .cap_seen = 1024};
    s.set = mem_alloc((s.words + 1) * sizeof(uint64_t));
    s.seen = mem_alloc(s.cap_seen * sizeof(*s.seen));
    struct entry *list = make_list(&s), *e = list->next;
    struct placed *stack = mem_alloc((n + 1) * sizeof(*stack));
    size_t depth = 0, deepest = 0, steps = 0;
    struct state state = {0};
    enum linear_result result = LINEAR_YES;
    while (list->next) {
        if (++steps > MAX_STEPS) {
            result = LINEAR_GAVE_UP;
            break;
        }
        if (e->partner) {
            struct state after;
            if (step(&s, ops[e->op], state, &after)) {
                s.set[e->op / 64] |= 1ull << e->op % 64;
                if (remember(&s, &after)) {
                    stack[depth++] = (struct placed){e, state};
                    state = after;
                    lift(e);
                    e = list->next;
                    continue;
                }
                s.set[e->op / 64] &= ~(1ull << e->op % 64);
            }
            e = e->next;
            continue;
        }
        /* An operation that returned here could not be placed before: something placed earlier was wrong. */
        if (depth >= deepest) {
            deepest = depth;
            *stuck = ops[e->op];
        }
        if (depth == 0) {
            result = LINEAR_NO;
            break;
        }
        struct placed *last = &stack[--depth];
        state = last->before;
        s.set[last->call->op / 64] &= ~(1ull << last->call->op % 64);
        put_back(last->call);
        e = last->call->next;
    }
    for (size_t i = 0; i < s.cap_seen; i++)
        free(s.seen[i]);
    free(s.seen);
    free(s.set);
    free(list);
    free(stack);
    return result;
}
