/* How names, labels, ports and the like must look. Each check gives NULL when the text is good, else what is
 * wrong with it, as k8s.io/apimachinery's util/validation says it (a static string). */
#pragma once
#include <stdbool.h>
#include "apiserver/validation/validation.h"

const char *name_dns_label(const char *s);
const char *name_dns1035_label(const char *s);
const char *name_dns_subdomain(const char *s);
const char *name_path_segment(const char *s);
const char *name_qualified(const char *s); /* "example.com/name" */
const char *name_label_value(const char *s);
const char *name_config_key(const char *s);
const char *name_port(const char *s); /* IANA service name */
const char *name_env_var(const char *s);
const char *name_by_rule(enum name_rule rule, const char *s, bool prefix);
bool is_ip(const char *s, int family); /* AF_INET, AF_INET6, or 0 for either */
bool is_cidr(const char *s);

#define NOT_A_PORT "must be between 1 and 65535, inclusive"
#define NEGATIVE   "must be greater than or equal to 0"
#define IMMUTABLE  "field is immutable"
