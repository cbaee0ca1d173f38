/* From pods to the runtime's configurations; environment; downward API. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/pod/env.h"
#include "kubelet/pod/translate.h"

static cJSON *parse(const char *text)
{
    struct error *err = NULL;
    cJSON *o = json_parse(text, strlen(text), &err);
    ck_assert_msg(o != NULL, "%s", error_message(err));
    return o;
}

static const char pod_text[] =
    "{\"metadata\":{\"name\":\"web\",\"namespace\":\"shop\",\"uid\":\"u-1\",\"labels\":{\"app\":\"web\",\"a.b/c\":\"d\"},"
    "\"annotations\":{\"note\":\"x\\\"y\"}},\"spec\":{\"restartPolicy\":\"Always\",\"serviceAccountName\":\"robot\","
    "\"securityContext\":{\"runAsUser\":1000,\"runAsGroup\":2000,\"fsGroup\":3000,\"supplementalGroups\":[4000],"
    "\"sysctls\":[{\"name\":\"net.core.somaxconn\",\"value\":\"1024\"}]},"
    "\"containers\":[{\"name\":\"app\",\"image\":\"shop/web:1\",\"command\":[\"run\",\"$(GREETING)\",\"$$(GREETING)\",\"$(NONE)\"],"
    "\"args\":[\"--port=$(PORT)\"],\"workingDir\":\"/srv\",\"tty\":true,\"ports\":[{\"containerPort\":8080,\"hostPort\":80,"
    "\"protocol\":\"TCP\"},{\"containerPort\":53,\"protocol\":\"UDP\"}],\"resources\":{\"requests\":{\"cpu\":\"250m\","
    "\"memory\":\"64Mi\"},\"limits\":{\"cpu\":\"500m\",\"memory\":\"128Mi\"}},\"securityContext\":{\"runAsUser\":0,"
    "\"allowPrivilegeEscalation\":false,\"readOnlyRootFilesystem\":true,\"capabilities\":{\"add\":[\"NET_ADMIN\"],\"drop\":[\"ALL\"]},"
    "\"seccompProfile\":{\"type\":\"RuntimeDefault\"}},\"lifecycle\":{\"preStop\":{\"exec\":{\"command\":[\"bye\"]}}}}]}}";

static const struct translate_node node = {
    .cluster_dns = "10.96.0.10",
    .cluster_domain = "cluster.local",
    .resolv_conf = "# mine\nnameserver 192.0.2.1\nsearch corp.example other.example\noptions timeout:1\n",
    .seccomp_dir = "/var/lib/kubelet/seccomp",
    .memory = 1 << 30,
    .oom_lowest = -1000,
};

static const char *label(void *entries, size_t n, const char *key)
{
    Runtime__V1__ContainerConfig__LabelsEntry **e = entries;
    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i]->key, key) == 0)
            return e[i]->value;
    return NULL;
}

START_TEST(sandbox)
{
    cleanup_json cJSON *pod = parse(pod_text);
    cleanup_arena struct arena a = {0};
    cri_sandbox_config *c = translate_sandbox(&a, &node, pod, 3, "/kubepods/burstable/podu-1");
    ck_assert_str_eq(c->metadata->name, "web");
    ck_assert_str_eq(c->metadata->namespace_, "shop");
    ck_assert_str_eq(c->metadata->uid, "u-1");
    ck_assert_int_eq(c->metadata->attempt, 3);
    ck_assert_str_eq(c->hostname, "web");
    ck_assert_str_eq(c->log_directory, "/var/log/pods/shop_web_u-1");
    ck_assert_str_eq(label(c->labels, c->n_labels, "app"), "web");
    ck_assert_str_eq(label(c->labels, c->n_labels, "a.b/c"), "d");
    ck_assert_str_eq(label(c->labels, c->n_labels, CRI_LABEL_POD_UID), "u-1");
    ck_assert_str_eq(label(c->annotations, c->n_annotations, "note"), "x\"y");
    ck_assert_int_eq(c->n_port_mappings, 1);
    ck_assert_int_eq(c->port_mappings[0]->host_port, 80);
    ck_assert_int_eq(c->port_mappings[0]->container_port, 8080);
    ck_assert_int_eq(c->dns_config->n_servers, 1);
    ck_assert_str_eq(c->dns_config->servers[0], "10.96.0.10");
    ck_assert_int_eq(c->dns_config->n_searches, 5);
    ck_assert_str_eq(c->dns_config->searches[0], "shop.svc.cluster.local");
    ck_assert_str_eq(c->dns_config->searches[4], "other.example");
    ck_assert_str_eq(c->dns_config->options[0], "ndots:5");
    ck_assert_str_eq(c->linux->cgroup_parent, "/kubepods/burstable/podu-1");
    ck_assert_int_eq(c->linux->n_sysctls, 1);
    ck_assert_int_eq(c->linux->security_context->run_as_user->value, 1000);
    ck_assert_int_eq(c->linux->security_context->n_supplemental_groups, 2);
    ck_assert_int_eq(c->linux->security_context->namespace_options->network, RUNTIME__V1__NAMESPACE_MODE__POD);
    ck_assert_int_eq(c->linux->security_context->namespace_options->pid, RUNTIME__V1__NAMESPACE_MODE__CONTAINER);
    /* It survives the way over the wire. */
    size_t size = runtime__v1__pod_sandbox_config__get_packed_size(c);
    cleanup_free uint8_t *bytes = mem_alloc(size);
    runtime__v1__pod_sandbox_config__pack(c, bytes);
    cri_sandbox_config *back = runtime__v1__pod_sandbox_config__unpack(NULL, size, bytes);
    ck_assert_ptr_nonnull(back);
    ck_assert_str_eq(label(back->labels, back->n_labels, "a.b/c"), "d");
    runtime__v1__pod_sandbox_config__free_unpacked(back, NULL);
}
END_TEST

START_TEST(dns_and_namespaces)
{
    cleanup_json cJSON *pod = parse(pod_text);
    cleanup_arena struct arena a = {0};
    json_set_bool(pod, "spec.hostNetwork", true);
    json_set_bool(pod, "spec.hostPID", true);
    cri_sandbox_config *c = translate_sandbox(&a, &node, pod, 0, "/x");
    ck_assert_str_eq(c->hostname, "");
    ck_assert_int_eq(c->n_port_mappings, 0);
    ck_assert_str_eq(c->dns_config->servers[0], "192.0.2.1"); /* ClusterFirst falls back to the host's */
    ck_assert_str_eq(c->dns_config->options[0], "timeout:1");
    ck_assert_int_eq(c->linux->security_context->namespace_options->network, RUNTIME__V1__NAMESPACE_MODE__NODE);
    ck_assert_int_eq(c->linux->security_context->namespace_options->pid, RUNTIME__V1__NAMESPACE_MODE__NODE);
    json_set_str(pod, "spec.dnsPolicy", "ClusterFirstWithHostNet");
    c = translate_sandbox(&a, &node, pod, 0, "/x");
    ck_assert_str_eq(c->dns_config->servers[0], "10.96.0.10");
    json_set_str(pod, "spec.dnsPolicy", "None");
    json_set(pod, "spec.dnsConfig", parse("{\"nameservers\":[\"1.2.3.4\"],\"searches\":[\"a.b\"],\"options\":[{\"name\":\"ndots\","
                                          "\"value\":\"2\"},{\"name\":\"edns0\"},{\"name\":\"ndots\",\"value\":\"3\"}]}"));
    c = translate_sandbox(&a, &node, pod, 0, "/x");
    ck_assert_int_eq(c->dns_config->n_servers, 1);
    ck_assert_str_eq(c->dns_config->servers[0], "1.2.3.4");
    ck_assert_int_eq(c->dns_config->n_options, 2);
    ck_assert_str_eq(c->dns_config->options[0], "edns0");
    ck_assert_str_eq(c->dns_config->options[1], "ndots:3");
}
END_TEST

static cri_container_config *container(struct arena *a, const struct translate_node *n, const cJSON *pod, int restarts,
                                       const struct env_list *env)
{
    cleanup_mounts struct translate_mounts mounts = {0};
    translate_mounts_add(&mounts, "/host/data", "/data", true, "HostToContainer");
    struct translate_container_input in = {pod, json_path(pod, "spec.containers")->child, restarts, "sha256:abc", env, &mounts, NULL};
    struct error *err = NULL;
    cri_container_config *c = translate_container(a, n, &in, &err);
    ck_assert_msg(c != NULL, "%s", error_message(err));
    return c;
}

START_TEST(containers)
{
    cleanup_json cJSON *pod = parse(pod_text);
    cleanup_arena struct arena a = {0};
    cleanup_env struct env_list env = {0};
    env_set(&env, "GREETING", "hello");
    env_set(&env, "PORT", "8080");
    cri_container_config *c = container(&a, &node, pod, 2, &env);
    ck_assert_int_eq(c->n_command, 4);
    ck_assert_str_eq(c->command[1], "hello");
    ck_assert_str_eq(c->command[2], "$(GREETING)");
    ck_assert_str_eq(c->command[3], "$(NONE)");
    ck_assert_str_eq(c->args[0], "--port=8080");
    ck_assert_str_eq(c->working_dir, "/srv");
    ck_assert_str_eq(c->log_path, "app/2.log");
    ck_assert_int_eq(c->metadata->attempt, 2);
    ck_assert_str_eq(c->image->image, "sha256:abc");
    ck_assert(c->tty && !c->stdin);
    ck_assert_int_eq(c->n_envs, 2);
    ck_assert_int_eq(c->n_mounts, 1);
    ck_assert(c->mounts[0]->readonly);
    ck_assert_int_eq(c->mounts[0]->propagation, RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER);
    ck_assert_str_eq(label(c->labels, c->n_labels, CRI_LABEL_CONTAINER_NAME), "app");
    ck_assert_str_eq(label(c->annotations, c->n_annotations, CRI_ANNOTATION_RESTARTS), "2");
    ck_assert_ptr_nonnull(strstr(label(c->annotations, c->n_annotations, "io.kubernetes.container.preStopHandler"), "bye"));
    const cri_resources *r = c->linux->resources;
    ck_assert_int_eq(r->cpu_shares, 256);
    ck_assert_int_eq(r->cpu_quota, 50000);
    ck_assert_int_eq(r->cpu_period, 100000);
    ck_assert_int_eq(r->memory_limit_in_bytes, 128 << 20);
    ck_assert_int_eq(r->oom_score_adj, 938);
    ck_assert_int_eq(r->n_unified, 0);
    const Runtime__V1__LinuxContainerSecurityContext *s = c->linux->security_context;
    ck_assert_int_eq(s->run_as_user->value, 0); /* the container's own wins */
    ck_assert_int_eq(s->run_as_group->value, 2000);
    ck_assert(s->no_new_privs && s->readonly_rootfs && !s->privileged);
    ck_assert_str_eq(s->capabilities->add_capabilities[0], "NET_ADMIN");
    ck_assert_str_eq(s->capabilities->drop_capabilities[0], "ALL");
    ck_assert_int_eq(s->seccomp->profile_type, RUNTIME__V1__PROFILE_TYPE__RuntimeDefault);
    ck_assert_int_gt(s->n_masked_paths, 5);
    struct translate_node v2 = node;
    v2.cgroup_v2 = true;
    ck_assert_int_eq(container(&a, &v2, pod, 0, &env)->linux->resources->n_unified, 1);
}
END_TEST

START_TEST(hash_is_about_what_matters)
{
    cleanup_json cJSON *a = parse("{\"name\":\"a\",\"image\":\"i:1\"}");
    cleanup_json cJSON *defaulted = parse("{\"image\":\"i:1\",\"name\":\"a\",\"terminationMessagePath\":\"/dev/termination-log\","
                                          "\"imagePullPolicy\":\"IfNotPresent\",\"resources\":{}}");
    cleanup_json cJSON *other = parse("{\"name\":\"a\",\"image\":\"i:2\"}");
    cleanup_json cJSON *shifted = parse("{\"name\":\"ai\",\"image\":\":1\"}");
    ck_assert_uint_eq(container_hash(a), container_hash(defaulted));
    ck_assert_uint_ne(container_hash(a), container_hash(other));
    ck_assert_uint_ne(container_hash(a), container_hash(shifted));
}
END_TEST

START_TEST(names_stay_inside)
{
    static const char *const bad[] = {"..", ".", "", "a/b", "../../etc"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        static const char *const paths[] = {"metadata.name", "metadata.uid", "metadata.namespace"};
        for (size_t n = 0; n < ARRAY_LEN(paths); n++) {
            cleanup_json cJSON *pod = parse(pod_text);
            json_set_str(pod, paths[n], bad[i]);
            ck_assert(!translate_safe_names(pod, NULL));
        }
        cleanup_json cJSON *pod = parse(pod_text);
        json_set_str(json_path(pod, "spec.containers")->child, "name", bad[i]);
        ck_assert(!translate_safe_names(pod, NULL));
    }
    cleanup_json cJSON *good = parse(pod_text);
    ck_assert(translate_safe_names(good, NULL));
}
END_TEST

START_TEST(hostnames)
{
    cleanup_json cJSON *pod = parse(pod_text);
    struct buf host = {0}, domain = {0};
    json_set_str(pod, "metadata.name", "a-very-long-name-that-has-more-than-sixty-three-characters-in-a-.row");
    pod_hostname(pod, "cluster.local", &host, &domain);
    ck_assert_int_le(host.len, 63);
    ck_assert_int_ne(host.data[host.len - 1], '-');
    buf_clear(&host);
    json_set_str(pod, "spec.hostname", "h");
    json_set_str(pod, "spec.subdomain", "sub");
    json_set_bool(pod, "spec.setHostnameAsFQDN", true);
    pod_hostname(pod, "cluster.local", &host, &domain);
    ck_assert_str_eq(buf_str(&domain), "sub.shop.svc.cluster.local");
    ck_assert_str_eq(buf_str(&host), "h.sub.shop.svc.cluster.local");
    buf_free(&host);
    buf_free(&domain);
}
END_TEST

/* --- environment --- */

START_TEST(expansion)
{
    cleanup_env struct env_list env = {0};
    env_set(&env, "A", "1");
    env_set(&env, "B", "two");
    static const char *const cases[][2] = {
        {"$(A)", "1"},        {"x$(A)y$(B)", "x1ytwo"}, {"$$(A)", "$(A)"},     {"$$$(A)", "$1"}, {"$(C)", "$(C)"},
        {"$(A", "$(A"},       {"$", "$"},               {"$$", "$"},           {"$A", "$A"},     {"$(A)$(", "1$("},
        {"$($(A))", "$($(A))"}, {"", ""},               {"100$", "100$"},      {"$()", "$()"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_free char *got = env_expand(cases[i][0], &env, NULL);
        ck_assert_str_eq(got, cases[i][1]);
    }
}
END_TEST

START_TEST(services)
{
    cleanup_json cJSON *list = parse(
        "{\"items\":[{\"metadata\":{\"name\":\"my-db\"},\"spec\":{\"clusterIP\":\"10.96.1.2\",\"ports\":[{\"name\":\"sql\",\"port\":5432,"
        "\"protocol\":\"TCP\"},{\"port\":53,\"protocol\":\"UDP\"}]}},{\"metadata\":{\"name\":\"headless\"},\"spec\":{\"clusterIP\":"
        "\"None\",\"ports\":[{\"port\":1}]}}]}");
    cleanup_env struct env_list env = {0};
    env_add_services(&env, list, NULL);
    ck_assert_str_eq(env_get(&env, "MY_DB_SERVICE_HOST"), "10.96.1.2");
    ck_assert_str_eq(env_get(&env, "MY_DB_SERVICE_PORT"), "5432");
    ck_assert_str_eq(env_get(&env, "MY_DB_SERVICE_PORT_SQL"), "5432");
    ck_assert_str_eq(env_get(&env, "MY_DB_PORT"), "tcp://10.96.1.2:5432");
    ck_assert_str_eq(env_get(&env, "MY_DB_PORT_5432_TCP_ADDR"), "10.96.1.2");
    ck_assert_str_eq(env_get(&env, "MY_DB_PORT_53_UDP"), "udp://10.96.1.2:53");
    ck_assert_str_eq(env_get(&env, "MY_DB_PORT_53_UDP_PROTO"), "udp");
    ck_assert_ptr_null(env_get(&env, "HEADLESS_SERVICE_HOST"));
    cleanup_env struct env_list none = {0};
    env_add_services(&none, list, "kubernetes");
    ck_assert_int_eq(none.count, 0);
}
END_TEST

static cJSON *objects(void *userdata, const char *method, const char *path, const char *type, const cJSON *body,
                      struct error **err)
{
    (void)userdata, (void)method, (void)type, (void)body;
    if (strcmp(path, "/api/v1/namespaces/shop/configmaps/settings") == 0)
        return parse("{\"metadata\":{\"name\":\"settings\",\"namespace\":\"shop\"},\"data\":{\"COLOR\":\"blue\",\"bad=name\":\"x\"}}");
    if (strcmp(path, "/api/v1/namespaces/shop/secrets/keys") == 0)
        return parse("{\"metadata\":{\"name\":\"keys\",\"namespace\":\"shop\"},\"data\":{\"token\":\"czNjcjN0\"}}");
    error_set(err, 404, "NotFound", "not found");
    return NULL;
}

START_TEST(environment)
{
    struct kubelet_api api = {objects, NULL, NULL};
    struct object_cache *cache = object_cache_new(&api);
    cleanup_json cJSON *pod = parse(pod_text);
    struct downward_source d = {.pod = pod, .node_name = "n", .host_ip = "10.0.0.1", .pod_ips = "10.1.0.2,fd00::2",
                                .allocatable_cpu_milli = 4000, .allocatable_memory = 1 << 30};
    cleanup_json cJSON *c = parse(
        "{\"name\":\"app\",\"envFrom\":[{\"prefix\":\"P_\",\"configMapRef\":{\"name\":\"settings\"}},{\"secretRef\":{\"name\":\"none\","
        "\"optional\":true}}],\"env\":[{\"name\":\"PLAIN\",\"value\":\"v\"},{\"name\":\"REF\",\"value\":\"$(PLAIN)-$(P_COLOR)-$(SVC)\"},"
        "{\"name\":\"IP\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}},{\"name\":\"IPS\",\"valueFrom\":{\"fieldRef\":"
        "{\"fieldPath\":\"status.podIPs\"}}},{\"name\":\"LABEL\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.labels['a.b/c']\"}}},"
        "{\"name\":\"CPU\",\"valueFrom\":{\"resourceFieldRef\":{\"resource\":\"limits.cpu\"}}},{\"name\":\"MEM\",\"valueFrom\":"
        "{\"resourceFieldRef\":{\"resource\":\"requests.memory\",\"divisor\":\"1Mi\",\"containerName\":\"app\"}}},{\"name\":\"KEY\","
        "\"valueFrom\":{\"secretKeyRef\":{\"name\":\"keys\",\"key\":\"token\"}}},{\"name\":\"OPT\",\"valueFrom\":{\"configMapKeyRef\":"
        "{\"name\":\"settings\",\"key\":\"none\",\"optional\":true}}}],\"resources\":{\"limits\":{\"cpu\":\"500m\"}}}");
    cleanup_env struct env_list services = {0}, env = {0};
    env_set(&services, "SVC", "10.96.0.9");
    env_set(&services, "PLAIN", "overridden");
    struct error *err = NULL;
    ck_assert_msg(env_build(&d, c, cache, &services, &env, &err), "%s", error_message(err));
    static const char *const want[][2] = {{"P_COLOR", "blue"},   {"PLAIN", "v"},     {"REF", "v-blue-10.96.0.9"},
                                          {"IP", "10.1.0.2"},    {"IPS", "10.1.0.2,fd00::2"}, {"LABEL", "d"},
                                          {"CPU", "1"},          {"MEM", "64"},      {"KEY", "s3cr3t"},
                                          {"SVC", "10.96.0.9"}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        ck_assert_msg(env_get(&env, want[i][0]) != NULL, "%s", want[i][0]);
        ck_assert_str_eq(env_get(&env, want[i][0]), want[i][1]);
    }
    ck_assert_ptr_null(env_get(&env, "OPT"));
    ck_assert_ptr_null(env_get(&env, "P_bad=name"));
    static const char *const failing[][2] = {
        {"{\"env\":[{\"name\":\"A\",\"valueFrom\":{\"configMapKeyRef\":{\"name\":\"nope\",\"key\":\"k\"}}}]}", "configmap \"nope\" not found"},
        {"{\"env\":[{\"name\":\"A\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"keys\",\"key\":\"k\"}}}]}",
         "couldn't find key k in Secret shop/keys"},
        {"{\"env\":[{\"name\":\"A\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"spec.secret\"}}}]}",
         "unsupported fieldPath: spec.secret"},
    };
    for (size_t i = 0; i < ARRAY_LEN(failing); i++) {
        cleanup_json cJSON *bad = parse(failing[i][0]);
        cleanup_env struct env_list out = {0};
        cleanup_error struct error *why = NULL;
        ck_assert(!env_build(&d, bad, cache, NULL, &out, &why));
        ck_assert_str_eq(why->message, failing[i][1]);
    }
    object_cache_free(cache);
}
END_TEST

START_TEST(downward_maps)
{
    cleanup_json cJSON *pod = parse(pod_text);
    struct downward_source d = {.pod = pod};
    struct buf out = {0};
    ck_assert(downward_field(&d, "metadata.labels", &out, NULL));
    ck_assert_str_eq(buf_str(&out), "a.b/c=\"d\"\napp=\"web\"");
    buf_clear(&out);
    ck_assert(downward_field(&d, "metadata.annotations", &out, NULL));
    ck_assert_str_eq(buf_str(&out), "note=\"x\\\"y\"");
    buf_free(&out);
}
END_TEST

/* Specs that no API server would let through: nothing may break, whatever comes out. */
START_TEST(mutations)
{
    unsigned seed = 11;
    struct kubelet_api api = {objects, NULL, NULL};
    struct object_cache *cache = object_cache_new(&api);
    int parsed = 0;
    for (int round = 0; round < 6000; round++) {
        char text[sizeof(pod_text)];
        memcpy(text, pod_text, sizeof(pod_text));
        for (int i = 0; i < 1 + round % 4; i++) {
            static const char chars[] = "{}[]\",:0n-$()/.x";
            text[rand_r(&seed) % (sizeof(pod_text) - 1)] = chars[rand_r(&seed) % (sizeof(chars) - 1)];
        }
        cleanup_json cJSON *pod = json_parse(text, strlen(text), NULL);
        if (!pod || !translate_safe_names(pod, NULL))
            continue;
        parsed++;
        cleanup_arena struct arena a = {0};
        cri_sandbox_config *c = translate_sandbox(&a, &node, pod, 0, "/x");
        cleanup_free uint8_t *bytes = mem_alloc(runtime__v1__pod_sandbox_config__get_packed_size(c) + 1);
        runtime__v1__pod_sandbox_config__pack(c, bytes);
        cleanup_pod_containers struct pod_container_list all = {0};
        pod_containers(pod, &all);
        for (size_t i = 0; i < all.count; i++) {
            cleanup_env struct env_list env = {0};
            struct downward_source d = {.pod = pod};
            cleanup_mounts struct translate_mounts mounts = {0};
            env_build(&d, all.items[i].spec, cache, NULL, &env, NULL);
            struct translate_container_input in = {pod, all.items[i].spec, 0, "i", &env, &mounts, NULL};
            cri_container_config *k = translate_container(&a, &node, &in, NULL);
            if (k)
                ck_assert_uint_gt(runtime__v1__container_config__get_packed_size(k), 0);
        }
    }
    ck_assert_int_gt(parsed, 500);
    object_cache_free(cache);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kubelet translation");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, sandbox);
    tcase_add_test(t, dns_and_namespaces);
    tcase_add_test(t, containers);
    tcase_add_test(t, hash_is_about_what_matters);
    tcase_add_test(t, names_stay_inside);
    tcase_add_test(t, hostnames);
    tcase_add_test(t, expansion);
    tcase_add_test(t, services);
    tcase_add_test(t, environment);
    tcase_add_test(t, downward_maps);
    tcase_add_test(t, mutations);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
