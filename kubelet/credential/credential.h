/* Credentials for pulling an image: from pull secrets, from the node's docker configuration and
 * from credential provider plug-ins; all that match are tried in turn.
 * https://kubernetes.io/docs/concepts/containers/images/#using-a-private-registry
 * https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/ */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"
#include "kubelet/arena.h"
#include "kubelet/cri/cri.h"

/* Everything below lives in the arena. */
struct credentials {
    cri_auth **items;
    size_t count;
};
/* An image as its repository, without tag and digest, with docker.io where it names no registry:
 * "cp-1:5000/team/app". */
char *credential_repository(struct arena *a, const char *image);

/* Does a key of a docker configuration ("https://registry:5000/v1/", "*.example.com/team") or a
 * plug-in's pattern stand for this repository? Globs match within one part of the host's name. */
bool credential_matches(const char *pattern, const char *repository);

/* From the text of a .dockerconfigjson or the older .dockercfg; longer keys first. Nothing from
 * what is no such text. */
void credentials_from_docker_config(struct credentials *c, struct arena *a, const char *text,
                                    size_t len, const char *repository);

/* --- plug-ins (provider.c) --- */
struct credential_providers;
/* config: a CredentialProviderConfig (YAML or JSON); bin_dir: where the programs are. */
struct credential_providers *credential_providers_load(const char *config, const char *bin_dir,
                                                       struct error **err);
/* The same from a text; for tests. */
struct credential_providers *credential_providers_parse(const char *text, size_t len,
                                                        const char *bin_dir, struct error **err);
void credential_providers_free(struct credential_providers *p);
/* Asks the plug-ins that are for this image, or their cache. What fails is logged. Blocks. NULL
 * providers: none. */
void credentials_from_providers(struct credentials *c, struct arena *a,
                                struct credential_providers *p, const char *image);
void credential_add(struct credentials *c, struct arena *a, const char *username,
                    const char *password, const char *token);
