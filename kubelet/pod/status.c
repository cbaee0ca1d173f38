#include "kubelet/pod/status.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include <string.h>

/* --- containers --- */

static const struct pod_container_state *find_state(const struct status_input *in, const char *name)
{
    for (size_t i = 0; i < in->state_count; i++)
        if (strcmp(in->states[i].name, name) == 0)
            return &in->states[i];
    return NULL;
}

static const cJSON *find_by(const cJSON *array, const char *field, const char *value)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, array)
    {
        if (strcmp(json_str_or(e, field, ""), value) == 0)
            return e;
    }
    return NULL;
}

static void set_container_id(cJSON *o, const char *path, const char *id)
{
    cleanup_free char *text = mem_printf("containerd://%s", id);
    json_set_str(o, path, text);
}

static void set_time(cJSON *o, const char *path, int64_t nanoseconds)
{
    char text[TIME_TEXT_MAX];
    if (nanoseconds > 0)
        json_set_str(o, path, time_format(nanoseconds / 1000000000, text));
}

static cJSON *terminated(const struct runtime_container *c)
{
    cJSON *o = cJSON_CreateObject(), *t = json_ensure_object(o, "terminated");
    json_set_int(t, "exitCode", c->exit_code);
    const char *reason = c->reason && *c->reason ? c->reason : c->exit_code ? "Error" : "Completed";
    json_set_str(t, "reason", reason);
    if (c->message && *c->message)
        json_set_str(t, "message", c->message);
    set_time(t, "startedAt", c->started_at);
    set_time(t, "finishedAt", c->finished_at);
    set_container_id(t, "containerID", c->id);
    return o;
}

static cJSON *waiting(const char *reason, const char *message)
{
    cJSON *o = cJSON_CreateObject(), *w = json_ensure_object(o, "waiting");
    json_set_str(w, "reason", reason);
    if (message && *message)
        json_set_str(w, "message", message);
    return o;
}

/* allocatedResources: what the container was given; resources: what it runs with. */
static void set_resources(cJSON *o, const cJSON *spec, const cJSON *applied)
{
    const cJSON *resources = json_get(spec, "resources");
    const cJSON *requests = json_get(resources, "requests");
    if (cJSON_GetArraySize(requests))
        json_set(o, "allocatedResources", json_dup(requests));
    const cJSON *actual = applied ? applied : resources;
    json_set(o, "resources", cJSON_IsObject(actual) ? json_dup(actual) : cJSON_CreateObject());
}

static void set_volume_mounts(cJSON *o, const cJSON *spec)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, json_get(spec, "volumeMounts"))
    {
        cJSON *e = cJSON_CreateObject();
        json_set_str(e, "name", json_str_or(m, "name", ""));
        json_set_str(e, "mountPath", json_str_or(m, "mountPath", ""));
        if (json_bool(m, "readOnly", false)) {
            json_set_bool(e, "readOnly", true);
            json_set_str(e, "recursiveReadOnly", "Disabled");
        }
        cJSON_AddItemToArray(json_ensure_array(o, "volumeMounts"), e);
    }
}

static cJSON *container_status(const struct status_input *in, const struct pod_container *want, const cJSON *old_array,
                               bool initialized)
{
    const struct pod_container_state *s = find_state(in, want->name);
    const struct runtime_container *c = NULL, *previous = NULL;
    for (size_t i = 0; i < in->containers->count && !previous; i++) {
        const struct runtime_container *k = &in->containers->items[i];
        if (strcmp(k->name, want->name) != 0)
            continue;
        if (!c)
            c = k;
        else if (k->state == CONTAINER_EXITED)
            previous = k;
    }
    const cJSON *old = find_by(old_array, "name", want->name);
    bool was_terminated = json_path(old, "state.terminated") != NULL;
    if (!c && old && (was_terminated || (in->terminal && json_str(old, "containerID"))))
        return json_dup(old); /* the runtime forgot a container whose end was reported */

    cJSON *o = cJSON_CreateObject();
    json_set_str(o, "name", want->name);
    const char *blocked = s ? s->waiting_reason : NULL;
    const char *idle = want->kind == CONTAINER_MAIN && !initialized ? "PodInitializing" : "ContainerCreating";
    bool ready = false, started = false;
    cJSON *state = NULL, *last = NULL;
    if (c && c->state == CONTAINER_RUNNING && !(s && s->post_start_running)) {
        state = cJSON_CreateObject();
        json_ensure_object(state, "running");
        set_time(state, "running.startedAt", c->started_at);
        started = s && s->started && s->instance && strcmp(s->instance, c->id) == 0;
        ready = started && s->ready && (want->kind == CONTAINER_MAIN || want->kind == CONTAINER_SIDECAR);
        if (want->kind == CONTAINER_INIT)
            started = true;
    } else if (c && c->state == CONTAINER_EXITED) {
        if (blocked && !in->terminal) {
            state = waiting(blocked, s->waiting_message);
            last = terminated(c);
        } else {
            state = terminated(c);
            ready = want->kind == CONTAINER_INIT && c->exit_code == 0;
        }
    } else {
        state = waiting(blocked ? blocked : idle, blocked ? s->waiting_message : NULL);
    }
    if (!last && previous)
        last = terminated(previous);
    json_set(o, "state", state);
    json_set(o, "lastState", last ? last : cJSON_CreateObject());
    json_set_bool(o, "ready", ready);
    json_set_int(o, "restartCount", c ? c->restart_count : json_int(old, "restartCount", 0));
    const char *spec_image = json_str_or(want->spec, "image", "");
    json_set_str(o, "image", c && c->image && *c->image && strncmp(c->image, "sha256:", 7) != 0 ? c->image : spec_image);
    json_set_str(o, "imageID", c && c->image_ref ? c->image_ref : "");
    if (c && c->state != CONTAINER_CREATED)
        set_container_id(o, "containerID", c->id);
    if (want->kind != CONTAINER_EPHEMERAL) /* without probes nothing is said of it */
        json_set_bool(o, "started", started);
    if (c)
        set_resources(o, want->spec, s && c->state == CONTAINER_RUNNING ? s->applied : NULL);
    set_volume_mounts(o, want->spec);
    return o;
}

/* --- phase --- */

static bool exited_badly(const cJSON *state)
{
    return json_get(state, "terminated") && json_int(state, "terminated.exitCode", 0) != 0;
}

const char *status_phase(const cJSON *pod, const cJSON *init_statuses, const cJSON *statuses, bool terminal)
{
    const cJSON *spec, *status;
    int pending_init = 0, failed_init = 0;
    bool init_ended = false; /* one failed, and is not tried again */
    cJSON_ArrayForEach(spec, json_path(pod, "spec.initContainers"))
    {
        status = find_by(init_statuses, "name", json_str_or(spec, "name", ""));
        const cJSON *state = json_get(status, "state");
        if (strcmp(json_str_or(spec, "restartPolicy", ""), "Always") == 0) {
            if (!json_bool(status, "started", false))
                pending_init++;
        } else if (exited_badly(state) || (json_get(state, "waiting") && exited_badly(json_get(status, "lastState")))) {
            failed_init++;
            struct pod_container c = {spec, "", CONTAINER_INIT};
            if (!json_get(state, "waiting") &&
                !container_restarts(pod, &c, (int)json_int(state, "terminated.exitCode", 0)))
                init_ended = true;
        } else if (!json_get(state, "terminated")) {
            pending_init++;
        }
    }
    int waiting_count = 0, running = 0, stopped = 0, succeeded = 0, unknown = 0, again = 0;
    cJSON_ArrayForEach(spec, json_path(pod, "spec.containers"))
    {
        status = find_by(statuses, "name", json_str_or(spec, "name", ""));
        const cJSON *state = json_get(status, "state");
        if (json_get(state, "running")) {
            running++;
        } else if (json_get(state, "terminated")) {
            stopped++;
            succeeded += !exited_badly(state);
            struct pod_container c = {spec, "", CONTAINER_MAIN};
            again += container_restarts(pod, &c, (int)json_int(state, "terminated.exitCode", 0));
        } else if (json_get(state, "waiting")) {
            if (json_path(status, "lastState.terminated")) {
                stopped++;
                again++;
            } else {
                waiting_count++;
            }
        } else {
            unknown++;
        }
    }
    bool started = running + stopped > 0;
    if (init_ended)
        return "Failed";
    if (terminal && (stopped || running))
        return stopped + running == succeeded && !waiting_count ? "Succeeded" : "Failed";
    if (terminal && (failed_init || pending_init || waiting_count))
        return "Failed"; /* it ended before it came to run */
    if ((pending_init || failed_init) && !started)
        return "Pending";
    if (waiting_count)
        return "Pending";
    if (running && !unknown)
        return "Running";
    if (!running && stopped && !unknown)
        return again ? "Running" : stopped == succeeded ? "Succeeded" : "Failed";
    return "Pending";
}

/* --- conditions --- */

struct condition {
    const char *type;
    bool status;
    const char *reason, *message;
};

static void add_condition(const struct status_input *in, cJSON *conditions, const struct condition *c)
{
    const cJSON *old = find_by(json_get(in->old_status, "conditions"), "type", c->type);
    cJSON *o = cJSON_CreateObject();
    json_set_str(o, "type", c->type);
    const char *status = c->status ? "True" : "False";
    json_set_str(o, "status", status);
    int64_t generation = json_int(in->pod, "metadata.generation", 0);
    if (generation > 0)
        json_set_int(o, "observedGeneration", generation);
    char now[TIME_TEXT_MAX];
    const char *since = json_str(old, "lastTransitionTime");
    bool same = old && strcmp(json_str_or(old, "status", ""), status) == 0 && since;
    json_set_str(o, "lastTransitionTime", same ? since : time_format(in->now, now));
    if (c->reason && *c->reason)
        json_set_str(o, "reason", c->reason);
    if (c->message && *c->message)
        json_set_str(o, "message", c->message);
    cJSON_AddItemToArray(conditions, o);
}

static void list_name(struct buf *b, const char *name)
{
    buf_printf(b, "%s%s", b->len ? " " : "", name);
}

static void add_conditions(const struct status_input *in, cJSON *status, const struct pod_container_list *all)
{
    const char *phase = json_str_or(status, "phase", "");
    bool done = strcmp(phase, "Succeeded") == 0, failed = strcmp(phase, "Failed") == 0;
    cleanup_buf struct buf incomplete = {0}, unready = {0};
    bool started = false;
    for (size_t i = 0; i < all->count && all->items[i].kind != CONTAINER_EPHEMERAL; i++) {
        bool is_main = all->items[i].kind == CONTAINER_MAIN;
        const cJSON *s = find_by(json_get(status, is_main ? "containerStatuses" : "initContainerStatuses"), "name",
                                 all->items[i].name);
        if (is_main && (json_path(s, "state.running") || json_path(s, "state.terminated")))
            started = true;
        bool up = json_bool(s, "ready", false);
        if (all->items[i].kind != CONTAINER_INIT && !up)
            list_name(&unready, all->items[i].name);
        if ((all->items[i].kind == CONTAINER_INIT && !up) ||
            (all->items[i].kind == CONTAINER_SIDECAR && !json_bool(s, "started", false)))
            list_name(&incomplete, all->items[i].name);
    }
    const struct runtime_sandbox *sandbox = in->sandboxes->count ? &in->sandboxes->items[0] : NULL;
    cJSON *conditions = json_ensure_array(status, "conditions");
    add_condition(in, conditions,
                  &(struct condition){"PodReadyToStartContainers",
                                      sandbox && sandbox->ready && in->pod_ips && *in->pod_ips && !done && !failed, NULL,
                                      NULL});
    cleanup_free char *incomplete_text = mem_printf("containers with incomplete status: [%s]", buf_str(&incomplete));
    if (done)
        add_condition(in, conditions, &(struct condition){"Initialized", true, "PodCompleted", NULL});
    else if (incomplete.len && !started)
        add_condition(in, conditions,
                      &(struct condition){"Initialized", false, "ContainersNotInitialized", incomplete_text});
    else
        add_condition(in, conditions, &(struct condition){"Initialized", true, NULL, NULL});

    cleanup_free char *unready_text = mem_printf("containers with unready status: [%s]", buf_str(&unready));
    struct condition ready = {"Ready", true, NULL, NULL};
    if (done)
        ready = (struct condition){"Ready", false, "PodCompleted", NULL};
    else if (failed)
        ready = (struct condition){"Ready", false, "PodFailed", NULL};
    else if (unready.len)
        ready = (struct condition){"Ready", false, "ContainersNotReady", unready_text};
    struct condition containers_ready = ready;
    containers_ready.type = "ContainersReady";
    cleanup_buf struct buf gates = {0};
    const cJSON *gate;
    cJSON_ArrayForEach(gate, json_path(in->pod, "spec.readinessGates"))
    {
        const char *type = json_str_or(gate, "conditionType", "");
        const cJSON *c = find_by(json_path(in->pod, "status.conditions"), "type", type);
        if (!c)
            buf_printf(&gates, "%scorresponding condition of pod readiness gate \"%s\" does not exist.",
                       gates.len ? ", " : "", type);
        else if (strcmp(json_str_or(c, "status", ""), "True") != 0)
            buf_printf(&gates, "%sthe status of pod readiness gate \"%s\" is not \"True\", but %s",
                       gates.len ? ", " : "", type, json_str_or(c, "status", ""));
    }
    if (ready.status && gates.len)
        ready = (struct condition){"Ready", false, "ReadinessGatesNotReady", buf_str(&gates)};
    add_condition(in, conditions, &ready);
    add_condition(in, conditions, &containers_ready);
    add_condition(in, conditions, &(struct condition){"PodScheduled", true, NULL, NULL});
    if (in->disrupted)
        add_condition(in, conditions, &(struct condition){"DisruptionTarget", true, "TerminationByKubelet", in->end_message});
}

/* --- addresses --- */

static void add_ips(cJSON *status, const char *single, const char *plural, const char *ips)
{
    cleanup_free char *list = mem_strdup(ips);
    char *save = NULL;
    bool first = true;
    for (char *ip = strtok_r(list, ",", &save); ip; ip = strtok_r(NULL, ",", &save)) {
        if (first)
            json_set_str(status, single, ip);
        first = false;
        cJSON *e = cJSON_CreateObject();
        json_set_str(e, "ip", ip);
        cJSON_AddItemToArray(json_ensure_array(status, plural), e);
    }
}

cJSON *status_compute(const struct status_input *in)
{
    cJSON *status = cJSON_CreateObject();
    int64_t generation = json_int(in->pod, "metadata.generation", 0);
    if (generation > 0)
        json_set_int(status, "observedGeneration", generation);
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(in->pod, &all);
    bool has_init = false, initialized = true;
    cJSON *statuses = cJSON_CreateArray(), *init_statuses = cJSON_CreateArray();
    for (size_t i = 0; i < all.count; i++) {
        const char *field = container_kind_status(all.items[i].kind);
        cJSON *s = container_status(in, &all.items[i], json_get(in->old_status, field), initialized);
        if (all.items[i].kind == CONTAINER_MAIN) {
            cJSON_AddItemToArray(statuses, s);
            continue;
        }
        if (all.items[i].kind == CONTAINER_EPHEMERAL) {
            cJSON_AddItemToArray(json_ensure_array(status, "ephemeralContainerStatuses"), s);
            continue;
        }
        has_init = true;
        bool up = all.items[i].kind == CONTAINER_INIT ? json_bool(s, "ready", false) : json_bool(s, "started", false);
        initialized = initialized && up;
        cJSON_AddItemToArray(init_statuses, s);
    }
    json_set_str(status, "phase",
                 in->end_phase ? in->end_phase : status_phase(in->pod, init_statuses, statuses, in->terminal));
    if (in->end_reason)
        json_set_str(status, "reason", in->end_reason);
    if (in->end_message)
        json_set_str(status, "message", in->end_message);
    if (has_init)
        json_set(status, "initContainerStatuses", init_statuses);
    else
        cJSON_Delete(init_statuses);
    json_set(status, "containerStatuses", statuses);
    if (in->end_phase && !in->containers->count && !json_get(in->old_status, "containerStatuses"))
        json_remove(status, "containerStatuses"); /* rejected: its containers never were */
    add_conditions(in, status, &all);
    if (in->host_ip && *in->host_ip)
        add_ips(status, "hostIP", "hostIPs", in->host_ip);
    /* A pod that ended keeps the address that it had. */
    if (in->pod_ips && *in->pod_ips) {
        add_ips(status, "podIP", "podIPs", in->pod_ips);
    } else if (in->terminal && json_str(in->old_status, "podIP")) {
        json_set_str(status, "podIP", json_str(in->old_status, "podIP"));
        json_set(status, "podIPs", json_dup(json_get(in->old_status, "podIPs")));
    }
    char now[TIME_TEXT_MAX];
    json_set_str(status, "startTime", json_str_or(in->old_status, "startTime", time_format(in->now, now)));
    json_set_str(status, "qosClass", json_str_or(in->pod, "status.qosClass", pod_qos(in->pod)));
    return status;
}
