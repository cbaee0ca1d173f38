/* Discovery and OpenAPI documents of the resources that are really served. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/openapi/discovery.h"
#include "apiserver/openapi/document.h"
#include "apiserver/openapi/gnostic.h"
#include "apiserver/openapi/groups.h"
#include "common/json.h"
#include "common/mem.h"

static const cJSON *find(const cJSON *list, const char *key, const char *value)
{
    for (const cJSON *c = list ? list->child : NULL; c; c = c->next)
        if (!strcmp(json_str_or(c, key, ""), value))
            return c;
    return NULL;
}

static char *joined(const cJSON *list)
{
    struct buf b = {0};
    for (const cJSON *c = list ? list->child : NULL; c; c = c->next)
        buf_printf(&b, "%s%s", b.len ? "," : "", c->valuestring);
    return buf_take(&b);
}

START_TEST(plain_discovery)
{
    cleanup_json cJSON *versions = discovery_versions("10.0.0.1:6443");
    ck_assert_str_eq(json_str(versions, "kind"), "APIVersions");
    ck_assert_str_eq(json_get(versions, "versions")->child->valuestring, "v1");
    cleanup_json cJSON *groups = discovery_groups();
    ck_assert_str_eq(json_str(groups, "kind"), "APIGroupList");
    const cJSON *apps = find(json_get(groups, "groups"), "name", "apps");
    ck_assert_ptr_nonnull(apps);
    ck_assert_str_eq(json_str(apps, "preferredVersion.groupVersion"), "apps/v1");
    ck_assert_ptr_null(find(json_get(groups, "groups"), "name", ""));
    cleanup_json cJSON *group = discovery_group("apps");
    ck_assert_str_eq(json_str(group, "kind"), "APIGroup");
    ck_assert_ptr_null(discovery_group("nonsense"));
    ck_assert_ptr_null(discovery_resources("apps", "v2"));
    cleanup_json cJSON *core = discovery_resources("", "v1");
    ck_assert_str_eq(json_str(core, "groupVersion"), "v1");
    const cJSON *pods = find(json_get(core, "resources"), "name", "pods");
    cleanup_free char *verbs = joined(json_get(pods, "verbs")), *names = joined(json_get(pods, "shortNames"));
    ck_assert_str_eq(verbs, "create,delete,deletecollection,get,list,patch,update,watch");
    ck_assert_str_eq(names, "po");
    ck_assert_str_eq(json_str(pods, "singularName"), "pod");
    ck_assert(json_bool(pods, "namespaced", false));
    ck_assert_ptr_nonnull(find(json_get(core, "resources"), "name", "pods/log"));
    cleanup_json cJSON *resources = discovery_resources("apps", "v1");
    const cJSON *scale = find(json_get(resources, "resources"), "name", "deployments/scale");
    ck_assert_str_eq(json_str(scale, "group"), "autoscaling");
    ck_assert_str_eq(json_str(scale, "kind"), "Scale");
    ck_assert_str_eq(json_str(scale, "singularName"), "");
}
END_TEST

START_TEST(aggregated_discovery)
{
    cleanup_json cJSON *core = discovery_aggregated(true, "v2"),
                       *groups = discovery_aggregated(false, "v2beta1");
    ck_assert_str_eq(json_str(core, "apiVersion"), "apidiscovery.k8s.io/v2");
    ck_assert_str_eq(json_str(groups, "apiVersion"), "apidiscovery.k8s.io/v2beta1");
    ck_assert_int_eq(cJSON_GetArraySize(json_get(core, "items")), 1);
    const cJSON *v1 = find(json_get(json_get(core, "items")->child, "versions"), "version", "v1");
    ck_assert_str_eq(json_str(v1, "freshness"), "Current");
    const cJSON *nodes = find(json_get(v1, "resources"), "resource", "nodes");
    ck_assert_str_eq(json_str(nodes, "scope"), "Cluster");
    ck_assert_str_eq(json_str(nodes, "responseKind.kind"), "Node");
    ck_assert_ptr_nonnull(find(json_get(nodes, "subresources"), "subresource", "status"));
    ck_assert_ptr_nonnull(find(json_get(groups, "items"), "metadata.name", "apps"));
}
END_TEST

START_TEST(accept_decides_on_aggregation)
{
    static const struct {
        const char *accept, *version;
    } cases[] = {
        {"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/"
         "json;g=apidiscovery.k8s.io;v=v2beta1;as="
         "APIGroupDiscoveryList,application/json",
         "v2"},
        {"application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io,application/json",
         "v2beta1"},
        {"application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", NULL},
        {"application/"
         "vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
         NULL},
        {"application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList", NULL},
        {"*/*", NULL},
        {"", NULL},
        {NULL, NULL},
        {",;,", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = discovery_aggregated_version(cases[i].accept);
        ck_assert_str_eq(got ? got : "plain", cases[i].version ? cases[i].version : "plain");
    }
}
END_TEST

/* Every reference must lead somewhere. */
static void check_refs(const cJSON *o, const cJSON *definitions, const char *prefix)
{
    for (const cJSON *c = o ? o->child : NULL; c; c = c->next) {
        if (c->string && !strcmp(c->string, "$ref") && cJSON_IsString(c)) {
            ck_assert_msg(!strncmp(c->valuestring, prefix, strlen(prefix)), "%s", c->valuestring);
            ck_assert_msg(json_get(definitions, c->valuestring + strlen(prefix)) != NULL, "%s",
                          c->valuestring);
        }
        check_refs(c, definitions, prefix);
    }
}

START_TEST(v3_documents)
{
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->count; i++) {
        if (!group_version_first(all, i))
            continue;
        cleanup_buf struct buf b = {0};
        openapi_document(&b, false, all->items[i]->group, all->items[i]->version);
        cleanup_error struct error *e = NULL;
        cleanup_json cJSON *o = json_parse(b.data, b.len, &e);
        ck_assert_msg(o != NULL, "%s", error_message(e));
        check_refs(o, json_path(o, "components.schemas"), "#/components/schemas/");
        int patches = 0;
        for (const cJSON *p = json_get(o, "paths")->child; p; p = p->next) {
            const cJSON *patch = json_get(p, "patch");
            if (!patch)
                continue;
            patches++;
            ck_assert_ptr_nonnull(find(json_get(patch, "parameters"), "name", "fieldValidation"));
            ck_assert_ptr_nonnull(
                json_get(json_path(patch, "requestBody.content"), "application/strategic-merge-patch+json"));
            ck_assert_ptr_nonnull(json_get(patch, "x-kubernetes-group-version-kind"));
        }
        ck_assert(patches > 0 || !(all->items[i]->verbs & VERB_PATCH));
    }
}
END_TEST

START_TEST(v3_schemas_tell_how_to_patch)
{
    cleanup_buf struct buf b = {0};
    openapi_document(&b, false, "apps", "v1");
    cleanup_json cJSON *o = json_parse(b.data, b.len, NULL);
    const cJSON *schemas = json_path(o, "components.schemas");
    const cJSON *spec = json_get(schemas, "io.k8s.api.core.v1.PodSpec");
    const cJSON *containers = json_path(spec, "properties.containers");
    ck_assert_str_eq(json_str(containers, "x-kubernetes-patch-merge-key"), "name");
    ck_assert_str_eq(json_str(containers, "x-kubernetes-patch-strategy"), "merge");
    ck_assert_str_eq(json_str(containers, "x-kubernetes-list-type"), "map");
    cleanup_free char *required = joined(json_get(spec, "required"));
    ck_assert_str_eq(required, "containers");
    ck_assert_str_eq(json_str(json_path(spec, "properties.volumes"), "x-kubernetes-patch-strategy"),
                     "merge,retainKeys");
    const cJSON *deployment = json_get(schemas, "io.k8s.api.apps.v1.Deployment");
    const cJSON *gvk = json_get(deployment, "x-kubernetes-group-version-kind")->child;
    ck_assert_str_eq(json_str(gvk, "group"), "apps");
    ck_assert_str_eq(json_str(gvk, "kind"), "Deployment");
    ck_assert_ptr_nonnull(json_path(deployment, "properties.apiVersion"));
    ck_assert_ptr_nonnull(
        json_get(json_get(o, "paths"), "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"));
    ck_assert_str_eq(
        json_str(json_path(json_get(json_get(o, "paths"), "/apis/apps/v1/namespaces/{namespace}/deployments"),
                           "post"),
                 "operationId"),
        "createAppsV1NamespacedDeployment");
    ck_assert_str_eq(json_str(json_path(json_get(json_get(o, "paths"), "/apis/apps/v1/deployments"), "get"),
                              "operationId"),
                     "listAppsV1DeploymentForAllNamespaces");
}
END_TEST

/* Length-delimited and varint fields only; counts the fields of each number. */
static void walk(const unsigned char *p, size_t n, int counts[16])
{
    for (size_t i = 0; i < n;) {
        uint64_t v[2] = {0, 0};
        for (int k = 0; k < 2; k++) {
            int shift = 0;
            do {
                ck_assert_uint_lt(i, n);
                v[k] |= (uint64_t)(p[i] & 0x7f) << shift;
                shift += 7;
            } while (p[i++] & 0x80);
        }
        counts[(v[0] >> 3) & 15]++;
        ck_assert((v[0] & 7) == 2 || (v[0] & 7) == 0);
        if ((v[0] & 7) == 2) {
            ck_assert_uint_le(v[1], n - i);
            i += v[1];
        }
    }
}

START_TEST(v2_document_and_its_protobuf_form)
{
    cleanup_buf struct buf b = {0}, proto = {0};
    openapi_document(&b, true, NULL, NULL);
    cleanup_json cJSON *o = json_parse(b.data, b.len, NULL);
    ck_assert_ptr_nonnull(o);
    ck_assert_str_eq(json_str(o, "swagger"), "2.0");
    check_refs(o, json_get(o, "definitions"), "#/definitions/");
    gnostic_encode(b.data, b.len, &proto);
    int counts[16] = {0};
    walk((const unsigned char *)proto.data, proto.len, counts);
    ck_assert_int_eq(counts[1], 1); /* swagger, info, paths, definitions */
    ck_assert_int_eq(counts[2], 1);
    ck_assert_int_eq(counts[8], 1);
    ck_assert_int_eq(counts[9], 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("openapi");
    TCase *t = tcase_create("openapi");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, plain_discovery);
    tcase_add_test(t, aggregated_discovery);
    tcase_add_test(t, accept_decides_on_aggregation);
    tcase_add_test(t, v3_documents);
    tcase_add_test(t, v3_schemas_tell_how_to_patch);
    tcase_add_test(t, v2_document_and_its_protobuf_form);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
