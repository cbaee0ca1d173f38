/* Errors in Kubernetes' words, and metav1.Status. */
#include <stdarg.h>
#include <string.h>

#include "apiserver/server/server.h"
#include "common/json.h"
#include "common/mem.h"

void api_resource_text(const struct resource *r, struct buf *out)
{
    buf_adds(out, r->plural);
    if (*r->group) {
        buf_addc(out, '.');
        buf_adds(out, r->group);
    }
}

char *api_error_details(const struct resource *r, const char *name, cJSON *causes)
{
    cleanup_json cJSON *d = cJSON_CreateObject();
    if (name && *name)
        json_map_set_str(d, "name", name);
    if (r) {
        if (*r->group)
            json_map_set_str(d, "group", r->group);
        json_map_set_str(d, "kind", r->plural);
    }
    if (causes)
        json_map_set(d, "causes", causes);
    return json_text(d);
}

static void set_named(struct error **err, int code, const char *reason, const struct resource *r,
                      const char *name, const char *message)
{
    if (!err)
        return;
    error_set(err, code, reason, "%s", message);
    (*err)->details = api_error_details(r, name, NULL);
}

void api_error_not_found(struct error **err, const struct resource *r, const char *name)
{
    cleanup_buf struct buf b = {0};
    api_resource_text(r, &b);
    buf_printf(&b, " \"%s\" not found", name);
    set_named(err, 404, "NotFound", r, name, b.data);
}

void api_error_already_exists(struct error **err, const struct resource *r, const char *name)
{
    cleanup_buf struct buf b = {0};
    api_resource_text(r, &b);
    buf_printf(&b, " \"%s\" already exists", name);
    set_named(err, 409, "AlreadyExists", r, name, b.data);
}

void api_error_conflict(struct error **err, const struct resource *r, const char *name,
                        const char *why)
{
    cleanup_buf struct buf b = {0};
    buf_adds(&b, "Operation cannot be fulfilled on ");
    api_resource_text(r, &b);
    buf_printf(&b, " \"%s\": %s", name, why);
    set_named(err, 409, "Conflict", r, name, b.data);
}

void api_error_forbidden(struct error **err, const struct resource *r, const char *name,
                         const char *why)
{
    cleanup_buf struct buf b = {0};
    api_resource_text(r, &b);
    if (name && *name)
        buf_printf(&b, " \"%s\"", name);
    buf_printf(&b, " is forbidden: %s", why);
    set_named(err, 403, "Forbidden", r, name, b.data);
}

void api_error_bad_request(struct error **err, const char *fmt, ...)
{
    struct buf b = {0};
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof text) {
        buf_reserve(&b, (size_t)n + 1);
        va_start(ap, fmt);
        vsnprintf(b.data, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    error_set(err, 400, "BadRequest", "%s", b.data ? b.data : text);
    buf_free(&b);
}

void api_error_method_not_allowed(struct error **err)
{
    error_set(err, 405, "MethodNotAllowed",
              "the server does not allow this method on the requested resource");
    if (err)
        (*err)->details = mem_strdup("{}");
}

void api_error_unknown_path(struct error **err)
{
    error_set(err, 404, "NotFound", "the server could not find the requested resource");
    if (err)
        (*err)->details = mem_strdup("{}");
}

void status_print(const struct error *err, struct buf *out)
{
    int code = err->code ? err->code : 500;
    const char *reason = err->code ? err->reason : "InternalError";
    buf_adds(out, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":"
                  "\"Failure\",\"message\":");
    json_print_string(err->message, strlen(err->message), out);
    if (reason && *reason) {
        buf_adds(out, ",\"reason\":");
        json_print_string(reason, strlen(reason), out);
    }
    if (err->details) {
        buf_adds(out, ",\"details\":");
        buf_adds(out, err->details);
    }
    buf_printf(out, ",\"code\":%d}", code);
}
