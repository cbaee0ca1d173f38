/* Shared by the files of the controller only. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "common/informer.h"
#include "common/leader_election.h"
#include "common/recorder.h"
#include "common/workqueue.h"
#include "ingress-controller/controller.h"
#include "ingress-controller/model.h"
#include "ingress-controller/nginx.h"

enum { DOCUMENT_CERTIFICATES, DOCUMENT_BACKENDS, DOCUMENT_ROUTES, DOCUMENTS };

struct controller {
    struct controller_options options;
    struct informer *ingresses, *classes, *services, *slices, *secrets;
    struct workqueue *queue;
    struct recorder *recorder;
    struct nginx *nginx;
    pthread_t worker, waiter;
    atomic_bool synced, ready, leader;
    struct leader_election *election;
    /* The worker's own. */
    char *posted[DOCUMENTS];
    unsigned posted_to; /* nginx' generation */
    cJSON *key_pairs;   /* by Secret: what was checked already */
    cJSON *reported;    /* by Ingress: what its last event was about */
};

/* Is this Ingress for us? */
bool controller_takes(struct controller *c, const cJSON *ingress);

/* An event about an Ingress, once for each state of it. Only the leader's are written. */
void report(struct controller *c, const cJSON *ingress, const char *type, const char *reason,
            const char *message);
/* Forgets those that are gone. */
void report_forget(struct controller *c, const struct kube_object_list *ingresses);
/* Puts the addresses of the controller's Service into the statuses. */
void status_sync(struct controller *c, struct ingress *const *ingresses, size_t count);
void status_elect(struct controller *c);
