#include "apiserver/openapi/groups.h"
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

static bool same_version(const struct resource *r, const char *group, const char *version)
{
    return !strcmp(r->group, group) && (!version || !strcmp(r->version, version));
}

static bool first(const struct resource_list *all, size_t i, bool version)
{
    const struct resource *r = all->items[i];
    for (size_t k = 0; k < i; k++)
        if (same_version(all->items[k], r->group, version ? r->version : NULL))
            return false;
    return true;
}

bool group_first(const struct resource_list *all, size_t i)
{
    return first(all, i, false);
}

bool group_version_first(const struct resource_list *all, size_t i)
{
    return first(all, i, true);
}

static bool served(const char *group, const char *version)
{
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->count; i++)
        if (same_version(all->items[i], group, version))
            return true;
    return false;
}

bool group_served(const char *group)
{
    return served(group, NULL);
}

bool group_version_served(const char *group, const char *version)
{
    return served(group, version);
}

char *group_version_text(const char *group, const char *version)
{
    return mem_printf("%s%s%s", group, *group ? "/" : "", version);
}

static int by_plural(const void *a, const void *b)
{
    const struct resource *const *x = a, *const *y = b;
    return strcmp((*x)->plural, (*y)->plural);
}

const struct resource **group_version_resources(const char *group, const char *version, size_t *count)
{
    const struct resource_list *all = resource_all();
    const struct resource **list = mem_alloc(sizeof *list * (all->count + 1));
    *count = 0;
    for (size_t i = 0; i < all->count; i++)
        if (same_version(all->items[i], group, version))
            list[(*count)++] = all->items[i];
    qsort(list, *count, sizeof *list, by_plural);
    return list;
}

cJSON *verbs_json(unsigned verbs)
{
    static const struct {
        unsigned verb;
        const char *name;
    } names[] = {
        {VERB_CREATE, "create"}, {VERB_DELETE, "delete"}, {VERB_DELETECOLLECTION, "deletecollection"},
        {VERB_GET, "get"},       {VERB_LIST, "list"},     {VERB_PATCH, "patch"},
        {VERB_UPDATE, "update"}, {VERB_WATCH, "watch"},
    };
    cJSON *a = cJSON_CreateArray();
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (verbs & names[i].verb)
            cJSON_AddItemToArray(a, cJSON_CreateString(names[i].name));
    return a;
}

void subresource_kind(const struct resource *r, const struct subresource *s, const char **group,
                      const char **version, const char **kind)
{
    *group = s->kind ? s->group : r->group;
    *version = s->kind ? s->version : r->version;
    *kind = s->kind ? s->kind : r->kind;
}

char *document_hash(const void *text, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";
    unsigned char digest[64] = {0};
    gnutls_hash_fast(GNUTLS_DIG_SHA512, text, len, digest);
    char *hex = mem_alloc(2 * sizeof digest + 1);
    for (size_t i = 0; i < sizeof digest; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    return hex;
}

void reply_document(struct api_request *req, const char *content_type, char *text, size_t len, bool vary)
{
    cleanup_free char *hash = document_hash(text, len);
    cleanup_free char *etag = mem_printf("\"%s\"", hash);
    const char *known = httpd_header(req->http, "If-None-Match");
    bool unchanged = known && strstr(known, etag);
    struct httpd_request *http = api_answered(req, unchanged ? 304 : 200);
    httpd_add_header(http, "ETag", etag);
    if (vary)
        httpd_add_header(http, "Vary", "Accept");
    if (unchanged) {
        free(text);
        httpd_reply(http, 304, content_type, "", 0);
    } else {
        httpd_reply_take(http, 200, content_type, text, len);
    }
}
