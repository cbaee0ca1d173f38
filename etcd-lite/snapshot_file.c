#include "etcd-lite/snapshot_file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"

#define LIST_MAGIC   "SKIFFSNP"
#define LIST_VERSION 3
#define FILE_MAGIC   "SKIFFDAT"
#define ALIGN        4096u
#define WRITE_SIZE   ((size_t)256 << 10)
#define BLOCK_MAX    (64u << 20)
#define READ_AHEAD   4

/* --- lists --- */
struct list_header {
    char magic[8];
    uint32_t version, count;
    uint32_t crc, zero; /* of the files */
};

int64_t snapshot_list_revision(const struct snapshot_list *l)
{
    return l->n ? l->files[l->n - 1].to : 0;
}

const struct snapshot_file *snapshot_list_find(const struct snapshot_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->files[i].name, name) == 0)
            return &l->files[i];
    return NULL;
}

void snapshot_list_add(struct snapshot_list *l, const struct snapshot_file *f)
{
    l->files = mem_realloc(l->files, (l->n + 1) * sizeof(*f));
    l->files[l->n++] = *f;
}

void snapshot_list_copy(struct snapshot_list *to, const struct snapshot_list *from)
{
    *to = (struct snapshot_list){NULL, 0};
    for (size_t i = 0; i < from->n; i++)
        snapshot_list_add(to, &from->files[i]);
}

void snapshot_list_clear(struct snapshot_list *l)
{
    free(l->files);
    *l = (struct snapshot_list){NULL, 0};
}

void snapshot_list_encode(const struct snapshot_list *l, struct buf *out)
{
    struct list_header h = {.magic = LIST_MAGIC, .version = LIST_VERSION, .count = (uint32_t)l->n};
    h.crc = (uint32_t)crc32_z(0, (const Bytef *)l->files, l->n * sizeof(*l->files));
    buf_add(out, &h, sizeof(h));
    if (l->n)
        buf_add(out, l->files, l->n * sizeof(*l->files));
}

/* A name comes from disk or from another member: it must not lead out of the directory. */
bool snapshot_name_is_good(const char *name)
{
    size_t n = strnlen(name, SNAPSHOT_NAME_MAX);
    return n > 0 && n < SNAPSHOT_NAME_MAX && name[0] != '.' &&
           strspn(name, "0123456789abcdefghijklmnopqrstuvwxyz-.") == n;
}

bool snapshot_list_decode(struct snapshot_list *l, const void *data, size_t len, struct error **err)
{
    struct list_header h;
    *l = (struct snapshot_list){NULL, 0};
    if (len < sizeof(h) || memcmp(data, LIST_MAGIC, 8) != 0) {
        error_setf(err, "this is no snapshot of etcd-lite");
        return false;
    }
    memcpy(&h, data, sizeof(h));
    if (h.version != LIST_VERSION) {
        error_setf(err, "the snapshot has format %u, and this program reads format %d only",
                   h.version, LIST_VERSION);
        return false;
    }
    const char *files = (const char *)data + sizeof(h);
    size_t bytes = (size_t)h.count * sizeof(struct snapshot_file);
    bool good = h.count > 0 && h.count <= SNAPSHOT_FILES_MAX && bytes == len - sizeof(h) &&
                (uint32_t)crc32_z(0, (const Bytef *)files, bytes) == h.crc;
    int64_t reached = 0;
    for (uint32_t i = 0; i < h.count && good; i++) {
        struct snapshot_file f;
        memcpy(&f, files + i * sizeof(f), sizeof(f));
        good = snapshot_name_is_good(f.name) && f.from >= 0 && f.to >= f.from;
        if (f.kind == SNAPSHOT_BASE && i == 0) {
            reached = f.from;
        } else {
            good = good && f.kind == SNAPSHOT_CHANGES && f.from <= reached && f.to >= reached;
            reached = f.to;
        }
        snapshot_list_add(l, &f);
    }
    const struct snapshot_file *last = good ? &l->files[l->n - 1] : NULL;
    good = good && last->kind == SNAPSHOT_CHANGES && last->to >= l->files[0].from &&
           (l->files[0].kind == SNAPSHOT_CHANGES || last->to >= l->files[0].to);
    if (!good) {
        snapshot_list_clear(l);
        error_setf(err, "the snapshot's list of files is damaged");
    }
    return good;
}

bool snapshot_list_is_foreign(const void *data, size_t len)
{
    struct list_header h;
    if (len < sizeof(h) || memcmp(data, LIST_MAGIC, 8) != 0)
        return false;
    memcpy(&h, data, sizeof(h));
    return h.version != LIST_VERSION;
}

bool snapshot_list_news(const struct snapshot_list *l, int64_t have, struct snapshot_list *news)
{
    *news = (struct snapshot_list){NULL, 0};
    for (size_t i = 0; i < l->n; i++) {
        const struct snapshot_file *f = &l->files[i];
        if (f->kind == SNAPSHOT_BASE)
            continue;
        /* The last one also says what has no revision. */
        if (f->to > have || i == l->n - 1)
            snapshot_list_add(news, f);
    }
    if (have > 0 && news->n > 0 && news->files[0].from <= have)
        return true;
    snapshot_list_clear(news);
    snapshot_list_copy(news, l);
    return false;
}

/* --- writing --- */
struct snapshot_out {
    int dir, fd;
    bool direct, pace;
    char name[SNAPSHOT_NAME_MAX];
    uint64_t bytes; /* all that was added */
    uint64_t at;    /* written */
    size_t used;
    char *data; /* aligned, WRITE_SIZE */
};

static void temporary_name(char out[SNAPSHOT_NAME_MAX + 8], const char *name)
{
    snprintf(out, SNAPSHOT_NAME_MAX + 8, "%s.tmp", name);
}

static void free_out(struct snapshot_out *o)
{
    if (o->fd >= 0)
        close(o->fd);
    if (o->dir >= 0)
        close(o->dir);
    free(o->data);
    free(o);
}

void snapshot_out_abandon(struct snapshot_out *o)
{
    if (!o)
        return;
    char tmp[SNAPSHOT_NAME_MAX + 8];
    temporary_name(tmp, o->name);
    if (o->fd >= 0)
        unlinkat(o->dir, tmp, 0);
    free_out(o);
}

struct snapshot_out *snapshot_out_open(const char *dir, const char *name, bool pace,
                                       struct error **err)
{
    struct snapshot_out *o = mem_alloc(sizeof(*o));
    o->fd = -1;
    o->pace = pace;
    snprintf(o->name, sizeof(o->name), "%s", name);
    char tmp[SNAPSHOT_NAME_MAX + 8];
    temporary_name(tmp, name);
    o->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (o->dir >= 0) {
        int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
        o->fd = openat(o->dir, tmp, flags | O_DIRECT, 0600);
        o->direct = o->fd >= 0;
        if (o->fd < 0 && errno == EINVAL) /* not on every file system */
            o->fd = openat(o->dir, tmp, flags, 0600);
    }
    if (o->fd < 0 || posix_memalign((void **)&o->data, ALIGN, WRITE_SIZE) != 0) {
        error_set_errno(err, errno, "cannot write %s in %s", tmp, dir);
        snapshot_out_abandon(o);
        return NULL;
    }
    return o;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static bool write_out(struct snapshot_out *o, size_t n, struct error **err)
{
    int64_t began = now_ns();
    for (size_t done = 0; done < n;) {
        ssize_t w = pwrite(o->fd, o->data + done, n - done, (off_t)(o->at + done));
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            error_set_errno(err, w < 0 ? errno : ENOSPC, "cannot write %s", o->name);
            return false;
        }
        done += (size_t)w;
        if (o->direct && done < n && done % ALIGN) { /* the disk is as good as full */
            error_set_errno(err, ENOSPC, "cannot write %s", o->name);
            return false;
        }
    }
    /* What the page cache holds back would come down on the log's next write all at once. */
    if (!o->direct)
        sync_file_range(o->fd, (off_t)o->at, (off_t)n,
                        SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    o->at += n;
    if (o->pace) {
        int64_t took = now_ns() - began;
        struct timespec rest = {.tv_sec = took / 1000000000, .tv_nsec = took % 1000000000};
        nanosleep(&rest, NULL);
    }
    return true;
}

bool snapshot_out_add(struct snapshot_out *o, const void *p, size_t n, struct error **err)
{
    o->bytes += n;
    for (const char *from = p; n > 0;) {
        size_t k = WRITE_SIZE - o->used < n ? WRITE_SIZE - o->used : n;
        memcpy(o->data + o->used, from, k);
        o->used += k;
        from += k;
        n -= k;
        if (o->used == WRITE_SIZE) {
            if (!write_out(o, WRITE_SIZE, err))
                return false;
            o->used = 0;
        }
    }
    return true;
}

bool snapshot_out_finish(struct snapshot_out *o, struct error **err)
{
    char tmp[SNAPSHOT_NAME_MAX + 8];
    temporary_name(tmp, o->name);
    size_t whole = (o->used + ALIGN - 1) / ALIGN * ALIGN;
    memset(o->data + o->used, 0, whole - o->used);
    bool ok = whole == 0 || write_out(o, whole, err);
    if (ok && (ftruncate(o->fd, (off_t)o->bytes) < 0 || fdatasync(o->fd) < 0 ||
               renameat(o->dir, tmp, o->dir, o->name) < 0 || fsync(o->dir) < 0)) {
        error_set_errno(err, errno, "cannot finish %s", o->name);
        ok = false;
    }
    if (ok)
        free_out(o);
    else
        snapshot_out_abandon(o);
    return ok;
}

/* --- blocks --- */
struct block_header {
    uint32_t len, crc;
};

bool snapshot_blocks_open(struct snapshot_blocks *b, const char *dir,
                          const struct snapshot_file *file, bool pace, struct error **err)
{
    *b = (struct snapshot_blocks){.file = *file};
    b->out = snapshot_out_open(dir, file->name, pace, err);
    return b->out && snapshot_out_add(b->out, FILE_MAGIC, 8, err);
}

bool snapshot_blocks_flush(struct snapshot_blocks *b, struct error **err)
{
    if (b->block.len == 0)
        return true;
    struct block_header h = {(uint32_t)b->block.len,
                             (uint32_t)crc32_z(0, (const Bytef *)b->block.data, b->block.len)};
    b->file.crc = (uint32_t)crc32(b->file.crc, (const Bytef *)&h, sizeof(h));
    bool ok = snapshot_out_add(b->out, &h, sizeof(h), err) &&
              snapshot_out_add(b->out, b->block.data, b->block.len, err);
    buf_clear(&b->block);
    return ok;
}

bool snapshot_blocks_finish(struct snapshot_blocks *b, struct error **err)
{
    bool ok = snapshot_blocks_flush(b, err);
    if (ok) {
        b->file.bytes = b->out->bytes;
        ok = snapshot_out_finish(b->out, err);
        b->out = NULL;
    }
    snapshot_blocks_abandon(b);
    return ok;
}

void snapshot_blocks_abandon(struct snapshot_blocks *b)
{
    snapshot_out_abandon(b->out);
    b->out = NULL;
    buf_free(&b->block);
}

/* --- reading --- */
struct slot {
    uint8_t *data;
    size_t len, cap;
};
struct reading {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int fd;
    const struct snapshot_file *file;
    struct slot slots[READ_AHEAD];
    size_t filled, taken; /* blocks */
    bool done, stop, bad;
    int error;
};

static bool read_whole(struct reading *r, void *p, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t k = read(r->fd, (char *)p + got, n - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            r->error = k < 0 ? errno : 0;
            return false;
        }
        got += (size_t)k;
    }
    return true;
}

/* False at the end, be it good or bad. */
static bool read_block(struct reading *r, struct slot *s, uint64_t *left, uint32_t *crc)
{
    struct block_header h;
    if (*left == 0) {
        r->bad = *crc != r->file->crc;
        return false;
    }
    r->bad = true;
    if (*left < sizeof(h) || !read_whole(r, &h, sizeof(h)))
        return false;
    *left -= sizeof(h);
    if (h.len == 0 || h.len > BLOCK_MAX || h.len > *left)
        return false;
    if (h.len > s->cap) {
        s->cap = h.len;
        s->data = mem_realloc(s->data, s->cap);
    }
    if (!read_whole(r, s->data, h.len) || (uint32_t)crc32_z(0, s->data, h.len) != h.crc)
        return false;
    *left -= h.len;
    *crc = (uint32_t)crc32(*crc, (const Bytef *)&h, sizeof(h));
    s->len = h.len;
    r->bad = false;
    return true;
}

static void *read_ahead(void *arg)
{
    struct reading *r = arg;
    uint64_t left = r->file->bytes;
    uint32_t crc = 0;
    char magic[8];
    bool more = left >= 8 && read_whole(r, magic, 8) && memcmp(magic, FILE_MAGIC, 8) == 0;
    r->bad = !more;
    left -= more ? 8 : 0;
    pthread_mutex_lock(&r->lock);
    while (more) {
        while (r->filled - r->taken == READ_AHEAD && !r->stop)
            pthread_cond_wait(&r->changed, &r->lock);
        if (r->stop)
            break;
        struct slot *s = &r->slots[r->filled % READ_AHEAD];
        pthread_mutex_unlock(&r->lock);
        more = read_block(r, s, &left, &crc);
        pthread_mutex_lock(&r->lock);
        if (more)
            r->filled++;
        pthread_cond_signal(&r->changed);
    }
    r->done = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static int open_in(const char *dir, const char *name)
{
    cleanup_close int d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return d < 0 ? -1 : openat(d, name, O_RDONLY | O_CLOEXEC);
}

bool snapshot_file_read(const char *dir, const struct snapshot_file *f,
                        bool (*block)(void *userdata, const uint8_t *p, size_t n), void *userdata,
                        struct error **err)
{
    struct reading r = {.fd = open_in(dir, f->name), .file = f};
    struct stat st;
    if (r.fd < 0 || fstat(r.fd, &st) < 0) {
        error_set_errno(err, errno, "cannot read %s, a file of the snapshot", f->name);
        if (r.fd >= 0)
            close(r.fd);
        return false;
    }
    pthread_t thread;
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.changed, NULL);
    bool good = (uint64_t)st.st_size == f->bytes, started = good;
    if (started)
        started = thread_start(&thread, read_ahead, &r);
    pthread_mutex_lock(&r.lock);
    while (started && good) {
        while (r.filled == r.taken && !r.done)
            pthread_cond_wait(&r.changed, &r.lock);
        if (r.filled == r.taken)
            break;
        const struct slot *s = &r.slots[r.taken % READ_AHEAD];
        pthread_mutex_unlock(&r.lock);
        good = !block || block(userdata, s->data, s->len);
        pthread_mutex_lock(&r.lock);
        r.taken++;
        pthread_cond_signal(&r.changed);
    }
    r.stop = true;
    pthread_cond_signal(&r.changed);
    pthread_mutex_unlock(&r.lock);
    if (started)
        pthread_join(thread, NULL);
    good = good && started && !r.bad;
    close(r.fd);
    for (size_t i = 0; i < READ_AHEAD; i++)
        free(r.slots[i].data);
    pthread_cond_destroy(&r.changed);
    pthread_mutex_destroy(&r.lock);
    if (!good && r.error)
        error_set_errno(err, r.error, "cannot read %s, a file of the snapshot", f->name);
    else if (!good)
        error_setf(err, "%s, a file of the snapshot, is damaged (checksum or structure)", f->name);
    return good;
}

bool snapshot_file_exists(const char *dir, const struct snapshot_file *f)
{
    cleanup_close int fd = open_in(dir, f->name);
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size == f->bytes;
}

/* --- sweeping --- */
static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* What libraft keeps: its snapshots' files hold nothing but a list. */
static bool add_kept(const char *raft_dir, struct snapshot_list *keep)
{
    __attribute__((cleanup(close_dir))) DIR *d = opendir(raft_dir);
    if (!d)
        return false;
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (strncmp(e->d_name, "snapshot-", 9) != 0 ||
            (n > 5 && strcmp(e->d_name + n - 5, ".meta") == 0))
            continue;
        cleanup_free char *path = mem_printf("%s/%s", raft_dir, e->d_name);
        cleanup_buf struct buf b = {0};
        struct snapshot_list l;
        if (!buf_read_file(&b, path, NULL) || !snapshot_list_decode(&l, buf_str(&b), b.len, NULL))
            continue;
        for (size_t i = 0; i < l.n; i++)
            snapshot_list_add(keep, &l.files[i]);
        snapshot_list_clear(&l);
    }
    return true;
}

void snapshot_files_sweep(const char *dir, const char *raft_dir, const struct snapshot_list *keep)
{
    struct snapshot_list all;
    snapshot_list_copy(&all, keep);
    __attribute__((cleanup(close_dir))) DIR *d = opendir(dir);
    if (d && add_kept(raft_dir, &all))
        for (struct dirent *e; (e = readdir(d));) {
            if (e->d_name[0] == '.')
                continue;
            char name[NAME_MAX + 1];
            snprintf(name, sizeof(name), "%s", e->d_name);
            size_t n = strlen(name);
            if (n > 4 && strcmp(name + n - 4, ".tmp") == 0)
                name[n - 4] = '\0';
            if (!snapshot_list_find(&all, name))
                unlinkat(dirfd(d), e->d_name, 0);
        }
    snapshot_list_clear(&all);
}
