#define PCRE2_CODE_UNIT_WIDTH 8
#include "ingress-controller/ingress.h"
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

#define REGEX_MAX 1024

static bool label_valid(const char *s, size_t n)
{
    if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '-'))
            return false;
    return true;
}

bool ingress_host_valid(const char *host)
{
    if (!*host)
        return true;
    if (strlen(host) > 253)
        return false;
    if (!strncmp(host, "*.", 2))
        host += 2;
    for (;;) {
        size_t n = strcspn(host, ".");
        if (!label_valid(host, n))
            return false;
        if (!host[n])
            return true;
        host += n + 1;
    }
}

/* Names of objects: what the API has checked already, checked again, since it becomes part of a
 * key. */
static bool name_valid(const char *name)
{
    return *name && *name != '*' && ingress_host_valid(name);
}

static bool regex_valid(const char *pattern, struct error **err)
{
    int code;
    PCRE2_SIZE offset;
    if (strlen(pattern) > REGEX_MAX) {
        error_setf(err, "a regular expression has more than %d characters", REGEX_MAX);
        return false;
    }
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_CASELESS,
                                         &code, &offset, NULL);
    if (!compiled) {
        PCRE2_UCHAR text[120];
        pcre2_get_error_message(code, text, sizeof(text));
        error_setf(err, "path \"%.200s\": %s", pattern, (const char *)text);
        return false;
    }
    pcre2_code_free(compiled);
    return true;
}

static bool regex_characters_valid(const char *path)
{
    for (const char *c = path; *c; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return path[0] == '/';
}

static char *backend_key(const struct ingress *i, const cJSON *backend, struct error **err)
{
    const char *service = json_str_or(backend, "service.name", "");
    const char *name = json_str_or(backend, "service.port.name", "");
    int64_t number = json_int(backend, "service.port.number", 0);
    cleanup_free char *ns = mem_strndup(i->key, strcspn(i->key, "/"));
    if (json_get(backend, "resource")) {
        error_setf(err, "backends that are resources are not supported");
        return NULL;
    }
    if (!name_valid(service) || !(*name ? name_valid(name) : number >= 1 && number <= 65535)) {
        error_setf(err, "a backend needs the name of a service and a port");
        return NULL;
    }
    return *name ? mem_printf("%s/%s/%s", ns, service, name)
                 : mem_printf("%s/%s/%d", ns, service, (int)number);
}

static bool add_location(struct ingress *i, const char *host, const char *path, enum path_kind kind,
                         const cJSON *backend, struct error **err)
{
    char *key = backend_key(i, backend, err);
    if (!key)
        return false;
    i->locations = mem_realloc(i->locations, (i->location_count + 1) * sizeof(*i->locations));
    struct ingress_location *l = &i->locations[i->location_count++];
    *l = (struct ingress_location){
        .host = mem_strdup(host), .path = mem_strdup(path), .kind = kind, .backend = key, .of = i};
    if (kind == PATH_PREFIX)
        for (size_t n = strlen(l->path); n > 1 && l->path[n - 1] == '/'; n--)
            l->path[n - 1] = 0;
    return true;
}

static bool add_path(struct ingress *i, const char *host, const cJSON *p, struct error **err)
{
    const char *path = json_str_or(p, "path", "/"),
               *type = json_str_or(p, "pathType", "ImplementationSpecific");
    enum path_kind kind = PATH_PREFIX;
    if (!*path)
        path = "/";
    if (!strcmp(type, "Exact"))
        kind = PATH_EXACT;
    else if (i->settings.use_regex && !strcmp(type, "ImplementationSpecific"))
        kind = PATH_REGEX;
    else if (strcmp(type, "Prefix") && strcmp(type, "ImplementationSpecific")) {
        error_setf(err, "pathType \"%.50s\" is not known", type);
        return false;
    }
    if (kind != PATH_REGEX && !ingress_path_valid(path)) {
        error_setf(err, "\"%.200s\" is not a path", path);
        return false;
    }
    if (kind == PATH_REGEX) {
        if (!regex_characters_valid(path)) {
            error_setf(err, "\"%.200s\" is not a path", path);
            return false;
        }
        cleanup_free char *anchored = mem_printf("^%s", path);
        return regex_valid(anchored, err) &&
               add_location(i, host, anchored, kind, json_get(p, "backend"), err);
    }
    return add_location(i, host, path, kind, json_get(p, "backend"), err);
}

static bool add_rule(struct ingress *i, const cJSON *rule, struct error **err)
{
    const char *host = json_str_or(rule, "host", "");
    if (!ingress_host_valid(host)) {
        error_setf(err, "host \"%.260s\" is not a DNS name", host);
        return false;
    }
    const cJSON *p, *fallback = json_path(i->object, "spec.defaultBackend");
    cJSON_ArrayForEach(p,
                       json_path(rule, "http.paths")) if (!add_path(i, host, p, err)) return false;
    return !fallback || add_location(i, host, "/", PATH_DEFAULT, fallback, err);
}

static void add_tls(struct ingress *i, const char *host, const char *secret)
{
    i->tls = mem_realloc(i->tls, (i->tls_count + 1) * sizeof(*i->tls));
    cleanup_free char *ns = mem_strndup(i->key, strcspn(i->key, "/"));
    i->tls[i->tls_count++] = (struct ingress_tls){
        .host = mem_strdup(host), .secret = *secret ? mem_printf("%s/%s", ns, secret) : NULL};
}

static bool add_tls_entry(struct ingress *i, const cJSON *entry, struct error **err)
{
    const char *secret = json_str_or(entry, "secretName", "");
    if (*secret && !name_valid(secret)) {
        error_setf(err, "secretName \"%.260s\" is not a name", secret);
        return false;
    }
    const cJSON *hosts = json_get(entry, "hosts"), *h;
    cJSON_ArrayForEach(h, hosts)
    {
        if (!cJSON_IsString(h) || !ingress_host_valid(h->valuestring)) {
            error_setf(err, "tls: host \"%.260s\" is not a DNS name",
                       cJSON_IsString(h) ? h->valuestring : "");
            return false;
        }
        add_tls(i, h->valuestring, secret);
    }
    /* None named: all that the rules have. */
    if (!cJSON_GetArraySize(hosts))
        cJSON_ArrayForEach(
            h,
            json_path(i->object, "spec.rules")) if (ingress_host_valid(json_str_or(h, "host", "")))
            add_tls(i, json_str_or(h, "host", ""), secret);
    return true;
}

static bool fill(struct ingress *i, struct buf *warnings, struct error **err)
{
    const cJSON *spec = json_get(i->object, "spec"), *rules = json_get(spec, "rules"), *e;
    if (!ingress_settings_read(i->object, &i->settings, warnings, err))
        return false;
    cJSON_ArrayForEach(e, rules) if (!add_rule(i, e, err)) return false;
    cJSON_ArrayForEach(e, json_get(spec, "tls")) if (!add_tls_entry(i, e, err)) return false;
    const cJSON *fallback = json_get(spec, "defaultBackend");
    if (fallback && !cJSON_GetArraySize(rules))
        return add_location(i, "", "/", PATH_DEFAULT, fallback, err);
    return true;
}

struct ingress *ingress_new(const cJSON *object, struct buf *warnings, struct error **err)
{
    struct ingress *i = mem_alloc(sizeof(*i));
    const char *ns = json_str_or(object, "metadata.namespace", ""),
               *name = json_str_or(object, "metadata.name", "");
    i->object = object;
    i->key = mem_printf("%s/%s", ns, name);
    bool ok = name_valid(ns) && name_valid(name);
    if (!ok)
        error_setf(err, "no name");
    if (!ok || !fill(i, warnings, err)) {
        ingress_free(i);
        return NULL;
    }
    return i;
}

void ingress_free(struct ingress *i)
{
    if (!i)
        return;
    for (size_t n = 0; n < i->location_count; n++) {
        free(i->locations[n].host);
        free(i->locations[n].path);
        free(i->locations[n].backend);
    }
    for (size_t n = 0; n < i->tls_count; n++) {
        free(i->tls[n].host);
        free(i->tls[n].secret);
    }
    free(i->locations);
    free(i->tls);
    free(i->key);
    free(i);
}
