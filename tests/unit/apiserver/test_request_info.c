/* What is asked for: request info, Accept, list options, continue tokens, filters. */
#include <check.h>
#include <string.h>

#include "apiserver/server/server.h"
#include "common/json.h"
#include "common/mem.h"

static const struct {
    const char *method, *path, *watch, *fields;
    bool is_resource;
    const char *verb, *group, *version, *ns, *resource, *subresource, *name, *rest;
} cases[] = {
    {"GET", "/api/v1/namespaces", NULL, NULL, true, "list", "", "v1", "", "namespaces", "", "", ""},
    {"GET", "/api/v1/namespaces/other", NULL, NULL, true, "get", "", "v1", "other", "namespaces",
     "", "other", ""},
    {"PUT", "/api/v1/namespaces/other/finalize", NULL, NULL, true, "update", "", "v1", "other",
     "namespaces", "finalize", "other", ""},
    {"GET", "/api/v1/namespaces/other/status", NULL, NULL, true, "get", "", "v1", "other",
     "namespaces", "status", "other", ""},
    {"GET", "/api/v1/namespaces/other/pods", NULL, NULL, true, "list", "", "v1", "other", "pods",
     "", "", ""},
    {"GET", "/api/v1/namespaces/other/pods/foo", NULL, NULL, true, "get", "", "v1", "other", "pods",
     "", "foo", ""},
    {"HEAD", "/api/v1/namespaces/other/pods/foo", NULL, NULL, true, "get", "", "v1", "other",
     "pods", "", "foo", ""},
    {"GET", "/api/v1/pods", NULL, NULL, true, "list", "", "v1", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods", "true", NULL, true, "watch", "", "v1", "", "pods", "", "", ""},
    {"GET", "/api/v1/pods", "false", NULL, true, "list", "", "v1", "", "pods", "", "", ""},
    {"GET", "/api/v1/namespaces/other/pods", "1", NULL, true, "watch", "", "v1", "other", "pods",
     "", "", ""},
    {"GET", "/api/v1/watch/namespaces/other/pods", NULL, NULL, true, "watch", "", "v1", "other",
     "pods", "", "", ""},
    {"GET", "/api/v1/namespaces/other/pods", NULL, "metadata.name=foo", true, "list", "", "v1",
     "other", "pods", "", "foo", ""},
    {"GET", "/api/v1/namespaces/other/pods", "true", "metadata.name=foo", true, "watch", "", "v1",
     "other", "pods", "", "foo", ""},
    {"GET", "/api/v1/nodes/n1/proxy/a/b//c", NULL, NULL, true, "get", "", "v1", "", "nodes",
     "proxy", "n1", "a/b//c"},
    {"POST", "/api/v1/namespaces/other/pods", NULL, NULL, true, "create", "", "v1", "other", "pods",
     "", "", ""},
    {"POST", "/api/v1/namespaces/other/pods/foo/binding", NULL, NULL, true, "create", "", "v1",
     "other", "pods", "binding", "foo", ""},
    {"PATCH", "/apis/apps/v1/namespaces/other/deployments/foo/scale", NULL, NULL, true, "patch",
     "apps", "v1", "other", "deployments", "scale", "foo", ""},
    {"DELETE", "/apis/apps/v1/namespaces/other/deployments", NULL, NULL, true, "deletecollection",
     "apps", "v1", "other", "deployments", "", "", ""},
    {"DELETE", "/apis/apps/v1/namespaces/other/deployments/foo", NULL, NULL, true, "delete", "apps",
     "v1", "other", "deployments", "", "foo", ""},
    {"GET", "/apis/apps/v1/", NULL, NULL, false, "get", "", "", "", "", "", "", ""},
    {"GET", "/api/v1", NULL, NULL, false, "get", "", "", "", "", "", "", ""},
    {"GET", "/apis/apps", NULL, NULL, false, "get", "", "", "", "", "", "", ""},
    {"POST", "/healthz", NULL, NULL, false, "post", "", "", "", "", "", "", ""},
    {"GET", "/", NULL, NULL, false, "get", "", "", "", "", "", "", ""},
    {"GET", "", NULL, NULL, false, "get", "", "", "", "", "", "", ""},
    {"GET", "//api//v1//pods//", NULL, NULL, true, "list", "", "v1", "", "pods", "", "", ""},
    {"BREW", "/api/v1/namespaces/a/pods/b", NULL, NULL, true, "", "", "v1", "a", "pods", "", "b",
     ""},
};

START_TEST(test_request_info)
{
    struct request_info i;
    request_info_parse(cases[_i].method, cases[_i].path, cases[_i].watch, cases[_i].fields, &i);
    ck_assert_int_eq(i.is_resource, cases[_i].is_resource);
    ck_assert_str_eq(i.path, cases[_i].path);
    ck_assert_str_eq(i.verb, cases[_i].verb);
    ck_assert_str_eq(i.group, cases[_i].group);
    ck_assert_str_eq(i.version, cases[_i].version);
    ck_assert_str_eq(i.ns, cases[_i].ns);
    ck_assert_str_eq(i.resource, cases[_i].resource);
    ck_assert_str_eq(i.subresource, cases[_i].subresource);
    ck_assert_str_eq(i.name, cases[_i].name);
    ck_assert_str_eq(i.rest, cases[_i].rest);
    request_info_clear(&i);
}
END_TEST

START_TEST(test_long_paths)
{
    struct request_info i;
    cleanup_buf struct buf b = {0};
    buf_adds(&b, "/api/v1/nodes/n/proxy");
    for (int n = 0; n < 3000; n++)
        buf_adds(&b, "/x");
    request_info_parse("GET", b.data, NULL, NULL, &i);
    ck_assert_str_eq(i.rest, b.data + strlen("/api/v1/nodes/n/proxy/"));
    request_info_clear(&i);
}
END_TEST

START_TEST(test_accept)
{
    static const struct {
        const char *header;
        bool ok;
        enum api_form form;
        const char *version;
        bool yaml;
    } t[] = {
        {NULL, true, FORM_OBJECT, "v1", false},
        {"", true, FORM_OBJECT, "v1", false},
        {"*/*", true, FORM_OBJECT, "v1", false},
        {"application/json", true, FORM_OBJECT, "v1", false},
        {"application/json, */*", true, FORM_OBJECT, "v1", false},
        {"application/json;as=Table;v=v1;g=meta.k8s.io,application/"
         "json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
         true, FORM_TABLE, "v1", false},
        {"application/json;as=Table;v=v1beta1;g=meta.k8s.io", true, FORM_TABLE, "v1beta1", false},
        {"application/json;as=Table;v=v9;g=meta.k8s.io", false, FORM_OBJECT, "v1", false},
        {"application/json;as=Table;v=v9;g=meta.k8s.io, application/json", true, FORM_OBJECT, "v1",
         false},
        {"application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,"
         "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
         true, FORM_PARTIAL_METADATA, "v1", false},
        {"application/vnd.kubernetes.protobuf", false, FORM_OBJECT, "v1", false},
        {"application/vnd.kubernetes.protobuf, application/json", true, FORM_OBJECT, "v1", false},
        {"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1beta1", false,
         FORM_OBJECT, "v1", false},
        {"text/html", false, FORM_OBJECT, "v1", false},
        {"application/json;q=0.5, application/yaml", true, FORM_OBJECT, "v1", true},
        {"application/yaml;q=0.5, application/json", true, FORM_OBJECT, "v1", false},
        {";;;,,,=", false, FORM_OBJECT, "v1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct api_accept a = {.pretty = true};
        cleanup_error struct error *err = NULL;
        ck_assert_msg(accept_parse(t[i].header, NULL, false, &a, &err) == t[i].ok, "%s", t[i].header);
        if (!t[i].ok) {
            ck_assert_int_eq(err->code, 406);
            continue;
        }
        ck_assert_int_eq(a.form, t[i].form);
        ck_assert_str_eq(a.meta_version, t[i].version);
        ck_assert_int_eq(a.yaml, t[i].yaml);
        ck_assert(a.pretty);
    }
}
END_TEST

START_TEST(test_accept_protobuf)
{
    static const struct resource pods = {.group = "", .version = "v1", .kind = "Pod"};
    static const struct resource custom = {.group = "x.io", .version = "v1", .kind = "Thing"};
    static const struct {
        const char *header;
        const struct resource *r;
        bool watch, ok, protobuf, yaml;
    } t[] = {
        {"application/vnd.kubernetes.protobuf", &pods, false, true, true, false},
        {"application/vnd.kubernetes.protobuf;stream=watch", &pods, true, true, true, false},
        {"application/vnd.kubernetes.protobuf", &custom, false, false, false, false},
        {"application/vnd.kubernetes.protobuf,application/json", &custom, false, true, false, false},
        {"application/vnd.kubernetes.protobuf, */*", &pods, false, true, true, false},
        {"application/json,application/vnd.kubernetes.protobuf", &pods, false, true, false, false},
        {"application/json;q=0.8,application/vnd.kubernetes.protobuf;q=0.9", &pods, false, true, true,
         false},
        {"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", &custom,
         false, true, true, false},
        {"application/yaml", &pods, false, true, false, true},
        {"application/yaml", &pods, true, false, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct api_accept a = {0};
        cleanup_error struct error *err = NULL;
        ck_assert_msg(accept_parse(t[i].header, t[i].r, t[i].watch, &a, &err) == t[i].ok, "%s",
                      t[i].header);
        if (!t[i].ok)
            continue;
        ck_assert_msg(a.protobuf == t[i].protobuf && a.yaml == t[i].yaml, "%s", t[i].header);
    }
}
END_TEST

START_TEST(test_continue_tokens)
{
    const char *keys[] = {"default/web", "web", "a/b/c", "ns/\xc3\xa4\"\\x"};
    uint64_t revisions[] = {1, 42, 9007199254740991ULL, 0};
    for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
        for (size_t r = 0; r < ARRAY_LEN(revisions); r++) {
            cleanup_free char *token = continue_token(revisions[r], keys[k]);
            ck_assert_uint_eq(
                strspn(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
                strlen(token));
            uint64_t revision = 77;
            cleanup_free char *after = NULL;
            ck_assert(continue_parse(token, &revision, &after, NULL));
            ck_assert_uint_eq(revision, revisions[r]);
            ck_assert_str_eq(after, keys[k]);
        }
    }
}
END_TEST

START_TEST(test_bad_continue_tokens)
{
    const char *texts[] = {"{}",
                           "[]",
                           "{\"v\":\"meta.k8s.io/v1\"}",
                           "{\"v\":\"meta.k8s.io/v1\",\"rv\":0,\"start\":\"a\"}",
                           "{\"v\":\"meta.k8s.io/v1\",\"rv\":-5,\"start\":\"a\"}",
                           "{\"v\":\"meta.k8s.io/v1\",\"rv\":5,\"start\":\"\"}",
                           "{\"v\":\"meta.k8s.io/v1\",\"rv\":5,\"start\":\"../secrets/a\"}",
                           "{\"v\":\"meta.k8s.io/v1\",\"rv\":5,\"start\":\"a/./b\"}",
                           "{\"v\":\"meta.k8s.io/v1\",\"rv\":5,\"start\":\"/a\"}",
                           "{\"v\":\"meta.k8s.io/v9\",\"rv\":5,\"start\":\"a\"}",
                           "not json",
                           ""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        cleanup_buf struct buf b = {0};
        buf_add_base64(&b, texts[i], strlen(texts[i]));
        uint64_t revision;
        char *after = NULL;
        cleanup_error struct error *err = NULL;
        ck_assert_msg(!continue_parse(buf_str(&b), &revision, &after, &err), "%s", texts[i]);
        ck_assert_int_eq(err->code, 400);
        ck_assert_ptr_null(after);
    }
    cleanup_error struct error *err = NULL;
    uint64_t revision;
    char *after = NULL;
    ck_assert(!continue_parse("%%%", &revision, &after, &err));
}
END_TEST

START_TEST(test_filters)
{
    const struct resource pods = {
        .group = "",
        .plural = "pods",
        .namespaced = true,
        .field_selectors = (const char *const[]){"spec.nodeName", "status.phase", NULL},
        .field_aliases = (const char *const[]){"spec.host", "spec.nodeName", NULL}};
    struct stored s = {.ns = "default",
                       .name = "web",
                       .labels = (const char *[]){"app", "web", NULL},
                       .fields = (const char *[]){"n1", "Running"}};
    static const struct {
        const char *ns, *labels, *fields;
        bool matches;
    } t[] = {
        {"", NULL, NULL, true},
        {"default", "", "", true},
        {"other", NULL, NULL, false},
        {"", "app=web", NULL, true},
        {"", "app!=web", NULL, false},
        {"", "app in (a,web)", "spec.nodeName=n1", true},
        {"", "app=web", "spec.nodeName=n2", false},
        {"", NULL, "spec.host=n1", true},
        {"", NULL, "status.phase!=Running", false},
        {"", NULL, "metadata.name=web,metadata.namespace=default", true},
        {"", NULL, "metadata.name=x", false},
        {"", "!app", NULL, false},
        {"", "!other", "metadata.name!=x", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct object_filter f;
        ck_assert(filter_parse(&pods, t[i].ns, t[i].labels, t[i].fields, &f, NULL));
        ck_assert_msg(filter_matches(&f, &s) == t[i].matches, "%zu", i);
        filter_clear(&f);
    }
    struct object_filter f;
    cleanup_error struct error *err = NULL;
    ck_assert(!filter_parse(&pods, "", NULL, "spec.foo=1", &f, &err));
    ck_assert_str_eq(err->message, "field label not supported: spec.foo");
    error_cleanup(&err);
    err = NULL;
    ck_assert(!filter_parse(&pods, "", "a=(", NULL, &f, &err));
    ck_assert_int_eq(err->code, 400);
}
END_TEST

START_TEST(test_indent)
{
    const char *text = "{\"a\":[1,2,{}],\"b\":{\"c\":\"x{,:}\\\"\"},\"d\":[]}";
    cleanup_buf struct buf b = {0};
    json_indent(text, strlen(text), &b);
    ck_assert_str_eq(b.data, "{\n  \"a\": [\n    1,\n    2,\n    {}\n  ],\n  \"b\": {\n    \"c\": "
                             "\"x{,:}\\\"\"\n  },\n  \"d\": []\n}");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("request");
    TCase *t = tcase_create("request");
    tcase_add_loop_test(t, test_request_info, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(t, test_long_paths);
    tcase_add_test(t, test_accept);
    tcase_add_test(t, test_accept_protobuf);
    tcase_add_test(t, test_continue_tokens);
    tcase_add_test(t, test_bad_continue_tokens);
    tcase_add_test(t, test_filters);
    tcase_add_test(t, test_indent);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
