#include "apiserver/validation/names.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_WRONG                                                                                          \
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "  \
    "and end with "                                                                                          \
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "                \
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define SUBDOMAIN_WRONG                                                                                      \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "    \
    "must start and "                                                                                        \
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "                  \
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define DNS1035_WRONG                                                                                        \
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "  \
    "character, "                                                                                            \
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "   \
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
#define QUALIFIED_WRONG                                                                                      \
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric " \
    "character "                                                                                             \
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "                            \
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool alnum(char c)
{
    return lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

static bool is_label(const char *s, size_t n)
{
    if (!n || !lower_or_digit(s[0]) || !lower_or_digit(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!lower_or_digit(s[i]) && s[i] != '-')
            return false;
    return true;
}

const char *name_dns_label(const char *s)
{
    size_t n = strlen(s);
    if (n > 63)
        return "must be no more than 63 bytes";
    return is_label(s, n) ? NULL : LABEL_WRONG;
}

const char *name_dns1035_label(const char *s)
{
    size_t n = strlen(s);
    if (n > 63)
        return "must be no more than 63 bytes";
    return is_label(s, n) && s[0] >= 'a' ? NULL : DNS1035_WRONG;
}

static const char *subdomain(const char *s, size_t n, const char *too_long, const char *wrong)
{
    if (n > 253)
        return too_long;
    for (size_t from = 0;;) {
        const char *dot = memchr(s + from, '.', n - from);
        size_t to = dot ? (size_t)(dot - s) : n;
        if (!is_label(s + from, to - from))
            return wrong;
        if (!dot)
            return NULL;
        from = to + 1;
    }
}

const char *name_dns_subdomain(const char *s)
{
    return subdomain(s, strlen(s), "must be no more than 253 bytes", SUBDOMAIN_WRONG);
}

const char *name_path_segment(const char *s)
{
    if (!strcmp(s, "."))
        return "may not be '.'";
    if (!strcmp(s, ".."))
        return "may not be '..'";
    if (strchr(s, '/'))
        return "may not contain '/'";
    return strchr(s, '%') ? "may not contain '%'" : NULL;
}

static bool name_part(const char *s)
{
    size_t n = strlen(s);
    if (!n || !alnum(s[0]) || !alnum(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!alnum(s[i]) && !strchr("-_.", s[i]))
            return false;
    return true;
}

const char *name_qualified(const char *s)
{
    const char *slash = strchr(s, '/'), *name = s;
    if (slash) {
        name = slash + 1;
        if (strchr(name, '/'))
            return "a qualified name " QUALIFIED_WRONG
                   " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
        if (slash == s)
            return "prefix part must be non-empty";
        const char *why = subdomain(s, (size_t)(slash - s), "prefix part must be no more than 253 bytes",
                                    "prefix part " SUBDOMAIN_WRONG);
        if (why)
            return why;
    }
    if (!*name)
        return "name part must be non-empty";
    if (strlen(name) > 63)
        return "name part must be no more than 63 bytes";
    return name_part(name) ? NULL : "name part " QUALIFIED_WRONG;
}

const char *name_label_value(const char *s)
{
    if (strlen(s) > 63)
        return "must be no more than 63 bytes";
    return !*s || name_part(s) ? NULL
                               : "a valid label must be an empty string or consist of alphanumeric "
                                 "characters, '-', '_' or '.', and must start and "
                                 "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
                                 "'12345', regex used for validation is "
                                 "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
}

const char *name_config_key(const char *s)
{
    if (strlen(s) > 253)
        return "must be no more than 253 bytes";
    size_t n = 0;
    while (s[n] && (alnum(s[n]) || strchr("-_.", s[n])))
        n++;
    if (!n || s[n])
        return "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
               "'key.name',  or 'KEY_NAME',  or "
               "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    if (!strcmp(s, "."))
        return "must not be '.'";
    if (!strcmp(s, ".."))
        return "must not be '..'";
    return !strncmp(s, "..", 2) ? "must not start with '..'" : NULL;
}

const char *name_port(const char *s)
{
    size_t n = strlen(s);
    bool letter = false;
    if (n > 15)
        return "must be no more than 15 bytes";
    for (size_t i = 0; i < n; i++) {
        if (!lower_or_digit(s[i]) && s[i] != '-')
            return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        letter |= s[i] >= 'a' && s[i] <= 'z';
    }
    if (!letter)
        return "must contain at least one letter (a-z)";
    if (strstr(s, "--"))
        return "must not contain consecutive hyphens";
    return s[0] == '-' || s[n - 1] == '-' ? "must not begin or end with a hyphen" : NULL;
}

const char *name_env_var(const char *s)
{
    for (; *s; s++)
        if (*s < 0x20 || *s > 0x7e || *s == '=')
            return "a valid environment variable name must consist only of printable ASCII characters other "
                   "than '='";
    return NULL;
}

const char *name_by_rule(enum name_rule rule, const char *s, bool prefix)
{
    /* A prefix may end with '-': what is appended ends with a letter or digit. */
    char copy[512];
    size_t n = strlen(s);
    if (prefix && n > 1 && n < sizeof copy && s[n - 1] == '-' && rule != NAME_PATH_SEGMENT) {
        memcpy(copy, s, n + 1);
        copy[n - 1] = 'a';
        s = copy;
    }
    switch (rule) {
    case NAME_DNS_LABEL:
        return name_dns_label(s);
    case NAME_DNS1035_LABEL:
        return name_dns1035_label(s);
    case NAME_PATH_SEGMENT:
        return name_path_segment(s);
    default:
        return name_dns_subdomain(s);
    }
}

bool is_ip(const char *s, int family)
{
    unsigned char raw[16];
    return (family != AF_INET6 && inet_pton(AF_INET, s, raw) == 1) ||
           (family != AF_INET && inet_pton(AF_INET6, s, raw) == 1);
}

bool is_cidr(const char *s)
{
    char address[64];
    const char *slash = strchr(s, '/');
    if (!slash || (size_t)(slash - s) >= sizeof address || !isdigit((unsigned char)slash[1]) ||
        strlen(slash + 1) > 3)
        return false;
    memcpy(address, s, (size_t)(slash - s));
    address[slash - s] = '\0';
    char *end;
    long bits = strtol(slash + 1, &end, 10);
    return !*end && is_ip(address, 0) && bits <= (is_ip(address, AF_INET) ? 32 : 128);
}
