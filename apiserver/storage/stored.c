#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "apiserver/storage/storage_internal.h"
#include "common/json.h"
#include "common/mem.h"

struct stored *stored_ref(struct stored *s)
{
    if (s)
        __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void stored_unref(struct stored *s)
{
    if (s && __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(s); /* one allocation */
}

void stored_cleanup(struct stored **s)
{
    stored_unref(*s);
}

/* --- the written form --- */

static void print_member(const cJSON *m, bool *first, struct buf *out)
{
    if (!*first)
        buf_addc(out, ',');
    *first = false;
    json_print_string(m->string, strlen(m->string), out);
    buf_addc(out, ':');
    json_print(m, out);
}

static void print_metadata(const cJSON *metadata, struct buf *out)
{
    buf_addc(out, '{');
    bool first = true;
    const cJSON *m;
    cJSON_ArrayForEach(m, metadata)
    {
        if (m->string && strcmp(m->string, "resourceVersion") != 0 &&
            strcmp(m->string, "selfLink") != 0)
            print_member(m, &first, out);
    }
    buf_addc(out, '}');
}

void stored_print(const cJSON *object, struct buf *out)
{
    static const char *const head[] = {"kind", "apiVersion"};
    bool first = true;
    buf_addc(out, '{');
    for (size_t i = 0; i < ARRAY_LEN(head); i++) {
        const cJSON *m = json_get(object, head[i]);
        if (m)
            print_member(m, &first, out);
    }
    if (!first)
        buf_addc(out, ',');
    buf_adds(out, "\"metadata\":");
    print_metadata(json_get(object, "metadata"), out);
    first = false;
    const cJSON *m;
    cJSON_ArrayForEach(m, object)
    {
        if (m->string && strcmp(m->string, "kind") != 0 && strcmp(m->string, "apiVersion") != 0 &&
            strcmp(m->string, "metadata") != 0)
            print_member(m, &first, out);
    }
    buf_addc(out, '}');
}

/* Behind `"name":"text",` at *at, if that is what stands there. */
static bool skip_text_member(const char *value, size_t len, size_t *at, const char *name)
{
    size_t n = strlen(name), i = *at;
    if (i + n + 5 > len || value[i] != '"' || memcmp(value + i + 1, name, n) != 0 ||
        memcmp(value + i + 1 + n, "\":\"", 3) != 0)
        return false;
    for (i += n + 4; i < len && value[i] != '"'; i++)
        if (value[i] == '\\')
            i++;
    if (i + 1 >= len || value[i + 1] != ',')
        return false;
    *at = i + 2;
    return true;
}

/* Where the members of metadata begin in the form that stored_print makes; 0 for any other form. */
static size_t metadata_members(const char *value, size_t len)
{
    static const char name[] = "\"metadata\":{";
    size_t at = 1;
    if (len < 2 || value[0] != '{')
        return 0;
    skip_text_member(value, len, &at, "kind");
    skip_text_member(value, len, &at, "apiVersion");
    if (at + sizeof name - 1 > len || memcmp(value + at, name, sizeof name - 1) != 0)
        return 0;
    return at + sizeof name - 1;
}

/* --- one allocation for all that belongs to an object --- */

struct parts {
    const char *ns, *name, *uid;
    const char **labels; /* pairs, then NULL */
    size_t label_count;  /* without the NULL */
    const char **fields;
    size_t field_count;
};

static char *copy_into(char **at, const char *s)
{
    size_t n = strlen(s) + 1;
    char *out = memcpy(*at, s, n);
    *at += n;
    return out;
}

/* before, digits, after: the object's JSON in three pieces. */
static struct stored *assemble(const char *key, uint64_t revision, const struct parts *p,
                               const char *before, size_t before_len, const char *digits,
                               const char *after, size_t after_len)
{
    size_t digits_len = strlen(digits);
    size_t len = before_len + digits_len + after_len;
    size_t size = sizeof(struct stored) + (p->label_count + 1 + p->field_count) * sizeof(char *) +
                  strlen(key) + 1 + strlen(p->ns) + 1 + strlen(p->name) + 1 + strlen(p->uid) + 1 +
                  len + 1;
    for (size_t i = 0; i < p->label_count; i++)
        size += strlen(p->labels[i]) + 1;
    for (size_t i = 0; i < p->field_count; i++)
        size += strlen(p->fields[i]) + 1;
    struct stored *s = malloc(size);
    if (!s)
        abort();
    char *at = (char *)(s + 1);
    *s = (struct stored){.refs = 1,
                         .revision = revision,
                         .len = len,
                         .revision_at = before_len,
                         .revision_len = digits_len};
    s->labels = (const char **)at;
    at += (p->label_count + 1) * sizeof(char *);
    s->fields = (const char **)at;
    at += p->field_count * sizeof(char *);
    s->key = copy_into(&at, key);
    s->ns = copy_into(&at, p->ns);
    s->name = copy_into(&at, p->name);
    s->uid = copy_into(&at, p->uid);
    for (size_t i = 0; i < p->label_count; i++)
        s->labels[i] = copy_into(&at, p->labels[i]);
    s->labels[p->label_count] = NULL;
    for (size_t i = 0; i < p->field_count; i++)
        s->fields[i] = copy_into(&at, p->fields[i]);
    s->json = at;
    memcpy(at, before, before_len);
    memcpy(at + before_len, digits, digits_len);
    memcpy(at + before_len + digits_len, after, after_len);
    at[len] = 0;
    return s;
}

static const char *field_text(const struct resource *r, const cJSON *object, const char *path,
                              char number[32])
{
    const char *text = r->field_value ? r->field_value(object, path) : NULL;
    if (text)
        return text;
    const cJSON *v = json_path(object, path);
    if (cJSON_IsString(v))
        return v->valuestring;
    if (cJSON_IsBool(v))
        return cJSON_IsTrue(v) ? "true" : "false";
    if (cJSON_IsNumber(v)) {
        snprintf(number, 32, "%.0f", v->valuedouble);
        return number;
    }
    text = r->field_default ? r->field_default(path) : NULL;
    return text ? text : "";
}

static void collect_labels(const cJSON *object, struct parts *p)
{
    const cJSON *labels = json_path(object, "metadata.labels"), *l;
    size_t n = cJSON_IsObject(labels) ? (size_t)cJSON_GetArraySize(labels) : 0;
    p->labels = mem_alloc((2 * n + 1) * sizeof *p->labels);
    if (!n)
        return;
    cJSON_ArrayForEach(l, labels)
    {
        if (!cJSON_IsString(l))
            continue;
        p->labels[p->label_count++] = l->string;
        p->labels[p->label_count++] = l->valuestring;
    }
}

struct stored *stored_new(const struct resource *r, const char *key, uint64_t revision,
                          const char *value, size_t len, const cJSON *dom)
{
    cleanup_json cJSON *parsed = NULL;
    if (!dom)
        dom = parsed = json_parse(value, len, NULL);
    if (!cJSON_IsObject(dom))
        return NULL;
    cleanup_buf struct buf reprinted = {0};
    size_t at = metadata_members(value, len);
    if (!at || json_path(dom, "metadata.resourceVersion")) { /* written by somebody else */
        stored_print(dom, &reprinted);
        value = reprinted.data;
        len = reprinted.len;
        at = metadata_members(value, len);
        if (!at)
            return NULL;
    }
    const char *last = strrchr(key, '/');
    struct parts p = {.ns = json_str_or(dom, "metadata.namespace", ""),
                      .name = json_str_or(dom, "metadata.name", last ? last + 1 : key),
                      .uid = json_str_or(dom, "metadata.uid", "")};
    collect_labels(dom, &p);
    for (const char *const *f = r->field_selectors; f && *f; f++)
        p.field_count++;
    char(*numbers)[32] = mem_alloc(p.field_count * sizeof *numbers + 1);
    p.fields = mem_alloc(p.field_count * sizeof *p.fields + 1);
    for (size_t i = 0; i < p.field_count; i++)
        p.fields[i] = field_text(r, dom, r->field_selectors[i], numbers[i]);

    static const char name[] = "\"resourceVersion\":\"";
    cleanup_buf struct buf before = {0}, after = {0};
    buf_add(&before, value, at);
    buf_add(&before, name, sizeof name - 1);
    buf_adds(&after, value[at] == '}' ? "\"" : "\",");
    buf_add(&after, value + at, len - at);
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, revision);
    struct stored *s =
        assemble(key, revision, &p, before.data, before.len, digits, after.data, after.len);
    free(p.labels);
    free(p.fields);
    free(numbers);
    return s;
}

/* The number of fields is not kept; they lie between labels and key in memory. */
static size_t field_count(const struct stored *s)
{
    return (size_t)((const char **)(void *)s->key - s->fields);
}

struct stored *stored_at_revision(const struct stored *s, uint64_t revision)
{
    struct parts p = {.ns = s->ns,
                      .name = s->name,
                      .uid = s->uid,
                      .labels = s->labels,
                      .fields = s->fields,
                      .field_count = field_count(s)};
    while (p.labels[p.label_count])
        p.label_count++;
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, revision);
    size_t behind = s->revision_at + s->revision_len;
    return assemble(s->key, revision, &p, s->json, s->revision_at, digits, s->json + behind,
                    s->len - behind);
}
