#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/protobuf/protobuf.h"
#include "common/json.h"
#include "common/mem.h"

static cJSON *parse(const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_ptr_nonnull(o);
    return o;
}

/* JSON -> protobuf -> JSON gives the same object. */
static void round_trip(const char *text)
{
    cleanup_json cJSON *object = parse(text);
    cleanup_buf struct buf b = {0};
    cleanup_error struct error *err = NULL;
    ck_assert_msg(protobuf_encode(object, &b, &err), "%s", error_message(err));
    ck_assert(b.len > 4 && !memcmp(b.data, "k8s", 4));
    const char *api_version = json_str(object, "apiVersion");
    const struct schema_type *t = schema_find_api_version(api_version, json_str(object, "kind"));
    cleanup_json cJSON *back = protobuf_decode(t, b.data, b.len, &err);
    ck_assert_msg(back != NULL, "%s", error_message(err));
    cleanup_free char *got = json_text(back);
    ck_assert_msg(json_equal(object, back), "%s\n%s", text, got);
}

START_TEST(objects_round_trip)
{
    round_trip("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\",\"creationTimestamp\":\"2026-09-21T14:13:20Z\","
               "\"labels\":{\"a\":\"b\",\"x/y\":\"z\"}},\"data\":{\"k\":\"v\"},\"binaryData\":{\"b\":\"AAEC\"},\"immutable\":false}");
    round_trip("{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\"},\"spec\":{\"replicas\":0,"
               "\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"strategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"maxSurge\":\"25%\","
               "\"maxUnavailable\":1}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\","
               "\"resources\":{\"limits\":{\"cpu\":\"100m\"}},\"livenessProbe\":{\"httpGet\":{\"path\":\"/\",\"port\":\"http\"},\"periodSeconds\":3}}],"
               "\"volumes\":[{\"name\":\"v\",\"configMap\":{\"name\":\"c\",\"defaultMode\":420}},{\"name\":\"e\",\"emptyDir\":{}}]}}},\"status\":{}}");
    round_trip("{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"l\"},\"spec\":{\"holderIdentity\":\"h\","
               "\"renewTime\":\"2026-09-21T14:13:20.123456Z\",\"leaseDurationSeconds\":15}}");
    round_trip("{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\"},\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":-1}],"
               "\"clusterIPs\":[\"10.0.0.1\"]},\"status\":{\"loadBalancer\":{}}}");
}
END_TEST

START_TEST(malformed_bytes_are_an_error)
{
    cleanup_json cJSON *object = parse("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"c\",\"labels\":{\"a\":\"b\"}},\"spec\":"
                                       "{\"containers\":[{\"name\":\"x\",\"image\":\"y\",\"ports\":[{\"containerPort\":80}]}]}}");
    cleanup_buf struct buf b = {0};
    ck_assert(protobuf_encode(object, &b, NULL));
    const struct schema_type *t = schema_find("", "v1", "Pod");
    /* Cut off anywhere, and every byte changed: an answer or an error, never worse (the sanitizers watch). */
    for (size_t n = 0; n < b.len; n++) {
        cleanup_free char *cut = mem_dup(b.data, n);
        struct error *err = NULL;
        cJSON *o = protobuf_decode(t, cut, n, &err);
        ck_assert((o == NULL) == (err != NULL));
        cJSON_Delete(o);
        error_free(err);
        for (int bit = 0; bit < 8; bit++) {
            cleanup_free char *flipped = mem_dup(b.data, b.len);
            flipped[n] = (char)(flipped[n] ^ 1 << bit);
            cJSON_Delete(protobuf_decode(t, flipped, b.len, NULL));
        }
    }
    cleanup_error struct error *err = NULL;
    ck_assert_ptr_null(protobuf_decode(t, "{}", 2, &err));
    ck_assert_int_eq(err->code, 400);
}
END_TEST

START_TEST(watch_events_are_framed)
{
    cleanup_json cJSON *object = parse("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"}}");
    cleanup_buf struct buf b = {0};
    ck_assert(protobuf_encode_watch_event("ADDED", object, &b, NULL));
    const unsigned char *p = (const unsigned char *)b.data;
    ck_assert_uint_eq((size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3], b.len - 4);
    ck_assert(!memcmp(p + 4, "k8s", 4));
    ck_assert_ptr_nonnull(memmem(p, b.len, "ADDED", 5));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("protobuf");
    TCase *t = tcase_create("protobuf");
    tcase_add_test(t, objects_round_trip);
    tcase_add_test(t, malformed_bytes_are_an_error);
    tcase_add_test(t, watch_events_are_framed);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
