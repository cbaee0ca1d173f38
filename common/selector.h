/* Label and field selectors.
 * https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "common/error.h"

struct label_selector; /* parsed, immutable, may be shared by threads */

/* From the query form: "app=web,tier in (a,b),!x,n>3". NULL or "" selects everything.
 * On malformed input: NULL and error 400 BadRequest. Free with label_selector_free. */
struct label_selector *label_selector_parse(const char *text, struct error **err);
/* From a metav1.LabelSelector (matchLabels, matchExpressions). NULL json selects nothing; {} selects
 * everything. */
struct label_selector *label_selector_from_json(const cJSON *selector, struct error **err);
/* From a plain map as in Service.spec.selector. NULL or empty selects everything. */
struct label_selector *label_selector_from_map(const cJSON *map);
/* labels: the object's metadata.labels map; NULL is the empty set. */
bool label_selector_matches(const struct label_selector *s, const cJSON *labels);
/* The same over a flat array {key, value, key, value, ..., NULL}. */
bool label_selector_matches_flat(const struct label_selector *s, const char *const *labels);
bool label_selector_empty(const struct label_selector *s); /* selects everything */
/* The query form, caller frees. */
char *label_selector_text(const struct label_selector *s);
void label_selector_free(struct label_selector *s);

/* Field selectors: "metadata.name=x,status.phase!=Running". Terms joined by AND. */
struct field_selector_term {
    char *field;
    char *value;
    bool equals; /* false for != */
};
struct field_selector {
    struct field_selector_term *terms;
    int count;
};
bool field_selector_parse(const char *text, struct field_selector *out, struct error **err);
void field_selector_clear(struct field_selector *s);
