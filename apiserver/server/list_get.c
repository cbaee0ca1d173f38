/* GET and LIST: from the watch cache, at the revision that was asked for. */
#include <inttypes.h>
#include <string.h>

#include "apiserver/registry/table.h"
#include "apiserver/schema/protobuf.h"
#include "apiserver/server/server.h"
#include "common/json.h"
#include "common/mem.h"

/* A list of up to this many objects is written where the answer becomes known; a longer one on a
 * worker. */
#define SMALL_LIST 100
/* From this many bytes on a list is not put together in memory. */
#define LONG_LIST ((size_t)64 * 1024)

/* --- GET --- */

static void get_ready(void *userdata, const struct error *failed)
{
    struct server_request *q = userdata;
    struct api_request *req = &q->pub;
    if (failed) {
        reply_error_done(q, failed);
        return;
    }
    struct stored *s = cache_get(storage_cache(req->storage, req->resource),
                                 req->resource->namespaced ? req->info.ns : "", req->info.name);
    if (s) {
        api_reply_stored(req, 200, s);
        stored_unref(s);
        request_done(q);
        return;
    }
    cleanup_error struct error *err = NULL;
    api_error_not_found(&err, req->resource, req->info.name);
    reply_error_done(q, err);
}

void serve_get(struct server_request *q)
{
    struct api_request *req = &q->pub;
    const char *revision =
        *httpd_query_string(req->http) ? httpd_query(req->http, "resourceVersion") : NULL;
    if (!revision || !*revision) {
        request_defer(q);
        storage_consistent(req->storage, get_ready, q);
        return;
    }
    struct list_options o;
    cleanup_error struct error *err = NULL;
    bool ok = list_options_parse(req->http, false, &o, &err);
    uint64_t at = o.revision;
    list_options_clear(&o);
    if (!ok) {
        reply_error_done(q, err);
        return;
    }
    request_defer(q);
    storage_wait_revision(req->storage, at, get_ready, q);
}

/* --- LIST --- */

struct list {
    struct list_options options;
    struct object_filter filter;
    struct cache *cache;
    enum table_include include;
    struct tree_root *root; /* what to list from, as of revision */
    uint64_t revision;
    /* The result. */
    struct stored **items; /* borrowed from root, or owned when root is NULL */
    size_t count, cap;
    int64_t remaining; /* -1: not said */
    char *token;
};

static void list_free(void *p)
{
    struct list *l = p;
    if (!l->root)
        for (size_t i = 0; i < l->count; i++)
            stored_unref(l->items[i]);
    free(l->items);
    tree_root_unref(l->root);
    list_options_clear(&l->options);
    filter_clear(&l->filter);
    free(l->token);
    free(l);
}

static void add_item(struct list *l, struct stored *s)
{
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 32;
        l->items = mem_realloc(l->items, l->cap * sizeof *l->items);
    }
    l->items[l->count++] = s;
}

/* Whether the list goes on behind the last item, the token says from where. */
static void set_token(struct list *l, uint64_t revision)
{
    cleanup_buf struct buf prefix = {0};
    cache_prefix(l->cache, NULL, &prefix);
    l->token = continue_token(revision, l->items[l->count - 1]->key + prefix.len);
}

/* How many objects with the prefix follow, without looking at each. */
static int64_t count_rest(const struct tree_root *root, const struct tree_cursor *from,
                          const char *prefix)
{
    struct tree_cursor end;
    cleanup_free char *behind = mem_strdup(prefix);
    behind[strlen(behind) - 1]++; /* prefixes end in a slash */
    tree_seek(&end, root, behind, false);
    return (int64_t)tree_distance(from, &end);
}

static void collect(struct list *l)
{
    cleanup_buf struct buf prefix = {0}, from = {0};
    cache_prefix(l->cache, l->filter.ns, &prefix);
    if (l->options.has_continue) {
        cache_prefix(l->cache, NULL, &from);
        buf_adds(&from, l->options.continue_after);
    }
    struct tree_cursor cursor;
    tree_seek(&cursor, l->root, from.len ? from.data : prefix.data, from.len > 0);
    size_t limit = l->options.limit ? (size_t)l->options.limit : SIZE_MAX;
    int64_t more = 0;
    struct stored *s;
    while ((l->count < limit || l->filter.selects) && (s = tree_next(&cursor)) &&
           !strncmp(s->key, prefix.data, prefix.len)) {
        if (!filter_matches(&l->filter, s))
            continue;
        if (l->count < limit) {
            add_item(l, s);
            continue;
        }
        more = 1; /* Kubernetes says no number then */
        break;
    }
    if (!l->filter.selects && l->count == limit)
        more = count_rest(l->root, &cursor, prefix.data);
    l->remaining = more && !l->filter.selects ? more : -1;
    if (more && l->count) {
        set_token(l, l->revision);
        cache_remember(l->cache, l->root, l->revision);
    }
}

static void print_list_meta(const struct list *l, const char *kind, const char *api_version,
                            struct buf *b)
{
    buf_printf(b,
               "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"%" PRIu64
               "\"",
               kind, api_version, l->revision);
    if (l->token)
        buf_printf(b, ",\"continue\":\"%s\"", l->token);
    if (l->token && l->remaining > 0)
        buf_printf(b, ",\"remainingItemCount\":%" PRId64, l->remaining);
    buf_adds(b, "},\"items\":[");
}

static void print_head(const struct resource *r, const struct list *l, struct buf *b)
{
    cleanup_free char *list_kind = resource_list_kind(r),
                      *version = mem_printf("%s%s%s", r->group, *r->group ? "/" : "", r->version);
    print_list_meta(l, list_kind, version, b);
}

static cJSON *parse_item(const struct resource *r, const struct stored *s)
{
    cJSON *object = json_parse(s->json, s->len, NULL);
    if (!r->from_stored || !object)
        return object;
    cJSON *converted = r->from_stored(r, object);
    cJSON_Delete(object);
    return converted;
}

static void print_objects(const struct server_request *q, const struct list *l, struct buf *b)
{
    const struct resource *r = q->pub.resource;
    size_t size = 256;
    for (size_t i = 0; i < l->count; i++)
        size += l->items[i]->len + 1;
    buf_reserve(b, size);
    print_head(r, l, b);
    for (size_t i = 0; i < l->count; i++) {
        if (i)
            buf_addc(b, ',');
        if (!r->from_stored) {
            buf_add(b, l->items[i]->json, l->items[i]->len);
        } else {
            cleanup_json cJSON *object = parse_item(r, l->items[i]);
            json_print(object, b);
        }
    }
    buf_adds(b, "]}");
}

/* --- a long list, sent out of the snapshot without being put together first --- */

struct long_list {
    struct list *list; /* owned: holds the items */
    struct buf head;
    /* Where the sending is: in the head (0), before or in an item (2 * its number + 1, + 2), in the
     * tail. */
    size_t part, within;
};

static const char *part_of(const struct long_list *x, size_t part, size_t *len)
{
    if (part == 0) {
        *len = x->head.len;
        return x->head.data;
    }
    size_t item = (part - 1) / 2;
    if (item == x->list->count) {
        *len = part % 2 ? 2 : 0;
        return "]}";
    }
    if (part % 2) {
        *len = item ? 1 : 0;
        return ",";
    }
    *len = x->list->items[item]->len;
    return x->list->items[item]->json;
}

static size_t fill_list(void *owner, uint64_t at, char *out, size_t max)
{
    struct long_list *x = owner;
    size_t done = 0;
    (void)at; /* in order */
    while (done < max && x->part <= 2 * x->list->count + 1) {
        size_t len;
        const char *text = part_of(x, x->part, &len);
        size_t n = len - x->within < max - done ? len - x->within : max - done;
        memcpy(out + done, text + x->within, n);
        done += n;
        x->within += n;
        if (x->within == len) {
            x->part++;
            x->within = 0;
        }
    }
    return done;
}

static void long_list_free(void *owner)
{
    struct long_list *x = owner;
    list_free(x->list);
    buf_free(&x->head);
    free(x);
}

/* False: it is short, or wanted in another form. */
static bool reply_long_list(struct server_request *q)
{
    struct list *l = q->state;
    size_t size = 0;
    for (size_t i = 0; i < l->count; i++)
        size += l->items[i]->len + 1;
    if (q->pub.accept.form != FORM_OBJECT || q->pub.resource->from_stored || size < LONG_LIST ||
        !reply_is_plain(q, size))
        return false;
    struct long_list *x = mem_alloc(sizeof *x);
    x->list = l;
    q->state = NULL;
    q->state_free = NULL;
    print_head(q->pub.resource, l, &x->head);
    httpd_reply_pieces(api_answered(&q->pub, 200), 200, "application/json",
                       x->head.len + size - (l->count > 0) + 2, fill_list, long_list_free, x);
    request_done(q);
    return true;
}

static void print_partial(const struct server_request *q, const struct list *l, struct buf *b)
{
    cleanup_free char *version = mem_printf("meta.k8s.io/%s", q->pub.accept.meta_version);
    print_list_meta(l, "PartialObjectMetadataList", version, b);
    for (size_t i = 0; i < l->count; i++) {
        if (i)
            buf_addc(b, ',');
        cleanup_json cJSON *object = parse_item(q->pub.resource, l->items[i]);
        table_partial_metadata(b, q->pub.accept.meta_version, object);
    }
    buf_adds(b, "]}");
}

static void print_table(const struct server_request *q, const struct list *l, struct buf *b)
{
    const struct resource *r = q->pub.resource;
    char revision[24];
    snprintf(revision, sizeof revision, "%" PRIu64, l->revision);
    table_open(b, r, q->pub.accept.meta_version, revision, l->token, l->token ? l->remaining : -1,
               true);
    for (size_t i = 0; i < l->count; i++) {
        cleanup_json cJSON *object = parse_item(r, l->items[i]);
        table_row(b, r, q->pub.accept.meta_version, object,
                  r->from_stored ? NULL : l->items[i]->json, l->items[i]->len, l->include, i == 0);
    }
    table_close(b);
}

/* Item by item: a long list as one document in memory would be many times its size. */
static bool reply_protobuf(struct server_request *q, const struct list *l)
{
    const struct resource *r = q->pub.resource;
    bool partial = q->pub.accept.form == FORM_PARTIAL_METADATA;
    cleanup_buf struct buf head = {0};
    if (partial) {
        print_list_meta(l, "PartialObjectMetadataList", "meta.k8s.io/v1", &head);
    } else {
        print_head(r, l, &head);
    }
    buf_adds(&head, "]}");
    cleanup_json cJSON *list = json_parse(head.data, head.len, NULL);
    struct protobuf_list p;
    if (!protobuf_list_open(&p, list))
        return false;
    for (size_t i = 0; i < l->count; i++) {
        cleanup_json cJSON *object = parse_item(r, l->items[i]);
        protobuf_list_add(&p, object); /* of PartialObjectMetadata: what it has, the metadata */
    }
    struct buf b = {0};
    protobuf_list_close(&p, &b);
    size_t len = b.len;
    reply_encoded(q, 200, PROTOBUF_MEDIA_TYPE, buf_take(&b), len);
    return true;
}

static void reply_list(struct server_request *q)
{
    struct list *l = q->state;
    struct buf b = {0};
    if (q->pub.accept.protobuf && reply_protobuf(q, l)) {
        request_done(q);
        return;
    }
    if (reply_long_list(q))
        return;
    switch (q->pub.accept.form) {
    case FORM_OBJECT:
        print_objects(q, l, &b);
        break;
    case FORM_PARTIAL_METADATA:
        print_partial(q, l, &b);
        break;
    case FORM_TABLE:
        print_table(q, l, &b);
        break;
    }
    size_t len = b.len;
    reply_text(q, 200, buf_take(&b), len);
    request_done(q);
}

static void list_from_snapshot(struct server_request *q)
{
    collect(q->state);
    reply_list(q);
}

/* l->root and l->revision are set. */
static void dispatch(struct server_request *q)
{
    struct list *l = q->state;
    if (tree_count(l->root) <= SMALL_LIST && q->pub.accept.form == FORM_OBJECT &&
        !q->pub.accept.pretty && !q->pub.accept.protobuf && !q->pub.accept.yaml)
        list_from_snapshot(q);
    else
        request_to_worker(q, list_from_snapshot);
}

static void list_ready(void *userdata, const struct error *failed)
{
    struct server_request *q = userdata;
    struct list *l = q->state;
    if (failed) {
        reply_error_done(q, failed);
        return;
    }
    l->root = cache_snapshot(l->cache, &l->revision);
    dispatch(q);
}

/* 410 with a token that goes on from the newest state. */
static void reply_expired(struct server_request *q)
{
    struct list *l = q->state;
    struct buf b = {0};
    cleanup_error struct error *err = NULL;
    if (!l->options.has_continue) {
        error_set(&err, 410, "Expired", "The resourceVersion for the provided list is too old.");
        reply_error_done(q, err);
        return;
    }
    cleanup_free char *token = continue_token(0, l->options.continue_after);
    buf_printf(&b,
               "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{\"continue\":\"%s\"},"
               "\"status\":\"Failure\",\"message\":\""
               "The provided continue parameter is too old to display a consistent list result. "
               "You can start a new list without "
               "the continue parameter, or use the continue token in this response to retrieve the "
               "remainder of the results. "
               "Continuing with the provided token results in an inconsistent list - objects that "
               "were created, modified, or "
               "deleted between the time the first chunk was returned and now may show up in the "
               "list.\",\"reason\":\"Expired\","
               "\"code\":410}",
               token);
    size_t len = b.len;
    reply_text(q, 410, buf_take(&b), len);
    request_done(q);
}

/* On a worker: the cache has not kept that revision, the store may have. */
static void list_from_store(struct server_request *q)
{
    struct list *l = q->state;
    cleanup_free char *after = NULL;
    if (l->options.has_continue) {
        cleanup_buf struct buf prefix = {0};
        cache_prefix(l->cache, NULL, &prefix);
        after = mem_printf("%s%s", prefix.data, l->options.continue_after);
    }
    size_t limit = l->filter.selects ? 0 : (size_t)l->options.limit;
    struct stored **items = NULL;
    size_t count = 0;
    int64_t remaining = 0;
    cleanup_error struct error *err = NULL;
    if (!storage_range_at(q->pub.storage, q->pub.resource, l->filter.ns, after, l->revision, limit,
                          &items, &count, &remaining, &err)) {
        if (err->code == 410)
            reply_expired(q);
        else
            reply_error_done(q, err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        bool full = l->options.limit && l->count == (size_t)l->options.limit;
        if (!full && filter_matches(&l->filter, items[i])) {
            add_item(l, items[i]);
            continue;
        }
        remaining += full;
        stored_unref(items[i]);
    }
    free(items);
    l->remaining = l->filter.selects || !remaining ? -1 : remaining;
    if (remaining > 0 && l->count)
        set_token(l, l->revision);
    reply_list(q);
}

static void list_at(struct server_request *q, uint64_t revision)
{
    struct list *l = q->state;
    l->revision = revision;
    l->root = cache_snapshot_at(l->cache, revision);
    if (l->root)
        dispatch(q);
    else
        request_to_worker(q, list_from_store);
}

static bool list_prepare(struct server_request *q, struct list *l, struct error **err)
{
    struct api_request *req = &q->pub;
    const struct httpd_request *http = req->http;
    l->cache = storage_cache(req->storage, req->resource);
    if (!l->cache) {
        api_error_method_not_allowed(err);
        return false;
    }
    if (req->accept.form == FORM_TABLE &&
        !table_parse_include(httpd_query(http, "includeObject"), &l->include)) {
        api_error_bad_request(err, "includeObject: Unsupported value: supported values: "
                                   "\"Metadata\", \"None\", \"Object\"");
        return false;
    }
    return list_options_parse(http, false, &l->options, err) &&
           filter_parse(req->resource, req->resource->namespaced ? req->info.ns : "",
                        httpd_query(http, "labelSelector"), httpd_query(http, "fieldSelector"),
                        &l->filter, err);
}

/* An exact revision that the cache is to reach first. */
static void exact_ready(void *userdata, const struct error *failed)
{
    struct server_request *q = userdata;
    struct list *l = q->state;
    if (failed)
        reply_error_done(q, failed);
    else
        list_at(q, l->options.revision);
}

void serve_list(struct server_request *q)
{
    struct list *l = mem_alloc(sizeof *l);
    l->filter.ns = "";
    l->remaining = -1;
    q->state = l;
    q->state_free = list_free;
    cleanup_error struct error *err = NULL;
    if (!list_prepare(q, l, &err)) {
        reply_error_done(q, err);
        return;
    }
    struct list_options *o = &l->options;
    /* As Kubernetes' watch cache does: "any revision" has no pages, and pages of a revision that is
     * told without saying how to match it are of just that one. */
    if (!o->has_continue && o->has_revision && !o->revision)
        o->limit = 0;
    else if (!o->has_continue && o->has_revision && o->limit && o->match == MATCH_UNSET)
        o->match = MATCH_EXACT;
    request_defer(q);
    if (o->has_continue && o->continue_revision)
        list_at(q, o->continue_revision);
    else if (o->has_continue || !o->has_revision)
        storage_consistent(q->pub.storage, list_ready, q);
    else
        storage_wait_revision(q->pub.storage, o->revision,
                              o->match == MATCH_EXACT ? exact_ready : list_ready, q);
}
