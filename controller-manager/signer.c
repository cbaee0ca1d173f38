#include "controller-manager/signer.h"
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

enum { BACKDATE_S = 300, SHORT_S = 8 * 3600, SERIAL_BYTES = 16 };

/* --- who takes what --- */

bool signer_known(const char *signer)
{
    return !strcmp(signer, SIGNER_CLIENT) || !strcmp(signer, SIGNER_KUBELET_CLIENT) ||
           !strcmp(signer, SIGNER_KUBELET_SERVER) || !strcmp(signer, SIGNER_LEGACY);
}

static bool has(const char *const *list, const char *text)
{
    for (; *list; list++)
        if (!strcmp(*list, text))
            return true;
    return false;
}

/* "key encipherment" may be left out: only RSA keys can do it. */
static bool usages_are(const char *const *usages, const char *main)
{
    size_t n = 0;
    for (; usages[n]; n++)
        if (strcmp(usages[n], main) && strcmp(usages[n], "digital signature") &&
            strcmp(usages[n], "key encipherment"))
            return false;
    return has(usages, main) && has(usages, "digital signature");
}

static const char *kubelet_fault(const struct csr *csr)
{
    if (!csr->organizations[0] || csr->organizations[1] ||
        strcmp(csr->organizations[0], "system:nodes") != 0)
        return "subject organization is not system:nodes";
    if (csr->emails)
        return "no email SAN allowed";
    if (csr->uris)
        return "no URI SAN allowed";
    if (strncmp(csr->common_name, "system:node:", 12) != 0)
        return "subject common name does not begin with system:node:";
    return NULL;
}

static const char *kubelet_client_fault(const struct csr *csr, const char *const *usages)
{
    if (csr->dns_names || csr->addresses)
        return csr->dns_names ? "DNS subjectAltNames are not allowed"
                              : "IP subjectAltNames are not allowed";
    const char *fault = kubelet_fault(csr);
    if (fault)
        return fault;
    return usages_are(usages, "client auth")
               ? NULL
               : "usages did not match [client auth digital signature]";
}

static const char *kubelet_server_fault(const struct csr *csr, const char *const *usages)
{
    const char *fault = kubelet_fault(csr);
    if (fault)
        return fault;
    if (!csr->dns_names && !csr->addresses)
        return "DNS or IP subjectAltName is required";
    return usages_are(usages, "server auth")
               ? NULL
               : "usages did not match [digital signature server auth]";
}

static char *client_fault(const char *const *usages)
{
    for (const char *const *u = usages; *u; u++)
        if (strcmp(*u, "client auth") && strcmp(*u, "digital signature") &&
            strcmp(*u, "key encipherment"))
            return mem_printf("invalid usage for client certificate: %s", *u);
    return has(usages, "client auth")
               ? NULL
               : mem_strdup("missing required usage for client certificate: client auth");
}

bool signer_accepts(const char *signer, const struct csr *csr, const char *const *usages,
                    char **why)
{
    *why = NULL;
    if (!strcmp(signer, SIGNER_CLIENT))
        *why = client_fault(usages);
    else if (!strcmp(signer, SIGNER_KUBELET_CLIENT))
        *why = mem_strdup(kubelet_client_fault(csr, usages));
    else if (!strcmp(signer, SIGNER_KUBELET_SERVER))
        *why = mem_strdup(kubelet_server_fault(csr, usages));
    return !*why;
}

/* --- the signature --- */

static const struct {
    const char *usage;
    unsigned key_usage;  /* RFC 5280 section 4.2.1.3 */
    const char *purpose; /* section 4.2.1.12 */
} usage_table[] = {
    {"signing", GNUTLS_KEY_DIGITAL_SIGNATURE, NULL},
    {"digital signature", GNUTLS_KEY_DIGITAL_SIGNATURE, NULL},
    {"content commitment", GNUTLS_KEY_NON_REPUDIATION, NULL},
    {"key encipherment", GNUTLS_KEY_KEY_ENCIPHERMENT, NULL},
    {"key agreement", GNUTLS_KEY_KEY_AGREEMENT, NULL},
    {"data encipherment", GNUTLS_KEY_DATA_ENCIPHERMENT, NULL},
    {"cert sign", GNUTLS_KEY_KEY_CERT_SIGN, NULL},
    {"crl sign", GNUTLS_KEY_CRL_SIGN, NULL},
    {"encipher only", GNUTLS_KEY_ENCIPHER_ONLY, NULL},
    {"decipher only", GNUTLS_KEY_DECIPHER_ONLY, NULL},
    {"any", 0, GNUTLS_KP_ANY},
    {"server auth", 0, GNUTLS_KP_TLS_WWW_SERVER},
    {"client auth", 0, GNUTLS_KP_TLS_WWW_CLIENT},
    {"code signing", 0, GNUTLS_KP_CODE_SIGNING},
    {"email protection", 0, GNUTLS_KP_EMAIL_PROTECTION},
    {"s/mime", 0, GNUTLS_KP_EMAIL_PROTECTION},
    {"ipsec end system", 0, "1.3.6.1.5.5.7.3.5"},
    {"ipsec tunnel", 0, "1.3.6.1.5.5.7.3.6"},
    {"ipsec user", 0, "1.3.6.1.5.5.7.3.7"},
    {"timestamping", 0, GNUTLS_KP_TIME_STAMPING},
    {"ocsp signing", 0, GNUTLS_KP_OCSP_SIGNING},
    {"microsoft sgc", 0, "1.3.6.1.4.1.311.10.3.3"},
    {"netscape sgc", 0, "2.16.840.1.113730.4.1"},
};

static int set_usages(gnutls_x509_crt_t crt, const char *const *usages)
{
    unsigned bits = 0;
    int rc = 0;
    for (; *usages; usages++)
        for (size_t i = 0; i < ARRAY_LEN(usage_table); i++) {
            if (strcmp(usage_table[i].usage, *usages) != 0)
                continue;
            bits |= usage_table[i].key_usage;
            if (usage_table[i].purpose && rc == 0)
                rc = gnutls_x509_crt_set_key_purpose_oid(crt, usage_table[i].purpose, 0);
        }
    return rc == 0 && bits ? gnutls_x509_crt_set_key_usage(crt, bits) : rc;
}

struct authority {
    gnutls_x509_crt_t crt;
    gnutls_x509_privkey_t key;
};

static void authority_clear(struct authority *a)
{
    if (a->crt)
        gnutls_x509_crt_deinit(a->crt);
    if (a->key)
        gnutls_x509_privkey_deinit(a->key);
}

static bool authority_load(struct authority *a, const struct signer_terms *t, struct error **err)
{
    gnutls_datum_t cert = {0}, key = {0};
    int rc = gnutls_load_file(t->ca_cert_file, &cert);
    if (rc == 0)
        rc = gnutls_load_file(t->ca_key_file, &key);
    if (rc == 0)
        rc = gnutls_x509_crt_init(&a->crt);
    if (rc == 0)
        rc = gnutls_x509_privkey_init(&a->key);
    if (rc == 0)
        rc = gnutls_x509_crt_import(a->crt, &cert, GNUTLS_X509_FMT_PEM);
    if (rc == 0)
        rc = gnutls_x509_privkey_import2(a->key, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_free(cert.data);
    if (key.data)
        gnutls_memset(key.data, 0, key.size);
    gnutls_free(key.data);
    if (rc == 0)
        return true;
    error_setf(err, "reading the CA for signing: %s", gnutls_strerror(rc));
    return false;
}

static int set_identity(gnutls_x509_crt_t crt, const struct csr *csr, gnutls_x509_crt_t ca)
{
    unsigned char serial[SERIAL_BYTES], id[64];
    size_t size = sizeof id;
    int rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);
    serial[0] &= 0x7f; /* a positive number */
    if (rc == 0)
        rc = gnutls_x509_crt_set_version(crt, 3);
    if (rc == 0)
        rc = gnutls_x509_crt_set_crq(crt, csr->request);
    if (rc == 0)
        rc = gnutls_x509_crt_set_serial(crt, serial, sizeof serial);
    if (rc == 0 && csr->dns_names + csr->addresses + csr->emails + csr->uris)
        rc = gnutls_x509_crt_set_crq_extension_by_oid(crt, csr->request, GNUTLS_X509EXT_OID_SAN, 0);
    if (rc == 0)
        rc = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
    if (rc == 0 && gnutls_x509_crt_get_subject_key_id(ca, id, &size, NULL) == 0)
        rc = gnutls_x509_crt_set_authority_key_id(crt, id, size);
    return rc;
}

static int set_validity(gnutls_x509_crt_t crt, const struct signer_terms *t, gnutls_x509_crt_t ca)
{
    time_t end = (time_t)(t->now + t->seconds), ca_end = gnutls_x509_crt_get_expiration_time(ca);
    time_t begin = (time_t)(t->now - BACKDATE_S); /* clocks differ */
    if (t->seconds < SHORT_S)                     /* the whole span counts when it is a short one */
        end -= BACKDATE_S;
    if (ca_end != (time_t)-1 && end > ca_end)
        end = ca_end;
    int rc = gnutls_x509_crt_set_activation_time(crt, begin);
    return rc == 0 ? gnutls_x509_crt_set_expiration_time(crt, end) : rc;
}

char *signer_sign(const struct csr *csr, const struct signer_terms *terms, struct error **err)
{
    struct authority ca = {0};
    gnutls_x509_crt_t crt = NULL;
    char *pem = NULL;
    gnutls_datum_t out = {0};
    if (!authority_load(&ca, terms, err)) {
        authority_clear(&ca);
        return NULL;
    }
    int rc = gnutls_x509_crt_init(&crt);
    if (rc == 0)
        rc = set_identity(crt, csr, ca.crt);
    if (rc == 0)
        rc = set_validity(crt, terms, ca.crt);
    if (rc == 0)
        rc = set_usages(crt, terms->usages);
    if (rc == 0)
        rc = gnutls_x509_crt_sign2(crt, ca.crt, ca.key, GNUTLS_DIG_SHA256, 0);
    if (rc == 0)
        rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out);
    if (rc == 0)
        pem = mem_strndup((const char *)out.data, out.size);
    else
        error_setf(err, "signing: %s", gnutls_strerror(rc));
    gnutls_free(out.data);
    if (crt)
        gnutls_x509_crt_deinit(crt);
    authority_clear(&ca);
    return pem;
}

int64_t signer_expiry(const char *pem, size_t len)
{
    gnutls_x509_crt_t crt;
    gnutls_datum_t data = {.data = (unsigned char *)pem, .size = (unsigned)len};
    if (gnutls_x509_crt_init(&crt) < 0)
        return 0;
    time_t at = (time_t)-1;
    if (gnutls_x509_crt_import(crt, &data, GNUTLS_X509_FMT_PEM) == 0)
        at = gnutls_x509_crt_get_expiration_time(crt);
    gnutls_x509_crt_deinit(crt);
    return at == (time_t)-1 ? 0 : (int64_t)at;
}
