/* /healthz, /livez, /readyz, /version, /metrics. */
#include <string.h>
#include <time.h>

#include "apiserver/server/server.h"
#include "common/component.h"
#include "common/json.h"
#include "common/mem.h"

static struct metric *requests, *durations, *objects, *revision, *watchers, *under_way;
static atomic_int under_way_now[MUTATING + 1];

void health_under_way(int counted, int change)
{
    atomic_fetch_add_explicit(&under_way_now[counted], change, memory_order_relaxed);
}

void health_init(void)
{
    if (requests)
        return;
    requests = metric_new(METRIC_COUNTER, "apiserver_request_total",
                          "Counter of apiserver requests broken out for each verb, group, version, "
                          "resource, scope and code.",
                          "verb,group,version,resource,subresource,scope,component,code", NULL);
    static const double buckets[] = {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,  1.25, 1.5, 2,
                                     3,     4,     5,    6,   8,   10,  15,  20,  30, 45,   60,  0};
    durations = metric_new(METRIC_HISTOGRAM, "apiserver_request_duration_seconds",
                           "Response latency distribution in seconds for each verb, group, "
                           "version, resource and scope.",
                           "verb,group,version,resource,subresource,scope,component", buckets);
    objects = metric_new(METRIC_GAUGE, "apiserver_storage_objects",
                         "Number of stored objects at the time of last check split by kind.",
                         "resource", NULL);
    watchers = metric_new(METRIC_GAUGE, "apiserver_longrunning_requests", "Watches that run now.",
                          "verb,resource", NULL);
    under_way = metric_new(METRIC_GAUGE, "apiserver_current_inflight_requests",
                           "Requests that are under way, watches and streams apart.", "request_kind", NULL);
    revision = metric_new(METRIC_GAUGE, "apiserver_watch_cache_resource_version",
                          "Revision of the store that the watch cache has reached.", "", NULL);
}

static const char *metric_verb(const struct request_info *i)
{
    static const char *const verbs[][2] = {
        {"get", "GET"},    {"list", "LIST"},   {"watch", "WATCH"},   {"create", "POST"},
        {"update", "PUT"}, {"patch", "PATCH"}, {"delete", "DELETE"}, {"deletecollection", "DELETE"},
        {"post", "POST"}};
    for (size_t k = 0; k < ARRAY_LEN(verbs); k++)
        if (!strcmp(verbs[k][0], i->verb))
            return verbs[k][1];
    return "other";
}

static atomic_uint_fast64_t answers; /* since the start of the process */

uint64_t health_requests(void)
{
    return atomic_load_explicit(&answers, memory_order_relaxed);
}

void health_count(const struct server_request *q)
{
    atomic_fetch_add_explicit(&answers, 1, memory_order_relaxed);
    const struct api_request *req = &q->pub;
    const struct request_info *i = &req->info;
    const struct resource *r = req->resource; /* only names that we know become labels */
    const char *scope = !r ? "" : *i->name ? "resource" : *i->ns ? "namespace" : "cluster";
    char labels[512];
    int n = snprintf(labels, sizeof labels,
                     "%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f%s\x1f"
                     "apiserver",
                     metric_verb(i), r ? r->group : "", r ? r->version : "", r ? r->plural : "",
                     r && req->subresource ? req->subresource->name : "", scope);
    if (n < 0 || (size_t)n + 8 > sizeof labels)
        return;
    if (strcmp(i->verb, "watch") != 0) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        int64_t us = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 - req->started_us;
        metric_observe(durations, labels, (double)us / 1e6);
    }
    snprintf(labels + n, sizeof labels - (size_t)n, "\x1f%d", req->status);
    metric_add(requests, labels, 1);
}

static void reply_plain(struct server_request *q, int status, const char *text)
{
    const char *type = "text/plain; charset=utf-8";
    httpd_add_header(q->pub.http, "X-Content-Type-Options", "nosniff");
    httpd_reply(api_answered(&q->pub, status), status, type, text, strlen(text));
    request_done(q);
}

/* What is looked at, under which paths. All but the store hold by themselves: requests are answered only when the
 * start-up is through and the caches are filled. */
enum { LIVE = 1, READY = 2, ASKS_STORE = 4 };
static const struct {
    const char *name;
    unsigned where;
} checks[] = {
    {"ping", LIVE | READY},
    {"log", LIVE | READY},
    {"etcd", LIVE | READY | ASKS_STORE},
    {"etcd-readiness", READY | ASKS_STORE},
    {"informer-sync", READY},
    {"poststarthook/start-system-namespaces-controller", LIVE | READY},
    {"poststarthook/rbac/bootstrap-roles", LIVE | READY},
    {"poststarthook/scheduling/bootstrap-system-priority-classes", LIVE | READY},
    {"poststarthook/crd-informer-synced", LIVE | READY},
    {"poststarthook/bootstrap-controller", LIVE | READY},
};

static bool excluded(struct server_request *q, const char *name)
{
    const char *list[16];
    size_t n = httpd_query_all(q->pub.http, "exclude", list, ARRAY_LEN(list));
    for (size_t i = 0; i < n && i < ARRAY_LEN(list); i++)
        if (!strcmp(list[i], name))
            return true;
    return false;
}

/* The check that a path names: "" for all of them; NULL when the path is none of these. */
static const char *check_of(const char *path, const char *endpoint)
{
    size_t n = strlen(endpoint);
    if (strncmp(path, endpoint, n) != 0 || (path[n] && path[n] != '/'))
        return NULL;
    return path[n] ? path + n + 1 : "";
}

static const char *endpoint_of(const char *path, const char **check, unsigned *where)
{
    static const char *const endpoints[] = {"/livez", "/readyz", "/healthz"};
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        *check = check_of(path, endpoints[i]);
        *where = i == 1 ? READY : LIVE;
        if (*check)
            return endpoints[i] + 1;
    }
    return NULL;
}

static bool wanted(struct server_request *q, size_t i, const char *only, unsigned where)
{
    return (checks[i].where & where) && (!*only || !strcmp(checks[i].name, only)) &&
           !excluded(q, checks[i].name);
}

static void reply_checks(struct server_request *q, const struct error *store)
{
    const char *only;
    unsigned where;
    const char *endpoint = endpoint_of(q->pub.info.path, &only, &where);
    cleanup_buf struct buf b = {0};
    bool failed = false;
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (!(checks[i].where & where) || (*only && strcmp(checks[i].name, only) != 0))
            continue;
        bool bad = store && (checks[i].where & ASKS_STORE);
        if (excluded(q, checks[i].name)) {
            buf_printf(&b, "[+]%s excluded: ok\n", checks[i].name);
            continue;
        }
        failed |= bad;
        buf_printf(&b, bad ? "[-]%s failed: reason withheld\n" : "[+]%s ok\n", checks[i].name);
    }
    if (!failed && (!httpd_query(q->pub.http, "verbose") || *only)) {
        reply_plain(q, 200, "ok");
        return;
    }
    buf_printf(&b, "%s check %s\n", endpoint, failed ? "failed" : "passed");
    reply_plain(q, failed ? 500 : 200, buf_str(&b));
}

static void checked(void *userdata, const struct error *err)
{
    reply_checks(userdata, err);
}

static void reply_version(struct server_request *q)
{
    /* Build metadata, not a pre-release: charts ask for ">= 1.2x". */
    static const char text[] =
        "{\"major\":\"1\",\"minor\":\"36\",\"gitVersion\":\"" KUBERNETES_VERSION "+skiff.1\","
        "\"gitCommit\":\"\",\"gitTreeState\":\"clean\",\"buildDate\":\"1970-01-01T00:00:00Z\","
        "\"goVersion\":\"\",\"compiler\":\"gcc\",\"platform\":\"linux/amd64\"}";
    reply_text(q, 200, mem_strdup(text), sizeof text - 1);
    request_done(q);
}

static void reply_metrics(struct server_request *q)
{
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->count; i++) {
        const struct resource *r = all->items[i];
        struct cache *c = r->stored_as ? NULL : storage_cache(q->pub.storage, r);
        if (!c)
            continue;
        uint64_t at;
        struct tree_root *root = cache_snapshot(c, &at);
        cleanup_buf struct buf name = {0};
        api_resource_text(r, &name);
        metric_set(objects, name.data, (double)tree_count(root));
        tree_root_unref(root);
        cleanup_free char *labels = mem_printf("WATCH\x1f%s", r->plural);
        metric_set(watchers, labels, (double)cache_watcher_count(c));
    }
    metric_set(under_way, "readOnly", atomic_load(&under_way_now[READ_ONLY]));
    metric_set(under_way, "mutating", atomic_load(&under_way_now[MUTATING]));
    metric_set(revision, "", (double)storage_revision(q->pub.storage));
    struct buf b = {0};
    metrics_render(&b);
    size_t len = b.len;
    httpd_reply_take(api_answered(&q->pub, 200), 200, "text/plain; version=0.0.4; charset=utf-8",
                     buf_take(&b), len);
    request_done(q);
}

/* Asks the store only if the answer depends on it. */
static bool serve_checks(struct server_request *q)
{
    const char *only;
    unsigned where;
    if (!endpoint_of(q->pub.info.path, &only, &where))
        return false;
    bool known = !*only, asks = false;
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        known |= (checks[i].where & where) && !strcmp(checks[i].name, only);
        asks |= wanted(q, i, only, where) && (checks[i].where & ASKS_STORE);
    }
    if (!known) {
        reply_plain(q, 404, "404 page not found\n");
    } else if (asks) {
        request_defer(q);
        storage_consistent(q->pub.storage, checked, q);
    } else {
        reply_checks(q, NULL);
    }
    return true;
}

bool health_serve(struct server_request *q)
{
    const char *path = q->pub.info.path;
    if (serve_checks(q))
        return true;
    if (!strcmp(path, "/version") || !strcmp(path, "/version/"))
        reply_version(q);
    else if (!strcmp(path, "/metrics"))
        reply_metrics(q);
    else
        return false;
    return true;
}
