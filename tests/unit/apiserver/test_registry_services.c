/* Cluster IPs and node ports against a real store, with several apiservers at once. */
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "apiserver/registry/cidr.h"
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

#define CLIENT_URL "http://127.0.0.1:24079"
#define PEER_URL   "http://127.0.0.1:24080"
enum { APISERVERS = 3, CREATORS = 4, EACH = 10 };

static struct storage *apiservers[APISERVERS];
static pid_t etcd;
static char data_dir[] = "/tmp/skiff-test-services-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void start_store(void)
{
    ck_assert_ptr_nonnull(mkdtemp(data_dir));
    etcd = fork();
    ck_assert_int_ge(etcd, 0);
    if (etcd == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execlp("etcd", "etcd", "--data-dir", data_dir, "--listen-client-urls", CLIENT_URL,
               "--advertise-client-urls", CLIENT_URL, "--listen-peer-urls", PEER_URL,
               "--initial-advertise-peer-urls", PEER_URL, "--initial-cluster", "default=" PEER_URL,
               "--unsafe-no-fsync", NULL);
        _exit(127);
    }
    for (int i = 0; i < APISERVERS; i++) {
        struct error *err = NULL;
        apiservers[i] = storage_start(&(struct storage_options){.servers = CLIENT_URL}, &err);
        ck_assert_msg(apiservers[i] != NULL, "%s", error_message(err));
        ck_assert(storage_wait_ready(apiservers[i], 30000));
    }
}

static void stop_store(void)
{
    for (int i = 0; i < APISERVERS; i++)
        storage_stop(apiservers[i]);
    kill(etcd, SIGKILL);
    waitpid(etcd, NULL, 0);
    nftw(data_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void configure(const char *cidr, const char *ports)
{
    static struct api_config config;
    config = (struct api_config){.service_cluster_ip_range = (char *)cidr,
                                 .service_node_port_range = (char *)ports};
    struct error *err = NULL;
    ck_assert_msg(services_start(&config, &err), "%s", error_message(err));
}

static cJSON *new_service(const char *name, const char *type, const char *ip, int node_port)
{
    cJSON *s = cJSON_CreateObject();
    json_map_set_str(s, "kind", "Service");
    json_map_set_str(s, "apiVersion", "v1");
    char uid[37];
    meta_uuid(uid);
    json_set_str(s, "metadata.name", name);
    json_set_str(s, "metadata.namespace", "default");
    json_set_str(s, "metadata.uid", uid);
    json_set_str(s, "spec.type", type);
    if (ip) {
        json_set_str(s, "spec.clusterIP", ip);
        cJSON_AddItemToArray(json_ensure_array(s, "spec.clusterIPs"), cJSON_CreateString(ip));
    }
    cJSON *port = cJSON_CreateObject();
    json_set_int(port, "port", 80);
    if (node_port)
        json_set_int(port, "nodePort", node_port);
    cJSON_AddItemToArray(json_ensure_array(s, "spec.ports"), port);
    return s;
}

static struct stored *create(int apiserver, const char *name, const char *type, const char *ip,
                             int node_port, struct error **err)
{
    cleanup_json cJSON *s = new_service(name, type, ip, node_port);
    return service_create(apiservers[apiserver], s, err);
}

static cJSON *delete_change(void *userdata, cJSON *current, const struct stored *stored,
                            struct error **err)
{
    (void)stored, (void)err;
    struct storage_update *u = userdata;
    static __thread struct claims claims;
    claims_clear(&claims);
    service_release(current, &claims);
    u->claims = claims.items;
    u->claim_count = claims.count;
    u->delete_instead = true;
    return NULL;
}

static void delete_service(int apiserver, const char *name)
{
    struct storage_update u = {.change = delete_change};
    u.userdata = &u;
    struct error *err = NULL;
    struct stored *s = storage_update(apiservers[apiserver], resource_find("", "v1", "services"),
                                      "default", name, &u, &err);
    ck_assert_msg(s != NULL, "%s", error_message(err));
    stored_unref(s);
}

static char *value(const struct stored *s, const char *path)
{
    cleanup_json cJSON *json = json_parse(s->json, s->len, NULL);
    return mem_strdup(json_str(json, path));
}

static void delete_all(void)
{
    struct stored **list;
    size_t count;
    uint64_t revision;
    struct error *err = NULL;
    ck_assert_msg(storage_list(apiservers[0], resource_find("", "v1", "services"), NULL, &list,
                               &count, &revision, &err),
                  "%s", error_message(err));
    for (size_t i = 0; i < count; i++) {
        delete_service(0, list[i]->name);
        stored_unref(list[i]);
    }
    free(list);
}

START_TEST(test_explicit)
{
    configure("10.96.0.0/24", "30000-30099");
    struct error *err = NULL;
    struct stored *a = create(0, "a", "NodePort", "10.96.0.10", 30001, &err);
    ck_assert_msg(a != NULL, "%s", error_message(err));
    cleanup_free char *ip = value(a, "spec.clusterIP");
    ck_assert_str_eq(ip, "10.96.0.10");
    stored_unref(a);

    ck_assert_ptr_null(create(1, "b", "ClusterIP", "10.96.0.10", 0, &err));
    ck_assert_int_eq(err->code, 422);
    ck_assert_ptr_nonnull(strstr(err->message, "spec.clusterIPs: Invalid value: "));
    ck_assert_ptr_nonnull(
        strstr(err->message, "failed to allocate IP 10.96.0.10: provided IP is already allocated"));
    error_free(err);
    err = NULL;
    ck_assert_ptr_null(create(1, "b", "NodePort", NULL, 30001, &err));
    ck_assert_str_eq(err->message,
                     "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30001: "
                     "provided port is already allocated");
    error_free(err);
    err = NULL;
    ck_assert_ptr_null(create(1, "b", "ClusterIP", "10.97.0.10", 0, &err));
    ck_assert_ptr_nonnull(strstr(
        err->message, "the provided IP (10.97.0.10) is not in the valid range. The range of valid "
                      "IPs is 10.96.0.0/24"));
    error_free(err);
    err = NULL;
    ck_assert_ptr_null(create(1, "b", "ClusterIP", "10.96.0.255", 0, &err));
    error_free(err);
    err = NULL;
    ck_assert_ptr_null(create(1, "b", "NodePort", NULL, 80, &err));
    ck_assert_ptr_nonnull(
        strstr(err->message,
               "provided port is not in the valid range. The range of valid ports is 30000-30099"));
    error_free(err);
    err = NULL;

    /* A name that is taken takes nothing. */
    ck_assert_ptr_null(create(2, "a", "ClusterIP", "10.96.0.11", 0, &err));
    ck_assert_str_eq(err->reason, "AlreadyExists");
    error_free(err);
    err = NULL;
    delete_service(1, "a");
    struct stored *b = create(2, "b", "NodePort", "10.96.0.10", 30001, &err);
    ck_assert_msg(b != NULL, "%s", error_message(err));
    stored_unref(b);
    struct stored *c = create(2, "c", "ClusterIP", "10.96.0.11", 0, &err);
    ck_assert_msg(c != NULL, "%s", error_message(err));
    stored_unref(c);
    delete_all();
}
END_TEST

START_TEST(test_no_address)
{
    configure("10.96.0.0/24", "30000-30099");
    struct error *err = NULL;
    struct stored *a = create(0, "headless", "ClusterIP", "None", 0, &err),
                  *b = create(0, "other", "ClusterIP", "None", 0, &err);
    ck_assert(a && b);
    struct stored *c = create(0, "external", "ExternalName", NULL, 0, &err);
    cleanup_free char *ip = value(c, "spec.clusterIP");
    ck_assert_ptr_null(ip);
    stored_unref(a);
    stored_unref(b);
    stored_unref(c);
    delete_all();
}
END_TEST

/* What the API makes of a Service, with or without an older version; NULL with an error. */
static cJSON *prepared(const char *name, const char *spec, const cJSON *old, struct error **err)
{
    cJSON *s = new_service(name, "ClusterIP", NULL, 0);
    cleanup_json cJSON *more = json_parse(spec, strlen(spec), NULL);
    cJSON *item;
    cJSON_ArrayForEach(item, more) json_map_set(json_get(s, "spec"), item->string, json_dup(item));
    struct claims claims = {0};
    if (!service_prepare(s, old, "", err) || !service_allocate(apiservers[0], s, old, 0, &claims, err)) {
        cJSON_Delete(s);
        s = NULL;
    }
    claims_clear(&claims);
    return s;
}

static void expect(const cJSON *service, const char *path, const char *want)
{
    cleanup_free char *have = json_text(json_path(service, path));
    ck_assert_str_eq(have, want);
}

static void expect_error(const char *spec, const cJSON *old, const char *piece)
{
    struct error *err = NULL;
    ck_assert_ptr_null(prepared("bad", spec, old, &err));
    ck_assert_msg(strstr(error_message(err), piece) != NULL, "%s", error_message(err));
    error_free(err);
}

START_TEST(test_dual_stack)
{
    configure("10.96.0.0/24,fd00:96::/112", "30000-30099");
    struct error *err = NULL;
    cleanup_json cJSON *single = prepared("single", "{}", NULL, &err);
    ck_assert_msg(single != NULL, "%s", error_message(err));
    expect(single, "spec.ipFamilies", "[\"IPv4\"]");
    expect(single, "spec.ipFamilyPolicy", "\"SingleStack\"");
    ck_assert_int_eq(cJSON_GetArraySize(json_path(single, "spec.clusterIPs")), 1);

    cleanup_json cJSON *six = prepared("six", "{\"ipFamilies\":[\"IPv6\"]}", NULL, &err);
    ck_assert_int_eq(strncmp(json_str(six, "spec.clusterIP"), "fd00:96::", 9), 0);

    cleanup_json cJSON *dual = prepared("dual", "{\"ipFamilyPolicy\":\"PreferDualStack\"}", NULL, &err);
    expect(dual, "spec.ipFamilies", "[\"IPv4\",\"IPv6\"]");
    ck_assert_int_eq(cJSON_GetArraySize(json_path(dual, "spec.clusterIPs")), 2);
    ck_assert_int_eq(strncmp(json_path(dual, "spec.clusterIPs")->child->next->valuestring, "fd00:96::", 9), 0);

    cleanup_json cJSON *asked = prepared(
        "asked", "{\"clusterIP\":\"fd00:96::5\",\"clusterIPs\":[\"fd00:96::5\",\"10.96.0.5\"]}", NULL, &err);
    ck_assert_msg(asked != NULL, "%s", error_message(err));
    expect(asked, "spec.ipFamilies", "[\"IPv6\",\"IPv4\"]");
    expect(asked, "spec.ipFamilyPolicy", "\"RequireDualStack\"");

    /* One becomes two, and one again; the first address stays all the while. */
    cleanup_json cJSON *grown = prepared("single", "{\"ipFamilyPolicy\":\"RequireDualStack\"}", single, &err);
    ck_assert_msg(grown != NULL, "%s", error_message(err));
    ck_assert_int_eq(cJSON_GetArraySize(json_path(grown, "spec.clusterIPs")), 2);
    ck_assert_str_eq(json_str(grown, "spec.clusterIP"), json_str(single, "spec.clusterIP"));
    cleanup_json cJSON *shrunk = prepared("single", "{\"ipFamilyPolicy\":\"SingleStack\"}", grown, &err);
    ck_assert_msg(shrunk != NULL, "%s", error_message(err));
    expect(shrunk, "spec.ipFamilies", "[\"IPv4\"]");
    ck_assert(json_equal(json_path(shrunk, "spec.clusterIPs"), json_path(single, "spec.clusterIPs")));

    expect_error("{\"ipFamilyPolicy\":\"SingleStack\",\"ipFamilies\":[\"IPv4\",\"IPv6\"]}", NULL, "must be RequireDualStack");
    expect_error("{\"ipFamilies\":[\"IPv4\",\"IPv4\"]}", NULL, "Duplicate value");
    expect_error("{\"clusterIP\":\"10.96.0.9\",\"clusterIPs\":[\"10.96.0.9\"],\"ipFamilies\":[\"IPv6\"]}", NULL,
                 "expected an IPv6 value as indicated by `ipFamilies[0]`");
    configure("10.96.0.0/24", "30000-30099");
    expect_error("{\"ipFamilyPolicy\":\"RequireDualStack\"}", NULL, "this cluster is not configured for dual-stack services");
    expect_error("{\"ipFamilies\":[\"IPv6\"]}", NULL, "not configured on this cluster");
    cleanup_json cJSON *prefers = prepared("prefers", "{\"ipFamilyPolicy\":\"PreferDualStack\"}", NULL, &err);
    expect(prefers, "spec.ipFamilies", "[\"IPv4\"]");
}
END_TEST

struct creator {
    int number;
    char *ips[EACH];
    int64_t ports[EACH];
    int count, full;
};

static void *creator_main(void *arg)
{
    struct creator *c = arg;
    for (int i = 0; i < EACH; i++) {
        cleanup_free char *name = mem_printf("s-%d-%d", c->number, i);
        struct error *err = NULL;
        struct stored *s = create(c->number % APISERVERS, name, "NodePort", NULL, 0, &err);
        if (!s) {
            c->full += strstr(error_message(err), "range is full") != NULL;
            error_free(err);
            continue;
        }
        cleanup_json cJSON *json = json_parse(s->json, s->len, NULL);
        c->ips[c->count] = mem_strdup(json_str(json, "spec.clusterIP"));
        c->ports[c->count++] = json_int(json_path(json, "spec.ports")->child, "nodePort", 0);
        stored_unref(s);
    }
    return NULL;
}

/* Many creators, ranges that are just large enough: every address and port goes to one Service. */
START_TEST(test_concurrent)
{
    configure("10.96.0.0/26", "30000-30041");
    enum { N = APISERVERS * CREATORS };
    static struct creator creators[N];
    pthread_t threads[N];
    for (int i = 0; i < N; i++) {
        creators[i] = (struct creator){.number = i};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, creator_main, &creators[i]), 0);
    }
    bool ip_seen[64] = {0}, port_seen[42] = {0};
    int total = 0;
    struct cidr range;
    ck_assert(cidr_parse("10.96.0.0/26", &range, NULL));
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(creators[i].count + creators[i].full, EACH);
        for (int k = 0; k < creators[i].count; k++) {
            uint64_t offset;
            ck_assert(cidr_offset(&range, creators[i].ips[k], &offset));
            ck_assert_msg(!ip_seen[offset], "%s given out twice", creators[i].ips[k]);
            ip_seen[offset] = true;
            int64_t port = creators[i].ports[k] - 30000;
            ck_assert(port >= 0 && port < 42);
            ck_assert_msg(!port_seen[port], "%d given out twice", (int)port + 30000);
            port_seen[port] = true;
            total++;
            free(creators[i].ips[k]);
        }
    }
    ck_assert_int_eq(total, 42); /* of the 120 asked for: all that there are, no more */
    struct error *err = NULL;
    ck_assert_ptr_null(create(0, "one-more", "NodePort", NULL, 0, &err));
    ck_assert_int_eq(err->code, 500);
    ck_assert_ptr_nonnull(strstr(err->message, "range is full"));
    error_free(err);
    delete_all();
    err = NULL;
    struct stored *s = create(0, "again", "NodePort", NULL, 0, &err);
    ck_assert_msg(s != NULL, "%s", error_message(err));
    stored_unref(s);
    delete_all();
}
END_TEST

START_TEST(test_cidr)
{
    struct cidr c;
    char text[ADDRESS_TEXT_MAX];
    uint64_t offset;
    ck_assert(cidr_parse("10.96.3.7/16", &c, NULL));
    ck_assert_str_eq(cidr_address(&c, 1, text), "10.96.0.1");
    ck_assert_str_eq(cidr_address(&c, 65534, text), "10.96.255.254");
    ck_assert_uint_eq(c.last, 65534);
    ck_assert_uint_eq(c.band, 256);
    ck_assert(cidr_offset(&c, "10.96.1.2", &offset) && offset == 258);
    ck_assert(!cidr_offset(&c, "10.97.0.0", &offset));
    ck_assert(!cidr_offset(&c, "10.95.255.255", &offset));
    ck_assert(!cidr_offset(&c, "fd00::1", &offset));
    ck_assert(cidr_parse("fd00:1::/108", &c, NULL));
    ck_assert_str_eq(cidr_address(&c, 0x10001, text), "fd00:1::1:1");
    ck_assert(cidr_offset(&c, "fd00:1::2:0", &offset) && offset == 0x20000);
    static const char *const bad[] = {"10.96.0.0",    "10.96.0.0/33", "x/16", "10.96.0.0/",
                                      "10.96.0.0/31", "/16",          ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error *err = NULL;
        ck_assert_msg(!cidr_parse(bad[i], &c, &err), "%s", bad[i]);
        error_free(err);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("registry_services");
    TCase *pure = tcase_create("ranges");
    tcase_add_test(pure, test_cidr);
    suite_add_tcase(s, pure);
    TCase *t = tcase_create("store");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, start_store, stop_store);
    tcase_add_test(t, test_explicit);
    tcase_add_test(t, test_dual_stack);
    tcase_add_test(t, test_no_address);
    tcase_add_test(t, test_concurrent);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
