/* What every component's main() has in common: flags, signals, /healthz /readyz /livez /metrics. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

/* --- flags: --name=value, --name value, --bool, --bool=false; "_" and "-" alike --- */
enum flag_type { FLAG_STRING, FLAG_INT, FLAG_BOOL, FLAG_DURATION_MS, FLAG_STRINGS /* repeated; comma-joined */ };
struct flag {
    const char *name; /* without dashes */
    enum flag_type type;
    void *value; /* char ** (owned, default set before), int64_t *, bool *, int64_t * (ms) */
    const char *help;
};
bool component_parse_duration(const char *text, int64_t *ms); /* "1m30s", "500ms", "0" */
/* Table ended by a NULL name. --help prints usage on stdout and --version the version; both end the process through exit status 0
 * by returning false with *err NULL. An unknown flag or bad value is an error naming the flag. "-v"/"--v" sets log_verbosity. */
bool component_parse_flags(int argc, char **argv, const struct flag *flags, const char *description, struct error **err);

/* --- signals: blocks SIGPIPE; SIGTERM and SIGINT wake component_wait() --- */
void component_init_signals(void); /* before any thread */
/* Returns on SIGTERM, SIGINT or component_request_stop(). Until then, memory that is not needed goes back to the kernel whenever
 * the process is calm (mem_release_idle()). For the main thread. */
void component_wait(void);
void component_request_stop(void); /* from any thread */
bool component_stopping(void);

/* --- metrics: process-wide registry, Prometheus text --- */
struct metric;
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
/* label_names: "verb,code" or "". buckets (histograms): ascending, ended by 0; NULL for the default. Never freed; call at start. */
struct metric *metric_new(enum metric_type type, const char *name, const char *help, const char *label_names, const double *buckets);
/* label_values: "GET\x1f200": values joined by \x1f in the order of the names; "" when there are none. */
void metric_add(struct metric *m, const char *label_values, double v);     /* counter, gauge */
void metric_set(struct metric *m, const char *label_values, double v);     /* gauge */
void metric_observe(struct metric *m, const char *label_values, double v); /* histogram */
void metrics_render(struct buf *out); /* all, with process_resident_memory_bytes, process_cpu_seconds_total, ... */

/* --- the small server that every component has --- */
struct component_server;
struct component_server_options {
    const char *bind_address; /* "0.0.0.0" */
    int port;                 /* 0: no server */
    const char *cert_file, *key_file, *client_ca_file; /* NULL cert: plain HTTP (only sensible on loopback) */
    bool (*ready)(void *userdata, struct error **why); /* /readyz; NULL: ready once started */
    void *userdata;
};
struct component_server *component_serve(const struct component_server_options *o, struct error **err);

#define SKIFF_VERSION      "v1.36.0-skiff.1"
#define KUBERNETES_VERSION "v1.36.0"
const char *component_user_agent(const char *component, struct buf *b);

/* --- starting --- */
struct kube_client;
struct kube_client_config;
/* A client that names the component to the API. Clears config. */
struct kube_client *component_connect(struct kube_client_config *config, const char *component, struct error **err);
/* Parses the flags and runs: what main() returns. Before it come mem_tune, component_init_signals and the flags' defaults. */
int component_main(int argc, char **argv, const struct flag *flags, const char *description, bool (*run)(struct error **err));
