/* Before a member starts: asking those that run who belongs to the cluster. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"
#include "etcd-lite/api.h"

struct join_tls {
    const char *cert_file, *key_file, *ca_file;
};
/* Asks all URLs (NULL-terminated) at once, and calls `found` with each answer until it returns
 * true, or all have answered or failed, or the time is over. Returns what the last call of found
 * did; false and an error when TLS cannot be set up. */
bool join_ask(const struct join_tls *tls, char *const *urls, unsigned timeout_ms,
              bool (*found)(void *userdata, const struct member_list_response *answer),
              void *userdata, struct error **err);
