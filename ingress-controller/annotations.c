#include "ingress-controller/annotations.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

#define PREFIX        "nginx.ingress.kubernetes.io/"
#define TIMEOUT_MAX_S 86400

static bool refuse(struct error **err, const char *name, const char *value, const char *wanted)
{
    error_setf(err, "annotation " PREFIX "%s: \"%.100s\" is not %s", name, value, wanted);
    return false;
}

static bool read_bool(const char *value, bool *out)
{
    *out = !strcmp(value, "true");
    return *out || !strcmp(value, "false");
}

/* "8m", "1g", "512k", "100": nginx's sizes. */
static bool read_size(const char *value, int64_t *out)
{
    char *end;
    if (*value < '0' || *value > '9' || strlen(value) > 12)
        return false;
    long long n = strtoll(value, &end, 10);
    int shift = 0;
    if (*end && !end[1]) {
        const char *units = "kKmMgG", *unit = strchr(units, *end);
        if (!unit)
            return false;
        shift = 10 * (1 + (int)(unit - units) / 2);
    } else if (*end) {
        return false;
    }
    if (n > (INT64_MAX >> 32) >> (shift > 20 ? shift - 20 : 0))
        return false;
    *out = n << shift;
    return true;
}

/* Seconds, with or without the "s". */
static bool read_seconds(const char *value, int64_t *out_ms)
{
    char *end;
    if (*value < '0' || *value > '9' || strlen(value) > 8)
        return false;
    long n = strtol(value, &end, 10);
    if ((*end && strcmp(end, "s")) || n < 1 || n > TIMEOUT_MAX_S)
        return false;
    *out_ms = n * 1000;
    return true;
}

bool ingress_path_valid(const char *path)
{
    size_t n = strlen(path);
    if (path[0] != '/' || n > INGRESS_PATH_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (path[i] <= ' ' || path[i] > '~' || strchr("\"'\\`{}<>;", path[i]))
            return false;
    return true;
}

static bool read_rewrite(const char *value, struct ingress_settings *out, struct error **err)
{
    if (!ingress_path_valid(value))
        return refuse(err, "rewrite-target", value, "a path");
    for (const char *c = strchr(value, '$'); c; c = strchr(c + 1, '$')) {
        if (c[1] < '1' || c[1] > '9')
            return refuse(err, "rewrite-target", value,
                          "a path with $1 to $9 as the only variables");
        out->use_regex = true;
    }
    out->rewrite_target = value;
    return true;
}

static bool read_protocol(const char *value, struct ingress_settings *out, struct error **err)
{
    if (strcmp(value, "HTTP") && strcmp(value, "HTTPS"))
        return refuse(err, "backend-protocol", value, "HTTP or HTTPS");
    out->scheme = strcmp(value, "HTTPS") ? "http" : "https";
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static bool read_one(const char *name, const char *value, struct ingress_settings *out,
                     struct buf *warnings, struct error **err)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"use-regex", &out->use_regex},
                 {"ssl-redirect", &out->ssl_redirect},
                 {"force-ssl-redirect", &out->force_ssl_redirect}};
    const struct {
        const char *name;
        int64_t *ms;
    } times[] = {{"proxy-connect-timeout", &out->connect_ms},
                 {"proxy-send-timeout", &out->send_ms},
                 {"proxy-read-timeout", &out->read_ms}};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        bool flag;
        if (strcmp(name, flags[i].name))
            continue;
        if (!read_bool(value, &flag))
            return refuse(err, name, value, "true or false");
        *flags[i].flag |= flag;
        if (flags[i].flag == &out->ssl_redirect)
            out->ssl_redirect = flag;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        if (!strcmp(name, times[i].name))
            return read_seconds(value, times[i].ms) ||
                   refuse(err, name, value, "a number of seconds from 1 to 86400");
    if (!strcmp(name, "proxy-body-size"))
        return read_size(value, &out->body_size) || refuse(err, name, value, "a size such as 8m");
    if (!strcmp(name, "rewrite-target"))
        return read_rewrite(value, out, err);
    if (!strcmp(name, "backend-protocol"))
        return read_protocol(value, out, err);
    if (ends_with(name, "-snippet")) {
        error_setf(err, "annotation " PREFIX "%.100s: configuration in annotations is not allowed",
                   name);
        return false;
    }
    buf_printf(warnings, "annotation " PREFIX "%.100s is not supported and has no effect\n", name);
    return true;
}

bool ingress_settings_read(const cJSON *ingress, struct ingress_settings *out, struct buf *warnings,
                           struct error **err)
{
    *out = (struct ingress_settings){.ssl_redirect = true,
                                     .body_size = 1 << 20,
                                     .connect_ms = 5000,
                                     .send_ms = 60000,
                                     .read_ms = 60000,
                                     .scheme = "http"};
    const cJSON *a;
    cJSON_ArrayForEach(a, json_path(ingress, "metadata.annotations"))
    {
        if (!a->string || strncmp(a->string, PREFIX, strlen(PREFIX)) || !cJSON_IsString(a))
            continue;
        if (!read_one(a->string + strlen(PREFIX), a->valuestring, out, warnings, err))
            return false;
    }
    return true;
}
