/* Atomic directories, volumes from the API, sub-paths. */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/volume/atomic.h"
#include "kubelet/volume/volume.h"

static cJSON *parse(const char *text)
{
    struct error *err = NULL;
    cJSON *o = json_parse(text, strlen(text), &err);
    ck_assert_msg(o != NULL, "%s", error_message(err));
    return o;
}

static char *directory(void)
{
    char *root = mem_strdup("/tmp/skiff-volume-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    return root;
}

static void expect_file(const char *dir, const char *name, const char *want)
{
    cleanup_free char *path = mem_printf("%s/%s", dir, name);
    struct buf b = {0};
    if (!want) {
        ck_assert_msg(access(path, F_OK) != 0, "%s is there", path);
        return;
    }
    ck_assert_msg(buf_read_file(&b, path, NULL), "%s", path);
    ck_assert_str_eq(buf_str(&b), want);
    buf_free(&b);
}

static void add(struct payload *p, const char *path, const char *text)
{
    struct error *err = NULL;
    ck_assert_msg(payload_add(p, path, text, strlen(text), 0640, &err), "%s", error_message(err));
}

START_TEST(atomic_sets)
{
    cleanup_free char *dir = directory(), *link = mem_printf("%s/..data", dir), *file = mem_printf("%s/a", dir);
    bool changed = false;
    char first[64] = "", second[64] = "";
    {
        cleanup_payload struct payload p = {0};
        add(&p, "a", "one");
        add(&p, "sub/b", "two");
        ck_assert(atomic_write(dir, &p, -1, &changed, NULL));
        ck_assert(changed);
        ck_assert_int_gt(readlink(link, first, sizeof(first) - 1), 0);
        ck_assert(atomic_write(dir, &p, -1, &changed, NULL)); /* the same again */
        ck_assert(!changed);
    }
    struct stat st;
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
    expect_file(dir, "a", "one");
    expect_file(dir, "sub/b", "two");
    {
        cleanup_payload struct payload p = {0};
        add(&p, "a", "ONE");
        add(&p, "c", "three");
        ck_assert(atomic_write(dir, &p, -1, &changed, NULL));
        ck_assert(changed);
    }
    ck_assert_int_gt(readlink(link, second, sizeof(second) - 1), 0);
    ck_assert_str_ne(first, second);
    expect_file(dir, "a", "ONE");
    expect_file(dir, "sub", NULL);
    expect_file(dir, first, NULL); /* the old set is gone */
    /* What was tampered with is made right. */
    cleanup_free char *inner = mem_printf("%s/%s/c", dir, second);
    ck_assert_int_eq(truncate(inner, 0), 0);
    {
        cleanup_payload struct payload p = {0};
        add(&p, "a", "ONE");
        add(&p, "c", "three");
        ck_assert(atomic_write(dir, &p, -1, &changed, NULL));
        ck_assert(changed);
    }
    expect_file(dir, "c", "three");
    ck_assert(remove_tree(dir, NULL));
}
END_TEST

START_TEST(payload_paths)
{
    cleanup_payload struct payload p = {0};
    static const char *const bad[] = {"", "/etc/passwd", "../x", "a/../../x", "..x", "a/.."};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!payload_add(&p, bad[i], "", 0, 0644, NULL), "%s", bad[i]);
    ck_assert(payload_add(&p, "a", "1", 1, 0644, NULL));
    ck_assert(payload_add(&p, "a", "2", 1, 0644, NULL));
    ck_assert_int_eq(p.count, 1);
    ck_assert_int_eq(p.items[0].data[0], '2');
    ck_assert(payload_add(&p, "bin", "a\0b", 3, 0644, NULL));
    ck_assert_int_eq(memcmp(p.items[1].data, "a\0b", 3), 0);
}
END_TEST

static int tokens_given;
static cJSON *api_request(void *userdata, const char *method, const char *path, const char *type, const cJSON *body,
                          struct error **err)
{
    (void)type;
    const char *color = userdata;
    if (strcmp(path, "/api/v1/namespaces/ns/configmaps/cm") == 0)
        return parse(*color == 'r' ? "{\"metadata\":{\"name\":\"cm\"},\"data\":{\"color\":\"red\",\"k\":\"v\"},\"binaryData\":{\"b\":\"AAE=\"}}"
                                   : "{\"metadata\":{\"name\":\"cm\"},\"data\":{\"color\":\"blue\"}}");
    if (strcmp(path, "/api/v1/namespaces/ns/secrets/s") == 0)
        return parse("{\"metadata\":{\"name\":\"s\"},\"data\":{\"password\":\"aHVudGVyMg==\"}}");
    if (strcmp(method, "POST") == 0 && strcmp(path, "/api/v1/namespaces/ns/serviceaccounts/default/token") == 0) {
        tokens_given++;
        ck_assert_str_eq(json_str(body, "spec.boundObjectRef.uid"), "u");
        return parse("{\"status\":{\"token\":\"jwt\",\"expirationTimestamp\":\"2099-01-01T00:00:00Z\"}}");
    }
    error_set(err, 404, "NotFound", "nothing at %s", path);
    return NULL;
}

static const char pod_text[] =
    "{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\",\"uid\":\"u\",\"labels\":{\"a\":\"b\"}},\"spec\":{\"volumes\":["
    "{\"name\":\"cm\",\"configMap\":{\"name\":\"cm\"}},{\"name\":\"one\",\"configMap\":{\"name\":\"cm\",\"items\":[{\"key\":\"color\","
    "\"path\":\"x/y\",\"mode\":256}]}},{\"name\":\"empty\",\"emptyDir\":{}},{\"name\":\"unused\",\"secret\":{\"secretName\":\"none\"}},"
    "{\"name\":\"opt\",\"configMap\":{\"name\":\"none\",\"optional\":true}},"
    "{\"name\":\"host\",\"hostPath\":{\"path\":\"/tmp\",\"type\":\"Directory\"}}],"
    "\"containers\":[{\"name\":\"c\",\"volumeMounts\":[{\"name\":\"cm\",\"mountPath\":\"/cm\"},{\"name\":\"one\",\"mountPath\":\"/one\"},"
    "{\"name\":\"empty\",\"mountPath\":\"/e\"},{\"name\":\"opt\",\"mountPath\":\"/o\"},{\"name\":\"host\",\"mountPath\":\"/h\",\"readOnly\":true}]}]}}";

START_TEST(volumes)
{
    cleanup_free char *root = directory(), *pods = mem_printf("%s/pods/u/volumes", root);
    char color = 'r';
    struct kubelet_api api = {api_request, NULL, &color};
    struct object_cache *cache = object_cache_new(&api);
    struct volume_node n = {root, &api, cache, NULL, NULL, NULL};
    cleanup_json cJSON *pod = parse(pod_text);
    struct downward_source d = {.pod = pod};
    struct error *err = NULL;
    ck_assert_msg(volumes_ensure(&n, &d, 0, &err), "%s", error_message(err));
    expect_file(pods, "kubernetes.io~configmap/cm/color", "red");
    expect_file(pods, "kubernetes.io~configmap/cm/k", "v");
    expect_file(pods, "kubernetes.io~configmap/one/x/y", "red");
    struct stat st;
    cleanup_free char *moded = mem_printf("%s/kubernetes.io~configmap/one/x/y", pods);
    cleanup_free char *empty = mem_printf("%s/kubernetes.io~empty-dir/empty", pods);
    ck_assert_int_eq(stat(moded, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0400);
    ck_assert_int_eq(stat(empty, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0777);
    /* Changed in the API: changed in the pod. */
    color = 'b';
    ck_assert(volumes_ensure(&n, &d, 0, NULL));
    expect_file(pods, "kubernetes.io~configmap/cm/color", "blue");
    expect_file(pods, "kubernetes.io~configmap/cm/k", NULL);

    cleanup_mounts struct translate_mounts mounts = {0};
    ck_assert(volumes_mounts(&n, pod, json_path(pod, "spec.containers")->child, NULL, &mounts, NULL));
    ck_assert_int_eq(mounts.count, 5);
    ck_assert(mounts.items[0].readonly); /* nobody may write to what the API owns */
    ck_assert(!mounts.items[2].readonly);
    ck_assert_str_eq(mounts.items[4].host_path, "/tmp");
    ck_assert(mounts.items[4].readonly);

    static const char *const failing[][2] = {
        {"{\"name\":\"cm\",\"configMap\":{\"name\":\"gone\"}}", "MountVolume.SetUp failed for volume \"cm\" : configmap \"gone\" not found"},
        {"{\"name\":\"cm\",\"hostPath\":{\"path\":\"/etc/hostname-none\",\"type\":\"File\"}}",
         "MountVolume.SetUp failed for volume \"cm\" : hostPath type check failed: /etc/hostname-none is not a file"},
        {"{\"name\":\"cm\",\"configMap\":{\"name\":\"cm\",\"items\":[{\"key\":\"zz\",\"path\":\"z\"}]}}",
         "MountVolume.SetUp failed for volume \"cm\" : configmap references non-existent config key: zz"},
        {"{\"name\":\"cm\",\"configMap\":{\"name\":\"cm\",\"items\":[{\"key\":\"color\",\"path\":\"../z\"}]}}",
         "MountVolume.SetUp failed for volume \"cm\" : invalid path: ../z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(failing); i++) {
        cleanup_json cJSON *bad = parse(pod_text);
        cJSON_ReplaceItemInArray(json_path(bad, "spec.volumes"), 0, parse(failing[i][0]));
        struct downward_source of_bad = {.pod = bad};
        cleanup_error struct error *why = NULL;
        ck_assert(!volumes_ensure(&n, &of_bad, 0, &why));
        ck_assert_str_eq(why->message, failing[i][1]);
    }
    ck_assert(volumes_teardown(&n, "u", &err));
    ck_assert(volumes_teardown(&n, "u", &err)); /* nothing left to do */
    cleanup_free char *dir = volumes_pod_dir(&n, "u");
    ck_assert_int_ne(access(dir, F_OK), 0);
    object_cache_free(cache);
    ck_assert(remove_tree(root, NULL));
}
END_TEST

/* What needs mounts: in a mount namespace of its own, where that is allowed. */
static bool own_mounts(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

START_TEST(volumes_in_memory)
{
    if (!own_mounts())
        return;
    cleanup_free char *root = directory(), *pods = mem_printf("%s/pods/u/volumes", root);
    char color = 'r';
    struct kubelet_api api = {api_request, NULL, &color};
    struct object_cache *cache = object_cache_new(&api);
    struct volume_node n = {root, &api, cache, NULL, NULL, NULL};
    cleanup_json cJSON *pod = parse(
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\",\"uid\":\"u\",\"labels\":{\"a\":\"b\"}},\"spec\":{\"securityContext\":{\"fsGroup\":4242},"
        "\"volumes\":[{\"name\":\"m\",\"emptyDir\":{\"medium\":\"Memory\",\"sizeLimit\":\"1Mi\"}},{\"name\":\"s\",\"secret\":{\"secretName\":\"s\","
        "\"defaultMode\":256}},{\"name\":\"all\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"path\":\"token\"}},{\"configMap\":"
        "{\"name\":\"cm\"}},{\"downwardAPI\":{\"items\":[{\"path\":\"labels\",\"fieldRef\":{\"fieldPath\":\"metadata.labels\"}}]}}]}}],"
        "\"containers\":[{\"name\":\"c\",\"volumeMounts\":[{\"name\":\"m\",\"mountPath\":\"/m\"},{\"name\":\"s\",\"mountPath\":\"/s\"},{\"name\":\"all\","
        "\"mountPath\":\"/all\"}]}]}}");
    struct downward_source d = {.pod = pod};
    struct error *err = NULL;
    ck_assert_msg(volumes_ensure(&n, &d, 0, &err), "%s", error_message(err));
    ck_assert_msg(volumes_ensure(&n, &d, 0, &err), "%s", error_message(err));
    ck_assert_int_eq(tokens_given, 1);
    expect_file(pods, "kubernetes.io~secret/s/password", "hunter2");
    expect_file(pods, "kubernetes.io~projected/all/token", "jwt");
    expect_file(pods, "kubernetes.io~projected/all/color", "red");
    expect_file(pods, "kubernetes.io~projected/all/labels", "a=\"b\"");
    struct stat st, root_st;
    cleanup_free char *secret = mem_printf("%s/kubernetes.io~secret/s/password", pods);
    cleanup_free char *memory = mem_printf("%s/kubernetes.io~empty-dir/m", pods);
    ck_assert_int_eq(stat(secret, &st), 0);
    ck_assert_int_eq(stat(root, &root_st), 0);
    ck_assert_int_ne(st.st_dev, root_st.st_dev); /* not on the disk */
    ck_assert_int_eq(st.st_mode & 0777, 0440);
    ck_assert_int_eq(st.st_gid, 4242);
    ck_assert_int_eq(stat(memory, &st), 0);
    ck_assert_int_ne(st.st_dev, root_st.st_dev);
    ck_assert_int_eq(st.st_gid, 4242);
    ck_assert_msg(volumes_teardown(&n, "u", &err), "%s", error_message(err));
    object_cache_free(cache);
    ck_assert(remove_tree(root, NULL));
}
END_TEST

START_TEST(subpaths)
{
    if (!own_mounts())
        return;
    cleanup_free char *root = directory(), *volume = mem_printf("%s/v", root), *target = mem_printf("%s/t/0", root);
    cleanup_free char *file = mem_printf("%s/f", volume), *outside = mem_printf("%s/outside", root);
    ck_assert(make_directories(volume, 0777, NULL));
    ck_assert_int_eq(chmod(volume, 0777), 0);
    ck_assert(buf_write_file_atomic(file, "in", 2, 0644, NULL));
    ck_assert(buf_write_file_atomic(outside, "out", 3, 0644, NULL));
    struct error *err = NULL;
    cleanup_free char *one = subpath_bind(volume, "f", target, false, &err);
    ck_assert_msg(one != NULL, "%s", error_message(err));
    expect_file(root, "t/0", "in");
    /* Directories that are missing are made, with the volume's permissions. */
    cleanup_free char *two = subpath_bind(volume, "a/b", target, false, &err);
    ck_assert_msg(two != NULL, "%s", error_message(err));
    struct stat st;
    ck_assert_int_eq(stat(target, &st), 0);
    ck_assert(S_ISDIR(st.st_mode));
    ck_assert_int_eq(st.st_mode & 0777, 0777);
    /* No way out. */
    cleanup_free char *evil = mem_printf("%s/evil", volume), *up = mem_printf("%s/up", volume);
    ck_assert_int_eq(symlink(root, evil), 0);
    ck_assert_int_eq(symlink("..", up), 0);
    static const char *const bad[] = {"evil/outside", "evil", "up/outside", "../outside", "a/../../outside", "/etc/passwd", "evil/new"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_free char *got = subpath_bind(volume, bad[i], target, false, NULL);
        ck_assert_msg(got == NULL, "%s", bad[i]);
    }
    umount2(target, MNT_DETACH);
    ck_assert(remove_tree(root, NULL));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kubelet volumes");
    TCase *t = tcase_create("all");
    tcase_add_test(t, atomic_sets);
    tcase_add_test(t, payload_paths);
    tcase_add_test(t, volumes);
    tcase_add_test(t, volumes_in_memory);
    tcase_add_test(t, subpaths);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
