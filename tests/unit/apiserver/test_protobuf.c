/* Bodies in Kubernetes' protobuf form, and in YAML. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/schema/protobuf.h"
#include "apiserver/yaml/yaml.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

static void varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(b, (char)(v | 0x80));
    buf_addc(b, (char)v);
}

static void number(struct buf *b, unsigned field, uint64_t v)
{
    varint(b, field << 3);
    varint(b, v);
}

static void bytes(struct buf *b, unsigned field, const void *p, size_t n)
{
    varint(b, field << 3 | 2);
    varint(b, n);
    buf_add(b, p, n);
}

static void text(struct buf *b, unsigned field, const char *s)
{
    bytes(b, field, s, strlen(s));
}

/* Takes the content of inner. */
static void message(struct buf *b, unsigned field, struct buf *inner)
{
    bytes(b, field, buf_str(inner), inner->len);
    buf_free(inner);
}

static cJSON *decode(const char *group, const char *kind, struct buf *object, struct error **err)
{
    cleanup_buf struct buf all = {0};
    struct buf meta = {0}, envelope = {0};
    cleanup_free char *api_version = *group ? mem_printf("%s/v1", group) : mem_strdup("v1");
    text(&meta, 1, api_version);
    text(&meta, 2, kind);
    message(&envelope, 1, &meta);
    message(&envelope, 2, object);
    buf_add(&all, "k8s\0", 4);
    buf_add(&all, buf_str(&envelope), envelope.len);
    buf_free(&envelope);
    return protobuf_decode(all.data, all.len, err);
}

static void check_json(const cJSON *json, const char *want)
{
    cleanup_free char *got = json ? json_text(json) : mem_strdup("(none)");
    ck_assert_str_eq(got, want);
}

START_TEST(test_config_map)
{
    struct buf o = {0}, meta = {0}, entry = {0};
    text(&meta, 1, "one");
    message(&o, 1, &meta);
    text(&entry, 1, "k");
    text(&entry, 2, "v");
    message(&o, 2, &entry);
    text(&entry, 1, "bin");
    bytes(&entry, 2, "\0\1", 2);
    message(&o, 3, &entry);
    struct error *err = NULL;
    cleanup_json cJSON *json = decode("", "ConfigMap", &o, &err);
    check_json(json, "{\"metadata\":{\"name\":\"one\"},\"data\":{\"k\":\"v\"},\"binaryData\":{\"bin\":\"AAE=\"},"
                     "\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"}");
}
END_TEST

START_TEST(test_pod)
{
    struct buf o = {0}, spec = {0}, volume = {0}, source = {0}, path = {0}, container = {0}, port = {0}, resources = {0},
               entry = {0}, quantity = {0}, probe = {0}, handler = {0}, get = {0}, target = {0};
    text(&volume, 1, "v");
    text(&path, 1, "/tmp");
    message(&source, 1, &path);    /* hostPath, in */
    message(&volume, 2, &source);  /* the inlined VolumeSource */
    message(&spec, 1, &volume);
    text(&container, 1, "c");
    number(&port, 3, 80);
    message(&container, 6, &port);
    text(&quantity, 1, "100m");
    text(&entry, 1, "cpu");
    message(&entry, 2, &quantity);
    message(&resources, 2, &entry);
    message(&container, 8, &resources);
    number(&target, 1, 1);
    text(&target, 3, "http");
    message(&get, 2, &target);
    message(&handler, 2, &get);
    message(&probe, 1, &handler);
    number(&probe, 2, 5);
    message(&container, 10, &probe);
    message(&spec, 2, &container);
    number(&spec, 4, 30);
    message(&o, 2, &spec);
    struct error *err = NULL;
    cleanup_json cJSON *json = decode("", "Pod", &o, &err);
    ck_assert_msg(json != NULL, "%s", error_message(err));
    check_json(json_get(json, "spec"),
               "{\"volumes\":[{\"name\":\"v\",\"hostPath\":{\"path\":\"/tmp\"}}],\"containers\":[{\"name\":\"c\",\"ports\":["
               "{\"containerPort\":80}],\"resources\":{\"requests\":{\"cpu\":\"100m\"}},\"livenessProbe\":{\"httpGet\":{"
               "\"port\":\"http\"},\"initialDelaySeconds\":5}}],\"terminationGracePeriodSeconds\":30}");
}
END_TEST

START_TEST(test_times)
{
    struct buf o = {0}, meta = {0}, time = {0}, empty = {0};
    text(&meta, 1, "e");
    message(&meta, 8, &empty); /* creationTimestamp: the zero time */
    message(&o, 1, &meta);
    number(&time, 1, 1);
    number(&time, 2, 5000);
    message(&o, 10, &time); /* eventTime */
    number(&time, 1, 61);
    message(&o, 6, &time); /* firstTimestamp */
    struct error *err = NULL;
    cleanup_json cJSON *json = decode("", "Event", &o, &err);
    check_json(json, "{\"metadata\":{\"name\":\"e\"},\"eventTime\":\"1970-01-01T00:00:01.000005Z\","
                     "\"firstTimestamp\":\"1970-01-01T00:01:01Z\",\"apiVersion\":\"v1\",\"kind\":\"Event\"}");
}
END_TEST

START_TEST(test_malformed)
{
    static const struct {
        const char *data;
        size_t len;
    } cases[] = {
        {"", 0}, {"k8s", 3}, {"{}", 2}, {"k8s\0\x12\x7f", 6}, {"k8s\0\x12\x02\x0a\x05", 8}, {"k8s\0\x00", 5},
        {"k8s\0\x12\x02\x0a\xff", 8}, {"k8s\0\x12\x04\x0a\x02\x08\x80", 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cleanup_error struct error *err = NULL;
        cleanup_json cJSON *json = protobuf_decode(cases[i].data, cases[i].len, &err);
        ck_assert_msg(!json, "case %zu", i);
        ck_assert_int_eq(err->code, 400);
    }
    /* Any bytes: an answer or an error, never more. */
    srand(1);
    for (int i = 0; i < 20000; i++) {
        struct buf object = {0};
        for (int len = rand() % 60; len > 0; len--)
            buf_addc(&object, (char)(rand() % 4 ? rand() % 64 : rand()));
        cleanup_error struct error *err = NULL;
        cleanup_json cJSON *json = decode("", i % 2 ? "Pod" : "Service", &object, &err);
        ck_assert(json || err);
    }
}
END_TEST

START_TEST(test_depth)
{
    /* JSONSchemaProps nest in each other. */
    struct buf b = {0};
    for (int i = 0; i < 2000; i++) {
        struct buf outer = {0};
        message(&outer, 26, &b); /* not */
        b = outer;
    }
    struct buf all = {0}, schema = {0}, version = {0}, spec = {0};
    message(&schema, 1, &b);
    message(&version, 4, &schema);
    message(&spec, 7, &version);
    message(&all, 2, &spec);
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *json = decode("apiextensions.k8s.io", "CustomResourceDefinition", &all, &err);
    ck_assert(!json);
    ck_assert_int_eq(err->code, 400);
}
END_TEST

static void check_yaml(const char *yaml, const char *want)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *json = yaml_to_json(yaml, strlen(yaml), &err);
    ck_assert_msg(json || !want, "%s: %s", yaml, error_message(err));
    if (want)
        check_json(json, want);
    else
        ck_assert_msg(!json, "%s", yaml);
}

START_TEST(test_yaml)
{
    check_yaml("a: 1\nb: [x, 'y', \"2\", 2.5, true, no, ~, 0x10, 010, 1_000]\n",
               "{\"a\":1,\"b\":[\"x\",\"y\",\"2\",2.5,true,false,null,16,8,1000]}");
    check_yaml("a: {b: c}\nd:\n  - e: f\n    g: |\n      one\n      two\n", "{\"a\":{\"b\":\"c\"},\"d\":[{\"e\":\"f\",\"g\":\"one\\ntwo\\n\"}]}");
    check_yaml("x: &x {a: 1}\ny:\n  <<: *x\n  b: 2\n", "{\"x\":{\"a\":1},\"y\":{\"b\":2,\"a\":1}}");
    check_yaml("{\"kind\": \"Pod\"}", "{\"kind\":\"Pod\"}");
    check_yaml("time: 2026-11-24\nversion: v1.2.3\nbig: 9007199254740993\n",
               "{\"time\":\"2026-11-24\",\"version\":\"v1.2.3\",\"big\":9007199254740993}");
    check_yaml("", "null");
    check_yaml("a: [", NULL);
    check_yaml("a: 1\na: 2\n", NULL);
    check_yaml("? [a]\n: b\n", NULL);
    check_yaml("a: &a [*a]\n", NULL);
    check_yaml("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
               "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
               NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("protobuf");
    TCase *t = tcase_create("bodies");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_config_map);
    tcase_add_test(t, test_pod);
    tcase_add_test(t, test_times);
    tcase_add_test(t, test_malformed);
    tcase_add_test(t, test_depth);
    tcase_add_test(t, test_yaml);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
