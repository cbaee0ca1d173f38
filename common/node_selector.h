/* Node selectors, as pods' node affinity and volumes have them.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>

/* A NodeSelector on a node's labels and name. NULL selects every node. */
bool node_selector_matches(const cJSON *selector, const cJSON *labels, const char *name);
/* One of its terms: all expressions must hold; an empty term selects nothing. */
bool node_selector_term_matches(const cJSON *term, const cJSON *labels, const char *name);
