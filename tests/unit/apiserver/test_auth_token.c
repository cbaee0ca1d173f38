/* Tokens: what is signed is verified, and nothing else is. */
#include <check.h>
#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "apiserver/auth/jwt.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

static char ec_file[] = "/tmp/skiff-jwt-ec-XXXXXX", other_file[] = "/tmp/skiff-jwt-other-XXXXXX",
            rsa_file[] = "/tmp/skiff-jwt-rsa-XXXXXX", public_file[] = "/tmp/skiff-jwt-pub-XXXXXX";

static void write_pem(char *file, const gnutls_datum_t *pem)
{
    int fd = mkstemp(file);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, pem->data, pem->size), (ssize_t)pem->size);
    close(fd);
}

static void make_key(char *file, gnutls_pk_algorithm_t algorithm, unsigned bits, char *public)
{
    gnutls_x509_privkey_t key;
    gnutls_datum_t pem;
    ck_assert_int_eq(gnutls_x509_privkey_init(&key), 0);
    ck_assert_int_eq(gnutls_x509_privkey_generate(key, algorithm, bits, 0), 0);
    ck_assert_int_eq(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem), 0);
    write_pem(file, &pem);
    gnutls_free(pem.data);
    if (public) {
        gnutls_privkey_t private;
        gnutls_pubkey_t out;
        gnutls_privkey_init(&private);
        gnutls_pubkey_init(&out);
        ck_assert_int_eq(gnutls_privkey_import_x509(private, key, 0), 0);
        ck_assert_int_eq(gnutls_pubkey_import_privkey(out, private, 0, 0), 0);
        ck_assert_int_eq(gnutls_pubkey_export2(out, GNUTLS_X509_FMT_PEM, &pem), 0);
        write_pem(public, &pem);
        gnutls_free(pem.data);
        gnutls_pubkey_deinit(out);
        gnutls_privkey_deinit(private);
    }
    gnutls_x509_privkey_deinit(key);
}

static void make_keys(void)
{
    make_key(ec_file, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), public_file);
    make_key(other_file, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), NULL);
    make_key(rsa_file, GNUTLS_PK_RSA, 2048, NULL);
}

static void remove_keys(void)
{
    unlink(ec_file);
    unlink(other_file);
    unlink(rsa_file);
    unlink(public_file);
}

static struct jwt_keys *load(const char *verify, const char *sign)
{
    struct error *err = NULL;
    const char *files[] = {verify, NULL};
    struct jwt_keys *k = jwt_keys_load(files, sign, &err);
    ck_assert_msg(k, "%s", error_message(err));
    return k;
}

static void round_trip(const char *file)
{
    struct jwt_keys *k = load(NULL, file);
    for (int i = 0; i < 64; i++) { /* r and s of all lengths */
        cleanup_json cJSON *claims = cJSON_CreateObject();
        json_set_int(claims, "n", i);
        json_map_set_str(claims, "sub", "system:serviceaccount:x:\xC3\xA4");
        cleanup_free char *token = jwt_sign(k, claims, NULL);
        ck_assert_ptr_nonnull(token);
        ck_assert_ptr_null(strpbrk(token, "+/="));
        cleanup_json cJSON *read = jwt_verify(k, token, NULL);
        ck_assert(json_equal(read, claims));
    }
    jwt_keys_free(k);
}

START_TEST(test_round_trip_ec)
{
    round_trip(ec_file);
}
END_TEST

START_TEST(test_round_trip_rsa)
{
    round_trip(rsa_file);
}
END_TEST

START_TEST(test_public_key_verifies)
{
    struct jwt_keys *signer = load(NULL, ec_file), *verifier = load(public_file, NULL),
                    *stranger = load(NULL, other_file), *both = load(public_file, other_file);
    ck_assert(!jwt_can_sign(verifier));
    cleanup_json cJSON *claims = json_parse("{\"a\":1}", 7, NULL);
    ck_assert_ptr_null(jwt_sign(verifier, claims, NULL));
    cleanup_free char *token = jwt_sign(signer, claims, NULL);
    cleanup_json cJSON *a = jwt_verify(verifier, token, NULL), *b = jwt_verify(both, token, NULL);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    struct error *err = NULL;
    ck_assert_ptr_null(jwt_verify(stranger, token, &err));
    ck_assert_str_eq(error_message(err), "invalid signature");
    error_free(err);
    jwt_keys_free(signer);
    jwt_keys_free(verifier);
    jwt_keys_free(stranger);
    jwt_keys_free(both);
}
END_TEST

START_TEST(test_every_changed_byte)
{
    struct jwt_keys *k = load(NULL, ec_file);
    cleanup_json cJSON *claims = json_parse("{\"sub\":\"x\"}", 11, NULL);
    cleanup_free char *token = jwt_sign(k, claims, NULL);
    size_t len = strlen(token);
    for (size_t i = 0; i + 1 < len; i++) { /* the last character has bits that nobody reads */
        char was = token[i];
        token[i] = was == 'A' ? 'B' : 'A';
        cJSON *read = jwt_verify(k, token, NULL);
        ck_assert_msg(!read, "changed at %zu", i);
        token[i] = was;
    }
    for (size_t i = 0; i < len; i++) {
        char was = token[i];
        token[i] = '\0';
        ck_assert_ptr_null(jwt_verify(k, token, NULL));
        token[i] = was;
    }
    jwt_keys_free(k);
}
END_TEST

START_TEST(test_rubbish)
{
    struct jwt_keys *k = load(NULL, ec_file);
    static const char *const bad[] = {"", ".", "..", "...", "a.b.c", "e30.e30.", "e30.e30.AAAA",
                                      "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_ptr_null(jwt_verify(k, bad[i], NULL));
    char *large = mem_alloc(100001);
    memset(large, 'A', 100000);
    large[10] = large[20] = '.';
    ck_assert_ptr_null(jwt_verify(k, large, NULL));
    free(large);
    ck_assert_ptr_null(jwt_keys_load(NULL, "/nowhere", NULL));
    ck_assert_ptr_null(jwt_keys_load(NULL, public_file, NULL)); /* signs nothing */
    ck_assert_ptr_null(jwt_keys_load((const char *const[]){"/proc/self/comm", NULL}, NULL, NULL));
    jwt_keys_free(k);
}
END_TEST

START_TEST(test_key_set)
{
    struct jwt_keys *k = jwt_keys_load((const char *const[]){public_file, rsa_file, NULL}, ec_file, NULL);
    cleanup_json cJSON *set = jwt_key_set(k), *algorithms = jwt_algorithms(k);
    const cJSON *keys = json_get(set, "keys");
    ck_assert_int_eq(cJSON_GetArraySize(keys), 2); /* the pair is one */
    ck_assert_str_eq(json_str(cJSON_GetArrayItem(keys, 0), "kty"), "EC");
    ck_assert_int_eq((int)strlen(json_str(cJSON_GetArrayItem(keys, 0), "x")), 43);
    ck_assert_str_eq(json_str(cJSON_GetArrayItem(keys, 1), "kty"), "RSA");
    ck_assert_str_eq(json_str(cJSON_GetArrayItem(keys, 1), "e"), "AQAB");
    ck_assert_int_eq(cJSON_GetArraySize(algorithms), 2);
    cleanup_json cJSON *claims = cJSON_CreateObject();
    cleanup_free char *token = jwt_sign(k, claims, NULL);
    size_t head = strcspn(token, ".");
    cleanup_buf struct buf b = {0};
    ck_assert(buf_add_base64_decoded(&b, token, head));
    cleanup_json cJSON *header = json_parse(buf_str(&b), b.len, NULL);
    ck_assert_str_eq(json_str(header, "kid"), json_str(cJSON_GetArrayItem(keys, 0), "kid"));
    jwt_keys_free(k);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("auth tokens");
    TCase *t = tcase_create("jwt");
    tcase_add_unchecked_fixture(t, make_keys, remove_keys);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_round_trip_ec);
    tcase_add_test(t, test_round_trip_rsa);
    tcase_add_test(t, test_public_key_verifies);
    tcase_add_test(t, test_every_changed_byte);
    tcase_add_test(t, test_rubbish);
    tcase_add_test(t, test_key_set);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
