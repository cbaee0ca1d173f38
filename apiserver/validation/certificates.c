/* CertificateSigningRequests. */
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/validation/common.h"
#include "common/buf.h"
#include "common/csr.h"
#include "common/json.h"
#include "common/mem.h"

#define SPEC       PATH_ROOT("spec")
#define STATUS     PATH_ROOT("status")
#define CONDITIONS PATH_CHILD(STATUS, "conditions")

static const char usages_known[] =
    "any,cert sign,client auth,code signing,content commitment,crl sign,data encipherment,decipher "
    "only,digital "
    "signature,email protection,encipher only,ipsec end system,ipsec tunnel,ipsec user,key "
    "agreement,key "
    "encipherment,microsoft sgc,netscape sgc,ocsp signing,s/mime,server auth,signing,timestamping";

static const char *const kept_types[] = {"Approved", "Denied", "Failed"};

static void check_request(const cJSON *spec, struct field_errors *e)
{
    cleanup_csr struct csr csr = {0};
    cleanup_error struct error *why = NULL;
    const char *text = text_of(spec, "request");
    if (csr_parse_base64(text, &csr, &why))
        return;
    /* Bytes are shown as Go shows them. */
    cleanup_buf struct buf bytes = {0}, shown = {0};
    buf_add_base64_decoded(&bytes, text, strlen(text));
    buf_adds(&shown, "[]byte{");
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(&shown, "%s0x%x", i ? ", " : "", (unsigned char)bytes.data[i]);
    buf_addc(&shown, '}');
    cleanup_json cJSON *raw = cJSON_CreateRaw(buf_str(&shown));
    field_invalid(e, PATH_CHILD(SPEC, "request"), raw, "%s", error_message(why));
}

static void check_usages(const cJSON *spec, struct field_errors *e)
{
    const struct field_path list = {SPEC, "usages", NULL, 0};
    cleanup_key_index struct key_index seen = {0};
    int i = 0;
    if (!cJSON_GetArraySize(json_get(spec, "usages")))
        field_required(e, &list, "");
    EACH(u, json_get(spec, "usages"))
    {
        const char *usage = cJSON_IsString(u) ? u->valuestring : "";
        const struct field_path at = {&list, NULL, NULL, i++};
        if (!one_of(usage, usages_known))
            field_not_supported(e, &at, usage, usages_known);
        if (key_index_get(&seen, usage, 0))
            field_duplicate_str(e, &at, usage);
        key_index_set(&seen, usage, 1);
    }
}

/* "domain.tld/path" */
static void check_signer(const char *signer, struct field_errors *e)
{
    const struct field_path *p = PATH_CHILD(SPEC, "signerName");
    const char *slash = strchr(signer, '/');
    if (!*signer) {
        field_required(e, p, "");
        return;
    }
    if (!slash || strchr(slash + 1, '/')) {
        field_invalid_str(
            e, p, signer,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'");
        return;
    }
    cleanup_free char *domain = mem_strndup(signer, (size_t)(slash - signer));
    const char *why = name_dns_subdomain(domain);
    if (why)
        field_invalid_str(e, p, domain, "%s", why);
    else if (!strchr(domain, '.'))
        field_invalid_str(e, p, domain,
                          "should be a domain with at least two segments separated by dots");
    why = name_dns_subdomain(slash + 1);
    if (why)
        field_invalid_str(e, p, slash + 1, "%s", why);
}

static void check_conditions(const cJSON *conditions, struct field_errors *e)
{
    cleanup_key_index struct key_index seen = {0};
    int i = 0;
    EACH(c, conditions)
    {
        const struct field_path at = {CONDITIONS, NULL, NULL, i++};
        const char *type = text_of(c, "type"), *status = text_of(c, "status");
        const char *allowed =
            one_of(type, "Approved,Denied,Failed") ? "True" : "False,True,Unknown";
        if (!*type)
            field_required(e, PATH_CHILD(&at, "type"), "");
        if (!*status)
            field_required(e, PATH_CHILD(&at, "status"), "");
        else if (!one_of(status, allowed))
            field_not_supported(e, PATH_CHILD(&at, "status"), status, allowed);
        const char *contrary = !strcmp(type, "Approved") ? "Denied"
                               : !strcmp(type, "Denied") ? "Approved"
                                                         : "";
        if (*contrary && key_index_get(&seen, contrary, 0))
            field_invalid_str(e, PATH_CHILD(&at, "type"), type,
                              "Approved and Denied conditions are mutually exclusive");
        if (key_index_get(&seen, type, 0))
            field_duplicate_str(e, PATH_CHILD(&at, "type"), type);
        key_index_set(&seen, type, 1);
    }
}

/* NULL when it is a chain of certificates and nothing else; caller frees. */
static char *certificate_error(const char *text)
{
    cleanup_buf struct buf pem = {0};
    if (!buf_add_base64_decoded(&pem, text, strlen(text)) || !strstr(buf_str(&pem), "-----BEGIN "))
        return mem_strdup("must contain at least one CERTIFICATE PEM block");
    static const char begin[] = "-----BEGIN ";
    for (const char *s = buf_str(&pem); (s = strstr(s, begin)); s += sizeof begin - 1) {
        const char *type = s + sizeof begin - 1;
        size_t n = strcspn(type, "-");
        if (n != 11 || strncmp(type, "CERTIFICATE", n) != 0)
            return mem_printf("only CERTIFICATE PEM blocks are allowed, found \"%.*s\"", (int)n,
                              type);
    }
    gnutls_x509_crt_t *list = NULL;
    unsigned count = 0;
    gnutls_datum_t data = {.data = (unsigned char *)pem.data, .size = (unsigned)pem.len};
    int rc = gnutls_x509_crt_list_import2(&list, &count, &data, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0)
        return mem_printf("x509: %s", gnutls_strerror(rc));
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
    return NULL;
}

static const cJSON *condition_of(const cJSON *object, const char *type)
{
    EACH(c, json_path(object, "status.conditions"))
    {
        if (!strcmp(text_of(c, "type"), type))
            return c;
    }
    return NULL;
}

static void check_changes(const cJSON *object, const cJSON *old, const char *sub,
                          struct field_errors *e)
{
    for (size_t i = 0; i < ARRAY_LEN(kept_types); i++) {
        const char *type = kept_types[i];
        const cJSON *now = condition_of(object, type), *before = condition_of(old, type);
        if (before && !now)
            field_forbidden(e, CONDITIONS, "updates may not remove a condition of type \"%s\"",
                            type);
        else if (strcmp(sub, "approval") != 0 && strcmp(type, "Failed") != 0) {
            if (now && !before)
                field_forbidden(e, CONDITIONS, "updates may not add a condition of type \"%s\"",
                                type);
            else if (now && !json_equal(now, before))
                field_forbidden(e, CONDITIONS, "updates may not modify a condition of type \"%s\"",
                                type);
        }
    }
    const char *now = json_str_or(object, "status.certificate", ""),
               *before = json_str_or(old, "status.certificate", "");
    if (!strcmp(now, before))
        return;
    const struct field_path *p = PATH_CHILD(STATUS, "certificate");
    if (strcmp(sub, "status") != 0)
        field_forbidden(e, p, "updates may not set certificate content");
    else if (*before)
        field_forbidden(e, p, "updates may not modify existing certificate content");
    cleanup_free char *why = *now ? certificate_error(now) : NULL;
    if (why)
        field_invalid_str(e, p, "<certificate data>", "%s", why);
}

void validate_certificatesigningrequest(const cJSON *object, const cJSON *old, const char *sub,
                                        struct field_errors *e)
{
    validate_object_meta(object, old, false, NAME_PATH_SEGMENT, e);
    const cJSON *spec = json_get(object, "spec");
    if (!old || !json_equal(spec, json_get(old, "spec"))) {
        check_request(spec, e);
        check_usages(spec, e);
        if (!strcmp(text_of(spec, "signerName"), "kubernetes.io/legacy-unknown"))
            field_invalid_str(e, PATH_CHILD(SPEC, "signerName"), "kubernetes.io/legacy-unknown",
                              "the legacy signerName is not allowed via this API version");
        else
            check_signer(text_of(spec, "signerName"), e);
        if (json_int(spec, "expirationSeconds", 600) < 600)
            field_invalid_int(e, PATH_CHILD(SPEC, "expirationSeconds"),
                              json_int(spec, "expirationSeconds", 0),
                              "may not specify a duration less than 600 seconds (10 minutes)");
    }
    check_conditions(json_path(object, "status.conditions"), e);
    if (old)
        check_changes(object, old, sub, e);
}
