#include "apiserver/apply/managed.h"
#include <string.h>
#include "apiserver/apply/typed.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

/* Kubernetes keeps that many writers that are not appliers; the oldest are joined. */
enum { UPDATERS_MAX = 10 };
#define ANCIENT      "ancient-changes"
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"

struct entry {
    char *manager, *operation, *api_version, *subresource, *time;
    struct fieldset *set;
};
struct managers {
    struct entry *items;
    size_t count;
};

/* --- reading and writing --- */

static void entry_clear(struct entry *e)
{
    free(e->manager);
    free(e->operation);
    free(e->api_version);
    free(e->subresource);
    free(e->time);
    fieldset_free(e->set);
}

static void managers_clear(struct managers *m)
{
    for (size_t i = 0; i < m->count; i++)
        entry_clear(&m->items[i]);
    free(m->items);
    *m = (struct managers){0};
}
#define cleanup_managers __attribute__((cleanup(managers_clear)))

static bool is(const struct entry *e, const char *manager, const char *operation,
               const char *api_version, const char *subresource)
{
    return !strcmp(e->manager, manager) && !strcmp(e->operation, operation) &&
           !strcmp(e->api_version, api_version) && !strcmp(e->subresource, subresource);
}

static struct entry *managers_add(struct managers *m, const char *manager, const char *operation,
                                  const char *api_version, const char *subresource,
                                  const char *time)
{
    for (size_t i = 0; i < m->count; i++)
        if (is(&m->items[i], manager, operation, api_version, subresource))
            return &m->items[i];
    m->items = mem_realloc(m->items, (m->count + 1) * sizeof *m->items);
    m->items[m->count] = (struct entry){
        .manager = mem_strdup(manager),
        .operation = mem_strdup(operation),
        .api_version = mem_strdup(api_version),
        .subresource = mem_strdup(subresource),
        .time = mem_strdup(time),
        .set = fieldset_new(),
    };
    return &m->items[m->count++];
}

static void managers_read(struct managers *m, const cJSON *object)
{
    *m = (struct managers){0};
    const cJSON *e;
    cJSON_ArrayForEach(e, json_path(object, "metadata.managedFields"))
    {
        struct fieldset *set = fieldset_from_json(json_get(e, "fieldsV1"));
        if (!set)
            continue;
        struct entry *entry =
            managers_add(m, json_str_or(e, "manager", ""), json_str_or(e, "operation", ""),
                         json_str_or(e, "apiVersion", ""), json_str_or(e, "subresource", ""),
                         json_str_or(e, "time", ""));
        fieldset_add(entry->set, set);
        fieldset_free(set);
    }
}

/* Appliers first, then by time, then by name, as Kubernetes orders them. */
static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = strcmp(x->operation, y->operation);
    if (!order)
        order = strcmp(x->time, y->time);
    if (!order)
        order = strcmp(x->manager, y->manager);
    if (!order)
        order = strcmp(x->api_version, y->api_version);
    return order ? order : strcmp(x->subresource, y->subresource);
}

static void remove_entry(struct managers *m, size_t at)
{
    entry_clear(&m->items[at]);
    m->count--;
    memmove(m->items + at, m->items + at + 1, (m->count - at) * sizeof *m->items);
}

static void cap(struct managers *m)
{
    size_t updaters = 0;
    for (size_t i = 0; i < m->count; i++)
        updaters += !strcmp(m->items[i].operation, "Update");
    while (updaters > UPDATERS_MAX) {
        /* Two become one, so one less. Entries are in the order of time here. */
        size_t first = 0;
        while (strcmp(m->items[first].operation, "Update") != 0)
            first++;
        struct entry *a = &m->items[first], *b = &m->items[first + 1];
        fieldset_add(b->set, a->set);
        free(b->manager);
        b->manager = mem_strdup(ANCIENT);
        free(b->subresource);
        b->subresource = mem_strdup("");
        remove_entry(m, first);
        updaters--;
    }
}

static void managers_write(struct managers *m, cJSON *object)
{
    for (size_t i = m->count; i-- > 0;)
        if (fieldset_empty(m->items[i].set))
            remove_entry(m, i);
    if (!m->count) {
        json_remove(object, "metadata.managedFields");
        return;
    }
    qsort(m->items, m->count, sizeof *m->items, compare_entries);
    cap(m);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < m->count; i++) {
        const struct entry *e = &m->items[i];
        cJSON *out = cJSON_CreateObject();
        json_map_set_str(out, "manager", e->manager);
        json_map_set_str(out, "operation", e->operation);
        json_map_set_str(out, "apiVersion", e->api_version);
        if (*e->time)
            json_map_set_str(out, "time", e->time);
        json_map_set_str(out, "fieldsType", "FieldsV1");
        cJSON_AddItemToObject(out, "fieldsV1", fieldset_to_json(e->set));
        if (*e->subresource)
            json_map_set_str(out, "subresource", e->subresource);
        cJSON_AddItemToArray(list, out);
    }
    json_set(object, "metadata.managedFields", list);
}

/* --- fields that nobody owns --- */

static void strip(struct fieldset *s)
{
    static const char *const identity[] = {"f:name",
                                           "f:namespace",
                                           "f:creationTimestamp",
                                           "f:selfLink",
                                           "f:uid",
                                           "f:generation",
                                           "f:managedFields",
                                           "f:resourceVersion",
                                           "f:deletionTimestamp",
                                           "f:deletionGracePeriodSeconds",
                                           "f:generateName"};
    s->member = false;
    fieldset_drop(s, "f:apiVersion");
    fieldset_drop(s, "f:kind");
    struct fieldset *meta = fieldset_find(s, "f:metadata");
    if (!meta)
        return;
    meta->member = false;
    for (size_t i = 0; i < ARRAY_LEN(identity); i++)
        fieldset_drop(meta, identity[i]);
    if (!meta->count)
        fieldset_drop(s, "f:metadata");
}

/* What the path that was written to leaves alone. */
static void limit(struct fieldset *s, const struct field_manager *who)
{
    strip(s);
    if (!who->has_status)
        return;
    if (strcmp(who->subresource, "status") != 0) {
        fieldset_drop(s, "f:status");
        return;
    }
    for (size_t i = s->count; i-- > 0;)
        if (strcmp(s->children[i]->element, "f:status") != 0)
            fieldset_drop(s, s->children[i]->element);
}

static void set_time(struct entry *e)
{
    char now[TIME_TEXT_MAX];
    free(e->time);
    e->time = mem_strdup(time_format(time_now_seconds(), now));
}

/* --- writes that are no apply --- */

/* "managedFields": [{}] starts anew. */
static bool is_reset(const cJSON *object)
{
    const cJSON *list = json_path(object, "metadata.managedFields");
    return cJSON_GetArraySize(list) == 1 && cJSON_IsObject(list->child) && !list->child->child;
}

static void read_new_or_old(struct managers *m, const cJSON *object, const cJSON *old,
                            const struct field_manager *who)
{
    *m = (struct managers){0};
    if (old && !*who->subresource) {
        if (is_reset(object))
            return;
        managers_read(m, object);
    }
    if (!m->count)
        managers_read(m, old);
}

void managed_update(const struct schema_type *type, cJSON *object, const cJSON *old,
                    const struct field_manager *who)
{
    cleanup_managers struct managers m;
    read_new_or_old(&m, object, old, who);
    cleanup_json cJSON *nothing = old ? NULL : typed_empty(type);
    struct comparison diff;
    typed_compare(type, old ? old : nothing, object, &diff);
    strip(diff.added);
    strip(diff.modified);
    strip(diff.removed);
    if (!fieldset_empty(diff.added) || !fieldset_empty(diff.modified) ||
        !fieldset_empty(diff.removed)) {
        struct fieldset *written = diff.added;
        fieldset_add(written, diff.modified);
        struct entry *own =
            managers_add(&m, who->name, "Update", who->api_version, who->subresource, "");
        cleanup_fieldset struct fieldset *before = fieldset_copy(own->set);
        for (size_t i = 0; i < m.count; i++) {
            fieldset_subtract(m.items[i].set, diff.removed);
            if (&m.items[i] != own)
                fieldset_subtract(m.items[i].set, written);
        }
        fieldset_add(own->set, written);
        if (!*own->time || !fieldset_equal(own->set, before))
            set_time(own);
    }
    managers_write(&m, object);
    comparison_clear(&diff);
}

/* --- apply --- */

struct conflicts {
    cJSON *causes;
    struct buf text; /* "conflicts with ..:\n- path" */
    const struct entry *owner;
    int count;
    char *first;
    bool owner_said;
};

static char *describe(const struct entry *e)
{
    if (strcmp(e->operation, "Update") != 0)
        return mem_printf("\"%s\"", e->manager);
    return *e->subresource ? mem_printf("\"%s\" with subresource \"%s\" using %s", e->manager,
                                        e->subresource, e->api_version)
                           : mem_printf("\"%s\" using %s", e->manager, e->api_version);
}

static void add_conflict(void *ctx, const char *path)
{
    struct conflicts *c = ctx;
    cleanup_free char *owner = describe(c->owner);
    cJSON *cause = cJSON_CreateObject();
    cleanup_free char *message = mem_printf("conflict with %s", owner);
    json_map_set_str(cause, "reason", "FieldManagerConflict");
    json_map_set_str(cause, "message", message);
    json_map_set_str(cause, "field", path);
    cJSON_AddItemToArray(c->causes, cause);
    if (!c->count++)
        c->first = mem_printf("conflict with %s: %s", owner, path);
    if (!c->owner_said)
        buf_printf(&c->text, "%sconflicts with %s:", c->text.len ? "\n" : "", owner);
    c->owner_said = true;
    buf_printf(&c->text, "\n- %s", path);
}

/* allowed: fields that may be taken from others also without force, or NULL. */
static bool no_conflict(struct managers *m, const struct entry *own, const struct fieldset *written,
                        const struct fieldset *allowed, bool force, struct error **err)
{
    struct conflicts c = {.causes = cJSON_CreateArray()};
    for (size_t i = 0; i < m->count; i++) {
        if (&m->items[i] == own)
            continue;
        cleanup_fieldset struct fieldset *taken = fieldset_intersection(m->items[i].set, written);
        cleanup_fieldset struct fieldset *given = fieldset_copy(taken);
        if (!force)
            fieldset_subtract(taken, allowed);
        if (force || fieldset_empty(taken)) {
            fieldset_subtract(m->items[i].set, given);
            continue;
        }
        c.owner = &m->items[i];
        c.owner_said = false;
        fieldset_visit(taken, add_conflict, &c);
    }
    if (c.count) {
        if (c.count == 1)
            error_set(err, 409, "Conflict", "Apply failed with 1 conflict: %s", c.first);
        else
            error_set(err, 409, "Conflict", "Apply failed with %d conflicts: %s", c.count,
                      buf_str(&c.text));
        if (err && *err) {
            cleanup_json cJSON *details = cJSON_CreateObject();
            cJSON_AddItemToObject(details, "causes", c.causes);
            c.causes = NULL;
            (*err)->details = json_text(details);
        }
    }
    cJSON_Delete(c.causes);
    buf_free(&c.text);
    free(c.first);
    return c.count == 0;
}

/* What this manager applied earlier, says no more, and nobody else owns. */
static void prune(const struct schema_type *type, cJSON *merged, const struct managers *m,
                  const struct fieldset *earlier)
{
    cleanup_fieldset struct fieldset *gone = fieldset_copy(earlier), *owned = fieldset_new();
    fieldset_close_upwards(gone);
    for (size_t i = 0; i < m->count; i++)
        fieldset_add(owned, m->items[i].set);
    fieldset_close_upwards(owned);
    fieldset_subtract(gone, owned);
    /* An object's own parts stay, if empty. */
    gone->member = false;
    struct fieldset *meta = fieldset_find(gone, "f:metadata"),
                    *spec = fieldset_find(gone, "f:spec");
    if (meta)
        meta->member = false;
    if (spec)
        spec->member = false;
    typed_remove(type, merged, gone);
}

/* kubectl on its way from client-side to server-side apply: what it applied itself, and nobody
 * changed since, it may change though the client-side manager owns it. NULL when there is nothing
 * of the kind. */
static struct fieldset *last_applied_fields(const struct schema_type *type, const cJSON *live,
                                            const struct field_manager *who)
{
    const char *text = json_map_str(json_path(live, "metadata.annotations"), LAST_APPLIED);
    if (!text || strcmp(who->name, "kubectl") != 0)
        return NULL;
    cleanup_json cJSON *last = json_parse(text, strlen(text), NULL);
    if (!cJSON_IsObject(last))
        return NULL;
    struct fieldset *fields = typed_fields(type, last);
    struct comparison diff;
    typed_compare(type, last, live, &diff);
    fieldset_subtract(fields, diff.modified);
    fieldset_subtract(fields, diff.removed);
    comparison_clear(&diff);
    strip(fields);
    return fields;
}

/* Clients that still apply on their own side must see what was applied last. */
static void keep_last_applied(cJSON *merged, const cJSON *applied, const struct field_manager *who)
{
    cJSON *annotations = json_path(merged, "metadata.annotations");
    if (!json_map_str(annotations, LAST_APPLIED) || strcmp(who->name, "kubectl") != 0)
        return;
    cleanup_json cJSON *said = json_dup(applied);
    cJSON *own = json_path(said, "metadata.annotations");
    if (own)
        cJSON_DeleteItemFromObjectCaseSensitive(own, LAST_APPLIED);
    cleanup_free char *text = json_text(said);
    cleanup_free char *line = mem_printf("%s\n", text);
    json_map_set_str(annotations, LAST_APPLIED, line);
}

cJSON *managed_apply(const struct schema_type *type, const cJSON *live, const cJSON *applied,
                     const struct field_manager *who, bool force, struct error **err)
{
    if (json_path(applied, "metadata.managedFields")) {
        error_set(err, 400, "BadRequest", "metadata.managedFields must be nil");
        return NULL;
    }
    cleanup_managers struct managers m;
    managers_read(&m, live);
    cleanup_json cJSON *nothing = live ? NULL : cJSON_CreateObject();
    const cJSON *base = live ? live : nothing;

    cleanup_fieldset struct fieldset *said = typed_fields(type, applied);
    limit(said, who);
    struct entry *own =
        managers_add(&m, who->name, "Apply", who->api_version, who->subresource, "");
    cleanup_fieldset struct fieldset *earlier = own->set;
    own->set = fieldset_copy(said);

    cJSON *merged = typed_merge(type, base, applied);
    prune(type, merged, &m, earlier);
    struct comparison diff;
    typed_compare(type, base, merged, &diff);
    fieldset_add(diff.added, diff.modified);
    strip(diff.added);
    cleanup_fieldset struct fieldset *allowed = last_applied_fields(type, live, who);
    bool ok = no_conflict(&m, own, diff.added, allowed, force, err);
    for (size_t i = 0; i < m.count; i++)
        if (&m.items[i] != own)
            fieldset_subtract(m.items[i].set, diff.removed);
    comparison_clear(&diff);
    if (!ok) {
        cJSON_Delete(merged);
        return NULL;
    }
    if (!*own->time || !fieldset_equal(own->set, earlier))
        set_time(own);
    keep_last_applied(merged, applied, who);
    managers_write(&m, merged);
    return merged;
}
