/* Fuzz target: a pod as JSON, turned into what the container runtime is told. */
#include <stddef.h>
#include <stdint.h>
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/cgroup.h"
#include "kubelet/pod/status.h"
#include "kubelet/pod/translate.h"

static cJSON *no_api(void *userdata, const char *method, const char *path, const char *type, const cJSON *body,
                     struct error **err)
{
    (void)userdata, (void)method, (void)path, (void)type, (void)body;
    error_set(err, 404, "NotFound", "not found");
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct translate_node node = {.cluster_dns = "10.96.0.10", .cluster_domain = "cluster.local",
                                               .resolv_conf = "nameserver 192.0.2.1\nsearch a b\n", .seccomp_dir = "/s",
                                               .memory = 1 << 30};
    cleanup_json cJSON *pod = json_parse((const char *)data, size, NULL);
    if (!pod || !translate_safe_names(pod, NULL))
        return 0;
    const struct kubelet_api api = {no_api, NULL, NULL};
    struct object_cache *cache = object_cache_new(&api);
    cleanup_arena struct arena a = {0};
    struct cgroup_limits limits;
    cgroup_pod_limits(pod, -1, &limits);
    cri_sandbox_config *sandbox = translate_sandbox(&a, &node, pod, 0, "/x");
    runtime__v1__pod_sandbox_config__get_packed_size(sandbox);
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    for (size_t i = 0; i < all.count; i++) {
        cleanup_env struct env_list env = {0};
        cleanup_mounts struct translate_mounts mounts = {0};
        struct downward_source d = {.pod = pod};
        env_build(&d, all.items[i].spec, cache, NULL, &env, NULL);
        struct translate_container_input in = {pod, all.items[i].spec, 0, "i", &env, &mounts, NULL};
        cri_container_config *c = translate_container(&a, &node, &in, NULL);
        if (c)
            runtime__v1__container_config__get_packed_size(c);
    }
    struct runtime_sandboxes sandboxes = {0};
    struct runtime_containers containers = {0};
    struct status_input in = {.pod = pod, .old_status = json_get(pod, "status"), .sandboxes = &sandboxes, .containers = &containers};
    cJSON_Delete(status_compute(&in));
    object_cache_free(cache);
    return 0;
}
