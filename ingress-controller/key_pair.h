#pragma once
#include <stdbool.h>
#include "common/error.h"

/* Writes a self-signed certificate and its key: what a client gets whose host has no certificate.
 */
bool key_pair_write_default(const char *certificate_path, const char *key_path, struct error **err);
