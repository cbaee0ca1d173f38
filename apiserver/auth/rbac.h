/* Role-based access control: rules, roles and bindings as data. The built-in policy is compiled in;
 * RBAC objects make the same structures.
 * https://kubernetes.io/docs/reference/access-authn-authz/rbac/ */
#pragma once
#include <stdbool.h>
#include "apiserver/auth/auth.h"

/* Lists are NULL-terminated; NULL is an empty list. */
struct rbac_rule {
    char **verbs, **groups, **resources, **names, **urls;
};
struct rbac_role {
    char *name;
    struct rbac_rule *rules;
    size_t count;
};
/* Gives a role to a user or to a group, in one namespace or everywhere. */
struct rbac_binding {
    char *user, *group; /* one of them */
    char *ns;           /* NULL: everywhere */
    const struct rbac_role *role;
};

/* Rules as compact text; each list is joined by commas, "" for none. An empty element of groups is
 * the core group. */
struct rbac_rule_text {
    const char *verbs, *groups, *resources, *names, *urls;
};
struct rbac_role_text {
    const char *name;
    const struct rbac_rule_text *rules; /* ended by NULL verbs */
};
struct rbac_binding_text {
    const char *role, *user, *group, *ns;
};
extern const struct rbac_role_text policy_roles[];       /* ended by a NULL name */
extern const struct rbac_binding_text policy_bindings[]; /* ended by a NULL role */

/* Builds the compiled-in policy; once, before the first request. */
void rbac_start(void);
bool rbac_allowed(const struct auth_attributes *a);
bool rbac_rule_allows(const struct rbac_rule *rule, const struct auth_attributes *a);
/* Calls visit with every rule that applies to the user in the namespace. */
void rbac_visit_rules(const struct api_user *u, const char *ns,
                      void (*visit)(void *ctx, const struct rbac_rule *rule), void *ctx);
