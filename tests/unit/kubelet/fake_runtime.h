/* A container runtime inside the test: answers CRI calls from a table of sandboxes and containers that the test can
 * change. And an API server that keeps one pod. */
#pragma once
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/cri/cri.h"

#define FAKE_MAX 32
struct fake_container {
    char id[32], name[64], sandbox[32], uid[64], hash[32], restarts[16], image[64];
    int state; /* as in CRI */
    int exit_code;
    int64_t created, started, finished;
    bool removed;
};
struct fake_runtime {
    pthread_mutex_t lock;
    struct {
        char id[32], uid[64];
        bool ready, removed;
        uint32_t attempt;
        int64_t created;
    } sandboxes[FAKE_MAX];
    struct fake_container containers[FAKE_MAX];
    int sandbox_count, container_count;
    int64_t clock; /* ns; each creation is a little later than the one before */
    bool image_present, fail_sandbox, down, stop_ignored;
    char calls[65536]; /* "RunPodSandbox CreateContainer(app) StartContainer(app) " */
};

static inline void fake_note(struct fake_runtime *f, const char *what, const char *name)
{
    size_t n = strlen(f->calls);
    snprintf(f->calls + n, sizeof(f->calls) - n, name ? "%s(%s) " : "%s ", what, name);
}

static inline struct fake_container *fake_find(struct fake_runtime *f, const char *id)
{
    for (int i = 0; i < f->container_count; i++)
        if (strcmp(f->containers[i].id, id) == 0 && !f->containers[i].removed)
            return &f->containers[i];
    return NULL;
}

/* The newest instance of a name. */
static inline struct fake_container *fake_newest(struct fake_runtime *f, const char *name)
{
    for (int i = f->container_count; i-- > 0;)
        if (strcmp(f->containers[i].name, name) == 0 && !f->containers[i].removed)
            return &f->containers[i];
    return NULL;
}

static inline ProtobufCMessage *fake_answer(const void *message, const ProtobufCMessageDescriptor *type)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(n + 1);
    protobuf_c_message_pack(message, bytes);
    ProtobufCMessage *m = protobuf_c_message_unpack(type, NULL, n, bytes);
    free(bytes);
    ck_assert_ptr_nonnull(m);
    return m;
}

static inline const char *fake_label(void *entries, size_t n, const char *key)
{
    Runtime__V1__ContainerConfig__LabelsEntry **e = entries;
    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i]->key, key) == 0)
            return e[i]->value;
    return "";
}

static inline ProtobufCMessage *fake_list_sandboxes(struct fake_runtime *f, const ProtobufCMessageDescriptor *type)
{
    Runtime__V1__ListPodSandboxResponse r = RUNTIME__V1__LIST_POD_SANDBOX_RESPONSE__INIT;
    Runtime__V1__PodSandbox items[FAKE_MAX], *pointers[FAKE_MAX];
    Runtime__V1__PodSandboxMetadata metadata[FAKE_MAX];
    Runtime__V1__PodSandbox__LabelsEntry labels[FAKE_MAX], *label_pointers[FAKE_MAX];
    for (int i = 0; i < f->sandbox_count; i++) {
        if (f->sandboxes[i].removed)
            continue;
        runtime__v1__pod_sandbox__init(&items[i]);
        runtime__v1__pod_sandbox_metadata__init(&metadata[i]);
        runtime__v1__pod_sandbox__labels_entry__init(&labels[i]);
        labels[i].key = (char *)CRI_LABEL_POD_UID;
        labels[i].value = f->sandboxes[i].uid;
        label_pointers[i] = &labels[i];
        items[i].labels = &label_pointers[i];
        items[i].n_labels = 1;
        items[i].id = f->sandboxes[i].id;
        items[i].metadata = &metadata[i];
        metadata[i].attempt = f->sandboxes[i].attempt;
        items[i].created_at = f->sandboxes[i].created;
        items[i].state = f->sandboxes[i].ready ? RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY
                                               : RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
        pointers[r.n_items++] = &items[i];
    }
    r.items = pointers;
    return fake_answer(&r, type);
}

static inline ProtobufCMessage *fake_list_containers(struct fake_runtime *f, const ProtobufCMessageDescriptor *type)
{
    Runtime__V1__ListContainersResponse r = RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;
    static Runtime__V1__Container items[FAKE_MAX], *pointers[FAKE_MAX];
    static Runtime__V1__Container__LabelsEntry labels[FAKE_MAX][2], *label_pointers[FAKE_MAX][2];
    static Runtime__V1__Container__AnnotationsEntry notes[FAKE_MAX][2], *note_pointers[FAKE_MAX][2];
    for (int i = 0; i < f->container_count; i++) {
        struct fake_container *c = &f->containers[i];
        if (c->removed)
            continue;
        runtime__v1__container__init(&items[i]);
        const char *const keys[] = {CRI_LABEL_POD_UID, CRI_LABEL_CONTAINER_NAME, CRI_ANNOTATION_HASH, CRI_ANNOTATION_RESTARTS};
        char *values[] = {c->uid, c->name, c->hash, c->restarts};
        for (int k = 0; k < 2; k++) {
            runtime__v1__container__labels_entry__init(&labels[i][k]);
            runtime__v1__container__annotations_entry__init(&notes[i][k]);
            labels[i][k].key = (char *)keys[k];
            labels[i][k].value = values[k];
            notes[i][k].key = (char *)keys[2 + k];
            notes[i][k].value = values[2 + k];
            label_pointers[i][k] = &labels[i][k];
            note_pointers[i][k] = &notes[i][k];
        }
        items[i].labels = label_pointers[i];
        items[i].annotations = note_pointers[i];
        items[i].n_labels = items[i].n_annotations = 2;
        items[i].id = c->id;
        items[i].pod_sandbox_id = c->sandbox;
        items[i].image_ref = c->image;
        items[i].state = (Runtime__V1__ContainerState)c->state;
        items[i].created_at = c->created;
        pointers[r.n_containers++] = &items[i];
    }
    r.containers = pointers;
    return fake_answer(&r, type);
}

static inline void fake_exit(struct fake_runtime *f, struct fake_container *c, int code)
{
    if (c->state != CONTAINER_RUNNING)
        return;
    c->state = CONTAINER_EXITED;
    c->exit_code = code;
    c->finished = time_now_micros() * 1000;
    (void)f;
}

static inline ProtobufCMessage *fake_container_status(struct fake_runtime *f, const char *id,
                                                      const ProtobufCMessageDescriptor *type, struct error **err)
{
    struct fake_container *c = fake_find(f, id);
    if (!c) {
        error_set(err, 404, "NotFound", "no container %s", id);
        return NULL;
    }
    Runtime__V1__ContainerStatusResponse r = RUNTIME__V1__CONTAINER_STATUS_RESPONSE__INIT;
    Runtime__V1__ContainerStatus s = RUNTIME__V1__CONTAINER_STATUS__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__ContainerStatus__AnnotationsEntry notes[2], *pointers[] = {&notes[0], &notes[1]};
    for (int i = 0; i < 2; i++) {
        runtime__v1__container_status__annotations_entry__init(&notes[i]);
        notes[i].key = (char *)(i ? CRI_ANNOTATION_RESTARTS : CRI_ANNOTATION_HASH);
        notes[i].value = i ? c->restarts : c->hash;
    }
    r.status = &s;
    s.annotations = pointers;
    s.n_annotations = 2;
    s.id = c->id;
    s.image = &image;
    image.image = c->image;
    s.image_ref = c->image;
    s.state = (Runtime__V1__ContainerState)c->state;
    s.created_at = c->created;
    s.started_at = c->started;
    s.finished_at = c->finished;
    s.exit_code = c->exit_code;
    return fake_answer(&r, type);
}

static inline bool fake_call(void *userdata, const char *method, const ProtobufCMessage *request,
                             const ProtobufCMessageDescriptor *type, int64_t timeout_ms, ProtobufCMessage **answer,
                             struct error **err)
{
    struct fake_runtime *f = userdata;
    (void)timeout_ms;
    method = strchr(method, '/') + 1;
    pthread_mutex_lock(&f->lock);
    *answer = NULL;
    int64_t now = time_now_micros() * 1000 + ++f->clock;
    if (f->down) {
        error_set(err, 503, "Unavailable", "rpc error: code = Unavailable desc = down");
    } else if (strcmp(method, "ListPodSandbox") == 0) {
        *answer = fake_list_sandboxes(f, type);
    } else if (strcmp(method, "ListContainers") == 0) {
        *answer = fake_list_containers(f, type);
    } else if (strcmp(method, "ContainerStatus") == 0) {
        *answer = fake_container_status(f, ((Runtime__V1__ContainerStatusRequest *)request)->container_id, type, err);
    } else if (strcmp(method, "PodSandboxStatus") == 0) {
        const char *id = ((Runtime__V1__PodSandboxStatusRequest *)request)->pod_sandbox_id;
        Runtime__V1__PodSandboxStatusResponse r = RUNTIME__V1__POD_SANDBOX_STATUS_RESPONSE__INIT;
        Runtime__V1__PodSandboxStatus s = RUNTIME__V1__POD_SANDBOX_STATUS__INIT;
        Runtime__V1__PodSandboxNetworkStatus network = RUNTIME__V1__POD_SANDBOX_NETWORK_STATUS__INIT;
        for (int i = 0; i < f->sandbox_count; i++)
            if (strcmp(f->sandboxes[i].id, id) == 0)
                s.state = f->sandboxes[i].ready ? RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY
                                                : RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
        network.ip = (char *)"10.244.0.5";
        s.network = &network;
        r.status = &s;
        *answer = fake_answer(&r, type);
    } else if (strcmp(method, "RunPodSandbox") == 0) {
        fake_note(f, method, NULL);
        Runtime__V1__RunPodSandboxRequest *q = (void *)request;
        if (f->fail_sandbox) {
            error_set(err, 500, "Unknown", "rpc error: code = Unknown desc = no network");
        } else {
            int i = f->sandbox_count++;
            ck_assert_int_lt(i, FAKE_MAX);
            snprintf(f->sandboxes[i].id, 32, "sandbox-%d", i);
            snprintf(f->sandboxes[i].uid, 64, "%s", q->config->metadata->uid);
            f->sandboxes[i].ready = true;
            f->sandboxes[i].attempt = q->config->metadata->attempt;
            f->sandboxes[i].created = now;
            Runtime__V1__RunPodSandboxResponse r = RUNTIME__V1__RUN_POD_SANDBOX_RESPONSE__INIT;
            r.pod_sandbox_id = f->sandboxes[i].id;
            *answer = fake_answer(&r, type);
        }
    } else if (strcmp(method, "StopPodSandbox") == 0 || strcmp(method, "RemovePodSandbox") == 0) {
        const char *id = ((Runtime__V1__StopPodSandboxRequest *)request)->pod_sandbox_id;
        fake_note(f, method, NULL);
        for (int i = 0; i < f->sandbox_count; i++) {
            if (strcmp(f->sandboxes[i].id, id) != 0)
                continue;
            f->sandboxes[i].ready = false;
            f->sandboxes[i].removed = f->sandboxes[i].removed || *method == 'R';
            for (int n = 0; n < f->container_count; n++)
                if (strcmp(f->containers[n].sandbox, id) == 0)
                    fake_exit(f, &f->containers[n], 137);
        }
        *answer = fake_answer(&(Runtime__V1__StopPodSandboxResponse)RUNTIME__V1__STOP_POD_SANDBOX_RESPONSE__INIT, type);
    } else if (strcmp(method, "CreateContainer") == 0) {
        Runtime__V1__CreateContainerRequest *q = (void *)request;
        int i = f->container_count++;
        ck_assert_int_lt(i, FAKE_MAX);
        struct fake_container *c = &f->containers[i];
        snprintf(c->id, 32, "container-%d", i);
        snprintf(c->name, 64, "%s", q->config->metadata->name);
        snprintf(c->sandbox, 32, "%s", q->pod_sandbox_id);
        snprintf(c->uid, 64, "%s", fake_label(q->config->labels, q->config->n_labels, CRI_LABEL_POD_UID));
        snprintf(c->hash, 32, "%s", fake_label(q->config->annotations, q->config->n_annotations, CRI_ANNOTATION_HASH));
        snprintf(c->restarts, 16, "%s", fake_label(q->config->annotations, q->config->n_annotations, CRI_ANNOTATION_RESTARTS));
        snprintf(c->image, 64, "%s", q->config->image->image);
        c->state = CONTAINER_CREATED;
        c->created = now;
        fake_note(f, "Create", c->name);
        Runtime__V1__CreateContainerResponse r = RUNTIME__V1__CREATE_CONTAINER_RESPONSE__INIT;
        r.container_id = c->id;
        *answer = fake_answer(&r, type);
    } else if (strcmp(method, "StartContainer") == 0) {
        struct fake_container *c = fake_find(f, ((Runtime__V1__StartContainerRequest *)request)->container_id);
        fake_note(f, "Start", c->name);
        c->state = CONTAINER_RUNNING;
        c->started = now;
        *answer = fake_answer(&(Runtime__V1__StartContainerResponse)RUNTIME__V1__START_CONTAINER_RESPONSE__INIT, type);
    } else if (strcmp(method, "StopContainer") == 0) {
        Runtime__V1__StopContainerRequest *q = (void *)request;
        struct fake_container *c = fake_find(f, q->container_id);
        char what[128];
        snprintf(what, sizeof(what), "%s,%d", c ? c->name : "?", (int)q->timeout);
        fake_note(f, "Stop", what);
        if (c && !f->stop_ignored)
            fake_exit(f, c, 143);
        *answer = fake_answer(&(Runtime__V1__StopContainerResponse)RUNTIME__V1__STOP_CONTAINER_RESPONSE__INIT, type);
    } else if (strcmp(method, "RemoveContainer") == 0) {
        struct fake_container *c = fake_find(f, ((Runtime__V1__RemoveContainerRequest *)request)->container_id);
        if (c) {
            fake_note(f, "Remove", c->name);
            c->removed = true;
        }
        *answer = fake_answer(&(Runtime__V1__RemoveContainerResponse)RUNTIME__V1__REMOVE_CONTAINER_RESPONSE__INIT, type);
    } else if (strcmp(method, "ImageStatus") == 0) {
        Runtime__V1__ImageStatusResponse r = RUNTIME__V1__IMAGE_STATUS_RESPONSE__INIT;
        Runtime__V1__Image image = RUNTIME__V1__IMAGE__INIT;
        image.id = (char *)"sha256:1";
        if (f->image_present)
            r.image = &image;
        *answer = fake_answer(&r, type);
    } else if (strcmp(method, "PullImage") == 0) {
        fake_note(f, "Pull", ((Runtime__V1__PullImageRequest *)request)->image->image);
        error_set(err, 404, "NotFound", "rpc error: code = NotFound desc = no such image");
    } else if (strcmp(method, "ExecSync") == 0) {
        Runtime__V1__ExecSyncRequest *q = (void *)request;
        struct fake_container *c = fake_find(f, q->container_id);
        char what[128];
        snprintf(what, sizeof(what), "%s,%s", c ? c->name : "?", q->n_cmd ? q->cmd[0] : "");
        fake_note(f, "Exec", what);
        Runtime__V1__ExecSyncResponse r = RUNTIME__V1__EXEC_SYNC_RESPONSE__INIT;
        r.exit_code = q->n_cmd && strcmp(q->cmd[0], "false") == 0;
        *answer = fake_answer(&r, type);
    } else {
        error_set(err, 501, "Unimplemented", "%s", method);
    }
    bool ok = *answer != NULL;
    pthread_mutex_unlock(&f->lock);
    return ok;
}
