/* kubelet: runs the pods that are bound to this node. */
#include "common/component.h"
#include "common/httpd.h"
#include "common/json.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/recorder.h"
#include "kubelet/cri/rpc.h"
#include "kubelet/credential/credential.h"
#include "kubelet/csi/csi.h"
#include "kubelet/eviction/eviction.h"
#include "kubelet/garbage/garbage.h"
#include "kubelet/kubelet.h"
#include "kubelet/metrics.h"
#include "kubelet/node/node.h"
#include "kubelet/pod/pod.h"
#include "kubelet/pod/static.h"
#include "kubelet/server/server.h"
#include "kubelet/shutdown/shutdown.h"
#include "kubelet/stats/stats.h"
#include "kubelet/volume/atomic.h"
#include <ctype.h>
#include <curl/curl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Flags; set once before threads start. */
static struct {
    char *kubeconfig, *hostname, *node_ip, *runtime, *root_dir, *cert_file, *key_file, *client_ca, *cgroup_root,
        *cgroup_driver, *pause_image, *labels, *system_reserved, *kube_reserved, *cluster_dns, *cluster_domain,
        *cni_conf_dir, *address, *resolv_conf, *manifests;
    bool anonymous_auth;
    int64_t port, healthz_port, max_pods, pod_max_pids, status_update_ms, status_report_ms, lease_seconds;
    struct eviction_flags eviction;
    struct eviction_options evict;
    struct garbage_options garbage;
    char *log_max_size, *provider_config, *provider_bin_dir, *allowed_sysctls;
    struct shutdown_options shutdown;
} flags;

static const struct flag flag_table[] = {
    {"kubeconfig", FLAG_STRING, &flags.kubeconfig, "Path to the kubeconfig that tells how to reach the API server"},
    {"hostname-override", FLAG_STRING, &flags.hostname, "Name of this node; the host's name if empty"},
    {"node-ip", FLAG_STRING, &flags.node_ip, "Address of this node, or one of each IP family joined by a comma"},
    {"container-runtime-endpoint", FLAG_STRING, &flags.runtime, "Socket of the container runtime"},
    {"root-dir", FLAG_STRING, &flags.root_dir, "Where volumes and other files of pods are kept"},
    {"address", FLAG_STRING, &flags.address, "Address to serve on"},
    {"port", FLAG_INT, &flags.port, "Port to serve on"},
    {"healthz-port", FLAG_INT, &flags.healthz_port, "Port of the health check on 127.0.0.1; 0 for none"},
    {"tls-cert-file", FLAG_STRING, &flags.cert_file, "Certificate of the server"},
    {"tls-private-key-file", FLAG_STRING, &flags.key_file, "Its private key"},
    {"client-ca-file", FLAG_STRING, &flags.client_ca, "Certificate authority of clients"},
    {"anonymous-auth", FLAG_BOOL, &flags.anonymous_auth,
     "Requests without credentials are those of system:anonymous instead of being refused"},
    {"cgroup-root", FLAG_STRING, &flags.cgroup_root, "Control group under which those of pods are made"},
    {"cgroup-driver", FLAG_STRING, &flags.cgroup_driver, "Must be cgroupfs"},
    {"pod-infra-container-image", FLAG_STRING, &flags.pause_image,
     "Image of pods' sandboxes: named in the runtime's configuration; here for its garbage collection"},
    {"max-pods", FLAG_INT, &flags.max_pods, "Number of pods that this node runs at most"},
    {"pod-max-pids", FLAG_INT, &flags.pod_max_pids, "Number of processes in a pod; -1 for no limit"},
    {"node-labels", FLAG_STRINGS, &flags.labels, "Labels of the node: key=value,..."},
    {"system-reserved", FLAG_STRINGS, &flags.system_reserved, "Not for pods but the system: cpu=100m,memory=256Mi,..."},
    {"kube-reserved", FLAG_STRINGS, &flags.kube_reserved, "Not for pods but the cluster's own processes"},
    {"cluster-dns", FLAG_STRINGS, &flags.cluster_dns, "Addresses of the cluster's DNS"},
    {"cluster-domain", FLAG_STRING, &flags.cluster_domain, "Domain of the cluster"},
    {"resolv-conf", FLAG_STRING, &flags.resolv_conf, "Resolver configuration that pods inherit"},
    {"pod-manifest-path", FLAG_STRING, &flags.manifests, "Folder of files of static pods, or one file"},
    {"cni-conf-dir", FLAG_STRING, &flags.cni_conf_dir, "Where to write the CNI configuration; empty for nowhere"},
    {"node-status-update-frequency", FLAG_DURATION_MS, &flags.status_update_ms, "How often the node's status is computed"},
    {"node-status-report-frequency", FLAG_DURATION_MS, &flags.status_report_ms,
     "How often it is reported though nothing changed"},
    {"node-lease-duration-seconds", FLAG_INT, &flags.lease_seconds, "Life of the node's lease"},
    {"eviction-hard", FLAG_STRING, &flags.eviction.hard, "Pods are ended when less than that is free: signal<quantity,..."},
    {"eviction-soft", FLAG_STRING, &flags.eviction.soft, "The same, after a grace period"},
    {"eviction-soft-grace-period", FLAG_STRING, &flags.eviction.soft_grace, "signal=duration,..."},
    {"eviction-minimum-reclaim", FLAG_STRING, &flags.eviction.minimum_reclaim,
     "What must be free beyond the threshold before it is over: signal=quantity,..."},
    {"eviction-max-pod-grace-period", FLAG_INT, &flags.evict.max_grace_seconds,
     "Seconds that pods have to end for a soft threshold"},
    {"eviction-pressure-transition-period", FLAG_DURATION_MS, &flags.evict.transition_ms,
     "How long a pressure is told after it was last seen"},
    {"housekeeping-interval", FLAG_DURATION_MS, &flags.evict.interval_ms, "How often thresholds are looked at"},
    {"container-log-max-size", FLAG_STRING, &flags.log_max_size, "Logs of containers are rotated at this size"},
    {"container-log-max-files", FLAG_INT, &flags.garbage.log_max_files, "Files of one container's log, at least 2"},
    {"container-log-monitor-interval", FLAG_DURATION_MS, &flags.garbage.log_interval_ms,
     "How often the size of logs is looked at"},
    {"image-gc-high-threshold", FLAG_INT, &flags.garbage.image_high,
     "Percent of the disk in use from which unused images are removed"},
    {"image-gc-low-threshold", FLAG_INT, &flags.garbage.image_low, "Percent of the disk in use down to which they are removed"},
    {"minimum-image-ttl-duration", FLAG_DURATION_MS, &flags.garbage.image_min_age_ms, "Unused images younger than that stay"},
    {"image-maximum-gc-age", FLAG_DURATION_MS, &flags.garbage.image_max_age_ms,
     "Images that were not used for so long are removed; 0 for never"},
    {"image-credential-provider-config", FLAG_STRING, &flags.provider_config,
     "A CredentialProviderConfig: which plug-ins give credentials for which images"},
    {"image-credential-provider-bin-dir", FLAG_STRING, &flags.provider_bin_dir, "Where those plug-ins are"},
    {"allowed-unsafe-sysctls", FLAG_STRINGS, &flags.allowed_sysctls,
     "Sysctls that pods may set beside the safe ones: kernel.msg*,net.core.somaxconn,..."},
    {"shutdown-grace-period", FLAG_DURATION_MS, &flags.shutdown.grace_ms,
     "How long pods have to end when the node shuts down (SIGPWR tells); 0: they are not ended"},
    {"shutdown-grace-period-critical-pods", FLAG_DURATION_MS, &flags.shutdown.critical_grace_ms,
     "The part of it that critical pods have, at the end"},
    {"image-gc-period", FLAG_DURATION_MS, &flags.garbage.image_interval_ms, "How often images are looked at"},
    {0},
};

/* --- the API --- */

struct api_clients {
    struct kube_client *client;
    struct recorder *recorder;
};

static cJSON *api_request(void *userdata, const char *method, const char *path, const char *content_type,
                          const cJSON *body, struct error **err)
{
    struct api_clients *c = userdata;
    enum { TIMEOUT_MS = 10000 }; /* a server that hangs must not cost the node its lease */
    return kube_request_timeout(c->client, method, path, content_type, body, TIMEOUT_MS, err);
}

static void api_event(void *userdata, const cJSON *object, const char *field_path, const char *type, const char *reason,
                      const char *message)
{
    struct api_clients *c = userdata;
    recorder_event_field(c->recorder, object, field_path, type, reason, "%s", message);
}

/* --- what the runtime tells --- */

static struct informer *pods; /* settled before the first event */

static void container_changed(void *userdata, const char *id, bool ended)
{
    pods_container_changed(userdata, id, ended);
}

static void relist(void *arg)
{
    struct kubelet *k = arg;
    if (!atomic_load(&k->stopping))
        pods_relist(k, informer_synced(pods));
    kubelet_release_soon(k);
}

static void events_lost(void *userdata)
{
    struct kubelet *k = userdata;
    pool_run(k->pool, relist, k);
    /* And once more for what happened while the stream was being opened. */
    pool_run_after(k->pool, 1000, relist, k);
}

static void relist_again(void *arg)
{
    enum { RELIST_MS = 10000 };
    struct kubelet *k = arg;
    relist(k);
    if (!atomic_load(&k->stopping))
        pool_run_after(k->pool, RELIST_MS, relist_again, k);
}

static void local_volumes_changed(void *userdata)
{
    struct kubelet *k = userdata;
    if (k->agent)
        node_agent_report(k->agent);
}

/* --- start --- */

static void strip_pod(cJSON *pod)
{
    json_remove(pod, "metadata.managedFields");
}

static void strip_node(cJSON *node)
{
    json_remove(node, "metadata.managedFields");
}

static bool check_flags(struct error **err)
{
    if (!flags.kubeconfig || !*flags.kubeconfig) {
        error_setf(err, "--kubeconfig is required");
        return false;
    }
    if (strcmp(flags.cgroup_driver, "cgroupfs") != 0) {
        error_setf(err, "--cgroup-driver=%s is not supported: cgroupfs is", flags.cgroup_driver);
        return false;
    }
    if (!flags.node_ip || !*flags.node_ip) {
        error_setf(err, "--node-ip is required");
        return false;
    }
    flags.garbage.log_max_size = quantity_text_value(flags.log_max_size);
    if (flags.garbage.log_max_size <= 0 || flags.garbage.log_max_files < 2) {
        error_setf(err, "--container-log-max-size must be a size, --container-log-max-files at least 2");
        return false;
    }
    if (flags.garbage.image_low < 0 || flags.garbage.image_high > 100 || flags.garbage.image_low > flags.garbage.image_high) {
        error_setf(err, "--image-gc-low-threshold must not be above --image-gc-high-threshold, both from 0 to 100");
        return false;
    }
    if (flags.evict.interval_ms < 100 || flags.garbage.log_interval_ms < 100 || flags.garbage.image_interval_ms < 100) {
        error_setf(err, "--housekeeping-interval, --container-log-monitor-interval and --image-gc-period are at least 100ms");
        return false;
    }
    if (flags.shutdown.critical_grace_ms > flags.shutdown.grace_ms) {
        error_setf(err, "--shutdown-grace-period-critical-pods must not be longer than --shutdown-grace-period");
        return false;
    }
    flags.garbage.sandbox_image = flags.pause_image;
    if (!thresholds_parse(&flags.eviction, &flags.evict.thresholds, err))
        return false;
    for (char *p = flags.hostname; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return true;
}

/* Until it answers: its version is part of what the node reports. */
static char *runtime_version(struct kubelet *k)
{
    for (;;) {
        cleanup_error struct error *failure = NULL;
        cleanup_free char *name = NULL, *version = NULL;
        if (cri_version(&k->cri, &name, &version, &failure))
            return mem_printf("%s://%s", name, version);
        log_warn("The container runtime does not answer yet", "endpoint", flags.runtime, "err", error_message(failure));
        if (component_stopping())
            return NULL;
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
}

static bool setup_node(struct kubelet *k, struct node_config *config, struct node_facts *facts, struct error **err)
{
    if (!make_directories(k->root_dir, 0750, err) || !make_directories("/var/log/pods", 0755, err))
        return false;
    if (!node_read_facts(config, k->root_dir, flags.max_pods, facts, err))
        return false;
    k->allocatable_cpu_milli = facts->allocatable_cpu_milli;
    k->allocatable_memory = facts->allocatable_memory;
    k->allocatable_ephemeral = facts->allocatable_ephemeral;
    k->cgroups = cgroups_new("/sys/fs/cgroup", flags.cgroup_root);
    k->translate.cgroup_v2 = cgroups_v2(k->cgroups);
    k->translate.memory = facts->memory;
    k->translate.oom_lowest = oom_lowest_allowed();
    return cgroups_setup(k->cgroups, facts->allocatable_cpu_milli, facts->pods_memory, err);
}

static bool is_ready(void *userdata, struct error **why)
{
    cleanup_free char *reason = NULL;
    if (node_agent_ready(userdata, &reason))
        return true;
    error_setf(why, "%s", reason);
    return false;
}

static bool run(struct error **err)
{
    static struct kubelet k; /* lives as long as the process: jobs may still point to it at the end */
    if (!check_flags(err))
        return false;
    struct kube_client_config config = {0};
    if (!kube_client_config_load(flags.kubeconfig, &config, err))
        return false;
    static struct api_clients clients;
    clients.client = component_connect(&config, "kubelet", err);
    if (!clients.client)
        return false;
    clients.recorder = recorder_new(clients.client, "kubelet", flags.hostname);

    kubelet_metrics_init(flags.hostname);
    k.node_name = flags.hostname;
    k.node_ip = flags.node_ip;
    k.root_dir = flags.root_dir;
    k.max_pods = flags.max_pods;
    k.allowed_sysctls = flags.allowed_sysctls;
    k.pod_max_pids = flags.pod_max_pids;
    k.version = mem_strdup("1.36");
    k.api = (struct kubelet_api){api_request, api_event, &clients};
    pthread_mutex_init(&k.lock, NULL);
    pthread_mutex_init(&k.runtime_lock, NULL);
    k.pool = pool_new(256);
    k.objects = object_cache_new(&k.api);
    cleanup_buf struct buf resolv = {0};
    buf_read_file(&resolv, flags.resolv_conf, NULL);
    k.translate = (struct translate_node){
        .cluster_dns = flags.cluster_dns ? flags.cluster_dns : "",
        .cluster_domain = flags.cluster_domain,
        .resolv_conf = buf_str(&resolv),
        .seccomp_dir = mem_printf("%s/seccomp", flags.root_dir),
    };
    k.volumes = (struct volume_node){k.root_dir, &k.api, k.objects, local_volumes_changed, &k, NULL};
    k.volumes.csi = csi_new(&(struct csi_options){k.root_dir, k.node_name, &k.api, k.objects});
    struct rpc_client *runtime = rpc_client_new(flags.runtime);
    k.cri = cri_over_rpc(runtime);

    struct node_config node = {
        .labels = flags.labels,
        .system_reserved = flags.system_reserved,
        .kube_reserved = flags.kube_reserved,
        .cni_conf_dir = flags.cni_conf_dir,
        .port = (int)flags.port,
        .status_report_ms = flags.status_report_ms,
        .status_update_ms = flags.status_update_ms,
        .lease_seconds = flags.lease_seconds,
        .eviction = &flags.evict.thresholds,
    };
    struct node_facts facts;
    if (!setup_node(&k, &node, &facts, err))
        return false;
    struct httpd *server = NULL;
    if (flags.cert_file && *flags.cert_file) {
        server = server_start(&k,
                              &(struct server_options){flags.address, (int)flags.port, flags.cert_file, flags.key_file,
                                                       flags.client_ca, flags.anonymous_auth},
                              err);
        if (!server)
            return false;
    }
    k.rates = rates_new();
    cleanup_free char *version = runtime_version(&k);
    if (!version)
        return true; /* asked to stop meanwhile */
    node.runtime = version;
    struct node_agent *agent = node_agent_start(&k, &node, &facts);
    k.agent = agent;
    if (!csi_start(k.volumes.csi, err))
        return false;
    if (flags.healthz_port &&
        !component_serve(&(struct component_server_options){.bind_address = "127.0.0.1",
                                                            .port = (int)flags.healthz_port,
                                                            .ready = is_ready,
                                                            .userdata = agent},
                         err))
        return false;

    cleanup_free char *own_pods = mem_printf("spec.nodeName=%s", k.node_name);
    cleanup_free char *own_node = mem_printf("metadata.name=%s", k.node_name);
    struct informer *nodes = informer_new(&(struct informer_options){.client = clients.client,
                                                                     .api_version = "v1",
                                                                     .resource = "nodes",
                                                                     .field_selector = own_node,
                                                                     .strip = strip_node});
    informer_add_handler(nodes, node_agent_changed, agent);
    pods = informer_new(&(struct informer_options){.client = clients.client,
                                                   .api_version = "v1",
                                                   .resource = "pods",
                                                   .field_selector = own_pods,
                                                   .strip = strip_pod});
    informer_add_handler(pods, pods_handle_event, &k);
    struct static_pods *statics = flags.manifests && *flags.manifests ? static_pods_start(&k, flags.manifests) : NULL;
    informer_start(nodes);
    informer_start(pods);
    cri_events_start(runtime, container_changed, events_lost, &k);
    pool_run_after(k.pool, 10000, relist_again, &k);
    if (flags.provider_config && *flags.provider_config) {
        k.credential_providers = credential_providers_load(
            flags.provider_config, flags.provider_bin_dir ? flags.provider_bin_dir : "", err);
        if (!k.credential_providers)
            return false;
    }
    uint64_t image_bytes;
    cri_image_fs(&k.cri, &image_bytes, &k.image_dir, NULL);
    stats_start(&k);
    eviction_start(&k, &flags.evict, agent);
    garbage_start(&k, &flags.garbage, agent);
    shutdown_start(&k, &flags.shutdown, agent);
    log_info("Running", "node", k.node_name, "runtime", version, "version", SKIFF_VERSION);

    component_wait();
    /* Containers go on without us. What we were about to do, the next kubelet does. */
    atomic_store(&k.stopping, true);
    static_pods_stop(statics);
    csi_stop(k.volumes.csi);
    informer_stop(pods);
    informer_stop(nodes);
    cri_events_stop();
    recorder_flush(clients.recorder, 500);
    return true;
}

int main(int argc, char **argv)
{
    mem_tune();
    component_init_signals();
    shutdown_block_signal();
    umask(022);
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    flags.hostname = mem_strdup(host);
    flags.runtime = mem_strdup("unix:///run/containerd/containerd.sock");
    flags.root_dir = mem_strdup("/var/lib/kubelet");
    flags.address = mem_strdup("0.0.0.0");
    flags.cgroup_root = mem_strdup("/");
    flags.cgroup_driver = mem_strdup("cgroupfs");
    flags.cluster_domain = mem_strdup("cluster.local");
    flags.resolv_conf = mem_strdup("/etc/resolv.conf");
    flags.cni_conf_dir = mem_strdup("/etc/cni/net.d");
    flags.port = 10250;
    flags.healthz_port = 10248;
    flags.max_pods = 110;
    flags.pod_max_pids = -1;
    flags.status_update_ms = 10000;
    flags.status_report_ms = 300000;
    flags.lease_seconds = 40;
    flags.eviction.hard = mem_strdup("memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,"
                                     "imagefs.available<15%,imagefs.inodesFree<5%");
    flags.evict.transition_ms = 300000;
    flags.evict.interval_ms = 10000;
    flags.log_max_size = mem_strdup("10Mi");
    flags.garbage = (struct garbage_options){.log_max_files = 5,
                                             .log_interval_ms = 10000,
                                             .image_high = 85,
                                             .image_low = 80,
                                             .image_min_age_ms = 120000,
                                             .image_interval_ms = 300000};
    cleanup_error struct error *err = NULL;
    if (!component_parse_flags(argc, argv, flag_table, "Runs the pods that are bound to this node.", &err)) {
        if (!err)
            return 0;
        log_error("Bad flags", "err", error_message(err));
        return 2;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (!run(&err)) {
        log_error("Could not start", "err", error_message(err));
        return 1;
    }
    fflush(NULL);
    _exit(0); /* jobs that wait for the runtime need not end first: nothing of theirs is lost */
}
