#include "common/csr.h"
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/mem.h"

enum { NAMES_MAX = 1000 };

void csr_clear(struct csr *c)
{
    if (c->request)
        gnutls_x509_crq_deinit(c->request);
    free(c->common_name);
    for (char **o = c->organizations; o && *o; o++)
        free(*o);
    free(c->organizations);
    *c = (struct csr){0};
}

/* A part of the subject; NULL when there are no more. */
static char *subject_part(gnutls_x509_crq_t request, const char *oid, unsigned i)
{
    size_t size = 0;
    if (gnutls_x509_crq_get_dn_by_oid(request, oid, i, 0, NULL, &size) !=
        GNUTLS_E_SHORT_MEMORY_BUFFER)
        return NULL;
    char *text = mem_alloc(size + 1);
    if (gnutls_x509_crq_get_dn_by_oid(request, oid, i, 0, text, &size) == GNUTLS_E_SUCCESS)
        return text;
    free(text);
    return NULL;
}

static void count_names(struct csr *c)
{
    for (unsigned i = 0; i < NAMES_MAX; i++) {
        size_t size = 0;
        unsigned type = 0;
        int rc = gnutls_x509_crq_get_subject_alt_name(c->request, i, NULL, &size, &type, NULL);
        if (rc < 0 && rc != GNUTLS_E_SHORT_MEMORY_BUFFER)
            return;
        c->dns_names += type == GNUTLS_SAN_DNSNAME;
        c->addresses += type == GNUTLS_SAN_IPADDRESS;
        c->emails += type == GNUTLS_SAN_RFC822NAME;
        c->uris += type == GNUTLS_SAN_URI;
    }
}

bool csr_parse(const char *pem, size_t len, struct csr *out, struct error **err)
{
    *out = (struct csr){0};
    if (!memmem(pem, len, "-----BEGIN CERTIFICATE REQUEST-----", 35)) {
        error_setf(err, "PEM block type must be CERTIFICATE REQUEST");
        return false;
    }
    gnutls_datum_t data = {.data = (unsigned char *)pem, .size = (unsigned)len};
    int rc = gnutls_x509_crq_init(&out->request);
    if (rc == 0)
        rc = gnutls_x509_crq_import(out->request, &data, GNUTLS_X509_FMT_PEM);
    if (rc == 0)
        rc = gnutls_x509_crq_verify(out->request, 0);
    if (rc < 0) {
        error_setf(err, "x509: %s", gnutls_strerror(rc));
        csr_clear(out);
        return false;
    }
    out->common_name = subject_part(out->request, GNUTLS_OID_X520_COMMON_NAME, 0);
    if (!out->common_name)
        out->common_name = mem_strdup("");
    for (unsigned n = 0; n <= NAMES_MAX; n++) {
        out->organizations = mem_realloc(out->organizations, (n + 1) * sizeof *out->organizations);
        out->organizations[n] =
            n < NAMES_MAX ? subject_part(out->request, GNUTLS_OID_X520_ORGANIZATION_NAME, n) : NULL;
        if (!out->organizations[n])
            break;
    }
    count_names(out);
    return true;
}

bool csr_parse_base64(const char *text, struct csr *out, struct error **err)
{
    cleanup_buf struct buf pem = {0};
    *out = (struct csr){0};
    if (text && buf_add_base64_decoded(&pem, text, strlen(text)))
        return csr_parse(buf_str(&pem), pem.len, out, err);
    error_setf(err, "PEM block type must be CERTIFICATE REQUEST");
    return false;
}
