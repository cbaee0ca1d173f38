/* Parses label and field selectors with the grammar and the messages of apimachinery. */
#include "common/selector.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

enum selector_operator {
    OP_IN,
    OP_NOT_IN,
    OP_EQUALS,
    OP_NOT_EQUALS,
    OP_EXISTS,
    OP_DOES_NOT_EXIST,
    OP_GREATER,
    OP_LESS
};

struct requirement {
    char *key;
    enum selector_operator op;
    char **values;
    size_t count;
    long long number; /* of > and < */
};

struct label_selector {
    struct requirement *requirements;
    size_t count;
    bool nothing;
};

static void requirement_clear(struct requirement *r)
{
    free(r->key);
    for (size_t i = 0; i < r->count; i++)
        free(r->values[i]);
    free(r->values);
    *r = (struct requirement){0};
}

static void requirement_add_value(struct requirement *r, const char *value)
{
    for (size_t i = 0; i < r->count; i++)
        if (!strcmp(r->values[i], value))
            return;
    r->values = mem_realloc(r->values, (r->count + 1) * sizeof(char *));
    r->values[r->count++] = mem_strdup(value);
}

void label_selector_free(struct label_selector *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        requirement_clear(&s->requirements[i]);
    free(s->requirements);
    free(s);
}

static void selector_cleanup(struct label_selector **s)
{
    label_selector_free(*s);
}
#define cleanup_selector __attribute__((cleanup(selector_cleanup)))

/* Takes the requirement. Kept sorted by key, as the canonical text is. */
static void selector_add(struct label_selector *s, struct requirement *r)
{
    s->requirements = mem_realloc(s->requirements, (s->count + 1) * sizeof(*r));
    size_t at = s->count++;
    while (at > 0 && strcmp(s->requirements[at - 1].key, r->key) > 0) {
        s->requirements[at] = s->requirements[at - 1];
        at--;
    }
    s->requirements[at] = *r;
    *r = (struct requirement){0};
}

/* --- validation of keys and values --- */

#define QUALIFIED_NAME                                                                                       \
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric " \
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "                  \
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"

static bool is_name(const char *s, size_t n)
{
    if (!n || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("-_.", s[i]))
            return false;
    return true;
}

static bool is_subdomain(const char *s, size_t n)
{
    size_t label = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i == n || s[i] == '.') {
            if (i == label || s[label] == '-' || s[i - 1] == '-')
                return false;
            label = i + 1;
        } else if (!(s[i] >= 'a' && s[i] <= 'z') && !isdigit((unsigned char)s[i]) && s[i] != '-') {
            return false;
        }
    }
    return true;
}

static bool check_key(const char *key, struct error **err)
{
    cleanup_buf struct buf why = {0};
    const char *slash = strchr(key, '/');
    const char *name = slash ? slash + 1 : key;
    if (slash && strchr(name, '/')) {
        buf_adds(&why, "a qualified name " QUALIFIED_NAME
                       " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
    } else {
        if (slash) {
            size_t n = (size_t)(slash - key);
            if (!n)
                buf_adds(&why, "prefix part must be non-empty");
            else if (n > 253)
                buf_adds(&why, "prefix part must be no more than 253 characters");
            else if (!is_subdomain(key, n))
                buf_adds(
                    &why,
                    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
                    "characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
                    "'example.com', regex used for validation is "
                    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
        }
        size_t n = strlen(name);
        const char *separator = why.len ? "; " : "";
        if (!n)
            buf_printf(&why, "%sname part must be non-empty", separator);
        else if (n > 63)
            buf_printf(&why, "%sname part must be no more than 63 characters", separator);
        separator = why.len ? "; " : "";
        if (!is_name(name, n))
            buf_printf(&why, "%sname part " QUALIFIED_NAME, separator);
    }
    if (!why.len)
        return true;
    error_set(err, 400, "BadRequest", "<nil>: Invalid value: \"%s\": %s", key, why.data);
    return false;
}

static bool check_value(const char *key, size_t index, const char *value, struct error **err)
{
    size_t n = strlen(value);
    cleanup_buf struct buf why = {0};
    if (n > 63)
        buf_adds(&why, "must be no more than 63 characters");
    if (n && !is_name(value, n))
        buf_printf(
            &why,
            "%sa valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
            "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            why.len ? "; " : "");
    if (!why.len)
        return true;
    error_set(err, 400, "BadRequest", "values[%zu][%s]: Invalid value: \"%s\": %s", index, key, value,
              why.data);
    return false;
}

static bool parse_integer(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *text && !isspace((unsigned char)*text) && !*end && !errno;
}

static bool check_requirement(struct requirement *r, struct error **err)
{
    if (!check_key(r->key, err))
        return false;
    if ((r->op == OP_IN || r->op == OP_NOT_IN) && !r->count) {
        error_set(err, 400, "BadRequest",
                  "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
        return false;
    }
    if ((r->op == OP_EXISTS || r->op == OP_DOES_NOT_EXIST) && r->count) {
        error_set(err, 400, "BadRequest",
                  "values: Invalid value: [\"%s\"]: values set must be empty for exists and does not exist",
                  r->values[0]);
        return false;
    }
    if (r->op == OP_GREATER || r->op == OP_LESS) {
        if (!parse_integer(r->values[0], &r->number)) {
            error_set(
                err, 400, "BadRequest",
                "values[0]: Invalid value: \"%s\": for 'Gt', 'Lt' operators, the value must be an integer",
                r->values[0]);
            return false;
        }
    }
    for (size_t i = 0; i < r->count; i++)
        if (!check_value(r->key, i, r->values[i], err))
            return false;
    return true;
}

/* --- lexer --- */

enum token {
    TOKEN_END,
    TOKEN_ERROR,
    TOKEN_CLOSE,
    TOKEN_COMMA,
    TOKEN_NOT,
    TOKEN_DOUBLE_EQUALS,
    TOKEN_EQUALS,
    TOKEN_GREATER,
    TOKEN_IDENTIFIER,
    TOKEN_IN,
    TOKEN_LESS,
    TOKEN_NOT_EQUALS,
    TOKEN_NOT_IN,
    TOKEN_OPEN,
};
struct parser {
    const char *p;
    enum token token; /* the one looked at */
    char *literal;
};

static const struct {
    const char *text;
    enum token token;
} symbols[] = {{"==", TOKEN_DOUBLE_EQUALS}, {"!=", TOKEN_NOT_EQUALS}, {")", TOKEN_CLOSE},
               {",", TOKEN_COMMA},          {"!", TOKEN_NOT},         {"=", TOKEN_EQUALS},
               {">", TOKEN_GREATER},        {"<", TOKEN_LESS},        {"(", TOKEN_OPEN}};

static void advance(struct parser *ps)
{
    while (*ps->p && strchr(" \t\r\n", *ps->p))
        ps->p++;
    free(ps->literal);
    ps->literal = NULL;
    if (!*ps->p) {
        ps->token = TOKEN_END;
        ps->literal = mem_strdup("");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
        size_t n = strlen(symbols[i].text);
        if (!strncmp(ps->p, symbols[i].text, n)) {
            ps->token = symbols[i].token;
            ps->literal = mem_strdup(symbols[i].text);
            ps->p += n;
            return;
        }
    }
    size_t n = strcspn(ps->p, " \t\r\n=!(),><");
    ps->literal = mem_strndup(ps->p, n);
    ps->p += n;
    ps->token = !strcmp(ps->literal, "in")      ? TOKEN_IN
                : !strcmp(ps->literal, "notin") ? TOKEN_NOT_IN
                                                : TOKEN_IDENTIFIER;
}

/* Where a value or key stands, "in" and "notin" are ordinary words. */
static enum token peek_value(const struct parser *ps)
{
    return ps->token == TOKEN_IN || ps->token == TOKEN_NOT_IN ? TOKEN_IDENTIFIER : ps->token;
}

static bool unexpected(struct parser *ps, const char *format_tail, struct error **err)
{
    error_set(err, 400, "BadRequest", "found '%s'%s", ps->literal, format_tail);
    return false;
}

static bool parse_value_list(struct parser *ps, struct requirement *r, struct error **err)
{
    if (peek_value(ps) != TOKEN_OPEN)
        return unexpected(ps, " expected: '('", err);
    advance(ps);
    if (peek_value(ps) == TOKEN_CLOSE) {
        advance(ps);
        return true;
    }
    if (peek_value(ps) != TOKEN_IDENTIFIER && peek_value(ps) != TOKEN_COMMA)
        return unexpected(ps, ", expected: ',', ')' or identifier", err);
    for (;;) {
        /* An absent value is the empty one: "(a,)" and "(,a)". */
        if (peek_value(ps) == TOKEN_IDENTIFIER) {
            requirement_add_value(r, ps->literal);
            advance(ps);
            if (peek_value(ps) != TOKEN_COMMA && peek_value(ps) != TOKEN_CLOSE)
                return unexpected(ps, ", expected: ',' or ')'", err);
        } else if (peek_value(ps) == TOKEN_COMMA || peek_value(ps) == TOKEN_CLOSE) {
            requirement_add_value(r, "");
        } else {
            return unexpected(ps, ", expected: ',', or identifier", err);
        }
        bool comma = peek_value(ps) == TOKEN_COMMA;
        advance(ps);
        if (!comma)
            return true;
    }
}

static bool parse_requirement(struct parser *ps, struct requirement *r, struct error **err)
{
    bool negated = peek_value(ps) == TOKEN_NOT;
    if (negated)
        advance(ps);
    if (peek_value(ps) != TOKEN_IDENTIFIER)
        return unexpected(ps, ", expected: identifier", err);
    r->key = mem_strdup(ps->literal);
    advance(ps);
    if (!check_key(r->key, err))
        return false;
    if (negated) {
        r->op = OP_DOES_NOT_EXIST;
        return true;
    }
    switch (ps->token) {
    case TOKEN_END:
    case TOKEN_COMMA:
        r->op = OP_EXISTS;
        return true;
    case TOKEN_IN:
    case TOKEN_NOT_IN:
        r->op = ps->token == TOKEN_IN ? OP_IN : OP_NOT_IN;
        advance(ps);
        return parse_value_list(ps, r, err) && check_requirement(r, err);
    case TOKEN_EQUALS:
    case TOKEN_DOUBLE_EQUALS:
        r->op = OP_EQUALS;
        break;
    case TOKEN_NOT_EQUALS:
        r->op = OP_NOT_EQUALS;
        break;
    case TOKEN_GREATER:
        r->op = OP_GREATER;
        break;
    case TOKEN_LESS:
        r->op = OP_LESS;
        break;
    default:
        return unexpected(ps, ", expected: in, notin, =, ==, !=, gt, lt", err);
    }
    advance(ps);
    if (peek_value(ps) == TOKEN_END || peek_value(ps) == TOKEN_COMMA) {
        requirement_add_value(r, "");
    } else if (peek_value(ps) == TOKEN_IDENTIFIER) {
        requirement_add_value(r, ps->literal);
        advance(ps);
    } else {
        return unexpected(ps, ", expected: identifier", err);
    }
    return check_requirement(r, err);
}

static bool parse_selector(struct parser *ps, struct label_selector *s, struct error **err)
{
    advance(ps);
    if (ps->token == TOKEN_END)
        return true;
    if (peek_value(ps) != TOKEN_IDENTIFIER && ps->token != TOKEN_NOT)
        return unexpected(ps, ", expected: !, identifier, or 'end of string'", err);
    for (;;) {
        struct requirement r = {0};
        if (!parse_requirement(ps, &r, err)) {
            requirement_clear(&r);
            error_wrap(err, "unable to parse requirement");
            return false;
        }
        selector_add(s, &r);
        if (ps->token == TOKEN_END)
            return true;
        if (ps->token != TOKEN_COMMA)
            return unexpected(ps, ", expected: ',' or 'end of string'", err);
        advance(ps);
        if (peek_value(ps) != TOKEN_IDENTIFIER && ps->token != TOKEN_NOT)
            return unexpected(ps, ", expected: identifier after ','", err);
    }
}

struct label_selector *label_selector_parse(const char *text, struct error **err)
{
    cleanup_selector struct label_selector *s = mem_alloc(sizeof(*s));
    struct parser ps = {.p = text ? text : ""};
    bool ok = parse_selector(&ps, s, err);
    free(ps.literal);
    if (!ok)
        return NULL;
    struct label_selector *result = s;
    s = NULL;
    return result;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct label_selector *label_selector_from_json(const cJSON *selector, struct error **err)
{
    cleanup_selector struct label_selector *s = mem_alloc(sizeof(*s));
    s->nothing = !selector || cJSON_IsNull(selector);
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(selector, "matchLabels")) {
        if (!item->string)
            continue; /* no map */
        struct requirement r = {.key = mem_strdup(item->string), .op = OP_EQUALS};
        requirement_add_value(&r, cJSON_IsString(item) ? item->valuestring : "");
        if (!check_requirement(&r, err)) {
            requirement_clear(&r);
            return NULL;
        }
        selector_add(s, &r);
    }
    cJSON_ArrayForEach(item, json_get(selector, "matchExpressions")) {
        static const struct {
            const char *name;
            enum selector_operator op;
        } operators[] = {
            {"In", OP_IN}, {"NotIn", OP_NOT_IN}, {"Exists", OP_EXISTS}, {"DoesNotExist", OP_DOES_NOT_EXIST}};
        const char *name = json_str_or(item, "operator", "");
        size_t i = 0;
        while (i < ARRAY_LEN(operators) && strcmp(operators[i].name, name))
            i++;
        if (i == ARRAY_LEN(operators)) {
            error_set(err, 400, "BadRequest", "\"%s\" is not a valid label selector operator", name);
            return NULL;
        }
        struct requirement r = {.key = mem_strdup(json_str_or(item, "key", "")), .op = operators[i].op};
        const cJSON *v;
        cJSON_ArrayForEach(v, json_get(item, "values"))
            requirement_add_value(&r, cJSON_IsString(v) ? v->valuestring : "");
        if (r.count > 1)
            qsort(r.values, r.count, sizeof(char *), compare_strings);
        if (!check_requirement(&r, err)) {
            requirement_clear(&r);
            return NULL;
        }
        selector_add(s, &r);
    }
    struct label_selector *result = s;
    s = NULL;
    return result;
}

struct label_selector *label_selector_from_map(const cJSON *map)
{
    struct label_selector *s = mem_alloc(sizeof(*s));
    const cJSON *item;
    cJSON_ArrayForEach(item, map) {
        if (!item->string)
            continue;
        struct requirement r = {.key = mem_strdup(item->string), .op = OP_EQUALS};
        requirement_add_value(&r, cJSON_IsString(item) ? item->valuestring : "");
        selector_add(s, &r);
    }
    return s;
}

/* --- matching --- */

/* value: NULL when the label is absent. */
static bool requirement_matches(const struct requirement *r, const char *value)
{
    bool found = false;
    if (value)
        for (size_t i = 0; i < r->count && !found; i++)
            found = !strcmp(r->values[i], value);
    long long n;
    switch (r->op) {
    case OP_IN:
    case OP_EQUALS:
        return found;
    case OP_NOT_IN:
    case OP_NOT_EQUALS:
        return !found;
    case OP_EXISTS:
        return value != NULL;
    case OP_DOES_NOT_EXIST:
        return value == NULL;
    case OP_GREATER:
        return value && parse_integer(value, &n) && n > r->number;
    case OP_LESS:
        return value && parse_integer(value, &n) && n < r->number;
    }
    return false;
}

bool label_selector_matches(const struct label_selector *s, const cJSON *labels)
{
    if (!s || s->nothing)
        return false;
    for (size_t i = 0; i < s->count; i++)
        if (!requirement_matches(&s->requirements[i], json_map_str(labels, s->requirements[i].key)))
            return false;
    return true;
}

bool label_selector_matches_flat(const struct label_selector *s, const char *const *labels)
{
    if (!s || s->nothing)
        return false;
    for (size_t i = 0; i < s->count; i++) {
        const char *value = NULL;
        for (size_t k = 0; labels && labels[k] && !value; k += 2)
            if (!strcmp(labels[k], s->requirements[i].key))
                value = labels[k + 1];
        if (!requirement_matches(&s->requirements[i], value))
            return false;
    }
    return true;
}

bool label_selector_empty(const struct label_selector *s)
{
    return s && !s->nothing && s->count == 0;
}

char *label_selector_text(const struct label_selector *s)
{
    struct buf b = {0};
    for (size_t i = 0; s && i < s->count; i++) {
        const struct requirement *r = &s->requirements[i];
        if (i)
            buf_addc(&b, ',');
        if (r->op == OP_DOES_NOT_EXIST)
            buf_addc(&b, '!');
        buf_adds(&b, r->key);
        static const char *const operators[] = {
            [OP_IN] = " in (", [OP_NOT_IN] = " notin (", [OP_EQUALS] = "=",  [OP_NOT_EQUALS] = "!=",
            [OP_EXISTS] = "",  [OP_DOES_NOT_EXIST] = "", [OP_GREATER] = ">", [OP_LESS] = "<"};
        buf_adds(&b, operators[r->op]);
        for (size_t k = 0; k < r->count; k++)
            buf_printf(&b, "%s%s", k ? "," : "", r->values[k]);
        if (r->op == OP_IN || r->op == OP_NOT_IN)
            buf_addc(&b, ')');
    }
    return buf_take(&b);
}

/* --- field selectors --- */

/* Removes backslashes; only '\', ',' and '=' may be escaped, and the last two must be. */
static char *unescape_value(const char *s, size_t n, struct error **err)
{
    struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\\') {
            if (i + 1 >= n || !strchr("\\,=", s[i + 1])) {
                error_set(err, 400, "BadRequest", "invalid field selector: invalid escape sequence: %.*s",
                          i + 1 < n ? 2 : 1, s + i);
                buf_free(&b);
                return NULL;
            }
            buf_addc(&b, s[++i]);
        } else if (s[i] == ',' || s[i] == '=') {
            error_set(err, 400, "BadRequest", "invalid field selector: unescaped character in value: %c",
                      s[i]);
            buf_free(&b);
            return NULL;
        } else {
            buf_addc(&b, s[i]);
        }
    }
    return buf_take(&b);
}

static bool parse_term(const char *text, const char *term, size_t n, struct field_selector *out,
                       struct error **err)
{
    for (size_t i = 0; i < n; i++) {
        size_t op = term[i] == '!' && i + 1 < n && term[i + 1] == '=' ? 2
                    : term[i] == '=' ? (i + 1 < n && term[i + 1] == '=' ? 2 : 1)
                                     : 0;
        if (!op)
            continue;
        char *value = unescape_value(term + i + op, n - i - op, err);
        if (!value)
            return false;
        out->terms = mem_realloc(out->terms, (size_t)(out->count + 1) * sizeof(*out->terms));
        out->terms[out->count++] = (struct field_selector_term){
            .field = mem_strndup(term, i), .value = value, .equals = term[i] == '='};
        return true;
    }
    error_set(err, 400, "BadRequest", "invalid selector: '%s'; can't understand '%.*s'", text, (int)n, term);
    return false;
}

bool field_selector_parse(const char *text, struct field_selector *out, struct error **err)
{
    *out = (struct field_selector){0};
    if (!text)
        return true;
    for (const char *p = text; *p;) {
        size_t n = 0;
        while (p[n] && p[n] != ',')
            n += p[n] == '\\' && p[n + 1] ? 2 : 1;
        if (n && !parse_term(text, p, n, out, err)) {
            field_selector_clear(out);
            return false;
        }
        p += n + (p[n] == ',');
    }
    return true;
}

void field_selector_clear(struct field_selector *s)
{
    for (int i = 0; i < s->count; i++) {
        free(s->terms[i].field);
        free(s->terms[i].value);
    }
    free(s->terms);
    *s = (struct field_selector){0};
}
