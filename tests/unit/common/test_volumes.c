/* Which volume a claim can have, and which node a volume. */
#include <check.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/node_selector.h"
#include "common/volumes.h"

static cJSON *parse(const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_msg(o != NULL, "%s", text);
    return o;
}

static struct kube_object *volume(const char *name, const char *size, const char *more)
{
    cleanup_free char *text =
        mem_printf("{\"metadata\":{\"name\":\"%s\",\"labels\":{\"disk\":\"%s\"}},\"spec\":{\"capacity\":{\"storage\":\"%s\"},"
                   "\"accessModes\":[\"ReadWriteOnce\"],\"storageClassName\":\"c\"%s},\"status\":{\"phase\":\"Available\"}}",
                   name, name, size, more);
    return kube_object_new(parse(text));
}

#define CLAIM(size, more)                                                                                              \
    "{\"metadata\":{\"name\":\"x\",\"namespace\":\"n\",\"uid\":\"u\"},\"spec\":{\"storageClassName\":\"c\",\"accessModes\":["  \
    "\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":\"" size "\"}}" more "}}"

static const char *best(struct kube_object_list *l, const char *claim, bool delayed)
{
    cleanup_json cJSON *c = parse(claim);
    const struct kube_object *v = volume_best(l, c, delayed, NULL, NULL);
    return v ? v->name : "";
}

START_TEST(test_best)
{
    struct kube_object *items[] = {
        volume("big", "10Gi", ""), volume("small", "1Gi", ""), volume("middle", "2Gi", ""),
        volume("taken", "1Gi", ",\"claimRef\":{\"namespace\":\"n\",\"name\":\"other\",\"uid\":\"v\"}"),
        volume("block", "1Gi", ",\"volumeMode\":\"Block\""),
    };
    struct kube_object_list l = {items, ARRAY_LEN(items)};
    ck_assert_str_eq(best(&l, CLAIM("500Mi", ""), false), "small");
    ck_assert_str_eq(best(&l, CLAIM("1025Mi", ""), false), "middle");
    ck_assert_str_eq(best(&l, CLAIM("11Gi", ""), false), "");
    ck_assert_str_eq(best(&l, CLAIM("1Gi", ""), true), "");
    ck_assert_str_eq(best(&l, CLAIM("1Gi", ",\"selector\":{\"matchLabels\":{\"disk\":\"big\"}}"), false), "big");
    ck_assert_str_eq(best(&l, CLAIM("1Gi", ",\"volumeMode\":\"Block\""), false), "block");
    /* One that names the claim comes first, also for a claim that waits for its pod. */
    json_set(items[0]->json, "spec.claimRef", parse("{\"namespace\":\"n\",\"name\":\"x\"}"));
    ck_assert_str_eq(best(&l, CLAIM("1Gi", ""), false), "big");
    ck_assert_str_eq(best(&l, CLAIM("1Gi", ""), true), "big");
    /* An earlier claim of that name is another one. */
    json_set_str(items[0]->json, "spec.claimRef.uid", "before");
    ck_assert_str_eq(best(&l, CLAIM("1Gi", ""), false), "small");
    for (size_t i = 0; i < ARRAY_LEN(items); i++)
        kube_object_unref(items[i]);
}
END_TEST

START_TEST(test_mismatch)
{
    struct kube_object *v = volume("v", "1Gi", "");
    static const char *const cases[][2] = {
        {CLAIM("2Gi", ""), "requested PV is too small"},
        {CLAIM("1Gi", ",\"volumeMode\":\"Block\""), "incompatible volumeMode"},
        {"{\"spec\":{\"storageClassName\":\"d\"}}", "storageClassName does not match"},
        {"{\"spec\":{\"storageClassName\":\"c\",\"accessModes\":[\"ReadWriteMany\"]}}", "incompatible accessMode"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_json cJSON *claim = parse(cases[i][0]);
        ck_assert_str_eq(volume_mismatch(v->json, claim), cases[i][1]);
    }
    cleanup_json cJSON *good = parse(CLAIM("1Gi", "")), *odd = parse("{\"spec\":7}");
    ck_assert_ptr_null(volume_mismatch(v->json, good));
    ck_assert_ptr_nonnull(volume_mismatch(v->json, odd));
    kube_object_unref(v);
}
END_TEST

START_TEST(test_nodes)
{
    cleanup_json cJSON *v = parse("{\"spec\":{\"nodeAffinity\":{\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{\"key\":\"k\","
                                  "\"operator\":\"In\",\"values\":[\"a\",\"b\"]}]},{\"matchFields\":[{\"key\":\"metadata.name\",\"operator\":"
                                  "\"In\",\"values\":[\"n3\"]}]}]}}}}");
    cleanup_json cJSON *a = parse("{\"k\":\"a\"}"), *c = parse("{\"k\":\"c\"}"), *free_one = parse("{\"spec\":{}}");
    ck_assert(volume_fits_node(v, a, "n1"));
    ck_assert(!volume_fits_node(v, c, "n2"));
    ck_assert(!volume_fits_node(v, NULL, "n2"));
    ck_assert(volume_fits_node(v, c, "n3"));
    ck_assert(volume_fits_node(free_one, NULL, "n1"));
    cleanup_json cJSON *empty = parse("{\"nodeSelectorTerms\":[{}]}");
    ck_assert(!node_selector_matches(empty, a, "n1"));
}
END_TEST

START_TEST(test_of_pods)
{
    cleanup_json cJSON *pod = parse("{\"metadata\":{\"name\":\"p\",\"uid\":\"u1\"}}");
    cleanup_json cJSON *claim = parse("{\"persistentVolumeClaim\":{\"claimName\":\"c\"}}"),
                       *ephemeral = parse("{\"name\":\"v\",\"ephemeral\":{}}"), *other = parse("{\"emptyDir\":{}}");
    bool is_ephemeral;
    cleanup_free char *x = pod_volume_claim(pod, claim, &is_ephemeral);
    ck_assert_str_eq(x, "c");
    ck_assert(!is_ephemeral);
    cleanup_free char *y = pod_volume_claim(pod, ephemeral, &is_ephemeral);
    ck_assert_str_eq(y, "p-v");
    ck_assert(is_ephemeral);
    ck_assert_ptr_null(pod_volume_claim(pod, other, NULL));
    cleanup_json cJSON *owned = parse("{\"metadata\":{\"ownerReferences\":[{\"uid\":\"u1\",\"controller\":true}]}}");
    ck_assert(claim_is_of_pod(owned, pod));
    ck_assert(!claim_is_of_pod(other, pod));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("volumes");
    TCase *t = tcase_create("volumes");
    tcase_add_test(t, test_best);
    tcase_add_test(t, test_mismatch);
    tcase_add_test(t, test_nodes);
    tcase_add_test(t, test_of_pods);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
