/* Container logs as the runtime writes them (CRI format): "2026-11-24T10:26:08.123456789Z stdout F text". */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

struct log_line {
    const char *timestamp; /* as written, timestamp_len bytes */
    size_t timestamp_len;
    int64_t time_us; /* since 1970 */
    bool is_stderr, partial;
    const char *text; /* without newline */
    size_t len;
};
/* One line of the file, without its newline. False if it is malformed. */
bool log_line_parse(const char *line, size_t len, struct log_line *out);

struct log_options {
    bool follow, timestamps;
    int64_t tail_lines;   /* -1: all */
    int64_t since_us;     /* only lines after this instant; 0: all */
    int64_t limit_bytes;  /* -1: no limit */
    int stream;           /* 0: both, 1: stdout, 2: stderr */
};
/* Turns what a file holds into what a reader gets, piece by piece. Zero-initialized, with options set. */
struct log_filter {
    struct log_options options;
    int64_t written;
    bool open_line; /* a partial line was written: what follows belongs to it */
    bool done;      /* limit_bytes is reached */
};
/* Takes whole lines from data and appends to out; returns the bytes that were used (an incomplete last line waits). */
size_t log_filter_feed(struct log_filter *f, const char *data, size_t len, struct buf *out);
/* Where in the file the last `lines` lines begin. */
int64_t log_tail_offset(int fd, int64_t lines);

/* The last lines of a log, at most max_bytes, without timestamps. */
void logs_tail(const char *path, int64_t lines, size_t max_bytes, struct buf *out);

/* --- followers --- */
/* A container ended: those who follow its log read the rest and stop. Any thread. */
void logs_container_ended(const char *container_id);

struct log_reader;
/* Writes the log at path through write() (false: the reader left) until its end, or with follow until the container has
 * ended (still_running() is asked at the start; then logs_container_ended tells) or log_reader_cancel(). Blocks. */
bool logs_read(struct log_reader *r, const char *path, const char *container_id, const struct log_options *o,
               bool (*still_running)(void *userdata), bool (*write)(void *userdata, const void *p, size_t n),
               void *userdata, struct error **err);
struct log_reader *log_reader_new(void);
void log_reader_cancel(struct log_reader *r); /* from any thread */
void log_reader_free(struct log_reader *r);
