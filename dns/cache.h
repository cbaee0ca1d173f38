/* What other servers answered. One thread's own. */
#pragma once
#include "dns/message.h"

/* An answer, without OPT, ready to be sent again with other numbers in it. */
struct cached;
/* An answer from outside: NULL if it does not fit the question (or is malformed). One reference is
 * the caller's. *truncated: TC is set, ask again over TCP. */
struct cached *cached_new(const struct dns_query *q, uint16_t id, const uint8_t *wire, size_t len,
                          uint32_t max_ttl, int64_t now_ms, bool *truncated);
void cached_unref(struct cached *c);
int cached_rcode(const struct cached *c);
/* The whole answer to q (the same question, perhaps in other letters). Returns its length; with TC
 * and without records if it is longer than the limit. */
size_t cached_write(const struct cached *c, const struct dns_query *q, uint8_t *wire, size_t limit,
                    int64_t now_ms);
/* Appends its answers: what a CNAME in w led to. */
void cached_append(const struct cached *c, struct dns_writer *w, int64_t now_ms);

struct cache;
struct cache *cache_new(void);
void cache_free(struct cache *c);
/* Borrowed until the next cache_put; NULL when there is none that is still good. */
struct cached *cache_get(struct cache *c, const struct dns_query *q, int64_t now_ms);
/* Keeps a reference for as long as its records live; not at all if that is no time. */
void cache_put(struct cache *c, struct cached *answer, int64_t now_ms);
/* The same question? Names in lower case, and the flags that change an answer. */
bool cache_same_question(const struct dns_query *a, const struct dns_query *b);
uint32_t cache_hash(const struct dns_query *q);
