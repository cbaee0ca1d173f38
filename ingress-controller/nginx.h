/* nginx as a child process: kept running, and given its data over a Unix socket. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

struct nginx_options {
    const char *program;       /* "/usr/sbin/nginx" */
    const char *configuration; /* "/etc/nginx/nginx.conf" */
    const char *run_dir;       /* "/run/ingress": the control socket and the default certificate */
    int workers;
    void (*restarted)(void *userdata); /* it started anew and knows nothing; any thread */
    void *userdata;
};
struct nginx;
struct nginx *nginx_start(const struct nginx_options *o, struct error **err);
/* Gives it a document ("routes", "backends", "certificates"), effective from the next request on.
 */
bool nginx_post(struct nginx *n, const char *name, const char *json, size_t len,
                struct error **err);
/* How often it was started. What was posted before the current number is lost. */
unsigned nginx_generation(const struct nginx *n);
/* Lets requests under way end, for at most grace_ms. Frees. */
void nginx_stop(struct nginx *n, int64_t grace_ms);
