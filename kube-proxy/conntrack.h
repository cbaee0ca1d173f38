/* Forgets UDP flows that go where they should not go any more. */
#pragma once
#include "common/error.h"
#include "kube-proxy/rules.h"

/* Deletes the connection tracking entries of these frontends, all of one family, that lead to none
 * of their endpoints. Returns how many, or -1. */
int conntrack_clean(int family, const struct rules_udp *frontends, size_t count,
                    struct error **err);
