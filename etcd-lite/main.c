/* etcd-lite: flags, the data directory's identity, start and stop. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "common/component.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "etcd-lite/cluster.h"
#include "etcd-lite/gateway.h"
#include "etcd-lite/restore.h"
#include "etcd-lite/transport.h"

#define MAX_LISTENERS 8
#define DEFAULT_QUOTA ((size_t)2 << 30)

struct config {
    char *name, *data_dir, *listen_client_urls, *advertise_client_urls, *listen_peer_urls,
        *initial_advertise_peer_urls;
    char *initial_cluster, *initial_cluster_state, *initial_cluster_token;
    char *cert_file, *key_file, *trusted_ca_file, *peer_cert_file, *peer_key_file,
        *peer_trusted_ca_file;
    bool client_cert_auth, peer_client_cert_auth, skip_hash_check;
    int64_t heartbeat_ms, election_ms, max_request_bytes, quota_bytes,
        snapshot_count;
};

static bool parse_flags(int argc, char **argv, struct config *c, struct error **err)
{
    *c = (struct config){.name = mem_strdup("default"),
                         .listen_client_urls = mem_strdup("http://127.0.0.1:2379"),
                         .listen_peer_urls = mem_strdup("http://127.0.0.1:2380"),
                         .initial_cluster_state = mem_strdup("new"),
                         .initial_cluster_token = mem_strdup("etcd-cluster"),
                         .heartbeat_ms = 100,
                         .election_ms = 500,
                         .max_request_bytes = 1536 * 1024};
    const struct flag flags[] = {
        {"name", FLAG_STRING, &c->name, "this member's name in --initial-cluster"},
        {"data-dir", FLAG_STRING, &c->data_dir,
         "where the log and snapshots are kept (default <name>.etcd)"},
        {"listen-client-urls", FLAG_STRING, &c->listen_client_urls, "where clients connect to"},
        {"advertise-client-urls", FLAG_STRING, &c->advertise_client_urls,
         "what clients are told (default: where it listens)"},
        {"listen-peer-urls", FLAG_STRING, &c->listen_peer_urls, "where other members connect to"},
        {"initial-advertise-peer-urls", FLAG_STRING, &c->initial_advertise_peer_urls,
         "what other members are told (default: where it listens)"},
        {"initial-cluster", FLAG_STRING, &c->initial_cluster,
         "name=peer-URL of each member of a new cluster, comma-separated"},
        {"initial-cluster-state", FLAG_STRING, &c->initial_cluster_state,
         "\"new\" or \"existing\""},
        {"initial-cluster-token", FLAG_STRING, &c->initial_cluster_token,
         "tells apart clusters of the same members"},
        {"cert-file", FLAG_STRING, &c->cert_file, "server certificate for clients (PEM)"},
        {"key-file", FLAG_STRING, &c->key_file, "its key"},
        {"trusted-ca-file", FLAG_STRING, &c->trusted_ca_file, "CA of clients' certificates"},
        {"client-cert-auth", FLAG_BOOL, &c->client_cert_auth, "clients must show a certificate"},
        {"peer-cert-file", FLAG_STRING, &c->peer_cert_file,
         "certificate between members (server and client)"},
        {"peer-key-file", FLAG_STRING, &c->peer_key_file, "its key"},
        {"peer-trusted-ca-file", FLAG_STRING, &c->peer_trusted_ca_file,
         "CA of members' certificates"},
        {"peer-client-cert-auth", FLAG_BOOL, &c->peer_client_cert_auth,
         "always so with https peer URLs"},
        {"heartbeat-interval", FLAG_INT, &c->heartbeat_ms,
         "milliseconds between a leader's heartbeats"},
        {"election-timeout", FLAG_INT, &c->election_ms,
         "milliseconds without a heartbeat until an election"},
        {"max-request-bytes", FLAG_INT, &c->max_request_bytes, "largest request"},
        {"quota-backend-bytes", FLAG_INT, &c->quota_bytes,
         "bytes of memory that the store may take before it refuses to grow (0: 2 GB; negative: any)"},
        {"snapshot-count", FLAG_INT, &c->snapshot_count,
         "log entries after which what has changed is saved to disk and the log made shorter (0: after some megabytes)"},
        {"skip-hash-check", FLAG_BOOL, &c->skip_hash_check,
         "restore: also from a database file without a hash"},
        {0}};
    if (!component_parse_flags(argc, argv, flags,
                               "A replicated key-value store that speaks etcd's v3 API.\n\n"
                               "As `etcd-lite restore FILE [flags]` it makes the data directory of a "
                               "member of a new cluster from a backup of etcd-lite or etcd (etcdctl "
                               "snapshot save), and ends. Flags: --name, --data-dir, --initial-cluster, "
                               "--initial-cluster-token, --initial-advertise-peer-urls.",
                               err))
        return false;
    if (!c->data_dir)
        c->data_dir = mem_printf("%s.etcd", c->name);
    if (!c->advertise_client_urls)
        c->advertise_client_urls = mem_strdup(c->listen_client_urls);
    if (!c->initial_advertise_peer_urls)
        c->initial_advertise_peer_urls = mem_strdup(c->listen_peer_urls);
    if (!c->initial_cluster)
        c->initial_cluster = mem_printf("%s=%s", c->name, c->initial_advertise_peer_urls);
    if (c->heartbeat_ms < 10 || c->election_ms < 5 * c->heartbeat_ms || c->election_ms > 50000) {
        error_setf(
            err,
            "--election-timeout must be at least 5 times --heartbeat-interval, and at most 50000");
        return false;
    }
    if (c->max_request_bytes < 1024 || c->max_request_bytes > 7 << 20) {
        error_setf(err, "--max-request-bytes must be between 1024 and 7340032 (a log entry must "
                        "fit into a segment)");
        return false;
    }
    if (c->snapshot_count < 0 || c->snapshot_count > 1000000000) {
        error_setf(err, "--snapshot-count must be between 0 and 1000000000");
        return false;
    }
    return true;
}

static void config_clear(struct config *c)
{
    char **all[] = {&c->name,
                    &c->data_dir,
                    &c->listen_client_urls,
                    &c->advertise_client_urls,
                    &c->listen_peer_urls,
                    &c->initial_advertise_peer_urls,
                    &c->initial_cluster,
                    &c->initial_cluster_state,
                    &c->initial_cluster_token,
                    &c->cert_file,
                    &c->key_file,
                    &c->trusted_ca_file,
                    &c->peer_cert_file,
                    &c->peer_key_file,
                    &c->peer_trusted_ca_file};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(*all[i]);
}

/* One gateway a client URL. */
static bool start_gateways(struct server *s, const struct config *c, struct gateway **gateways,
                           struct error **err)
{
    cleanup_free char *urls = mem_strdup(c->listen_client_urls);
    char *save, *text;
    size_t n = 0;
    for (text = strtok_r(urls, ",", &save); text; text = strtok_r(NULL, ",", &save)) {
        struct url url;
        if (!url_parse(text, &url, err))
            return false;
        if (n == MAX_LISTENERS) {
            error_setf(err, "too many client URLs");
            return false;
        }
        if (url.tls && (!c->cert_file || !c->key_file)) {
            error_setf(err, "https client URLs need --cert-file and --key-file");
            return false;
        }
        if (strcmp(url.host, "localhost") == 0)
            strcpy(url.host, "127.0.0.1");
        cleanup_free char *address =
            mem_printf(strchr(url.host, ':') ? "[%s]:%s" : "%s:%s", url.host, url.port);
        struct gateway_options o = {.address = address,
                                    .max_request = (size_t)c->max_request_bytes,
                                    .quota = c->quota_bytes < 0    ? 0
                                             : c->quota_bytes == 0 ? DEFAULT_QUOTA
                                                                   : (size_t)c->quota_bytes};
        if (url.tls) {
            o.cert_file = c->cert_file;
            o.key_file = c->key_file;
            o.ca_file = c->trusted_ca_file;
            o.client_cert_auth = c->client_cert_auth;
        }
        gateways[n] = gateway_start(s, &o, err);
        if (!gateways[n])
            return false;
        log_info("Serving clients", "url", text, "port", log_int(gateway_port(gateways[n])));
        n++;
    }
    return true;
}

static void on_note(void *data, bool removed)
{
    struct cluster *cluster = data;
    cleanup_error struct error *e = NULL;
    cluster->joining = false;
    cluster->removed |= removed;
    if (!cluster_note(cluster, &e))
        log_error("Cannot note what this member is", "err", error_message(e));
}

static struct cluster_options cluster_options(const struct config *c)
{
    return (struct cluster_options){
        .data_dir = c->data_dir,
        .name = c->name,
        .initial_cluster = c->initial_cluster,
        .token = c->initial_cluster_token,
        .advertise_peer_url = c->initial_advertise_peer_urls,
        .existing = strcmp(c->initial_cluster_state, "existing") == 0,
        .tls = {c->peer_cert_file, c->peer_key_file, c->peer_trusted_ca_file}};
}

static bool run(const struct config *c, struct error **err)
{
    struct cluster cluster = {0};
    struct server *server = NULL;
    struct gateway *gateways[MAX_LISTENERS] = {0};
    char **client_urls = NULL;
    struct cluster_options co = cluster_options(c);
    bool ok = cluster_open(&cluster, &co, err);
    if (ok && cluster.removed) {
        log_warn("This member was removed from the cluster, and ends", "advice", REMOVED_ADVICE);
        cluster_close(&cluster);
        return true;
    }
    if (ok) {
        client_urls = cluster_split(c->advertise_client_urls);
        struct server_options o = {.name = c->name,
                                   .data_dir = c->data_dir,
                                   .cluster_id = cluster.id,
                                   .member_id = cluster.self,
                                   .members = cluster.members,
                                   .n_members = cluster.n_members,
                                   .fresh = cluster.fresh,
                                   .joining = cluster.joining,
                                   .note = on_note,
                                   .note_data = &cluster,
                                   .listen_peer_url = c->listen_peer_urls,
                                   .advertise_peer_url = c->initial_advertise_peer_urls,
                                   .peer_cert_file = c->peer_cert_file,
                                   .peer_key_file = c->peer_key_file,
                                   .peer_ca_file = c->peer_trusted_ca_file,
                                   .client_urls = (const char *const *)client_urls,
                                   .heartbeat_ms = (unsigned)c->heartbeat_ms,
                                   .election_ms = (unsigned)c->election_ms,
                                   .snapshot_count = (unsigned)c->snapshot_count,
                                   .watch_sink = gateway_watch_sink()};
        server = server_start(&o, err);
        ok = server != NULL && (!cluster.fresh || cluster_note(&cluster, err)) &&
             start_gateways(server, c, gateways, err);
    }
    if (ok) {
        component_wait();
        log_info("Stopping");
    }
    if (server)
        server_stop(server);
    for (size_t i = 0; i < MAX_LISTENERS; i++)
        gateway_stop(gateways[i]);
    if (server && server_failed(server) && ok) {
        error_setf(err, "this member has failed; see above");
        ok = false;
    }
    server_free(server);
    cluster_free_split(client_urls);
    cluster_close(&cluster);
    return ok;
}

int main(int argc, char **argv)
{
    mem_tune();
    component_init_signals();
    struct config c;
    cleanup_error struct error *e = NULL;
    const char *backup = NULL;
    if (argc > 2 && strcmp(argv[1], "restore") == 0) {
        backup = argv[2];
        argv[2] = argv[0];
        argv += 2;
        argc -= 2;
    }
    bool ok = parse_flags(argc, argv, &c, &e);
    if (ok && backup) {
        struct cluster_options co = cluster_options(&c);
        ok = restore_member(backup, c.skip_hash_check, &co, &e);
    } else if (ok) {
        ok = run(&c, &e);
    }
    if (!ok && e)
        log_error(backup ? "Cannot restore" : "Cannot run", "err", error_message(e));
    config_clear(&c);
    return ok || !e ? 0 : 1;
}
