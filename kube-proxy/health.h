/* Health-check node ports: one HTTP port for each Service of type LoadBalancer with
 * externalTrafficPolicy Local, where load balancers ask whether this node has endpoints. Used by
 * one thread. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct health_checks;
struct health_checks *health_checks_new(void);
void health_checks_free(struct health_checks *h);
/* service: "namespace/name"; port 0: it has none (any more). A port that cannot be opened is told
 * in the log and tried again at the next call. */
void health_checks_set(struct health_checks *h, const char *service, uint16_t port,
                       size_t local_endpoints);
