/* The write path, in Kubernetes' order: decode -> default -> mutating admission -> prepare ->
 * validate -> store.
 *
 * Each file takes one verb or one idea; all share `struct write`, the request as the registry sees
 * it. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "apiserver/resource.h"
#include "apiserver/schema/decode.h"
#include "apiserver/server/request.h"
#include "apiserver/storage/storage.h"
#include "apiserver/validation/field_errors.h"

struct write {
    struct api_request *req;
    const struct resource *r;      /* as the client named it */
    const struct resource *stored; /* whose form the storage knows: r, or r->stored_as */
    const char *ns, *name, *sub;   /* "" when absent */
    bool dry_run;
    bool applied; /* server-side apply: the object brings its managedFields */
    enum field_validation field_validation;
};

/* --- write.c --- */
/* The body against a type; refuses content types that we don't read. NULL with an error. */
cJSON *write_decode(struct write *w, const struct schema_type *type, struct error **err);
/* A YAML (or JSON) document that is an object; 400 otherwise. */
cJSON *write_parse_yaml(const char *body, size_t len, struct buf *duplicates, struct error **err);
/* Judges keys that came twice (yaml_to_json_noting) by the request's field validation: refused, with
 * `before` in front of it, warned of, or ignored. */
bool write_judge_yaml(struct write *w, const struct buf *duplicates, const char *before,
                      struct error **err);
/* Who writes, for managedFields. */
struct field_manager;
#define MANAGER_BUFFER 400
bool write_manager(struct write *w, struct field_manager *out, char buffer[MANAGER_BUFFER],
                   struct error **err);
/* 422 about the request's own options, if there are errors; true otherwise. */
bool write_check_options(const struct write *w, const struct field_errors *errors,
                         struct error **err);
/* Decodes a patched document (PATCH) in place. strategic: the text of a strategic merge patch
 * (errors show it), else NULL. */
bool write_decode_patched(struct write *w, const struct schema_type *type, cJSON *object,
                          const char *strategic, size_t len, struct error **err);
/* Defaults of the object's own kind. */
void write_default(const struct resource *r, cJSON *object);
/* 422 with all that is wrong with it. */
bool write_validate(const struct resource *r, const cJSON *object, const cJSON *old,
                    const char *sub, struct error **err);
/* The stored object as the client sees it (parsed; a new document). */
cJSON *write_view(const struct write *w, const struct stored *s);
/* Answers with a stored object in the client's form. */
void write_reply_stored(struct write *w, int status, struct stored *s);
/* Status "Success" with 201. */
void write_reply_created(struct write *w);
bool write_is(const struct resource *r, const char *group, const char *kind);

/* --- meta.c --- */
void meta_uuid(char out[37]);
/* Five characters that neither form words nor look alike. */
void meta_name_suffix(char out[6]);
void meta_now(char *out); /* TIME_TEXT_MAX bytes */
/* The namespace of the body must be the one of the URL; sets it (or removes it from cluster-scoped
 * objects). */
bool meta_check_namespace(const struct write *w, cJSON *object, struct error **err);
bool meta_check_name(const struct write *w, const cJSON *object, struct error **err);
/* uid, creationTimestamp, generation; removes what the server alone sets. */
bool meta_before_create(const struct write *w, cJSON *object, struct error **err);
/* Checks resourceVersion and uid against the stored object and carries over what the server alone
 * sets. */
bool meta_before_update(const struct write *w, cJSON *object, const cJSON *old, struct error **err);
/* The generation after a change of what is wanted (all but metadata and status). */
void meta_bump_generation(const struct resource *r, cJSON *object, const cJSON *old);
bool meta_has_finalizers(const cJSON *object);
bool meta_deleting(const cJSON *object);
/* Marked for deletion, the grace period is over, and no finalizer holds it. */
bool meta_should_delete(const cJSON *object);

/* --- create.c --- */
void write_create(struct write *w);
/* Creates `object` (taken). Answers. */
void write_create_object(struct write *w, cJSON *object);

/* --- update.c --- */
void write_update(struct write *w);
void write_patch(struct write *w);
void write_apply(struct write *w); /* PATCH as server-side apply (apply.c) */
bool write_is_apply(struct write *w);
/* A PUT or an apply that makes the object needs the right to create it. */
bool write_may_create(struct write *w, struct error **err);
/* A change of the stored object: make() gives the whole new object in the client's form, from the
 * current one; it may be called more than once. NULL with an error stops. */
struct update {
    struct write *w;
    cJSON *(*make)(struct update *u, const cJSON *current, struct error **err);
    void *userdata;
    bool applies;            /* make() sees to managedFields itself */
    const char *sub;         /* how strategies and validation see it; "" for scale */
    struct storage_update u; /* filled by update_run */
    cJSON *result; /* dry run: what would have been stored, in the client's form; caller frees */
    bool deleted;  /* the last finalizer went */
    cJSON *last;   /* of a deleted object; caller frees */
};
/* NULL with an error. Dry run: NULL without error, and u->result set. The same for a deleted
 * object, and u->last set. */
struct stored *update_run(struct update *u, struct error **err);
void update_clear(struct update *u);
/* The patch in the request's body applied to `target` (of `type`), decoded; NULL with an error. */
cJSON *update_patched(struct write *w, const struct schema_type *type, const cJSON *target,
                      struct error **err);

/* --- delete.c --- */
void write_delete(struct write *w);
void write_delete_collection(struct write *w);

struct delete_options {
    bool has_grace;
    int64_t grace;
    char *uid, *resource_version; /* preconditions, or NULL */
    char *propagation;            /* or NULL */
    int orphan_dependents;        /* -1: not said */
    bool dry_run;
};
void delete_options_clear(struct delete_options *o);
bool delete_options_from_query(const char *(*get)(void *ctx, const char *name), void *ctx,
                               struct delete_options *out, struct error **err);
/* From a parsed DeleteOptions; NULL json: none. */
bool delete_options_from_json(const cJSON *body, struct delete_options *out, struct error **err);
enum delete_outcome { DELETE_NOW, DELETE_LATER, DELETE_PENDING, DELETE_FAILED };
/* Decides what deleting does to the object, and marks it when it lingers (DELETE_LATER).
 * DELETE_PENDING: it is being deleted already and nothing changes. */
enum delete_outcome delete_decide(const struct resource *r, cJSON *object,
                                  const struct delete_options *o, struct error **err);
enum delete_outcome delete_decide_namespace(cJSON *ns, const struct delete_options *o,
                                            struct error **err);

/* Deletes w->name. Its last state is given in *last (stored form, caller frees), also in a dry run.
 */
bool delete_object(struct write *w, const struct delete_options *o, enum delete_outcome *outcome,
                   cJSON **last, struct error **err);

/* --- certificates.c --- */
/* A CertificateSigningRequest says who asks; others are left alone. */
void csr_requestor(const struct write *w, cJSON *object);

/* --- admission.c: what depends on other objects or on who asks --- */
bool admission_create(struct write *w, cJSON *object, struct error **err);
bool admission_update(struct write *w, cJSON *object, const cJSON *old, struct error **err);
bool admission_delete(struct write *w, const cJSON *old, struct error **err);
/* NodeRestriction for writes of the pod's subresources. */
bool admission_node_pod(struct write *w, const cJSON *pod, struct error **err);
/* pods.c */
bool admission_pod(struct write *w, cJSON *pod, struct error **err);

/* --- services.c: addresses and ports that a Service holds --- */
struct claims {
    struct storage_claim *items;
    int count;
};
void claims_clear(struct claims *c);
bool services_start(const struct api_config *config, struct error **err);
/* Chooses what is missing and collects what must be claimed and released in the same transaction.
 * attempt: 0, 1, ... after ClaimTaken; from the second on the choice is made among what is known to
 * be free. old is NULL on create. */
bool service_allocate(struct storage *storage, cJSON *service, const cJSON *old, int attempt,
                      struct claims *out, struct error **err);
/* After ClaimTaken: the error for an address or port that was asked for by name; NULL when it was
 * our own choice that was taken (try again). asked: the Service before service_allocate. */
bool service_explain_taken(struct storage *storage, const cJSON *asked, const cJSON *old,
                           struct error **err);
/* Stores a new Service together with what it takes. */
struct stored *service_create(struct storage *storage, const cJSON *service, struct error **err);
void service_release(const cJSON *service, struct claims *out);

/* --- subresources --- */
void scale_handle(struct write *w);
/* What an applied Scale says of its object, as a document of the object's kind; caller frees. */
cJSON *scale_applied(const struct write *w, const cJSON *scale);
/* Answers with the scale of s, or of another object when nothing was stored. */
void scale_reply(struct write *w, const struct stored *s, const cJSON *otherwise);
void pod_bind(struct write *w);  /* pods/binding and bindings */
void pod_evict(struct write *w); /* pods/eviction */
void pod_log(struct write *w);   /* pods/log */
bool pod_stream_handles(const char *subresource);
void pod_stream(struct write *w); /* pods/exec, pods/attach, pods/portforward */
void namespace_finalize(struct write *w);

/* --- bootstrap.c --- */
bool bootstrap_start(const struct api_config *config, struct storage *storage, struct error **err);
