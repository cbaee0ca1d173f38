#include "kubelet/probe/probe.h"
#include "common/json.h"

const char *probe_field(enum probe_kind k)
{
    return k == PROBE_STARTUP ? "startupProbe" : k == PROBE_LIVENESS ? "livenessProbe" : "readinessProbe";
}

const char *probe_title(enum probe_kind k)
{
    return k == PROBE_STARTUP ? "Startup" : k == PROBE_LIVENESS ? "Liveness" : "Readiness";
}

static int64_t positive(const cJSON *probe, const char *field, int64_t otherwise)
{
    int64_t v = json_int(probe, field, otherwise);
    return v <= 0 ? otherwise : v > 1000000 ? 1000000 : v;
}

void probe_settings_from_json(const cJSON *probe, struct probe_settings *out)
{
    int64_t delay = json_int(probe, "initialDelaySeconds", 0);
    *out = (struct probe_settings){
        .initial_delay_ms = (delay < 0 ? 0 : delay > 1000000 ? 1000000 : delay) * 1000,
        .period_ms = positive(probe, "periodSeconds", 10) * 1000,
        .timeout_ms = positive(probe, "timeoutSeconds", 1) * 1000,
        .success_threshold = (int)positive(probe, "successThreshold", 1),
        .failure_threshold = (int)positive(probe, "failureThreshold", 3),
    };
}

bool probe_count(struct probe_run *r, const struct probe_settings *s, enum check_result result)
{
    if (result == CHECK_UNKNOWN)
        return false; /* keeps what was known */
    if (r->count && r->last == result) {
        if (r->count < 1000000)
            r->count++;
    } else {
        r->last = result;
        r->count = 1;
    }
    return r->count >= (result == CHECK_SUCCESS ? s->success_threshold : s->failure_threshold);
}
