#include "common/quantity.h"
#include <stdio.h>
#include <string.h>

typedef unsigned __int128 u128;
#define NANO     ((__int128)1000000000)
#define MAX_NANO ((__int128)INT64_MAX * NANO)

struct suffix {
    const char *text;
    int exp; /* of 10, or of 2 for binary suffixes */
};
static const struct suffix decimal_suffixes[] = {{"n", -9}, {"u", -6}, {"m", -3}, {"", 0},   {"k", 3},
                                                 {"M", 6},  {"G", 9},  {"T", 12}, {"P", 15}, {"E", 18}};
static const struct suffix binary_suffixes[] = {{"Ki", 10}, {"Mi", 20}, {"Gi", 30},
                                                {"Ti", 40}, {"Pi", 50}, {"Ei", 60}};

/* Reads the exponent form: 'e' or 'E', a sign, digits. Exponents that no value needs are clamped. */
static bool parse_exponent(const char *s, int *exp)
{
    if (*s != 'e' && *s != 'E')
        return false;
    s++;
    int sign = 1, v = 0;
    if (*s == '+' || *s == '-')
        sign = *s++ == '-' ? -1 : 1;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        if (v < 100000)
            v = v * 10 + (*s - '0');
    }
    *exp = sign * v;
    return true;
}

static bool parse_suffix(const char *s, enum quantity_format *format, int *exp10, int *exp2)
{
    for (size_t i = 0; i < sizeof(decimal_suffixes) / sizeof(decimal_suffixes[0]); i++) {
        if (!strcmp(s, decimal_suffixes[i].text)) {
            *format = QUANTITY_DECIMAL_SI;
            *exp10 = decimal_suffixes[i].exp;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(binary_suffixes) / sizeof(binary_suffixes[0]); i++) {
        if (!strcmp(s, binary_suffixes[i].text)) {
            *format = QUANTITY_BINARY_SI;
            *exp2 = binary_suffixes[i].exp;
            return true;
        }
    }
    *format = QUANTITY_DECIMAL_EXPONENT;
    return parse_exponent(s, exp10);
}

/* mantissa * 2^exp2 * 10^exp10, rounded up when a fraction (or `more` below the mantissa) is lost; capped. */
static u128 scale(u128 mantissa, int exp2, int exp10, bool more)
{
    if (!mantissa)
        return more ? 1 : 0;
    long double estimate = (long double)mantissa;
    for (int i = 0; i < exp2; i++)
        estimate *= 2;
    for (int i = 0; i < exp10 && estimate <= 1e30L; i++)
        estimate *= 10;
    for (int i = 0; i > exp10 && estimate >= 1e-30L; i--)
        estimate /= 10;
    if (estimate > 1e28L)
        return (u128)MAX_NANO;
    u128 v = mantissa << exp2;
    for (int i = 0; i < exp10; i++)
        v *= 10;
    for (int i = 0; i > exp10 && v; i--) {
        more = more || v % 10;
        v /= 10;
    }
    v += more;
    return v > (u128)MAX_NANO ? (u128)MAX_NANO : v;
}

bool quantity_parse(const char *text, struct quantity *q)
{
    if (!text || !*text)
        return false;
    const char *p = text;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    size_t number_len = strspn(p, "0123456789.");
    enum quantity_format format;
    int exp10 = 0, exp2 = 0;
    if (!parse_suffix(p + number_len, &format, &exp10, &exp2))
        return false;
    /* A binary suffix multiplies by up to 2^60, so that fewer digits fit 128 bits. */
    u128 limit = 1;
    for (int i = 0; i < (exp2 ? 19 : 27); i++)
        limit *= 10;
    u128 mantissa = 0;
    int digits = 0, points = 0;
    bool more = false;
    for (size_t i = 0; i < number_len; i++) {
        if (p[i] == '.') {
            if (++points > 1)
                return false;
            continue;
        }
        digits++;
        if (mantissa < limit) {
            mantissa = mantissa * 10 + (u128)(p[i] - '0');
            exp10 -= points;
        } else {
            more = more || p[i] != '0';
            exp10 += !points;
        }
    }
    if (!digits)
        return false;
    u128 v = scale(mantissa, exp2, exp10 + 9, more);
    q->nano = negative ? -(__int128)v : (__int128)v;
    /* Below one unit, a binary form would only confuse. */
    if (format == QUANTITY_BINARY_SI && q->nano > 0 && q->nano < NANO)
        format = QUANTITY_DECIMAL_SI;
    q->format = format;
    return true;
}

static int64_t divide_up(__int128 nano, __int128 by)
{
    __int128 v = nano / by, rest = nano % by;
    if (rest > 0)
        v++;
    else if (rest < 0)
        v--;
    if (v > INT64_MAX)
        return INT64_MAX;
    return v < -INT64_MAX ? -INT64_MAX : (int64_t)v;
}

int64_t quantity_value(struct quantity q)
{
    return divide_up(q.nano, NANO);
}

int64_t quantity_milli_value(struct quantity q)
{
    return divide_up(q.nano, NANO / 1000);
}

/* Digits of v with a suffix. */
static char *print_number(bool negative, u128 v, const char *suffix, char *out)
{
    char digits[48];
    size_t n = sizeof(digits);
    digits[--n] = 0;
    do {
        digits[--n] = (char)('0' + (int)(v % 10));
        v /= 10;
    } while (v);
    snprintf(out, QUANTITY_TEXT_MAX, "%s%s%s", negative ? "-" : "", digits + n, suffix);
    return out;
}

char *quantity_print(struct quantity q, char out[QUANTITY_TEXT_MAX])
{
    bool negative = q.nano < 0;
    u128 v = negative ? (u128)-q.nano : (u128)q.nano;
    if (!v)
        return strcpy(out, "0");
    if (q.format == QUANTITY_BINARY_SI && v >= (u128)(1024 * NANO) && v % (u128)NANO == 0) {
        v /= (u128)NANO;
        int power = 0;
        while (v % 1024 == 0 && power < 6) {
            v /= 1024;
            power++;
        }
        return print_number(negative, v, power ? binary_suffixes[power - 1].text : "", out);
    }
    int exp = -9;
    while (v % 1000 == 0 && exp < 18) {
        v /= 1000;
        exp += 3;
    }
    char suffix[16] = "";
    if (q.format == QUANTITY_DECIMAL_EXPONENT) {
        if (exp)
            snprintf(suffix, sizeof(suffix), "e%d", exp);
    } else {
        snprintf(suffix, sizeof(suffix), "%s", decimal_suffixes[exp / 3 + 3].text);
    }
    return print_number(negative, v, suffix, out);
}

int64_t quantity_text_value(const char *text)
{
    struct quantity q;
    return quantity_parse(text, &q) ? quantity_value(q) : 0;
}

int64_t quantity_text_milli(const char *text)
{
    struct quantity q;
    return quantity_parse(text, &q) ? quantity_milli_value(q) : 0;
}
