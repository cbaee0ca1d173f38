/* Content negotiation: which form of an object the client wants. RFC 9110 section 12.5.1. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apiserver/schema/protobuf.h"
#include "apiserver/server/server.h"
#include "common/mem.h"

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    size_t n = strlen(s);
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        s[--n] = 0;
    return s;
}

/* One media range; false when it is nothing that we make for this resource. */
static bool parse_range(char *text, const struct resource *r, bool watch, struct api_accept *out,
                        double *q)
{
    char *save = NULL;
    char *type = strtok_r(text, ";", &save);
    if (!type)
        return false;
    type = trim(type);
    *out = (struct api_accept){.form = FORM_OBJECT, .meta_version = "v1"};
    *q = 1;
    const char *as = "", *group = "", *version = "";
    for (char *p; (p = strtok_r(NULL, ";", &save));) {
        char *value = strchr(p, '=');
        if (!value)
            continue;
        *value++ = 0;
        p = trim(p);
        value = trim(value);
        if (!strcmp(p, "as"))
            as = value;
        else if (!strcmp(p, "g"))
            group = value;
        else if (!strcmp(p, "v"))
            version = value;
        else if (!strcmp(p, "q"))
            *q = strtod(value, NULL);
    }
    if (!strcasecmp(type, PROTOBUF_MEDIA_TYPE))
        out->protobuf = true;
    else if (!strcasecmp(type, "application/yaml"))
        out->yaml = true;
    else if (strcasecmp(type, "application/json") != 0 && strcmp(type, "*/*") != 0 &&
             strcmp(type, "application/*") != 0)
        return false;
    if (out->yaml && watch) /* nothing marks where one document ends */
        return false;
    if (!*as)
        return !out->protobuf || (r && schema_find(r->group, r->version, r->kind));
    if (strcmp(group, "meta.k8s.io") != 0 ||
        (strcmp(version, "v1") != 0 && strcmp(version, "v1beta1") != 0))
        return false;
    out->meta_version = strcmp(version, "v1") ? "v1beta1" : "v1";
    if (!strcmp(as, "Table") && !out->protobuf)
        out->form = FORM_TABLE;
    else if ((!strcmp(as, "PartialObjectMetadata") || !strcmp(as, "PartialObjectMetadataList")) &&
             !(out->protobuf && strcmp(version, "v1") != 0))
        out->form = FORM_PARTIAL_METADATA;
    else
        return false;
    return true;
}

bool accept_parse(const char *header, const struct resource *r, bool watch, struct api_accept *out,
                  struct error **err)
{
    bool pretty = out->pretty;
    *out = (struct api_accept){.form = FORM_OBJECT, .meta_version = "v1", .pretty = pretty};
    if (!header || !*header || !strcmp(header, "application/json") || !strcmp(header, "*/*"))
        return true;
    cleanup_free char *list = mem_strdup(header);
    char *save = NULL;
    double best = 0;
    bool found = false;
    for (char *range = strtok_r(list, ",", &save); range; range = strtok_r(NULL, ",", &save)) {
        struct api_accept a;
        double q;
        if (parse_range(range, r, watch, &a, &q) && q > best) {
            best = q;
            *out = a;
            out->pretty = pretty;
            found = true;
        }
    }
    if (!found)
        error_set(err, 406, "NotAcceptable",
                  "only the following media types are accepted: application/json, "
                  "application/yaml, " PROTOBUF_MEDIA_TYPE);
    return found;
}
