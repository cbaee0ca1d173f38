/* Container logs: lines, options, following. */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/buf.h"
#include "common/mem.h"
#include "kubelet/server/logs.h"

static bool parse(const char *text, struct log_line *l)
{
    return log_line_parse(text, strlen(text), l);
}

START_TEST(lines)
{
    struct log_line l;
    ck_assert(parse("2016-10-06T00:17:09.669794202Z stdout F log content 1", &l));
    ck_assert(!l.is_stderr && !l.partial);
    ck_assert_int_eq(l.len, 13);
    ck_assert_int_eq(memcmp(l.text, "log content 1", 13), 0);
    ck_assert_int_eq(l.time_us, 1475713029669794);
    ck_assert(parse("2016-10-06T00:17:09.669794203Z stderr P part", &l));
    ck_assert(l.is_stderr && l.partial);
    ck_assert(parse("2016-10-06T00:17:09Z stdout F ", &l));
    ck_assert_int_eq(l.len, 0);
    ck_assert(parse("2016-10-06T00:17:09Z stdout P:x tagged", &l));
    ck_assert(l.partial);
    static const char *const bad[] = {"",
                                      "x",
                                      "2016-10-06T00:17:09Z",
                                      "2016-10-06T00:17:09Z stdout",
                                      "2016-10-06T00:17:09Z stdin F x",
                                      "2016-10-06T00:17:09Z stdout  x",
                                      "2016-10-06T00:17:09Z stdout X x",
                                      "yesterday stdout F x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!parse(bad[i], &l), "%s", bad[i]);
}
END_TEST

static const char sample[] = "2026-01-01T00:00:01Z stdout F one\n"
                             "2026-01-01T00:00:02Z stderr F two\n"
                             "garbage\n"
                             "2026-01-01T00:00:03Z stdout P thr\n"
                             "2026-01-01T00:00:03Z stdout F ee\n"
                             "2026-01-01T00:00:04Z stdout F four\n";

static char *feed(struct log_options o, const char *data, size_t piece)
{
    struct log_filter f = {.options = o};
    struct buf out = {0}, rest = {0};
    size_t len = strlen(data);
    for (size_t at = 0; at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        buf_add(&rest, data + at, n);
        size_t used = log_filter_feed(&f, rest.data, rest.len, &out);
        memmove(rest.data, rest.data + used, rest.len - used);
        rest.len -= used;
    }
    buf_free(&rest);
    return buf_take(&out);
}

START_TEST(options)
{
    struct log_options all = {.tail_lines = -1, .limit_bytes = -1};
    /* However the file is cut into pieces, the reader gets the same. */
    for (size_t piece = 1; piece < 80; piece++) {
        cleanup_free char *text = feed(all, sample, piece);
        ck_assert_str_eq(text, "one\ntwo\nthree\nfour\n");
    }
    struct log_options o = all;
    o.timestamps = true;
    cleanup_free char *stamped = feed(o, sample, 1000);
    ck_assert_str_eq(stamped, "2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two\n2026-01-01T00:00:03Z three\n"
                              "2026-01-01T00:00:04Z four\n");
    o = all;
    o.limit_bytes = 6;
    cleanup_free char *limited = feed(o, sample, 7);
    ck_assert_str_eq(limited, "one\ntw");
    o = all;
    o.since_us = 1767225603000000;
    cleanup_free char *since = feed(o, sample, 1000);
    ck_assert_str_eq(since, "three\nfour\n");
    o = all;
    o.stream = 2;
    cleanup_free char *only_stderr = feed(o, sample, 1000);
    ck_assert_str_eq(only_stderr, "two\n");
}
END_TEST

static char *temporary(const char *text)
{
    char *path = mem_strdup("/tmp/skiff-log-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

START_TEST(tail)
{
    cleanup_free char *path = temporary("a\nb\nc\nunfinished");
    cleanup_close int fd = open(path, O_RDONLY);
    ck_assert_int_eq(log_tail_offset(fd, -1), 0);
    ck_assert_int_eq(log_tail_offset(fd, 0), 16);
    ck_assert_int_eq(log_tail_offset(fd, 1), 6);
    ck_assert_int_eq(log_tail_offset(fd, 2), 4);
    ck_assert_int_eq(log_tail_offset(fd, 4), 0);
    ck_assert_int_eq(log_tail_offset(fd, 99), 0);
    unlink(path);
    cleanup_free char *log = temporary(sample);
    cleanup_close int fd2 = open(log, O_RDONLY);
    ck_assert_int_eq(log_tail_offset(fd2, 1), strlen(sample) - 35);
    struct buf out = {0};
    logs_tail(log, 3, 8, &out);
    ck_assert_str_eq(buf_str(&out), "ee\nfour\n");
    buf_free(&out);
    logs_tail("/nonexistent", 3, 8, &out);
    ck_assert_int_eq(out.len, 0);
    unlink(log);
}
END_TEST

struct follower {
    struct log_reader *reader;
    const char *path;
    pthread_mutex_t lock;
    struct buf got;
    size_t stop_after; /* the reader leaves */
    atomic_bool over;
};

static bool take(void *userdata, const void *p, size_t n)
{
    struct follower *f = userdata;
    pthread_mutex_lock(&f->lock);
    buf_add(&f->got, p, n);
    bool go_on = !f->stop_after || f->got.len < f->stop_after;
    pthread_mutex_unlock(&f->lock);
    return go_on;
}

static bool runs(void *userdata)
{
    (void)userdata;
    return true;
}

static void *follow(void *arg)
{
    struct follower *f = arg;
    struct log_options o = {.follow = true, .tail_lines = 1, .limit_bytes = -1};
    struct error *err = NULL;
    ck_assert(logs_read(f->reader, f->path, "c1", &o, runs, take, f, &err));
    atomic_store(&f->over, true);
    return NULL;
}

static void wait_text(struct follower *f, const char *want)
{
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&f->lock);
        bool same = strcmp(buf_str(&f->got), want) == 0;
        pthread_mutex_unlock(&f->lock);
        if (same)
            return;
        usleep(1000);
    }
    ck_abort_msg("got \"%s\", want \"%s\"", buf_str(&f->got), want);
}

static void append(const char *path, const char *text)
{
    cleanup_close int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
    ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
}

START_TEST(following)
{
    char dir[] = "/tmp/skiff-logs-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    cleanup_free char *path = mem_printf("%s/0.log", dir), *moved = mem_printf("%s/0.log.1", dir);
    append(path, sample);
    struct follower f = {.path = path, .lock = PTHREAD_MUTEX_INITIALIZER, .reader = log_reader_new()};
    pthread_t thread;
    pthread_create(&thread, NULL, follow, &f);
    wait_text(&f, "four\n");
    append(path, "2026-01-01T00:00:05Z stdout F fi");
    append(path, "ve\n");
    wait_text(&f, "four\nfive\n");
    /* Rotated: the rest of the old file, then the new one. */
    ck_assert_int_eq(rename(path, moved), 0);
    append(path, "2026-01-01T00:00:06Z stdout F six\n");
    wait_text(&f, "four\nfive\nsix\n");
    append(path, "2026-01-01T00:00:07Z stdout F seven\n");
    logs_container_ended("another");
    logs_container_ended("c1");
    pthread_join(thread, NULL);
    wait_text(&f, "four\nfive\nsix\nseven\n");
    log_reader_free(f.reader);
    /* A reader that leaves ends it as well. */
    buf_clear(&f.got);
    f.reader = log_reader_new();
    atomic_store(&f.over, false);
    pthread_create(&thread, NULL, follow, &f);
    wait_text(&f, "seven\n");
    ck_assert(!atomic_load(&f.over));
    log_reader_cancel(f.reader);
    pthread_join(thread, NULL);
    ck_assert(atomic_load(&f.over));
    log_reader_free(f.reader);
    buf_free(&f.got);
    unlink(path);
    unlink(moved);
    rmdir(dir);
}
END_TEST

/* Bytes that no runtime would write: nothing may break. */
START_TEST(mutations)
{
    unsigned seed = 7;
    for (int round = 0; round < 20000; round++) {
        char data[sizeof(sample)];
        memcpy(data, sample, sizeof(sample));
        for (int i = 0; i < 1 + round % 5; i++)
            data[rand_r(&seed) % (sizeof(sample) - 1)] = (char)rand_r(&seed);
        struct log_filter f = {.options = {.tail_lines = -1, .limit_bytes = round % 3 ? -1 : round % 50, .timestamps = round % 2}};
        struct buf out = {0};
        size_t used = log_filter_feed(&f, data, sizeof(sample) - 1, &out);
        ck_assert_uint_le(used, sizeof(sample) - 1);
        if (f.options.limit_bytes >= 0)
            ck_assert_int_le((int64_t)out.len, f.options.limit_bytes);
        buf_free(&out);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kubelet logs");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, lines);
    tcase_add_test(t, options);
    tcase_add_test(t, tail);
    tcase_add_test(t, following);
    tcase_add_test(t, mutations);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
