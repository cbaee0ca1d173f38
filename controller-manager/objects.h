/* What several controllers need to know of API objects: metadata, ownership, pods, conditions,
 * taints. No state, no requests. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/informer.h"
#include "common/selector.h"

/* --- metadata; all strings are the object's --- */
const char *meta_name(const cJSON *o);
const char *meta_ns(const cJSON *o); /* "" if none */
const char *meta_uid(const cJSON *o);
const char *meta_annotation(const cJSON *o, const char *key); /* NULL when absent */
void meta_set_annotation(cJSON *o, const char *key, const char *value);
void map_remove(cJSON *map, const char *key); /* key taken literally; NULL map is fine */
const cJSON *meta_labels(const cJSON *o);
int64_t meta_created(const cJSON *o); /* seconds; 0 when absent */
bool meta_deleting(const cJSON *o);   /* has a deletionTimestamp */
bool meta_has_finalizer(const cJSON *o, const char *finalizer);
int64_t meta_generation(const cJSON *o);
unsigned long long meta_version(const cJSON *o); /* resourceVersion as a number */
/* Seconds since 1970 of an RFC 3339 string at a path; otherwise when absent or malformed. */
int64_t json_time(const cJSON *o, const char *dotted, int64_t otherwise);
/* The present as metav1.Time. */
char *time_now_text(char out[40]);

/* --- ownership --- */
const cJSON *controller_ref(const cJSON *o); /* the ownerReference with controller: true, or NULL */
const char *controller_uid(const cJSON *o);  /* its uid, or NULL */
/* A new reference: controller and blockOwnerDeletion are true. */
cJSON *controller_ref_new(const char *api_version, const char *kind, const cJSON *owner);
/* Index "controller": the controlling owner's uid; orphans are under orphan_index_value(). */
void index_controller(const cJSON *object, void (*add)(void *, const char *), void *ctx);
char *orphan_index_value(const char *ns); /* caller frees */

/* --- conditions (status.conditions) --- */
cJSON *condition_find(const cJSON *conditions, const char *type);
bool condition_is(const cJSON *o, const char *type,
                  const char *status); /* of the object's status.conditions */
/* Sets a condition of an object's list; lastTransitionTime changes only with the status. reason and
 * message may be NULL for none. True if anything changed. */
bool condition_set(cJSON *conditions, const char *type, const char *status, const char *reason,
                   const char *message);

/* --- pods --- */
const char *pod_phase(const cJSON *pod);
bool pod_terminal(const cJSON *pod); /* Succeeded or Failed */
bool pod_active(const cJSON *pod);   /* neither terminal nor being deleted */
bool pod_ready(const cJSON *pod);
/* Ready for at least min_ready_seconds. */
bool pod_available(const cJSON *pod, int64_t min_ready_seconds, int64_t now);
/* Seconds until it is available; -1 when it is not ready, 0 when available already. */
int64_t pod_available_in(const cJSON *pod, int64_t min_ready_seconds, int64_t now);
/* A pod from a template (spec.template of owner), with generateName, labels, annotations and
 * controller reference; no name. */
cJSON *pod_from_template(const cJSON *owner, const char *api_version, const char *kind);
/* A name that generateName would give: prefix (cut to fit) plus five random characters. Caller
 * frees. */
char *name_generate(const char *prefix);

/* --- pod templates --- */
/* Deterministic, of "safe" characters that make no words; collision_count < 0: none. Caller frees.
 */
char *pod_template_hash(const cJSON *pod_template, int64_t collision_count);
/* Equal but for the label pod-template-hash. */
bool pod_template_equal(const cJSON *a, const cJSON *b);
/* Canonical text: members sorted by name, nulls left out. Caller frees. */
char *json_canonical_text(const cJSON *o);

/* An int-or-string as a count: "25%" of total, rounded up or down; absent is 0. False if malformed.
 */
bool int_or_percent(const cJSON *value, int64_t total, bool round_up, int64_t *out);

/* --- taints --- */
struct taint {
    const char *key, *value, *effect;
    const char *time_added; /* or NULL */
};
struct taint taint_from_json(const cJSON *t);
/* https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ */
bool toleration_tolerates(const cJSON *toleration, const struct taint *t);

/* A list of plain pointers to JSON, freed by the holder of the array only. */
struct json_list {
    const cJSON **items;
    size_t count;
};
