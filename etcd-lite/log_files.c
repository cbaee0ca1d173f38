#include "etcd-lite/log_files.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "common/log.h"
#include "common/mem.h"

#define SEGMENT_BYTES  (8 << 20) /* libraft's default */
#define SECTOR         512
#define TORN_MIN       16 /* zeros at the edge of a sector that count as not written */
#define FORMAT_BYTES   8  /* before the first batch */
#define PREAMBLE_BYTES 16 /* checksum of the header, of the data; number of entries */
#define ENTRY_BYTES    16 /* in the header: term (8), type (1), nothing (3), length (4) */
#define MAX_ENTRIES    65536

/* --- batches, as libraft writes them --- */
static uint32_t crc_table[256];

/* CRC-32 of the polynomial 0x04C11DB7, high bit first, begun with 0. */
static uint32_t crc(const uint8_t *p, size_t n)
{
    if (!crc_table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i << 24;
            for (int k = 0; k < 8; k++)
                c = c << 1 ^ (c >> 31 ? 0x04C11DB7u : 0);
            crc_table[i] = c;
        }
    uint32_t c = 0;
    for (size_t i = 0; i < n; i++)
        c = c << 8 ^ crc_table[(c >> 24 ^ p[i]) & 0xff];
    return c;
}

static uint32_t u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v)); /* little-endian, as all machines that we run on */
    return v;
}

static uint64_t u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Size of the intact batch at `at`; 0 if there is none. */
static size_t batch_size(const uint8_t *data, size_t len, size_t at)
{
    if (len - at < PREAMBLE_BYTES + ENTRY_BYTES)
        return 0;
    const uint8_t *p = data + at;
    uint64_t n = u64(p + 8);
    if (n == 0 || n > MAX_ENTRIES || n > (len - at - PREAMBLE_BYTES) / ENTRY_BYTES)
        return 0;
    const uint8_t *entries = p + PREAMBLE_BYTES;
    uint64_t bytes = 0, room = len - at - PREAMBLE_BYTES - n * ENTRY_BYTES;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t type = entries[i * ENTRY_BYTES + 8];
        bytes += u32(entries + i * ENTRY_BYTES + 12);
        if (type < 1 || type > 3 || bytes > room) /* cheaper than a checksum */
            return 0;
    }
    size_t header = 8 + n * ENTRY_BYTES;
    if (crc(p + 8, header) != u32(p) || crc(p + 8 + header, bytes) != u32(p + 4))
        return 0;
    return 8 + header + bytes;
}

static bool zeros(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static bool has_unwritten_sector(const uint8_t *data, size_t from, size_t to)
{
    while (from < to) {
        size_t end = (from / SECTOR + 1) * SECTOR;
        end = end < to ? end : to;
        if (end - from >= TORN_MIN && zeros(data + from, end - from))
            return true;
        from = end;
    }
    return false;
}

int64_t log_segment_damage(const uint8_t *data, size_t len)
{
    size_t at = FORMAT_BYTES, size;
    if (len < FORMAT_BYTES)
        return -1;
    while ((size = batch_size(data, len, at)))
        at += size;
    if (zeros(data + at, len - at))
        return -1;
    for (size_t next = at + 1; next < len; next++)
        if (batch_size(data, len, next))
            return has_unwritten_sector(data, at, next) ? -1 : (int64_t)at;
    return -1;
}

/* --- files --- */
static bool check_file(int dir, const char *name, struct error **err)
{
    cleanup_close int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        error_set_errno(err, errno, "cannot look into %s", name);
        return false;
    }
    if (st.st_size == 0) /* libraft removes it */
        return true;
    size_t len = (size_t)st.st_size;
    void *data = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        error_set_errno(err, errno, "cannot map %s", name);
        return false;
    }
    int64_t damage = log_segment_damage(data, len);
    munmap(data, len);
    if (damage >= 0) {
        error_setf(err, "%s is corrupted at byte %lld, and what follows is intact", name,
                   (long long)damage);
        return false;
    }
    if (len >= SEGMENT_BYTES)
        return true;
    log_warn("A segment of the log lacks its end", "file", name, "bytes", log_int((long long)len));
    if (ftruncate(fd, SEGMENT_BYTES) == 0 && fsync(fd) == 0)
        return true;
    error_set_errno(err, errno, "cannot fill up %s", name);
    return false;
}

static void close_dir(DIR **d)
{
    if (*d)
        closedir(*d);
}

bool log_files_check(const char *path, struct error **err)
{
    __attribute__((cleanup(close_dir))) DIR *d = opendir(path);
    if (!d) {
        error_set_errno(err, errno, "cannot list %s", path);
        return false;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, "open-", 5) == 0 && !check_file(dirfd(d), e->d_name, err))
            return false;
    return true;
}
