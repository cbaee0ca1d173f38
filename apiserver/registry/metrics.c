/* metrics.k8s.io/v1beta1, which `kubectl top` and autoscalers read: nothing is stored, the kubelets
 * are asked when somebody asks us. A node whose kubelet does not answer in time has no metrics, as
 * when it has none yet.
 * https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/ */
#include <string.h>
#include "apiserver/registry/descriptors.h"
#include "apiserver/registry/kubelet_client.h"
#include "apiserver/registry/metrics.h"
#include "apiserver/registry/pod_node.h"
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/selector.h"
#include "common/timefmt.h"

enum { TIMEOUT_MS = 5000, ANSWER_MAX = 16 << 20, AT_ONCE = 32 };

/* --- asking kubelets --- */

struct question {
    const char *node;
    CURL *curl;
    struct buf answer;
    cJSON *summary; /* NULL: none came */
};

static size_t on_body(char *data, size_t size, size_t count, void *userdata)
{
    struct question *q = userdata;
    if (q->answer.len + size * count > ANSWER_MAX)
        return 0;
    buf_add(&q->answer, data, size * count);
    return size * count;
}

static void take_answer(struct question *q)
{
    long status = 0;
    curl_easy_getinfo(q->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200)
        q->summary = json_parse(buf_str(&q->answer), q->answer.len, NULL);
    buf_free(&q->answer);
}

static void ask(struct write *w, CURLM *multi, struct question *q)
{
    cleanup_free char *base = pod_node_url(w, q->node, NULL);
    q->curl = base ? curl_easy_init() : NULL;
    if (!q->curl)
        return;
    cleanup_free char *url = mem_printf("%s/stats/summary?only_cpu_and_memory=true", base);
    kubelet_client_configure(q->curl, w->req->config);
    curl_easy_setopt(q->curl, CURLOPT_URL, url);
    curl_easy_setopt(q->curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(q->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(q->curl, CURLOPT_WRITEDATA, q);
    curl_multi_add_handle(multi, q->curl);
}

/* All at once, by AT_ONCE. */
static void ask_all(struct write *w, struct question *questions, size_t count)
{
    CURLM *multi = curl_multi_init();
    for (size_t from = 0; multi && from < count; from += AT_ONCE) {
        size_t to = from + AT_ONCE < count ? from + AT_ONCE : count;
        for (size_t i = from; i < to; i++)
            ask(w, multi, &questions[i]);
        int running = 1;
        while (running && curl_multi_perform(multi, &running) == CURLM_OK && running)
            if (curl_multi_poll(multi, NULL, 0, 1000, NULL) != CURLM_OK)
                break;
        for (size_t i = from; i < to; i++) {
            if (!questions[i].curl)
                continue;
            take_answer(&questions[i]);
            curl_multi_remove_handle(multi, questions[i].curl);
            curl_easy_cleanup(questions[i].curl);
            questions[i].curl = NULL;
        }
    }
    if (multi)
        curl_multi_cleanup(multi);
}

static void questions_free(struct question *q, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cJSON_Delete(q[i].summary);
    free(q);
}

/* --- objects --- */

/* The usage of a node or a container; false when its rate is not known yet. */
static bool set_usage(cJSON *o, const cJSON *stats)
{
    const cJSON *rate = json_path(stats, "cpu.usageNanoCores"),
                *memory = json_path(stats, "memory.workingSetBytes");
    if (!cJSON_IsNumber(rate) || !cJSON_IsNumber(memory))
        return false;
    cleanup_free char *cpu = mem_printf("%.0fn", rate->valuedouble);
    cleanup_free char *bytes = mem_printf("%.0fKi", memory->valuedouble / 1024);
    json_set_str(o, "usage.cpu", cpu);
    json_set_str(o, "usage.memory", bytes);
    return true;
}

static void set_time(cJSON *o, const cJSON *stats)
{
    int64_t ms = json_int(stats, "cpu.usageWindowMilliseconds", 0);
    cleanup_free char *window =
        mem_printf("%lld.%03llds", (long long)ms / 1000, (long long)ms % 1000);
    json_set_str(o, "timestamp", json_str_or(stats, "cpu.time", ""));
    json_set_str(o, "window", window);
}

static cJSON *new_object(const char *kind, const struct stored *s)
{
    char now[TIME_TEXT_MAX];
    cJSON *o = cJSON_CreateObject();
    json_set_str(o, "kind", kind);
    json_set_str(o, "apiVersion", "metrics.k8s.io/v1beta1");
    json_set_str(o, "metadata.name", s->name);
    if (*s->ns)
        json_set_str(o, "metadata.namespace", s->ns);
    json_set_str(o, "metadata.creationTimestamp", time_format(time_now_seconds(), now));
    for (const char **l = s->labels; l && l[0]; l += 2)
        json_map_set_str(json_ensure_object(o, "metadata.labels"), l[0], l[1]);
    return o;
}

static cJSON *node_metrics(const struct stored *node, const cJSON *summary)
{
    const cJSON *stats = json_get(summary, "node");
    cJSON *o = new_object("NodeMetrics", node);
    set_time(o, stats);
    if (set_usage(o, stats))
        return o;
    cJSON_Delete(o);
    return NULL;
}

static const cJSON *find_pod(const cJSON *summary, const char *uid)
{
    const cJSON *p;
    cJSON_ArrayForEach(p, json_get(summary, "pods"))
    {
        if (!strcmp(json_str_or(p, "podRef.uid", ""), uid))
            return p;
    }
    return NULL;
}

static cJSON *pod_metrics(const struct stored *pod, const cJSON *summary)
{
    const cJSON *stats = find_pod(summary, pod->uid), *c;
    if (!stats || !cJSON_GetArraySize(json_get(stats, "containers")))
        return NULL;
    cJSON *o = new_object("PodMetrics", pod);
    set_time(o, json_get(stats, "containers")->child);
    cJSON *list = json_ensure_array(o, "containers");
    cJSON_ArrayForEach(c, json_get(stats, "containers"))
    {
        cJSON *e = cJSON_CreateObject();
        json_set_str(e, "name", json_str_or(c, "name", ""));
        bool known = set_usage(e, c);
        cJSON_AddItemToArray(list, e);
        if (!known) { /* half of a pod would look like all of it */
            cJSON_Delete(o);
            return NULL;
        }
    }
    return o;
}

/* --- requests --- */

struct subject { /* of the metrics: a node or a pod, and the node that knows them */
    struct stored *stored;
    char *node;
};
struct subjects {
    struct subject *items;
    size_t count;
};

static void subjects_clear(struct subjects *s)
{
    for (size_t i = 0; i < s->count; i++) {
        stored_unref(s->items[i].stored);
        free(s->items[i].node);
    }
    free(s->items);
}
#define cleanup_subjects __attribute__((cleanup(subjects_clear)))

static bool selected(const struct stored *s, const struct label_selector *labels,
                     const struct field_selector *fields, bool *known)
{
    *known = true;
    for (int i = 0; i < fields->count; i++) {
        const char *f = fields->terms[i].field;
        bool name = !strcmp(f, "metadata.name");
        if (!name && strcmp(f, "metadata.namespace") != 0)
            *known = false;
        else if (!strcmp(name ? s->name : s->ns, fields->terms[i].value) != fields->terms[i].equals)
            return false;
    }
    return !labels || label_selector_matches_flat(labels, s->labels);
}

static void add_subject(struct subjects *out, struct stored *s, bool is_pod)
{
    char *node = NULL;
    if (is_pod) {
        cleanup_json cJSON *pod = json_parse(s->json, s->len, NULL);
        if (!strcmp(json_str_or(pod, "status.phase", ""), "Running"))
            node = mem_strdup(json_str(pod, "spec.nodeName"));
    } else {
        node = mem_strdup(s->name);
    }
    if (node)
        out->items[out->count++] = (struct subject){stored_ref(s), node};
}

/* Which nodes or pods it is about: the one that is named, or those that are selected. */
static bool find_subjects(struct write *w, const struct resource *of, struct subjects *out,
                          struct error **err)
{
    bool is_pod = of->namespaced;
    if (*w->name && !strcmp(w->req->info.verb, "get")) {
        cleanup_stored struct stored *s = storage_get(w->req->storage, of, w->ns, w->name, NULL);
        out->items = mem_alloc(sizeof *out->items);
        if (s)
            add_subject(out, s, is_pod);
        return true;
    }
    struct label_selector *labels = NULL;
    struct field_selector fields = {0};
    const char *label_text = httpd_query(w->req->http, "labelSelector");
    const char *field_text = httpd_query(w->req->http, "fieldSelector");
    struct stored **items = NULL;
    size_t count = 0;
    uint64_t revision;
    bool ok = !label_text || !*label_text || (labels = label_selector_parse(label_text, err));
    ok = ok && (!field_text || !*field_text || field_selector_parse(field_text, &fields, err)) &&
         storage_list(w->req->storage, of, *w->ns ? w->ns : NULL, &items, &count, &revision, err);
    out->items = mem_alloc((count + 1) * sizeof *out->items);
    for (size_t i = 0; i < count; i++) {
        bool known = true;
        if (ok && selected(items[i], labels, &fields, &known))
            add_subject(out, items[i], is_pod);
        if (ok && !known) {
            api_error_bad_request(err, "field label not supported: only metadata.name%s",
                                  is_pod ? " and metadata.namespace" : "");
            ok = false;
        }
        stored_unref(items[i]);
    }
    free(items);
    label_selector_free(labels);
    field_selector_clear(&fields);
    return ok;
}

/* One question a node. */
static struct question *questions_of(const struct subjects *s, size_t *count)
{
    struct question *q = mem_alloc((s->count + 1) * sizeof *q);
    *count = 0;
    for (size_t i = 0; i < s->count; i++) {
        bool asked = false;
        for (size_t k = 0; k < *count && !asked; k++)
            asked = !strcmp(q[k].node, s->items[i].node);
        if (!asked)
            q[(*count)++].node = s->items[i].node;
    }
    return q;
}

static cJSON *metrics_of(const struct subject *s, const struct question *questions, size_t count,
                         bool is_pod)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(questions[i].node, s->node) && questions[i].summary)
            return is_pod ? pod_metrics(s->stored, questions[i].summary)
                          : node_metrics(s->stored, questions[i].summary);
    return NULL;
}

static void not_found(struct write *w, struct error **err)
{
    bool is_pod = w->r->namespaced;
    error_set(err, 404, "NotFound", "%s.metrics.k8s.io \"%s%s%s\" not found",
              is_pod ? "podmetrics" : "nodemetrics", is_pod ? w->ns : "", is_pod ? "/" : "",
              w->name);
    if (err && *err)
        (*err)->details = api_error_details(w->r, w->name, NULL);
}

void metrics_read(struct write *w)
{
    bool is_pod = w->r->namespaced, single = !strcmp(w->req->info.verb, "get");
    const struct resource *of = resource_find("", "v1", is_pod ? "pods" : "nodes");
    cleanup_error struct error *err = NULL;
    cleanup_subjects struct subjects subjects = {0};
    if (!find_subjects(w, of, &subjects, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    size_t count;
    struct question *questions = questions_of(&subjects, &count);
    ask_all(w, questions, count);
    cleanup_json cJSON *list = cJSON_CreateObject();
    json_set_str(list, "kind", is_pod ? "PodMetricsList" : "NodeMetricsList");
    json_set_str(list, "apiVersion", "metrics.k8s.io/v1beta1");
    json_ensure_object(list, "metadata");
    cJSON *items = json_ensure_array(list, "items");
    for (size_t i = 0; i < subjects.count; i++) {
        cJSON *o = metrics_of(&subjects.items[i], questions, count, is_pod);
        if (o)
            cJSON_AddItemToArray(items, o);
    }
    questions_free(questions, count);
    if (!single) {
        api_reply_json(w->req, 200, list);
    } else if (items->child) {
        api_reply_json(w->req, 200, items->child);
    } else {
        not_found(w, &err);
        api_reply_error(w->req, err);
    }
}

/* --- descriptors --- */

static void sum(const cJSON *usage, __int128 *cpu, __int128 *memory)
{
    struct quantity q;
    const char *text = json_map_str(usage, "cpu");
    if (text && quantity_parse(text, &q))
        *cpu += q.nano;
    text = json_map_str(usage, "memory");
    if (text && quantity_parse(text, &q))
        *memory += q.nano;
}

static void row_metrics(const cJSON *object, cJSON *cells)
{
    __int128 cpu = 0, memory = 0;
    const cJSON *c;
    sum(json_get(object, "usage"), &cpu, &memory);
    cJSON_ArrayForEach(c, json_get(object, "containers")) sum(json_get(c, "usage"), &cpu, &memory);
    char text[QUANTITY_TEXT_MAX];
    cJSON_AddItemToArray(cells, cJSON_CreateString(json_str_or(object, "metadata.name", "")));
    cJSON_AddItemToArray(cells, cJSON_CreateString(quantity_print(
                                    (struct quantity){cpu, QUANTITY_DECIMAL_SI}, text)));
    cJSON_AddItemToArray(cells, cJSON_CreateString(quantity_print(
                                    (struct quantity){memory, QUANTITY_BINARY_SI}, text)));
    cJSON_AddItemToArray(cells, cJSON_CreateString(json_str_or(object, "window", "")));
}

static const struct resource_column columns_metrics[] = {
    COL_NAME,
    COL("CPU", "Processor time a second."),
    COL("Memory", "Memory in use."),
    COL("Window", "Time over which processor time was measured."),
    COL_END,
};
static struct resource resources[] = {
    {.group = "metrics.k8s.io",
     .version = "v1beta1",
     .kind = "NodeMetrics",
     .plural = "nodes",
     .singular = "",
     .verbs = VERB_GET | VERB_LIST,
     .columns = columns_metrics,
     .row = row_metrics,
     .read = metrics_read},
    {.group = "metrics.k8s.io",
     .version = "v1beta1",
     .kind = "PodMetrics",
     .plural = "pods",
     .singular = "",
     .namespaced = true,
     .verbs = VERB_GET | VERB_LIST,
     .columns = columns_metrics,
     .row = row_metrics,
     .read = metrics_read},
};
const struct resource_set resources_metrics = {resources, ARRAY_LEN(resources)};
