/* Certificates from Secrets, and the one that nginx shows when there is none. */
#include "ingress-controller/key_pair.h"
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "ingress-controller/model.h"

#define DEFAULT_LIFE (10LL * 365 * 86400)

static bool decode(const cJSON *secret, const char *key, struct buf *out, struct error **err)
{
    const char *value = json_map_str(json_get(secret, "data"), key);
    if (!value || !*value || !buf_add_base64_decoded(out, value, strlen(value))) {
        error_setf(err, "it has no %s", key);
        return false;
    }
    return true;
}

cJSON *model_key_pair(const cJSON *secret, struct error **err)
{
    cleanup_buf struct buf certificate = {0}, key = {0};
    if (!decode(secret, "tls.crt", &certificate, err) || !decode(secret, "tls.key", &key, err))
        return NULL;
    gnutls_certificate_credentials_t credentials = NULL;
    const gnutls_datum_t c = {(unsigned char *)certificate.data, (unsigned)certificate.len};
    const gnutls_datum_t k = {(unsigned char *)key.data, (unsigned)key.len};
    int rc = gnutls_certificate_allocate_credentials(&credentials);
    if (rc >= 0)
        rc = gnutls_certificate_set_x509_key_mem(credentials, &c, &k, GNUTLS_X509_FMT_PEM);
    if (credentials)
        gnutls_certificate_free_credentials(credentials);
    cJSON *pair = NULL;
    if (rc < 0) {
        error_setf(err, "tls.crt and tls.key are no certificate with its key: %s",
                   gnutls_strerror(rc));
    } else {
        pair = cJSON_CreateObject();
        json_map_set_str(pair, "certificate", certificate.data);
        json_map_set_str(pair, "key", key.data);
    }
    explicit_bzero(key.data, key.len);
    return pair;
}

static bool write_pem(const char *path, const gnutls_datum_t *pem, struct error **err)
{
    return buf_write_file_atomic(path, pem->data, pem->size, 0600, err);
}

static int make(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
    static const char name[] = "Kubernetes Ingress Controller Fake Certificate";
    unsigned char serial[8] = {1};
    time_t now = (time_t)time_now_seconds();
    int rc = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                          GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (rc < 0 || (rc = gnutls_x509_crt_set_version(crt, 3)) < 0 ||
        (rc = gnutls_x509_crt_set_key(crt, key)) < 0 ||
        (rc = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial))) < 0 ||
        (rc = gnutls_x509_crt_set_activation_time(crt, now - 86400)) < 0 ||
        (rc = gnutls_x509_crt_set_expiration_time(crt, now + DEFAULT_LIFE)) < 0 ||
        (rc = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                            sizeof(name) - 1)) < 0 ||
        (rc = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, "ingress.local", 13,
                                                   GNUTLS_FSAN_SET)) < 0)
        return rc;
    return gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

bool key_pair_write_default(const char *certificate_path, const char *key_path, struct error **err)
{
    gnutls_x509_crt_t crt = NULL;
    gnutls_x509_privkey_t key = NULL;
    gnutls_datum_t crt_pem = {0}, key_pem = {0};
    int rc = gnutls_x509_crt_init(&crt);
    if (rc >= 0)
        rc = gnutls_x509_privkey_init(&key);
    if (rc >= 0)
        rc = make(crt, key);
    if (rc >= 0)
        rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &crt_pem);
    if (rc >= 0)
        rc = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &key_pem);
    bool ok =
        rc >= 0 && write_pem(certificate_path, &crt_pem, err) && write_pem(key_path, &key_pem, err);
    if (rc < 0)
        error_setf(err, "making the default certificate: %s", gnutls_strerror(rc));
    if (key_pem.data)
        explicit_bzero(key_pem.data, key_pem.size);
    gnutls_free(crt_pem.data);
    gnutls_free(key_pem.data);
    if (crt)
        gnutls_x509_crt_deinit(crt);
    if (key)
        gnutls_x509_privkey_deinit(key);
    return ok;
}
