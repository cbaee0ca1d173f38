/* /openapi/v2, /openapi/v3 and /openapi/v3/<api path>. Documents are made anew for each request: clients keep
 * them by their hash. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "apiserver/openapi/document.h"
#include "apiserver/openapi/gnostic.h"
#include "apiserver/openapi/groups.h"
#include "common/json.h"
#include "common/mem.h"

/* Hashes of the v3 documents by "group/version"; made anew when resources come or go. */
static struct {
    pthread_mutex_t lock;
    cJSON *hashes; /* object: "api/v1" -> hash */
    unsigned long generation; /* of the resources that they are of */
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static char *document_path(const struct resource *r)
{
    return *r->group ? mem_printf("apis/%s/%s", r->group, r->version) : mem_printf("api/%s", r->version);
}

/* A copy of the hashes. */
static cJSON *all_hashes(void)
{
    pthread_mutex_lock(&cache.lock);
    if (!cache.hashes || cache.generation != resource_generation()) {
        cJSON_Delete(cache.hashes);
        cache.hashes = cJSON_CreateObject();
        cache.generation = resource_generation();
        const struct resource_list *all = resource_all();
        for (size_t i = 0; i < all->count; i++) {
            if (!group_version_first(all, i))
                continue;
            cleanup_buf struct buf b = {0};
            openapi_document(&b, false, all->items[i]->group, all->items[i]->version);
            cleanup_free char *path = document_path(all->items[i]), *hash = document_hash(b.data, b.len);
            cJSON_AddStringToObject(cache.hashes, path, hash);
        }
    }
    cJSON *copy = json_dup(cache.hashes);
    pthread_mutex_unlock(&cache.lock);
    return copy;
}

/* gzip, when the client takes it. Takes text; NULL when it stays as it is. */
static char *compressed(const struct httpd_request *http, const char *text, size_t *len)
{
    const char *accepted = httpd_header(http, "Accept-Encoding");
    if (!accepted || !strstr(accepted, "gzip"))
        return NULL;
    z_stream z = {0};
    if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    size_t bound = deflateBound(&z, (uLong)*len);
    char *out = mem_alloc(bound);
    z.next_in = (Bytef *)text;
    z.avail_in = (uInt)*len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)bound;
    int done = deflate(&z, Z_FINISH);
    size_t n = bound - z.avail_out;
    deflateEnd(&z);
    if (done != Z_STREAM_END) {
        free(out);
        return NULL;
    }
    *len = n;
    return mem_realloc(out, n + 1);
}

/* Takes text. hash: of the uncompressed document. immutable: the client named the hash, so it may keep the
 * answer for ever. */
static void reply_large(struct api_request *req, const char *type, char *text, size_t len, const char *hash,
                        bool immutable)
{
    cleanup_free char *etag = mem_printf("\"%s\"", hash);
    const char *known = httpd_header(req->http, "If-None-Match");
    bool unchanged = known && strstr(known, etag);
    char *small = unchanged ? NULL : compressed(req->http, text, &len);
    struct httpd_request *http = api_answered(req, unchanged ? 304 : 200);
    httpd_add_header(http, "ETag", etag);
    httpd_add_header(http, "Vary", "Accept-Encoding");
    httpd_add_header(http, "Vary", "Accept");
    if (immutable)
        httpd_add_header(http, "Cache-Control", "public, immutable");
    if (small)
        httpd_add_header(http, "Content-Encoding", "gzip");
    if (unchanged) {
        free(text);
        httpd_reply(http, 304, type, "", 0);
    } else {
        if (small)
            free(text);
        httpd_reply_take(http, 200, type, small ? small : text, len);
    }
}

static void serve_index(struct api_request *req)
{
    cleanup_json cJSON *hashes = all_hashes(), *o = cJSON_CreateObject();
    cJSON *paths = cJSON_AddObjectToObject(o, "paths");
    for (const cJSON *h = hashes->child; h; h = h->next) {
        cleanup_free char *url = mem_printf("/openapi/v3/%s?hash=%s", h->string, h->valuestring);
        cJSON_AddStringToObject(cJSON_AddObjectToObject(paths, h->string), "serverRelativeURL", url);
    }
    struct buf b = {0};
    json_print(o, &b);
    size_t len = b.len;
    reply_document(req, "application/json", buf_take(&b), len, false);
}

static bool serve_v3(struct api_request *req, const char *path)
{
    cleanup_json cJSON *hashes = all_hashes();
    const char *hash = json_map_str(hashes, path), *asked = httpd_query(req->http, "hash");
    if (!hash)
        return false;
    if (asked && *asked && strcasecmp(asked, hash) != 0) {
        cleanup_free char *location = mem_printf("/openapi/v3/%s?hash=%s", path, hash);
        struct httpd_request *http = api_answered(req, 301);
        httpd_add_header(http, "Location", location);
        httpd_reply(http, 301, "text/plain", "", 0);
        return true;
    }
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->count; i++) {
        cleanup_free char *own = document_path(all->items[i]);
        if (strcmp(own, path) != 0)
            continue;
        struct buf b = {0};
        openapi_document(&b, false, all->items[i]->group, all->items[i]->version);
        size_t len = b.len;
        reply_large(req, "application/json", buf_take(&b), len, hash, asked && *asked);
        return true;
    }
    return false;
}

static void serve_v2(struct api_request *req)
{
    /* Asked for as "...spec.v2@v1.0+protobuf" by older clients too, but never answered so: '@' is no part of
     * a media type. */
    const char *accept = httpd_header(req->http, "Accept"), *type = "application/json";
    const char *proto = accept ? strstr(accept, "application/com.github.proto-openapi.spec.v2") : NULL;
    const char *json = accept ? strstr(accept, "application/json") : NULL;
    struct buf b = {0};
    openapi_document(&b, true, NULL, NULL);
    cleanup_free char *hash = document_hash(b.data, b.len);
    if (proto && (!json || proto < json)) {
        struct buf encoded = {0};
        gnostic_encode(b.data, b.len, &encoded);
        buf_free(&b);
        b = encoded;
        type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    }
    size_t len = b.len;
    cleanup_free char *tag = mem_printf("%s%s", hash, strcmp(type, "application/json") ? "-P" : "");
    reply_large(req, type, buf_take(&b), len, tag, false);
}

bool openapi_serve(struct api_request *req)
{
    const char *path = req->info.path, *method = httpd_method(req->http);
    if (strncmp(path, "/openapi/v", 10) != 0 || (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0))
        return false;
    if (!strcmp(path, "/openapi/v2")) {
        serve_v2(req);
        return true;
    }
    if (!strcmp(path, "/openapi/v3") || !strcmp(path, "/openapi/v3/")) {
        serve_index(req);
        return true;
    }
    return !strncmp(path, "/openapi/v3/", 12) && serve_v3(req, path + 12);
}
