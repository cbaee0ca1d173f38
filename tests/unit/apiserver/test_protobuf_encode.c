/* Answers in Kubernetes' protobuf and in YAML: what was written is read back and must be the same.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/schema/protobuf.h"
#include "common/yaml.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

#define META                                                                                       \
    "\"metadata\":{\"name\":\"x\",\"namespace\":\"default\",\"uid\":\"u-1\",\"resourceVersion\":"  \
    "\"42\",\"generation\":3,\"creationTimestamp\":\"2026-01-02T03:04:05Z\",\"labels\":{\"app\":"  \
    "\"x\",\"a.b/c\":\"\"},\"annotations\":{\"note\":\"two\\nlines \\u00e9\"},\"finalizers\":["    \
    "\"a\",\"b\"],\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\","       \
    "\"name\":\"o\",\"uid\":\"u-2\",\"controller\":true,\"blockOwnerDeletion\":false}],"           \
    "\"managedFields\":[{\"manager\":\"kubectl\",\"operation\":\"Update\",\"apiVersion\":\"v1\","  \
    "\"time\":\"2026-01-02T03:04:05Z\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{\"f:data\":{"     \
    "\".\":{}}}}]}"

static const char *const objects[] = {
    "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\"," META
    ",\"data\":{\"a\":\"1\",\"b\":\"true\",\"c\":\"\"},\"binaryData\":{\"d\":\"AP8B\"},"
    "\"immutable\":true}",

    "{\"kind\":\"Secret\",\"apiVersion\":\"v1\"," META
    ",\"data\":{\"k\":\"c2VjcmV0\"},\"type\":\"Opaque\"}",

    "{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\"," META
    ",\"spec\":{\"replicas\":0,\"selector\":{\"matchLabels\":{\"app\":\"x\"},\"matchExpressions\":["
    "{"
    "\"key\":\"k\",\"operator\":\"In\",\"values\":[\"v\",\"w\"]}]},\"template\":{\"metadata\":{"
    "\"labels\":"
    "{\"app\":\"x\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}},\"strategy\":{"
    "\"type\":"
    "\"RollingUpdate\",\"rollingUpdate\":{\"maxSurge\":\"25%\",\"maxUnavailable\":1}},"
    "\"revisionHistoryLimit\":10,\"progressDeadlineSeconds\":600},\"status\":{"
    "\"observedGeneration\":3,"
    "\"conditions\":[{\"type\":\"Available\",\"status\":\"True\",\"lastUpdateTime\":"
    "\"2026-01-02T03:04:05Z\",\"lastTransitionTime\":\"2026-01-02T03:04:05Z\"}]}}",

    "{\"kind\":\"Pod\",\"apiVersion\":\"v1\"," META
    ",\"spec\":{\"volumes\":[{\"name\":\"e\",\"emptyDir\":{\"sizeLimit\":\"1Gi\"}},{\"name\":\"p\","
    "\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"expirationSeconds\":3607,\"path\":"
    "\"token\"}},"
    "{\"configMap\":{\"name\":\"ca\",\"items\":[{\"key\":\"k\",\"path\":\"p\",\"mode\":256}]}}],"
    "\"defaultMode\":420}}],\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"ports\":[{"
    "\"containerPort\":"
    "8080,\"protocol\":\"TCP\"}],\"env\":[{\"name\":\"E\",\"valueFrom\":{\"secretKeyRef\":{"
    "\"name\":\"s\","
    "\"key\":\"k\",\"optional\":false}}}],\"resources\":{\"limits\":{\"cpu\":\"500m\",\"memory\":"
    "\"128Mi\"}},"
    "\"livenessProbe\":{\"httpGet\":{\"path\":\"/\",\"port\":\"http\",\"scheme\":\"HTTP\"},"
    "\"periodSeconds\":10},\"readinessProbe\":{\"tcpSocket\":{\"port\":8080}},\"lifecycle\":{"
    "\"preStop\":{"
    "\"exec\":{\"command\":[\"sh\",\"-c\",\"\"]}}},\"securityContext\":{\"runAsUser\":0,"
    "\"allowPrivilegeEscalation\":false}}],\"terminationGracePeriodSeconds\":0,\"affinity\":{"
    "\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{\"nodeSelectorTerms\":[{"
    "\"matchExpressions\":[{\"key\":\"k\",\"operator\":\"Exists\"}]}]}}},\"tolerations\":[{"
    "\"operator\":"
    "\"Exists\",\"tolerationSeconds\":300}]},\"status\":{\"phase\":\"Running\",\"podIPs\":[{\"ip\":"
    "\"10.0.0.1\"}],\"containerStatuses\":[{\"name\":\"c\",\"state\":{\"running\":{\"startedAt\":"
    "\"2026-01-02T03:04:05Z\"}},\"lastState\":{},\"ready\":true,\"restartCount\":2,\"image\":\"i\","
    "\"imageID\":\"sha\",\"started\":true}]}}",

    "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\"," META
    ",\"spec\":{\"holderIdentity\":\"me\",\"leaseDurationSeconds\":15,\"acquireTime\":"
    "\"2026-01-02T03:04:05.678901Z\",\"renewTime\":\"1969-12-31T23:59:59.000001Z\","
    "\"leaseTransitions\":0}}",

    "{\"kind\":\"Service\",\"apiVersion\":\"v1\"," META
    ",\"spec\":{\"ports\":[{\"name\":\"http\",\"protocol\":\"TCP\",\"port\":80,\"targetPort\":"
    "\"web\","
    "\"nodePort\":30080},{\"port\":81,\"targetPort\":8081}],\"selector\":{\"app\":\"x\"},"
    "\"clusterIP\":"
    "\"10.96.0.10\",\"clusterIPs\":[\"10.96.0.10\"],\"type\":\"NodePort\",\"sessionAffinity\":"
    "\"None\"},"
    "\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"1.2.3.4\"}]}}}",

    "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"pods "
    "\\\"x\\\" not "
    "found\",\"reason\":\"NotFound\",\"details\":{\"name\":\"x\",\"kind\":\"pods\"},\"code\":404}",
};

static void assert_same(const cJSON *got, const cJSON *want)
{
    cleanup_free char *text_a = json_text(got), *text_b = json_text(want);
    ck_assert_msg(json_equal(got, want), "got  %s\nwant %s", text_a, text_b);
}

START_TEST(test_round_trip)
{
    cleanup_json cJSON *o = json_parse(objects[_i], strlen(objects[_i]), NULL);
    ck_assert_ptr_nonnull(o);
    cleanup_buf struct buf b = {0};
    ck_assert(protobuf_encode(o, &b));
    ck_assert_int_eq(memcmp(b.data, "k8s\0", 4), 0);
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *back = protobuf_decode(b.data, b.len, &err);
    ck_assert_msg(back != NULL, "%s", error_message(err));
    assert_same(back, o);
}
END_TEST

START_TEST(test_watch_frames)
{
    cleanup_buf struct buf b = {0};
    cleanup_json cJSON *pod = json_parse(objects[3], strlen(objects[3]), NULL);
    cleanup_json cJSON *lease = json_parse(objects[4], strlen(objects[4]), NULL);
    ck_assert(protobuf_encode_watch_event("ADDED", pod, &b));
    ck_assert(protobuf_encode_watch_event("MODIFIED", lease, &b));
    const unsigned char *p = (const unsigned char *)b.data, *end = p + b.len;
    const char *const types[] = {"ADDED", "MODIFIED"};
    const cJSON *const want[] = {pod, lease};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_ge(end - p, 4);
        size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        p += 4;
        ck_assert_uint_le(len, (size_t)(end - p));
        /* No envelope: field 1 comes first, the type. */
        ck_assert_int_eq(p[0], 1 << 3 | 2);
        ck_assert_uint_eq(p[1], strlen(types[i]));
        ck_assert_int_eq(memcmp(p + 2, types[i], p[1]), 0);
        const unsigned char *object = memmem(p, len, "k8s\0", 4);
        ck_assert_ptr_nonnull(object);
        cleanup_json cJSON *got = protobuf_decode(object, (size_t)(p + len - object), NULL);
        ck_assert_str_eq(json_str(got, "metadata.name"), "x");
        ck_assert_str_eq(json_str(got, "kind"), json_str(want[i], "kind"));
        p += len;
    }
    ck_assert_ptr_eq(p, end);
}
END_TEST

START_TEST(test_list)
{
    static const char head[] =
        "{\"kind\":\"ConfigMapList\",\"apiVersion\":\"v1\",\"metadata\":{"
        "\"resourceVersion\":\"9\",\"continue\":\"t\",\"remainingItemCount\":5},"
        "\"items\":[]}";
    cleanup_json cJSON *list = json_parse(head, sizeof head - 1, NULL);
    cleanup_json cJSON *item = json_parse(objects[0], strlen(objects[0]), NULL);
    struct protobuf_list l;
    ck_assert(protobuf_list_open(&l, list));
    protobuf_list_add(&l, item);
    protobuf_list_add(&l, item);
    cleanup_buf struct buf b = {0};
    protobuf_list_close(&l, &b);
    cleanup_json cJSON *back = protobuf_decode(b.data, b.len, NULL);
    json_remove(item, "kind");
    json_remove(item, "apiVersion");
    cJSON_AddItemToArray(json_get(list, "items"), json_dup(item));
    cJSON_AddItemToArray(json_get(list, "items"), json_dup(item));
    assert_same(back, list);
}
END_TEST

START_TEST(test_unknown_kind)
{
    static const char text[] =
        "{\"kind\":\"Thing\",\"apiVersion\":\"x.io/v1\",\"metadata\":{\"name\":\"t\"}}";
    cleanup_json cJSON *o = json_parse(text, sizeof text - 1, NULL);
    cleanup_buf struct buf b = {0};
    struct protobuf_list l;
    ck_assert(!protobuf_encode(o, &b));
    ck_assert(!protobuf_encode_watch_event("ADDED", o, &b));
    ck_assert(!protobuf_list_open(&l, o));
    ck_assert(!protobuf_encode(NULL, &b));
    ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(test_big_numbers)
{
    static const char text[] =
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"p\","
        "\"generation\":9007199254740995},\"spec\":{\"priority\":-5}}";
    cleanup_json cJSON *o = json_parse(text, sizeof text - 1, NULL);
    cJSON *metadata = json_get(o, "metadata");
    json_map_set(metadata, "generation", cJSON_CreateRaw("9007199254740995"));
    cleanup_buf struct buf b = {0};
    ck_assert(protobuf_encode(o, &b));
    cleanup_json cJSON *back = protobuf_decode(b.data, b.len, NULL);
    ck_assert_str_eq(json_path(back, "metadata.generation")->valuestring, "9007199254740995");
    ck_assert_int_eq(json_int(back, "spec.priority", 0), -5);
}
END_TEST

START_TEST(test_yaml_round_trip)
{
    cleanup_json cJSON *o = json_parse(objects[_i], strlen(objects[_i]), NULL);
    cleanup_buf struct buf b = {0};
    yaml_print(o, &b);
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *back = yaml_to_json(b.data, b.len, &err);
    ck_assert_msg(back && json_equal(o, back), "%s\n%s", error_message(err), b.data);
}
END_TEST

START_TEST(test_yaml_text)
{
    static const char text[] = "{\"kind\":\"X\",\"apiVersion\":\"v1\",\"data\":{\"a\":\"true\","
                               "\"b\":\"1\",\"c\":\"plain text\",\"d\":"
                               "\"two\\nlines\\n\",\"e\":\"\",\"f\":\"~\",\"g\":\"# x\",\"h\":\"a: "
                               "b\"},\"list\":[1,\"x\",{\"k\":2.5}],"
                               "\"none\":null,\"yes\":false,\"map\":{},\"empty\":[]}";
    static const char want[] =
        "apiVersion: v1\ndata:\n  a: \"true\"\n  b: \"1\"\n  c: plain text\n  d: |\n"
        "    two\n    lines\n  e: \"\"\n  f: \"~\"\n  g: '# x'\n  h: 'a: b'\n"
        "empty: []\nkind: X\nlist:\n- 1\n- x\n- k: 2.5\nmap: {}\nnone: null\n"
        "\"yes\": false\n";
    cleanup_json cJSON *o = json_parse(text, sizeof text - 1, NULL);
    cleanup_buf struct buf b = {0};
    yaml_print(o, &b);
    ck_assert_str_eq(b.data, want);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("protobuf answers");
    TCase *t = tcase_create("encode");
    tcase_add_loop_test(t, test_round_trip, 0, (int)ARRAY_LEN(objects));
    tcase_add_test(t, test_watch_frames);
    tcase_add_test(t, test_list);
    tcase_add_test(t, test_unknown_kind);
    tcase_add_test(t, test_big_numbers);
    tcase_add_loop_test(t, test_yaml_round_trip, 0, (int)ARRAY_LEN(objects));
    tcase_add_test(t, test_yaml_text);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
