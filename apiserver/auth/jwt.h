/* JSON Web Tokens (RFC 7519) in their compact form, signed with ES256 or RS256 (RFC 7518). */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"

struct jwt_keys; /* one key that signs (or none) and any number that verify; immutable, for all
                    threads */

/* PEM files: private or public keys that verify; the private key that signs (NULL: none), which
 * verifies too. An array ended by NULL. */
struct jwt_keys *jwt_keys_load(const char *const *verify_files, const char *sign_file,
                               struct error **err);
void jwt_keys_free(struct jwt_keys *k);
bool jwt_can_sign(const struct jwt_keys *k);
/* The token, caller frees. */
char *jwt_sign(const struct jwt_keys *k, const cJSON *claims, struct error **err);
/* The claims of a token that one of the keys has signed (a new document), else NULL. Times and
 * audience are the caller's to judge. */
cJSON *jwt_verify(const struct jwt_keys *k, const char *token, struct error **err);
/* JSON Web Key Set (RFC 7517) of all keys; a new document. */
cJSON *jwt_key_set(const struct jwt_keys *k);
/* The signing algorithms of the keys, each once: array of strings. */
cJSON *jwt_algorithms(const struct jwt_keys *k);
