#include "apiserver/schema/json_syntax.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "common/mem.h"

struct scanner {
    const char *s;
    size_t n, i;
    char *error;
};

/* The character as Go quotes it, in its context; the end of the text when there is none. Always false. */
static bool fail(struct scanner *x, const char *context)
{
    if (x->i >= x->n) {
        x->error = mem_strdup("unexpected end of JSON input");
        return false;
    }
    unsigned char c = (unsigned char)x->s[x->i];
    static const char *const escapes[] = {['\a'] = "\\a", ['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n",
                                          ['\r'] = "\\r", ['\t'] = "\\t", ['\v'] = "\\v"};
    char quoted[8];
    if (c == '\'')
        strcpy(quoted, "\\'");
    else if (c == '"')
        strcpy(quoted, "\"");
    else if (c == '\\')
        strcpy(quoted, "\\\\");
    else if (c < sizeof escapes / sizeof *escapes && escapes[c])
        strcpy(quoted, escapes[c]);
    else if (c < 0x20 || c == 0x7f)
        snprintf(quoted, sizeof quoted, "\\x%02x", c);
    else if (c < 0x80)
        snprintf(quoted, sizeof quoted, "%c", c);
    else /* Go takes the byte for a code point */
        snprintf(quoted, sizeof quoted, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
    x->error = mem_printf("invalid character '%s' %s", quoted, context);
    return false;
}

static void skip_space(struct scanner *x)
{
    while (x->i < x->n && strchr(" \t\r\n", x->s[x->i]) && x->s[x->i])
        x->i++;
}

static int peek(const struct scanner *x)
{
    return x->i < x->n ? (unsigned char)x->s[x->i] : -1;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool scan_string(struct scanner *x)
{
    for (x->i++;; x->i++) {
        int c = peek(x);
        if (c < 0x20)
            return fail(x, "in string literal");
        if (c == '"') {
            x->i++;
            return true;
        }
        if (c != '\\')
            continue;
        x->i++;
        c = peek(x);
        if (c <= 0 || !strchr("\"\\/bfnrtu", c))
            return fail(x, "in string escape code");
        for (int k = 0; c == 'u' && k < 4; k++) {
            x->i++;
            if (!is_hex(peek(x)))
                return fail(x, "in \\u hexadecimal character escape");
        }
    }
}

static bool scan_number(struct scanner *x)
{
    if (peek(x) == '-')
        x->i++;
    if (!is_digit(peek(x)))
        return fail(x, "in numeric literal");
    if (peek(x) == '0')
        x->i++;
    else
        while (is_digit(peek(x)))
            x->i++;
    if (peek(x) == '.') {
        x->i++;
        if (!is_digit(peek(x)))
            return fail(x, "after decimal point in numeric literal");
        while (is_digit(peek(x)))
            x->i++;
    }
    if (peek(x) == 'e' || peek(x) == 'E') {
        x->i++;
        if (peek(x) == '+' || peek(x) == '-')
            x->i++;
        if (!is_digit(peek(x)))
            return fail(x, "in exponent of numeric literal");
        while (is_digit(peek(x)))
            x->i++;
    }
    return true;
}

static bool scan_literal(struct scanner *x, const char *word)
{
    for (const char *w = word + 1; *w; w++) {
        x->i++;
        if (peek(x) != *w) {
            cleanup_free char *context = mem_printf("in literal %s (expecting '%c')", word, *w);
            return fail(x, context);
        }
    }
    x->i++;
    return true;
}

/* A scalar, or the opening bracket of a value (*open is set then). */
static bool scan_begin(struct scanner *x, bool *open)
{
    *open = false;
    switch (peek(x)) {
    case '{':
    case '[':
        *open = true;
        x->i++;
        return true;
    case '"':
        return scan_string(x);
    case 't':
        return scan_literal(x, "true");
    case 'f':
        return scan_literal(x, "false");
    case 'n':
        return scan_literal(x, "null");
    default:
        if (is_digit(peek(x)) || peek(x) == '-')
            return scan_number(x);
        return fail(x, "looking for beginning of value");
    }
}

static bool scan_key(struct scanner *x)
{
    skip_space(x);
    if (peek(x) != '"')
        return fail(x, "looking for beginning of object key string");
    if (!scan_string(x))
        return false;
    skip_space(x);
    if (peek(x) != ':')
        return fail(x, "after object key");
    x->i++;
    return true;
}

static bool scan(struct scanner *x)
{
    bool in_object[JSON_DEPTH_MAX];
    int depth = 0;
    for (;;) {
        /* A value begins here. */
        bool open;
        skip_space(x);
        if (!scan_begin(x, &open))
            return false;
        if (open) {
            if (depth == JSON_DEPTH_MAX) {
                x->error = mem_strdup("exceeded max depth");
                return false;
            }
            in_object[depth++] = x->s[x->i - 1] == '{';
            skip_space(x);
            if (peek(x) != (in_object[depth - 1] ? '}' : ']')) {
                if (in_object[depth - 1] && !scan_key(x))
                    return false;
                continue;
            }
        }
        /* A value has ended, or the bracket that closes an empty one comes. */
        for (;;) {
            skip_space(x);
            if (depth == 0)
                return x->i == x->n || fail(x, "after top-level value");
            int c = peek(x);
            if (c == (in_object[depth - 1] ? '}' : ']')) {
                x->i++;
                depth--;
                continue;
            }
            if (c != ',')
                return fail(x, in_object[depth - 1] ? "after object key:value pair" : "after array element");
            x->i++;
            break;
        }
        if (in_object[depth - 1] && !scan_key(x))
            return false;
    }
}

char *json_syntax_error(const char *text, size_t len)
{
    struct scanner x = {text, len, 0, NULL};
    scan(&x);
    return x.error;
}
