/* Patterns and formats of strings in structural schemas. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/crd/custom.h"
#include "apiserver/validation/names.h"
#include "common/mem.h"
#include "common/timefmt.h"

/* A pattern that needs more steps than this on a text matches nothing: RE2, which Kubernetes uses,
 * has no such patterns. */
enum { STEPS_MAX = 200000 };

bool pattern_compiles(const char *pattern, char why[PATTERN_ERROR_MAX])
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
    if (!re)
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, PATTERN_ERROR_MAX);
    pcre2_code_free(re);
    return re;
}

bool pattern_matches(const char *pattern, const char *text)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
    if (!re)
        return true; /* what cannot be read refuses nothing; the definition was refused */
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    pcre2_set_match_limit(context, STEPS_MAX);
    pcre2_set_heap_limit(context, 4096); /* KiB */
    code = pcre2_match(re, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, 0, match, context);
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_code_free(re);
    return code >= 0;
}

static bool is_uuid(const char *s)
{
    size_t n = 0;
    for (; s[n]; n++) {
        bool dash = n == 8 || n == 13 || n == 18 || n == 23;
        if (n > 35 || (dash ? s[n] != '-' : !isxdigit((unsigned char)s[n])))
            return false;
    }
    return n == 36;
}

static bool is_base64(const char *s)
{
    size_t n = strlen(s),
           body = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    size_t padding = strspn(s + body, "=");
    return n % 4 == 0 && body + padding == n && padding <= 2;
}

static bool is_date(const char *s)
{
    cleanup_free char *full = mem_printf("%sT00:00:00Z", s);
    int64_t at;
    return strlen(s) == 10 && time_parse(full, &at);
}

static bool is_date_time(const char *s)
{
    int64_t at;
    return time_parse(s, &at);
}

static bool is_ipv4(const char *s)
{
    return is_ip(s, 2 /* AF_INET */);
}

static bool is_ipv6(const char *s)
{
    return is_ip(s, 10 /* AF_INET6 */);
}

/* "1h30m", "2.5s", "3 days" as kube-openapi reads durations. */
static bool is_duration(const char *s)
{
    return pattern_matches(
        "^-?(\\d+(\\.\\d*)?\\s*(ns|us|µs|ms|s|m|h|d|w|nanos?|nanoseconds?|micros?|microseconds?|"
        "millis?|milliseconds?|secs?|seconds?|mins?|minutes?|hr|hrs|hours?|days?|weeks?)\\s*)+$|^"
        "0$",
        s);
}

static bool is_email(const char *s)
{
    const char *at = strrchr(s, '@');
    return at && at != s && at[1] && !strpbrk(s, " \t\r\n");
}

static bool is_uri(const char *s)
{
    return *s == '/' || pattern_matches("^[A-Za-z][A-Za-z0-9+.-]*:[^\\s]*$", s);
}

static bool is_hostname(const char *s)
{
    return pattern_matches("^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-"
                           "9]([A-Za-z0-9-]{0,61}"
                           "[A-Za-z0-9])?)*\\.?$",
                           s);
}

bool format_matches(const char *format, const char *text)
{
    static const struct {
        const char *name;
        bool (*is)(const char *);
    } formats[] = {
        {"date-time", is_date_time}, {"datetime", is_date_time}, {"date", is_date},
        {"ipv4", is_ipv4},           {"ipv6", is_ipv6},          {"cidr", is_cidr},
        {"uuid", is_uuid},           {"uuid4", is_uuid},         {"byte", is_base64},
        {"duration", is_duration},   {"email", is_email},        {"uri", is_uri},
        {"hostname", is_hostname},
    };
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (!strcmp(formats[i].name, format))
            return formats[i].is(text);
    return true; /* unknown formats are ignored */
}
