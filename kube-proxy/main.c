/* kube-proxy: Services on one node. */
#include <string.h>
#include <unistd.h>
#include "common/component.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"
#include "kube-proxy/proxy.h"

static char *kubeconfig, *node_name, *cluster_cidr, *service_cidr, *healthz_address,
    *metrics_address;
static int64_t min_sync_ms = 10, sync_ms = 30000;
static bool network_policy = true;

static const struct flag flags[] = {
    {"kubeconfig", FLAG_STRING, &kubeconfig,
     "Path to the kubeconfig that tells how to reach the API server"},
    {"hostname-override", FLAG_STRING, &node_name, "Name of this node; the host's name if empty"},
    {"cluster-cidr", FLAG_STRING, &cluster_cidr,
     "Range of the pods' addresses, or one of each IP family; what comes from elsewhere is "
     "masqueraded"},
    {"service-cluster-ip-range", FLAG_STRING, &service_cidr,
     "Range of the Services' addresses, or one of each IP family; connections to unused ones are "
     "refused"},
    {"healthz-bind-address", FLAG_STRING, &healthz_address,
     "Address and port of /healthz; empty for none"},
    {"metrics-bind-address", FLAG_STRING, &metrics_address,
     "Address and port of /metrics; empty for none"},
    {"nftables-min-sync-period", FLAG_DURATION_MS, &min_sync_ms,
     "Changes within this time are brought to nftables together"},
    {"nftables-sync-period", FLAG_DURATION_MS, &sync_ms,
     "How often to look whether rules and routes are still there"},
    {"network-policy", FLAG_BOOL, &network_policy,
     "Enforce NetworkPolicies on this node's pods; false where the network plugin does it"},
    {0},
};

static bool serve(const char *address, struct proxy *p, struct error **err)
{
    if (!address || !*address)
        return true;
    const char *colon = strrchr(address, ':');
    int port = colon ? atoi(colon + 1) : 0;
    if (port <= 0 || port > 65535) {
        error_setf(err, "\"%s\" is not an address and a port", address);
        return false;
    }
    cleanup_free char *host = mem_strndup(address, (size_t)(colon - address));
    return component_serve(
               &(struct component_server_options){
                   .bind_address = host, .port = port, .ready = proxy_ready, .userdata = p},
               err) != NULL;
}

static bool run(struct error **err)
{
    struct kube_client_config config = {0};
    if (!kubeconfig || !kube_client_config_load(kubeconfig, &config, err)) {
        if (!kubeconfig)
            error_setf(err, "--kubeconfig is required");
        return false;
    }
    struct kube_client *client = component_connect(&config, "kube-proxy", err);
    if (!client)
        return false;
    struct proxy *p = proxy_start(
        &(struct proxy_options){
            .client = client,
            .node_name = node_name,
            .cluster_cidr = cluster_cidr,
            .service_cidr = service_cidr,
            .min_sync_ms = min_sync_ms,
            .sync_ms = sync_ms,
            .network_policy = network_policy,
        },
        err);
    if (!p || !serve(healthz_address, p, err) || !serve(metrics_address, p, err))
        return false;
    log_info("Running", "node", node_name, "version", SKIFF_VERSION);
    component_wait();
    proxy_stop(p);
    kube_client_free(client);
    return true;
}

int main(int argc, char **argv)
{
    mem_tune();
    component_init_signals();
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    node_name = mem_strdup(host);
    cluster_cidr = mem_strdup("10.244.0.0/16");
    service_cidr = mem_strdup("10.96.0.0/16");
    healthz_address = mem_strdup("0.0.0.0:10256");
    metrics_address = mem_strdup("127.0.0.1:10249");
    return component_main(argc, argv, flags, "Programs the node's Services and routes.", run);
}
