#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "kubelet/server/stream.h"

/* kubectl takes a text with a colon in it for YAML, and shows nothing of it. */
START_TEST(what_the_runtime_says_is_kept)
{
    static const char said[] =
        "rpc error: code = Unknown desc = container is in CONTAINER_EXITED state";
    cleanup_error struct error *err = NULL;
    error_set(&err, 0, "", "%s", said);
    cleanup_free char *body = stream_failure(err);
    cleanup_json cJSON *status = json_parse(body, strlen(body), NULL);
    ck_assert_ptr_nonnull(status);
    ck_assert_str_eq(json_str_or(status, "kind", ""), "Status");
    ck_assert_str_eq(json_str_or(status, "apiVersion", ""), "v1");
    ck_assert_str_eq(json_str_or(status, "status", ""), "Failure");
    ck_assert_str_eq(json_str_or(status, "message", ""), said);
    ck_assert_int_eq((int)cJSON_GetObjectItem(status, "code")->valuedouble, 500);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stream");
    TCase *c = tcase_create("failure");
    tcase_add_test(c, what_the_runtime_says_is_kept);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
