/* Kubernetes' --token-auth-file: fixed bearer tokens, one a line: token,user,uid,"group,group".
 * Read once, at the start. */
#pragma once
#include <stdbool.h>
#include "apiserver/server/request.h"
#include "common/error.h"

bool token_file_load(const char *path, struct error **err);
/* Sets the user whose token it is (system:authenticated is added); false when nobody's. */
bool token_file_authenticate(const char *token, struct api_user *user);
