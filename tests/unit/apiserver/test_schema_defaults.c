/* What is filled in for what was left out. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/schema/defaults.h"
#include "common/json.h"
#include "common/mem.h"

static cJSON *defaulted(const char *version, const char *kind, const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_ptr_nonnull(o);
    const struct schema_type *t = schema_find_api_version(version, kind);
    ck_assert_ptr_nonnull(t);
    defaults_fn *fn = schema_defaults_for(t->group, t->version, kind);
    ck_assert_ptr_nonnull(fn);
    fn(o);
    cleanup_json cJSON *once = json_dup(o);
    fn(o);
    ck_assert_msg(json_equal(once, o), "defaulting is idempotent");
    return o;
}

static const struct {
    const char *version, *kind, *in, *out;
} cases[] = {
    {"v1", "Pod",
     "{\"spec\":{\"serviceAccountName\":\"sa\",\"containers\":[{\"name\":\"c\",\"image\":\"nginx\",\"ports\":"
     "[{\"containerPort\":80}],"
     "\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"},\"requests\":{\"cpu\":\"500m\"}},"
     "\"livenessProbe\":{\"httpGet\":{\"port\":80}},\"readinessProbe\":{\"grpc\":{\"port\":1},"
     "\"periodSeconds\":3},"
     "\"env\":[{\"name\":\"N\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"metadata.name\"}}}]}],"
     "\"volumes\":[{\"name\":\"a\"},{\"name\":\"b\",\"hostPath\":{\"path\":\"/"
     "x\"}},{\"name\":\"c\",\"secret\":{\"secretName\":\"s\"}},"
     "{\"name\":\"d\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"path\":\"t\"}}]}}]}}",
     "{\"spec\":{\"serviceAccountName\":\"sa\",\"serviceAccount\":\"sa\",\"dnsPolicy\":\"ClusterFirst\","
     "\"restartPolicy\":\"Always\","
     "\"securityContext\":{},\"terminationGracePeriodSeconds\":30,\"schedulerName\":\"default-scheduler\","
     "\"enableServiceLinks\":true,"
     "\"containers\":[{\"name\":\"c\",\"image\":\"nginx\",\"imagePullPolicy\":\"Always\","
     "\"terminationMessagePath\":\"/dev/termination-log\","
     "\"terminationMessagePolicy\":\"File\",\"ports\":[{\"containerPort\":80,\"protocol\":\"TCP\"}],"
     "\"resources\":{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"},\"requests\":{\"cpu\":\"500m\",\"memory\":"
     "\"1Gi\"}},"
     "\"livenessProbe\":{\"httpGet\":{\"port\":80,\"path\":\"/"
     "\",\"scheme\":\"HTTP\"},\"timeoutSeconds\":1,\"periodSeconds\":10,"
     "\"successThreshold\":1,\"failureThreshold\":3},"
     "\"readinessProbe\":{\"grpc\":{\"port\":1,\"service\":\"\"},\"timeoutSeconds\":1,\"periodSeconds\":3,"
     "\"successThreshold\":1,\"failureThreshold\":3},"
     "\"env\":[{\"name\":\"N\",\"valueFrom\":{\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":\"metadata."
     "name\"}}}]}],"
     "\"volumes\":[{\"name\":\"a\",\"emptyDir\":{}},{\"name\":\"b\",\"hostPath\":{\"path\":\"/"
     "x\",\"type\":\"\"}},"
     "{\"name\":\"c\",\"secret\":{\"secretName\":\"s\",\"defaultMode\":420}},"
     "{\"name\":\"d\",\"projected\":{\"defaultMode\":420,\"sources\":[{\"serviceAccountToken\":{\"path\":"
     "\"t\",\"expirationSeconds\":3600}}]}}]}}"},
    {"v1", "Pod",
     "{\"spec\":{\"hostNetwork\":true,\"restartPolicy\":\"Never\",\"terminationGracePeriodSeconds\":0,"
     "\"enableServiceLinks\":false,"
     "\"containers\":[{\"image\":\"r:5000/a/b\",\"ports\":[{\"containerPort\":80}]},{\"image\":\"r:5000/"
     "a:1\"},{\"image\":\"a@sha256:0\"},"
     "{\"image\":\"a:latest\"}]}}",
     "{\"spec\":{\"hostNetwork\":true,\"dnsPolicy\":\"ClusterFirst\",\"restartPolicy\":\"Never\","
     "\"securityContext\":{},"
     "\"terminationGracePeriodSeconds\":0,\"schedulerName\":\"default-scheduler\",\"enableServiceLinks\":"
     "false,\"containers\":["
     "{\"image\":\"r:5000/a/b\",\"imagePullPolicy\":\"Always\",\"terminationMessagePath\":\"/dev/"
     "termination-log\",\"terminationMessagePolicy\":\"File\","
     "\"ports\":[{\"containerPort\":80,\"hostPort\":80,\"protocol\":\"TCP\"}]},"
     "{\"image\":\"r:5000/a:1\",\"imagePullPolicy\":\"IfNotPresent\",\"terminationMessagePath\":\"/dev/"
     "termination-log\",\"terminationMessagePolicy\":\"File\"},"
     "{\"image\":\"a@sha256:0\",\"imagePullPolicy\":\"IfNotPresent\",\"terminationMessagePath\":\"/dev/"
     "termination-log\",\"terminationMessagePolicy\":\"File\"},"
     "{\"image\":\"a:latest\",\"imagePullPolicy\":\"Always\",\"terminationMessagePath\":\"/dev/"
     "termination-log\",\"terminationMessagePolicy\":\"File\"}]}}"},
    {"apps/v1", "Deployment",
     "{\"spec\":{\"template\":{\"spec\":{\"enableServiceLinks\":false,\"containers\":[]}}}}",
     "{\"spec\":{\"replicas\":1,\"revisionHistoryLimit\":10,\"progressDeadlineSeconds\":600,\"strategy\":{"
     "\"type\":\"RollingUpdate\","
     "\"rollingUpdate\":{\"maxSurge\":\"25%\",\"maxUnavailable\":\"25%\"}},\"template\":{\"spec\":{"
     "\"enableServiceLinks\":false,\"containers\":[],"
     "\"dnsPolicy\":\"ClusterFirst\",\"restartPolicy\":\"Always\",\"securityContext\":{},"
     "\"terminationGracePeriodSeconds\":30,"
     "\"schedulerName\":\"default-scheduler\"}}}}"},
    {"apps/v1", "Deployment",
     "{\"spec\":{\"replicas\":0,\"strategy\":{\"type\":\"Recreate\"},\"template\":{\"spec\":{"
     "\"restartPolicy\":\"Always\"}}}}",
     "{\"spec\":{\"replicas\":0,\"revisionHistoryLimit\":10,\"progressDeadlineSeconds\":600,\"strategy\":{"
     "\"type\":\"Recreate\"},"
     "\"template\":{\"spec\":{\"dnsPolicy\":\"ClusterFirst\",\"restartPolicy\":\"Always\","
     "\"securityContext\":{},"
     "\"terminationGracePeriodSeconds\":30,\"schedulerName\":\"default-scheduler\"}}}}"},
    {"v1", "Service",
     "{\"spec\":{\"ports\":[{\"port\":80},{\"port\":53,\"protocol\":\"UDP\",\"targetPort\":\"dns\"}]}}",
     "{\"spec\":{\"type\":\"ClusterIP\",\"sessionAffinity\":\"None\",\"internalTrafficPolicy\":\"Cluster\","
     "\"ports\":[{\"port\":80,\"protocol\":\"TCP\","
     "\"targetPort\":80},{\"port\":53,\"protocol\":\"UDP\",\"targetPort\":\"dns\"}]}}"},
    {"v1", "Service", "{\"spec\":{\"type\":\"NodePort\",\"sessionAffinity\":\"ClientIP\"}}",
     "{\"spec\":{\"type\":\"NodePort\",\"sessionAffinity\":\"ClientIP\",\"sessionAffinityConfig\":{"
     "\"clientIP\":{\"timeoutSeconds\":10800}},"
     "\"externalTrafficPolicy\":\"Cluster\",\"internalTrafficPolicy\":\"Cluster\"}}"},
    {"v1", "Service", "{\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"a.b\"}}",
     "{\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"a.b\",\"sessionAffinity\":\"None\"}}"},
    {"v1", "Namespace", "{\"metadata\":{\"name\":\"x\"}}",
     "{\"metadata\":{\"name\":\"x\",\"labels\":{\"kubernetes.io/metadata.name\":\"x\"}}}"},
    {"v1", "Secret", "{}", "{\"type\":\"Opaque\"}"},
    {"v1", "Node", "{\"status\":{\"capacity\":{\"cpu\":\"1\"}}}",
     "{\"status\":{\"capacity\":{\"cpu\":\"1\"},\"allocatable\":{\"cpu\":\"1\"}}}"},
    {"v1", "Endpoints", "{\"subsets\":[{\"ports\":[{\"port\":1}]}]}",
     "{\"subsets\":[{\"ports\":[{\"port\":1,\"protocol\":\"TCP\"}]}]}"},
    {"discovery.k8s.io/v1", "EndpointSlice", "{\"ports\":[{\"port\":1}]}",
     "{\"ports\":[{\"port\":1,\"name\":\"\",\"protocol\":\"TCP\"}]}"},
    {"batch/v1", "Job",
     "{\"metadata\":{},\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{"
     "\"restartPolicy\":\"Never\"}}}}",
     "{\"metadata\":{\"labels\":{\"a\":\"b\"}},\"spec\":{\"completions\":1,\"parallelism\":1,"
     "\"backoffLimit\":6,\"completionMode\":\"NonIndexed\","
     "\"suspend\":false,\"podReplacementPolicy\":\"TerminatingOrFailed\",\"template\":{\"metadata\":{"
     "\"labels\":{\"a\":\"b\"}},\"spec\":{"
     "\"dnsPolicy\":\"ClusterFirst\",\"restartPolicy\":\"Never\",\"securityContext\":{},"
     "\"terminationGracePeriodSeconds\":30,"
     "\"schedulerName\":\"default-scheduler\"}}}}"},
    {"apiextensions.k8s.io/v1", "CustomResourceDefinition", "{\"spec\":{\"names\":{\"kind\":\"CronTab\"}}}",
     "{\"spec\":{\"names\":{\"kind\":\"CronTab\",\"singular\":\"crontab\",\"listKind\":\"CronTabList\"},"
     "\"conversion\":{\"strategy\":\"None\"}}}"},
};

START_TEST(fills_in)
{
    cleanup_json cJSON *got = defaulted(cases[_i].version, cases[_i].kind, cases[_i].in);
    cleanup_json cJSON *want = json_parse(cases[_i].out, strlen(cases[_i].out), NULL);
    ck_assert_ptr_nonnull(want);
    cleanup_free char *text = json_text(got);
    ck_assert_msg(json_equal(got, want), "%s", text);
}
END_TEST

START_TEST(odd_documents_are_survived)
{
    static const char *const odd[] = {
        "{}", "{\"spec\":1}",
        "{\"spec\":{\"containers\":{\"a\":1},\"volumes\":[1,null,\"x\"],\"template\":[]}}",
        "{\"spec\":{\"containers\":[[],1],\"ports\":[3],\"strategy\":\"x\",\"jobTemplate\":5},\"metadata\":[]"
        "}",
        "{\"subsets\":[1],\"ports\":{\"a\":2},\"status\":\"x\",\"subjects\":[1],\"webhooks\":7}"};
    for (size_t i = 0; i < schema_type_count(); i++) {
        const struct schema_type *t = schema_type_at(i);
        defaults_fn *fn = schema_defaults_for(t->group, t->version, t->name);
        for (size_t k = 0; fn && k < ARRAY_LEN(odd); k++) {
            cleanup_json cJSON *o = cJSON_Parse(odd[k]);
            fn(o);
            schema_default(t, o);
        }
    }
}
END_TEST

START_TEST(schema_states_defaults)
{
    cleanup_json cJSON *o = cJSON_Parse("{\"spec\":{\"iscsi\":{},\"rbd\":{\"pool\":\"p\"}}}");
    schema_default(schema_find("", "v1", "PersistentVolume"), o);
    ck_assert_str_eq(json_str(o, "spec.iscsi.iscsiInterface"), "default");
    ck_assert_str_eq(json_str(o, "spec.rbd.pool"), "p");
    ck_assert_str_eq(json_str(o, "spec.rbd.user"), "admin");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("schema defaults");
    TCase *t = tcase_create("defaults");
    tcase_add_loop_test(t, fills_in, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(t, odd_documents_are_survived);
    tcase_add_test(t, schema_states_defaults);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
