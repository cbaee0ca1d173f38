/* Request bodies in Kubernetes' protobuf: messages built by hand, and the same ones damaged. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/schema/protobuf.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

static void varint(struct buf *b, uint64_t v)
{
    for (; v > 127; v >>= 7)
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

static void message(struct buf *b, unsigned field, struct buf *m)
{
    bytes(b, field, buf_str(m), m->len);
    buf_free(m);
}

static void envelope(struct buf *out, const char *api_version, const char *kind, struct buf *raw)
{
    struct buf type = {0};
    text(&type, 1, api_version);
    text(&type, 2, kind);
    buf_add(out, "k8s\0", 4);
    message(out, 1, &type);
    message(out, 2, raw);
    text(out, 3, "");
    text(out, 4, "");
}

static void metadata(struct buf *object, const char *name)
{
    struct buf meta = {0}, time = {0}, label = {0};
    text(&meta, 1, name);
    text(&meta, 2, "");
    message(&meta, 8, &time); /* creationTimestamp: the zero time is an empty message */
    text(&label, 1, "app");
    text(&label, 2, "web");
    message(&meta, 11, &label);
    message(object, 1, &meta);
}

/* A Deployment with what is special on the wire: inlined messages, a quantity, int-or-string,
 * zeros, maps. */
static void deployment(struct buf *out)
{
    struct buf object = {0}, spec = {0}, template = {0}, pod = {0}, container = {0}, port = {0},
               resources = {0}, entry = {0}, quantity = {0}, probe = {0}, action = {0}, get = {0},
               where = {0}, volume = {0}, source = {0}, directory = {0};
    metadata(&object, "web");
    number(&spec, 1, 0); /* replicas 0: a pointer, so it stays */
    text(&container, 1, "c");
    text(&container, 2, "image");
    text(&port, 1, "");
    number(&port, 2, 0);
    number(&port, 3, 8080);
    message(&container, 6, &port);
    text(&quantity, 1, "100m");
    text(&entry, 1, "cpu");
    message(&entry, 2, &quantity);
    message(&resources, 2, &entry); /* requests */
    message(&container, 8, &resources);
    text(&get, 1, "/healthz");
    number(&where, 1, 1);
    text(&where, 3, "http");
    message(&get, 2, &where);
    message(&action, 2, &get);
    message(&probe, 1, &action); /* the handler is inlined in JSON */
    number(&probe, 2, 5);
    message(&container, 10, &probe); /* livenessProbe */
    number(&container, 16, 0);       /* stdin false: left out */
    message(&pod, 2, &container);
    text(&volume, 1, "v");
    message(&source, 2, &directory); /* emptyDir {} */
    message(&volume, 2, &source);
    message(&pod, 1, &volume);
    metadata(&template, "");
    message(&template, 2, &pod);
    message(&spec, 3, &template);
    message(&object, 2, &spec);
    envelope(out, "apps/v1", "Deployment", &object);
}

START_TEST(test_deployment)
{
    cleanup_buf struct buf b = {0};
    deployment(&b);
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *o = protobuf_decode(b.data, b.len, &err);
    ck_assert_msg(o != NULL, "%s", error_message(err));
    ck_assert_str_eq(json_str(o, "apiVersion"), "apps/v1");
    ck_assert_str_eq(json_str(o, "kind"), "Deployment");
    ck_assert_str_eq(json_str(o, "metadata.name"), "web");
    ck_assert_str_eq(json_str(o, "metadata.labels.app"), "web");
    ck_assert_ptr_null(json_path(o, "metadata.creationTimestamp"));
    ck_assert_ptr_null(json_path(o, "metadata.generateName"));
    ck_assert_int_eq(json_int(o, "spec.replicas", -1), 0);
    const cJSON *c = cJSON_GetArrayItem(json_path(o, "spec.template.spec.containers"), 0);
    ck_assert_str_eq(json_str(c, "image"), "image");
    ck_assert_ptr_null(json_get(c, "stdin"));
    ck_assert_str_eq(json_str(c, "resources.requests.cpu"), "100m");
    ck_assert_str_eq(json_str(c, "livenessProbe.httpGet.path"), "/healthz");
    ck_assert_str_eq(json_str(c, "livenessProbe.httpGet.port"), "http");
    ck_assert_int_eq(json_int(c, "livenessProbe.initialDelaySeconds", 0), 5);
    ck_assert_int_eq(json_int(cJSON_GetArrayItem(json_get(c, "ports"), 0), "containerPort", 0),
                     8080);
    const cJSON *v = cJSON_GetArrayItem(json_path(o, "spec.template.spec.volumes"), 0);
    ck_assert_str_eq(json_str(v, "name"), "v");
    ck_assert(cJSON_IsObject(json_get(v, "emptyDir")));
}
END_TEST

START_TEST(test_secret)
{
    cleanup_buf struct buf b = {0};
    struct buf object = {0}, entry = {0};
    metadata(&object, "s");
    text(&entry, 1, "key");
    bytes(&entry, 2, "\0\xff\x01", 3);
    message(&object, 2, &entry);
    text(&object, 3, "Opaque");
    number(&object, 200, 7); /* a field of the future */
    envelope(&b, "v1", "Secret", &object);
    cleanup_json cJSON *o = protobuf_decode(b.data, b.len, NULL);
    ck_assert_str_eq(json_str(o, "data.key"), "AP8B");
    ck_assert_str_eq(json_str(o, "type"), "Opaque");
}
END_TEST

START_TEST(test_refusals)
{
    cleanup_buf struct buf unknown = {0};
    struct buf object = {0};
    envelope(&unknown, "v9", "Nothing", &object);
    const struct {
        const char *data;
        size_t len;
    } bad[] = {{"", 0},
               {"k8s", 3},
               {"{\"kind\":\"Pod\"}", 14},
               {"k8s\0\xff\xff\xff", 7},
               {unknown.data, unknown.len}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_error struct error *err = NULL;
        ck_assert_ptr_null(protobuf_decode(bad[i].data, bad[i].len, &err));
        ck_assert_int_eq(err->code, 400);
    }
}
END_TEST

START_TEST(test_depth_is_bounded)
{
    /* JSONSchemaProps nests without end: not (17 or so); any self-nesting message will do. */
    cleanup_buf struct buf b = {0};
    struct buf inner = {0};
    for (int i = 0; i < 3000; i++) {
        struct buf outer = {0};
        message(&outer, 29, &inner); /* "not" */
        inner = outer;
    }
    struct buf schema = {0}, version = {0}, spec = {0}, object = {0};
    message(&schema, 1, &inner);
    message(&version, 4, &schema);
    message(&spec, 7, &version);
    message(&object, 2, &spec);
    envelope(&b, "apiextensions.k8s.io/v1", "CustomResourceDefinition", &object);
    cJSON_Delete(protobuf_decode(b.data, b.len, NULL));
}
END_TEST

START_TEST(test_damage_harms_nothing)
{
    cleanup_buf struct buf b = {0};
    deployment(&b);
    for (size_t n = 0; n < b.len; n++) { /* every truncation, in memory of exactly that size */
        char *copy = malloc(n ? n : 1);
        memcpy(copy, b.data, n);
        cJSON_Delete(protobuf_decode(copy, n, NULL));
        free(copy);
    }
    srand(3);
    for (int i = 0; i < 20000; i++) {
        char *copy = mem_dup(b.data, b.len);
        for (int k = rand() % 4; k >= 0; k--)
            copy[4 + (size_t)rand() % (b.len - 4)] = (char)rand();
        cJSON_Delete(protobuf_decode(copy, b.len, NULL));
        free(copy);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("protobuf");
    TCase *t = tcase_create("protobuf");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_deployment);
    tcase_add_test(t, test_secret);
    tcase_add_test(t, test_refusals);
    tcase_add_test(t, test_depth_is_bounded);
    tcase_add_test(t, test_damage_harms_nothing);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
