/* Forgets UDP flows that go where they should not go any more. */
#pragma once
#include "common/error.h"
#include "kube-proxy/rules.h"

/* Deletes the connection tracking entries of these frontends that lead to none of their endpoints. Returns
 * how many, or -1. */
int conntrack_clean(const struct rules_udp *frontends, size_t count, struct error **err);
