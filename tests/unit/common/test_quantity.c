#include <check.h>
#include <string.h>
#include "common/mem.h"
#include "common/quantity.h"

START_TEST(canonical_forms)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"0", "0"},
        {"0Mi", "0"},
        {"1", "1"},
        {"100m", "100m"},
        {"1000m", "1"},
        {"1500m", "1500m"},
        {"0.5", "500m"},
        {".5", "500m"},
        {"1.", "1"},
        {"+1", "1"},
        {"-1", "-1"},
        {"-0", "0"},
        {"1.5Gi", "1536Mi"},
        {"1024Ki", "1Mi"},
        {"1024Mi", "1Gi"},
        {"0.5Ki", "512"},
        {"1Ki", "1Ki"},
        {"1000Ki", "1000Ki"},
        {"2e3", "2e3"},
        {"2E3", "2e3"},
        {"1e0", "1"},
        {"100e-3", "100e-3"},
        {"12e4", "120e3"},
        {"1E", "1E"},
        {"1Ei", "1Ei"},
        {"1000k", "1M"},
        {"1000", "1k"},
        {"1234", "1234"},
        {"1100000", "1100k"},
        {"0.000001", "1u"},
        {"1n", "1n"},
        {"0.1n", "1n"},
        {"-0.1n", "-1n"},
        {"1.0000000001", "1000000001n"},
        {"100Mi", "100Mi"},
        {"1.1Mi", "1153433600m"},
        {"0.0001Ki", "102400u"},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775808", "9223372036854775807"},
        {"100E", "9223372036854775807"},
        {"-100E", "-9223372036854775807"},
        {"1e100", "9223372036854775807"},
        {"1e-100", "1e-9"},
        {"123456789012345678901234567890", "9223372036854775807"},
        {"0.123456789012345678901234567890", "123456790n"},
        {"0001", "1"},
        {"64Ki", "64Ki"},
        {"1023", "1023"},
        {"10.035Ki", "10275840m"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quantity q;
        char out[QUANTITY_TEXT_MAX];
        ck_assert_msg(quantity_parse(cases[i].in, &q), "%s", cases[i].in);
        quantity_print(q, out);
        ck_assert_msg(!strcmp(out, cases[i].out), "%s -> %s, not %s", cases[i].in, out, cases[i].out);
    }
}
END_TEST

START_TEST(malformed)
{
    static const char *const cases[] = {"",      " ",   "1 ",   " 1",   "a",    "1K",   "1ki",
                                        "1.2.3", ".",   "-",    "+",    "1mi",  "1e",   "1e+",
                                        "1e1.5", "--1", "1MiB", "1,5",  "0x10", "1kk",  "Ki",
                                        "e3",    "1-",  "1m1",  "1 Gi", "1e3k", "\xff", "1Zi"};
    struct quantity q;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_msg(!quantity_parse(cases[i], &q), "'%s'", cases[i]);
    ck_assert(!quantity_parse(NULL, &q));
}
END_TEST

START_TEST(values_round_up)
{
    ck_assert_int_eq(quantity_text_value("1m"), 1);
    ck_assert_int_eq(quantity_text_value("1001m"), 2);
    ck_assert_int_eq(quantity_text_value("2Gi"), 2147483648LL);
    ck_assert_int_eq(quantity_text_milli("1"), 1000);
    ck_assert_int_eq(quantity_text_milli("0.0001"), 1);
    ck_assert_int_eq(quantity_text_milli("250m"), 250);
    ck_assert_int_eq(quantity_text_milli("8Ei"), INT64_MAX);
    ck_assert_int_eq(quantity_text_value("nonsense"), 0);
    ck_assert_int_eq(quantity_text_value(NULL), 0);
    ck_assert_int_eq(quantity_text_value("9Ei"), INT64_MAX);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quantity");
    TCase *t = tcase_create("quantity");
    tcase_add_test(t, canonical_forms);
    tcase_add_test(t, malformed);
    tcase_add_test(t, values_round_up);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
