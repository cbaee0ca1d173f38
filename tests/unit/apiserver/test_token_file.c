/* --token-auth-file: who a token stands for, and which files are refused. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apiserver/auth/auth.h"
#include "apiserver/auth/token_file.h"
#include "common/buf.h"
#include "common/mem.h"

static bool load(const char *text, struct error **err)
{
    char path[] = "/tmp/token-file-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    bool ok = token_file_load(path, err);
    unlink(path);
    return ok;
}

START_TEST(test_users)
{
    cleanup_error struct error *err = NULL;
    ck_assert_msg(
        load("# people\nt1,alice,7,\"system:masters,dev\"\n\nt2,bob,8\r\n\"t,\"\"3\",carol,9,one\n",
             &err),
        "%s", error_message(err));
    struct api_user u = {0};
    ck_assert(token_file_authenticate("t1", &u));
    ck_assert_str_eq(u.name, "alice");
    ck_assert_str_eq(u.uid, "7");
    ck_assert_str_eq(u.groups[0], "system:masters");
    ck_assert_str_eq(u.groups[1], "dev");
    ck_assert_str_eq(u.groups[2], "system:authenticated");
    ck_assert_ptr_null(u.groups[3]);
    ck_assert(token_file_authenticate("t2", &u));
    ck_assert_str_eq(u.name, "bob");
    ck_assert_str_eq(u.groups[0], "system:authenticated");
    ck_assert(token_file_authenticate("t,\"3", &u));
    ck_assert_str_eq(u.name, "carol");
    ck_assert_str_eq(u.groups[0], "one");
    ck_assert(!token_file_authenticate("", &u));
    ck_assert(!token_file_authenticate("t", &u));
    ck_assert(!token_file_authenticate("t11", &u));
    api_user_clear(&u);
}
END_TEST

START_TEST(test_refusals)
{
    static const char *const bad[] = {"t1\n", ",user,1\n", "\"\n", "t1,\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_error struct error *err = NULL;
        ck_assert_msg(!load(bad[i], &err), "%s", bad[i]);
        ck_assert_ptr_null(strstr(error_message(err), "t1"));
    }
    ck_assert(load("", NULL));
    ck_assert(!token_file_load("/nonexistent", NULL));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("token file");
    TCase *t = tcase_create("token file");
    tcase_add_test(t, test_users);
    tcase_add_test(t, test_refusals);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
