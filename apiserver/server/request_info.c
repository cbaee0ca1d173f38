#include <string.h>

#include "apiserver/server/server.h"
#include "common/json.h"
#include "common/mem.h"

/* Subresources of namespaces; anything else below /namespaces/<name>/ is a resource in that
 * namespace. */
static bool namespace_subresource(const char *s)
{
    return !strcmp(s, "status") || !strcmp(s, "finalize");
}

static const char *verb_of_method(const char *method)
{
    static const char *const verbs[][2] = {{"GET", "get"},     {"HEAD", "get"},
                                           {"POST", "create"}, {"PUT", "update"},
                                           {"PATCH", "patch"}, {"DELETE", "delete"}};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (!strcmp(verbs[i][0], method))
            return verbs[i][1];
    return "";
}

static char *lower(char *s)
{
    for (char *p = s; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p |= 0x20;
    return s;
}

/* "metadata.name=x" and nothing else. NULL if not. */
static char *single_name(const char *field_selector)
{
    struct field_selector s = {0};
    char *name = NULL;
    if (field_selector && *field_selector && field_selector_parse(field_selector, &s, NULL)) {
        for (int i = 0; i < s.count; i++)
            if (!strcmp(s.terms[i].field, "metadata.name") && s.terms[i].equals)
                name = mem_strdup(s.terms[i].value);
        field_selector_clear(&s);
    }
    return name;
}

static bool truth(const char *text)
{
    return text && (!strcmp(text, "true") || !strcmp(text, "1") || !strcmp(text, "True") ||
                    !strcmp(text, "TRUE") || !strcmp(text, "t") || !strcmp(text, "T"));
}

enum { PARTS = 12 };

void request_info_parse(const char *method, const char *path, const char *watch,
                        const char *field_selector, struct request_info *out)
{
    size_t path_len = strlen(path), method_len = strlen(method);
    cleanup_free char *selected = NULL;
    /* One block: path, method in lower case, and the parts of the path. */
    char *memory = mem_alloc(2 * (path_len + 1) + method_len + 1);
    char *parts_text = memory + path_len + 1, *method_text = parts_text + path_len + 1;
    memcpy(memory, path, path_len + 1);
    memcpy(parts_text, path, path_len + 1);
    lower(memcpy(method_text, method, method_len + 1));
    *out = (struct request_info){.path = memory,
                                 .verb = method_text,
                                 .prefix = "",
                                 .group = "",
                                 .version = "",
                                 .ns = "",
                                 .resource = "",
                                 .subresource = "",
                                 .name = "",
                                 .rest = "",
                                 .memory = memory};

    char *parts[PARTS] = {0};
    size_t n = 0;
    char *at = parts_text;
    while (*at == '/')
        at++;
    while (*at && n < PARTS) {
        parts[n++] = at;
        if (n == PARTS) /* what is left stays together */
            break;
        at += strcspn(at, "/");
        while (*at == '/')
            *at++ = 0;
    }
    if (n < 3)
        return;
    size_t i;
    if (!strcmp(parts[0], "api")) {
        out->prefix = "api";
        out->version = parts[1];
        i = 2;
    } else if (!strcmp(parts[0], "apis") && n >= 4) {
        out->prefix = "apis";
        out->group = parts[1];
        out->version = parts[2];
        i = 3;
    } else {
        return;
    }
    out->is_resource = true;
    out->verb = verb_of_method(method);
    bool watch_path = !strcmp(parts[i], "watch") && i + 1 < n; /* the old form /api/v1/watch/... */
    if (watch_path)
        i++;
    if (!strcmp(parts[i], "namespaces") && i + 1 < n) {
        out->ns = parts[i + 1];
        if (i + 2 < n && !namespace_subresource(parts[i + 2]))
            i += 2;
    }
    out->resource = parts[i];
    if (i + 1 < n)
        out->name = parts[i + 1];
    if (i + 2 < n)
        out->subresource = parts[i + 2];
    if (i + 3 < n) {
        /* Put the separators back. */
        for (size_t k = i + 3; k + 1 < n; k++)
            for (char *p = parts[k] + strlen(parts[k]); !*p; p++)
                *p = '/';
        out->rest = parts[i + 3];
    }
    if (watch_path) {
        out->verb = "watch";
    } else if (!*out->name && !strcmp(out->verb, "get")) {
        out->verb = truth(watch) ? "watch" : "list";
        selected = single_name(field_selector);
    } else if (!*out->name && !strcmp(out->verb, "delete")) {
        out->verb = "deletecollection";
    }
    if (selected && *selected) {
        size_t used = 2 * (path_len + 1) + method_len + 1, more = strlen(selected) + 1;
        /* Pointers into the block move with it. */
        char *bigger = mem_alloc(used + more);
        memcpy(bigger, memory, used);
        memcpy(bigger + used, selected, more);
        const char **moved[] = {&out->path, &out->verb,     &out->group,       &out->version,
                                &out->ns,   &out->resource, &out->subresource, &out->rest};
        for (size_t k = 0; k < ARRAY_LEN(moved); k++)
            if (*moved[k] >= memory && *moved[k] < memory + used)
                *moved[k] = bigger + (*moved[k] - memory);
        out->name = bigger + used;
        out->memory = bigger;
        free(memory);
    }
}

void request_info_clear(struct request_info *i)
{
    free(i->memory);
    i->memory = NULL;
}

enum resource_verb request_verb(const char *verb)
{
    static const struct {
        const char *name;
        enum resource_verb verb;
    } verbs[] = {{"create", VERB_CREATE}, {"get", VERB_GET},
                 {"list", VERB_LIST},     {"watch", VERB_WATCH},
                 {"update", VERB_UPDATE}, {"patch", VERB_PATCH},
                 {"delete", VERB_DELETE}, {"deletecollection", VERB_DELETECOLLECTION}};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (!strcmp(verbs[i].name, verb))
            return verbs[i].verb;
    return 0;
}
