/* The arithmetic and bookkeeping of a Deployment's rollout: no requests, no clock but the one
 * given. Deployments and ReplicaSets are JSON documents; a list of ReplicaSets is an array of
 * pointers to them, where NULL stands for "none". */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REVISION_ANNOTATION         "deployment.kubernetes.io/revision"
#define REVISION_HISTORY_ANNOTATION "deployment.kubernetes.io/revision-history"
#define DESIRED_REPLICAS_ANNOTATION "deployment.kubernetes.io/desired-replicas"
#define MAX_REPLICAS_ANNOTATION     "deployment.kubernetes.io/max-replicas"

/* --- counts --- */
int64_t spec_replicas(const cJSON *o); /* 1 when absent; 0 for NULL */
int64_t status_count(const cJSON *o, const char *field);
int64_t sum_spec_replicas(cJSON *const *sets, size_t count);
int64_t sum_status(cJSON *const *sets, size_t count, const char *field);
bool rolling_update(const cJSON *deployment);
/* maxSurge rounds up, maxUnavailable down; when both come to 0, one pod may be unavailable. Both 0
 * for Recreate. */
void rollout_fenceposts(const cJSON *deployment, int64_t *max_surge, int64_t *max_unavailable);
int64_t max_surge(const cJSON *deployment);
int64_t max_unavailable(const cJSON *deployment); /* at most its replicas */

/* How large the new ReplicaSet may be now. */
int64_t new_set_replicas(const cJSON *deployment, cJSON *const *all_sets, size_t count,
                         const cJSON *new_set);
/* How many pods of old ReplicaSets may go now (0: none). new_set may be NULL. */
int64_t old_pods_to_remove(const cJSON *deployment, cJSON *const *old_sets, size_t old_count,
                           const cJSON *new_set);
/* Proportional scaling while a rollout is under way: fills sizes[i] for each set. The sets are
 * sorted here. */
void proportional_sizes(const cJSON *deployment, cJSON **sets, size_t count, int64_t *sizes);

/* --- ReplicaSets of a Deployment --- */
enum set_order {
    OLDEST_FIRST,
    NEWEST_FIRST,
    SMALLEST_REVISION_FIRST,
    LARGEST_NEWER_FIRST,
    LARGEST_OLDER_FIRST
};
void sort_sets(cJSON **sets, size_t count, enum set_order order);
/* The oldest one whose template is the deployment's; NULL if none. */
cJSON *find_new_set(const cJSON *deployment, cJSON *const *sets, size_t count);
int64_t set_revision(const cJSON *set); /* 0 when it has none */
int64_t max_revision(cJSON *const *sets, size_t count);
/* Desired size and most pods at the time of the last scaling; true if they change. */
bool set_replicas_annotations(cJSON *set, int64_t desired, int64_t most);
bool replicas_annotations_outdated(const cJSON *set, int64_t desired, int64_t most);
/* -1 when the annotation is missing or no number. */
int64_t desired_replicas_annotation(const cJSON *set);
/* Copies the deployment's annotations, sets the revision and, when the revision moves on, its
 * history. True if anything changed. */
bool set_new_set_annotations(const cJSON *deployment, cJSON *set, int64_t revision, bool exists);

/* --- progress --- */
bool has_progress_deadline(const cJSON *deployment);
bool has_revision_history_limit(const cJSON *deployment);
bool deployment_complete(const cJSON *deployment, const cJSON *status);
/* Did status come nearer to the end since the deployment's own? */
bool deployment_progressing(const cJSON *deployment, const cJSON *status);
bool deployment_timed_out(const cJSON *deployment, const cJSON *status, int64_t now);
/* Sets a Deployment condition as Kubernetes does: nothing happens when status and reason stay;
 * lastTransitionTime stays when the status does. transition_time NULL: now. */
void deployment_condition_set(cJSON *status, const char *type, const char *value,
                              const char *reason, const char *message, const char *transition_time);
void deployment_condition_remove(cJSON *status, const char *type);
/* The status that the ReplicaSets give, with the deployment's conditions and Available brought up
 * to date. Caller frees. */
cJSON *deployment_status(const cJSON *deployment, cJSON *const *all_sets, size_t count,
                         const cJSON *new_set);
