/* ingress-controller: requests from outside, by the rules of Ingresses, to Services. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "common/component.h"
#include "common/leader_election.h"
#include "common/log.h"
#include "common/mem.h"
#include "ingress-controller/controller.h"

#define WORKERS_MAX 64

static char *kubeconfig, *controller_class, *ingress_class, *publish_service, *default_certificate,
    *nginx, *nginx_conf, *run_dir;
static bool without_class;
static int64_t workers, health_port = 10254, shutdown_grace_ms = 5000, drain_ms = 240000;

static const struct flag flags[] = {
    {"kubeconfig", FLAG_STRING, &kubeconfig,
     "Path to a kubeconfig; without it, the pod's service account is used"},
    {"controller-class", FLAG_STRING, &controller_class,
     "The controller that IngressClasses name for this one"},
    {"ingress-class", FLAG_STRING, &ingress_class,
     "Value of the annotation kubernetes.io/ingress.class for this controller"},
    {"watch-ingress-without-class", FLAG_BOOL, &without_class,
     "Serve Ingresses too that name no class"},
    {"publish-service", FLAG_STRING, &publish_service,
     "namespace/name of the Service whose addresses Ingresses get as theirs"},
    {"default-ssl-certificate", FLAG_STRING, &default_certificate,
     "namespace/name of a Secret: the certificate of all other hosts"},
    {"nginx", FLAG_STRING, &nginx, "Path of nginx"},
    {"nginx-configuration", FLAG_STRING, &nginx_conf, "Path of nginx.conf"},
    {"run-dir", FLAG_STRING, &run_dir, "Folder for the control socket; best in memory"},
    {"worker-processes", FLAG_INT, &workers, "nginx' worker processes; 0: one a CPU, at most 4"},
    {"healthz-port", FLAG_INT, &health_port, "Port of /healthz, /readyz and /metrics"},
    {"shutdown-grace-period", FLAG_DURATION_MS, &shutdown_grace_ms,
     "How long to go on after SIGTERM, until no node sends connections here any more"},
    {"drain-timeout", FLAG_DURATION_MS, &drain_ms,
     "How long requests under way may take after that"},
    {0},
};

static bool ready(void *userdata, struct error **why)
{
    if (component_stopping())
        error_setf(why, "shutting down");
    else if (!controller_ready(userdata))
        error_setf(why, "nginx has not got its first configuration yet");
    else
        return true;
    return false;
}

static int worker_count(void)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (workers > 0)
        return (int)(workers < WORKERS_MAX ? workers : WORKERS_MAX);
    return cpus < 1 ? 1 : cpus > 4 ? 4 : (int)cpus;
}

static bool run(struct error **err)
{
    struct kube_client_config config;
    if (!kube_client_config_find(kubeconfig, &config, err))
        return false;
    struct kube_client *client = component_connect(&config, "ingress-controller", err);
    if (!client)
        return false;
    const char *ns = getenv("POD_NAMESPACE"), *pod = getenv("POD_NAME");
    cleanup_free char *identity = pod && *pod ? mem_strdup(pod) : leader_election_identity();
    struct controller *c = controller_start(
        &(struct controller_options){
            .client = client,
            .controller_class = controller_class,
            .ingress_class = ingress_class,
            .without_class = without_class,
            .publish_service = publish_service,
            .default_certificate = default_certificate,
            .ns = ns && *ns ? ns : "ingress-nginx",
            .identity = identity,
            .nginx = nginx,
            .nginx_conf = nginx_conf,
            .run_dir = run_dir,
            .workers = worker_count(),
        },
        err);
    if (!c || !component_serve(&(struct component_server_options){.bind_address = "0.0.0.0",
                                                                  .port = (int)health_port,
                                                                  .ready = ready,
                                                                  .userdata = c},
                               err))
        return false;
    log_info("Running", "class", controller_class, "version", SKIFF_VERSION);
    component_wait();
    log_info("Shutting down", "after", "grace period");
    nanosleep(&(struct timespec){.tv_sec = shutdown_grace_ms / 1000,
                                 .tv_nsec = shutdown_grace_ms % 1000 * 1000000},
              NULL);
    controller_stop(c, drain_ms);
    kube_client_free(client);
    return true;
}

int main(int argc, char **argv)
{
    mem_tune();
    component_init_signals();
    controller_class = mem_strdup("k8s.io/ingress-nginx");
    ingress_class = mem_strdup("nginx");
    publish_service = mem_strdup("");
    default_certificate = mem_strdup("");
    nginx = mem_strdup("/usr/sbin/nginx");
    nginx_conf = mem_strdup("/etc/nginx/nginx.conf");
    run_dir = mem_strdup("/run/ingress");
    return component_main(argc, argv, flags, "Serves Ingresses by nginx.", run);
}
