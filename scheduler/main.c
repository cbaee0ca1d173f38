/* kube-scheduler: assigns pods to nodes, one leader at a time. */
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include "common/component.h"
#include "common/leader_election.h"
#include "common/log.h"
#include "common/mem.h"
#include "scheduler/scheduler.h"

struct process {
    struct scheduler *scheduler;
    atomic_bool lost, leading;
};

static void on_leading(void *userdata)
{
    struct process *p = userdata;
    scheduler_run(p->scheduler);
    atomic_store(&p->leading, true);
}

/* Another may lead now: nothing more may be written, so the process ends at once and starts again as a
 * candidate. */
static void on_lost(void *userdata)
{
    atomic_store(&((struct process *)userdata)->lost, true);
    component_request_stop();
}

static bool is_ready(void *userdata, struct error **why)
{
    struct process *p = userdata;
    if (scheduler_synced(p->scheduler))
        return true;
    error_setf(why, "[-]informer-sync failed: not started yet");
    return false;
}

int main(int argc, char **argv)
{
    mem_tune();
    char *kubeconfig = NULL, *bind_address = mem_strdup("0.0.0.0"), *cert = NULL, *key = NULL,
         *client_ca = NULL;
    char *lease_name = mem_strdup("kube-scheduler"), *lease_ns = mem_strdup("kube-system");
    bool elect = true;
    int64_t port = 10259, lease_ms = 15000, renew_ms = 10000, retry_ms = 2000, unschedulable_ms = 300000;
    const struct flag flags[] = {
        {"kubeconfig", FLAG_STRING, &kubeconfig, "path to the kubeconfig of the API server"},
        {"leader-elect", FLAG_BOOL, &elect, "lead before scheduling; needed when several run"},
        {"leader-elect-lease-duration", FLAG_DURATION_MS, &lease_ms,
         "how long others wait for a silent leader"},
        {"leader-elect-renew-deadline", FLAG_DURATION_MS, &renew_ms,
         "how long the leader tries to renew before giving up"},
        {"leader-elect-retry-period", FLAG_DURATION_MS, &retry_ms,
         "time between attempts to acquire or renew"},
        {"leader-elect-resource-name", FLAG_STRING, &lease_name, "name of the Lease"},
        {"leader-elect-resource-namespace", FLAG_STRING, &lease_ns, "namespace of the Lease"},
        {"bind-address", FLAG_STRING, &bind_address, "address of /healthz, /readyz and /metrics"},
        {"secure-port", FLAG_INT, &port, "port of /healthz, /readyz and /metrics; 0: none"},
        {"tls-cert-file", FLAG_STRING, &cert, "server certificate; without one, plain HTTP"},
        {"tls-private-key-file", FLAG_STRING, &key, "its key"},
        {"client-ca-file", FLAG_STRING, &client_ca,
         "clients with a certificate of this CA may read /metrics"},
        {"pod-max-in-unschedulable-pods-duration", FLAG_DURATION_MS, &unschedulable_ms,
         "after which an unschedulable pod is tried again anyway"},
        {NULL, 0, NULL, NULL},
    };
    cleanup_error struct error *err = NULL;
    if (!component_parse_flags(argc, argv, flags, "The Kubernetes scheduler assigns Pods to Nodes.", &err)) {
        if (err)
            fprintf(stderr, "Error: %s\n", err->message);
        return err ? 1 : 0;
    }
    if (!kubeconfig)
        error_setf(&err, "--kubeconfig is required");
    else if (port < 0 || port > 65535)
        error_setf(&err, "--secure-port must be between 0 and 65535");
    else if (lease_ms <= renew_ms || renew_ms <= retry_ms || retry_ms <= 0 || unschedulable_ms <= 0)
        error_setf(&err, "leader election needs lease duration > renew deadline > retry period > 0");
    if (err) {
        fprintf(stderr, "Error: %s\n", err->message);
        return 1;
    }
    component_init_signals();

    struct kube_client_config config;
    struct kube_client *client = NULL;
    if (kube_client_config_load(kubeconfig, &config, &err))
        client = component_connect(&config, "kube-scheduler", &err);
    if (!client) {
        log_error("Cannot start", "error", error_message(err));
        return 1;
    }
    struct process p = {0};
    const struct scheduler_options options = {
        .client = client,
        .scheduler_name = "default-scheduler",
        .queue = {.backoff_initial_ms = 1000,
                  .backoff_max_ms = 10000,
                  .unschedulable_max_ms = (int)unschedulable_ms},
    };
    p.scheduler = scheduler_new(&options);
    const struct component_server_options serve = {
        .bind_address = bind_address,
        .port = (int)port,
        .cert_file = cert,
        .key_file = key,
        .client_ca_file = client_ca,
        .ready = is_ready,
        .userdata = &p,
    };
    if (!component_serve(&serve, &err)) {
        log_error("Cannot start", "error", error_message(err));
        return 1;
    }
    struct leader_election *election = NULL;
    if (elect) {
        cleanup_free char *identity = leader_election_identity();
        const struct leader_election_options o = {
            .client = client,
            .ns = lease_ns,
            .name = lease_name,
            .identity = identity,
            .lease_duration_ms = (int)lease_ms,
            .renew_deadline_ms = (int)renew_ms,
            .retry_period_ms = (int)retry_ms,
        };
        election = leader_election_start(&o, on_leading, on_lost, &p);
    } else {
        on_leading(&p);
    }
    component_wait();
    if (atomic_load(&p.lost)) {
        log_error("Leadership lost, ending");
        _exit(1);
    }
    log_info("Stopping");
    if (atomic_load(&p.leading))
        scheduler_stop(p.scheduler);
    leader_election_release(election);
    /* Watches still run; libraries must not be taken down under them. */
    _exit(0);
}
