/* What the signers take, and what they make of it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/buf.h"
#include "common/mem.h"
#include "controller-manager/signer.h"

static char ca_cert[64], ca_key[64];

static void write_file(char path[64], const gnutls_datum_t *d)
{
    strcpy(path, "/tmp/skiff-signer-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, d->data, d->size), (int)d->size);
    close(fd);
}

static gnutls_x509_privkey_t new_key(void)
{
    gnutls_x509_privkey_t key;
    ck_assert_int_eq(gnutls_x509_privkey_init(&key), 0);
    ck_assert_int_eq(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    return key;
}

enum { CA_LIVES_S = 10 * 24 * 3600 };

static void make_ca(void)
{
    gnutls_x509_privkey_t key = new_key();
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem;
    unsigned char serial = 1;
    ck_assert_int_eq(gnutls_x509_crt_init(&crt), 0);
    gnutls_x509_crt_set_version(crt, 3);
    gnutls_x509_crt_set_serial(crt, &serial, 1);
    gnutls_x509_crt_set_dn(crt, "CN=ca", NULL);
    gnutls_x509_crt_set_key(crt, key);
    gnutls_x509_crt_set_activation_time(crt, time(NULL) - 60);
    gnutls_x509_crt_set_expiration_time(crt, time(NULL) + CA_LIVES_S);
    gnutls_x509_crt_set_basic_constraints(crt, 1, -1);
    gnutls_x509_crt_set_subject_key_id(crt, "id-of-ca", 8);
    ck_assert_int_eq(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    ck_assert_int_eq(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem), 0);
    write_file(ca_cert, &pem);
    gnutls_free(pem.data);
    ck_assert_int_eq(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem), 0);
    write_file(ca_key, &pem);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

static void remove_ca(void)
{
    unlink(ca_cert);
    unlink(ca_key);
}

static void make_request(const char *dn, const char *dns_name, struct csr *out)
{
    gnutls_x509_privkey_t key = new_key();
    gnutls_x509_crq_t crq;
    gnutls_datum_t pem;
    ck_assert_int_eq(gnutls_x509_crq_init(&crq), 0);
    gnutls_x509_crq_set_version(crq, 1);
    ck_assert_int_eq(gnutls_x509_crq_set_dn(crq, dn, NULL), 0);
    gnutls_x509_crq_set_key(crq, key);
    if (dns_name)
        gnutls_x509_crq_set_subject_alt_name(crq, GNUTLS_SAN_DNSNAME, dns_name,
                                             (unsigned)strlen(dns_name), GNUTLS_FSAN_SET);
    ck_assert_int_eq(gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA256, 0), 0);
    /* In PEM by hand: GnuTLS calls it NEW CERTIFICATE REQUEST. */
    ck_assert_int_eq(gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_DER, &pem), 0);
    cleanup_buf struct buf text = {0};
    buf_adds(&text, "-----BEGIN CERTIFICATE REQUEST-----\n");
    buf_add_base64(&text, pem.data, pem.size);
    buf_adds(&text, "\n-----END CERTIFICATE REQUEST-----\n");
    cleanup_error struct error *err = NULL;
    ck_assert_msg(csr_parse(buf_str(&text), text.len, out, &err), "%s", error_message(err));
    gnutls_free(pem.data);
    gnutls_x509_crq_deinit(crq);
    gnutls_x509_privkey_deinit(key);
}

#define NODE "O=system:nodes,CN=system:node:n"
static const struct {
    const char *signer, *dn, *dns_name, *usages[4], *why;
} cases[] = {
    {SIGNER_CLIENT, "CN=x", NULL, {"client auth"}, NULL},
    {SIGNER_CLIENT, "CN=x", NULL, {"client auth", "key encipherment"}, NULL},
    {SIGNER_CLIENT,
     "CN=x",
     NULL,
     {"digital signature"},
     "missing required usage for client certificate: client auth"},
    {SIGNER_CLIENT,
     "CN=x",
     NULL,
     {"client auth", "server auth"},
     "invalid usage for client certificate: server auth"},
    {SIGNER_KUBELET_CLIENT, NODE, NULL, {"client auth", "digital signature"}, NULL},
    {SIGNER_KUBELET_CLIENT,
     NODE,
     NULL,
     {"client auth", "digital signature", "key encipherment"},
     NULL},
    {SIGNER_KUBELET_CLIENT,
     NODE,
     NULL,
     {"client auth"},
     "usages did not match [client auth digital signature]"},
    {SIGNER_KUBELET_CLIENT,
     NODE,
     "n",
     {"client auth", "digital signature"},
     "DNS subjectAltNames are not allowed"},
    {SIGNER_KUBELET_CLIENT,
     "CN=system:node:n",
     NULL,
     {"client auth", "digital signature"},
     "subject organization is not system:nodes"},
    {SIGNER_KUBELET_CLIENT,
     "O=system:nodes,O=b,CN=system:node:n",
     NULL,
     {"client auth", "digital signature"},
     "subject organization is not system:nodes"},
    {SIGNER_KUBELET_CLIENT,
     "O=system:nodes,CN=n",
     NULL,
     {"client auth", "digital signature"},
     "subject common name does not begin with system:node:"},
    {SIGNER_KUBELET_SERVER, NODE, "n", {"server auth", "digital signature"}, NULL},
    {SIGNER_KUBELET_SERVER,
     NODE,
     NULL,
     {"server auth", "digital signature"},
     "DNS or IP subjectAltName is required"},
    {SIGNER_KUBELET_SERVER,
     NODE,
     "n",
     {"server auth", "client auth", "digital signature"},
     "usages did not match [digital signature server auth]"},
    {SIGNER_LEGACY, "CN=x", NULL, {"any"}, NULL},
};

START_TEST(judges)
{
    cleanup_csr struct csr csr = {0};
    make_request(cases[_i].dn, cases[_i].dns_name, &csr);
    cleanup_free char *why = NULL;
    const char *usages[5] = {0};
    memcpy(usages, cases[_i].usages, sizeof cases[_i].usages);
    bool ok = signer_accepts(cases[_i].signer, &csr, usages, &why);
    ck_assert(ok == (cases[_i].why == NULL));
    if (cases[_i].why)
        ck_assert_str_eq(why, cases[_i].why);
}
END_TEST

START_TEST(signs)
{
    cleanup_csr struct csr csr = {0};
    make_request("O=dev,CN=jane", "host.example", &csr);
    const char *usages[] = {"client auth", "digital signature", NULL};
    int64_t now = time(NULL);
    struct signer_terms terms = {ca_cert, ca_key, usages, now, 24 * 3600};
    cleanup_error struct error *err = NULL;
    cleanup_free char *pem = signer_sign(&csr, &terms, &err);
    ck_assert_msg(pem != NULL, "%s", error_message(err));
    ck_assert_int_eq(signer_expiry(pem, strlen(pem)), now + 24 * 3600);
    gnutls_x509_crt_t crt, ca;
    gnutls_datum_t data = {(unsigned char *)pem, (unsigned)strlen(pem)}, ca_pem;
    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_init(&ca);
    ck_assert_int_eq(gnutls_x509_crt_import(crt, &data, GNUTLS_X509_FMT_PEM), 0);
    ck_assert_int_eq(gnutls_load_file(ca_cert, &ca_pem), 0);
    ck_assert_int_eq(gnutls_x509_crt_import(ca, &ca_pem, GNUTLS_X509_FMT_PEM), 0);
    gnutls_free(ca_pem.data);
    unsigned verdict = 1, usage = 0, critical;
    ck_assert_int_eq(gnutls_x509_crt_verify(crt, &ca, 1, 0, &verdict), 0);
    ck_assert_uint_eq(verdict, 0);
    char text[256];
    size_t size = sizeof text;
    ck_assert_int_eq(gnutls_x509_crt_get_dn(crt, text, &size), 0);
    ck_assert_msg(strstr(text, "CN=jane") && strstr(text, "O=dev"), "%s", text);
    ck_assert_int_eq(gnutls_x509_crt_get_key_usage(crt, &usage, &critical), 0);
    ck_assert_uint_eq(usage, GNUTLS_KEY_DIGITAL_SIGNATURE);
    size = sizeof text;
    ck_assert_int_eq(gnutls_x509_crt_get_key_purpose_oid(crt, 0, text, &size, NULL), 0);
    ck_assert_str_eq(text, GNUTLS_KP_TLS_WWW_CLIENT);
    size = sizeof text;
    ck_assert_int_eq(gnutls_x509_crt_get_subject_alt_name(crt, 0, text, &size, NULL),
                     GNUTLS_SAN_DNSNAME);
    ck_assert_str_eq(text, "host.example");
    ck_assert_int_eq(gnutls_x509_crt_get_ca_status(crt, NULL), 0);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_crt_deinit(ca);
}
END_TEST

/* What is signed does not outlive who signed it; short lives count from their backdated beginning.
 */
START_TEST(lives)
{
    cleanup_csr struct csr csr = {0};
    make_request("CN=x", NULL, &csr);
    const char *usages[] = {"any", NULL};
    int64_t now = time(NULL);
    struct signer_terms terms = {ca_cert, ca_key, usages, now, (int64_t)365 * 24 * 3600};
    cleanup_free char *longest = signer_sign(&csr, &terms, NULL);
    ck_assert_int_le(llabs(signer_expiry(longest, strlen(longest)) - (now + CA_LIVES_S)), 10);
    terms.seconds = 600;
    cleanup_free char *shortest = signer_sign(&csr, &terms, NULL);
    ck_assert_int_eq(signer_expiry(shortest, strlen(shortest)), now + 300);
    terms.ca_key_file = "/nonexistent";
    cleanup_error struct error *err = NULL;
    ck_assert_ptr_null(signer_sign(&csr, &terms, &err));
    ck_assert_ptr_nonnull(err);
}
END_TEST

START_TEST(what_is_no_request)
{
    static const char *const texts[] = {"", "YQ==", "!",
                                        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlJCi0tLS"
                                        "0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo="};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct csr csr;
        cleanup_error struct error *err = NULL;
        ck_assert(!csr_parse_base64(texts[i], &csr, &err));
        ck_assert_ptr_nonnull(err);
        csr_clear(&csr);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("signer");
    TCase *t = tcase_create("signer");
    tcase_add_unchecked_fixture(t, make_ca, remove_ca);
    tcase_add_loop_test(t, judges, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(t, signs);
    tcase_add_test(t, lives);
    tcase_add_test(t, what_is_no_request);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
