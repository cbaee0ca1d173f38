#include "kubelet/server/logs.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK    (32 * 1024)
#define MAX_LINE (1024 * 1024) /* the runtime splits lines at 16 KB: what is longer is no log of ours */

bool log_line_parse(const char *line, size_t len, struct log_line *out)
{
    const char *end = line + len, *space = memchr(line, ' ', len);
    char text[TIME_TEXT_MAX + 16];
    if (!space || (size_t)(space - line) >= sizeof(text))
        return false;
    *out = (struct log_line){.timestamp = line, .timestamp_len = (size_t)(space - line)};
    memcpy(text, line, out->timestamp_len);
    text[out->timestamp_len] = '\0';
    if (!time_parse(text, &out->time_us))
        return false;
    const char *stream = space + 1;
    space = memchr(stream, ' ', (size_t)(end - stream));
    if (!space || space - stream != 6)
        return false;
    if (memcmp(stream, "stderr", 6) == 0)
        out->is_stderr = true;
    else if (memcmp(stream, "stdout", 6) != 0)
        return false;
    const char *tags = space + 1;
    space = memchr(tags, ' ', (size_t)(end - tags));
    const char *tags_end = space ? space : end;
    if (tags == tags_end)
        return false;
    out->partial = *tags == 'P' && (tags + 1 == tags_end || tags[1] == ':');
    if (!out->partial && *tags != 'F')
        return false;
    out->text = space ? space + 1 : end;
    out->len = (size_t)(end - out->text);
    return true;
}

static void emit(struct log_filter *f, const void *p, size_t n, struct buf *out)
{
    if (f->options.limit_bytes >= 0 && f->written + (int64_t)n >= f->options.limit_bytes) {
        n = (size_t)(f->options.limit_bytes - f->written);
        f->done = true;
    }
    buf_add(out, p, n);
    f->written += (int64_t)n;
}

size_t log_filter_feed(struct log_filter *f, const char *data, size_t len, struct buf *out)
{
    size_t used = 0;
    if (f->options.limit_bytes == 0)
        f->done = true;
    while (!f->done && used < len) {
        const char *line = data + used, *newline = memchr(line, '\n', len - used);
        if (!newline)
            break;
        used = (size_t)(newline - data) + 1;
        struct log_line l;
        if (!log_line_parse(line, (size_t)(newline - line), &l))
            continue; /* torn by a crash: skipped, as by Kubernetes */
        if ((f->options.since_us && l.time_us < f->options.since_us) ||
            (f->options.stream && (f->options.stream == 2) != l.is_stderr))
            continue;
        if (f->options.timestamps && !f->open_line) {
            emit(f, l.timestamp, l.timestamp_len, out);
            if (!f->done)
                emit(f, " ", 1, out);
        }
        if (!f->done)
            emit(f, l.text, l.len, out);
        if (!f->done && !l.partial)
            emit(f, "\n", 1, out);
        f->open_line = l.partial;
    }
    return used;
}

int64_t log_tail_offset(int fd, int64_t lines)
{
    off_t end = lseek(fd, 0, SEEK_END);
    if (lines < 0 || end <= 0)
        return 0;
    if (lines == 0)
        return end;
    char block[4096];
    off_t at = end;
    int64_t found = 0;
    while (at > 0) {
        size_t n = at < (off_t)sizeof(block) ? (size_t)at : sizeof(block);
        at -= (off_t)n;
        if (pread(fd, block, n, at) != (ssize_t)n)
            return 0;
        for (size_t i = n; i-- > 0;) {
            if (block[i] != '\n' || at + (off_t)i == end - 1) /* the last line's own end does not begin one */
                continue;
            if (++found == lines)
                return at + (off_t)i + 1;
        }
    }
    return 0;
}

void logs_tail(const char *path, int64_t lines, size_t max_bytes, struct buf *out)
{
    cleanup_close int fd = path && *path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    struct log_filter f = {.options = {.tail_lines = lines, .limit_bytes = -1}};
    int64_t at = log_tail_offset(fd, lines), end = lseek(fd, 0, SEEK_END);
    int64_t window = (int64_t)(4 * max_bytes) + 4096; /* with what the runtime puts before each line */
    if (end - at > window)
        at = end - window; /* long lines: only their end matters */
    cleanup_buf struct buf raw = {0}, text = {0};
    buf_reserve(&raw, (size_t)(end - at));
    ssize_t n = pread(fd, raw.data, (size_t)(end - at), at);
    if (n > 0)
        log_filter_feed(&f, raw.data, (size_t)n, &text);
    size_t skip = text.len > max_bytes ? text.len - max_bytes : 0;
    if (text.len)
        buf_add(out, text.data + skip, text.len - skip);
}

/* --- followers --- */

struct log_reader {
    struct log_reader *next;
    const char *container_id; /* while it follows */
    int wake;                 /* eventfd */
    bool ended, cancelled;    /* guarded by readers_lock */
};
static struct log_reader *readers; /* all that follow now; guarded by readers_lock */
static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;

struct log_reader *log_reader_new(void)
{
    struct log_reader *r = mem_alloc(sizeof(*r));
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return r;
}

void log_reader_free(struct log_reader *r)
{
    if (r->wake >= 0)
        close(r->wake);
    free(r);
}

static void wake(struct log_reader *r)
{
    uint64_t one = 1;
    ssize_t n = write(r->wake, &one, sizeof(one));
    (void)n; /* a counter that is full wakes as well */
}

void log_reader_cancel(struct log_reader *r)
{
    pthread_mutex_lock(&readers_lock);
    r->cancelled = true;
    wake(r);
    pthread_mutex_unlock(&readers_lock);
}

void logs_container_ended(const char *container_id)
{
    pthread_mutex_lock(&readers_lock);
    for (struct log_reader *r = readers; r; r = r->next) {
        if (strcmp(r->container_id, container_id) == 0) {
            r->ended = true;
            wake(r);
        }
    }
    pthread_mutex_unlock(&readers_lock);
}

static void follow_begin(struct log_reader *r, const char *id)
{
    pthread_mutex_lock(&readers_lock);
    r->container_id = id;
    r->next = readers;
    readers = r;
    pthread_mutex_unlock(&readers_lock);
}

static void follow_end(struct log_reader *r)
{
    pthread_mutex_lock(&readers_lock);
    for (struct log_reader **p = &readers; *p; p = &(*p)->next) {
        if (*p == r) {
            *p = r->next;
            break;
        }
    }
    pthread_mutex_unlock(&readers_lock);
}

static bool is_cancelled(struct log_reader *r, bool *ended)
{
    pthread_mutex_lock(&readers_lock);
    bool c = r->cancelled;
    *ended = r->ended;
    pthread_mutex_unlock(&readers_lock);
    return c;
}

/* Reads to the end of the file; false when the reader left, the limit was reached or it was cancelled. */
static bool pump(struct log_reader *r, int fd, struct log_filter *f, struct buf *rest,
                 bool (*write_out)(void *, const void *, size_t), void *userdata)
{
    for (;;) {
        bool ended;
        if (is_cancelled(r, &ended))
            return false;
        buf_reserve(rest, CHUNK);
        ssize_t n = read(fd, rest->data + rest->len, CHUNK);
        if (n <= 0)
            return n == 0 || errno == EINTR;
        rest->len += (size_t)n;
        rest->data[rest->len] = '\0';
        cleanup_buf struct buf out = {0};
        size_t used = log_filter_feed(f, rest->data, rest->len, &out);
        memmove(rest->data, rest->data + used, rest->len - used);
        rest->len -= used;
        if (rest->len > MAX_LINE)
            rest->len = 0;
        if (out.len && !write_out(userdata, out.data, out.len))
            return false;
        if (f->done)
            return false;
    }
}

/* The file was moved away and a new one stands in its place (rotation). */
static bool was_rotated(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && (a.st_ino != b.st_ino || a.st_dev != b.st_dev);
}

/* Takes what inotify tells. True when the runtime has closed the file `wd`. */
static bool take_events(int watch, int wd)
{
    bool closed = false;
    _Alignas(struct inotify_event) char events[4096];
    ssize_t n;
    while ((n = read(watch, events, sizeof(events))) > 0) {
        for (char *at = events; at < events + n;) {
            const struct inotify_event *e = (const struct inotify_event *)at;
            closed = closed || (e->wd == wd && (e->mask & IN_CLOSE_WRITE));
            at += sizeof(*e) + e->len;
        }
    }
    return closed;
}

/* A line may still be on its way into a file that was moved away: the runtime closes it when it has none left. */
static void await_close(int watch, int wd)
{
    enum { LONGEST_MS = 500 };
    for (int64_t end = time_monotonic_ms() + LONGEST_MS, now; (now = time_monotonic_ms()) < end;) {
        struct pollfd p = {.fd = watch, .events = POLLIN};
        if (poll(&p, 1, (int)(end - now)) > 0 && take_events(watch, wd))
            return;
    }
}

bool logs_read(struct log_reader *r, const char *path, const char *container_id, const struct log_options *o,
               bool (*still_running)(void *userdata), bool (*write_out)(void *userdata, const void *p, size_t n),
               void *userdata, struct error **err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_set_errno(err, errno, "failed to try resolving symlinks in path \"%s\"", path);
        return false;
    }
    struct log_filter f = {.options = *o};
    cleanup_buf struct buf rest = {0};
    lseek(fd, log_tail_offset(fd, o->tail_lines), SEEK_SET);
    if (!o->follow) {
        pump(r, fd, &f, &rest, write_out, userdata);
        return true;
    }
    cleanup_free char *dir = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    cleanup_close int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int wd = watch < 0 ? -1 : inotify_add_watch(watch, path, IN_MODIFY | IN_CLOSE_WRITE);
    if (wd < 0 || inotify_add_watch(watch, dir, IN_CREATE | IN_MOVED_TO) < 0) {
        error_set_errno(err, errno, "watch %s", path);
        return false;
    }
    follow_begin(r, container_id);
    bool ended = !still_running(userdata); /* after joining the followers, so that its end cannot be missed */
    bool closed = false;
    for (;;) {
        if (!pump(r, fd, &f, &rest, write_out, userdata))
            break;
        if (was_rotated(fd, path)) {
            int next = open(path, O_RDONLY | O_CLOEXEC);
            if (next >= 0) {
                if (!closed && !ended)
                    await_close(watch, wd);
                bool more = pump(r, fd, &f, &rest, write_out, userdata);
                close(fd);
                fd = next;
                rest.len = 0;
                closed = false;
                wd = inotify_add_watch(watch, path, IN_MODIFY | IN_CLOSE_WRITE);
                if (!more)
                    break;
                continue;
            }
        }
        if (ended)
            break;
        struct pollfd p[2] = {{.fd = watch, .events = POLLIN}, {.fd = r->wake, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        closed = take_events(watch, wd) || closed;
        uint64_t count;
        ssize_t n = read(r->wake, &count, sizeof(count));
        (void)n;
        if (is_cancelled(r, &ended))
            break;
    }
    follow_end(r);
    return true;
}
