/* Tokens of service accounts: JWTs bound to a pod, a Secret or a node, good as long as those live.
 * https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
 */
#pragma once
#include "apiserver/auth/auth.h"

/* Loads the keys of config; without any, no token is good and none is given. */
bool token_start(const struct api_config *config, struct storage *storage, struct error **err);
/* Whose token is it? audiences: array of strings of which one must be named by the token, or NULL
 * for the API's own. *found (may be NULL): those that are, a new array. Does not block. */
bool token_authenticate(const char *token, const cJSON *audiences, struct api_user *out,
                        cJSON **found, struct error **err);
/* serviceaccounts/token: request is a decoded TokenRequest, filled in. Worker thread. */
bool token_request(struct api_request *req, cJSON *request, struct error **err);
/* /openid/v1/jwks and /.well-known/openid-configuration; true when it was one of them. */
bool token_issuer_serve(struct api_request *req);
