/* Which credentials are for which image; plug-ins that answer, fail and are remembered. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "common/mem.h"
#include "kubelet/credential/credential.h"

START_TEST(test_repository)
{
    static const char *const cases[][2] = {
        {"nginx", "docker.io/library/nginx"},
        {"nginx:1.2", "docker.io/library/nginx"},
        {"team/app@sha256:abc", "docker.io/team/app"},
        {"localhost/app", "localhost/app"},
        {"reg.io/team/app:1", "reg.io/team/app"},
        {"reg:5000/app", "reg:5000/app"},
        {"reg:5000/app:2", "reg:5000/app"},
        {"", "docker.io/library/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_arena struct arena a = {0};
        ck_assert_str_eq(credential_repository(&a, cases[i][0]), cases[i][1]);
    }
}
END_TEST

START_TEST(test_matches)
{
    static const struct {
        const char *pattern, *repository;
        bool matches;
    } cases[] = {
        {"reg.io", "reg.io/app", true},
        {"https://reg.io/v2/", "reg.io/app", true},
        {"reg.io/team", "reg.io/team/app", true},
        {"reg.io/team", "reg.io/other/app", false},
        {"*.io", "reg.io/app", true},
        {"*.io", "a.reg.io/app", false}, /* a glob stays within one part */
        {"*.*.io", "a.reg.io/app", true},
        {"reg.io:5000", "reg.io/app", false},
        {"reg.io", "reg.io:5000/app", false},
        {"r?g.io:5000", "reg.io:5000/app", true},
        {"https://index.docker.io/v1/", "docker.io/library/nginx", true},
        {"docker.io/team", "docker.io/other/app", false},
        {"", "reg.io/app", false},
        {"reg.io.evil.com", "reg.io/app", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_msg(credential_matches(cases[i].pattern, cases[i].repository) == cases[i].matches,
                      "%s %s", cases[i].pattern, cases[i].repository);
}
END_TEST

START_TEST(test_docker_config)
{
    static const char text[] = "{\"auths\":{\"reg.io\":{\"username\":\"wide\",\"password\":\"1\"},"
                               "\"reg.io/team\":{\"auth\":\"bmFycm93OnA6cQ==\"},"
                               "\"other.io\":{\"username\":\"x\",\"password\":\"y\"},\"*.io\":7}}";
    cleanup_arena struct arena a = {0};
    struct credentials c = {0};
    credentials_from_docker_config(&c, &a, text, strlen(text), "reg.io/team/app");
    ck_assert_uint_eq(c.count, 2);
    ck_assert_str_eq(c.items[0]->username, "narrow"); /* the longer key first */
    ck_assert_str_eq(c.items[0]->password, "p:q");
    ck_assert_str_eq(c.items[1]->username, "wide");
    static const char *const bad[] = {"", "[]", "{\"auths\":5}",
                                      "{\"auths\":{\"reg.io\":{\"auth\":\"!!\"}}}", "{"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct credentials none = {0};
        credentials_from_docker_config(&none, &a, bad[i], strlen(bad[i]), "reg.io/app");
        ck_assert_uint_eq(none.count, 0);
    }
}
END_TEST

static char dir[64];

static struct credential_providers *with_program(const char *script)
{
    cleanup_free char *path = mem_printf("%s/keys", dir);
    ck_assert(buf_write_file_atomic(path, script, strlen(script), 0755, NULL));
    static const char config[] =
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
        "- name: keys\n  matchImages: [reg.io]\n  defaultCacheDuration: 1m\n"
        "  apiVersion: credentialprovider.kubelet.k8s.io/v1\n";
    struct error *err = NULL;
    struct credential_providers *p = credential_providers_parse(config, strlen(config), dir, &err);
    ck_assert_msg(p != NULL, "%s", error_message(err));
    return p;
}

static size_t ask(struct credential_providers *p, const char *image)
{
    cleanup_arena struct arena a = {0};
    struct credentials c = {0};
    credentials_from_providers(&c, &a, p, image);
    if (c.count)
        ck_assert_str_eq(c.items[0]->username, "u");
    return c.count;
}

#define ANSWER(type)                                                                               \
    "#!/bin/sh\ncat >/dev/null\necho x >>\"$(dirname $0)/diary\"\necho "                           \
    "'{\"kind\":\"CredentialProviderResponse\","                                                   \
    "\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"cacheKeyType\":\"" type             \
    "\",\"auth\":{\"reg.io\":{\"username\":\"u\",\"password\":\"p\"}}}'\n"

static long diary(void)
{
    cleanup_free char *path = mem_printf("%s/diary", dir);
    struct stat st;
    return stat(path, &st) == 0 ? (long)st.st_size / 2 : 0;
}

START_TEST(test_provider)
{
    strcpy(dir, "/tmp/test-credential-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    struct credential_providers *p = with_program(ANSWER("Image"));
    ck_assert_uint_eq(ask(p, "other.io/app"), 0);
    ck_assert_int_eq(diary(), 0);
    ck_assert_uint_eq(ask(p, "reg.io/app:1"), 1);
    ck_assert_uint_eq(ask(p, "reg.io/app:1"), 1); /* remembered */
    ck_assert_int_eq(diary(), 1);
    ck_assert_uint_eq(ask(p, "reg.io/app:2"), 1);
    ck_assert_int_eq(diary(), 2);
    credential_providers_free(p);
    p = with_program(ANSWER("Registry"));
    ck_assert_uint_eq(ask(p, "reg.io/app:1"), 1);
    ck_assert_uint_eq(ask(p, "reg.io/more:1"), 1);
    ck_assert_int_eq(diary(), 3);
    credential_providers_free(p);
    static const char *const broken[] = {"#!/bin/sh\nexit 1\n", "#!/bin/sh\necho nonsense\n",
                                         "#!/bin/sh\necho '{}'\n", "#!/nowhere\n",
                                         "#!/bin/sh\nexec >&-\nexit 0\n"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        p = with_program(broken[i]);
        ck_assert_uint_eq(ask(p, "reg.io/app"), 0);
        credential_providers_free(p);
    }
    cleanup_free char *clean = mem_printf("rm -rf %s", dir);
    ck_assert_int_eq(system(clean), 0);
}
END_TEST

START_TEST(test_provider_config)
{
#define HEAD "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n"
    static const char *const bad[] = {
        "",
        "kind: Pod",
        HEAD,
        HEAD "providers: []",
        HEAD "providers: [{name: ../x, matchImages: [a], apiVersion: "
             "credentialprovider.kubelet.k8s.io/v1, "
             "defaultCacheDuration: 1m}]",
        HEAD "providers: [{name: x, apiVersion: credentialprovider.kubelet.k8s.io/v1, "
             "defaultCacheDuration: 1m}]",
        HEAD "providers: [{name: x, matchImages: [a], apiVersion: v1, defaultCacheDuration: 1m}]",
        HEAD "providers: [{name: x, matchImages: [a], apiVersion: "
             "credentialprovider.kubelet.k8s.io/v1}]",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_error struct error *err = NULL;
        ck_assert_msg(!credential_providers_parse(bad[i], strlen(bad[i]), "/", &err), "%zu", i);
        ck_assert_ptr_nonnull(err);
    }
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as every component does */
    Suite *s = suite_create("credential");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_repository);
    tcase_add_test(t, test_matches);
    tcase_add_test(t, test_docker_config);
    tcase_add_test(t, test_provider);
    tcase_add_test(t, test_provider_config);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
