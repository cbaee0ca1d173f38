/* Answers: the headers that all have, the form and the encoding that the client wants. */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "apiserver/registry/table.h"
#include "apiserver/schema/protobuf.h"
#include "apiserver/server/server.h"
#include "common/yaml.h"
#include "common/json.h"
#include "common/mem.h"

#define GZIP_MIN ((size_t)128 * 1024) /* Kubernetes' threshold */

static void add_warnings(struct api_request *req)
{
    const cJSON *w;
    cJSON_ArrayForEach(w, req->warnings)
    {
        cleanup_buf struct buf b = {0};
        buf_adds(&b, "299 - \"");
        for (const char *p = w->valuestring; *p; p++) {
            if (*p == '"' || *p == '\\')
                buf_addc(&b, '\\');
            buf_addc(&b, (unsigned char)*p < ' ' ? ' ' : *p);
        }
        buf_addc(&b, '"');
        httpd_add_header(req->http, "Warning", b.data);
    }
}

struct httpd_request *api_answered(struct api_request *req, int status)
{
    struct httpd_request *http = req->http;
    add_warnings(req);
    httpd_add_header(http, "Audit-Id", req->audit_id);
    httpd_add_header(http, "Cache-Control", "no-cache, private");
    req->status = status;
    req->http = NULL;
    health_count((const struct server_request *)req);
    return http;
}

void api_warn(struct api_request *req, const char *text)
{
    const cJSON *w;
    cJSON_ArrayForEach(w, req->warnings)
    {
        if (!strcmp(w->valuestring, text))
            return;
    }
    if (!req->warnings)
        req->warnings = cJSON_CreateArray();
    cJSON_AddItemToArray(req->warnings, cJSON_CreateString(text));
}

void api_warn_fn(void *req, const char *text)
{
    api_warn(req, text);
}

bool api_user_in_group(const struct api_user *u, const char *group)
{
    for (char **g = u->groups; g && *g; g++)
        if (!strcmp(*g, group))
            return true;
    return false;
}

void json_indent(const char *text, size_t len, struct buf *out)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (in_string) {
            buf_addc(out, c);
            if (c == '\\' && i + 1 < len)
                buf_addc(out, text[++i]);
            else if (c == '"')
                in_string = false;
            continue;
        }
        bool empty =
            i + 1 < len && ((c == '{' && text[i + 1] == '}') || (c == '[' && text[i + 1] == ']'));
        switch (c) {
        case '"':
            in_string = true;
            buf_addc(out, c);
            break;
        case '{':
        case '[':
        case ',':
            buf_addc(out, c);
            if (empty) {
                buf_addc(out, text[++i]);
                break;
            }
            depth += c != ',';
            buf_addc(out, '\n');
            for (size_t d = 0; d < depth; d++)
                buf_adds(out, "  ");
            break;
        case '}':
        case ']':
            depth -= depth > 0;
            buf_addc(out, '\n');
            for (size_t d = 0; d < depth; d++)
                buf_adds(out, "  ");
            buf_addc(out, c);
            break;
        case ':':
            buf_adds(out, ": ");
            break;
        default:
            buf_addc(out, c);
        }
    }
}

static bool compress_gzip(const char *text, size_t len, char **out, size_t *out_len)
{
    z_stream z = {0};
    if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t room = deflateBound(&z, len);
    *out = mem_alloc(room);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)len;
    z.next_out = (Bytef *)*out;
    z.avail_out = (uInt)room;
    bool ok = len < UINT32_MAX && deflate(&z, Z_FINISH) == Z_STREAM_END;
    *out_len = z.total_out;
    deflateEnd(&z);
    if (ok)
        *out = mem_realloc(*out, *out_len + 1);
    else
        free(*out);
    return ok;
}

/* JSON in the media type that the client asked for; false when it cannot be shown in that one. */
static bool translate(const struct api_accept *a, const char *text, size_t len, struct buf *out)
{
    cleanup_json cJSON *object = json_parse(text, len, NULL);
    if (!object)
        return false;
    if (a->protobuf)
        return protobuf_encode(object, out);
    yaml_print(object, out);
    return true;
}

void reply_text(struct server_request *q, int status, char *text, size_t len)
{
    const struct api_accept *a = &q->pub.accept;
    struct buf other = {0};
    if ((a->protobuf || a->yaml) && translate(a, text, len, &other)) {
        free(text);
        len = other.len;
        reply_encoded(q, status, a->protobuf ? PROTOBUF_MEDIA_TYPE : "application/yaml",
                      buf_take(&other), len);
        return;
    }
    if (a->pretty) {
        struct buf b = {0};
        json_indent(text, len, &b);
        buf_addc(&b, '\n');
        free(text);
        len = b.len;
        text = buf_take(&b);
    }
    reply_encoded(q, status, "application/json", text, len);
}

void reply_encoded(struct server_request *q, int status, const char *type, char *text, size_t len)
{
    char *packed;
    size_t packed_len;
    if (q->gzip && len >= GZIP_MIN && status == 200 &&
        compress_gzip(text, len, &packed, &packed_len)) {
        free(text);
        text = packed;
        len = packed_len;
        httpd_add_header(q->pub.http, "Content-Encoding", "gzip");
        httpd_add_header(q->pub.http, "Vary", "Accept-Encoding");
    }
    httpd_reply_take(api_answered(&q->pub, status), status, type, text, len);
}

bool reply_is_plain(const struct server_request *q, size_t len)
{
    const struct api_accept *a = &q->pub.accept;
    return !a->pretty && !a->protobuf && !a->yaml && !(q->gzip && len >= GZIP_MIN);
}

void reply_bytes(struct server_request *q, int status, const char *text, size_t len,
                 void (*release)(void *), void *owner)
{
    if (!reply_is_plain(q, len)) {
        reply_text(q, status, mem_dup(text, len), len);
        release(owner);
        return;
    }
    httpd_reply_shared(api_answered(&q->pub, status), status, "application/json", text, len,
                       release, owner);
}

static void reply_buf(struct api_request *req, int status, struct buf *b)
{
    size_t len = b->len;
    reply_text((struct server_request *)req, status, buf_take(b), len);
}

void api_reply_json(struct api_request *req, int status, const cJSON *object)
{
    struct buf b = {0};
    bool plain = !strcmp(json_str_or(object, "kind", ""), "Status") || !req->resource;
    if (!plain && req->accept.form == FORM_TABLE) {
        enum table_include include;
        if (!table_parse_include(httpd_query(req->http, "includeObject"), &include))
            include = TABLE_INCLUDE_METADATA;
        const cJSON *items = json_get(object, "items"), *e;
        if (cJSON_IsArray(items)) { /* a list of what is not stored */
            const char *version = req->accept.meta_version;
            table_open(&b, req->resource, version, NULL, NULL, -1, true);
            cJSON_ArrayForEach(e, items)
                table_row(&b, req->resource, version, e, NULL, 0, include, e == items->child);
            table_close(&b);
        } else {
            table_one(&b, req->resource, req->accept.meta_version, object, include);
        }
    } else if (!plain && req->accept.form == FORM_PARTIAL_METADATA) {
        table_partial_metadata(&b, req->accept.meta_version, object);
    } else {
        json_print(object, &b);
    }
    reply_buf(req, status, &b);
}

static void release_stored(void *s)
{
    stored_unref(s);
}

void api_reply_stored(struct api_request *req, int status, struct stored *s)
{
    const struct resource *r = req->resource;
    if (req->accept.form == FORM_OBJECT && !r->from_stored) {
        reply_bytes((struct server_request *)req, status, s->json, s->len, release_stored,
                    stored_ref(s));
        return;
    }
    cleanup_json cJSON *object = json_parse(s->json, s->len, NULL);
    cleanup_json cJSON *converted = r->from_stored ? r->from_stored(r, object) : NULL;
    api_reply_json(req, status, converted ? converted : object);
}

/* Clients come again by themselves after that time; without the header they tell their users. */
static void add_retry_after(struct api_request *req, const struct error *err)
{
    const char *at = err->details ? strstr(err->details, "\"retryAfterSeconds\":") : NULL;
    long seconds = at ? strtol(at + sizeof "\"retryAfterSeconds\":" - 1, NULL, 10) : 0;
    if (err->code == 503 && !err->details) /* of our own: it passes */
        seconds = 1;
    if (seconds <= 0)
        return;
    char text[24];
    snprintf(text, sizeof text, "%ld", seconds);
    httpd_add_header(req->http, "Retry-After", text);
}

void api_reply_error(struct api_request *req, const struct error *err)
{
    struct buf b = {0};
    int code = err->code ? err->code : 500;
    if (err->code) {
        status_print(err, &b);
    } else {
        cleanup_error struct error *wrapped = NULL;
        error_set(&wrapped, 500, "InternalError", "Internal error occurred: %s", err->message);
        cleanup_json cJSON *cause = cJSON_CreateObject(), *causes = cJSON_CreateArray();
        json_map_set_str(cause, "message", err->message);
        cJSON_AddItemToArray(causes, json_dup(cause));
        wrapped->details = api_error_details(NULL, NULL, json_dup(causes));
        status_print(wrapped, &b);
    }
    add_retry_after(req, err);
    reply_buf(req, code, &b);
}

void api_reply_success(struct api_request *req, const char *name, const char *uid)
{
    cleanup_json cJSON *s = cJSON_CreateObject(), *d = cJSON_CreateObject();
    json_map_set_str(s, "kind", "Status");
    json_map_set_str(s, "apiVersion", "v1");
    json_map_set(s, "metadata", cJSON_CreateObject());
    json_map_set_str(s, "status", "Success");
    if (name && *name)
        json_map_set_str(d, "name", name);
    if (req->resource) {
        if (*req->resource->group)
            json_map_set_str(d, "group", req->resource->group);
        json_map_set_str(d, "kind", req->resource->plural);
    }
    if (uid)
        json_map_set_str(d, "uid", uid);
    json_map_set(s, "details", json_dup(d));
    api_reply_json(req, 200, s);
}
