/* Time as the Kubernetes API writes it (RFC 3339, UTC) and as timers need it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define TIME_TEXT_MAX 40
/* "2026-11-24T10:26:08Z" (metav1.Time) for seconds since 1970. Returns out. */
char *time_format(int64_t unix_seconds, char out[TIME_TEXT_MAX]);
/* "2026-11-24T10:26:08.123456Z" (metav1.MicroTime) for microseconds since 1970. Returns out. */
char *time_format_micro(int64_t unix_micros, char out[TIME_TEXT_MAX]);
/* Either form, with any fraction and offset. False if malformed. */
bool time_parse(const char *text, int64_t *unix_micros);
int64_t time_now_seconds(void); /* wall clock */
int64_t time_now_micros(void);  /* wall clock */
int64_t time_monotonic_ms(void);
/* Like kubectl's ages: "5s", "3m10s", "2d". */
char *time_human_duration(int64_t seconds, char out[TIME_TEXT_MAX]);
