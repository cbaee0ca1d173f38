#include "tests/chaos/store/history.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

static const char *const kinds[HIST_KINDS] = {
    "put",    "get",   "sget",  "cas",       "delete", "grant", "keepalive",
    "revoke", "watch", "event", "compacted", "until",  "final", "end",
};
static const char *const outcomes[] = {"ok", "fail", "unknown"};

static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
    {"op", offsetof(struct hist_record, op)},         {"client", offsetof(struct hist_record, client)},
    {"member", offsetof(struct hist_record, member)}, {"conn", offsetof(struct hist_record, conn)},
    {"inv", offsetof(struct hist_record, inv)},       {"ret", offsetof(struct hist_record, ret)},
    {"value", offsetof(struct hist_record, value)},   {"rev", offsetof(struct hist_record, rev)},
    {"mod", offsetof(struct hist_record, mod)},       {"version", offsetof(struct hist_record, version)},
    {"expect", offsetof(struct hist_record, expect)}, {"seen", offsetof(struct hist_record, seen)},
    {"ttl", offsetof(struct hist_record, ttl)},
};

static int64_t *number(const struct hist_record *r, size_t i)
{
    return (int64_t *)((char *)r + numbers[i].offset);
}

void history_add(struct history *h, const struct hist_record *r)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 1024;
        h->records = mem_realloc(h->records, h->cap * sizeof(*h->records));
    }
    h->records[h->n] = *r;
    h->records[h->n++].key = mem_strdup(r->key);
}

void history_clear(struct history *h)
{
    for (size_t i = 0; i < h->n; i++)
        free(h->records[i].key);
    free(h->records);
    *h = (struct history){0};
}

void hist_print(const struct hist_record *r, FILE *f)
{
    fprintf(f, "{\"kind\":\"%s\",\"outcome\":\"%s\"", kinds[r->kind], outcomes[r->outcome]);
    if (r->key)
        fprintf(f, ",\"key\":\"%s\"", r->key); /* keys are made of letters, digits and slashes */
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (*number(r, i))
            fprintf(f, ",\"%s\":%lld", numbers[i].name, (long long)*number(r, i));
    /* A lease's number has more digits than a JSON number keeps. */
    if (r->lease)
        fprintf(f, ",\"lease\":\"%lld\"", (long long)r->lease);
    fprintf(f, "%s}\n", r->done ? ",\"done\":true" : "");
}

static int find(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; name && i < n; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

static bool parse(const char *line, size_t len, struct history *h, struct error **err)
{
    cleanup_json cJSON *j = json_parse(line, len, err);
    if (!j)
        return false;
    int kind = find(kinds, ARRAY_LEN(kinds), json_str(j, "kind"));
    int outcome = find(outcomes, ARRAY_LEN(outcomes), json_str_or(j, "outcome", "ok"));
    if (kind < 0 || outcome < 0) {
        error_setf(err, "unknown kind or outcome");
        return false;
    }
    struct hist_record r = {.kind = (enum hist_kind)kind, .outcome = (enum hist_outcome)outcome};
    r.key = (char *)json_str(j, "key");
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        *number(&r, i) = json_int(j, numbers[i].name, 0);
    r.lease = strtoll(json_str_or(j, "lease", "0"), NULL, 10);
    r.done = json_bool(j, "done", false);
    if (!r.key && (kind <= HIST_DELETE || kind == HIST_EVENT || kind == HIST_FINAL)) {
        error_setf(err, "a %s needs a key", kinds[kind]);
        return false;
    }
    history_add(h, &r);
    return true;
}

bool history_read(struct history *h, FILE *f, struct error **err)
{
    cleanup_free char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    for (size_t n = 1; (len = getline(&line, &cap, f)) > 0; n++) {
        if (line[0] == '\n')
            continue;
        if (!parse(line, (size_t)len, h, err)) {
            error_wrap(err, "line %zu", n);
            return false;
        }
    }
    return true;
}

void hist_describe(const struct hist_record *r, char *out, size_t size)
{
    int n = snprintf(out, size, "%s %s (client %lld, member %lld, %.3f..%.3f s, %s):", kinds[r->kind], r->key ? r->key : "",
                     (long long)r->client, (long long)r->member, (double)r->inv / 1e6, (double)r->ret / 1e6, outcomes[r->outcome]);
    for (size_t i = 6; i < ARRAY_LEN(numbers) && n > 0 && (size_t)n < size; i++)
        if (*number(r, i))
            n += snprintf(out + n, size - (size_t)n, " %s=%lld", numbers[i].name, (long long)*number(r, i));
    if (r->lease && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, " lease=%lld", (long long)r->lease);
    if (n > 0 && (size_t)n < size && (r->kind == HIST_CAS || r->kind == HIST_DELETE))
        snprintf(out + n, size - (size_t)n, r->done ? " done" : " not done");
}
