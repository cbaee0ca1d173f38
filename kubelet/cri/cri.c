#include "kubelet/cri/cri.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/cri/rpc.h"
#include "kubelet/metrics.h"
#include <stdio.h>
#include <string.h>

#define CALL_TIMEOUT_MS 120000 /* Kubernetes' --runtime-request-timeout */

static bool rpc_call(void *userdata, const char *method, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *answer_type, int64_t timeout_ms,
                     ProtobufCMessage **answer, struct error **err)
{
    size_t len = protobuf_c_message_get_packed_size(request);
    cleanup_free uint8_t *bytes = mem_alloc(len + 1);
    protobuf_c_message_pack(request, bytes);
    char path[128];
    snprintf(path, sizeof(path), "/runtime.v1.%s", method);
    cleanup_buf struct buf reply = {0};
    if (!rpc_unary(userdata, path, bytes, len, timeout_ms, &reply, err))
        return false;
    *answer = protobuf_c_message_unpack(answer_type, NULL, reply.len, (const uint8_t *)buf_str(&reply));
    if (!*answer) {
        error_setf(err, "the runtime's answer to %s is malformed", method);
        return false;
    }
    return true;
}

struct cri cri_over_rpc(struct rpc_client *client)
{
    return (struct cri){rpc_call, client};
}

static void *call(const struct cri *c, const char *method, const void *request,
                  const ProtobufCMessageDescriptor *answer_type, int64_t timeout_ms, struct error **err)
{
    ProtobufCMessage *answer = NULL;
    int64_t began = time_now_micros();
    bool ok = c->call(c->userdata, method, request, answer_type, timeout_ms, &answer, err);
    kubelet_metrics_runtime(method, ok, (double)(time_now_micros() - began) / 1e6);
    return ok ? answer : NULL;
}

static void answer_cleanup(void *p)
{
    ProtobufCMessage *m = *(ProtobufCMessage **)p;
    if (m)
        protobuf_c_message_free_unpacked(m, NULL);
}
#define cleanup_answer __attribute__((cleanup(answer_cleanup)))

#define DESCRIPTOR(lower) (&runtime__v1__##lower##_response__descriptor)

/* All map entries that protobuf-c generates look alike. */
struct map_entry {
    ProtobufCMessage base;
    char *key;
    char *value;
};
static const char *map_get(void *entries, size_t n, const char *key)
{
    struct map_entry **e = entries;
    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i]->key, key) == 0)
            return e[i]->value;
    return NULL;
}

void runtime_container_clear(struct runtime_container *c)
{
    char **all[] = {&c->id,        &c->sandbox_id, &c->name,    &c->pod_uid,  &c->pod_name,         &c->pod_namespace,
                    &c->image,     &c->image_ref,  &c->reason,  &c->message,  &c->log_path,         &c->termination_path,
                    &c->termination_policy};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(*all[i]);
    memset(c, 0, sizeof(*c));
}

void runtime_sandbox_clear(struct runtime_sandbox *s)
{
    free(s->id);
    free(s->pod_uid);
    free(s->pod_name);
    free(s->pod_namespace);
    free(s->ip);
    memset(s, 0, sizeof(*s));
}

void runtime_containers_clear(struct runtime_containers *l)
{
    for (size_t i = 0; i < l->count; i++)
        runtime_container_clear(&l->items[i]);
    free(l->items);
    *l = (struct runtime_containers){0};
}

void runtime_sandboxes_clear(struct runtime_sandboxes *l)
{
    for (size_t i = 0; i < l->count; i++)
        runtime_sandbox_clear(&l->items[i]);
    free(l->items);
    *l = (struct runtime_sandboxes){0};
}

bool cri_version(const struct cri *c, char **name, char **version, struct error **err)
{
    Runtime__V1__VersionRequest request = RUNTIME__V1__VERSION_REQUEST__INIT;
    request.version = "v1";
    cleanup_answer Runtime__V1__VersionResponse *answer =
        call(c, "RuntimeService/Version", &request, DESCRIPTOR(version), 10000, err);
    if (!answer)
        return false;
    *name = mem_strdup(answer->runtime_name);
    *version = mem_strdup(answer->runtime_version);
    return true;
}

bool cri_status(const struct cri *c, char **runtime_not_ready, char **network_not_ready, struct error **err)
{
    Runtime__V1__StatusRequest request = RUNTIME__V1__STATUS_REQUEST__INIT;
    cleanup_answer Runtime__V1__StatusResponse *answer =
        call(c, "RuntimeService/Status", &request, DESCRIPTOR(status), 10000, err);
    if (!answer)
        return false;
    bool runtime = false, network = false;
    *runtime_not_ready = *network_not_ready = NULL;
    for (size_t i = 0; answer->status && i < answer->status->n_conditions; i++) {
        const Runtime__V1__RuntimeCondition *k = answer->status->conditions[i];
        bool is_runtime = strcmp(k->type, "RuntimeReady") == 0;
        if (!is_runtime && strcmp(k->type, "NetworkReady") != 0)
            continue;
        *(is_runtime ? &runtime : &network) = true;
        if (!k->status) {
            char **out = is_runtime ? runtime_not_ready : network_not_ready;
            free(*out);
            *out = mem_printf("%s=false reason:%s message:%s", k->type, k->reason, k->message);
        }
    }
    if (!runtime)
        *runtime_not_ready = mem_strdup("RuntimeReady condition is missing");
    if (!network)
        *network_not_ready = mem_strdup("NetworkReady condition is missing");
    return true;
}

static int newest_sandbox_first(const void *a, const void *b)
{
    const struct runtime_sandbox *x = a, *y = b;
    return x->created_at < y->created_at ? 1 : x->created_at > y->created_at ? -1 : 0;
}

static int newest_container_first(const void *a, const void *b)
{
    const struct runtime_container *x = a, *y = b;
    return x->created_at < y->created_at ? 1 : x->created_at > y->created_at ? -1 : 0;
}

bool cri_list_sandboxes(const struct cri *c, const char *pod_uid, struct runtime_sandboxes *out, struct error **err)
{
    Runtime__V1__ListPodSandboxRequest request = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__PodSandboxFilter filter = RUNTIME__V1__POD_SANDBOX_FILTER__INIT;
    Runtime__V1__PodSandboxFilter__LabelSelectorEntry entry =
        RUNTIME__V1__POD_SANDBOX_FILTER__LABEL_SELECTOR_ENTRY__INIT;
    Runtime__V1__PodSandboxFilter__LabelSelectorEntry *entries[] = {&entry};
    if (pod_uid) {
        entry.key = CRI_LABEL_POD_UID;
        entry.value = (char *)pod_uid;
        filter.n_label_selector = 1;
        filter.label_selector = entries;
        request.filter = &filter;
    }
    cleanup_answer Runtime__V1__ListPodSandboxResponse *answer =
        call(c, "RuntimeService/ListPodSandbox", &request, DESCRIPTOR(list_pod_sandbox), CALL_TIMEOUT_MS, err);
    if (!answer)
        return false;
    *out = (struct runtime_sandboxes){mem_alloc((answer->n_items + 1) * sizeof(*out->items)), 0};
    for (size_t i = 0; i < answer->n_items; i++) {
        const Runtime__V1__PodSandbox *s = answer->items[i];
        const char *uid = map_get(s->labels, s->n_labels, CRI_LABEL_POD_UID);
        if (!uid || !*uid)
            continue;
        struct runtime_sandbox *o = &out->items[out->count++];
        o->id = mem_strdup(s->id);
        o->pod_uid = mem_strdup(uid);
        o->pod_name = mem_strdup(s->metadata ? s->metadata->name : "");
        o->pod_namespace = mem_strdup(s->metadata ? s->metadata->namespace_ : "");
        o->attempt = s->metadata ? s->metadata->attempt : 0;
        o->ready = s->state == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
        o->created_at = s->created_at;
    }
    qsort(out->items, out->count, sizeof(*out->items), newest_sandbox_first);
    return true;
}

static enum container_state container_state_of(Runtime__V1__ContainerState s)
{
    switch (s) {
    case RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED:
        return CONTAINER_CREATED;
    case RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING:
        return CONTAINER_RUNNING;
    case RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED:
        return CONTAINER_EXITED;
    default:
        return CONTAINER_UNKNOWN;
    }
}

static void read_annotations(struct runtime_container *o, void *annotations, size_t n)
{
    const char *hash = map_get(annotations, n, CRI_ANNOTATION_HASH);
    const char *restarts = map_get(annotations, n, CRI_ANNOTATION_RESTARTS);
    o->hash = hash ? strtoull(hash, NULL, 16) : 0;
    o->restart_count = restarts ? atoi(restarts) : 0;
}

bool cri_list_containers(const struct cri *c, const char *pod_uid, struct runtime_containers *out, struct error **err)
{
    Runtime__V1__ListContainersRequest request = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    Runtime__V1__ContainerFilter filter = RUNTIME__V1__CONTAINER_FILTER__INIT;
    Runtime__V1__ContainerFilter__LabelSelectorEntry entry =
        RUNTIME__V1__CONTAINER_FILTER__LABEL_SELECTOR_ENTRY__INIT;
    Runtime__V1__ContainerFilter__LabelSelectorEntry *entries[] = {&entry};
    if (pod_uid) {
        entry.key = CRI_LABEL_POD_UID;
        entry.value = (char *)pod_uid;
        filter.n_label_selector = 1;
        filter.label_selector = entries;
        request.filter = &filter;
    }
    cleanup_answer Runtime__V1__ListContainersResponse *answer =
        call(c, "RuntimeService/ListContainers", &request, DESCRIPTOR(list_containers), CALL_TIMEOUT_MS, err);
    if (!answer)
        return false;
    *out = (struct runtime_containers){mem_alloc((answer->n_containers + 1) * sizeof(*out->items)), 0};
    for (size_t i = 0; i < answer->n_containers; i++) {
        const Runtime__V1__Container *k = answer->containers[i];
        const char *uid = map_get(k->labels, k->n_labels, CRI_LABEL_POD_UID);
        const char *name = map_get(k->labels, k->n_labels, CRI_LABEL_CONTAINER_NAME);
        if (!uid || !*uid || !name)
            continue;
        struct runtime_container *o = &out->items[out->count++];
        o->id = mem_strdup(k->id);
        o->sandbox_id = mem_strdup(k->pod_sandbox_id);
        o->name = mem_strdup(name);
        o->pod_uid = mem_strdup(uid);
        o->pod_name = mem_strdup(map_get(k->labels, k->n_labels, CRI_LABEL_POD_NAME));
        o->pod_namespace = mem_strdup(map_get(k->labels, k->n_labels, CRI_LABEL_POD_NAMESPACE));
        o->image = mem_strdup(k->image ? k->image->image : "");
        o->image_ref = mem_strdup(k->image_ref);
        o->state = container_state_of(k->state);
        o->created_at = k->created_at;
        read_annotations(o, k->annotations, k->n_annotations);
    }
    qsort(out->items, out->count, sizeof(*out->items), newest_container_first);
    return true;
}

bool cri_sandbox_status(const struct cri *c, struct runtime_sandbox *s, struct error **err)
{
    Runtime__V1__PodSandboxStatusRequest request = RUNTIME__V1__POD_SANDBOX_STATUS_REQUEST__INIT;
    request.pod_sandbox_id = s->id;
    cleanup_answer Runtime__V1__PodSandboxStatusResponse *answer =
        call(c, "RuntimeService/PodSandboxStatus", &request, DESCRIPTOR(pod_sandbox_status), CALL_TIMEOUT_MS, err);
    if (!answer || !answer->status) {
        if (answer)
            error_setf(err, "the runtime gave no status of sandbox %s", s->id);
        return false;
    }
    const Runtime__V1__PodSandboxStatus *status = answer->status;
    s->ready = status->state == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
    const Runtime__V1__NamespaceOption *ns =
        status->linux && status->linux->namespaces ? status->linux->namespaces->options : NULL;
    s->host_network = ns && ns->network == RUNTIME__V1__NAMESPACE_MODE__NODE;
    free(s->ip);
    s->ip = NULL;
    if (status->network && *status->network->ip) {
        cleanup_buf struct buf ips = {0};
        buf_adds(&ips, status->network->ip);
        for (size_t i = 0; i < status->network->n_additional_ips; i++)
            buf_printf(&ips, ",%s", status->network->additional_ips[i]->ip);
        s->ip = buf_take(&ips);
    }
    s->has_status = true;
    return true;
}

bool cri_container_status(const struct cri *c, struct runtime_container *k, struct error **err)
{
    Runtime__V1__ContainerStatusRequest request = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
    request.container_id = k->id;
    cleanup_answer Runtime__V1__ContainerStatusResponse *answer =
        call(c, "RuntimeService/ContainerStatus", &request, DESCRIPTOR(container_status), CALL_TIMEOUT_MS, err);
    if (!answer || !answer->status) {
        if (answer)
            error_setf(err, "the runtime gave no status of container %s", k->id);
        return false;
    }
    const Runtime__V1__ContainerStatus *s = answer->status;
    char **texts[] = {&k->image, &k->image_ref, &k->reason, &k->message, &k->log_path, &k->termination_path,
                      &k->termination_policy};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    k->state = container_state_of(s->state);
    k->created_at = s->created_at;
    k->started_at = s->started_at;
    k->finished_at = s->finished_at;
    k->exit_code = s->exit_code;
    k->image = mem_strdup(s->image ? s->image->image : "");
    k->image_ref = mem_strdup(s->image_ref);
    k->reason = mem_strdup(s->reason);
    k->message = mem_strdup(s->message);
    k->log_path = mem_strdup(s->log_path);
    read_annotations(k, s->annotations, s->n_annotations);
    k->termination_policy = mem_strdup(map_get(s->annotations, s->n_annotations, CRI_ANNOTATION_TERMINATION_POLICY));
    const char *path = map_get(s->annotations, s->n_annotations, CRI_ANNOTATION_TERMINATION_PATH);
    for (size_t i = 0; path && *path && i < s->n_mounts; i++)
        if (strcmp(s->mounts[i]->container_path, path) == 0)
            k->termination_path = mem_strdup(s->mounts[i]->host_path);
    k->has_status = true;
    return true;
}

bool cri_run_sandbox(const struct cri *c, cri_sandbox_config *config, const char *handler, char **id, struct error **err)
{
    Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    request.config = config;
    if (handler)
        request.runtime_handler = (char *)handler;
    cleanup_answer Runtime__V1__RunPodSandboxResponse *answer =
        call(c, "RuntimeService/RunPodSandbox", &request, DESCRIPTOR(run_pod_sandbox), 4 * 60000, err);
    if (!answer)
        return false;
    *id = mem_strdup(answer->pod_sandbox_id);
    return true;
}

/* Calls whose request is one id and whose answer says nothing. */
bool cri_stop_sandbox(const struct cri *c, const char *id, struct error **err)
{
    Runtime__V1__StopPodSandboxRequest request = RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;
    request.pod_sandbox_id = (char *)id;
    cleanup_answer void *answer =
        call(c, "RuntimeService/StopPodSandbox", &request, DESCRIPTOR(stop_pod_sandbox), CALL_TIMEOUT_MS, err);
    return answer != NULL;
}

bool cri_remove_sandbox(const struct cri *c, const char *id, struct error **err)
{
    Runtime__V1__RemovePodSandboxRequest request = RUNTIME__V1__REMOVE_POD_SANDBOX_REQUEST__INIT;
    request.pod_sandbox_id = (char *)id;
    cleanup_answer void *answer =
        call(c, "RuntimeService/RemovePodSandbox", &request, DESCRIPTOR(remove_pod_sandbox), CALL_TIMEOUT_MS, err);
    return answer != NULL;
}

bool cri_start_container(const struct cri *c, const char *id, struct error **err)
{
    Runtime__V1__StartContainerRequest request = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;
    request.container_id = (char *)id;
    cleanup_answer void *answer =
        call(c, "RuntimeService/StartContainer", &request, DESCRIPTOR(start_container), CALL_TIMEOUT_MS, err);
    return answer != NULL;
}

bool cri_remove_container(const struct cri *c, const char *id, struct error **err)
{
    Runtime__V1__RemoveContainerRequest request = RUNTIME__V1__REMOVE_CONTAINER_REQUEST__INIT;
    request.container_id = (char *)id;
    cleanup_answer void *answer =
        call(c, "RuntimeService/RemoveContainer", &request, DESCRIPTOR(remove_container), CALL_TIMEOUT_MS, err);
    return answer != NULL;
}

bool cri_update_resources(const struct cri *c, const char *id, cri_resources *resources, struct error **err)
{
    Runtime__V1__UpdateContainerResourcesRequest request = RUNTIME__V1__UPDATE_CONTAINER_RESOURCES_REQUEST__INIT;
    request.container_id = (char *)id;
    request.linux = resources;
    cleanup_answer void *answer = call(c, "RuntimeService/UpdateContainerResources", &request,
                                       DESCRIPTOR(update_container_resources), CALL_TIMEOUT_MS, err);
    return answer != NULL;
}

bool cri_stop_container(const struct cri *c, const char *id, int64_t grace_seconds, struct error **err)
{
    Runtime__V1__StopContainerRequest request = RUNTIME__V1__STOP_CONTAINER_REQUEST__INIT;
    request.container_id = (char *)id;
    request.timeout = grace_seconds;
    cleanup_answer void *answer = call(c, "RuntimeService/StopContainer", &request, DESCRIPTOR(stop_container),
                                       CALL_TIMEOUT_MS + grace_seconds * 1000, err);
    return answer != NULL;
}

bool cri_create_container(const struct cri *c, const char *sandbox_id, cri_container_config *config,
                          cri_sandbox_config *sandbox_config, char **id, struct error **err)
{
    Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
    request.pod_sandbox_id = (char *)sandbox_id;
    request.config = config;
    request.sandbox_config = sandbox_config;
    cleanup_answer Runtime__V1__CreateContainerResponse *answer =
        call(c, "RuntimeService/CreateContainer", &request, DESCRIPTOR(create_container), CALL_TIMEOUT_MS, err);
    if (!answer)
        return false;
    *id = mem_strdup(answer->container_id);
    return true;
}

bool cri_exec_sync(const struct cri *c, const char *id, const char *const *argv, size_t argc, int64_t timeout_seconds,
                   struct buf *output, int *exit_code, struct error **err)
{
    enum { MAX_OUTPUT = 16 * 1024 };
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    request.container_id = (char *)id;
    request.cmd = (char **)argv;
    request.n_cmd = argc;
    request.timeout = timeout_seconds;
    /* The runtime itself ends the command after its timeout; ours only guards against a runtime that hangs. */
    int64_t timeout_ms = timeout_seconds ? timeout_seconds * 1000 + 10000 : 0;
    cleanup_answer Runtime__V1__ExecSyncResponse *answer =
        call(c, "RuntimeService/ExecSync", &request, DESCRIPTOR(exec_sync), timeout_ms, err);
    if (!answer)
        return false;
    const ProtobufCBinaryData *parts[] = {&answer->stdout, &answer->stderr};
    for (size_t i = 0; i < 2; i++)
        buf_add(output, parts[i]->data, parts[i]->len > MAX_OUTPUT ? MAX_OUTPUT : parts[i]->len);
    *exit_code = answer->exit_code;
    return true;
}

bool cri_image_status(const struct cri *c, const char *image, char **ref, struct error **err)
{
    Runtime__V1__ImageStatusRequest request = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    spec.image = (char *)image;
    request.image = &spec;
    cleanup_answer Runtime__V1__ImageStatusResponse *answer =
        call(c, "ImageService/ImageStatus", &request, DESCRIPTOR(image_status), CALL_TIMEOUT_MS, err);
    if (!answer)
        return false;
    *ref = answer->image && *answer->image->id ? mem_strdup(answer->image->id) : NULL;
    return true;
}

bool cri_image_user(const struct cri *c, const char *image, int64_t *uid, char **username, struct error **err)
{
    Runtime__V1__ImageStatusRequest request = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    spec.image = (char *)image;
    request.image = &spec;
    cleanup_answer Runtime__V1__ImageStatusResponse *answer =
        call(c, "ImageService/ImageStatus", &request, DESCRIPTOR(image_status), CALL_TIMEOUT_MS, err);
    if (!answer)
        return false;
    if (!answer->image) {
        error_set(err, 404, "NotFound", "image %s is gone", image);
        return false;
    }
    *uid = answer->image->uid ? answer->image->uid->value : -1;
    *username = mem_strdup(answer->image->username);
    return true;
}

bool cri_pull_image(const struct cri *c, const char *image, cri_auth *auth, cri_sandbox_config *sandbox, char **ref,
                    struct error **err)
{
    Runtime__V1__PullImageRequest request = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    spec.image = (char *)image;
    request.image = &spec;
    request.auth = auth;
    request.sandbox_config = sandbox;
    cleanup_answer Runtime__V1__PullImageResponse *answer =
        call(c, "ImageService/PullImage", &request, DESCRIPTOR(pull_image), 0, err);
    if (!answer)
        return false;
    *ref = mem_strdup(answer->image_ref);
    return true;
}

Runtime__V1__ListImagesResponse *cri_list_images(const struct cri *c, struct error **err)
{
    Runtime__V1__ListImagesRequest request = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    return call(c, "ImageService/ListImages", &request, DESCRIPTOR(list_images), CALL_TIMEOUT_MS, err);
}

bool cri_image_fs(const struct cri *c, uint64_t *used, char **mountpoint, struct error **err)
{
    Runtime__V1__ImageFsInfoRequest request = RUNTIME__V1__IMAGE_FS_INFO_REQUEST__INIT;
    cleanup_answer Runtime__V1__ImageFsInfoResponse *answer =
        call(c, "ImageService/ImageFsInfo", &request, DESCRIPTOR(image_fs_info), CALL_TIMEOUT_MS, err);
    if (!answer)
        return false;
    if (!answer->n_image_filesystems) {
        error_setf(err, "the runtime gave no image file system");
        return false;
    }
    const Runtime__V1__FilesystemUsage *fs = answer->image_filesystems[0];
    *used = fs->used_bytes ? fs->used_bytes->value : 0;
    *mountpoint = mem_strdup(fs->fs_id ? fs->fs_id->mountpoint : "");
    return true;
}

bool cri_list_writable_layers(const struct cri *c, struct writable_layer **out, size_t *count, struct error **err)
{
    Runtime__V1__ListContainerStatsRequest request = RUNTIME__V1__LIST_CONTAINER_STATS_REQUEST__INIT;
    cleanup_answer Runtime__V1__ListContainerStatsResponse *answer =
        call(c, "RuntimeService/ListContainerStats", &request, DESCRIPTOR(list_container_stats), CALL_TIMEOUT_MS, err);
    if (!answer)
        return false;
    *out = mem_alloc((answer->n_stats + 1) * sizeof(**out));
    *count = 0;
    for (size_t i = 0; i < answer->n_stats; i++) {
        const Runtime__V1__ContainerStats *s = answer->stats[i];
        if (!s->attributes || !s->writable_layer)
            continue;
        (*out)[(*count)++] = (struct writable_layer){
            .id = mem_strdup(s->attributes->id),
            .bytes = s->writable_layer->used_bytes ? s->writable_layer->used_bytes->value : 0,
            .inodes = s->writable_layer->inodes_used ? s->writable_layer->inodes_used->value : 0,
        };
    }
    return true;
}

void writable_layers_free(struct writable_layer *l, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(l[i].id);
    free(l);
}

bool cri_remove_image(const struct cri *c, const char *image, struct error **err)
{
    Runtime__V1__RemoveImageRequest request = RUNTIME__V1__REMOVE_IMAGE_REQUEST__INIT;
    Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
    spec.image = (char *)image;
    request.image = &spec;
    cleanup_answer void *answer =
        call(c, "ImageService/RemoveImage", &request, DESCRIPTOR(remove_image), CALL_TIMEOUT_MS, err);
    return answer != NULL;
}

bool cri_reopen_log(const struct cri *c, const char *container_id, struct error **err)
{
    Runtime__V1__ReopenContainerLogRequest request = RUNTIME__V1__REOPEN_CONTAINER_LOG_REQUEST__INIT;
    request.container_id = (char *)container_id;
    cleanup_answer void *answer =
        call(c, "RuntimeService/ReopenContainerLog", &request, DESCRIPTOR(reopen_container_log), CALL_TIMEOUT_MS, err);
    return answer != NULL;
}
