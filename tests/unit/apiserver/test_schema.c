/* The schema tables and decoding against them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/schema/decode.h"
#include "apiserver/schema/json_syntax.h"
#include "apiserver/schema/schema.h"
#include "common/json.h"
#include "common/mem.h"

START_TEST(finds_types)
{
    const struct schema_type *t = schema_find("apps", "v1", "Deployment");
    ck_assert_ptr_nonnull(t);
    ck_assert_str_eq(t->package, "io.k8s.api.apps.v1");
    ck_assert_ptr_eq(t, schema_find_api_version("apps/v1", "Deployment"));
    ck_assert_ptr_nonnull(schema_find_api_version("v1", "Pod"));
    ck_assert_ptr_null(schema_find("apps", "v1", "Pod"));
    ck_assert_ptr_null(schema_find("apps", "v1", "DeploymentSpec"));
    ck_assert_ptr_nonnull(schema_find_type("apps", "v1", "DeploymentSpec"));
    ck_assert_ptr_nonnull(schema_find("apps", "v1", "DeleteOptions"));
    ck_assert_ptr_null(schema_find_api_version("a/b/c", "Pod"));
    ck_assert(schema_find("", "v1", "PodList")->flags & SCHEMA_IS_LIST);
}
END_TEST

START_TEST(finds_fields)
{
    const struct schema_type *spec = schema_find_type("", "v1", "PodSpec");
    const struct schema_field *f = schema_field(spec, "containers");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(f->number, 2);
    ck_assert_int_eq(f->shape, SCHEMA_LIST);
    ck_assert_str_eq(f->merge_key, "name");
    ck_assert(f->patch & SCHEMA_PATCH_MERGE);
    ck_assert(f->flags & SCHEMA_REQUIRED);
    ck_assert_ptr_null(schema_field(spec, "Containers"));
    f = schema_field(f->type, "ports");
    ck_assert_str_eq(f->merge_key, "containerPort");
    ck_assert_str_eq(f->list_keys, "containerPort,protocol");
    f = schema_field(schema_find_type("", "v1", "Volume"), "configMap"); /* inlined in JSON */
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(f->inlined[0], 2);
    ck_assert_ptr_nonnull(schema_field(f->type, "name"));
    ck_assert_ptr_nonnull(schema_field(
        schema_find_type("admissionregistration.k8s.io", "v1", "NamedRuleWithOperations"), "apiGroups"));
    ck_assert_ptr_nonnull(schema_field(schema_find_type("apiextensions.k8s.io", "v1", "JSONSchemaProps"),
                                       "x-kubernetes-int-or-string"));
}
END_TEST

START_TEST(tables_are_sorted)
{
    for (size_t i = 0; i < schema_type_count(); i++) {
        const struct schema_type *t = schema_type_at(i);
        ck_assert_ptr_eq(schema_find_type(t->group, t->version, t->name), t);
        for (int k = 0; k < t->field_count; k++)
            ck_assert_ptr_eq(schema_field(t, t->fields[k].name), &t->fields[k]);
    }
    ck_assert_ptr_null(schema_type_at(schema_type_count()));
}
END_TEST

static const struct {
    const char *version, *kind, *in, *out;
} kept[] = {
    /* an empty status comes with value structs; omitted: nulls and empty optional values */
    {"v1", "ConfigMap",
     "{\"data\":{\"a\":\"\"},\"immutable\":false,\"binaryData\":{},\"metadata\":{\"name\":\"x\",\"labels\":{}"
     "}}",
     "{\"data\":{\"a\":\"\"},\"immutable\":false,\"metadata\":{\"name\":\"x\"}}"},
    {"v1", "ConfigMap", "{\"data\":null,\"metadata\":null}", "{\"metadata\":{}}"},
    {"v1", "ConfigMap", "{\"data\":{\"a\":null}}", "{\"data\":{\"a\":\"\"},\"metadata\":{}}"},
    {"apps/v1", "Deployment",
     "{\"spec\":{\"replicas\":0,\"paused\":false,\"minReadySeconds\":0,\"template\":{\"spec\":{"
     "\"containers\":[{\"name\":\"a\","
     "\"resources\":{\"limits\":{\"cpu\":0.5,\"memory\":\"1024Mi\"}}}]}}}}",
     "{\"spec\":{\"replicas\":0,\"template\":{\"spec\":{\"containers\":[{\"name\":\"a\",\"resources\":{"
     "\"limits\":{\"cpu\":\"500m\","
     "\"memory\":\"1Gi\"}}}]},\"metadata\":{}},\"strategy\":{}},\"metadata\":{},\"status\":{}}"},
    {"v1", "Pod",
     "{\"spec\":{\"automountServiceAccountToken\":false,\"hostNetwork\":false,\"enableServiceLinks\":false,"
     "\"terminationGracePeriodSeconds\":0,\"nodeName\":\"\",\"securityContext\":{},\"volumes\":[{\"name\":"
     "\"v\",\"emptyDir\":{}}],"
     "\"containers\":[{\"name\":\"c\",\"securityContext\":{\"runAsNonRoot\":false,\"runAsUser\":0},\"stdin\":"
     "false,"
     "\"command\":[],\"env\":[{\"name\":\"E\",\"value\":\"\"}]}]}}",
     "{\"spec\":{\"automountServiceAccountToken\":false,\"enableServiceLinks\":false,"
     "\"terminationGracePeriodSeconds\":0,"
     "\"securityContext\":{},\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}],\"containers\":[{\"name\":\"c\","
     "\"securityContext\":{"
     "\"runAsNonRoot\":false,\"runAsUser\":0},\"env\":[{\"name\":\"E\"}],\"resources\":{}}]},\"metadata\":{},"
     "\"status\":{}}"},
    {"v1", "Secret", "{\"data\":{\"a\":\"aGVs\\nbG8=\"}}", "{\"data\":{\"a\":\"aGVsbG8=\"},\"metadata\":{}}"},
    {"coordination.k8s.io/v1", "Lease",
     "{\"spec\":{\"holderIdentity\":\"\",\"renewTime\":\"2026-01-02T03:04:05.123456789+01:00\"}}",
     "{\"spec\":{\"holderIdentity\":\"\",\"renewTime\":\"2026-01-02T02:04:05.123456Z\"},\"metadata\":{}}"},
    {"v1", "Service",
     "{\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":\"web\"},{\"port\":81,\"targetPort\":8081}]}}",
     "{\"spec\":{\"ports\":[{\"port\":80,\"targetPort\":\"web\"},{\"port\":81,\"targetPort\":8081}]},"
     "\"metadata\":{},\"status\":"
     "{\"loadBalancer\":{}}}"},
    {"apiextensions.k8s.io/v1", "CustomResourceDefinition",
     "{\"spec\":{\"versions\":[{\"name\":\"v1\",\"served\":false,\"storage\":true,\"schema\":{"
     "\"openAPIV3Schema\":{\"type\":\"object\","
     "\"additionalProperties\":false,\"properties\":{\"a\":{\"items\":{\"type\":\"string\"},\"default\":[1,"
     "null]}}}}}]}}",
     "{\"spec\":{\"versions\":[{\"name\":\"v1\",\"served\":false,\"storage\":true,\"schema\":{"
     "\"openAPIV3Schema\":{\"type\":\"object\","
     "\"additionalProperties\":false,\"properties\":{\"a\":{\"items\":{\"type\":\"string\"},\"default\":[1,"
     "null]}}}}}]},"
     "\"metadata\":{},\"status\":{}}"},
};

START_TEST(decodes_as_go)
{
    cleanup_json cJSON *in = json_parse(kept[_i].in, strlen(kept[_i].in), NULL);
    cleanup_json cJSON *want = json_parse(kept[_i].out, strlen(kept[_i].out), NULL);
    ck_assert_ptr_nonnull(in);
    ck_assert_ptr_nonnull(want);
    cleanup_strict_errors struct strict_errors strict = {0};
    cleanup_error struct error *e = NULL;
    ck_assert_msg(schema_decode(schema_find_api_version(kept[_i].version, kept[_i].kind), in, &strict, &e),
                  "%s", error_message(e));
    ck_assert_uint_eq(strict.count, 0);
    cleanup_free char *got = json_text(in);
    ck_assert_msg(json_equal(in, want), "%s", got);
}
END_TEST

#define DEPLOYMENT "Deployment in version \"v1\" cannot be handled as a Deployment: "
#define POD        "Pod in version \"v1\" cannot be handled as a Pod: "
static const struct {
    const char *version, *kind, *body, *message;
} refused[] = {
    {"apps/v1", "Deployment",
     "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"spec\":{\"replicas\":\"3\"}}",
     DEPLOYMENT
     "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"},
    {"apps/v1", "Deployment", "{\"spec\":{\"replicas\":1.5}}",
     DEPLOYMENT
     "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"},
    {"apps/v1", "Deployment", "{\"spec\":{\"replicas\":3000000000}}",
     DEPLOYMENT "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas "
                "of type int32"},
    {"apps/v1", "Deployment", "{\"spec\":[]}",
     DEPLOYMENT
     "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"},
    {"v1", "Pod", "{\"spec\":{\"containers\":{}}}",
     POD "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"},
    {"v1", "Pod", "{\"spec\":{\"containers\":[{\"env\":[{\"name\":\"a\",\"value\":1}]}]}}",
     POD
     "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string"},
    {"v1", "Pod", "{\"metadata\":{\"labels\":{\"a\":true}}}",
     POD "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string"},
    {"v1", "Pod", "{\"metadata\":{\"labels\":\"a\"}}",
     POD "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type "
         "map[string]string"},
    {"v1", "Pod", "{\"spec\":{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1x\"}}}]}}",
     POD "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"},
    {"v1", "Pod", "{\"spec\":{\"containers\":[{\"resources\":{\"limits\":{\"cpu\":\"1mm\"}}}]}}",
     POD "unable to parse quantity's suffix"},
    {"v1", "Pod", "{\"metadata\":{\"creationTimestamp\":\"yesterday\"}}",
     POD
     "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\""},
    {"v1", "Pod", "{\"apiVersion\":\"v1\",\"kind\":\"Service\"}",
     "Service in version \"v1\" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown "
     "conversion"},
    {"v1", "Pod", "{\"apiVersion\":\"v1\",\"kind\":\"Nonsense\"}",
     "Nonsense in version \"v1\" cannot be handled as a Pod: no kind \"Nonsense\" is registered for version "
     "\"v1\" in scheme "
     "\"pkg/api/legacyscheme/scheme.go:30\""},
    {"apps/v1", "Deployment", "{\"apiVersion\":\"apps/v1beta1\",\"kind\":\"Deployment\"}",
     "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"},
    {"v1", "Pod", "{\"apiVersion\":\"v1\",\"kind\":",
     "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse "
     "error: unexpected end of "
     "JSON input ({\"apiVersion\":\"v1\",\"kind\":)"},
    {"v1", "Pod", "",
     "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse "
     "error: "
     "unexpected end of JSON input (<empty>)"},
    {"v1", "Pod", "[]",
     "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse "
     "error: json: cannot "
     "unmarshal array into Go value of type struct { APIVersion string "
     "\"json:\\\"apiVersion,omitempty\\\"\"; Kind string "
     "\"json:\\\"kind,omitempty\\\"\" } (5b5d)"},
    {"v1", "Secret", "{\"data\":{\"a\":\"a*\"}}",
     "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 1"},
    {"v1", "Service", "{\"spec\":{\"ports\":[{\"targetPort\":{}}]}}",
     "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal object into Go value "
     "of type int32"},
};

START_TEST(refuses_wrong_types)
{
    cleanup_error struct error *e = NULL;
    const struct schema_type *t = schema_find_api_version(refused[_i].version, refused[_i].kind);
    cJSON *o = schema_decode_body(t, refused[_i].body, strlen(refused[_i].body), FIELD_VALIDATION_WARN, NULL,
                                  NULL, &e);
    ck_assert_ptr_null(o);
    ck_assert_str_eq(error_message(e), refused[_i].message);
    ck_assert_int_eq(e->code, 400);
    ck_assert_str_eq(e->reason, "BadRequest");
}
END_TEST

static void count_warning(void *ctx, const char *text)
{
    static const char *const want[] = {"unknown field \"spec.foo\"", "duplicate field \"spec.replicas\"",
                                       "unknown field \"spec.template.spec.containers[0].imagePullPolicyy\"",
                                       "duplicate field \"spec.selector.matchLabels.a\"",
                                       "unknown field \"Status\""};
    int *n = ctx;
    ck_assert_int_lt(*n, 5);
    ck_assert_str_eq(text, want[(*n)++]);
}

START_TEST(minds_unknown_and_duplicate_fields)
{
    const char *body = "{\"spec\":{\"foo\":1,\"replicas\":1,\"replicas\":2,\"template\":{\"spec\":{"
                       "\"containers\":[{\"name\":\"a\","
                       "\"imagePullPolicyy\":\"x\"}]}},\"selector\":{\"matchLabels\":{\"a\":\"1\",\"a\":"
                       "\"2\"}}},\"Status\":{}}";
    const struct schema_type *t = schema_find("apps", "v1", "Deployment");
    int warnings = 0;
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *o =
        schema_decode_body(t, body, strlen(body), FIELD_VALIDATION_WARN, count_warning, &warnings, &e);
    ck_assert_msg(o != NULL, "%s", error_message(e));
    ck_assert_int_eq(warnings, 5);
    ck_assert_int_eq(json_int(o, "spec.replicas", -1), 2);
    ck_assert_str_eq(json_str(o, "spec.selector.matchLabels.a"), "2");
    ck_assert_ptr_null(json_path(o, "spec.foo"));
    ck_assert_ptr_null(json_get(o, "Status"));
    ck_assert_str_eq(json_str(o, "apiVersion"), "apps/v1");
    ck_assert_str_eq(json_str(o, "kind"), "Deployment");
    cleanup_json cJSON *quiet =
        schema_decode_body(t, body, strlen(body), FIELD_VALIDATION_IGNORE, count_warning, &warnings, &e);
    ck_assert_ptr_nonnull(quiet);
    ck_assert_int_eq(warnings, 5);
    ck_assert_ptr_null(schema_decode_body(t, body, strlen(body), FIELD_VALIDATION_STRICT, NULL, NULL, &e));
    ck_assert_str_eq(
        error_message(e), DEPLOYMENT
        "strict decoding error: unknown field \"spec.foo\", duplicate field \"spec.replicas\", unknown field "
        "\"spec.template.spec.containers[0].imagePullPolicyy\", duplicate field "
        "\"spec.selector.matchLabels.a\", "
        "unknown field \"Status\"");
}
END_TEST

START_TEST(judges_field_validation)
{
    enum field_validation fv = FIELD_VALIDATION_STRICT;
    ck_assert(field_validation_parse(NULL, &fv) && fv == FIELD_VALIDATION_WARN);
    ck_assert(field_validation_parse("Strict", &fv) && fv == FIELD_VALIDATION_STRICT);
    ck_assert(!field_validation_parse("strict", &fv));
}
END_TEST

static const struct {
    const char *text, *error;
} syntax[] = {
    {"{}", NULL},
    {" [1, -0.5e+3, \"a\\u00e9\\n\", true, false, null, {\"a\": [[]]}] \n", NULL},
    {"", "unexpected end of JSON input"},
    {"{\"a\"", "unexpected end of JSON input"},
    {"{\"a\":1", "unexpected end of JSON input"},
    {"[1,", "unexpected end of JSON input"},
    {"\"abc", "unexpected end of JSON input"},
    {"kind: Pod", "invalid character 'k' looking for beginning of value"},
    {"{'a':1}", "invalid character '\\'' looking for beginning of object key string"},
    {"{\"a\":1,}", "invalid character '}' looking for beginning of object key string"},
    {"{\"a\" 1}", "invalid character '1' after object key"},
    {"{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair"},
    {"[1 2]", "invalid character '2' after array element"},
    {"[1,]", "invalid character ']' looking for beginning of value"},
    {"{} x", "invalid character 'x' after top-level value"},
    {"{}}", "invalid character '}' after top-level value"},
    {"[trux]", "invalid character 'x' in literal true (expecting 'e')"},
    {"[nil]", "invalid character 'i' in literal null (expecting 'u')"},
    {"[01]", "invalid character '1' after array element"},
    {"[1.x]", "invalid character 'x' after decimal point in numeric literal"},
    {"[-x]", "invalid character 'x' in numeric literal"},
    {"[1ex]", "invalid character 'x' in exponent of numeric literal"},
    {"\"\\q\"", "invalid character 'q' in string escape code"},
    {"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"},
    {"\"a\nb\"", "invalid character '\\n' in string literal"},
    {"\x01", "invalid character '\\x01' looking for beginning of value"},
};

START_TEST(says_what_go_says_of_bad_json)
{
    cleanup_free char *got = json_syntax_error(syntax[_i].text, strlen(syntax[_i].text));
    ck_assert_str_eq(got ? got : "good", syntax[_i].error ? syntax[_i].error : "good");
}
END_TEST

START_TEST(nesting_is_bounded)
{
    for (int depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        cleanup_buf struct buf b = {0};
        for (int i = 0; i < depth; i++)
            buf_addc(&b, '[');
        for (int i = 0; i < depth; i++)
            buf_addc(&b, ']');
        cleanup_free char *got = json_syntax_error(b.data, b.len);
        ck_assert_str_eq(got ? got : "good", depth > JSON_DEPTH_MAX ? "exceeded max depth" : "good");
        cleanup_json cJSON *o = json_parse(b.data, b.len, NULL);
        ck_assert_msg(got != NULL || o != NULL, "depth %d", depth);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("schema");
    TCase *t = tcase_create("schema");
    tcase_add_test(t, finds_types);
    tcase_add_test(t, finds_fields);
    tcase_add_test(t, tables_are_sorted);
    tcase_add_loop_test(t, decodes_as_go, 0, (int)ARRAY_LEN(kept));
    tcase_add_loop_test(t, refuses_wrong_types, 0, (int)ARRAY_LEN(refused));
    tcase_add_test(t, minds_unknown_and_duplicate_fields);
    tcase_add_test(t, judges_field_validation);
    tcase_add_loop_test(t, says_what_go_says_of_bad_json, 0, (int)ARRAY_LEN(syntax));
    tcase_add_test(t, nesting_is_bounded);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
