/* The served resources by group and version, as discovery and OpenAPI show them. Inside apiserver/openapi/.
 */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "apiserver/resource.h"
#include "apiserver/server/request.h"

/* Is resource i of the list the first of its group (of its group and version)? What loops over groups looks at
 * these only. */
bool group_first(const struct resource_list *all, size_t i);
bool group_version_first(const struct resource_list *all, size_t i);
bool group_served(const char *group);
bool group_version_served(const char *group, const char *version);
/* "v1", "apps/v1"; caller frees. */
char *group_version_text(const char *group, const char *version);
/* The resources of one version, sorted by plural name; caller frees the array. */
const struct resource **group_version_resources(const char *group, const char *version, size_t *count);
/* ["create", "get"] in Kubernetes' order. */
cJSON *verbs_json(unsigned verbs);
/* Group, version and kind of the body of a subresource. */
void subresource_kind(const struct resource *r, const struct subresource *s, const char **group,
                      const char **version, const char **kind);

/* Answers with a document that may be cached by its ETag: 304 when the client has it already. Takes text
 * (malloc'd). vary: the answer depends on Accept. */
void reply_document(struct api_request *req, const char *content_type, char *text, size_t len, bool vary);
/* Hash of a document as upper-case hex (SHA-512), caller frees. */
char *document_hash(const void *text, size_t len);
