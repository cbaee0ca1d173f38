/* Judges a history by what the store promises. The watchers' events together are taken as the store's history (each watcher is held
 * against all others), what clients were told is held against it; and apart from it each key is searched for an order of its
 * operations that is linearizable. */
#pragma once
#include "tests/chaos/store/history.h"

enum rule {
    RULE_WATCH,
    RULE_HISTORY,
    RULE_LOST,
    RULE_APPLIED,
    RULE_ORDER,
    RULE_READ,
    RULE_SERIALIZABLE,
    RULE_LINEAR,
    RULE_LEASE_EARLY,
    RULE_LEASE_LATE,
    RULE_FINAL,
    RULES
};
#define RULE_MESSAGES 5

struct verdict {
    size_t checked[RULES], violated[RULES];
    char *messages[RULES][RULE_MESSAGES]; /* of the first violations */
};

const char *rule_name(enum rule r);
void check_history(const struct history *h, struct verdict *v);
void verdict_clear(struct verdict *v);
