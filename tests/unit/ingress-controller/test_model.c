#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "ingress-controller/key_pair.h"
#include "ingress-controller/model.h"

static cJSON *object(const char *name, const char *created, const char *annotations,
                     const char *spec)
{
    cleanup_free char *text = mem_printf(
        "{\"metadata\":{\"namespace\":\"n\",\"name\":\"%s\",\"creationTimestamp\":\"%s\","
        "\"annotations\":{%s}},\"spec\":%s}",
        name, created, annotations, spec);
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_msg(o != NULL, "%s", text);
    return o;
}

#define N "nginx.ingress.kubernetes.io/"
#define PATH(path, type, service)                                                                  \
    "{\"path\":\"" path "\",\"pathType\":\"" type                                                  \
    "\",\"backend\":{\"service\":{\"name\":\"" service "\",\"port\":{\"number\":80}}}}"
#define RULE(host, paths) "{\"host\":\"" host "\",\"http\":{\"paths\":[" paths "]}}"

/* What is wrong with an Ingress; "" when nothing is. Caller frees. */
static char *verdict(const char *annotations, const char *spec)
{
    cleanup_json cJSON *o = object("i", "", annotations, spec);
    cleanup_error struct error *err = NULL;
    cleanup_buf struct buf warnings = {0};
    struct ingress *i = ingress_new(o, &warnings, &err);
    char *text = i ? mem_strdup(buf_str(&warnings)) : mem_strdup(error_message(err));
    ingress_free(i);
    return text;
}

START_TEST(hosts)
{
    static const char *const good[] = {"", "a", "a.b", "*.a", "*.a-b.c1", "1.2.3.4", "xn--a.b"};
    static const char *const bad[] = {"*",   "*.",   "a.*", "*.*.a", "a..b", ".a", "a.",
                                      "A.b", "a b",  "a;b", "a/b",   "-a",   "a-", "a_b",
                                      "a\n", "${x}", "a{",  "*a.b",  "~a"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(ingress_host_valid(good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!ingress_host_valid(bad[i]), "%s", bad[i]);
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    longest[64] = 0;
    ck_assert(!ingress_host_valid(longest));
    longest[63] = 0;
    ck_assert(ingress_host_valid(longest));
}
END_TEST

static const struct {
    const char *annotations, *paths, *want; /* want: what the verdict begins with */
} verdicts[] = {
    {"", PATH("/", "Prefix", "s"), ""},
    {"\"" N "rewrite-target\":\"/$2\"", PATH("/a(/|$)(.*)", "ImplementationSpecific", "s"), ""},
    {"\"" N "rewrite-target\":\"/$0\"", PATH("/", "Prefix", "s"),
     "annotation " N "rewrite-target: \"/$0\" is not a path with"},
    {"\"" N "rewrite-target\":\"/$host\"", PATH("/", "Prefix", "s"),
     "annotation " N "rewrite-target: "},
    {"\"" N "rewrite-target\":\"x\"", PATH("/", "Prefix", "s"),
     "annotation " N "rewrite-target: \"x\" is not a path"},
    {"\"" N "rewrite-target\":\"/x;\"", PATH("/", "Prefix", "s"),
     "annotation " N "rewrite-target: "},
    {"\"" N "rewrite-target\":\"/\\n\"", PATH("/", "Prefix", "s"),
     "annotation " N "rewrite-target: "},
    {"\"" N "proxy-body-size\":\"8m\"", PATH("/", "Prefix", "s"), ""},
    {"\"" N "proxy-body-size\":\"0\"", PATH("/", "Prefix", "s"), ""},
    {"\"" N "proxy-body-size\":\"8mm\"", PATH("/", "Prefix", "s"),
     "annotation " N "proxy-body-size: \"8mm\" is not a size"},
    {"\"" N "proxy-body-size\":\"-1\"", PATH("/", "Prefix", "s"),
     "annotation " N "proxy-body-size: "},
    {"\"" N "proxy-body-size\":\"99999999999g\"", PATH("/", "Prefix", "s"),
     "annotation " N "proxy-body-size: "},
    {"\"" N "proxy-read-timeout\":\"3600\"", PATH("/", "Prefix", "s"), ""},
    {"\"" N "proxy-read-timeout\":\"30s\"", PATH("/", "Prefix", "s"), ""},
    {"\"" N "proxy-read-timeout\":\"0\"", PATH("/", "Prefix", "s"),
     "annotation " N "proxy-read-timeout: "},
    {"\"" N "ssl-redirect\":\"yes\"", PATH("/", "Prefix", "s"),
     "annotation " N "ssl-redirect: \"yes\" is not true or false"},
    {"\"" N "backend-protocol\":\"HTTPS\"", PATH("/", "Prefix", "s"), ""},
    {"\"" N "backend-protocol\":\"FCGI\"", PATH("/", "Prefix", "s"),
     "annotation " N "backend-protocol: \"FCGI\" is not HTTP or HTTPS"},
    {"\"" N "server-snippet\":\"x\"", PATH("/", "Prefix", "s"),
     "annotation " N "server-snippet: configuration in annotations"},
    {"\"" N "other\":\"x\"", PATH("/", "Prefix", "s"),
     "annotation " N "other is not supported and has no effect"},
    {"\"" N "use-regex\":\"true\"", PATH("/a(b", "ImplementationSpecific", "s"),
     "path \"^/a(b\": missing"},
    {"", PATH("/a(b", "ImplementationSpecific", "s"), ""},
    {"", PATH("a", "Prefix", "s"), "\"a\" is not a path"},
    {"", PATH("/a b", "Prefix", "s"), "\"/a b\" is not a path"},
    {"", PATH("/a{", "Exact", "s"), "\"/a{\" is not a path"},
    {"", PATH("/", "Other", "s"), "pathType \"Other\" is not known"},
    {"", PATH("/", "Prefix", "S;"), "a backend needs the name of a service and a port"},
    {"", PATH("/", "Prefix", "*"), "a backend needs the name of a service and a port"},
    {"", "{\"path\":\"/\",\"backend\":{\"service\":{\"name\":\"s\",\"port\":{\"number\":70000}}}}",
     "a backend needs"},
    {"", "{\"path\":\"/\",\"backend\":{\"resource\":{}}}",
     "backends that are resources are not supported"},
    {"", "{\"path\":\"/\"}", "a backend needs"},
    {"", "7", "a backend needs"},
};

START_TEST(checked)
{
    cleanup_free char *spec = mem_printf(
        "{\"rules\":[{\"host\":\"a.test\",\"http\":{\"paths\":[%s]}}]}", verdicts[_i].paths);
    cleanup_free char *got = verdict(verdicts[_i].annotations, spec);
    ck_assert_msg(!strncmp(got, verdicts[_i].want, strlen(verdicts[_i].want)) &&
                      (*verdicts[_i].want || !*got),
                  "%s: %s", verdicts[_i].want, got);
}
END_TEST

START_TEST(hosts_and_secrets_are_checked)
{
    cleanup_free char *host =
        verdict("", "{\"rules\":[" RULE("a;b", PATH("/", "Prefix", "s")) "]}");
    ck_assert_str_eq(host, "host \"a;b\" is not a DNS name");
    cleanup_free char *tls = verdict("", "{\"tls\":[{\"hosts\":[\"a b\"],\"secretName\":\"s\"}]}");
    ck_assert_str_eq(tls, "tls: host \"a b\" is not a DNS name");
    cleanup_free char *secret =
        verdict("", "{\"tls\":[{\"hosts\":[\"a\"],\"secretName\":\"../s\"}]}");
    ck_assert_str_eq(secret, "secretName \"../s\" is not a name");
}
END_TEST

static void note(void *ctx, const struct ingress *i, const char *what, const struct ingress *holder)
{
    buf_printf(ctx, "%s:%s:%s ", i->key, what, holder->key);
}

/* "host path>backend ..." of a routes document. */
static char *summary(const cJSON *routes)
{
    struct buf b = {0};
    const cJSON *server, *l;
    cJSON_ArrayForEach(server, json_get(routes, "servers"))
    {
        buf_printf(&b, "[%s%s]", server->string, json_bool(server, "tls", false) ? " tls" : "");
        cJSON_ArrayForEach(l, json_get(server, "locations"))
        {
            const char *service = strchr(json_str(l, "backend"), '/') + 1;
            buf_printf(&b, " %s%s>%.*s", json_str(l, "type"), json_str(l, "path"),
                       (int)strcspn(service, "/"), service);
        }
        buf_addc(&b, ' ');
    }
    return buf_take(&b);
}

START_TEST(precedence_and_conflicts)
{
    cleanup_json cJSON *late =
        object("late", "2026-01-02T00:00:00Z", "",
               "{\"rules\":[" RULE(
                   "a.test", PATH("/", "Prefix", "late") "," PATH("/late", "Prefix", "late")) "]}");
    cleanup_json cJSON *early = object(
        "early", "2026-01-01T00:00:00Z", "",
        "{\"tls\":[{\"secretName\":\"s\"}],\"defaultBackend\":{\"service\":{\"name\":\"fallback\","
        "\"port\":{\"name\":\"http\"}}},\"rules\":[" RULE(
            "a.test", PATH("/", "Prefix", "root") "," PATH("/foo/", "Prefix", "foo") "," PATH(
                          "/foo/bar", "Prefix",
                          "bar") "," PATH("/foo/bar", "Exact",
                                          "exact")) "," RULE("*.b.test",
                                                             PATH("/", "Prefix", "wild")) "]}");
    cleanup_json cJSON *all =
        object("all", "2026-01-03T00:00:00Z", "",
               "{\"defaultBackend\":{\"service\":{\"name\":\"all\",\"port\":{\"number\":1}}}}");
    cleanup_buf struct buf warnings = {0}, conflicts = {0};
    struct ingress *list[] = {ingress_new(late, &warnings, NULL), ingress_new(all, &warnings, NULL),
                              ingress_new(early, &warnings, NULL)};
    model_sort(list, 3);
    ck_assert_str_eq(list[0]->key, "n/early");
    cleanup_json cJSON *routes = model_routes(list, 3, note, &conflicts);
    cleanup_free char *text = summary(routes);
    ck_assert_str_eq(text, "[] prefix/>all [*.b.test tls] prefix/>wild prefix/>fallback "
                           "[a.test tls] exact/foo/bar>exact prefix/foo/bar>bar prefix/late>late "
                           "prefix/foo>foo prefix/>root prefix/>fallback ");
    ck_assert_str_eq(conflicts.data, "n/late:a.test/:n/early ");
    for (int i = 0; i < 3; i++)
        ingress_free(list[i]);
}
END_TEST

START_TEST(endpoints)
{
    static const char text[] =
        "{\"metadata\":{\"name\":\"x\"},\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"http\","
        "\"port\":3000},{\"name\":\"other\",\"port\":1}],"
        "\"endpoints\":[{\"addresses\":[\"10.0.0.1\"],\"conditions\":{\"ready\":true}},{"
        "\"addresses\":[\"10.0.0.2\"],\"conditions\":{\"ready\":false}},"
        "{\"addresses\":[\"10.0.0.3\"]}]}";
    static const char v6[] = "{\"metadata\":{\"name\":\"y\"},\"addressType\":\"IPv6\",\"ports\":[{"
                             "\"name\":\"http\",\"port\":3000}],"
                             "\"endpoints\":[{\"addresses\":[\"fd00::1\"]}]}";
    struct kube_object *items[] = {kube_object_new(json_parse(text, strlen(text), NULL)),
                                   kube_object_new(json_parse(v6, strlen(v6), NULL))};
    struct kube_object_list slices = {items, 2};
    static const char spec[] = "{\"spec\":{\"ports\":[{\"name\":\"http\",\"port\":80}]}}";
    cleanup_json cJSON *service = json_parse(spec, strlen(spec), NULL);
    static const char *const keys[] = {"n/s/80", "n/s/http", "n/s/81", "n/s/https"};
    for (int i = 0; i < 4; i++) {
        cleanup_json cJSON *got = model_endpoints(keys[i], service, &slices);
        cleanup_free char *got_text = json_text(got);
        ck_assert_str_eq(got_text,
                         i < 2 ? "[[\"10.0.0.1\",3000],[\"10.0.0.3\",3000],[\"[fd00::1]\",3000]]"
                               : "[]");
    }
    cleanup_json cJSON *none = model_endpoints("n/s/80", NULL, &slices);
    ck_assert_int_eq(cJSON_GetArraySize(none), 0);
    kube_object_unref(items[0]);
    kube_object_unref(items[1]);
}
END_TEST

static void add_file(cJSON *secret, const char *name, const char *path)
{
    cleanup_buf struct buf content = {0}, encoded = {0};
    ck_assert(buf_read_file(&content, path, NULL));
    buf_add_base64(&encoded, content.data, content.len);
    json_map_set_str(json_ensure_object(secret, "data"), name, encoded.data);
}

START_TEST(key_pairs)
{
    char dir[] = "/tmp/test-ingress-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    cleanup_free char *crt = mem_printf("%s/1.crt", dir), *key = mem_printf("%s/1.key", dir),
                      *crt2 = mem_printf("%s/2.crt", dir), *key2 = mem_printf("%s/2.key", dir);
    ck_assert(key_pair_write_default(crt, key, NULL) && key_pair_write_default(crt2, key2, NULL));
    cleanup_json cJSON *secret = cJSON_CreateObject();
    cleanup_error struct error *missing = NULL, *other = NULL, *err = NULL;
    ck_assert_ptr_null(model_key_pair(secret, &missing));
    ck_assert_str_eq(error_message(missing), "it has no tls.crt");
    add_file(secret, "tls.crt", crt);
    add_file(secret, "tls.key", key);
    cleanup_json cJSON *pair = model_key_pair(secret, &err);
    ck_assert_msg(pair != NULL, "%s", error_message(err));
    ck_assert_int_eq(strncmp(json_str(pair, "certificate"), "-----BEGIN CERTIFICATE-----", 27), 0);
    add_file(secret, "tls.key", key2);
    ck_assert_ptr_null(model_key_pair(secret, &other)); /* another certificate's key */
    ck_assert_ptr_nonnull(strstr(error_message(other), "no certificate with its key"));
    unlink(crt), unlink(key), unlink(crt2), unlink(key2);
    rmdir(dir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("model");
    TCase *t = tcase_create("model");
    tcase_add_test(t, hosts);
    tcase_add_loop_test(t, checked, 0, ARRAY_LEN(verdicts));
    tcase_add_test(t, hosts_and_secrets_are_checked);
    tcase_add_test(t, precedence_and_conflicts);
    tcase_add_test(t, endpoints);
    tcase_add_test(t, key_pairs);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
