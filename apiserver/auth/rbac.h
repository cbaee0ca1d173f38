/* Role-based access control: Roles and bindings, indexed by whom they are about.
 * https://kubernetes.io/docs/reference/access-authn-authz/rbac/
 *
 * rbac.c is the index and judges; rbac_watch.c feeds it from the watch cache; policy*.c are the
 * roles and bindings that every cluster has, as data, and rbac_bootstrap.c makes objects of them;
 * escalation.c sees to it that nobody grants more than he holds. */
#pragma once
#include <stdbool.h>
#include "apiserver/auth/auth.h"

/* Lists are NULL-terminated; NULL is an empty list. */
struct rbac_rule {
    char **verbs, **groups, **resources, **names, **urls;
};

/* --- the policy as data --- */
/* Rules as compact text; each list is joined by commas, "" for none. An empty element of groups is
 * the core group. */
struct rbac_rule_text {
    const char *verbs, *groups, *resources, *names, *urls;
};
struct rbac_role_text {
    const char *name;
    const struct rbac_rule_text *rules; /* ended by NULL verbs; NULL for an aggregated role */
    const char *ns;                     /* a Role of this namespace; NULL: a ClusterRole */
    const char *aggregated_to;          /* "admin", "edit", "view" (a label), or NULL */
    bool aggregates;                    /* gathers the roles that are aggregated to it */
};
/* Subjects of the binding named `name`; rows with the same name and namespace are one binding. */
struct rbac_binding_text {
    const char *name;
    const char *role;         /* NULL: as the binding */
    const char *user, *group; /* one of them, or neither: a binding without subjects */
    const char *account;      /* a ServiceAccount in kube-system, or NULL */
    const char *ns;           /* a RoleBinding to a Role of this namespace; NULL: everywhere */
};
extern const struct rbac_role_text policy_roles[];       /* ended by a NULL name */
extern const struct rbac_binding_text policy_bindings[]; /* ended by a NULL name */
/* One role "system:controller:<name>" for each controller, bound to its account and to the
 * controller-manager's own identity. */
extern const struct rbac_role_text policy_controllers[]; /* names without that prefix */

#define RULE(verbs, groups, resources)                                                             \
    {                                                                                              \
        verbs, groups, resources, "", ""                                                           \
    }
#define NAMED(verbs, groups, resources, names)                                                     \
    {                                                                                              \
        verbs, groups, resources, names, ""                                                        \
    }
#define URLS(verbs, urls)                                                                          \
    {                                                                                              \
        verbs, "", "", "", urls                                                                    \
    }
#define RULES_END                                                                                  \
    {                                                                                              \
        NULL, NULL, NULL, NULL, NULL                                                               \
    }
#define RULES(name) static const struct rbac_rule_text name[]
#define READ        "get,list,watch"
#define WRITE       "create,delete,deletecollection,patch,update"
#define READ_WRITE  "create,delete,deletecollection,get,list,patch,update,watch"
#define EVENTS      RULE("create,patch,update", ",events.k8s.io", "events")

/* --- the index; every call locks for itself --- */
/* Holds exactly the built-in policy: for tests. */
void rbac_start(void);
/* Reads what is stored and follows it. */
bool rbac_watch_start(struct storage *storage, struct error **err);
/* An object of rbac.authorization.k8s.io as it now is. */
void rbac_put(const char *kind, const cJSON *object);
void rbac_remove(const char *kind, const char *ns, const char *name);
/* Between the two, puts go to a new index that then takes the place of the old one. */
void rbac_rebuild_begin(void);
void rbac_rebuild_end(void);

bool rbac_allowed(const struct auth_attributes *a);
/* Calls visit with every rule that applies to the user in the namespace; visit must not call back.
 */
void rbac_visit_rules(const struct api_user *u, const char *ns,
                      void (*visit)(void *ctx, const struct rbac_rule *rule), void *ctx);

/* --- rules (rbac_rules.c) --- */
bool rbac_rule_allows(const struct rbac_rule *rule, const struct auth_attributes *a);
/* Is all that `part`, a rule of at most one element in each list, gives given by rule too? */
bool rbac_rule_covers(const struct rbac_rule *rule, const struct rbac_rule *part);
struct rbac_rule *rbac_rules_parse(const cJSON *rules, size_t *count);
void rbac_rules_free(struct rbac_rule *rules, size_t count);

/* --- objects of the policy --- */
/* Calls fn with each bootstrap object. */
void rbac_policy_objects(void (*fn)(void *ctx, cJSON *object_taken), void *ctx);
/* Makes them, or adds to them what an older version did not have. */
bool rbac_bootstrap(struct storage *storage, struct error **err);

/* --- escalation.c --- */
/* Writes of roles and bindings: nobody may give what he does not hold. old is NULL on create. */
bool rbac_check_escalation(struct api_request *req, const cJSON *object, const cJSON *old,
                           struct error **err);
