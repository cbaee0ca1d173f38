/* Between services.c and service_alloc.c. */
#pragma once
#include <stdbool.h>
#include "apiserver/registry/registry.h"

bool service_needs_ip(const cJSON *service); /* also true for headless ones */
bool service_needs_node_ports(const cJSON *service);
bool service_needs_health_port(const cJSON *service);
bool service_headless(const cJSON *service);
/* "IPv4" or "IPv6": the family of the first or second range of Services' addresses; NULL: there is no such range. */
const char *service_range_family(int index);
