/* Paths and operations of the served resources. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/crd/custom.h"
#include "apiserver/openapi/document.h"
#include "apiserver/openapi/groups.h"
#include "common/mem.h"

enum body { BODY_NONE, BODY_OBJECT, BODY_DELETE_OPTIONS, BODY_PATCH };
enum answer { ANSWER_OBJECT, ANSWER_LIST, ANSWER_STATUS, ANSWER_TEXT };

struct parameter {
    const char *name, *type, *description;
};
static const struct parameter
    dry_run = {"dryRun", "string", "\"All\": all stages are processed, nothing is stored."},
    field_manager = {"fieldManager", "string", "Name of the actor that makes the change."},
    field_validation = {"fieldValidation", "string",
                        "What to do about unknown or duplicate fields: Ignore, Warn (default) or Strict."},
    force = {"force", "boolean", "Apply: take over fields that others manage."};
static const struct parameter *const of_create[] = {&dry_run, &field_manager, &field_validation, NULL};
static const struct parameter *const of_patch[] = {&dry_run, &field_manager, &field_validation, &force, NULL};
static const struct parameter list_parameters[] = {
    {"allowWatchBookmarks", "boolean", "Watch: bookmarks are welcome."},
    {"continue", "string", "Token of the previous page."},
    {"fieldSelector", "string", "Restricts the list by fields."},
    {"labelSelector", "string", "Restricts the list by labels."},
    {"limit", "integer", "Most objects of one page."},
    {"resourceVersion", "string", "How fresh the answer must be."},
    {"resourceVersionMatch", "string", "How resourceVersion is meant."},
    {"sendInitialEvents", "boolean", "Watch: begin with the state."},
    {"timeoutSeconds", "integer", "End of the call."},
    {"watch", "boolean", "Watch for changes."},
};
static const struct parameter delete_parameters[] = {
    {"dryRun", "string", "\"All\": all stages are processed, nothing is stored."},
    {"gracePeriodSeconds", "integer", "Seconds before the object is deleted."},
    {"ignoreStoreReadErrorWithClusterBreakingPotential", "boolean",
     "Delete an object that can not be read any more."},
    {"orphanDependents", "boolean", "Deprecated: use propagationPolicy."},
    {"propagationPolicy", "string", "Orphan, Background or Foreground."},
};
static const struct parameter log_parameters[] = {
    {"container", "string", "Container whose log is read."},
    {"follow", "boolean", "Go on with what is written later."},
    {"insecureSkipTLSVerifyBackend", "boolean", "Do not verify the kubelet's certificate."},
    {"limitBytes", "integer", "Most bytes."},
    {"previous", "boolean", "Log of the container before its restart."},
    {"sinceSeconds", "integer", "Only what is younger."},
    {"stream", "string", "All, Stdout or Stderr."},
    {"tailLines", "integer", "Lines from the end."},
    {"timestamps", "boolean", "Put the time before each line."},
};

struct operation {
    const char *method, *action, *id_verb; /* "post", "post", "create" */
    const struct resource *r;
    const struct subresource *sub;
    const char *group, *version, *kind; /* x-kubernetes-group-version-kind */
    enum body body;
    enum answer answer;
    bool all_namespaces, collection, created;
    const struct parameter *const *parameters; /* ended by NULL, or NULL */
    const struct parameter *more;
    size_t more_count, extra_count; /* of `more`; list_parameters of deletecollection */
};

static void add_parameter(struct document *d, const struct parameter *p, const char *in)
{
    struct json_writer *w = &d->w;
    json_begin(w, '{');
    json_member(w, "name", p->name);
    json_member(w, "in", in);
    json_member(w, "description", p->description);
    if (!strcmp(in, "path")) {
        json_key(w, "required");
        json_bare(w, "true");
    }
    if (d->v2) {
        json_member(w, "type", p->type);
        json_key(w, "uniqueItems");
        json_bare(w, "true");
    } else {
        json_key(w, "schema");
        json_begin(w, '{');
        json_member(w, "type", p->type);
        json_key(w, "uniqueItems");
        json_bare(w, "true");
        json_end(w, '}');
    }
    json_end(w, '}');
}

/* "core" -> "Core", "rbac.authorization.k8s.io" -> "RbacAuthorization". */
static void add_title(struct buf *b, const char *group)
{
    const char *end = strstr(group, ".k8s.io");
    if (!*group)
        group = "core";
    bool upper = true;
    for (const char *c = group; *c && c != end; c++) {
        if (*c == '.' || *c == '-') {
            upper = true;
            continue;
        }
        buf_addc(b, upper ? (char)toupper((unsigned char)*c) : *c);
        upper = false;
    }
}

/* "createCoreV1NamespacedPod", "readAppsV1NamespacedDeploymentScale", "listCoreV1PodForAllNamespaces". */
static void add_operation_id(struct document *d, const struct operation *op)
{
    cleanup_buf struct buf b = {0};
    buf_adds(&b, op->id_verb);
    add_title(&b, op->r->group);
    for (const char *c = op->r->version; *c; c++)
        buf_addc(&b, c == op->r->version ? (char)toupper((unsigned char)*c) : *c);
    if (op->collection)
        buf_adds(&b, "Collection");
    if (op->r->namespaced && !op->all_namespaces)
        buf_adds(&b, "Namespaced");
    buf_adds(&b, op->r->kind);
    if (op->sub) {
        buf_addc(&b, (char)toupper((unsigned char)op->sub->name[0]));
        buf_adds(&b, op->sub->name + 1);
    }
    if (op->all_namespaces)
        buf_adds(&b, "ForAllNamespaces");
    json_member(&d->w, "operationId", buf_str(&b));
}

static void add_body_schema(struct document *d, const struct operation *op)
{
    const struct schema_type *t =
        op->body == BODY_DELETE_OPTIONS ? schema_find("meta.k8s.io", "v1", "DeleteOptions")
        : op->sub && op->sub->kind      ? schema_find(op->sub->group, op->sub->version, op->sub->kind)
                                        : op->r->type;
    if (op->body == BODY_PATCH || !t)
        document_add_special_ref(d, SPECIAL_PATCH);
    else
        document_add_ref(d, t);
}

/* Custom resources know no strategic merge patch. */
static const char *const patch_types[] = {"application/json-patch+json", "application/merge-patch+json",
                                          "application/apply-patch+yaml",
                                          "application/strategic-merge-patch+json"};

static size_t patch_type_count(const struct operation *op)
{
    return ARRAY_LEN(patch_types) - (op->r->type && op->r->type->flags & SCHEMA_IS_CUSTOM);
}

static void add_request_body(struct document *d, const struct operation *op)
{
    struct json_writer *w = &d->w;
    static const char *const any[] = {"*/*"};
    const char *const *types = op->body == BODY_PATCH ? patch_types : any;
    json_key(w, "requestBody");
    json_begin(w, '{');
    json_key(w, "content");
    json_begin(w, '{');
    for (size_t i = 0; i < (op->body == BODY_PATCH ? patch_type_count(op) : 1); i++) {
        json_key(w, types[i]);
        json_begin(w, '{');
        json_key(w, "schema");
        add_body_schema(d, op);
        json_end(w, '}');
    }
    json_end(w, '}');
    if (op->body != BODY_DELETE_OPTIONS) {
        json_key(w, "required");
        json_bare(w, "true");
    }
    json_end(w, '}');
}

static void add_answer_schema(struct document *d, const struct operation *op)
{
    const struct schema_type *t = op->r->type;
    cleanup_free char *list = mem_printf("%sList", op->r->kind);
    if (op->answer == ANSWER_LIST && t && t->flags & SCHEMA_IS_CUSTOM)
        t = custom_list_type(t);
    else if (op->answer == ANSWER_LIST)
        t = schema_find(op->r->group, op->r->version, list);
    else if (op->answer == ANSWER_STATUS)
        t = schema_find("meta.k8s.io", "v1", "Status");
    else if (op->sub && op->sub->kind)
        t = schema_find(op->sub->group, op->sub->version, op->sub->kind);
    if (op->answer == ANSWER_TEXT)
        json_bare(&d->w, "{\"type\":\"string\"}");
    else if (t)
        document_add_ref(d, t);
    else
        json_bare(&d->w, "{\"type\":\"object\"}");
}

static void add_response(struct document *d, const struct operation *op, const char *code,
                         const char *description)
{
    struct json_writer *w = &d->w;
    json_key(w, code);
    json_begin(w, '{');
    json_member(w, "description", description);
    if (code[0] == '2') {
        if (d->v2) {
            json_key(w, "schema");
            add_answer_schema(d, op);
        } else {
            json_key(w, "content");
            json_begin(w, '{');
            json_key(w, op->answer == ANSWER_TEXT ? "text/plain" : "application/json");
            json_begin(w, '{');
            json_key(w, "schema");
            add_answer_schema(d, op);
            json_end(w, '}');
            json_end(w, '}');
        }
    }
    json_end(w, '}');
}

static void add_operation(struct document *d, const struct operation *op)
{
    struct json_writer *w = &d->w;
    json_key(w, op->method);
    json_begin(w, '{');
    cleanup_buf struct buf tag = {0};
    add_title(&tag, op->r->group);
    tag.data[0] = (char)tolower((unsigned char)tag.data[0]);
    buf_printf(&tag, "_%s", op->r->version);
    json_key(w, "tags");
    json_begin(w, '[');
    json_string(w, buf_str(&tag));
    json_end(w, ']');
    cleanup_free char *description =
        mem_printf("%s %s%s%s", op->id_verb, op->r->kind, op->sub ? " " : "", op->sub ? op->sub->name : "");
    json_member(w, "description", description);
    add_operation_id(d, op);
    if (d->v2) {
        json_key(w, "consumes");
        json_begin(w, '[');
        if (op->body == BODY_PATCH)
            for (size_t i = 0; i < patch_type_count(op); i++)
                json_string(w, patch_types[i]);
        else
            json_string(w, "*/*");
        json_end(w, ']');
        json_key(w, "produces");
        json_begin(w, '[');
        json_string(w, op->answer == ANSWER_TEXT ? "text/plain" : "application/json");
        json_end(w, ']');
    }
    if (op->parameters || op->more_count || op->extra_count || (d->v2 && op->body)) {
        json_key(w, "parameters");
        json_begin(w, '[');
        if (d->v2 && op->body) {
            json_begin(w, '{');
            json_member(w, "name", "body");
            json_member(w, "in", "body");
            if (op->body != BODY_DELETE_OPTIONS) {
                json_key(w, "required");
                json_bare(w, "true");
            }
            json_key(w, "schema");
            add_body_schema(d, op);
            json_end(w, '}');
        }
        for (const struct parameter *const *p = op->parameters; p && *p; p++)
            add_parameter(d, *p, "query");
        for (size_t i = 0; i < op->more_count; i++)
            add_parameter(d, &op->more[i], "query");
        for (size_t i = 0; i < op->extra_count; i++)
            if (strcmp(list_parameters[i].name, "watch") != 0 &&
                strcmp(list_parameters[i].name, "allowWatchBookmarks") != 0)
                add_parameter(d, &list_parameters[i], "query");
        json_end(w, ']');
    }
    if (!d->v2 && op->body)
        add_request_body(d, op);
    json_key(w, "responses");
    json_begin(w, '{');
    add_response(d, op, "200", "OK");
    if (op->created)
        add_response(d, op, "201", "Created");
    if (op->body == BODY_DELETE_OPTIONS && !op->collection)
        add_response(d, op, "202", "Accepted");
    add_response(d, op, "401", "Unauthorized");
    json_end(w, '}');
    json_member(w, "x-kubernetes-action", op->action);
    json_key(w, "x-kubernetes-group-version-kind");
    document_add_gvk(d, op->group, op->version, op->kind);
    json_end(w, '}');
}

static void open_path(struct document *d, const struct resource *r, bool ns, bool name, const char *sub)
{
    cleanup_free char *gv = group_version_text(r->group, r->version);
    cleanup_free char *path =
        mem_printf("/%s/%s/%s%s%s%s%s", *r->group ? "apis" : "api", gv, ns ? "namespaces/{namespace}/" : "",
                   r->plural, name ? "/{name}" : "", sub ? "/" : "", sub ? sub : "");
    json_key(&d->w, path);
    json_begin(&d->w, '{');
}

static void close_path(struct document *d, bool ns, bool name)
{
    static const struct parameter namespace_parameter = {"namespace", "string", "Namespace of the object."},
                                  name_parameter = {"name", "string", "Name of the object."},
                                  pretty = {"pretty", "string", "\"true\": print with line breaks."};
    json_key(&d->w, "parameters");
    json_begin(&d->w, '[');
    if (name)
        add_parameter(d, &name_parameter, "path");
    if (ns)
        add_parameter(d, &namespace_parameter, "path");
    add_parameter(d, &pretty, "query");
    json_end(&d->w, ']');
    json_end(&d->w, '}');
}

static void add_collection(struct document *d, const struct resource *r)
{
    const struct operation base = {.r = r, .group = r->group, .version = r->version, .kind = r->kind};
    if (!(r->verbs & (VERB_LIST | VERB_CREATE | VERB_DELETECOLLECTION)))
        return;
    open_path(d, r, r->namespaced, false, NULL);
    if (r->verbs & VERB_LIST) {
        struct operation op = base;
        op.method = "get", op.action = op.id_verb = "list", op.answer = ANSWER_LIST;
        op.more = list_parameters, op.more_count = ARRAY_LEN(list_parameters);
        add_operation(d, &op);
    }
    if (r->verbs & VERB_CREATE) {
        struct operation op = base;
        op.method = op.action = "post", op.id_verb = "create", op.body = BODY_OBJECT, op.created = true,
        op.parameters = of_create;
        add_operation(d, &op);
    }
    if (r->verbs & VERB_DELETECOLLECTION) {
        struct operation op = base;
        op.method = op.id_verb = "delete", op.action = "deletecollection", op.answer = ANSWER_STATUS,
        op.body = BODY_DELETE_OPTIONS;
        op.collection = true, op.more = delete_parameters, op.more_count = ARRAY_LEN(delete_parameters);
        op.extra_count = ARRAY_LEN(list_parameters);
        add_operation(d, &op);
    }
    close_path(d, r->namespaced, false);
    if (!r->namespaced || !(r->verbs & VERB_LIST))
        return;
    open_path(d, r, false, false, NULL);
    struct operation op = base;
    op.method = "get", op.action = op.id_verb = "list", op.answer = ANSWER_LIST, op.all_namespaces = true;
    op.more = list_parameters, op.more_count = ARRAY_LEN(list_parameters);
    add_operation(d, &op);
    close_path(d, false, false);
}

/* get, put, patch (and post, delete) of one object or of one of its subresources. */
static void add_item(struct document *d, const struct resource *r, const struct subresource *s)
{
    unsigned verbs = s ? s->verbs : r->verbs & ~(unsigned)VERB_CREATE;
    struct operation base = {.r = r, .sub = s, .group = r->group, .version = r->version, .kind = r->kind};
    if (s)
        subresource_kind(r, s, &base.group, &base.version, &base.kind);
    if (!(verbs & (VERB_GET | VERB_UPDATE | VERB_PATCH | VERB_DELETE | VERB_CREATE)))
        return;
    open_path(d, r, r->namespaced, true, s ? s->name : NULL);
    bool stream = s && s->kind && strstr(s->kind, "Options"); /* exec and its like: no objects */
    if (verbs & VERB_GET) {
        struct operation op = base;
        op.method = op.action = "get", op.id_verb = stream ? "connect" : "read";
        if (stream)
            op.answer = ANSWER_TEXT, op.action = "connect";
        if (s && !strcmp(s->name, "log")) {
            op.answer = ANSWER_TEXT;
            op.more = log_parameters, op.more_count = ARRAY_LEN(log_parameters);
        }
        add_operation(d, &op);
    }
    if (verbs & VERB_UPDATE) {
        struct operation op = base;
        op.method = op.action = "put", op.id_verb = "replace", op.body = BODY_OBJECT, op.created = true,
        op.parameters = of_create;
        add_operation(d, &op);
    }
    if (verbs & VERB_CREATE) {
        struct operation op = base;
        op.method = op.action = "post", op.id_verb = "create", op.body = BODY_OBJECT, op.created = true,
        op.parameters = of_create;
        if (stream) {
            op = base;
            op.method = "post", op.action = op.id_verb = "connect", op.answer = ANSWER_TEXT;
        }
        add_operation(d, &op);
    }
    if (verbs & VERB_DELETE) {
        struct operation op = base;
        op.method = op.action = op.id_verb = "delete", op.body = BODY_DELETE_OPTIONS;
        op.answer = r->graceful_delete ? ANSWER_OBJECT : ANSWER_STATUS;
        op.more = delete_parameters, op.more_count = ARRAY_LEN(delete_parameters);
        add_operation(d, &op);
    }
    if (verbs & VERB_PATCH) {
        struct operation op = base;
        op.method = op.action = op.id_verb = "patch", op.body = BODY_PATCH, op.created = true,
        op.parameters = of_patch;
        add_operation(d, &op);
    }
    close_path(d, r->namespaced, true);
}

void document_add_paths(struct document *d, const char *group, const char *version)
{
    size_t n;
    cleanup_free const struct resource **resources = group_version_resources(group, version, &n);
    for (size_t i = 0; i < n; i++) {
        add_collection(d, resources[i]);
        add_item(d, resources[i], NULL);
        for (const struct subresource *s = resources[i]->subresources; s && s->name; s++)
            add_item(d, resources[i], s);
    }
}
