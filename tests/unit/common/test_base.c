/* error.h, buf.h, timefmt.h */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/error.h"
#include "common/mem.h"
#include "common/timefmt.h"

START_TEST(errors_carry_context)
{
    struct error *err = NULL;
    error_set(&err, 404, "NotFound", "pods \"%s\" not found", "x");
    error_wrap(&err, "read %s", "y");
    ck_assert_str_eq(error_message(err), "read y: pods \"x\" not found");
    ck_assert_int_eq(err->code, 404);
    ck_assert_str_eq(err->reason, "NotFound");
    error_free(err);
    err = NULL;
    error_set_errno(&err, ENOENT, "open %s", "z");
    ck_assert_str_eq(error_message(err), "open z: No such file or directory");
    error_free(err);
    error_setf(NULL, "nobody listens");
    error_wrap(NULL, "nobody listens");
    ck_assert_str_eq(error_message(NULL), "unknown error");
}
END_TEST

START_TEST(base64_round_trips)
{
    for (size_t n = 0; n < 70; n++) {
        unsigned char bytes[70];
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(i * 37 + n);
        cleanup_buf struct buf text = {0};
        cleanup_buf struct buf back = {0};
        buf_add_base64(&text, bytes, n);
        ck_assert_uint_eq(text.len, (n + 2) / 3 * 4);
        ck_assert(buf_add_base64_decoded(&back, buf_str(&text), text.len));
        ck_assert_uint_eq(back.len, n);
        ck_assert(n == 0 || !memcmp(back.data, bytes, n));
    }
    cleanup_buf struct buf b = {0};
    ck_assert(buf_add_base64_decoded(&b, "YWI", 3)); /* no padding */
    ck_assert_str_eq(b.data, "ab");
    ck_assert(!buf_add_base64_decoded(&b, "a", 1));
    ck_assert(!buf_add_base64_decoded(&b, "ab!d", 4));
    ck_assert_str_eq(b.data, "ab");
}
END_TEST

START_TEST(urls_are_encoded)
{
    cleanup_buf struct buf b = {0};
    buf_add_urlencoded(&b, "a b/c?=&~.-_\xc3\xa9");
    ck_assert_str_eq(b.data, "a%20b%2Fc%3F%3D%26~.-_%C3%A9");
}
END_TEST

START_TEST(files_are_replaced_whole)
{
    char dir[] = "/tmp/skiff-test-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    cleanup_free char *path = mem_printf("%s/file", dir);
    ck_assert(buf_write_file_atomic(path, "one", 3, 0600, NULL));
    ck_assert(buf_write_file_atomic(path, "twotwo", 6, 0600, NULL));
    cleanup_buf struct buf b = {0};
    ck_assert(buf_read_file(&b, path, NULL));
    ck_assert_str_eq(b.data, "twotwo");
    cleanup_error struct error *err = NULL;
    cleanup_free char *nowhere = mem_printf("%s/none/file", dir);
    ck_assert(!buf_write_file_atomic(nowhere, "x", 1, 0600, &err));
    ck_assert_ptr_nonnull(strstr(error_message(err), "No such file or directory"));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(dir), 0); /* no temporary file was left */
}
END_TEST

START_TEST(times)
{
    char out[TIME_TEXT_MAX];
    int64_t t;
    ck_assert_str_eq(time_format(1790000000, out), "2026-09-21T14:13:20Z");
    ck_assert_str_eq(time_format_micro(1790000000123456, out), "2026-09-21T14:13:20.123456Z");
    ck_assert(time_parse("2026-09-21T14:13:20Z", &t));
    ck_assert_int_eq(t, 1790000000000000);
    ck_assert(time_parse("2026-09-21T16:13:20.5+02:00", &t));
    ck_assert_int_eq(t, 1790000000500000);
    ck_assert(time_parse("2026-09-21T14:13:20.123456789Z", &t));
    ck_assert_int_eq(t, 1790000000123456);
    static const char *const bad[] = {"", "2026-09-21", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
                                      "2026-09-21T14:13:20", "2026-09-21T14:13:20Zx", "2026-09-21T24:13:20Z",
                                      "2026-09-21T14:13:20.Z"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!time_parse(bad[i], &t), "%s", bad[i]);
}
END_TEST

START_TEST(ages_read_as_kubectl_prints_them)
{
    char out[TIME_TEXT_MAX];
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {{0, "0s"}, {119, "119s"}, {120, "2m"}, {190, "3m10s"}, {3600, "60m"}, {10800, "3h"}, {12000, "3h20m"},
                 {86400, "24h"}, {172800, "2d"}, {180000, "2d2h"}, {8640000, "100d"}, {86400 * 800, "2y70d"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_str_eq(time_human_duration(cases[i].seconds, out), cases[i].text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base");
    TCase *t = tcase_create("base");
    tcase_add_test(t, errors_carry_context);
    tcase_add_test(t, base64_round_trips);
    tcase_add_test(t, urls_are_encoded);
    tcase_add_test(t, files_are_replaced_whole);
    tcase_add_test(t, times);
    tcase_add_test(t, ages_read_as_kubectl_prints_them);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
