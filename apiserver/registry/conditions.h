/* status.conditions, where the server itself sets one. */
#pragma once
#include <cjson/cJSON.h>

/* Sets a condition of the object; lastTransitionTime changes with the status alone. reason and
 * message may be NULL. Gives the condition (the object's). */
cJSON *condition_set(cJSON *object, const char *type, const char *status, const char *reason,
                     const char *message);
