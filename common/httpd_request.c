#include "common/httpd_internal.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>
#include <strings.h>

#include "common/mem.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. "%00" stays as it is, because strings end at NUL. */
static void percent_decode(char *s, bool plus_is_space)
{
    char *out = s;
    for (; *s; s++) {
        int hi, lo;
        if (*s == '%' && (hi = hex_digit(s[1])) >= 0 && (lo = hex_digit(s[2])) >= 0 && (hi | lo)) {
            *out++ = (char)(hi << 4 | lo);
            s += 2;
        } else if (*s == '+' && plus_is_space) {
            *out++ = ' ';
        } else {
            *out++ = *s;
        }
    }
    *out = 0;
}

struct httpd_request *httpd_request_new(const char *uri)
{
    struct httpd_request *r = mem_alloc(sizeof *r);
    r->refs = 1;
    pthread_mutex_init(&r->mutex, NULL);
    /* Absolute form (RFC 9112 section 3.2.2): only the path counts. */
    if (!strncasecmp(uri, "http://", 7) || !strncasecmp(uri, "https://", 8)) {
        const char *path = strchr(strchr(uri, ':') + 3, '/');
        uri = path ? path : "/";
    }
    r->uri = mem_strdup(uri);
    r->query_string = strchr(r->uri, '?');
    if (r->query_string)
        *r->query_string++ = 0;
    else
        r->query_string = r->uri + strlen(r->uri);
    r->path = r->uri;
    if (strchr(r->uri, '%')) {
        r->path = mem_strdup(r->uri);
        percent_decode(r->path, false);
    }
    return r;
}

void httpd_request_unref(struct httpd_request *r)
{
    if (atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    if (r->response)
        MHD_destroy_response(r->response);
    if (r->data_free)
        r->data_free(r->data);
    if (r->abandoned)
        httpd_upgrade_closed(r->server);
    for (size_t i = 0; i < r->header_count; i++) {
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    free(r->headers);
    if (r->path != r->uri)
        free(r->path);
    free(r->uri);
    free(r->method);
    free(r->query);
    free(r->query_memory);
    free(r->body);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

const char *httpd_method(const struct httpd_request *r)
{
    return r->method;
}

const char *httpd_path(const struct httpd_request *r)
{
    return r->path;
}

const char *httpd_raw_path(const struct httpd_request *r)
{
    return r->uri;
}

const char *httpd_query_string(const struct httpd_request *r)
{
    return r->query_string;
}

/* Most requests never look at their query, so it is taken apart at the first question. Only one
 * thread has a request at a time, so this hidden change needs no lock. */
static void parse_query(struct httpd_request *r)
{
    r->query_parsed = true;
    if (!*r->query_string)
        return;
    r->query_memory = mem_strdup(r->query_string);
    size_t most = 1;
    for (const char *p = r->query_memory; *p; p++)
        most += *p == '&';
    r->query = mem_alloc(most * sizeof *r->query);
    char *save = NULL;
    for (char *item = strtok_r(r->query_memory, "&", &save); item;
         item = strtok_r(NULL, "&", &save)) {
        char *value = strchr(item, '=');
        if (value)
            *value++ = 0;
        else
            value = item + strlen(item);
        percent_decode(item, true);
        percent_decode(value, true);
        r->query[r->query_count++] = (struct pair){item, value};
    }
}

size_t httpd_query_all(const struct httpd_request *r, const char *name, const char **values,
                       size_t max)
{
    if (!r->query_parsed)
        parse_query((struct httpd_request *)r);
    size_t n = 0;
    for (size_t i = 0; i < r->query_count; i++) {
        if (strcmp(r->query[i].name, name))
            continue;
        if (n < max)
            values[n] = r->query[i].value;
        n++;
    }
    return n;
}

const char *httpd_query(const struct httpd_request *r, const char *name)
{
    const char *value;
    return httpd_query_all(r, name, &value, 1) ? value : NULL;
}

void httpd_replace_body(struct httpd_request *r, char *body, size_t len, const char *content_type)
{
    free(r->body);
    r->body = body;
    r->body_len = len;
    r->body_cap = len + 1;
    r->replaced_type = content_type;
}

const char *httpd_header(const struct httpd_request *r, const char *name)
{
    if (r->replaced_type && !strcasecmp(name, MHD_HTTP_HEADER_CONTENT_TYPE))
        return r->replaced_type;
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

struct header_search {
    const char *name;
    const char **values;
    size_t max, count;
};

static enum MHD_Result match_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    (void)kind;
    struct header_search *s = cls;
    if (!strcasecmp(name, s->name)) {
        if (s->count < s->max)
            s->values[s->count] = value ? value : "";
        s->count++;
    }
    return MHD_YES;
}

size_t httpd_header_all(const struct httpd_request *r, const char *name, const char **values,
                        size_t max)
{
    struct header_search s = {name, values, max, 0};
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, match_header, &s);
    return s.count;
}

bool httpd_header_lists(const struct httpd_request *r, const char *name, const char *item)
{
    const char *values[8];
    size_t n = httpd_header_all(r, name, values, ARRAY_LEN(values)), len = strlen(item);
    for (size_t i = 0; i < n && i < ARRAY_LEN(values); i++)
        for (const char *p = values[i]; *(p += strspn(p, ", "));) {
            size_t part = strcspn(p, ", ");
            if (part == len && memcmp(p, item, len) == 0)
                return true;
            p += part;
        }
    return false;
}

struct prefix_search {
    const char *prefix;
    void (*fn)(void *ctx, const char *rest, const char *value);
    void *ctx;
};

static enum MHD_Result match_prefix(void *cls, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    (void)kind;
    struct prefix_search *s = cls;
    size_t len = strlen(s->prefix);
    if (!strncasecmp(name, s->prefix, len))
        s->fn(s->ctx, name + len, value ? value : "");
    return MHD_YES;
}

void httpd_headers_prefixed(const struct httpd_request *r, const char *prefix,
                            void (*fn)(void *ctx, const char *rest, const char *value), void *ctx)
{
    struct prefix_search s = {prefix, fn, ctx};
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, match_prefix, &s);
}

const char *httpd_body(const struct httpd_request *r, size_t *len)
{
    if (len)
        *len = r->body_len;
    return r->body ? r->body : "";
}

const char *httpd_client_cn(const struct httpd_request *r)
{
    return r->peer->cn;
}

const char *const *httpd_client_orgs(const struct httpd_request *r)
{
    static const char *const none[] = {NULL};
    return r->peer->orgs ? (const char *const *)r->peer->orgs : none;
}

bool httpd_client_cert_invalid(const struct httpd_request *r)
{
    return r->peer->invalid;
}

const char *httpd_client_address(const struct httpd_request *r)
{
    return r->peer->address;
}

void httpd_set_data(struct httpd_request *r, void *data, void (*free_fn)(void *))
{
    if (r->data_free)
        r->data_free(r->data);
    r->data = data;
    r->data_free = free_fn;
}

void *httpd_data(const struct httpd_request *r)
{
    return r->data;
}

/* --- client certificates --- */

static char *subject_part(gnutls_x509_crt_t cert, const char *oid, unsigned index)
{
    char text[1024];
    size_t size = sizeof text;
    if (gnutls_x509_crt_get_dn_by_oid(cert, oid, index, 0, text, &size) != GNUTLS_E_SUCCESS)
        return NULL;
    if (strlen(text) != size) /* a NUL inside a name is somebody's trick */
        return NULL;
    return mem_strndup(text, size);
}

static void read_subject(struct peer *p, gnutls_x509_crt_t cert)
{
    p->cn = subject_part(cert, GNUTLS_OID_X520_COMMON_NAME, 0);
    if (!p->cn)
        p->cn = mem_strdup("");
    p->orgs = mem_alloc(sizeof *p->orgs);
    char *org;
    for (unsigned n = 0; n < 64 && (org = subject_part(cert, GNUTLS_OID_X520_ORGANIZATION_NAME, n));
         n++) {
        p->orgs = mem_realloc(p->orgs, (n + 2) * sizeof *p->orgs);
        p->orgs[n] = org;
        p->orgs[n + 1] = NULL;
    }
}

void httpd_peer_check(struct peer *p, struct MHD_Connection *c)
{
    p->checked = true;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (!info || !info->tls_session)
        return;
    gnutls_session_t session = info->tls_session;
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    if (!chain || !count)
        return;
    gnutls_typed_vdata_st purpose = {GNUTLS_DT_KEY_PURPOSE_OID,
                                     (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT, 0};
    unsigned status = 0;
    if (gnutls_certificate_verify_peers(session, &purpose, 1, &status) != GNUTLS_E_SUCCESS ||
        status) {
        p->invalid = true;
        return;
    }
    gnutls_x509_crt_t cert;
    if (gnutls_x509_crt_init(&cert) != GNUTLS_E_SUCCESS)
        return;
    if (gnutls_x509_crt_import(cert, &chain[0], GNUTLS_X509_FMT_DER) == GNUTLS_E_SUCCESS)
        read_subject(p, cert);
    else
        p->invalid = true;
    gnutls_x509_crt_deinit(cert);
}

void httpd_peer_free(struct peer *p)
{
    if (!p)
        return;
    free(p->cn);
    for (char **o = p->orgs; o && *o; o++)
        free(*o);
    free(p->orgs);
    free(p);
}
