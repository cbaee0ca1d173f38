/* Does an applied document follow its schema? In the words of structured-merge-diff's validation.
 */
#include <string.h>
#include "apiserver/apply/typed.h"
#include "apiserver/patch/key_index.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

/* A path is a chain on the stack; text is ".name" or "[name=\"c\"]". */
struct place {
    const struct place *before;
    const char *text;
};

struct check {
    struct buf errors; /* "\n  <path>: <what>" each */
    int count;
    bool custom; /* fields of a custom resource's own */
};
enum { ERRORS_MAX = 20 };

static void add_place(const struct place *p, struct buf *b)
{
    if (!p)
        return;
    add_place(p->before, b);
    buf_adds(b, p->text);
}

static void fail(struct check *c, const struct place *p, const char *what)
{
    if (c->count++ >= ERRORS_MAX)
        return;
    buf_adds(&c->errors, "\n  ");
    add_place(p, &c->errors);
    buf_printf(&c->errors, ": %s", what);
}

static void wrong(struct check *c, const struct place *p, const char *expected, const cJSON *v)
{
    cleanup_free char *text = json_text(v);
    cleanup_free char *what = mem_printf("expected %s, got %.200s", expected, text);
    fail(c, p, what);
}

static void check_message(struct check *c, const struct schema_type *t, const cJSON *v,
                          const struct place *p);

static void check_scalar(struct check *c, const struct schema_field *f, const cJSON *v,
                         const struct place *p)
{
    switch ((enum schema_value)f->value) {
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        if (!cJSON_IsString(v))
            wrong(c, p, "string", v);
        break;
    case SCHEMA_BOOL:
        if (!cJSON_IsBool(v))
            wrong(c, p, "boolean", v);
        break;
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_DOUBLE:
        if (!cJSON_IsNumber(v)) {
            const char *is = cJSON_IsString(v)  ? "string"
                             : cJSON_IsBool(v)  ? "bool"
                             : cJSON_IsArray(v) ? "[]interface {}"
                                                : "map[string]interface {}";
            cleanup_free char *what = mem_printf("expected numeric (int or float), got %s", is);
            fail(c, p, what);
        }
        break;
    default:
        break;
    }
}

static void check_value(struct check *c, const struct schema_field *f, const cJSON *v,
                        const struct place *p)
{
    if (cJSON_IsNull(v))
        return;
    if (f->value == SCHEMA_MESSAGE)
        check_message(c, f->type, v, p);
    else
        check_scalar(c, f, v, p);
}

/* [name="c"], [containerPort=80,protocol="TCP"], [="x"]; NULL with what is wrong. */
static char *item_text(const struct schema_field *f, const cJSON *item, char **why)
{
    struct buf b = {0};
    buf_addc(&b, '[');
    if (f->list_type == SCHEMA_LIST_SET) {
        buf_addc(&b, '=');
        json_print(item, &b);
    } else {
        for (const char *k = f->list_keys; *k;) {
            size_t n = strcspn(k, ",");
            cleanup_free char *key = mem_strndup(k, n);
            k += n + (k[n] == ',');
            const cJSON *v = json_get(item, key);
            const struct schema_field *own = f->type ? schema_field(f->type, key) : NULL;
            if (!v && !(own && own->default_value)) {
                *why = mem_printf(
                    "associative list with keys has an element that omits key field \"%s\" (and "
                    "doesn't have default value)",
                    key);
                buf_free(&b);
                return NULL;
            }
            buf_printf(&b, "%s%s=", b.len > 1 ? "," : "", key);
            if (v)
                json_print(v, &b);
            else
                buf_adds(&b, own->default_value);
        }
    }
    buf_addc(&b, ']');
    return buf_take(&b);
}

static void check_list(struct check *c, const struct schema_field *f, const cJSON *v,
                       const struct place *p)
{
    cleanup_key_index struct key_index seen = {0};
    bool keyed =
        f->list_type == SCHEMA_LIST_SET || (f->list_type == SCHEMA_LIST_MAP && f->list_keys);
    const cJSON *item;
    int i = 0;
    cJSON_ArrayForEach(item, v)
    {
        cleanup_free char *why = NULL;
        cleanup_free char *text = keyed ? item_text(f, item, &why) : mem_printf("[%d]", i);
        i++;
        if (!text) {
            cleanup_free char *what = mem_printf("element %d: %s", i - 1, why);
            fail(c, p, what);
            continue;
        }
        if (keyed && key_index_get(&seen, text, 0)) {
            cleanup_free char *what = mem_printf("duplicate entries for key %s", text);
            fail(c, p, what);
        }
        if (keyed)
            key_index_set(&seen, text, 1);
        check_value(c, f, item, &(const struct place){p, text});
    }
}

static void check_field(struct check *c, const struct schema_field *f, const cJSON *v,
                        const struct place *p)
{
    const cJSON *m;
    if (cJSON_IsNull(v))
        return;
    switch ((enum schema_shape)f->shape) {
    case SCHEMA_ONE:
        check_value(c, f, v, p);
        break;
    case SCHEMA_LIST:
        if (cJSON_IsArray(v))
            check_list(c, f, v, p);
        else
            wrong(c, p, "list", v);
        break;
    default:
        if (!cJSON_IsObject(v)) {
            wrong(c, p, "map", v);
            break;
        }
        for (m = f->shape == SCHEMA_MAP ? v->child : NULL; m; m = m->next) {
            cleanup_free char *text = mem_printf(".%s", m->string);
            check_value(c, f, m, &(const struct place){p, text});
        }
        break;
    }
}

static void check_message(struct check *c, const struct schema_type *t, const cJSON *v,
                          const struct place *p)
{
    if (!cJSON_IsObject(v)) {
        wrong(c, p, "map", v);
        return;
    }
    bool open = t->flags & (c->custom ? SCHEMA_UNKNOWN_DEDUCED : SCHEMA_PRESERVE_UNKNOWN);
    const cJSON *m;
    cJSON_ArrayForEach(m, v)
    {
        const struct schema_field *f = schema_field(t, m->string);
        cleanup_free char *text = mem_printf(".%s", m->string);
        const struct place at = {p, text};
        if (f)
            check_field(c, f, m, &at);
        else if (!open && !(t->flags & SCHEMA_IS_KIND &&
                            (!strcmp(m->string, "apiVersion") || !strcmp(m->string, "kind"))))
            fail(c, &at, "field not declared in schema");
    }
}

bool typed_check(const struct schema_type *type, const cJSON *object, struct error **err)
{
    struct check c = {.custom = type->flags & SCHEMA_IS_CUSTOM};
    check_message(&c, type, object, NULL);
    if (c.count) {
        const char *ns = json_str_or(object, "metadata.namespace", ""),
                   *name = json_str_or(object, "metadata.name", "");
        const char *text = buf_str(&c.errors);
        error_set(err, 500, "", "failed to create typed patch object (%s/%s; %s/%s, Kind=%s): %s%s",
                  ns, name, strcmp(type->group, "meta.k8s.io") ? type->group : "", type->version,
                  type->name, c.count > 1 ? "errors:" : "", c.count > 1 ? text : text + 3);
    }
    buf_free(&c.errors);
    return c.count == 0;
}
