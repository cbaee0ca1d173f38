/* dns: the cluster's names. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/component.h"
#include "common/log.h"
#include "common/mem.h"
#include "dns/server.h"
#include "dns/watch.h"

#define THREADS_MAX 64

static char *kubeconfig, *address, *domain, *pods, *own_service, *upstream, *resolv_conf,
    *metrics_address;
static int64_t port = 53, ttl = 30, cache_ttl = 3600, threads = 1, metrics_port = 9153,
               lameduck_ms = 3000;

static const struct flag flags[] = {
    {"kubeconfig", FLAG_STRING, &kubeconfig,
     "Path to a kubeconfig; without it, the pod's service account is used"},
    {"bind-address", FLAG_STRING, &address, "Address to serve DNS on; :: is IPv4 too"},
    {"port", FLAG_INT, &port, "UDP and TCP port"},
    {"cluster-domain", FLAG_STRING, &domain, "Domain of the cluster's names"},
    {"ttl", FLAG_INT, &ttl, "How long clients may remember the cluster's names, in seconds"},
    {"pods", FLAG_STRING, &pods,
     "Names of pods (10-244-1-2.namespace.pod): \"insecure\" for any address, \"verified\" for "
     "those of running pods, or \"disabled\""},
    {"dns-service", FLAG_STRING, &own_service,
     "namespace/name of the Service in front of this server"},
    {"upstream", FLAG_STRINGS, &upstream,
     "Name servers for all other names, ADDRESS[:PORT]; default: those of --resolv-conf"},
    {"resolv-conf", FLAG_STRING, &resolv_conf,
     "File with the name servers for all other names; empty for none"},
    {"cache-max-ttl", FLAG_INT, &cache_ttl,
     "Longest time to remember what other servers answered, in seconds"},
    {"threads", FLAG_INT, &threads, "Threads that answer; each can fill a core"},
    {"lameduck", FLAG_DURATION_MS, &lameduck_ms,
     "How long to go on answering after SIGTERM, until no node sends questions here any more"},
    {"metrics-bind-address", FLAG_STRING, &metrics_address,
     "Address of /healthz, /readyz and /metrics"},
    {"metrics-port", FLAG_INT, &metrics_port, "Port of /healthz, /readyz and /metrics; 0 for none"},
    {0},
};

static bool ready(void *userdata, struct error **why)
{
    if (component_stopping())
        error_setf(why, "shutting down");
    else if (!watch_synced(userdata))
        error_setf(why, "waiting for the API's first lists");
    else
        return true;
    return false;
}

static bool synced(void *userdata)
{
    return watch_synced(userdata);
}

static bool configure(struct answer_config *c, struct forward_servers *servers, struct error **err)
{
    if ((c->domain_len = dns_name_from_text(c->domain, domain)) < 2) {
        error_setf(err, "--cluster-domain: \"%s\" is no domain name", domain);
        return false;
    }
    static const char *const modes[] = {"disabled", "insecure", "verified"};
    size_t mode = 0;
    while (mode < ARRAY_LEN(modes) && strcmp(pods, modes[mode]))
        mode++;
    if (mode == ARRAY_LEN(modes)) {
        error_setf(err, "--pods must be disabled, insecure or verified, not \"%s\"", pods);
        return false;
    }
    c->pods = (enum answer_pods)mode;
    const char *slash = strchr(own_service, '/');
    if (!slash || !slash[1]) {
        error_setf(err, "--dns-service must be namespace/name, not \"%s\"", own_service);
        return false;
    }
    c->own_namespace = mem_strndup(own_service, (size_t)(slash - own_service));
    c->own_service = mem_strdup(slash + 1);
    if (ttl < 0 || ttl > 3600 || cache_ttl < 0 || cache_ttl > 86400 || threads < 1 ||
        threads > THREADS_MAX || port < 0 || port > 65535) {
        error_setf(err,
                   "--ttl must be 0 to 3600, --cache-max-ttl 0 to 86400, --threads 1 to %d, --port "
                   "0 to 65535",
                   THREADS_MAX);
        return false;
    }
    c->ttl = (uint32_t)ttl;
    char *rest = NULL;
    for (char *one = strtok_r(upstream, ",", &rest); one; one = strtok_r(NULL, ",", &rest))
        if (!forward_servers_add(servers, one)) {
            error_setf(err, "--upstream: \"%s\" is not ADDRESS or ADDRESS:PORT, or one too many",
                       one);
            return false;
        }
    if (!servers->count && *resolv_conf)
        forward_servers_read(servers, resolv_conf);
    c->forwards = servers->count > 0;
    return true;
}

static struct kube_client *connect_api(struct error **err)
{
    struct kube_client_config config;
    if (!kube_client_config_find(kubeconfig, &config, err))
        return NULL;
    return component_connect(&config, "dns", err);
}

static bool run(struct error **err)
{
    struct answer_config c = {.zone = zone_new()};
    struct forward_servers servers = {0};
    struct kube_client *client = NULL;
    if (!configure(&c, &servers, err) || !(client = connect_api(err)))
        return false;
    server_metrics();
    struct watch *w = watch_start(client, c.zone, c.pods == ANSWER_PODS_VERIFIED);
    struct server_options o = {.address = address,
                               .port = (int)port,
                               .answers = &c,
                               .upstream = &servers,
                               .max_ttl = (uint32_t)cache_ttl,
                               .synced = synced,
                               .userdata = w};
    struct server *running[THREADS_MAX] = {0};
    bool ok = component_serve(&(struct component_server_options){.bind_address = metrics_address,
                                                                 .port = (int)metrics_port,
                                                                 .ready = ready,
                                                                 .userdata = w},
                              err) != NULL;
    for (int64_t i = 0; ok && i < threads; i++) {
        ok = (running[i] = server_start(&o, err)) != NULL;
        o.port = ok ? server_port(running[i]) : 0;
    }
    if (ok) {
        log_info("Serving", "address", address, "port", log_int(o.port), "domain", domain,
                 "upstreamServers", log_int((long long)servers.count), "version", SKIFF_VERSION);
        component_wait();
        log_info("Shutting down after the lameduck time");
        nanosleep(&(struct timespec){.tv_sec = lameduck_ms / 1000,
                                     .tv_nsec = lameduck_ms % 1000 * 1000000},
                  NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(running); i++)
        server_stop(running[i]);
    watch_stop(w);
    zone_free(c.zone);
    kube_client_free(client);
    free(c.own_namespace);
    free(c.own_service);
    return ok;
}

int main(int argc, char **argv)
{
    mem_tune();
    component_init_signals();
    address = mem_strdup("::");
    domain = mem_strdup("cluster.local");
    pods = mem_strdup("insecure");
    own_service = mem_strdup("kube-system/kube-dns");
    upstream = mem_strdup("");
    resolv_conf = mem_strdup("/etc/resolv.conf");
    metrics_address = mem_strdup("0.0.0.0");
    return component_main(argc, argv, flags, "Answers for the names of Services and pods.", run);
}
