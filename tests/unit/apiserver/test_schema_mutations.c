/* A bounded, repeatable run of the fuzz targets: real documents with a few bytes changed. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/mem.h"

#define LLVMFuzzerTestOneInput decode_input
#include "tests/fuzz/apiserver_decode.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput patch_input
#include "tests/fuzz/apiserver_patch.c"
#undef LLVMFuzzerTestOneInput

static const char *const documents[] = {
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"labels\":{"
    "\"a\":\"b\"},\"ownerReferences\":[{\"uid\":\"1\"}],"
    "\"finalizers\":[\"a/"
    "b\"]},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"env\":[{\"name\":\"E\",\"value\":"
    "\"v\"}],\"ports\":[{"
    "\"containerPort\":80}],\"resources\":{\"limits\":{\"cpu\":\"1\"}},\"volumeMounts\":[{\"name\":\"v\","
    "\"mountPath\":\"/\"}],\"livenessProbe\":{"
    "\"httpGet\":{\"port\":\"x\"}}}],\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}],\"tolerations\":[{"
    "\"key\":\"k\"}],\"affinity\":{\"nodeAffinity\":{"
    "\"requiredDuringSchedulingIgnoredDuringExecution\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{"
    "\"key\":\"a\",\"operator\":\"In\"}]}]}}}}}",
    "{\"apiVersion\":\"apps/"
    "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"},\"spec\":{\"replicas\":1,"
    "\"selector\":{"
    "\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{\"labels\":{\"a\":\"c\"}},\"spec\":{"
    "\"containers\":[{\"name\":\"c\"}]}},\"strategy\":{"
    "\"rollingUpdate\":{\"maxSurge\":\"25%\"}}}}",
    "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"},\"spec\":{"
    "\"ports\":[{\"port\":80,\"targetPort\":\"x\"},{"
    "\"port\":81}],\"clusterIP\":\"None\",\"externalIPs\":[\"1.2.3.4\"]}}",
    "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"taints\":[{\"key\":"
    "\"a\",\"effect\":\"NoExecute\"}]},\"status\":{"
    "\"capacity\":{\"cpu\":\"1\"},\"conditions\":[{\"type\":\"Ready\",\"lastHeartbeatTime\":\"2026-01-01T00:"
    "00:00Z\"}]}}",
};
static const char *const patches[] = {
    "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"j\"},{\"$patch\":\"delete\",\"name\":\"d\"}],\"$"
    "setElementOrder/containers\":[{\"name\":\"c\"},{"
    "\"name\":\"d\"}]},\"metadata\":{\"labels\":null,\"$deleteFromPrimitiveList/finalizers\":[\"a/b\"]}}",
    "{\"spec\":{\"strategy\":{\"$retainKeys\":[\"type\"],\"type\":\"Recreate\"},\"template\":{\"$patch\":"
    "\"replace\",\"spec\":{}}}}",
    "[{\"op\":\"add\",\"path\":\"/spec/ports/-\",\"value\":{\"port\":1}},{\"op\":\"copy\",\"from\":\"/"
    "spec\",\"path\":\"/spec/x\"},{\"op\":\"move\","
    "\"from\":\"/spec/ports/0\",\"path\":\"/metadata/y\"},{\"op\":\"remove\",\"path\":\"/spec/ports/"
    "0\"},{\"op\":\"test\",\"path\":\"/kind\",\"value\":1}]",
};

static uint64_t state = 88172645463325252u;
static uint32_t chance(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state % n);
}

static void mutate(struct buf *b)
{
    static const char *const tokens[] = {
        "null", "{}",  "[]",          "-1",          "1e999", "\"\"", "\"$patch\":\"delete\"",
        "true", "0.5", "99999999999", "\"\\u0000\"", "\xff"};
    for (uint32_t n = 1 + chance(4); n && b->len > 2; n--) {
        size_t at = 1 + chance((uint32_t)b->len - 1);
        size_t span = chance(8);
        if (span > b->len - at)
            span = b->len - at;
        switch (chance(4)) {
        case 0:
            b->data[at - (at == b->len)] = (char)chance(256);
            break;
        case 1: /* cut out */
            memmove(b->data + at, b->data + at + span, b->len - at - span + 1);
            b->len -= span;
            break;
        case 2: { /* a value in place of another */
            const char *token = tokens[chance((uint32_t)ARRAY_LEN(tokens))];
            size_t from = at;
            while (from < b->len && b->data[from] != ':')
                from++;
            size_t to = from + (from < b->len);
            while (to < b->len && !strchr(",}]", b->data[to]))
                to++;
            cleanup_free char *tail = mem_strdup(b->data + to);
            b->len = from + (from < b->len);
            buf_adds(b, token);
            buf_adds(b, tail);
            break;
        }
        default: { /* twice */
            cleanup_free char *copy = mem_strdup(b->data + at);
            b->len = at;
            buf_add(b, copy, span < strlen(copy) ? span : strlen(copy));
            buf_adds(b, copy);
            break;
        }
        }
    }
}

/* The byte that makes decode_input choose this kind. */
static uint8_t selector_of(const char *api_version, const char *kind)
{
    for (int i = 0; i < 256; i++)
        if (nth_kind((size_t)i) == schema_find_api_version(api_version, kind))
            return (uint8_t)i;
    ck_abort_msg("no selector for %s", kind);
    return 0;
}

START_TEST(bodies)
{
    static const char *const kinds[][2] = {
        {"v1", "Pod"}, {"apps/v1", "Deployment"}, {"v1", "Service"}, {"v1", "Node"}};
    for (int i = 0; i < 12000; i++) {
        size_t which = (size_t)i % ARRAY_LEN(documents);
        struct buf b = {0};
        buf_addc(&b, (char)(chance(10) ? selector_of(kinds[which][0], kinds[which][1]) : chance(256)));
        buf_adds(&b, documents[which]);
        mutate(&b);
        decode_input((const uint8_t *)b.data, b.len);
        buf_free(&b);
    }
}
END_TEST

START_TEST(patched)
{
    for (int i = 0; i < 12000; i++) {
        size_t which = chance(ARRAY_LEN(documents));
        struct buf b = {0};
        buf_addc(&b, (char)(chance(3) + 3 * chance(5)));
        buf_adds(&b, documents[which]);
        if (!chance(3))
            mutate(&b);
        buf_addc(&b, '\n');
        size_t head = b.len;
        struct buf patch = {0};
        buf_adds(&patch, patches[chance(ARRAY_LEN(patches))]);
        mutate(&patch);
        buf_add(&b, patch.data, patch.len);
        ck_assert_uint_ge(b.len, head);
        patch_input((const uint8_t *)b.data, b.len);
        buf_free(&patch);
        buf_free(&b);
    }
}
END_TEST

START_TEST(deep_nesting_is_refused_or_survived)
{
    for (int depth = 100; depth <= 1000000; depth *= 100) {
        struct buf b = {0};
        buf_addc(&b, (char)selector_of("apiextensions.k8s.io/v1", "CustomResourceDefinition"));
        buf_adds(&b, "{\"spec\":{\"versions\":[{\"schema\":{\"openAPIV3Schema\":");
        for (int i = 0; i < depth; i++)
            buf_adds(&b, "{\"not\":");
        buf_adds(&b, "{}");
        for (int i = 0; i < depth; i++)
            buf_addc(&b, '}');
        buf_adds(&b, "}}]}}");
        decode_input((const uint8_t *)b.data, b.len);
        buf_free(&b);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("schema mutations");
    TCase *t = tcase_create("mutations");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, bodies);
    tcase_add_test(t, patched);
    tcase_add_test(t, deep_nesting_is_refused_or_survived);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
