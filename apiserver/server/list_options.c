/* metav1.ListOptions from the query, and continue tokens. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "apiserver/server/server.h"
#include "common/json.h"
#include "common/mem.h"

#define TOKEN_VERSION "meta.k8s.io/v1"

static void invalid(struct error **err, const char *field, const char *what, const char *message)
{
    if (!err)
        return;
    error_set(err, 422, "Invalid", "ListOptions.meta.k8s.io \"\" is invalid: %s: %s: %s", field,
              what, message);
    cleanup_json cJSON *d = cJSON_CreateObject();
    json_map_set_str(d, "group", "meta.k8s.io");
    json_map_set_str(d, "kind", "ListOptions");
    cJSON *cause = cJSON_CreateObject();
    json_map_set_str(cause, "reason",
                     !strcmp(what, "Forbidden") ? "FieldValueForbidden" : "FieldValueNotSupported");
    cleanup_free char *text = mem_printf("%s: %s", what, message);
    json_map_set_str(cause, "message", text);
    json_map_set_str(cause, "field", field);
    cJSON_AddItemToArray(json_ensure_array(d, "causes"), cause);
    (*err)->details = json_text(d);
}

static bool parse_uint(const char *text, uint64_t *out)
{
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return !errno;
}

static bool parse_bool(const struct httpd_request *http, const char *name, bool *given, bool *out,
                       struct error **err)
{
    const char *text = httpd_query(http, name);
    *out = false;
    if (!text)
        return true;
    if (given)
        *given = true;
    if (!*text || !strcmp(text, "1") || !strcasecmp(text, "true") || !strcasecmp(text, "t")) {
        *out = true; /* "?watch" means yes, as in Kubernetes' conversion */
        return true;
    }
    if (!strcmp(text, "0") || !strcasecmp(text, "false") || !strcasecmp(text, "f"))
        return true;
    api_error_bad_request(err, "strconv.ParseBool: parsing \"%s\": invalid syntax", text);
    return false;
}

static bool parse_int(const struct httpd_request *http, const char *name, int64_t *out,
                      struct error **err)
{
    const char *text = httpd_query(http, name);
    *out = 0;
    if (!text || !*text)
        return true;
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (!errno && !*end && (*text == '-' || (*text >= '0' && *text <= '9')))
        return true;
    api_error_bad_request(err, "strconv.ParseInt: parsing \"%s\": invalid syntax", text);
    return false;
}

static bool parse_match(const struct httpd_request *http, struct list_options *o,
                        struct error **err)
{
    const char *match = httpd_query(http, "resourceVersionMatch"),
               *revision = httpd_query(http, "resourceVersion");
    const char *field = "resourceVersionMatch";
    if (match && *match) {
        if (o->has_continue)
            return invalid(err, field, "Forbidden",
                           "resourceVersionMatch is forbidden when continue is provided"),
                   false;
        if (!o->has_revision && !o->has_initial_events)
            return invalid(err, field, "Forbidden",
                           "resourceVersionMatch is forbidden unless resourceVersion is provided"),
                   false;
        if (!strcmp(match, "Exact")) {
            o->match = MATCH_EXACT;
        } else if (!strcmp(match, "NotOlderThan")) {
            o->match = MATCH_NOT_OLDER;
        } else {
            cleanup_free char *text =
                mem_printf("\"%s\": supported values: \"Exact\", \"NotOlderThan\", \"\"", match);
            return invalid(err, field, "Unsupported value", text), false;
        }
        if (o->match == MATCH_EXACT && revision && !strcmp(revision, "0"))
            return invalid(err, field, "Forbidden",
                           "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\""),
                   false;
    }
    if (o->watch && o->has_initial_events && o->match != MATCH_NOT_OLDER)
        return invalid(err, field, "Forbidden",
                       "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
               false;
    if (o->watch && !o->has_initial_events && o->match != MATCH_UNSET)
        return invalid(err, field, "Forbidden",
                       "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
                       "provided"),
               false;
    if (!o->watch && o->has_initial_events)
        return invalid(err, "sendInitialEvents", "Forbidden",
                       "sendInitialEvents is forbidden for list"),
               false;
    return true;
}

bool list_options_parse(const struct httpd_request *http, bool watch, struct list_options *o,
                        struct error **err)
{
    *o = (struct list_options){.watch = watch};
    const char *revision = httpd_query(http, "resourceVersion"),
               *token = httpd_query(http, "continue");
    if (revision && *revision) {
        o->has_revision = true;
        if (!parse_uint(revision, &o->revision)) {
            api_error_bad_request(err,
                                  "resourceVersion: Invalid value: \"%s\": strconv.ParseUint: "
                                  "parsing \"%s\": invalid syntax",
                                  revision, revision);
            return false;
        }
    }
    if (!parse_int(http, "limit", &o->limit, err) ||
        !parse_int(http, "timeoutSeconds", &o->timeout_seconds, err) ||
        !parse_bool(http, "allowWatchBookmarks", NULL, &o->bookmarks, err) ||
        !parse_bool(http, "sendInitialEvents", &o->has_initial_events, &o->initial_events, err))
        return false;
    if (o->limit < 0)
        o->limit = 0;
    o->has_continue = token && *token && !watch;
    if (!parse_match(http, o, err))
        return false;
    if (!o->has_continue)
        return true;
    if (o->has_revision && o->revision) {
        api_error_bad_request(err,
                              "specifying resource version is not allowed when using continue");
        return false;
    }
    return continue_parse(token, &o->continue_revision, &o->continue_after, err);
}

void list_options_clear(struct list_options *o)
{
    free(o->continue_after);
    *o = (struct list_options){0};
}

char *continue_token(uint64_t revision, const char *last_key)
{
    cleanup_buf struct buf json = {0}, token = {0};
    buf_printf(&json, "{\"v\":\"" TOKEN_VERSION "\",\"rv\":%" PRId64 ",\"start\":",
               revision ? (int64_t)revision : (int64_t)-1);
    json_print_string(last_key, strlen(last_key), &json);
    buf_addc(&json, '}');
    buf_add_base64(&token, json.data, json.len);
    while (token.len && token.data[token.len - 1] == '=') /* URL-safe, without padding */
        token.data[--token.len] = 0;
    for (char *p = token.data; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    return buf_take(&token);
}

bool continue_parse(const char *token, uint64_t *revision, char **after, struct error **err)
{
    cleanup_buf struct buf json = {0};
    cleanup_json cJSON *t = NULL;
    if (strlen(token) < 4096 && buf_add_base64_decoded(&json, token, strlen(token)))
        t = json_parse(buf_str(&json), json.len, NULL);
    const char *start = json_str(t, "start");
    int64_t rv = json_int(t, "rv", 0);
    if (!t || strcmp(json_str_or(t, "v", ""), TOKEN_VERSION) != 0) {
        api_error_bad_request(err, "continue key is not valid: %s",
                              t ? "server does not recognize this encoded version"
                                : "illegal base64 data or JSON");
        return false;
    }
    if (!start || !*start || rv == 0 || rv < -1) {
        api_error_bad_request(err,
                              "continue key is not valid: incorrect encoded start resourceVersion");
        return false;
    }
    for (const char *p = start; *p; p += strcspn(p, "/"), p += *p == '/') {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && *p == '.') || (n == 2 && !strncmp(p, "..", 2))) {
            api_error_bad_request(err, "continue key is not valid: invalid continue token: %s",
                                  start);
            return false;
        }
    }
    *revision = rv < 0 ? 0 : (uint64_t)rv;
    *after = mem_strdup(start);
    return true;
}
