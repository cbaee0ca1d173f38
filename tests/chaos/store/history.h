/* What clients saw of the store: one record an operation, event or final value, kept as a line of JSON.
 *
 * Times are microseconds of CLOCK_MONOTONIC. Values written are numbers, each written once in a whole run, so that what is read
 * tells who wrote it; 0 means "no value" (the key is absent, or deleted). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "common/error.h"

enum hist_kind {
    HIST_PUT,       /* key := value, with lease */
    HIST_GET,       /* linearizable: value, mod, version */
    HIST_SGET,      /* serializable; on one connection (client, conn) to one member */
    HIST_CAS,       /* key := value if its mod revision is `expect`; else (not `done`) what was found: seen, mod, version */
    HIST_DELETE,    /* deleted, if `done` */
    HIST_GRANT,     /* lease, ttl */
    HIST_KEEPALIVE, /* lease; ok: it was alive and has all of its ttl again */
    HIST_REVOKE,    /* lease */
    HIST_WATCH,     /* watcher `client` begins at revision rev */
    HIST_EVENT,     /* watcher `client` was told: at rev, key := value (0: deleted), version */
    HIST_COMPACTED, /* watcher `client` was told that its revisions are compacted */
    HIST_UNTIL,     /* watcher `client` ends; it must have seen everything up to rev; not ok: it waited in vain */
    HIST_FINAL,     /* afterwards `member` holds this key: value, mod, version, lease; as of rev */
    HIST_END,       /* afterwards `member` holds nothing else; as of rev */
    HIST_KINDS
};

enum hist_outcome { HIST_OK, HIST_FAIL /* certainly had no effect */, HIST_UNKNOWN /* had, will have or never has */ };

struct hist_record {
    enum hist_kind kind;
    enum hist_outcome outcome;
    int64_t op; /* records of one request (a transaction) share it */
    int64_t client, member, conn;
    int64_t inv, ret;
    char *key;
    int64_t value, rev, mod, version, expect, seen;
    int64_t lease, ttl;
    bool done;
};

struct history {
    struct hist_record *records;
    size_t n, cap;
};

void history_add(struct history *h, const struct hist_record *r); /* copies the key */
void history_clear(struct history *h);
void hist_print(const struct hist_record *r, FILE *f); /* one line */
/* Reads all lines of f; false at the first that is no record. */
bool history_read(struct history *h, FILE *f, struct error **err);
/* Text for people. */
void hist_describe(const struct hist_record *r, char *out, size_t size);
