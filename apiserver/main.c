/* The Kubernetes API server. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "apiserver/auth/token_file.h"
#include "apiserver/server/server.h"
#include "common/component.h"
#include "common/log.h"
#include "common/mem.h"

struct options {
    char *etcd_servers, *etcd_ca, *etcd_cert, *etcd_key;
    char *bind_address, *tls_cert, *tls_key;
    int64_t compaction_ms, request_timeout_ms, max_requests, max_mutating;
    char *token_file;
    char *authorization_mode; /* node and RBAC always; taken so that Kubernetes' manifests work */
    bool allow_privileged, anonymous;
    struct api_config config;
};

/* The first address of this host that is not loopback; others reach us by it. */
static char *own_address(void)
{
    struct ifaddrs *all = NULL;
    char text[INET_ADDRSTRLEN] = "127.0.0.1";
    if (!getifaddrs(&all)) {
        for (struct ifaddrs *a = all; a; a = a->ifa_next) {
            if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET ||
                (a->ifa_flags & IFF_LOOPBACK) || !(a->ifa_flags & IFF_UP))
                continue;
            inet_ntop(AF_INET, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, text, sizeof text);
            break;
        }
        freeifaddrs(all);
    }
    return mem_strdup(text);
}

static bool parse(int argc, char **argv, struct options *o, struct error **err)
{
    *o = (struct options){
        .bind_address = mem_strdup("0.0.0.0"),
        .compaction_ms = 300000,
        .request_timeout_ms = 60000,
        .max_requests = 400,
        .max_mutating = 200,
        .allow_privileged = true,
        .anonymous = true,
        .config = {.secure_port = 6443,
                   .service_cluster_ip_range = mem_strdup("10.96.0.0/16"),
                   .service_node_port_range = mem_strdup("30000-32767")},
    };
    struct api_config *c = &o->config;
    const struct flag flags[] = {
        {"etcd-servers", FLAG_STRINGS, &o->etcd_servers,
         "URLs of the store's servers, separated by commas"},
        {"etcd-cafile", FLAG_STRING, &o->etcd_ca, "CA certificate of the store"},
        {"etcd-certfile", FLAG_STRING, &o->etcd_cert, "client certificate for the store"},
        {"etcd-keyfile", FLAG_STRING, &o->etcd_key, "key of that certificate"},
        {"etcd-compaction-interval", FLAG_DURATION_MS, &o->compaction_ms,
         "how often old revisions are compacted away; 0: never"},
        {"secure-port", FLAG_INT, &c->secure_port, "port to serve on"},
        {"bind-address", FLAG_STRING, &o->bind_address, "address to serve on"},
        {"advertise-address", FLAG_STRING, &c->advertise_address,
         "address by which others reach this server"},
        {"tls-cert-file", FLAG_STRING, &o->tls_cert, "serving certificate"},
        {"tls-private-key-file", FLAG_STRING, &o->tls_key, "key of the serving certificate"},
        {"client-ca-file", FLAG_STRING, &c->client_ca_file, "CA of client certificates"},
        {"service-account-key-file", FLAG_STRINGS, &c->service_account_key_file,
         "keys, public or private, that verify tokens of service accounts"},
        {"service-account-signing-key-file", FLAG_STRING, &c->service_account_signing_key_file,
         "private key that signs them"},
        {"service-account-issuer", FLAG_STRINGS, &c->service_account_issuer,
         "who issues them: the first is written into new ones"},
        {"service-account-jwks-uri", FLAG_STRING, &c->service_account_jwks_uri,
         "where others find the keys that verify them"},
        {"api-audiences", FLAG_STRINGS, &c->api_audiences,
         "what tokens for this API are meant for; the issuer by default"},
        {"service-cluster-ip-range", FLAG_STRING, &c->service_cluster_ip_range,
         "addresses of Services"},
        {"service-node-port-range", FLAG_STRING, &c->service_node_port_range,
         "ports of NodePort Services"},
        {"kubelet-client-certificate", FLAG_STRING, &c->kubelet_client_certificate,
         "client certificate for kubelets"},
        {"kubelet-client-key", FLAG_STRING, &c->kubelet_client_key, "key of that certificate"},
        {"kubelet-certificate-authority", FLAG_STRING, &c->kubelet_certificate_authority,
         "CA of kubelets' certificates"},
        {"request-timeout", FLAG_DURATION_MS, &o->request_timeout_ms, "limit for one request"},
        {"max-requests-inflight", FLAG_INT, &o->max_requests, "limit of reads at once"},
        {"max-mutating-requests-inflight", FLAG_INT, &o->max_mutating, "limit of writes at once"},
        {"token-auth-file", FLAG_STRING, &o->token_file,
         "CSV file of fixed bearer tokens: token,user,uid,\"groups\""},
        {"authorization-mode", FLAG_STRING, &o->authorization_mode, "Node,RBAC"},
        {"allow-privileged", FLAG_BOOL, &o->allow_privileged, "allow privileged containers"},
        {"anonymous-auth", FLAG_BOOL, &o->anonymous,
         "let requests without credentials read health and version"},
        {0},
    };
    if (!component_parse_flags(argc, argv, flags,
                               "Serves the Kubernetes API from an etcd v3 store.", err))
        return false;
    if (!o->etcd_servers) {
        error_setf(err, "--etcd-servers is needed");
        return false;
    }
    if (!o->tls_cert || !o->tls_key) {
        error_setf(err, "--tls-cert-file and --tls-private-key-file are needed");
        return false;
    }
    if (!c->advertise_address)
        c->advertise_address = strcmp(o->bind_address, "0.0.0.0") && strcmp(o->bind_address, "::")
                                   ? mem_strdup(o->bind_address)
                                   : own_address();
    return true;
}

static unsigned io_threads(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 2 ? 2 : cores > 16 ? 16 : (unsigned)cores;
}

static bool run(struct options *o, struct error **err)
{
    if (o->token_file && !token_file_load(o->token_file, err))
        return false;
    struct api_server server = {.config = o->config};
    struct storage_options storage = {.servers = o->etcd_servers,
                                      .ca_file = o->etcd_ca,
                                      .cert_file = o->etcd_cert,
                                      .key_file = o->etcd_key,
                                      .compaction_interval_ms = o->compaction_ms};
    server.storage = storage_start(&storage, err);
    if (!server.storage)
        return false;
    while (!storage_wait_ready(server.storage, 200))
        if (component_stopping())
            return true;
    if (!auth_start(&server.config, server.storage, err) ||
        !registry_start(&server.config, server.storage, err))
        return false;
    struct api_server_options options = {.bind_address = o->bind_address,
                                         .secure_port = o->config.secure_port,
                                         .cert_file = o->tls_cert,
                                         .key_file = o->tls_key,
                                         .client_ca_file = o->config.client_ca_file,
                                         .io_threads = io_threads(),
                                         .worker_threads = 32,
                                         .request_timeout_ms = o->request_timeout_ms};
    if (!server_start(&server, &options, err))
        return false;
    log_info("Serving the API", "address", o->bind_address, "port", log_int(o->config.secure_port));
    component_wait();
    log_info("Stopping");
    server_stop(&server);
    return true;
}

int main(int argc, char **argv)
{
    mem_tune();
    static struct options o; /* the configuration lives as long as the process */
    cleanup_error struct error *err = NULL;
    if (!parse(argc, argv, &o, &err)) {
        if (!err)
            return 0;
        fprintf(stderr, "apiserver: %s\n", error_message(err));
        return 2;
    }
    component_init_signals();
    curl_global_init(CURL_GLOBAL_ALL);
    if (!run(&o, &err)) {
        log_error("The API server cannot run", "err", error_message(err));
        return 1;
    }
    return 0;
}
