/* PKCS#10 requests for certificates (RFC 2986), by GnuTLS. */
#pragma once
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"

struct csr {
    gnutls_x509_crq_t request;
    char *common_name;                           /* "" when none */
    char **organizations;                        /* ended by NULL */
    unsigned dns_names, addresses, emails, uris; /* alternative names of each kind */
};
/* From PEM; the signature is checked. Zero-initialized is empty; free with csr_clear. */
bool csr_parse(const char *pem, size_t len, struct csr *out, struct error **err);
/* The same from base64 of PEM, as spec.request has it. NULL is malformed. */
bool csr_parse_base64(const char *text, struct csr *out, struct error **err);
void csr_clear(struct csr *c);
#define cleanup_csr __attribute__((cleanup(csr_clear)))
