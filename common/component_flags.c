/* Command-line flags in the manner of the Kubernetes components (pflag). */
#include "common/component.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/mem.h"

/* Compares a flag's name with what was typed ('_' and '-' alike), up to n characters of the latter. */
static bool name_matches(const char *name, const char *typed, size_t n)
{
    if (strlen(name) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char a = name[i] == '_' ? '-' : name[i];
        char b = typed[i] == '_' ? '-' : typed[i];
        if (a != b)
            return false;
    }
    return true;
}

static bool parse_int(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || isspace((unsigned char)*text))
        return false;
    *out = v;
    return true;
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (!strcmp(text, yes[i])) {
            *out = true;
            return true;
        }
        if (!strcmp(text, no[i])) {
            *out = false;
            return true;
        }
    }
    return false;
}

/* Go's time.ParseDuration, down to milliseconds: "1h15m30.5s", "100ms", "0". */
bool component_parse_duration(const char *text, int64_t *out)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ns", 1e-6}, {"us", 1e-3}, {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}};
    const char *p = text;
    double sign = 1, total = 0;
    if (*p == '-' || *p == '+')
        sign = *p++ == '-' ? -1 : 1;
    if (!strcmp(p, "0")) {
        *out = 0;
        return true;
    }
    if (!*p)
        return false;
    while (*p) {
        if (!isdigit((unsigned char)*p) && *p != '.')
            return false;
        size_t digits = strspn(p, "0123456789.");
        char number[32];
        if (digits >= sizeof(number))
            return false;
        memcpy(number, p, digits);
        number[digits] = 0;
        char *end;
        double v = strtod(number, &end);
        if (*end || end == number)
            return false;
        p += digits;
        size_t n = strcspn(p, "0123456789.");
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(units) && !known; i++) {
            if (strlen(units[i].unit) == n && !strncmp(units[i].unit, p, n)) {
                total += v * units[i].ms;
                known = true;
            }
        }
        if (!known)
            return false;
        p += n;
    }
    if (total > 9e15)
        return false;
    *out = (int64_t)llround(sign * total);
    return true;
}

static bool set_flag(const struct flag *f, const char *value, struct error **err)
{
    bool ok = true;
    const char *wanted = "";
    switch (f->type) {
    case FLAG_STRING: {
        char **s = f->value;
        free(*s);
        *s = mem_strdup(value);
        break;
    }
    case FLAG_STRINGS: {
        char **s = f->value;
        char *joined = *s && **s ? mem_printf("%s,%s", *s, value) : mem_strdup(value);
        free(*s);
        *s = joined;
        break;
    }
    case FLAG_INT:
        ok = parse_int(value, f->value);
        wanted = "an integer";
        break;
    case FLAG_BOOL:
        ok = parse_bool(value, f->value);
        wanted = "true or false";
        break;
    case FLAG_DURATION_MS:
        ok = component_parse_duration(value, f->value);
        wanted = "a duration like \"1m30s\"";
        break;
    }
    if (!ok)
        error_setf(err, "invalid argument \"%s\" for \"--%s\" flag: must be %s", value, f->name, wanted);
    return ok;
}

static const char *type_text(enum flag_type type)
{
    switch (type) {
    case FLAG_STRING:
        return " string";
    case FLAG_STRINGS:
        return " strings";
    case FLAG_INT:
        return " int";
    case FLAG_DURATION_MS:
        return " duration";
    case FLAG_BOOL:
        break;
    }
    return "";
}

static void print_default(const struct flag *f)
{
    if (f->type == FLAG_STRING || f->type == FLAG_STRINGS) {
        const char *s = *(char **)f->value;
        if (s && *s)
            printf(" (default \"%s\")", s);
    } else if (f->type == FLAG_INT && *(int64_t *)f->value) {
        printf(" (default %lld)", (long long)*(int64_t *)f->value);
    } else if (f->type == FLAG_BOOL && *(bool *)f->value) {
        printf(" (default true)");
    } else if (f->type == FLAG_DURATION_MS && *(int64_t *)f->value) {
        int64_t ms = *(int64_t *)f->value;
        if (ms % 1000)
            printf(" (default %lldms)", (long long)ms);
        else
            printf(" (default %llds)", (long long)(ms / 1000));
    }
}

static void print_usage(const char *program, const struct flag *flags, const char *description)
{
    const char *slash = strrchr(program, '/');
    printf("%s\n\nUsage:\n  %s [flags]\n\nFlags:\n", description, slash ? slash + 1 : program);
    for (const struct flag *f = flags; f->name; f++) {
        printf("      --%s%s\n            %s", f->name, type_text(f->type), f->help ? f->help : "");
        print_default(f);
        putchar('\n');
    }
    printf("  -v, --v int\n            number for the log level verbosity\n"
           "      --help\n            print this help\n"
           "      --version\n            print the version\n");
}

bool component_parse_flags(int argc, char **argv, const struct flag *flags, const char *description,
                           struct error **err)
{
    int64_t verbosity = log_verbosity;
    const struct flag verbosity_flag = {"v", FLAG_INT, &verbosity, ""};
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (arg[0] != '-' || !arg[1]) {
            error_setf(err, "unexpected argument \"%s\"", arg);
            return false;
        }
        bool is_long = arg[1] == '-';
        const char *typed = arg + (is_long ? 2 : 1);
        if (!*typed) {
            if (i + 1 < argc) {
                error_setf(err, "unexpected argument \"%s\"", argv[i + 1]);
                return false;
            }
            break;
        }
        size_t n = strcspn(typed, "=");
        const char *value = typed[n] == '=' ? typed + n + 1 : NULL;
        if (name_matches("help", typed, n) || (!is_long && name_matches("h", typed, n))) {
            print_usage(argv[0], flags, description);
            return false;
        }
        if (is_long && name_matches("version", typed, n)) {
            printf("Kubernetes %s (Skiff %s)\n", KUBERNETES_VERSION, SKIFF_VERSION);
            return false;
        }
        const struct flag *found = name_matches("v", typed, n) ? &verbosity_flag : NULL;
        for (const struct flag *f = flags; is_long && !found && f->name; f++)
            if (name_matches(f->name, typed, n))
                found = f;
        if (!found) {
            error_setf(err, "unknown flag: %s%.*s", is_long ? "--" : "-", (int)n, typed);
            return false;
        }
        if (!value && found->type == FLAG_BOOL)
            value = "true";
        if (!value) {
            if (i + 1 >= argc) {
                error_setf(err, "flag needs an argument: --%s", found->name);
                return false;
            }
            value = argv[++i];
        }
        if (!set_flag(found, value, err))
            return false;
    }
    if (verbosity < 0 || verbosity > INT_MAX)
        verbosity = 0;
    log_verbosity = (int)verbosity;
    return true;
}
