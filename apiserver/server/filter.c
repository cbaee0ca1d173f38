/* Which objects a list or a watch is about. */
#include <string.h>

#include "apiserver/server/server.h"
#include "common/mem.h"

static bool find_field(const struct resource *r, const char *name, int *at)
{
    for (const char *const *a = r->field_aliases; a && *a; a += 2)
        if (!strcmp(a[0], name))
            name = a[1];
    if (!strcmp(name, "metadata.name")) {
        *at = FILTER_NAME;
        return true;
    }
    if (!strcmp(name, "metadata.namespace")) {
        *at = FILTER_NAMESPACE;
        return r->namespaced;
    }
    const char *const *fields = resource_stored(r)->field_selectors;
    for (int i = 0; fields && fields[i]; i++) {
        if (!strcmp(fields[i], name)) {
            *at = i;
            return true;
        }
    }
    return false;
}

bool filter_parse(const struct resource *r, const char *ns, const char *labels, const char *fields,
                  struct object_filter *out, struct error **err)
{
    *out = (struct object_filter){.ns = ns};
    if (labels && *labels) {
        out->labels = label_selector_parse(labels, err);
        if (!out->labels)
            return false;
        out->selects = !label_selector_empty(out->labels);
    }
    if (!fields || !*fields)
        return true;
    if (!field_selector_parse(fields, &out->fields, err)) {
        filter_clear(out);
        return false;
    }
    out->field_at = mem_alloc(((size_t)out->fields.count + 1) * sizeof *out->field_at);
    for (int i = 0; i < out->fields.count; i++) {
        const char *name = out->fields.terms[i].field;
        if (find_field(r, name, &out->field_at[i]))
            continue;
        if (r->field_selectors && r->field_selectors[0])
            api_error_bad_request(err, "field label not supported: %s", name);
        else
            api_error_bad_request(err,
                                  "\"%s\" is not a known field selector: only \"metadata.name\"%s",
                                  name, r->namespaced ? ", \"metadata.namespace\"" : "");
        filter_clear(out);
        return false;
    }
    out->selects |= out->fields.count > 0;
    return true;
}

bool filter_matches(const struct object_filter *f, const struct stored *s)
{
    if (*f->ns && strcmp(f->ns, s->ns) != 0)
        return false;
    if (!f->selects)
        return true;
    for (int i = 0; i < f->fields.count; i++) {
        int at = f->field_at[i];
        const char *value = at == FILTER_NAME        ? s->name
                            : at == FILTER_NAMESPACE ? s->ns
                                                     : s->fields[at];
        if (!strcmp(value, f->fields.terms[i].value) != f->fields.terms[i].equals)
            return false;
    }
    return !f->labels || label_selector_matches_flat(f->labels, s->labels);
}

void filter_clear(struct object_filter *f)
{
    label_selector_free(f->labels);
    field_selector_clear(&f->fields);
    free(f->field_at);
    *f = (struct object_filter){.ns = ""};
}
