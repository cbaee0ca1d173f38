/* Setting what is absent. Inside apiserver/schema/. An empty string and a null count as absent. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

/* The member, or NULL when it is absent in this sense. */
cJSON *default_get(const cJSON *o, const char *name);
const char *default_text(const cJSON *o, const char *name); /* "" when absent */
/* Each does nothing when o is NULL. */
void default_string(cJSON *o, const char *name, const char *value);
void default_int(cJSON *o, const char *name, int64_t value);
void default_bool(cJSON *o, const char *name, bool value);
/* The object, made if absent; NULL when o is NULL or something else stands there. */
cJSON *default_object(cJSON *o, const char *name);
void default_pvc_spec(cJSON *spec);

#define EACH(element, list)                                                                                  \
    for (cJSON *element = (list) ? (list)->child : NULL; element; element = element->next)
