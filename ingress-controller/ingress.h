/* One Ingress, checked and taken apart. Everything here is about values: nothing knows the API or
 * nginx. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "common/buf.h"
#include "common/error.h"
#include "ingress-controller/annotations.h"

enum path_kind {
    PATH_EXACT,
    PATH_PREFIX,
    PATH_REGEX,
    PATH_DEFAULT /* where no path of the host matches */
};
struct ingress_location {
    char *host; /* lower case; "*.example.com" has a wildcard; "" is any host */
    char *path; /* PATH_PREFIX: without a slash at the end */
    enum path_kind kind;
    char *backend; /* "namespace/service/port", the port as the Ingress names it */
    const struct ingress *of;
};
struct ingress_tls {
    char *host;
    char *secret; /* "namespace/name"; NULL: the default certificate */
};
struct ingress {
    char *key;           /* "namespace/name" */
    const cJSON *object; /* borrowed */
    struct ingress_settings settings;
    struct ingress_location *locations;
    size_t location_count;
    struct ingress_tls *tls;
    size_t tls_count;
};
/* NULL: something in it is wrong, and nothing of it may be served. object must outlive the result.
 */
struct ingress *ingress_new(const cJSON *object, struct buf *warnings, struct error **err);
void ingress_free(struct ingress *i);
/* A DNS name, perhaps with "*." before it, or "". */
bool ingress_host_valid(const char *host);
