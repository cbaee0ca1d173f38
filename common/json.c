#include "common/json.h"
#include "common/mem.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cJSON *json_parse(const char *text, size_t len, struct error **err)
{
    const char *end = NULL;
    cJSON *o = cJSON_ParseWithLengthOpts(text, len, &end, false);
    if (o) {
        while (end < text + len && strchr(" \t\r\n", *end) && *end)
            end++;
        if (end == text + len || *end == '\0')
            return o;
        cJSON_Delete(o);
        error_setf(err, "invalid character %s after top-level value",
                   (unsigned char)*end < 0x20 ? "(control)" : (char[]){'\'', *end, '\'', 0});
        return NULL;
    }
    size_t at = end && end >= text ? (size_t)(end - text) : 0;
    if (len == 0 || at + 1 >= len)
        error_setf(err, "unexpected end of JSON input");
    else
        error_setf(err, "invalid JSON at offset %zu", at);
    return NULL;
}

cJSON *json_get(const cJSON *o, const char *key)
{
    if (!cJSON_IsObject(o))
        return NULL;
    for (cJSON *c = o->child; c; c = c->next)
        if (c->string && !strcmp(c->string, key))
            return c;
    return NULL;
}

static cJSON *get_n(const cJSON *o, const char *key, size_t n)
{
    if (!cJSON_IsObject(o))
        return NULL;
    for (cJSON *c = o->child; c; c = c->next)
        if (c->string && !strncmp(c->string, key, n) && c->string[n] == '\0')
            return c;
    return NULL;
}

cJSON *json_path(const cJSON *o, const char *dotted)
{
    const cJSON *at = o;
    while (at) {
        const char *dot = strchrnul(dotted, '.');
        at = get_n(at, dotted, (size_t)(dot - dotted));
        if (!*dot)
            return (cJSON *)at;
        dotted = dot + 1;
    }
    return NULL;
}

const char *json_str(const cJSON *o, const char *dotted)
{
    return cJSON_GetStringValue(json_path(o, dotted));
}

const char *json_str_or(const cJSON *o, const char *dotted, const char *otherwise)
{
    const char *s = json_str(o, dotted);
    return s ? s : otherwise;
}

int64_t json_int(const cJSON *o, const char *dotted, int64_t otherwise)
{
    const cJSON *v = json_path(o, dotted);
    if (!cJSON_IsNumber(v) || isnan(v->valuedouble))
        return otherwise;
    if (v->valuedouble >= 9.2233720368547758e18)
        return INT64_MAX;
    if (v->valuedouble <= -9.2233720368547758e18)
        return INT64_MIN;
    return (int64_t)v->valuedouble;
}

bool json_bool(const cJSON *o, const char *dotted, bool otherwise)
{
    const cJSON *v = json_path(o, dotted);
    return cJSON_IsBool(v) ? cJSON_IsTrue(v) : otherwise;
}

const char *json_map_str(const cJSON *map, const char *key)
{
    return cJSON_GetStringValue(json_get(map, key));
}

void json_map_set(cJSON *map, const char *key, cJSON *item)
{
    cJSON *old = json_get(map, key);
    if (old) {
        free(item->string);
        item->string = mem_strdup(key);
        cJSON_ReplaceItemViaPointer(map, old, item);
    } else {
        cJSON_AddItemToObject(map, key, item);
    }
}

void json_map_set_str(cJSON *map, const char *key, const char *value)
{
    if (value)
        json_map_set(map, key, cJSON_CreateString(value));
    else
        cJSON_Delete(cJSON_DetachItemViaPointer(map, json_get(map, key)));
}

/* The object that holds the last part of a dotted path; *last is that part. */
static cJSON *parent_of(cJSON *o, const char *dotted, const char **last, bool make)
{
    for (;;) {
        const char *dot = strchr(dotted, '.');
        if (!dot) {
            *last = dotted;
            return o;
        }
        cJSON *next = get_n(o, dotted, (size_t)(dot - dotted));
        if (!cJSON_IsObject(next)) {
            if (!make)
                return NULL;
            cleanup_free char *key = mem_strndup(dotted, (size_t)(dot - dotted));
            next = cJSON_CreateObject();
            json_map_set(o, key, next);
        }
        o = next;
        dotted = dot + 1;
    }
}

void json_set(cJSON *o, const char *dotted, cJSON *item)
{
    const char *last;
    cJSON *parent = parent_of(o, dotted, &last, true);
    json_map_set(parent, last, item);
}

void json_set_str(cJSON *o, const char *dotted, const char *value)
{
    if (value)
        json_set(o, dotted, cJSON_CreateString(value));
    else
        json_remove(o, dotted);
}

void json_set_int(cJSON *o, const char *dotted, int64_t value)
{
    json_set(o, dotted, cJSON_CreateNumber((double)value));
}

void json_set_bool(cJSON *o, const char *dotted, bool value)
{
    json_set(o, dotted, cJSON_CreateBool(value));
}

void json_remove(cJSON *o, const char *dotted)
{
    const char *last;
    cJSON *parent = parent_of(o, dotted, &last, false);
    cJSON *item = parent ? json_get(parent, last) : NULL;
    if (item)
        cJSON_Delete(cJSON_DetachItemViaPointer(parent, item));
}

cJSON *json_ensure_object(cJSON *o, const char *dotted)
{
    cJSON *at = json_path(o, dotted);
    if (!cJSON_IsObject(at)) {
        at = cJSON_CreateObject();
        json_set(o, dotted, at);
    }
    return at;
}

cJSON *json_ensure_array(cJSON *o, const char *dotted)
{
    cJSON *at = json_path(o, dotted);
    if (!cJSON_IsArray(at)) {
        at = cJSON_CreateArray();
        json_set(o, dotted, at);
    }
    return at;
}

bool json_has_str(const cJSON *array, const char *text)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, array)
    {
        if (cJSON_IsString(m) && strcmp(m->valuestring, text) == 0)
            return true;
    }
    return false;
}

void json_keep_only(cJSON *o, const char *const *names)
{
    for (cJSON *m = cJSON_IsObject(o) ? o->child : NULL, *next; m; m = next) {
        next = m->next;
        bool keep = false;
        for (const char *const *n = names; *n && !keep; n++)
            keep = strcmp(m->string, *n) == 0;
        if (!keep)
            cJSON_Delete(cJSON_DetachItemViaPointer(o, m));
    }
}

bool json_equal(const cJSON *a, const cJSON *b)
{
    if (!a || !b)
        return a == b;
    if ((a->type & 0xff) != (b->type & 0xff))
        return false;
    switch (a->type & 0xff) {
    case cJSON_Number:
        return a->valuedouble == b->valuedouble;
    case cJSON_String:
    case cJSON_Raw:
        return !strcmp(a->valuestring, b->valuestring);
    case cJSON_Array: {
        const cJSON *x = a->child, *y = b->child;
        for (; x && y; x = x->next, y = y->next)
            if (!json_equal(x, y))
                return false;
        return !x && !y;
    }
    case cJSON_Object: {
        int count_a = 0, count_b = 0;
        for (const cJSON *y = b->child; y; y = y->next)
            count_b++;
        /* Members mostly stand in the same order: look at the same place first. */
        const cJSON *hint = b->child;
        for (const cJSON *x = a->child; x; x = x->next, count_a++) {
            const cJSON *y = hint && hint->string && !strcmp(hint->string, x->string) ? hint : json_get(b, x->string);
            if (!y || !json_equal(x, y))
                return false;
            hint = y->next;
        }
        return count_a == count_b;
    }
    default:
        return true;
    }
}

cJSON *json_dup(const cJSON *o)
{
    return o ? cJSON_Duplicate(o, true) : NULL;
}

/* Length of the UTF-8 sequence at s (n bytes left); 0 if it is none (overlong, surrogate, cut off). */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        return n >= 2 && (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((s[0] & 0xf0) == 0xe0) {
        if (n < 3 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
            return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0))
            return 0;
        return 3;
    }
    if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        if (n < 4 || (s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
            return 0;
        if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
            return 0;
        return 4;
    }
    return 0;
}

void json_print_string(const char *text, size_t len, struct buf *b)
{
    const unsigned char *s = (const unsigned char *)text;
    buf_addc(b, '"');
    size_t plain = 0; /* start of the run that can be copied as it is */
    for (size_t i = 0; i < len;) {
        unsigned char c = s[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t sequence = utf8_length(s + i, len - i);
        if (sequence > 1) {
            i += sequence;
            continue;
        }
        buf_add(b, s + plain, i - plain);
        switch (c) {
        case '"':
            buf_adds(b, "\\\"");
            break;
        case '\\':
            buf_adds(b, "\\\\");
            break;
        case '\n':
            buf_adds(b, "\\n");
            break;
        case '\r':
            buf_adds(b, "\\r");
            break;
        case '\t':
            buf_adds(b, "\\t");
            break;
        default:
            if (sequence == 0)
                buf_adds(b, "\xef\xbf\xbd");
            else if (c == 0x7f)
                buf_addc(b, (char)c);
            else
                buf_printf(b, "\\u%04x", c);
        }
        plain = ++i;
    }
    buf_add(b, s + plain, len - plain);
    buf_addc(b, '"');
}

static void print_number(double d, struct buf *b)
{
    if (isnan(d) || isinf(d)) {
        buf_adds(b, "null");
    } else if (d == floor(d) && fabs(d) < 9.2e18) {
        buf_printf(b, "%lld", (long long)d);
    } else {
        char text[32];
        snprintf(text, sizeof(text), "%.15g", d);
        if (strtod(text, NULL) != d)
            snprintf(text, sizeof(text), "%.17g", d);
        buf_adds(b, text);
    }
}

void json_print(const cJSON *o, struct buf *b)
{
    switch (o ? o->type & 0xff : cJSON_NULL) {
    case cJSON_False:
        buf_adds(b, "false");
        break;
    case cJSON_True:
        buf_adds(b, "true");
        break;
    case cJSON_Number:
        print_number(o->valuedouble, b);
        break;
    case cJSON_String:
        json_print_string(o->valuestring, strlen(o->valuestring), b);
        break;
    case cJSON_Raw:
        buf_adds(b, o->valuestring);
        break;
    case cJSON_Array:
        buf_addc(b, '[');
        for (const cJSON *c = o->child; c; c = c->next) {
            json_print(c, b);
            if (c->next)
                buf_addc(b, ',');
        }
        buf_addc(b, ']');
        break;
    case cJSON_Object:
        buf_addc(b, '{');
        for (const cJSON *c = o->child; c; c = c->next) {
            json_print_string(c->string, strlen(c->string), b);
            buf_addc(b, ':');
            json_print(c, b);
            if (c->next)
                buf_addc(b, ',');
        }
        buf_addc(b, '}');
        break;
    default:
        buf_adds(b, "null");
    }
}

char *json_text(const cJSON *o)
{
    struct buf b = {0};
    json_print(o, &b);
    return buf_take(&b);
}

void json_cleanup(cJSON **o)
{
    cJSON_Delete(*o);
    *o = NULL;
}
