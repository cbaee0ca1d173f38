#include "common/yaml.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "common/json.h"
#include "common/mem.h"

enum { DEPTH_MAX = 1000, VALUES_MAX = 1000000 };

struct conversion {
    yaml_document_t document;
    long values;
    struct buf *duplicates; /* NULL: a key that comes twice is an error */
    struct error **err;
};

static bool one_of(const char *text, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(text, *list))
            return true;
    return false;
}

/* Digits with "_" between them, as YAML 1.1 allows. */
static char *without_underscores(const char *text)
{
    char *out = mem_strdup(text), *to = out;
    for (const char *p = text; *p; p++)
        if (*p != '_')
            *to++ = *p;
    *to = 0;
    return out;
}

static cJSON *integer(const char *digits)
{
    const char *p = digits + (*digits == '-' || *digits == '+');
    int base = 10;
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'o' || p[1] == 'b')) {
        base = p[1] == 'x' ? 16 : p[1] == 'o' ? 8 : 2;
        p += 2;
    } else if (p[0] == '0' && p[1]) {
        base = 8;
    }
    static const char all[] = "0123456789abcdefABCDEF";
    if (!*p || strspn(p, base == 16   ? all
                         : base == 10 ? "0123456789"
                         : base == 8  ? "01234567"
                                      : "01") != strlen(p))
        return NULL;
    errno = 0;
    unsigned long long v = strtoull(p, NULL, base);
    if (errno)
        return NULL;
    if (v < 1ULL << 53)
        return cJSON_CreateNumber(*digits == '-' ? -(double)v : (double)v);
    char text[24];
    snprintf(text, sizeof text, "%s%llu", *digits == '-' ? "-" : "", v);
    return cJSON_CreateRaw(text);
}

static cJSON *real(const char *digits)
{
    const char *p = digits + (*digits == '-' || *digits == '+');
    if (strspn(p, "0123456789.eE+-") != strlen(p) || (*p != '.' && (*p < '0' || *p > '9')) ||
        !strpbrk(p, "0123456789"))
        return NULL;
    char *end;
    double d = strtod(digits, &end);
    return *end || !isfinite(d) ? NULL : cJSON_CreateNumber(d);
}

cJSON *yaml_plain_scalar(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", "yes", "Yes",
                                        "YES",  "on",   "On",   "ON",  NULL};
    static const char *const falses[] = {"false", "False", "FALSE", "no",  "No",
                                         "NO",    "off",   "Off",   "OFF", NULL};
    if (one_of(text, nulls))
        return cJSON_CreateNull();
    if (one_of(text, trues))
        return cJSON_CreateTrue();
    if (one_of(text, falses))
        return cJSON_CreateFalse();
    if (strchr("0123456789+-.", *text)) {
        cleanup_free char *digits = without_underscores(text);
        cJSON *number = integer(digits);
        if (!number)
            number = real(digits);
        if (number)
            return number;
    }
    return cJSON_CreateString(text);
}

static cJSON *scalar(struct conversion *c, const yaml_node_t *n)
{
    const char *text = (const char *)n->data.scalar.value;
    if (strlen(text) != n->data.scalar.length) {
        error_setf(c->err, "yaml: control characters are not allowed");
        return NULL;
    }
    bool tagged = n->tag && strcmp((const char *)n->tag, YAML_STR_TAG) != 0;
    if (n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE || tagged)
        return yaml_plain_scalar(text);
    return cJSON_CreateString(text);
}

static cJSON *convert(struct conversion *c, int index, int depth);

/* "<<": the members of another map (or of several) that are not here. */
static bool merge_into(cJSON *map, const cJSON *from)
{
    const cJSON *m;
    if (cJSON_IsArray(from)) {
        cJSON_ArrayForEach(m, from) if (!merge_into(map, m)) return false;
        return true;
    }
    if (!cJSON_IsObject(from))
        return false;
    cJSON_ArrayForEach(m, from) if (!json_get(map, m->string))
        json_map_set(map, m->string, json_dup(m));
    return true;
}

/* One pair of a map. */
struct member {
    cJSON *value; /* in the map, under its name */
    size_t line;  /* of its key, from 1 */
};

static int by_name(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->value->string, y->value->string);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* Of pairs with one key the last stays, where that is allowed. Sorts, since a map may be large. */
static bool one_each(struct conversion *c, cJSON *map, struct member *members, size_t n)
{
    qsort(members, n, sizeof *members, by_name);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(members[i - 1].value->string, members[i].value->string) != 0)
            continue;
        if (!c->duplicates) {
            error_setf(c->err, "yaml: line %zu: key \"%s\" already set in map", members[i].line,
                       members[i].value->string);
            return false;
        }
        buf_printf(c->duplicates, "\n  line %zu: key \"%s\" already set in map", members[i].line,
                   members[i].value->string);
        cJSON_Delete(cJSON_DetachItemViaPointer(map, members[i - 1].value));
    }
    return true;
}

/* The value, added to the map; NULL in *value when it is "<<". */
static bool convert_pair(struct conversion *c, const yaml_node_pair_t *p, int depth, cJSON *map,
                         cJSON **merged, struct member *out)
{
    const yaml_node_t *key = yaml_document_get_node(&c->document, p->key);
    if (!key || key->type != YAML_SCALAR_NODE) {
        error_setf(c->err, "yaml: invalid map key");
        return false;
    }
    const char *name = (const char *)key->data.scalar.value;
    cJSON *value = convert(c, p->value, depth + 1);
    if (!value)
        return false;
    if (!strcmp(name, "<<") && key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        cJSON_Delete(*merged);
        *merged = value;
        *out = (struct member){0};
        return true;
    }
    cJSON_AddItemToObject(map, name, value);
    *out = (struct member){value, key->start_mark.line + 1};
    return true;
}

static cJSON *mapping(struct conversion *c, const yaml_node_t *n, int depth)
{
    cleanup_json cJSON *map = cJSON_CreateObject(), *merged = NULL;
    const yaml_node_pair_t *first = n->data.mapping.pairs.start, *end = n->data.mapping.pairs.top;
    cleanup_free struct member *members = mem_alloc(sizeof *members * (size_t)(end - first + 1));
    size_t count = 0;
    for (const yaml_node_pair_t *p = first; p < end; p++) {
        if (!convert_pair(c, p, depth, map, &merged, &members[count]))
            return NULL;
        count += members[count].value != NULL;
    }
    if (!one_each(c, map, members, count))
        return NULL;
    if (merged && !merge_into(map, merged)) {
        error_setf(c->err, "yaml: map merge requires map or sequence of maps as the value");
        return NULL;
    }
    cJSON *out = map;
    map = NULL;
    return out;
}

static cJSON *convert(struct conversion *c, int index, int depth)
{
    yaml_node_t *n = yaml_document_get_node(&c->document, index);
    if (!n || depth > DEPTH_MAX || ++c->values > VALUES_MAX) {
        error_setf(c->err, "yaml: document contains excessive aliasing or nesting");
        return NULL;
    }
    if (n->type == YAML_SCALAR_NODE)
        return scalar(c, n);
    if (n->type == YAML_MAPPING_NODE)
        return mapping(c, n, depth);
    cJSON *list = cJSON_CreateArray();
    for (const yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top;
         i++) {
        cJSON *item = convert(c, *i, depth + 1);
        if (!item) {
            cJSON_Delete(list);
            return NULL;
        }
        cJSON_AddItemToArray(list, item);
    }
    return list;
}

cJSON *yaml_to_json(const char *text, size_t len, struct error **err)
{
    return yaml_to_json_noting(text, len, NULL, err);
}

cJSON *yaml_to_json_noting(const char *text, size_t len, struct buf *duplicates, struct error **err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        error_setf(err, "yaml: out of memory");
        return NULL;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    struct conversion c = {.duplicates = duplicates, .err = err};
    cJSON *out = NULL;
    if (!yaml_parser_load(&parser, &c.document)) {
        error_setf(err, "yaml: line %zu: %s", parser.problem_mark.line + 1,
                   parser.problem ? parser.problem : "cannot be read");
    } else {
        if (yaml_document_get_root_node(&c.document))
            out = convert(&c, 1, 0);
        else
            out = cJSON_CreateNull();
        yaml_document_delete(&c.document);
    }
    yaml_parser_delete(&parser);
    return out;
}
