/* The Container Runtime Interface as the kubelet uses it: typed calls, plain C results. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"
#include "kubelet/cri/runtime.pb-c.h"

typedef Runtime__V1__PodSandboxConfig cri_sandbox_config;
typedef Runtime__V1__ContainerConfig cri_container_config;
typedef Runtime__V1__LinuxContainerResources cri_resources;
typedef Runtime__V1__AuthConfig cri_auth;

/* One call: request and answer as protobuf messages. The answer is the caller's
 * (protobuf_c_message_free_unpacked). Tests put a fake runtime here. */
struct cri {
    bool (*call)(void *userdata, const char *method, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *answer_type, int64_t timeout_ms,
                 ProtobufCMessage **answer, struct error **err);
    void *userdata;
};
/* Over gRPC. Never freed before the process ends. */
struct rpc_client;
struct cri cri_over_rpc(struct rpc_client *client);

/* A method's short form "RuntimeService/Version" is sent as "/runtime.v1.RuntimeService/Version". */

/* --- labels and annotations that mark what is ours, as Kubernetes' tools expect them --- */
#define CRI_LABEL_POD_NAME       "io.kubernetes.pod.name"
#define CRI_LABEL_POD_NAMESPACE  "io.kubernetes.pod.namespace"
#define CRI_LABEL_POD_UID        "io.kubernetes.pod.uid"
#define CRI_LABEL_CONTAINER_NAME "io.kubernetes.container.name"
#define CRI_ANNOTATION_HASH      "io.kubernetes.container.hash"
#define CRI_ANNOTATION_RESTARTS  "io.kubernetes.container.restartCount"
#define CRI_ANNOTATION_TERMINATION_PATH   "io.kubernetes.container.terminationMessagePath"
#define CRI_ANNOTATION_TERMINATION_POLICY "io.kubernetes.container.terminationMessagePolicy"
#define CRI_ANNOTATION_GRACE     "io.kubernetes.pod.terminationGracePeriod"

enum container_state { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED, CONTAINER_UNKNOWN };
struct runtime_container {
    char *id, *sandbox_id, *name;
    char *pod_uid, *pod_name, *pod_namespace;
    char *image, *image_ref;
    enum container_state state;
    int64_t created_at, started_at, finished_at; /* ns since 1970; the last two only after cri_container_status */
    int exit_code;
    char *reason, *message, *log_path;
    char *termination_path; /* on the host, of the termination message; NULL if none */
    char *termination_policy;
    uint64_t hash;
    int restart_count;
    bool has_status; /* cri_container_status has filled it in */
};
struct runtime_sandbox {
    char *id, *pod_uid, *pod_name, *pod_namespace;
    bool ready;
    uint32_t attempt;
    int64_t created_at;
    char *ip; /* comma-joined, first is primary; only after cri_sandbox_status */
    bool host_network;
    bool has_status;
};
struct runtime_containers {
    struct runtime_container *items;
    size_t count;
};
struct runtime_sandboxes {
    struct runtime_sandbox *items;
    size_t count;
};
void runtime_container_clear(struct runtime_container *c);
void runtime_sandbox_clear(struct runtime_sandbox *s);
void runtime_containers_clear(struct runtime_containers *l);
void runtime_sandboxes_clear(struct runtime_sandboxes *l);
#define cleanup_runtime_containers __attribute__((cleanup(runtime_containers_clear)))
#define cleanup_runtime_sandboxes  __attribute__((cleanup(runtime_sandboxes_clear)))

/* "containerd", "1.6.20"; the caller frees both. */
bool cri_version(const struct cri *c, char **name, char **version, struct error **err);
/* true = asked; *not_ready stays NULL when runtime and network are ready, otherwise says why (caller frees). */
bool cri_status(const struct cri *c, char **runtime_not_ready, char **network_not_ready, struct error **err);

/* Only those that carry a pod uid label; pod_uid NULL: all pods. Newest first. */
bool cri_list_sandboxes(const struct cri *c, const char *pod_uid, struct runtime_sandboxes *out, struct error **err);
bool cri_list_containers(const struct cri *c, const char *pod_uid, struct runtime_containers *out, struct error **err);
/* Complete what a listing gave. */
bool cri_sandbox_status(const struct cri *c, struct runtime_sandbox *s, struct error **err);
bool cri_container_status(const struct cri *c, struct runtime_container *k, struct error **err);

bool cri_run_sandbox(const struct cri *c, cri_sandbox_config *config, const char *handler, char **id, struct error **err);
bool cri_stop_sandbox(const struct cri *c, const char *id, struct error **err);
bool cri_remove_sandbox(const struct cri *c, const char *id, struct error **err);
bool cri_create_container(const struct cri *c, const char *sandbox_id, cri_container_config *config,
                          cri_sandbox_config *sandbox_config, char **id, struct error **err);
bool cri_start_container(const struct cri *c, const char *id, struct error **err);
bool cri_stop_container(const struct cri *c, const char *id, int64_t grace_seconds, struct error **err);
bool cri_remove_container(const struct cri *c, const char *id, struct error **err);
bool cri_update_resources(const struct cri *c, const char *id, cri_resources *resources, struct error **err);
/* Output (stdout, then stderr) is appended, at most some 16 KB of it. A timeout is error 504. */
bool cri_exec_sync(const struct cri *c, const char *id, const char *const *argv, size_t argc, int64_t timeout_seconds,
                   struct buf *output, int *exit_code, struct error **err);

/* Streams: *url (caller frees) is where the runtime's own server waits for the client, for a short while. */
struct cri_stream {
    bool in, out, err, tty;
};
bool cri_exec(const struct cri *c, const char *id, const char *const *argv, size_t argc, const struct cri_stream *s,
              char **url, struct error **err);
bool cri_attach(const struct cri *c, const char *id, const struct cri_stream *s, char **url, struct error **err);
bool cri_port_forward(const struct cri *c, const char *sandbox_id, const int32_t *ports, size_t count, char **url,
                      struct error **err);

/* *ref: the image's id, NULL when it is absent. Caller frees. */
bool cri_image_status(const struct cri *c, const char *image, char **ref, struct error **err);
/* The user that the image runs as: a number (*uid >= 0), or a name in *username (caller frees), "" for root. */
bool cri_image_user(const struct cri *c, const char *image, int64_t *uid, char **username, struct error **err);
bool cri_pull_image(const struct cri *c, const char *image, cri_auth *auth, cri_sandbox_config *sandbox, char **ref,
                    struct error **err);
/* The answer as it came, for the node's image list; free with runtime__v1__list_images_response__free_unpacked. */
Runtime__V1__ListImagesResponse *cri_list_images(const struct cri *c, struct error **err);
/* Used bytes of the image store and a path on its file system (caller frees). */
bool cri_image_fs(const struct cri *c, uint64_t *used, char **mountpoint, struct error **err);

bool cri_remove_image(const struct cri *c, const char *image, struct error **err);
/* The log file was moved away: the runtime is to begin a new one. */
bool cri_reopen_log(const struct cri *c, const char *container_id, struct error **err);

/* What a container wrote above its image. */
struct writable_layer {
    char *id; /* of the container */
    uint64_t bytes, inodes;
};
/* Of all containers; free with writable_layers_free. */
bool cri_list_writable_layers(const struct cri *c, struct writable_layer **out, size_t *count, struct error **err);
void writable_layers_free(struct writable_layer *l, size_t count);

/* --- events --- */
/* Calls changed(container or sandbox id, whether it ended) whenever one starts, stops or goes away, until rpc_client_stop().
 * lost() is called when events may have been missed (connection lost; then it reconnects) and, at least once a
 * second, where the runtime has no events at all: then list again. Runs on a thread of its own. */
void cri_events_start(struct rpc_client *client, void (*changed)(void *userdata, const char *id, bool ended),
                      void (*lost)(void *userdata), void *userdata);
void cri_events_stop(void); /* waits for the thread */
bool cri_events_live(void); /* a stream is open: relisting is only a safety net */
