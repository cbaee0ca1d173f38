/* Certificates made of requests for them: which requests the signers of Kubernetes take, and the
 * signature.
 * https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/csr.h"

#define SIGNER_CLIENT         "kubernetes.io/kube-apiserver-client"
#define SIGNER_KUBELET_CLIENT "kubernetes.io/kube-apiserver-client-kubelet"
#define SIGNER_KUBELET_SERVER "kubernetes.io/kubelet-serving"
#define SIGNER_LEGACY         "kubernetes.io/legacy-unknown"

bool signer_known(const char *signer);
/* Does the signer take such a request? usages: ended by NULL. *why (caller frees): what is wrong
 * with it. */
bool signer_accepts(const char *signer, const struct csr *csr, const char *const *usages,
                    char **why);

struct signer_terms {
    const char *ca_cert_file, *ca_key_file; /* PEM; read anew each time: they may be exchanged */
    const char *const *usages;              /* "client auth", ...; ended by NULL */
    int64_t now, seconds;                   /* valid from (with some minutes before) and how long */
};
/* A certificate in PEM (caller frees), or NULL. Never valid for longer than the CA itself. */
char *signer_sign(const struct csr *csr, const struct signer_terms *terms, struct error **err);
/* When the first certificate of a PEM chain ends, in seconds since 1970; 0 when it cannot be told.
 */
int64_t signer_expiry(const char *pem, size_t len);
