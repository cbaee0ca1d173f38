/* Keeps the zone as the API has it: Services, EndpointSlices, Namespaces, and Pods if they are
 * asked for. */
#pragma once
#include <stdbool.h>
#include "common/kube_client.h"
#include "dns/zone.h"

struct watch;
struct watch *watch_start(struct kube_client *client, struct zone *zone, bool pods);
bool watch_synced(struct watch *w); /* any thread: the zone has all that the first lists gave */
void watch_stop(struct watch *w);
