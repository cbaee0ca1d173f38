/* What kubectl get prints, kind by kind. */
#include <check.h>
#include <string.h>
#include "apiserver/registry/strategy.h"
#include "apiserver/registry/table.h"
#include "apiserver/registry/tables.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

static const char now_text[] = "2026-11-24T12:00:00Z";

static cJSON *parse(const char *text)
{
    cleanup_buf struct buf b = {0};
    for (; *text; text++)
        buf_addc(&b, *text == '\'' ? '"' : *text);
    struct error *err = NULL;
    cJSON *json = json_parse(buf_str(&b), b.len, &err);
    ck_assert_msg(json != NULL, "%s", error_message(err));
    return json;
}

/* Cells joined by "|". */
static void check_row(void (*row)(const cJSON *, cJSON *), const char *object_text,
                      const char *want)
{
    int64_t micros;
    ck_assert(time_parse(now_text, &micros));
    tables_fixed_now = micros / 1000000;
    cleanup_json cJSON *object = parse(object_text);
    cleanup_json cJSON *cells = cJSON_CreateArray();
    row(object, cells);
    cleanup_buf struct buf b = {0};
    const cJSON *c;
    cJSON_ArrayForEach(c, cells)
    {
        if (c != cells->child)
            buf_addc(&b, '|');
        if (cJSON_IsString(c))
            buf_adds(&b, c->valuestring);
        else
            json_print(c, &b);
    }
    ck_assert_str_eq(buf_str(&b), want);
}

#define META "'metadata':{'name':'web','creationTimestamp':'2026-11-24T11:50:00Z'}"
#define META_DELETED                                                                               \
    "'metadata':{'name':'web','creationTimestamp':'2026-11-24T11:50:00Z','deletionTimestamp':'"    \
    "2026-11-24T12:00:00Z'}"
#define ONE "'spec':{'nodeName':'n1','containers':[{'name':'a'}]}"
#define TWO "'spec':{'nodeName':'n1','containers':[{'name':'a'},{'name':'b'}]}"

START_TEST(test_pod_running)
{
    check_row(
        row_pod,
        "{" META "," TWO
        ",'status':{'phase':'Running','podIP':'10.0.0.1','podIPs':[{'ip':'10.0.0.1'}],"
        "'containerStatuses':[{'name':'a','ready':true,'restartCount':3,'state':{'running':{}},"
        "'lastState':{'terminated':{'finishedAt':'2026-11-24T11:55:00Z'}}},"
        "{'name':'b','ready':false,'restartCount':0,'state':{'running':{}}}]}}",
        "web|1/2|Running|3 (5m ago)|10m|10.0.0.1|n1|<none>|<none>");
}
END_TEST

START_TEST(test_pod_reasons)
{
    check_row(row_pod,
              "{" META ",'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Pending'}}",
              "web|0/1|Pending|0|10m|<none>|<none>|<none>|<none>");
    check_row(row_pod,
              "{" META "," ONE
              ",'status':{'phase':'Running','containerStatuses':[{'name':'a','restartCount':5,"
              "'state':{'waiting':{'reason':'CrashLoopBackOff'}}}]}}",
              "web|0/1|CrashLoopBackOff|5|10m|<none>|n1|<none>|<none>");
    check_row(row_pod,
              "{" META "," ONE
              ",'status':{'phase':'Succeeded','containerStatuses':[{'name':'a','restartCount':0,"
              "'state':{'terminated':{'exitCode':0,'reason':'Completed'}}}]}}",
              "web|0/1|Completed|0|10m|<none>|n1|<none>|<none>");
    check_row(row_pod,
              "{" META "," ONE
              ",'status':{'phase':'Failed','containerStatuses':[{'name':'a','restartCount':0,"
              "'state':{'terminated':{'exitCode':3}}}]}}",
              "web|0/1|ExitCode:3|0|10m|<none>|n1|<none>|<none>");
    check_row(row_pod,
              "{" META "," ONE
              ",'status':{'phase':'Failed','containerStatuses':[{'name':'a','restartCount':0,"
              "'state':{'terminated':{'exitCode':137,'signal':9}}}]}}",
              "web|0/1|Signal:9|0|10m|<none>|n1|<none>|<none>");
    check_row(row_pod, "{" META "," ONE ",'status':{'phase':'Failed','reason':'Evicted'}}",
              "web|0/1|Evicted|0|10m|<none>|n1|<none>|<none>");
}
END_TEST

START_TEST(test_pod_completed_beside_running)
{
    static const char text[] =
        "{" META "," TWO
        ",'status':{'phase':'Running','conditions':[{'type':'Ready','status':'%s'}],"
        "'containerStatuses':[{'name':'a','restartCount':0,'state':{'terminated':{'exitCode':0,'"
        "reason':'Completed'}}},"
        "{'name':'b','ready':true,'restartCount':0,'state':{'running':{}}}]}}";
    cleanup_free char *ready = mem_printf(text, "True"), *not_ready = mem_printf(text, "False");
    check_row(row_pod, ready, "web|1/2|Running|0|10m|<none>|n1|<none>|<none>");
    check_row(row_pod, not_ready, "web|1/2|NotReady|0|10m|<none>|n1|<none>|<none>");
}
END_TEST

START_TEST(test_pod_init)
{
    static const char spec[] = "'spec':{'nodeName':'n1','initContainers':[{'name':'i'},{'name':'j'}"
                               "],'containers':[{'name':'a'}]}";
    static const char *const cases[][2] = {
        {"[{'name':'i','restartCount':0,'state':{'running':{}}},{'name':'j','state':{'waiting':{'"
         "reason':'PodInitializing'}}}]",
         "web|0/1|Init:0/2|0|10m|<none>|n1|<none>|<none>"},
        {"[{'name':'i','restartCount':1,'state':{'terminated':{'exitCode':0}}},{'name':'j','"
         "restartCount':0,'state':{'running':{}}}]",
         "web|0/1|Init:1/2|1|10m|<none>|n1|<none>|<none>"},
        {"[{'name':'i','restartCount':2,'state':{'terminated':{'exitCode':1,'reason':'Error'}}}]",
         "web|0/1|Init:Error|2|10m|<none>|n1|<none>|<none>"},
        {"[{'name':'i','restartCount':2,'state':{'waiting':{'reason':'CrashLoopBackOff'}}}]",
         "web|0/1|Init:CrashLoopBackOff|2|10m|<none>|n1|<none>|<none>"},
        {"[{'name':'i','restartCount':0,'state':{'terminated':{'exitCode':7}}}]",
         "web|0/1|Init:ExitCode:7|0|10m|<none>|n1|<none>|<none>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cleanup_free char *text =
            mem_printf("{" META ",%s,'status':{'phase':'Pending','initContainerStatuses':%s}}",
                       spec, cases[i][0]);
        check_row(row_pod, text, cases[i][1]);
    }
}
END_TEST

START_TEST(test_pod_sidecar)
{
    check_row(
        row_pod,
        "{" META
        ",'spec':{'nodeName':'n1','initContainers':[{'name':'s','restartPolicy':'Always'}],"
        "'containers':[{'name':'a'}]},'status':{'phase':'Running','initContainerStatuses':[{'name':"
        "'s',"
        "'started':true,'ready':true,'restartCount':1,'state':{'running':{}}}],"
        "'containerStatuses':[{'name':'a','ready':true,'restartCount':1,'state':{'running':{}}}]}}",
        "web|2/2|Running|2|10m|<none>|n1|<none>|<none>");
}
END_TEST

START_TEST(test_pod_terminating)
{
    check_row(row_pod,
              "{" META_DELETED "," ONE
              ",'status':{'phase':'Running','containerStatuses':[{'name':'a','ready':true,"
              "'restartCount':0,'state':{'running':{}}}]}}",
              "web|1/1|Terminating|0|10m|<none>|n1|<none>|<none>");
    check_row(row_pod,
              "{" META_DELETED "," ONE ",'status':{'phase':'Running','reason':'NodeLost'}}",
              "web|0/1|Unknown|0|10m|<none>|n1|<none>|<none>");
    check_row(row_pod, "{" META_DELETED "," ONE ",'status':{'phase':'Succeeded'}}",
              "web|0/1|Succeeded|0|10m|<none>|n1|<none>|<none>");
}
END_TEST

START_TEST(test_pod_gates)
{
    check_row(row_pod,
              "{" META ",'spec':{'containers':[{'name':'a'}],'readinessGates':[{'conditionType':'x'"
                       "},{'conditionType':'y'}]},"
              "'status':{'phase':'Pending','nominatedNodeName':'n2','conditions':[{'type':'x','"
              "status':'True'},"
              "{'type':'PodScheduled','status':'False','reason':'SchedulingGated'}]}}",
              "web|0/1|SchedulingGated|0|10m|<none>|<none>|n2|1/2");
}
END_TEST

START_TEST(test_node)
{
    check_row(
        row_node,
        "{'metadata':{'name':'n1','creationTimestamp':'2026-11-22T12:00:00Z','labels':{"
        "'node-role.kubernetes.io/worker':'','node-role.kubernetes.io/"
        "control-plane':'','kubernetes.io/role':'edge'}},"
        "'spec':{'unschedulable':true},'status':{'conditions':[{'type':'Ready','status':'True'}],"
        "'addresses':[{'type':'InternalIP','address':'10.0.0.5'}],'nodeInfo':{'kubeletVersion':'v1."
        "36.0',"
        "'osImage':'Debian','kernelVersion':'6.1','containerRuntimeVersion':'containerd://1.6'}}}",
        "n1|Ready,SchedulingDisabled|control-plane,edge,worker|2d|v1.36.0|10.0.0.5|<none>|Debian|6."
        "1|containerd://1.6");
    check_row(
        row_node,
        "{'metadata':{'name':'n1'},'status':{'conditions':[{'type':'Ready','status':'Unknown'}]}}",
        "n1|NotReady|<none>|<unknown>||<none>|<none>|<unknown>|<unknown>|<unknown>");
    check_row(row_node, "{'metadata':{'name':'n1'}}",
              "n1|Unknown|<none>|<unknown>||<none>|<none>|<unknown>|<unknown>|<unknown>");
}
END_TEST

START_TEST(test_service)
{
    check_row(
        row_service,
        "{" META
        ",'spec':{'type':'NodePort','clusterIP':'10.96.0.9','ports':[{'port':80,'nodePort':30080,"
        "'protocol':'TCP'},{'port':53,'protocol':'UDP'}],'selector':{'b':'2','a':'1'}}}",
        "web|NodePort|10.96.0.9|<none>|80:30080/TCP,53/UDP|10m|a=1,b=2");
    check_row(row_service, "{" META ",'spec':{'type':'ClusterIP','clusterIP':'None'}}",
              "web|ClusterIP|None|<none>|<none>|10m|<none>");
    check_row(row_service, "{" META ",'spec':{'type':'ExternalName','externalName':'example.com'}}",
              "web|ExternalName|<none>|example.com|<none>|10m|<none>");
    check_row(row_service,
              "{" META
              ",'spec':{'type':'LoadBalancer','clusterIP':'10.96.0.9','ports':[{'port':80}]}}",
              "web|LoadBalancer|10.96.0.9|<pending>|80/TCP|10m|<none>");
    check_row(row_service,
              "{" META
              ",'spec':{'type':'LoadBalancer','clusterIP':'10.96.0.9','externalIPs':['1.1.1.1']},"
              "'status':{'loadBalancer':{'ingress':[{'ip':'9.9.9.9'},{'hostname':'lb'}]}}}",
              "web|LoadBalancer|10.96.0.9|9.9.9.9,lb,1.1.1.1|<none>|10m|<none>");
}
END_TEST

START_TEST(test_endpoints)
{
    check_row(row_endpoints, "{" META "}", "web|<none>|10m");
    check_row(row_endpoints, "{" META ",'subsets':[{'addresses':[{'ip':'10.0.0.1'}]}]}",
              "web|10.0.0.1|10m");
    check_row(row_endpoints,
              "{" META
              ",'subsets':[{'addresses':[{'ip':'10.0.0.1'},{'ip':'10.0.0.2'},{'ip':'fd00::1'}],"
              "'ports':[{'port':80},{'port':81}]}]}",
              "web|10.0.0.1:80,10.0.0.2:80,[fd00::1]:80 + 3 more...|10m");
    check_row(row_endpointslice,
              "{" META ",'addressType':'IPv4','ports':[{'port':80},{'name':'x'}],'endpoints':[{'"
                       "addresses':['10.0.0.1']},"
              "{'addresses':['10.0.0.2']}]}",
              "web|IPv4|80,x|10.0.0.1,10.0.0.2|10m");
    check_row(row_endpointslice, "{" META ",'addressType':'IPv4'}", "web|IPv4|<unset>|<unset>|10m");
}
END_TEST

START_TEST(test_workloads)
{
    check_row(
        row_deployment,
        "{" META ",'spec':{'replicas':3,'selector':{'matchLabels':{'app':'web'},'matchExpressions':"
                 "[{'key':'tier',"
        "'operator':'In','values':['b','a']},{'key':'x','operator':'DoesNotExist'}]},'template':{'"
        "spec':{'containers':["
        "{'name':'a','image':'img:1'},{'name':'b','image':'img:2'}]}}},'status':{'readyReplicas':2,"
        "'updatedReplicas':3,'availableReplicas':1}}",
        "web|2/3|3|1|10m|a,b|img:1,img:2|!x,app=web,tier in (a,b)");
    check_row(row_replicaset,
              "{" META ",'spec':{'replicas':3,'selector':{},'template':{'spec':{'containers':[{'"
                       "name':'a','image':'i'}]}}},"
              "'status':{'replicas':2,'readyReplicas':1}}",
              "web|3|2|1|10m|a|i|<none>");
}
END_TEST

START_TEST(test_small_kinds)
{
    check_row(row_namespace, "{" META ",'status':{'phase':'Active'}}", "web|Active|10m");
    check_row(row_configmap, "{" META ",'data':{'a':'1'},'binaryData':{'b':'MQ=='}}", "web|2|10m");
    check_row(row_secret, "{" META ",'type':'Opaque','data':{'a':'MQ=='}}", "web|Opaque|1|10m");
    check_row(row_serviceaccount, "{" META "}", "web|10m");
    check_row(row_lease, "{" META ",'spec':{'holderIdentity':'me'}}", "web|me|10m");
    check_row(row_scale, "{" META ",'spec':{'replicas':3},'status':{'replicas':2}}", "web|3|2|10m");
}
END_TEST

static const char event_text[] =
    "{'apiVersion':'v1','kind':'Event','metadata':{'name':'web.1','namespace':'default'},'"
    "involvedObject':{'kind':'Pod',"
    "'name':'web','fieldPath':'spec.containers{a}'},'reason':'Pulled','message':' "
    "text\\n','type':'Normal','count':4,"
    "'source':{'component':'kubelet','host':'n1'},'firstTimestamp':'2026-11-24T11:00:00Z',"
    "'lastTimestamp':'2026-11-24T11:59:30Z'}";

START_TEST(test_event)
{
    check_row(row_event, event_text,
              "30s|Normal|Pulled|pod/web|spec.containers{a}|kubelet, n1|text|60m|4|web.1");
    check_row(row_event,
              "{'apiVersion':'v1','metadata':{'name':'e'},'involvedObject':{'kind':'Pod','name':'"
              "web'},'type':'Normal',"
              "'eventTime':'2026-11-24T11:59:00.000000Z','reportingComponent':'scheduler','"
              "reportingInstance':'s-1'}",
              "60s|Normal||pod/web||scheduler, s-1||60s|1|e");
}
END_TEST

START_TEST(test_event_forms)
{
    cleanup_json cJSON *core = parse(event_text);
    cleanup_json cJSON *other = event_from_stored(NULL, core);
    ck_assert_str_eq(json_str(other, "apiVersion"), "events.k8s.io/v1");
    ck_assert_str_eq(json_str(other, "regarding.name"), "web");
    ck_assert_str_eq(json_str(other, "note"), " text\n");
    ck_assert_int_eq(json_int(other, "deprecatedCount", 0), 4);
    ck_assert_str_eq(json_str(other, "deprecatedSource.host"), "n1");
    ck_assert_ptr_null(json_get(other, "message"));
    cleanup_json cJSON *back = event_to_stored(NULL, other);
    ck_assert(json_equal(back, core));
    cleanup_buf struct buf text = {0};
    json_print(other, &text);
    check_row(row_event, buf_str(&text),
              "30s|Normal|Pulled|pod/web|spec.containers{a}|kubelet, n1|text|60m|4|web.1");
    ck_assert_str_eq(event_field_value(core, "source"), "kubelet");
}
END_TEST

START_TEST(test_table_text)
{
    const struct resource *r = resource_find("", "v1", "configmaps");
    cleanup_json cJSON *object = parse("{'kind':'ConfigMap','apiVersion':'v1'," META ",'data':{}}");
    cleanup_buf struct buf b = {0};
    table_open(&b, r, "v1", "17", "next", 2, true);
    table_row(&b, r, "v1", object, NULL, 0, TABLE_INCLUDE_METADATA, true);
    table_row(&b, r, "v1", object, "{\"x\":1}", 7, TABLE_INCLUDE_OBJECT, false);
    table_row(&b, r, "v1", object, NULL, 0, TABLE_INCLUDE_NONE, false);
    table_close(&b);
    struct error *err = NULL;
    cleanup_json cJSON *table = json_parse(buf_str(&b), b.len, &err);
    ck_assert_msg(table != NULL, "%s", error_message(err));
    ck_assert_str_eq(json_str(table, "kind"), "Table");
    ck_assert_str_eq(json_str(table, "apiVersion"), "meta.k8s.io/v1");
    ck_assert_str_eq(json_str(table, "metadata.resourceVersion"), "17");
    ck_assert_str_eq(json_str(table, "metadata.continue"), "next");
    ck_assert_int_eq(json_int(table, "metadata.remainingItemCount", -1), 2);
    ck_assert_int_eq(cJSON_GetArraySize(json_get(table, "columnDefinitions")), 3);
    const cJSON *rows = json_get(table, "rows");
    ck_assert_int_eq(cJSON_GetArraySize(rows), 3);
    ck_assert_str_eq(json_str(cJSON_GetArrayItem(rows, 0), "object.kind"), "PartialObjectMetadata");
    ck_assert_str_eq(json_str(cJSON_GetArrayItem(rows, 0), "object.metadata.name"), "web");
    ck_assert_int_eq(json_int(cJSON_GetArrayItem(rows, 1), "object.x", 0), 1);
    ck_assert(cJSON_IsNull(json_get(cJSON_GetArrayItem(rows, 2), "object")));
    enum table_include include;
    ck_assert(table_parse_include(NULL, &include) && include == TABLE_INCLUDE_METADATA);
    ck_assert(!table_parse_include("Everything", &include));
}
END_TEST

START_TEST(test_every_row_fits_its_columns)
{
    cleanup_json cJSON *empty = parse("{'metadata':{}}");
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->count; i++) {
        const struct resource *r = all->items[i];
        int columns = 0;
        while (r->columns && r->columns[columns].name)
            columns++;
        if (!r->row)
            continue;
        cleanup_json cJSON *cells = cJSON_CreateArray();
        r->row(empty, cells);
        ck_assert_msg(cJSON_GetArraySize(cells) == columns, "%s: %d cells, %d columns", r->plural,
                      cJSON_GetArraySize(cells), columns);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("table");
    TCase *t = tcase_create("rows");
    tcase_add_test(t, test_pod_running);
    tcase_add_test(t, test_pod_reasons);
    tcase_add_test(t, test_pod_completed_beside_running);
    tcase_add_test(t, test_pod_init);
    tcase_add_test(t, test_pod_sidecar);
    tcase_add_test(t, test_pod_terminating);
    tcase_add_test(t, test_pod_gates);
    tcase_add_test(t, test_node);
    tcase_add_test(t, test_service);
    tcase_add_test(t, test_endpoints);
    tcase_add_test(t, test_workloads);
    tcase_add_test(t, test_small_kinds);
    tcase_add_test(t, test_event);
    tcase_add_test(t, test_event_forms);
    tcase_add_test(t, test_table_text);
    tcase_add_test(t, test_every_row_fits_its_columns);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
