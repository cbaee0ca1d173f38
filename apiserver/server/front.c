/* The pipeline: every request passes here, on an I/O thread. */
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "apiserver/auth/token.h"
#include "apiserver/schema/protobuf.h"
#include "apiserver/server/server.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

#define MAX_BODY ((size_t)3 * 1024 * 1024)

/* --- a request's life --- */

static int64_t monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* An audit id is a name, not a secret: one seed a thread, then xorshift. */
static uint64_t random_bits(void)
{
    static _Thread_local uint64_t state;
    while (!state)
        if (getrandom(&state, sizeof state, 0) != sizeof state)
            state = (uint64_t)monotonic_us();
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void set_audit_id(struct api_request *req)
{
    const char *given = httpd_header(req->http, "Audit-Id");
    size_t n = given ? strlen(given) : 0;
    if (n && n < sizeof req->audit_id && strspn(given, "0123456789abcdefABCDEF-") == n) {
        memcpy(req->audit_id, given, n + 1);
        return;
    }
    uint64_t a = random_bits(), b = random_bits();
    snprintf(req->audit_id, sizeof req->audit_id, "%08x-%04x-4%03x-%04x-%012llx",
             (unsigned)(a >> 32), (unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xfff,
             ((unsigned)(b >> 48) & 0x3fff) | 0x8000, (unsigned long long)(b & 0xffffffffffffULL));
}

static void user_clear(struct api_user *u)
{
    free(u->name);
    free(u->uid);
    for (char **g = u->groups; g && *g; g++)
        free(*g);
    free(u->groups);
    cJSON_Delete(u->extra);
}

void request_done(struct server_request *q)
{
    if (q->counted)
        health_under_way(q->counted, -1);
    if (q->state_free)
        q->state_free(q->state);
    request_info_clear(&q->pub.info);
    user_clear(&q->pub.user);
    cJSON_Delete(q->pub.warnings);
    free(q);
}

void request_defer(struct server_request *q)
{
    if (!q->deferred)
        httpd_defer(q->pub.http);
    q->deferred = true;
}

void reply_error_done(struct server_request *q, const struct error *err)
{
    api_reply_error(&q->pub, err);
    request_done(q);
}

static void too_many(struct server_request *q)
{
    cleanup_error struct error *err = NULL;
    error_set(&err, 429, "TooManyRequests",
              "the server has received too many requests and has asked us to try again later");
    err->details = mem_strdup("{\"retryAfterSeconds\":1}");
    reply_error_done(q, err);
}

void request_to_worker(struct server_request *q, void (*fn)(struct server_request *))
{
    request_defer(q);
    q->work = fn;
    if (!workers_add(q->server->workers, q))
        too_many(q);
}

/* --- where it goes --- */

/* Whoever reads the body reads JSON. */
static bool translate_body(struct api_request *req, struct error **err)
{
    const char *type = httpd_header(req->http, "Content-Type");
    size_t len;
    const char *body = httpd_body(req->http, &len);
    if (!len || !type || strncmp(type, PROTOBUF_MEDIA_TYPE, strlen(PROTOBUF_MEDIA_TYPE)) != 0)
        return true;
    cleanup_json cJSON *object = protobuf_decode(body, len, err);
    if (!object)
        return false;
    char *text = json_text(object);
    httpd_replace_body(req->http, text, strlen(text), "application/json");
    return true;
}

static void run_registry(struct server_request *q)
{
    cleanup_error struct error *bad = NULL;
    bool proxied = !strcmp(q->pub.info.subresource, "proxy"); /* its body is not ours to read */
    if (!proxied && !translate_body(&q->pub, &bad)) {
        reply_error_done(q, bad);
        return;
    }
    registry_handle_write(&q->pub);
    if (q->pub.http) {
        cleanup_error struct error *err = NULL;
        error_setf(&err, "nobody answered %s %s", q->pub.info.verb, q->pub.info.path);
        log_error("A request was not answered", "verb", q->pub.info.verb, "path", q->pub.info.path);
        api_reply_error(&q->pub, err);
    }
    request_done(q);
}

static bool long_running(const char *subresource)
{
    static const char *const names[] = {"log", "exec", "attach", "portforward", "proxy"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(subresource, names[i]))
            return true;
    return false;
}

/* Subresources whose GET shows the object itself. */
static bool shows_whole(const char *subresource)
{
    static const char *const names[] = {"status", "approval", "ephemeralcontainers", "resize"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(subresource, names[i]))
            return true;
    return false;
}

static const struct subresource *find_subresource(const struct resource *r, const char *name)
{
    for (const struct subresource *s = r->subresources; s && s->name; s++)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}

/* Is there such a path at all, and does it take this verb? */
static bool check_route(struct api_request *req, enum resource_verb verb, struct error **err)
{
    struct request_info *i = &req->info;
    const struct resource *r = req->resource = resource_find(i->group, i->version, i->resource);
    if (!r) {
        api_error_unknown_path(err);
        return false;
    }
    bool is_namespace = !*r->group && !strcmp(r->plural, "namespaces");
    bool collection_of_all = !*i->name && !*i->ns;
    if (!r->namespaced && *i->ns && !is_namespace) {
        api_error_unknown_path(err);
        return false;
    }
    unsigned verbs = r->verbs;
    if (*i->subresource) {
        req->subresource = find_subresource(r, i->subresource);
        if (!req->subresource) {
            api_error_unknown_path(err);
            return false;
        }
        verbs = req->subresource->verbs;
    }
    bool missing_namespace = r->namespaced && !*i->ns && (verb != VERB_LIST && verb != VERB_WATCH);
    if (missing_namespace && !collection_of_all && r->storage_prefix) {
        api_error_unknown_path(err);
        return false;
    }
    bool wants_name =
        verb == VERB_UPDATE || verb == VERB_PATCH || verb == VERB_DELETE || verb == VERB_GET;
    bool refuses_name = verb == VERB_CREATE && !*i->subresource;
    if (!verb || !(verbs & verb) || (missing_namespace && r->storage_prefix) ||
        (wants_name && !*i->name) || (refuses_name && *i->name)) {
        api_error_method_not_allowed(err);
        return false;
    }
    return true;
}

static void serve_resource(struct server_request *q)
{
    struct api_request *req = &q->pub;
    cleanup_error struct error *err = NULL;
    enum resource_verb verb = request_verb(req->info.verb);
    bool proxied = !strcmp(req->info.subresource, "proxy"); /* it says itself what it takes */
    if (!check_route(req, verb, &err) || (!proxied &&
        !accept_parse(httpd_header(req->http, "Accept"), req->resource, verb == VERB_WATCH,
                      &req->accept, &err))) {
        reply_error_done(q, err);
        return;
    }
    if (req->resource->deprecation)
        api_warn(req, req->resource->deprecation);
    if (*req->info.subresource && long_running(req->info.subresource)) {
        request_defer(q);
        q->work = run_registry;
        if (!workers_add_long(q->server->workers, q))
            too_many(q);
        return;
    }
    if (verb != VERB_WATCH) { /* what lasts is not limited by its number */
        q->counted = verb == VERB_GET || verb == VERB_LIST ? READ_ONLY : MUTATING;
        health_under_way(q->counted, 1);
    }
    bool plain_read = !*req->info.subresource || shows_whole(req->info.subresource);
    if (req->resource->read && !*req->info.subresource)
        request_to_worker(q, run_registry);
    else if (verb == VERB_GET && plain_read)
        serve_get(q);
    else if (verb == VERB_LIST)
        serve_list(q);
    else if (verb == VERB_WATCH)
        serve_watch(q);
    else
        request_to_worker(q, run_registry);
}

static bool wants_pretty(const struct httpd_request *http)
{
    const char *pretty = *httpd_query_string(http) ? httpd_query(http, "pretty") : NULL;
    if (pretty)
        return !strcmp(pretty, "true") || !strcmp(pretty, "1") || !*pretty;
    const char *agent = httpd_header(http, "User-Agent"); /* people who look with their own eyes */
    return agent && (!strncmp(agent, "curl", 4) || !strncmp(agent, "Wget", 4) ||
                     !strncmp(agent, "Mozilla/5.0", 11));
}

static struct server_request *new_request(struct api_server *s, struct httpd_request *http)
{
    struct server_request *q = mem_alloc(sizeof *q);
    q->server = s;
    q->pub.http = http;
    q->pub.storage = s->storage;
    q->pub.config = &s->config;
    q->pub.started_us = monotonic_us();
    q->pub.accept = (struct api_accept){
        .form = FORM_OBJECT, .meta_version = "v1", .pretty = wants_pretty(http)};
    bool query = *httpd_query_string(http) != 0;
    request_info_parse(httpd_method(http), httpd_path(http),
                       query ? httpd_query(http, "watch") : NULL,
                       query ? httpd_query(http, "fieldSelector") : NULL, &q->pub.info);
    const char *encodings = httpd_header(http, "Accept-Encoding");
    q->gzip = encodings && strstr(encodings, "gzip") != NULL &&
              (!strcmp(q->pub.info.verb, "get") || !strcmp(q->pub.info.verb, "list"));
    set_audit_id(&q->pub);
    return q;
}

static void on_request(struct httpd_request *http, void *userdata)
{
    struct api_server *s = userdata;
    struct server_request *q = new_request(s, http);
    struct api_request *req = &q->pub;
    cleanup_error struct error *err = NULL;
    if (!auth_authenticate(req, &err) || !auth_authorize(req, &err)) {
        reply_error_done(q, err);
        return;
    }
    if (req->info.is_resource) {
        serve_resource(q);
        return;
    }
    if (health_serve(q))
        return;
    if (discovery_serve(req) || openapi_serve(req) || token_issuer_serve(req)) {
        request_done(q);
        return;
    }
    api_error_unknown_path(&err);
    reply_error_done(q, err);
}

static void on_too_large(struct httpd_request *http, void *userdata)
{
    struct server_request *q = new_request(userdata, http);
    cleanup_error struct error *err = NULL;
    error_set(&err, 413, "RequestEntityTooLarge", "Request entity too large: limit is %zu",
              MAX_BODY);
    reply_error_done(q, err);
}

bool server_start(struct api_server *s, const struct api_server_options *o, struct error **err)
{
    health_init();
    s->workers = workers_start(o->worker_threads);
    s->watches = watches_start(s->storage);
    cleanup_free char *address =
        strchr(o->bind_address, ':')
            ? mem_printf("[%s]:%lld", o->bind_address, (long long)o->secure_port)
            : mem_printf("%s:%lld", o->bind_address, (long long)o->secure_port);
    struct httpd_options h = {
        .address = address,
        .cert_file = o->cert_file,
        .key_file = o->key_file,
        .client_ca_file = o->client_ca_file,
        .threads = o->io_threads,
        .max_body = MAX_BODY,
        .idle_timeout_seconds = 180,
        .handler = on_request,
        .too_large = on_too_large,
        .userdata = s,
    };
    s->httpd = httpd_start(&h, err);
    return s->httpd != NULL;
}

void server_stop(struct api_server *s)
{
    watches_stop(s->watches);
    httpd_stop(s->httpd);
    workers_stop(s->workers);
}
