#include "apiserver/auth/jwt.h"
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

enum { SHA256_SIZE = 32, P256_SIZE = 32, TOKEN_MAX = 16384 };

struct key {
    gnutls_pubkey_t public_key;
    bool ec; /* ES256, else RS256 */
    char *id;
};
struct jwt_keys {
    gnutls_privkey_t private_key; /* NULL: none */
    size_t signer;                /* index of its public part */
    struct key *items;
    size_t count;
};

/* --- base64url without padding --- */

static void add_base64url(struct buf *b, const void *p, size_t n)
{
    size_t start = b->len;
    buf_add_base64(b, p, n);
    while (b->len > start && b->data[b->len - 1] == '=')
        b->data[--b->len] = '\0';
    for (char *c = b->data + start; c < b->data + b->len; c++)
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
}

static char *base64url(const void *p, size_t n)
{
    struct buf b = {0};
    add_base64url(&b, p, n);
    return buf_take(&b);
}

/* --- keys --- */

/* Names a key by what it is: SHA-256 of its SubjectPublicKeyInfo. */
static char *key_id(gnutls_pubkey_t key)
{
    gnutls_datum_t der = {0};
    unsigned char hash[SHA256_SIZE];
    if (gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &der))
        return NULL;
    int rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, der.data, der.size, hash);
    gnutls_free(der.data);
    return rc ? NULL : base64url(hash, sizeof hash);
}

/* Takes the key. A key that is there already is kept once; gives its index. */
static bool add_key(struct jwt_keys *k, gnutls_pubkey_t key, size_t *at, struct error **err)
{
    unsigned bits;
    int algorithm = gnutls_pubkey_get_pk_algorithm(key, &bits);
    bool ec = algorithm == GNUTLS_PK_ECDSA && bits == 256;
    char *id = ec || algorithm == GNUTLS_PK_RSA ? key_id(key) : NULL;
    if (!id) {
        gnutls_pubkey_deinit(key);
        error_setf(err, "keys must be RSA or ECDSA on the curve P-256");
        return false;
    }
    for (size_t i = 0; i < k->count; i++)
        if (!strcmp(k->items[i].id, id)) {
            gnutls_pubkey_deinit(key);
            free(id);
            *at = i;
            return true;
        }
    k->items = mem_realloc(k->items, (k->count + 1) * sizeof *k->items);
    k->items[k->count] = (struct key){key, ec, id};
    *at = k->count++;
    return true;
}

/* NULL when the text holds no private key. */
static gnutls_privkey_t private_key(const struct buf *pem)
{
    gnutls_privkey_t key;
    gnutls_datum_t data = {(unsigned char *)pem->data, (unsigned)pem->len};
    if (gnutls_privkey_init(&key))
        return NULL;
    if (!gnutls_privkey_import_x509_raw(key, &data, GNUTLS_X509_FMT_PEM, NULL, 0))
        return key;
    gnutls_privkey_deinit(key);
    return NULL;
}

static bool load(struct jwt_keys *k, const char *file, bool sign, struct error **err)
{
    cleanup_buf struct buf pem = {0};
    if (!buf_read_file(&pem, file, err))
        return false;
    gnutls_datum_t data = {(unsigned char *)pem.data, (unsigned)pem.len};
    gnutls_pubkey_t key;
    gnutls_pubkey_init(&key);
    gnutls_privkey_t secret = private_key(&pem);
    int rc = secret ? gnutls_pubkey_import_privkey(key, secret, 0, 0)
                    : gnutls_pubkey_import(key, &data, GNUTLS_X509_FMT_PEM);
    if (pem.data) /* it may hold a private key */
        gnutls_memset(pem.data, 0, pem.len);
    size_t at = 0;
    bool ok = false;
    if (rc || (sign && !secret)) {
        gnutls_pubkey_deinit(key);
        error_setf(err, "%s holds no %s key", file, sign ? "private" : "public or private");
    } else if (add_key(k, key, &at, err)) {
        ok = true;
    } else {
        error_wrap(err, "%s", file);
    }
    if (ok && sign) {
        k->private_key = secret;
        k->signer = at;
    } else if (secret) {
        gnutls_privkey_deinit(secret);
    }
    return ok;
}

struct jwt_keys *jwt_keys_load(const char *const *verify_files, const char *sign_file,
                               struct error **err)
{
    struct jwt_keys *k = mem_alloc(sizeof *k);
    bool ok = !sign_file || load(k, sign_file, true, err);
    for (; ok && verify_files && *verify_files; verify_files++)
        ok = load(k, *verify_files, false, err);
    if (ok)
        return k;
    jwt_keys_free(k);
    return NULL;
}

void jwt_keys_free(struct jwt_keys *k)
{
    if (!k)
        return;
    if (k->private_key)
        gnutls_privkey_deinit(k->private_key);
    for (size_t i = 0; i < k->count; i++) {
        gnutls_pubkey_deinit(k->items[i].public_key);
        free(k->items[i].id);
    }
    free(k->items);
    free(k);
}

bool jwt_can_sign(const struct jwt_keys *k)
{
    return k && k->private_key;
}

/* --- signing --- */

/* ECDSA's r and s as 32 bytes each, big-endian. */
static bool put_fixed(const gnutls_datum_t *n, unsigned char out[P256_SIZE])
{
    const unsigned char *p = n->data;
    size_t size = n->size;
    for (; size > P256_SIZE && !*p; p++)
        size--;
    if (size > P256_SIZE)
        return false;
    memset(out, 0, P256_SIZE);
    memcpy(out + P256_SIZE - size, p, size);
    return true;
}

static bool add_signature(const struct jwt_keys *k, struct buf *b)
{
    bool ec = k->items[k->signer].ec;
    gnutls_datum_t data = {(unsigned char *)b->data, (unsigned)b->len}, signature = {0};
    if (gnutls_privkey_sign_data2(k->private_key,
                                  ec ? GNUTLS_SIGN_ECDSA_SHA256 : GNUTLS_SIGN_RSA_SHA256, 0, &data,
                                  &signature))
        return false;
    bool ok = true;
    buf_addc(b, '.');
    if (ec) {
        gnutls_datum_t r = {0}, s = {0};
        unsigned char raw[2 * P256_SIZE];
        ok = !gnutls_decode_rs_value(&signature, &r, &s) && put_fixed(&r, raw) &&
             put_fixed(&s, raw + P256_SIZE);
        if (ok)
            add_base64url(b, raw, sizeof raw);
        gnutls_free(r.data);
        gnutls_free(s.data);
    } else {
        add_base64url(b, signature.data, signature.size);
    }
    gnutls_free(signature.data);
    return ok;
}

char *jwt_sign(const struct jwt_keys *k, const cJSON *claims, struct error **err)
{
    if (!jwt_can_sign(k)) {
        error_setf(err, "there is no key that signs tokens");
        return NULL;
    }
    const struct key *key = &k->items[k->signer];
    cleanup_json cJSON *header = cJSON_CreateObject();
    json_map_set_str(header, "alg", key->ec ? "ES256" : "RS256");
    json_map_set_str(header, "kid", key->id);
    cleanup_free char *head = json_text(header), *body = json_text(claims);
    struct buf b = {0};
    add_base64url(&b, head, strlen(head));
    buf_addc(&b, '.');
    add_base64url(&b, body, strlen(body));
    if (add_signature(k, &b))
        return buf_take(&b);
    buf_free(&b);
    error_setf(err, "cannot sign a token");
    return NULL;
}

/* --- verifying --- */

static bool good_signature(const struct key *key, const char *token, size_t signed_len,
                           const struct buf *raw)
{
    gnutls_datum_t data = {(unsigned char *)token, (unsigned)signed_len};
    if (!key->ec) {
        gnutls_datum_t signature = {(unsigned char *)raw->data, (unsigned)raw->len};
        return gnutls_pubkey_verify_data2(key->public_key, GNUTLS_SIGN_RSA_SHA256, 0, &data,
                                          &signature) >= 0;
    }
    if (raw->len != 2 * P256_SIZE)
        return false;
    gnutls_datum_t r = {(unsigned char *)raw->data, P256_SIZE},
                   s = {(unsigned char *)raw->data + P256_SIZE, P256_SIZE}, der = {0};
    if (gnutls_encode_rs_value(&der, &r, &s))
        return false;
    int rc = gnutls_pubkey_verify_data2(key->public_key, GNUTLS_SIGN_ECDSA_SHA256, 0, &data, &der);
    gnutls_free(der.data);
    return rc >= 0;
}

static cJSON *decode_part(const char *p, size_t n)
{
    cleanup_buf struct buf b = {0};
    if (!buf_add_base64_decoded(&b, p, n))
        return NULL;
    cJSON *json = json_parse(buf_str(&b), b.len, NULL);
    if (cJSON_IsObject(json))
        return json;
    cJSON_Delete(json);
    return NULL;
}

static bool signed_by_any(const struct jwt_keys *k, const cJSON *header, const char *token,
                          size_t signed_len, const struct buf *signature)
{
    const char *algorithm = json_str_or(header, "alg", ""), *id = json_str_or(header, "kid", "");
    for (size_t i = 0; i < k->count; i++) {
        const struct key *key = &k->items[i];
        if (strcmp(algorithm, key->ec ? "ES256" : "RS256") != 0 ||
            (*id && strcmp(id, key->id) != 0))
            continue;
        if (good_signature(key, token, signed_len, signature))
            return true;
    }
    return false;
}

cJSON *jwt_verify(const struct jwt_keys *k, const char *token, struct error **err)
{
    const char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
    if (!k || !second || strchr(second + 1, '.') || strlen(token) > TOKEN_MAX) {
        error_setf(err, "malformed token");
        return NULL;
    }
    cleanup_json cJSON *header = decode_part(token, (size_t)(first - token));
    cleanup_buf struct buf signature = {0};
    if (!header || !buf_add_base64_decoded(&signature, second + 1, strlen(second + 1)) ||
        !signed_by_any(k, header, token, (size_t)(second - token), &signature)) {
        error_setf(err, "invalid signature");
        return NULL;
    }
    cJSON *claims = decode_part(first + 1, (size_t)(second - first - 1));
    if (!claims)
        error_setf(err, "malformed claims");
    return claims;
}

/* --- what others need to verify --- */

static void set_number(cJSON *out, const char *name, const gnutls_datum_t *n, size_t pad_to)
{
    const unsigned char *p = n->data;
    size_t size = n->size;
    for (; size > 1 && !*p; p++)
        size--;
    cleanup_free unsigned char *bytes = mem_alloc(size > pad_to ? size : pad_to);
    size_t total = size > pad_to ? size : pad_to;
    memcpy(bytes + total - size, p, size);
    cleanup_free char *text = base64url(bytes, total);
    json_map_set_str(out, name, text);
}

static cJSON *key_json(const struct key *key)
{
    gnutls_datum_t a = {0}, b = {0};
    gnutls_ecc_curve_t curve;
    int rc = key->ec ? gnutls_pubkey_export_ecc_raw(key->public_key, &curve, &a, &b)
                     : gnutls_pubkey_export_rsa_raw(key->public_key, &a, &b);
    if (rc)
        return NULL;
    cJSON *out = cJSON_CreateObject();
    json_map_set_str(out, "use", "sig");
    json_map_set_str(out, "kty", key->ec ? "EC" : "RSA");
    json_map_set_str(out, "kid", key->id);
    if (key->ec)
        json_map_set_str(out, "crv", "P-256");
    json_map_set_str(out, "alg", key->ec ? "ES256" : "RS256");
    set_number(out, key->ec ? "x" : "n", &a, key->ec ? P256_SIZE : 0);
    set_number(out, key->ec ? "y" : "e", &b, key->ec ? P256_SIZE : 0);
    gnutls_free(a.data);
    gnutls_free(b.data);
    return out;
}

cJSON *jwt_key_set(const struct jwt_keys *k)
{
    cJSON *out = cJSON_CreateObject(), *keys = cJSON_AddArrayToObject(out, "keys");
    for (size_t i = 0; k && i < k->count; i++) {
        cJSON *key = key_json(&k->items[i]);
        if (key)
            cJSON_AddItemToArray(keys, key);
    }
    return out;
}

cJSON *jwt_algorithms(const struct jwt_keys *k)
{
    bool ec = false, rsa = false;
    for (size_t i = 0; k && i < k->count; i++) {
        ec |= k->items[i].ec;
        rsa |= !k->items[i].ec;
    }
    cJSON *out = cJSON_CreateArray();
    if (ec)
        cJSON_AddItemToArray(out, cJSON_CreateString("ES256"));
    if (rsa)
        cJSON_AddItemToArray(out, cJSON_CreateString("RS256"));
    return out;
}
