/* A small Kubernetes API inside a test's process: objects of any kind, optimistic concurrency, list, watch
 * with history and bookmarks, the binding subresource, and faults on demand. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/httpd.h"
#include "common/json.h"
#include "common/kube_client.h"
#include "common/mem.h"
#include "common/timefmt.h"

struct fake_object {
    struct fake_object *next;
    char *collection; /* "v1/pods" */
    char *ns, *name;
    cJSON *json;
};

struct fake_event {
    char *collection, *ns, *line;
    long long rv;
};

struct fake_stream {
    struct fake_stream *next;
    struct httpd_stream *stream;
    char *collection, *ns;
    atomic_bool gone;
};

struct fake_api {
    struct httpd *httpd;
    char *url;
    pthread_mutex_t lock;
    struct fake_object *objects;
    struct fake_event *events;
    size_t event_count;
    struct fake_stream *streams;
    long long rv, oldest_rv; /* watches from before oldest_rv get 410 */
    int uid;
    /* Faults and counters. */
    int fail_requests, fail_code; /* the next n requests get this code */
    bool refuse_writes;           /* 500 for all but GET */
    int lists, watches, writes, consistent_lists;
    char last_list_query[256];
    struct httpd_request *held; /* with hold_next_write: an unanswered request */
    bool hold_next_write;
};

static void fake_status(struct httpd_request *r, int code, const char *reason, const char *message)
{
    char body[1024];
    int n = snprintf(body, sizeof(body),
                     "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
                     "\"message\":\"%s\","
                     "\"reason\":\"%s\",\"details\":{\"name\":\"x\"},\"code\":%d}",
                     message, reason, code);
    httpd_reply(r, code, "application/json", body, (size_t)n);
}

static void fake_reply(struct httpd_request *r, int code, const cJSON *o)
{
    char *text = json_text(o);
    httpd_reply_take(r, code, "application/json", text, strlen(text));
}

static void fake_gone(void *userdata)
{
    struct fake_stream *s = (struct fake_stream *)userdata;
    atomic_store(&s->gone, true);
}

/* With the lock held. */
static void fake_publish(struct fake_api *a, const char *type, const char *collection, const char *ns,
                         const cJSON *o)
{
    char *object = json_text(o);
    char *line = mem_printf("{\"type\":\"%s\",\"object\":%s}\n", type, object);
    free(object);
    a->events = (struct fake_event *)mem_realloc(a->events, (a->event_count + 1) * sizeof(*a->events));
    a->events[a->event_count++] = (struct fake_event){mem_strdup(collection), mem_strdup(ns), line, a->rv};
    for (struct fake_stream *s = a->streams; s; s = s->next)
        if (!atomic_load(&s->gone) && !strcmp(s->collection, collection) && (!*s->ns || !strcmp(s->ns, ns)))
            httpd_stream_write(s->stream, line, strlen(line));
}

static struct fake_object *fake_find(struct fake_api *a, const char *collection, const char *ns,
                                     const char *name)
{
    for (struct fake_object *o = a->objects; o; o = o->next)
        if (!strcmp(o->collection, collection) && !strcmp(o->ns, ns) && !strcmp(o->name, name))
            return o;
    return NULL;
}

static void fake_stamp(struct fake_api *a, cJSON *json)
{
    char rv[32];
    snprintf(rv, sizeof(rv), "%lld", ++a->rv);
    json_set_str(json, "metadata.resourceVersion", rv);
}

/* Takes json. With the lock held. */
static struct fake_object *fake_insert(struct fake_api *a, const char *collection, const char *ns,
                                       cJSON *json)
{
    struct fake_object *o = (struct fake_object *)mem_alloc(sizeof(*o));
    o->collection = mem_strdup(collection);
    o->ns = mem_strdup(ns);
    if (*ns)
        json_set_str(json, "metadata.namespace", ns);
    char uid[32], now[TIME_TEXT_MAX];
    snprintf(uid, sizeof(uid), "uid-%d", ++a->uid);
    json_set_str(json, "metadata.uid", uid);
    if (!json_str(json, "metadata.creationTimestamp"))
        json_set_str(json, "metadata.creationTimestamp", time_format(time_now_seconds(), now));
    o->name = mem_strdup(json_str_or(json, "metadata.name", "unnamed"));
    fake_stamp(a, json);
    o->json = json;
    o->next = a->objects;
    a->objects = o;
    fake_publish(a, "ADDED", collection, ns, json);
    return o;
}

static void fake_remove(struct fake_api *a, struct fake_object *o)
{
    struct fake_object **at = &a->objects;
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    fake_stamp(a, o->json);
    fake_publish(a, "DELETED", o->collection, o->ns, o->json);
    cJSON_Delete(o->json);
    free(o->collection);
    free(o->ns);
    free(o->name);
    free(o);
}

/* RFC 7386. */
static void fake_merge(cJSON *target, const cJSON *patch)
{
    const cJSON *p;
    cJSON_ArrayForEach(p, patch) {
        cJSON *old = json_get(target, p->string);
        if (cJSON_IsNull(p)) {
            cJSON_DeleteItemFromObjectCaseSensitive(target, p->string);
        } else if (cJSON_IsObject(p)) {
            if (!cJSON_IsObject(old)) {
                json_map_set(target, p->string, cJSON_CreateObject());
                old = json_get(target, p->string);
            }
            fake_merge(old, p);
        } else {
            json_map_set(target, p->string, json_dup(p));
        }
    }
}

/* "/api/v1/namespaces/x/pods/y/status" into its parts, each at most 127 characters. */
struct fake_path {
    char collection[256], ns[128], name[128], sub[128];
};
static bool fake_parse_path(const char *path, struct fake_path *out)
{
    char copy[512], *parts[10], *save = NULL;
    int n = 0, i;
    memset(out, 0, sizeof(*out));
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *p = strtok_r(copy, "/", &save); p && n < 10; p = strtok_r(NULL, "/", &save))
        parts[n++] = p;
    char version[128];
    if (n >= 3 && !strcmp(parts[0], "api")) {
        snprintf(version, sizeof(version), "%.60s", parts[1]);
        i = 2;
    } else if (n >= 4 && !strcmp(parts[0], "apis")) {
        snprintf(version, sizeof(version), "%.60s/%.60s", parts[1], parts[2]);
        i = 3;
    } else {
        return false;
    }
    if (!strcmp(parts[i], "namespaces") && i + 2 < n) {
        snprintf(out->ns, sizeof(out->ns), "%.120s", parts[i + 1]);
        i += 2;
    }
    snprintf(out->collection, sizeof(out->collection), "%.120s/%.120s", version, parts[i]);
    if (i + 1 < n)
        snprintf(out->name, sizeof(out->name), "%.120s", parts[i + 1]);
    if (i + 2 < n)
        snprintf(out->sub, sizeof(out->sub), "%.120s", parts[i + 2]);
    return true;
}

static void fake_list(struct fake_api *a, struct httpd_request *r, const struct fake_path *p)
{
    const char *rv = httpd_query(r, "resourceVersion");
    a->lists++;
    if (!rv)
        a->consistent_lists++;
    snprintf(a->last_list_query, sizeof(a->last_list_query), "%s", httpd_query_string(r));
    cleanup_json cJSON *list = cJSON_CreateObject();
    const char *slash = strrchr(p->collection, '/');
    char kind[160];
    /* Good enough: "pods" -> "PodList". */
    snprintf(kind, sizeof(kind), "%c%.*sList", slash[1] - 32, (int)strlen(slash + 2) - 1, slash + 2);
    json_set_str(list, "kind", kind);
    json_set_str(list, "apiVersion", "v1");
    char now[32];
    snprintf(now, sizeof(now), "%lld", a->rv);
    json_set_str(list, "metadata.resourceVersion", now);
    cJSON *items = json_ensure_array(list, "items");
    for (struct fake_object *o = a->objects; o; o = o->next) {
        if (strcmp(o->collection, p->collection) || (*p->ns && strcmp(o->ns, p->ns)))
            continue;
        cJSON *item = json_dup(o->json);
        json_remove(item, "kind");
        json_remove(item, "apiVersion");
        cJSON_AddItemToArray(items, item);
    }
    fake_reply(r, 200, list);
}

static void fake_watch(struct fake_api *a, struct httpd_request *r, const struct fake_path *p)
{
    a->watches++;
    const char *text = httpd_query(r, "resourceVersion");
    long long from = text ? atoll(text) : 0;
    if (from < a->oldest_rv) {
        fake_status(r, 410, "Expired", "too old resource version");
        return;
    }
    struct fake_stream *s = (struct fake_stream *)mem_alloc(sizeof(*s));
    s->collection = mem_strdup(p->collection);
    s->ns = mem_strdup(p->ns);
    s->stream = httpd_stream_start(r, 200, "application/json", 16 << 20, fake_gone, s);
    for (size_t i = 0; i < a->event_count; i++) {
        struct fake_event *e = &a->events[i];
        if (e->rv > from && !strcmp(e->collection, s->collection) && (!*s->ns || !strcmp(s->ns, e->ns)))
            httpd_stream_write(s->stream, e->line, strlen(e->line));
    }
    s->next = a->streams;
    a->streams = s;
}

static void fake_write(struct fake_api *a, struct httpd_request *r, const struct fake_path *p)
{
    const char *method = httpd_method(r);
    size_t len;
    const char *text = httpd_body(r, &len);
    cleanup_json cJSON *body = len ? json_parse(text, len, NULL) : NULL;
    a->writes++;
    struct fake_object *o = *p->name ? fake_find(a, p->collection, p->ns, p->name) : NULL;
    if (!strcmp(method, "POST") && !*p->name) {
        const char *name = json_str_or(body, "metadata.name", "");
        if (fake_find(a, p->collection, p->ns, name)) {
            fake_status(r, 409, "AlreadyExists", "already exists");
            return;
        }
        o = fake_insert(a, p->collection, p->ns, body);
        body = NULL;
        fake_reply(r, 201, o->json);
        return;
    }
    if (!o) {
        fake_status(r, 404, "NotFound", "not found");
        return;
    }
    if (!strcmp(method, "POST") && !strcmp(p->sub, "binding")) {
        if (json_str(o->json, "spec.nodeName")) {
            fake_status(r, 409, "Conflict", "pod is already assigned");
            return;
        }
        json_set_str(o->json, "spec.nodeName", json_str_or(body, "target.name", ""));
        fake_stamp(a, o->json);
        fake_publish(a, "MODIFIED", o->collection, o->ns, o->json);
        fake_status(r, 201, "", "bound");
        return;
    }
    if (!strcmp(method, "DELETE")) {
        fake_remove(a, o);
        fake_status(r, 200, "", "deleted");
        return;
    }
    if (!strcmp(method, "PUT")) {
        const char *rv = json_str(body, "metadata.resourceVersion");
        if (rv && strcmp(rv, json_str_or(o->json, "metadata.resourceVersion", ""))) {
            fake_status(r, 409, "Conflict", "the object has been modified");
            return;
        }
        cJSON_Delete(o->json);
        o->json = body;
        body = NULL;
    } else if (!strcmp(method, "PATCH")) {
        fake_merge(o->json, body);
    } else {
        fake_status(r, 405, "MethodNotAllowed", "no");
        return;
    }
    fake_stamp(a, o->json);
    fake_publish(a, "MODIFIED", o->collection, o->ns, o->json);
    fake_reply(r, 200, o->json);
}

static void fake_handle(struct httpd_request *r, void *userdata)
{
    struct fake_api *a = (struct fake_api *)userdata;
    struct fake_path p;
    pthread_mutex_lock(&a->lock);
    if (a->fail_requests > 0) {
        a->fail_requests--;
        fake_status(r, a->fail_code, "", "told to fail");
    } else if (!fake_parse_path(httpd_path(r), &p)) {
        fake_status(r, 404, "NotFound", "no such path");
    } else if (strcmp(httpd_method(r), "GET")) {
        if (a->hold_next_write) {
            a->hold_next_write = false;
            a->held = r;
            httpd_defer(r);
        } else if (a->refuse_writes) {
            fake_status(r, 500, "InternalError", "refused");
        } else {
            fake_write(a, r, &p);
        }
    } else if (*p.name) {
        struct fake_object *o = fake_find(a, p.collection, p.ns, p.name);
        if (o)
            fake_reply(r, 200, o->json);
        else
            fake_status(r, 404, "NotFound", "not found");
    } else if (httpd_query(r, "watch")) {
        fake_watch(a, r, &p);
    } else {
        fake_list(a, r, &p);
    }
    pthread_mutex_unlock(&a->lock);
}

static void fake_listen(struct fake_api *a, int port)
{
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    struct httpd_options o = {
        .address = address, .threads = 2, .max_body = 1 << 20, .handler = fake_handle, .userdata = a};
    struct error *err = NULL;
    a->httpd = httpd_start(&o, &err);
    if (!a->httpd) {
        fprintf(stderr, "fake API: %s\n", error_message(err));
        abort();
    }
}

__attribute__((unused)) static struct fake_api *fake_api_new(void)
{
    struct fake_api *a = (struct fake_api *)mem_alloc(sizeof(*a));
    pthread_mutex_init(&a->lock, NULL);
    a->rv = 100;
    fake_listen(a, 0);
    a->url = mem_printf("http://127.0.0.1:%d", httpd_port(a->httpd));
    return a;
}

/* Ends all watches, as a dying server does. */
__attribute__((unused)) static void fake_break_watches(struct fake_api *a)
{
    pthread_mutex_lock(&a->lock);
    struct fake_stream *s = a->streams;
    a->streams = NULL;
    pthread_mutex_unlock(&a->lock);
    for (struct fake_stream *next; s; s = next) {
        next = s->next;
        httpd_stream_end(s->stream);
        free(s->collection);
        free(s->ns);
        free(s);
    }
}

/* Forgets the history: a watch from the past is told 410. */
__attribute__((unused)) static void fake_expire(struct fake_api *a)
{
    pthread_mutex_lock(&a->lock);
    a->rv++;
    a->oldest_rv = a->rv;
    pthread_mutex_unlock(&a->lock);
}

__attribute__((unused)) static void fake_send_raw(struct fake_api *a, const char *line)
{
    pthread_mutex_lock(&a->lock);
    for (struct fake_stream *s = a->streams; s; s = s->next)
        if (!atomic_load(&s->gone))
            httpd_stream_write(s->stream, line, strlen(line));
    pthread_mutex_unlock(&a->lock);
}

/* Adds an object given as JSON text. */
__attribute__((unused)) static void fake_add(struct fake_api *a, const char *collection, const char *text)
{
    struct error *err = NULL;
    cJSON *json = json_parse(text, strlen(text), &err);
    if (!json) {
        fprintf(stderr, "fake_add: %s: %s\n", error_message(err), text);
        abort();
    }
    pthread_mutex_lock(&a->lock);
    char *ns = mem_strdup(json_str_or(json, "metadata.namespace", ""));
    fake_insert(a, collection, ns, json);
    free(ns);
    pthread_mutex_unlock(&a->lock);
}

/* Merges a patch into an object; silent ones reach no watch (as changes made while a client was away). */
__attribute__((unused)) static void fake_change(struct fake_api *a, const char *collection, const char *ns,
                                                const char *name, const char *patch)
{
    cleanup_json cJSON *json = json_parse(patch, strlen(patch), NULL);
    pthread_mutex_lock(&a->lock);
    struct fake_object *o = fake_find(a, collection, ns, name);
    if (o) {
        fake_merge(o->json, json);
        fake_stamp(a, o->json);
        fake_publish(a, "MODIFIED", collection, ns, o->json);
    }
    pthread_mutex_unlock(&a->lock);
}

__attribute__((unused)) static void fake_delete(struct fake_api *a, const char *collection, const char *ns,
                                                const char *name)
{
    pthread_mutex_lock(&a->lock);
    struct fake_object *o = fake_find(a, collection, ns, name);
    if (o)
        fake_remove(a, o);
    pthread_mutex_unlock(&a->lock);
}

/* A copy of the object's field, "" when absent; caller frees. */
__attribute__((unused)) static char *fake_field(struct fake_api *a, const char *collection, const char *ns,
                                                const char *name, const char *path)
{
    pthread_mutex_lock(&a->lock);
    struct fake_object *o = fake_find(a, collection, ns, name);
    const cJSON *v = o ? json_path(o->json, path) : NULL;
    char *text = !v ? mem_strdup("") : cJSON_IsString(v) ? mem_strdup(v->valuestring) : json_text(v);
    pthread_mutex_unlock(&a->lock);
    return text;
}

__attribute__((unused)) static int fake_counter(struct fake_api *a, const int *counter)
{
    pthread_mutex_lock(&a->lock);
    int n = *counter;
    pthread_mutex_unlock(&a->lock);
    return n;
}

__attribute__((unused)) static struct kube_client *fake_client(struct fake_api *a)
{
    struct kube_client_config config = {.server = a->url};
    struct kube_client *c = kube_client_new(&config, NULL);
    if (!c)
        abort();
    return c;
}

__attribute__((unused)) static void fake_api_free(struct fake_api *a)
{
    fake_break_watches(a);
    if (a->held)
        fake_status(a->held, 500, "", "ended");
    httpd_stop(a->httpd);
    while (a->objects) {
        struct fake_object *o = a->objects;
        a->objects = o->next;
        cJSON_Delete(o->json);
        free(o->collection);
        free(o->ns);
        free(o->name);
        free(o);
    }
    for (size_t i = 0; i < a->event_count; i++) {
        free(a->events[i].collection);
        free(a->events[i].ns);
        free(a->events[i].line);
    }
    free(a->events);
    free(a->url);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* Waits up to ten seconds (much less, usually) for a condition. */
#define fake_eventually(condition)                                                                           \
    do {                                                                                                     \
        int64_t until_ = time_monotonic_ms() + 10000;                                                        \
        while (!(condition) && time_monotonic_ms() < until_)                                                 \
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);                                         \
        ck_assert_msg(condition, "never became true: %s", #condition);                                       \
    } while (0)
