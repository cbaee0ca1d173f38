/* A container's environment, and the expansion of $(NAME) in it and in command and args.
 * https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/ */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"
#include "kubelet/api.h"
#include "kubelet/pod/spec.h"

struct env_var {
    char *name, *value;
};
struct env_list {
    struct env_var *items;
    size_t count, cap;
};
void env_list_clear(struct env_list *l);
#define cleanup_env __attribute__((cleanup(env_list_clear)))
void env_set(struct env_list *l, const char *name, const char *value); /* replaces in place */
const char *env_get(const struct env_list *l, const char *name);       /* NULL if absent */

/* $(NAME) becomes its value from vars, then from more (may be NULL); unknown names stay as they are; $$ is $. Caller
 * frees. */
char *env_expand(const char *text, const struct env_list *vars, const struct env_list *more);

/* Variables that tell of a namespace's Services (a ServiceList), as docker links did. only: one name or NULL. */
void env_add_services(struct env_list *l, const cJSON *service_list, const char *only);

/* Everything for one container: envFrom, env, then `services` for names not set yet. An error here is what Kubernetes
 * calls CreateContainerConfigError. */
bool env_build(const struct downward_source *downward, const cJSON *container, struct object_cache *objects,
               const struct env_list *services, struct env_list *out, struct error **err);
