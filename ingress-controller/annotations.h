/* The annotations of ingress-nginx that are understood:
 * https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/ */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

struct ingress_settings {
    const char *rewrite_target; /* borrowed from the object; NULL for none */
    bool use_regex;             /* also when the target has $1 to $9 */
    bool ssl_redirect, force_ssl_redirect;
    int64_t body_size; /* bytes; 0 for any */
    int64_t connect_ms, send_ms, read_ms;
    const char *scheme; /* "http" or "https" */
};
/* False: a value that is wrong, or an annotation that would be configuration (…-snippet). What is
 * not known is left alone and told in warnings, a line each. */
bool ingress_settings_read(const cJSON *ingress, struct ingress_settings *out, struct buf *warnings,
                           struct error **err);
/* A path as a client may send it: begins with '/', printable ASCII without blanks, quotes,
 * backslashes or braces. */
bool ingress_path_valid(const char *path);
#define INGRESS_PATH_MAX 2048
