/* controller-manager: runs all controllers while it leads (Lease kube-controller-manager in
 * kube-system). */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/component.h"
#include "common/leader_election.h"
#include "common/log.h"
#include "common/mem.h"
#include "controller-manager/controller.h"

enum { STOP_LIMIT_S = 6 };

struct flags {
    char *kubeconfig, *bind_address, *tls_cert_file, *tls_private_key_file, *client_ca_file,
        *controllers;
    char *cluster_cidr, *service_cidr, *root_ca_file, *elect_namespace, *elect_name, *ignored;
    int64_t secure_port, node_cidr_mask_size, node_cidr_mask_size_ipv6, terminated_pod_gc_threshold;
    char *load_balancer_ranges;
    int64_t node_monitor_period_ms, node_monitor_grace_period_ms, node_startup_grace_period_ms;
    int64_t lease_duration_ms, renew_deadline_ms, retry_period_ms;
    char *node_eviction_rate, *signing_cert_file, *signing_key_file;
    int64_t signing_duration_ms;
    bool leader_elect, allocate_node_cidrs, ignored_bool;
};

struct process {
    struct kube_client *client;
    struct manager_options options;
    pthread_mutex_t lock; /* of manager: made by the election's thread */
    struct manager *manager;
    atomic_bool lost;
};

static void on_leading(void *userdata)
{
    struct process *p = userdata;
    pthread_mutex_lock(&p->lock);
    p->manager = manager_new(&p->options);
    manager_start(p->manager);
    pthread_mutex_unlock(&p->lock);
}

static void on_lost(void *userdata)
{
    struct process *p = userdata;
    atomic_store(&p->lost, true);
    component_request_stop();
}

static bool parse_flags(int argc, char **argv, struct flags *f, struct error **err)
{
    const struct flag table[] = {
        {"kubeconfig", FLAG_STRING, &f->kubeconfig,
         "Path to a kubeconfig file with the API's address and credentials"},
        {"leader-elect", FLAG_BOOL, &f->leader_elect, "Become leader before running controllers"},
        {"leader-elect-lease-duration", FLAG_DURATION_MS, &f->lease_duration_ms,
         "How long others wait before they take over a lease that is not renewed"},
        {"leader-elect-renew-deadline", FLAG_DURATION_MS, &f->renew_deadline_ms,
         "How long the leader tries to renew"},
        {"leader-elect-retry-period", FLAG_DURATION_MS, &f->retry_period_ms, "Between two tries"},
        {"leader-elect-resource-namespace", FLAG_STRING, &f->elect_namespace,
         "Namespace of the Lease"},
        {"leader-elect-resource-name", FLAG_STRING, &f->elect_name, "Name of the Lease"},
        {"bind-address", FLAG_STRING, &f->bind_address,
         "Address for /healthz, /readyz and /metrics"},
        {"secure-port", FLAG_INT, &f->secure_port,
         "Port for /healthz, /readyz and /metrics; 0: none"},
        {"tls-cert-file", FLAG_STRING, &f->tls_cert_file, "Certificate of that port"},
        {"tls-private-key-file", FLAG_STRING, &f->tls_private_key_file, "Its key"},
        {"client-ca-file", FLAG_STRING, &f->client_ca_file, "CA of clients that may read metrics"},
        {"controllers", FLAG_STRINGS, &f->controllers, "Controllers to run: '*', 'name', '-name'"},
        {"allocate-node-cidrs", FLAG_BOOL, &f->allocate_node_cidrs, "Assign pod CIDRs to nodes"},
        {"cluster-cidr", FLAG_STRING, &f->cluster_cidr, "Network of the cluster's pods, or one of each IP family"},
        {"node-cidr-mask-size", FLAG_INT, &f->node_cidr_mask_size, "Size of a node's pod CIDR"},
        {"node-cidr-mask-size-ipv4", FLAG_INT, &f->node_cidr_mask_size, "The same"},
        {"node-cidr-mask-size-ipv6", FLAG_INT, &f->node_cidr_mask_size_ipv6, "The same in IPv6"},
        {"load-balancer-ip-range", FLAG_STRINGS, &f->load_balancer_ranges,
         "Addresses for Services of type LoadBalancer: a range of each IP family"},
        {"service-cluster-ip-range", FLAG_STRING, &f->service_cidr,
         "Network of the cluster's Services, or one of each IP family"},
        {"root-ca-file", FLAG_STRING, &f->root_ca_file,
         "CA that is published to every namespace as kube-root-ca.crt"},
        {"cluster-signing-cert-file", FLAG_STRING, &f->signing_cert_file,
         "CA that signs what CertificateSigningRequests ask for"},
        {"cluster-signing-key-file", FLAG_STRING, &f->signing_key_file, "Its key"},
        {"cluster-signing-duration", FLAG_DURATION_MS, &f->signing_duration_ms,
         "The longest life of a certificate that is signed"},
        {"node-monitor-period", FLAG_DURATION_MS, &f->node_monitor_period_ms,
         "How often nodes' health is looked at"},
        {"node-monitor-grace-period", FLAG_DURATION_MS, &f->node_monitor_grace_period_ms,
         "How long a node may be silent before it is unhealthy"},
        {"node-startup-grace-period", FLAG_DURATION_MS, &f->node_startup_grace_period_ms,
         "The same for a node that has never posted a status"},
        {"node-eviction-rate", FLAG_STRING, &f->node_eviction_rate,
         "Nodes per second and zone that are emptied on failure"},
        {"terminated-pod-gc-threshold", FLAG_INT, &f->terminated_pod_gc_threshold,
         "Terminated pods that may exist before some are removed; 0: any number"},
        {"authentication-kubeconfig", FLAG_STRING, &f->ignored, "Accepted, without effect"},
        {"authorization-kubeconfig", FLAG_STRING, &f->ignored, "Accepted, without effect"},
        {"requestheader-client-ca-file", FLAG_STRING, &f->ignored, "Accepted, without effect"},
        {"service-account-private-key-file", FLAG_STRING, &f->ignored, "Accepted, without effect"},
        {"cluster-name", FLAG_STRING, &f->ignored, "Accepted, without effect"},
        {"use-service-account-credentials", FLAG_BOOL, &f->ignored_bool,
         "Accepted, without effect"},
        {NULL, 0, NULL, NULL},
    };
    if (!component_parse_flags(argc, argv, table, "Runs the controllers of a Kubernetes cluster.",
                               err))
        return false;
    if (!f->kubeconfig)
        error_setf(err, "--kubeconfig is required");
    else if (f->node_monitor_period_ms <= 0 || f->node_monitor_grace_period_ms <= 0 ||
             f->node_startup_grace_period_ms <= 0)
        error_setf(err, "--node-monitor-period, --node-monitor-grace-period and "
                        "--node-startup-grace-period must be positive");
    else if (f->secure_port < 0 || f->secure_port > 65535)
        error_setf(err, "--secure-port must be between 0 and 65535");
    else
        return true;
    return false;
}

static void use_flags(const struct flags *f, struct manager_options *o)
{
    o->controllers = f->controllers;
    o->cluster_cidr = f->allocate_node_cidrs ? f->cluster_cidr : NULL;
    o->service_cidr = f->service_cidr;
    o->node_cidr_mask_size = (int)f->node_cidr_mask_size;
    o->node_cidr_mask_size_ipv6 = (int)f->node_cidr_mask_size_ipv6;
    o->load_balancer_ranges = f->load_balancer_ranges;
    o->root_ca_file = f->root_ca_file;
    o->cluster_signing_cert_file = f->signing_cert_file;
    o->cluster_signing_key_file = f->signing_key_file;
    o->cluster_signing_duration_ms = f->signing_duration_ms;
    o->node_monitor_period_ms = f->node_monitor_period_ms;
    o->node_monitor_grace_period_ms = f->node_monitor_grace_period_ms;
    o->node_startup_grace_period_ms = f->node_startup_grace_period_ms;
    o->node_eviction_rate = strtod(f->node_eviction_rate, NULL);
    o->terminated_pod_gc_threshold = f->terminated_pod_gc_threshold;
}

static struct kube_client *make_client(const char *kubeconfig, struct error **err)
{
    struct kube_client_config config = {0};
    if (!kube_client_config_load(kubeconfig, &config, err))
        return NULL;
    return component_connect(&config, "kube-controller-manager", err);
}

/* What is under way comes to its end, then the lease is given up, so that the next leader need not
 * wait for it to expire. */
static void stop_orderly(struct process *p, struct leader_election *election)
{
    alarm(STOP_LIMIT_S); /* a server that does not answer must not keep us */
    pthread_mutex_lock(&p->lock);
    if (p->manager)
        manager_stop(p->manager);
    pthread_mutex_unlock(&p->lock);
    if (election)
        leader_election_release(election);
}

int main(int argc, char **argv)
{
    mem_tune();
    struct process p = {.lock = PTHREAD_MUTEX_INITIALIZER};
    manager_default_options(&p.options);
    struct flags f = {.bind_address = mem_strdup("0.0.0.0"),
                      .secure_port = 10257,
                      .elect_namespace = mem_strdup("kube-system"),
                      .elect_name = mem_strdup("kube-controller-manager"),
                      .node_eviction_rate = mem_strdup("0.1"),
                      .leader_elect = true,
                      .allocate_node_cidrs = true,
                      .lease_duration_ms = 15000,
                      .renew_deadline_ms = 10000,
                      .retry_period_ms = 2000,
                      .node_cidr_mask_size = p.options.node_cidr_mask_size,
                      .signing_duration_ms = p.options.cluster_signing_duration_ms,
                      .node_cidr_mask_size_ipv6 = p.options.node_cidr_mask_size_ipv6,
                      .node_monitor_period_ms = p.options.node_monitor_period_ms,
                      .node_monitor_grace_period_ms = p.options.node_monitor_grace_period_ms,
                      .node_startup_grace_period_ms = p.options.node_startup_grace_period_ms,
                      .terminated_pod_gc_threshold = p.options.terminated_pod_gc_threshold};
    cleanup_error struct error *e = NULL;
    if (!parse_flags(argc, argv, &f, &e)) {
        if (e)
            fprintf(stderr, "controller-manager: %s\n", error_message(e));
        return e ? 1 : 0;
    }
    component_init_signals();
    use_flags(&f, &p.options);
    p.client = p.options.client = make_client(f.kubeconfig, &e);
    const struct component_server_options server = {.bind_address = f.bind_address,
                                                    .port = (int)f.secure_port,
                                                    .cert_file = f.tls_cert_file,
                                                    .key_file = f.tls_private_key_file,
                                                    .client_ca_file = f.client_ca_file};
    if (!p.client || (f.secure_port && !component_serve(&server, &e))) {
        log_error("Cannot start", "err", error_message(e));
        return 1;
    }
    log_info("Starting", "version", SKIFF_VERSION, "leaderElect",
             f.leader_elect ? "true" : "false");
    struct leader_election *election = NULL;
    if (f.leader_elect) {
        cleanup_free char *identity = leader_election_identity();
        const struct leader_election_options lease = {.client = p.client,
                                                      .ns = f.elect_namespace,
                                                      .name = f.elect_name,
                                                      .identity = identity,
                                                      .lease_duration_ms = (int)f.lease_duration_ms,
                                                      .renew_deadline_ms = (int)f.renew_deadline_ms,
                                                      .retry_period_ms = (int)f.retry_period_ms};
        election = leader_election_start(&lease, on_leading, on_lost, &p);
    } else {
        on_leading(&p);
    }
    component_wait();
    if (atomic_load(&p.lost)) {
        /* Another one may lead by now: not one more write. */
        log_error("Leadership lost");
        _exit(1);
    }
    log_info("Stopping");
    stop_orderly(&p, election);
    _exit(0); /* threads that wait for the network end with the process */
}
