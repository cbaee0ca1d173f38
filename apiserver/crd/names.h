/* Which of the names that a definition asks for it may have: within a group, each belongs to one
 * resource. */
#pragma once
#include <cjson/cJSON.h>

struct names_verdict {
    const char *reason; /* "KindConflict", ...; NULL: all are accepted */
    char *message;
    cJSON *accepted; /* what status.acceptedNames becomes */
};
/* all: every definition there is. Whose names were accepted keeps them; among others the older one
 * gets them, so that all servers judge alike. */
struct names_verdict names_judge(const cJSON *crd, const cJSON *all);
void names_verdict_clear(struct names_verdict *v);
#define cleanup_names_verdict __attribute__((cleanup(names_verdict_clear)))
