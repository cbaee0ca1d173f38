/* The one shape that all controllers have, and the manager that runs them.
 *
 * A controller is a queue of keys, watches that feed it, and reconcile(key). It is level-triggered:
 * reconcile looks at the whole present state of what the key names and brings it one step nearer to
 * what is wanted; it may be called at any time, any number of times. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"
#include "common/informer.h"
#include "common/kube_client.h"
#include "common/recorder.h"
#include "common/workqueue.h"

struct manager;
struct controller;

struct controller_type {
    const char *name; /* "replicaset-controller": in logs, and what --controllers chooses by */
    const char
        *part_of;      /* name of the controller that this is a part of and chosen with; or NULL */
    const char *queue; /* name of the work queue in metrics, as in Kubernetes: "replicaset" */
    int workers;       /* threads that reconcile different keys at the same time */
    /* Before the informers start: gets them from the manager, registers handlers, makes c->state.
     */
    void (*setup)(struct controller *c);
    /* After the informers have synced, before the workers start; may be NULL. */
    void (*start)(struct controller *c);
    /* true: done, the key's failures are forgotten. false: logged (unless without an error), and
     * the key comes again after a back-off. To come again at a certain time,
     * workqueue_add_after(c->queue, ...) and return true. */
    bool (*reconcile)(struct controller *c, const char *key, struct error **err);
    void (*stop)(struct controller *c);       /* wakes what waits in reconcile; may be NULL */
    void (*free_state)(struct controller *c); /* after the informers have ended; may be NULL */
};

struct controller {
    const struct controller_type *type;
    struct manager *manager;
    struct kube_client *client;
    struct workqueue *queue;
    void *state; /* the controller's own */
};

struct manager_options {
    struct kube_client *client;
    const char *controllers;  /* "*", or names to run: "*,-podgc", "deployment-controller,..."; NULL
                                 is "*" */
    const char *cluster_cidr; /* for nodeipam: one range, or one of each IP family joined by a comma; NULL
                                 or "": none is assigned */
    const char *service_cidr; /* kept free of pod CIDRs; may be NULL */
    int node_cidr_mask_size;  /* IPv4; 24 */
    int node_cidr_mask_size_ipv6;     /* 64 */
    const char *load_balancer_ranges; /* as cluster_cidr; NULL or "": load balancers stay pending */
    const char *root_ca_file; /* PEM; NULL: no kube-root-ca.crt */
    const char *cluster_signing_cert_file, *cluster_signing_key_file; /* PEM; NULL: nothing is signed */
    int64_t cluster_signing_duration_ms; /* the longest life of what is signed */
    int64_t node_monitor_period_ms, node_monitor_grace_period_ms, node_startup_grace_period_ms;
    double node_eviction_rate;           /* nodes tainted NoExecute per second and zone; 0.1 */
    int64_t terminated_pod_gc_threshold; /* 12500; 0 or less: none is removed */
    int64_t pod_gc_period_ms, pod_gc_quarantine_ms;
    int64_t namespace_settle_ms; /* between the first sight of a deletion and finalizing */
    int64_t discovery_period_ms; /* how often the garbage collector looks for new resources */
};
/* Kubernetes' defaults, but for the client. */
void manager_default_options(struct manager_options *o);

/* The options' strings must outlive the manager. */
struct manager *manager_new(const struct manager_options *o);
/* Starts informers and, as soon as these have synced, the workers. Returns at once. */
void manager_start(struct manager *m);
/* True once the workers run. */
bool manager_running(const struct manager *m);
/* Ends workers and informers and waits for them. */
void manager_stop(struct manager *m);
void manager_free(struct manager *m); /* after manager_stop, or when it was never started */

const struct manager_options *manager_config(const struct manager *m);
bool manager_stopping(const struct manager *m);
/* The process's one informer of a resource, made at the first call. In setup() only. */
struct informer *manager_informer(struct manager *m, const char *api_version, const char *resource);
/* The same, but objects have apiVersion, kind and metadata only. Gives the full informer when there
 * is one already. */
struct informer *manager_metadata_informer(struct manager *m, const char *api_version,
                                           const char *resource);
/* The informer if some controller has asked for it, else NULL. At any time. */
struct informer *manager_find_informer(struct manager *m, const char *api_version,
                                       const char *resource);
/* The informers of the factory, in the order of their making: 0 .. until NULL. */
struct informer *manager_informer_at(struct manager *m, size_t i, const char **api_version,
                                     const char **resource);
/* An index on a shared informer; asking twice for one name is fine. In setup() only. */
void manager_index(struct manager *m, struct informer *i, const char *index_name,
                   informer_index_fn *fn);
/* The event recorder of a source component, "deployment-controller"; made at the first call. In
 * setup() only. */
struct recorder *manager_recorder(struct manager *m, const char *component);
/* A controller by its type's name, or NULL if it does not run. */
struct controller *manager_controller(struct manager *m, const char *name);

/* A handler for controllers whose key is the object's own key; userdata: the struct controller. */
void controller_enqueue_object(void *userdata, enum informer_event event,
                               const struct kube_object *old, const struct kube_object *new_object);

/* Calls fn(ctx, 0..count-1), several at a time. Returns how many returned true; *err gets the first
 * failure. */
int run_parallel(int count, bool (*fn)(void *ctx, int i, struct error **err), void *ctx,
                 struct error **err);
/* As client-go's slow start: batches of 1, 2, 4, ... calls; after a batch with a failure no further
 * one is started. */
int run_slow_start(int count, bool (*fn)(void *ctx, int i, struct error **err), void *ctx,
                   struct error **err);

/* All controllers, in the order of their setup. */
extern const struct controller_type replicaset_controller, deployment_controller,
    endpoints_controller, endpointslice_controller, namespace_controller, serviceaccount_controller,
    clusterrole_aggregation_controller, root_ca_publisher, node_lifecycle_controller,
    node_monitor_controller, node_pods_controller, resource_quota_controller,
    taint_eviction_controller, pod_gc_controller, node_ipam_controller, service_lb_controller,
    endpointslice_mirroring_controller, garbage_collector,
    garbage_collector_orphan, garbage_collector_discovery, disruption_controller,
    stale_disruption_controller, csr_signing_controller, csr_approving_controller,
    csr_cleaner_controller, pvc_protection_controller, pv_protection_controller,
    persistent_volume_binder, ephemeral_volume_controller;
