#include "common/timefmt.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

char *time_format(int64_t unix_seconds, char out[TIME_TEXT_MAX])
{
    time_t t = (time_t)unix_seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(out, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return out;
}

char *time_format_micro(int64_t unix_micros, char out[TIME_TEXT_MAX])
{
    int64_t seconds = unix_micros / 1000000, micros = unix_micros % 1000000;
    if (micros < 0) {
        micros += 1000000;
        seconds--;
    }
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    size_t n = strftime(out, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, TIME_TEXT_MAX - n, ".%06dZ", (int)micros);
    return out;
}

/* Exactly n digits as a number, -1 otherwise. */
static int digits(const char **s, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++) {
        unsigned char c = (unsigned char)(*s)[i];
        if (!isdigit(c))
            return -1;
        v = v * 10 + (c - '0');
    }
    *s += n;
    return v;
}

static bool literal(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

bool time_parse(const char *text, int64_t *unix_micros)
{
    if (!text)
        return false;
    const char *s = text;
    struct tm tm = {0};
    int year = digits(&s, 4);
    if (year < 0 || !literal(&s, '-'))
        return false;
    int month = digits(&s, 2);
    if (month < 1 || month > 12 || !literal(&s, '-'))
        return false;
    int day = digits(&s, 2);
    if (day < 1 || day > 31 || (*s != 'T' && *s != 't'))
        return false;
    s++;
    int hour = digits(&s, 2);
    if (hour < 0 || hour > 23 || !literal(&s, ':'))
        return false;
    int minute = digits(&s, 2);
    if (minute < 0 || minute > 59 || !literal(&s, ':'))
        return false;
    int second = digits(&s, 2);
    if (second < 0 || second > 60)
        return false;
    int64_t micros = 0;
    if (*s == '.' || *s == ',') {
        s++;
        if (!isdigit((unsigned char)*s))
            return false;
        int scale = 100000;
        for (; isdigit((unsigned char)*s); s++, scale /= 10)
            micros += (*s - '0') * (int64_t)scale;
    }
    int offset = 0;
    if (*s == 'Z' || *s == 'z') {
        s++;
    } else if (*s == '+' || *s == '-') {
        int sign = *s++ == '+' ? 1 : -1;
        int oh = digits(&s, 2);
        if (oh < 0 || oh > 23 || !literal(&s, ':'))
            return false;
        int om = digits(&s, 2);
        if (om < 0 || om > 59)
            return false;
        offset = sign * (oh * 3600 + om * 60);
    } else {
        return false;
    }
    if (*s)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    tm.tm_hour = hour;
    tm.tm_min = minute;
    tm.tm_sec = second;
    time_t t = timegm(&tm);
    if (tm.tm_mday != day)
        return false; /* 30 February */
    *unix_micros = ((int64_t)t - offset) * 1000000 + micros;
    return true;
}

static int64_t clock_micros(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t time_now_seconds(void)
{
    return clock_micros(CLOCK_REALTIME) / 1000000;
}

int64_t time_now_micros(void)
{
    return clock_micros(CLOCK_REALTIME);
}

int64_t time_monotonic_ms(void)
{
    return clock_micros(CLOCK_MONOTONIC) / 1000;
}

char *time_human_duration(int64_t seconds, char out[TIME_TEXT_MAX])
{
    /* The same steps as apimachinery's duration.HumanDuration, so that ages read alike. */
    int64_t minutes = seconds / 60, hours = seconds / 3600, days = hours / 24;
    if (seconds < -1)
        snprintf(out, TIME_TEXT_MAX, "<invalid>");
    else if (seconds < 0)
        snprintf(out, TIME_TEXT_MAX, "0s");
    else if (seconds < 60 * 2)
        snprintf(out, TIME_TEXT_MAX, "%llds", (long long)seconds);
    else if (minutes < 10 && seconds % 60)
        snprintf(out, TIME_TEXT_MAX, "%lldm%llds", (long long)minutes, (long long)(seconds % 60));
    else if (minutes < 60 * 3)
        snprintf(out, TIME_TEXT_MAX, "%lldm", (long long)minutes);
    else if (hours < 8 && minutes % 60)
        snprintf(out, TIME_TEXT_MAX, "%lldh%lldm", (long long)hours, (long long)(minutes % 60));
    else if (hours < 48)
        snprintf(out, TIME_TEXT_MAX, "%lldh", (long long)hours);
    else if (hours < 24 * 8 && hours % 24)
        snprintf(out, TIME_TEXT_MAX, "%lldd%lldh", (long long)days, (long long)(hours % 24));
    else if (days < 365 * 2)
        snprintf(out, TIME_TEXT_MAX, "%lldd", (long long)days);
    else if (days < 365 * 8 && days % 365)
        snprintf(out, TIME_TEXT_MAX, "%lldy%lldd", (long long)(days / 365), (long long)(days % 365));
    else
        snprintf(out, TIME_TEXT_MAX, "%lldy", (long long)(days / 365));
    return out;
}
