/* Open segments, built here as libraft builds them, and damaged. */
#include <check.h>
#include <string.h>
#include "common/buf.h"
#include "etcd-lite/log_files.h"

#define SEGMENT 65536

/* Bit by bit, so that it is another implementation than the one that is tested. */
static uint32_t crc(const void *data, size_t n)
{
    uint32_t c = 0;
    for (size_t i = 0; i < n; i++)
        for (int bit = 7; bit >= 0; bit--) {
            uint32_t in = ((const uint8_t *)data)[i] >> bit & 1;
            c = c << 1 ^ ((c >> 31 ^ in) ? 0x04C11DB7u : 0);
        }
    return c;
}

struct segment {
    uint8_t data[SEGMENT];
    size_t len;
    size_t batches[16];
    int n;
};

static void begin(struct segment *s)
{
    memset(s, 0, sizeof(*s));
    s->data[0] = 1;
    s->len = 8;
}

static void add_batch(struct segment *s, int entries, size_t size)
{
    struct buf header = {0}, data = {0};
    uint64_t n = (uint64_t)entries;
    buf_add(&header, &n, 8);
    for (int i = 0; i < entries; i++) {
        uint8_t h[16] = {3, [8] = 1};
        uint32_t len = (uint32_t)size;
        memcpy(h + 12, &len, 4);
        buf_add(&header, h, sizeof(h));
        for (size_t k = 0; k < size; k++)
            buf_addc(&data, (char)('a' + s->n));
    }
    uint32_t sums[2] = {crc(header.data, header.len), crc(data.data, data.len)};
    s->batches[s->n++] = s->len;
    memcpy(s->data + s->len, sums, 8);
    memcpy(s->data + s->len + 8, header.data, header.len);
    memcpy(s->data + s->len + 8 + header.len, data.data, data.len);
    s->len += 8 + header.len + data.len;
    buf_free(&header);
    buf_free(&data);
}

static void three(struct segment *s)
{
    begin(s);
    add_batch(s, 1, 3000);
    add_batch(s, 3, 1000);
    add_batch(s, 1, 2000);
}

/* What libraft 0.15 wrote. */
START_TEST(written_by_libraft)
{
    static const uint8_t header[] = {1, 0, 0, 0, 0, 0, 0, 0, 1,    0,    0, 0,
                                     0, 0, 0, 0, 1, 0, 0, 0, 0xf8, 0x0b, 0, 0};
    ck_assert_uint_eq(crc(header, sizeof(header)), 0xbdf731e3);
}
END_TEST

START_TEST(intact)
{
    struct segment s;
    begin(&s);
    ck_assert_int_eq(log_segment_damage(s.data, 0), -1);
    ck_assert_int_eq(log_segment_damage(s.data, s.len), -1);
    ck_assert_int_eq(log_segment_damage(s.data, SEGMENT), -1);
    three(&s);
    ck_assert_int_eq(log_segment_damage(s.data, SEGMENT), -1);
    ck_assert_int_eq(log_segment_damage(s.data, s.len), -1);
}
END_TEST

START_TEST(torn_tails)
{
    struct segment s;
    for (size_t keep = 0; keep < 2000; keep += 37) {
        three(&s);
        memset(s.data + s.batches[2] + keep, 0, s.len - s.batches[2] - keep);
        ck_assert_int_eq(log_segment_damage(s.data, SEGMENT), -1);
        ck_assert_int_eq(log_segment_damage(s.data, s.batches[2] + keep), -1);
    }
    three(&s);
    s.data[s.len - 100] ^= 1;
    ck_assert_int_eq(log_segment_damage(s.data, SEGMENT), -1);
    /* A write of two batches of which the later part reached the disk first. */
    three(&s);
    memset(s.data + 4096, 0, 512);
    ck_assert_uint_gt(4096, s.batches[1]);
    ck_assert_uint_lt(4608, s.batches[2]);
    ck_assert_int_eq(log_segment_damage(s.data, SEGMENT), -1);
}
END_TEST

START_TEST(damaged_middles)
{
    struct segment s;
    /* Any byte of the first two batches: checksums, headers, data. */
    for (size_t at = 8; three(&s), at < s.batches[2]; at += at < s.batches[0] + 40 ? 1 : 13) {
        s.data[at] ^= 0x10;
        ck_assert_int_eq(log_segment_damage(s.data, SEGMENT),
                         (int64_t)(at < s.batches[1] ? s.batches[0] : s.batches[1]));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log_files");
    TCase *t = tcase_create("segments");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, written_by_libraft);
    tcase_add_test(t, intact);
    tcase_add_test(t, torn_tails);
    tcase_add_test(t, damaged_middles);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
