/* A probe's settings and the way from single results to a verdict. Pure. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "kubelet/probe/check.h"

enum probe_kind { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS };
const char *probe_field(enum probe_kind k); /* "startupProbe" */
const char *probe_title(enum probe_kind k); /* "Startup" */

struct probe_settings {
    int64_t initial_delay_ms, period_ms, timeout_ms;
    int success_threshold, failure_threshold;
};
void probe_settings_from_json(const cJSON *probe, struct probe_settings *out); /* with Kubernetes' defaults */

struct probe_run {
    enum check_result last;
    int count; /* how often in a row */
};
/* Counts one result. True when it has come often enough to be the verdict. */
bool probe_count(struct probe_run *r, const struct probe_settings *s, enum check_result result);
