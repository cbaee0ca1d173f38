/* Proxied requests: names, paths, and what may be connected to. */
#include <check.h>
#include <string.h>
#include "apiserver/registry/proxy.h"
#include "common/mem.h"

static const struct {
    const char *text, *scheme, *name, *port;
} names[] = {
    {"web", "", "web", ""},           {"web:8080", "", "web", "8080"},
    {"web:", "", "web", ""},          {"https:web:http", "https", "web", "http"},
    {"http:web:", "http", "web", ""}, {":web:80", "", "web", "80"},
    {"ftp:web:80", NULL, NULL, NULL}, {"a:b:c:d", NULL, NULL, NULL},
    {":80", NULL, NULL, NULL},        {"http::80", NULL, NULL, NULL},
    {"", NULL, NULL, NULL},
};

START_TEST(names_with_scheme_and_port)
{
    struct proxy_name n;
    bool ok = proxy_name_parse(names[_i].text, &n);
    ck_assert_msg(ok == (names[_i].name != NULL), "%s", names[_i].text);
    if (!ok)
        return;
    ck_assert_str_eq(n.scheme, names[_i].scheme);
    ck_assert_str_eq(n.name, names[_i].name);
    ck_assert_str_eq(n.port, names[_i].port);
}
END_TEST

START_TEST(too_long_names)
{
    struct proxy_name n;
    cleanup_free char *text = mem_alloc(2000);
    memset(text, 'a', 1999);
    ck_assert(!proxy_name_parse(text, &n));
    text[300] = ':';
    ck_assert(!proxy_name_parse(text, &n));
    text[10] = ':';
    ck_assert(!proxy_name_parse(text, &n));
}
END_TEST

START_TEST(what_follows_in_the_path)
{
    ck_assert_str_eq(proxy_rest("/api/v1/nodes/n/proxy"), "");
    ck_assert_str_eq(proxy_rest("/api/v1/nodes/n/proxy/"), "/");
    ck_assert_str_eq(proxy_rest("/api/v1/nodes/n/proxy/a%2Fb/../c"), "/a%2Fb/../c");
    ck_assert_str_eq(proxy_rest("/api/v1/namespaces/x/pods/p/proxy/proxy//q"), "/proxy//q");
    ck_assert_str_eq(proxy_rest("//api/v1/namespaces/x/services/http:s:80/proxy/"), "/");
    ck_assert_str_eq(proxy_rest("/api"), "");
    ck_assert_str_eq(proxy_rest(""), "");
}
END_TEST

START_TEST(addresses)
{
    static const char *const good[] = {"10.244.1.2", "192.168.0.1", "8.8.8.8", "fd00::1"};
    static const char *const bad[] = {"127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1",
                                      "fe80::1",   "ff02::1",         "::",      "localhost", "",
                                      "10.1",      "::ffff:127.0.0.1"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(proxy_address_allowed(good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!proxy_address_allowed(bad[i]), "%s", bad[i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proxy");
    TCase *t = tcase_create("proxy");
    tcase_add_loop_test(t, names_with_scheme_and_port, 0, (int)ARRAY_LEN(names));
    tcase_add_test(t, too_long_names);
    tcase_add_test(t, what_follows_in_the_path);
    tcase_add_test(t, addresses);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
