/* Collecting and printing field errors, as k8s.io/apimachinery's field package prints them. */
#include "apiserver/validation/field_errors.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

enum { ERRORS_MAX = 1000 };

static const struct {
    const char *text, *reason;
} types[] = {
    [FIELD_INVALID] = {"Invalid value", "FieldValueInvalid"},
    [FIELD_REQUIRED] = {"Required value", "FieldValueRequired"},
    [FIELD_NOT_SUPPORTED] = {"Unsupported value", "FieldValueNotSupported"},
    [FIELD_FORBIDDEN] = {"Forbidden", "FieldValueForbidden"},
    [FIELD_DUPLICATE] = {"Duplicate value", "FieldValueDuplicate"},
    [FIELD_TOO_LONG] = {"Too long", "FieldValueTooLong"},
    [FIELD_TOO_MANY] = {"Too many", "FieldValueTooMany"},
    [FIELD_NOT_FOUND] = {"Not found", "FieldValueNotFound"},
    [FIELD_INTERNAL] = {"Internal error", "InternalError"},
};

void field_errors_clear(struct field_errors *e)
{
    for (size_t i = 0; i < e->count; i++) {
        free(e->items[i].field);
        free(e->items[i].body);
    }
    free(e->items);
    *e = (struct field_errors){0};
}

static void add_path(const struct field_path *p, struct buf *b)
{
    if (!p)
        return;
    add_path(p->parent, b);
    if (p->name) {
        if (b->len)
            buf_addc(b, '.');
        buf_adds(b, p->name);
    } else if (p->key) {
        buf_printf(b, "[%s]", p->key);
    } else {
        buf_printf(b, "[%d]", p->index);
    }
}

char *field_path_text(const struct field_path *p)
{
    struct buf b = {0};
    add_path(p, &b);
    return buf_take(&b);
}

/* Takes bad (the shown value, or NULL when the type shows none) and detail. */
static void add(struct field_errors *e, enum field_error_type type, const struct field_path *p, char *bad,
                char *detail)
{
    cleanup_free char *b = bad, *d = detail;
    if (e->count >= ERRORS_MAX)
        return;
    if ((e->count & (e->count - 1)) == 0)
        e->items = mem_realloc(e->items, sizeof *e->items * (e->count ? e->count * 2 : 1));
    struct buf body = {0};
    buf_adds(&body, types[type].text);
    if (b)
        buf_printf(&body, ": %s", b);
    if (d && *d)
        buf_printf(&body, ": %s", d);
    e->items[e->count++] = (struct field_error){type, field_path_text(p), buf_take(&body)};
}

static char *quote(const char *s)
{
    struct buf b = {0};
    if (!s)
        s = "";
    json_print_string(s, strlen(s), &b);
    return buf_take(&b);
}

/* Go's %#v of what Kubernetes shows raw: string maps and label selectors; other things as JSON. */
static void add_string_map(const cJSON *o, struct buf *b)
{
    if (!o) {
        buf_adds(b, "map[string]string(nil)");
        return;
    }
    buf_adds(b, "map[string]string{");
    int n = cJSON_GetArraySize(o), i = 0;
    cleanup_free const cJSON **sorted = mem_alloc(sizeof *sorted * (size_t)(n + 1));
    for (const cJSON *c = o->child; c;
         c = c->next) { /* insertion sort: shown maps are small; Go prints sorted keys */
        int k = i++;
        if (i > 200) {
            i--;
            break;
        }
        while (k > 0 && strcmp(sorted[k - 1]->string, c->string) > 0) {
            sorted[k] = sorted[k - 1];
            k--;
        }
        sorted[k] = c;
    }
    for (int k = 0; k < i; k++) {
        if (k)
            buf_adds(b, ", ");
        json_print_string(sorted[k]->string, strlen(sorted[k]->string), b);
        buf_addc(b, ':');
        json_print(sorted[k], b);
    }
    buf_addc(b, '}');
}

static bool is_string_map(const cJSON *o)
{
    for (const cJSON *c = o->child; c; c = c->next)
        if (!cJSON_IsString(c))
            return false;
    return true;
}

static bool is_selector(const cJSON *o)
{
    for (const cJSON *c = o->child; c; c = c->next)
        if (strcmp(c->string, "matchLabels") && strcmp(c->string, "matchExpressions"))
            return false;
    return o->child != NULL;
}

static void add_string_list(const cJSON *list, struct buf *b)
{
    buf_adds(b, "[]string{");
    for (const cJSON *c = list->child; c; c = c->next) {
        if (c != list->child)
            buf_adds(b, ", ");
        json_print(c, b);
    }
    buf_addc(b, '}');
}

static char *show(const cJSON *v)
{
    struct buf b = {0};
    if (!v || cJSON_IsNull(v)) {
        buf_adds(&b, "null");
    } else if (cJSON_IsRaw(v)) { /* shown as it is */
        buf_adds(&b, v->valuestring);
    } else if (cJSON_IsObject(v) && is_selector(v)) {
        buf_adds(&b, "v1.LabelSelector{MatchLabels:");
        add_string_map(json_get(v, "matchLabels"), &b);
        const cJSON *expressions = json_get(v, "matchExpressions");
        buf_adds(&b, expressions ? ", MatchExpressions:[]v1.LabelSelectorRequirement{"
                                 : ", MatchExpressions:[]v1.LabelSelectorRequirement(nil)");
        for (const cJSON *x = expressions ? expressions->child : NULL; x; x = x->next) {
            cleanup_free char *key = quote(json_str(x, "key")), *op = quote(json_str(x, "operator"));
            buf_printf(&b, "%sv1.LabelSelectorRequirement{Key:%s, Operator:%s, Values:",
                       x == expressions->child ? "" : ", ", key, op);
            if (cJSON_IsArray(json_get(x, "values")))
                add_string_list(json_get(x, "values"), &b);
            else
                buf_adds(&b, "[]string(nil)");
            buf_addc(&b, '}');
        }
        buf_adds(&b, expressions ? "}}" : "}");
    } else if (cJSON_IsObject(v) && is_string_map(v)) {
        add_string_map(v, &b);
    } else {
        json_print(v, &b);
    }
    return buf_take(&b);
}

static char *format(const char *fmt, va_list ap)
{
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    return text;
}

#define DETAIL(out)                                                                                          \
    va_list ap;                                                                                              \
    va_start(ap, fmt);                                                                                       \
    char *out = format(fmt, ap);                                                                             \
    va_end(ap)

void field_invalid(struct field_errors *e, const struct field_path *p, const cJSON *bad, const char *fmt, ...)
{
    DETAIL(detail);
    add(e, FIELD_INVALID, p, show(bad), detail);
}

void field_invalid_str(struct field_errors *e, const struct field_path *p, const char *bad, const char *fmt,
                       ...)
{
    DETAIL(detail);
    add(e, FIELD_INVALID, p, quote(bad), detail);
}

void field_invalid_int(struct field_errors *e, const struct field_path *p, int64_t bad, const char *fmt, ...)
{
    DETAIL(detail);
    add(e, FIELD_INVALID, p, mem_printf("%lld", (long long)bad), detail);
}

void field_invalid_bare(struct field_errors *e, const struct field_path *p, const char *bad, const char *detail)
{
    add(e, FIELD_INVALID, p, mem_strdup(bad), mem_strdup(detail));
}

void field_required(struct field_errors *e, const struct field_path *p, const char *detail)
{
    add(e, FIELD_REQUIRED, p, NULL, mem_strdup(detail));
}

void field_not_supported(struct field_errors *e, const struct field_path *p, const char *bad,
                         const char *supported)
{
    struct buf detail = {0};
    buf_adds(&detail, "supported values: ");
    for (const char *s = supported; *s;) {
        size_t n = strcspn(s, ",");
        buf_printf(&detail, "%s\"%.*s\"", s == supported ? "" : ", ", (int)n, s);
        s += n + (s[n] == ',');
    }
    add(e, FIELD_NOT_SUPPORTED, p, quote(bad), buf_take(&detail));
}

void field_forbidden(struct field_errors *e, const struct field_path *p, const char *fmt, ...)
{
    DETAIL(detail);
    add(e, FIELD_FORBIDDEN, p, NULL, detail);
}

void field_duplicate(struct field_errors *e, const struct field_path *p, const cJSON *bad)
{
    add(e, FIELD_DUPLICATE, p, show(bad), NULL);
}

void field_duplicate_str(struct field_errors *e, const struct field_path *p, const char *bad)
{
    add(e, FIELD_DUPLICATE, p, quote(bad), NULL);
}

void field_too_long(struct field_errors *e, const struct field_path *p, int max_bytes)
{
    add(e, FIELD_TOO_LONG, p, NULL, mem_printf("may not be more than %d byte%s", max_bytes, max_bytes == 1 ? "" : "s"));
}

void field_too_many(struct field_errors *e, const struct field_path *p, int actual, int max)
{
    add(e, FIELD_TOO_MANY, p, mem_printf("%d", actual), mem_printf("must have at most %d item%s", max, max == 1 ? "" : "s"));
}

void field_not_found(struct field_errors *e, const struct field_path *p, const char *bad)
{
    add(e, FIELD_NOT_FOUND, p, quote(bad), NULL);
}

static bool printed_before(const struct field_errors *e, size_t i)
{
    for (size_t k = 0; k < i && i < 200; k++)
        if (!strcmp(e->items[k].field, e->items[i].field) && !strcmp(e->items[k].body, e->items[i].body))
            return true;
    return false;
}

bool field_errors_check(const struct field_errors *e, const char *group, const char *kind, const char *name,
                        struct error **err)
{
    if (!e->count)
        return true;
    cleanup_buf struct buf list = {0};
    cleanup_json cJSON *details = cJSON_CreateObject();
    cJSON *causes = cJSON_CreateArray();
    size_t shown = 0;
    for (size_t i = 0; i < e->count; i++) {
        const struct field_error *f = &e->items[i];
        cJSON *cause = cJSON_CreateObject();
        cJSON_AddStringToObject(cause, "reason", types[f->type].reason);
        cJSON_AddStringToObject(cause, "message", f->body);
        cJSON_AddStringToObject(cause, "field", f->field);
        cJSON_AddItemToArray(causes, cause);
        if (printed_before(e, i))
            continue;
        buf_printf(&list, "%s%s: %s", shown++ ? ", " : "", f->field, f->body);
    }
    if (*name)
        cJSON_AddStringToObject(details, "name", name);
    if (*group)
        cJSON_AddStringToObject(details, "group", group);
    if (*kind)
        cJSON_AddStringToObject(details, "kind", kind);
    cJSON_AddItemToObject(details, "causes", causes);
    error_set(err, 422, "Invalid", "%s%s%s \"%s\" is invalid: %s%s%s", kind, *group ? "." : "", group, name,
              shown > 1 ? "[" : "", buf_str(&list), shown > 1 ? "]" : "");
    if (err && *err) {
        free((*err)->details);
        (*err)->details = json_text(details);
    }
    return false;
}
