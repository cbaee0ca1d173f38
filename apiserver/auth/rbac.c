/* The index: bindings by subject, roles by name. Objects are parsed when they change, never when
 * somebody asks. */
#include "apiserver/auth/rbac.h"
#include <pthread.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

/* --- a hash map of strings; values are the user's --- */

struct node {
    struct node *next;
    uint32_t hash;
    void *value;
    char key[];
};
struct map {
    struct node **buckets;
    size_t bucket_count, count;
};

static uint32_t hash_of(const char *s)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static void map_grow(struct map *m)
{
    size_t n = m->bucket_count ? m->bucket_count * 2 : 64;
    struct node **buckets = mem_alloc(n * sizeof *buckets);
    for (size_t i = 0; i < m->bucket_count; i++)
        for (struct node *e = m->buckets[i], *next; e; e = next) {
            next = e->next;
            e->next = buckets[e->hash % n];
            buckets[e->hash % n] = e;
        }
    free(m->buckets);
    m->buckets = buckets;
    m->bucket_count = n;
}

static struct node **map_at(const struct map *m, const char *key, uint32_t hash)
{
    if (!m->bucket_count)
        return NULL;
    struct node **e = &m->buckets[hash % m->bucket_count];
    while (*e && ((*e)->hash != hash || strcmp((*e)->key, key) != 0))
        e = &(*e)->next;
    return *e ? e : NULL;
}

static void *map_get(const struct map *m, const char *key)
{
    struct node **e = map_at(m, key, hash_of(key));
    return e ? (*e)->value : NULL;
}

static void map_add(struct map *m, const char *key, void *value)
{
    if (m->count >= m->bucket_count)
        map_grow(m);
    size_t len = strlen(key);
    struct node *e = mem_alloc(sizeof *e + len + 1);
    e->hash = hash_of(key);
    e->value = value;
    memcpy(e->key, key, len + 1);
    e->next = m->buckets[e->hash % m->bucket_count];
    m->buckets[e->hash % m->bucket_count] = e;
    m->count++;
}

/* The value that was there. */
static void *map_remove(struct map *m, const char *key)
{
    struct node **at = map_at(m, key, hash_of(key));
    if (!at)
        return NULL;
    struct node *e = *at;
    void *value = e->value;
    *at = e->next;
    free(e);
    m->count--;
    return value;
}

static void map_clear(struct map *m, void (*free_value)(void *))
{
    for (size_t i = 0; i < m->bucket_count; i++)
        for (struct node *e = m->buckets[i], *next; e; e = next) {
            next = e->next;
            free_value(e->value);
            free(e);
        }
    free(m->buckets);
    *m = (struct map){0};
}

/* --- roles and bindings --- */

struct role {
    struct rbac_rule *rules;
    size_t count;
};
struct binding {
    char *ns;        /* "": everywhere */
    char *role;      /* key of a role */
    char **subjects; /* "u:jane", "g:devs"; NULL-terminated */
};
/* The bindings of one subject. */
struct subject {
    struct binding **bindings;
    size_t count;
};
struct index {
    struct map roles;    /* "<ns>/<name>", "/<name>" for ClusterRoles */
    struct map bindings; /* likewise */
    struct map subjects;
};

/* One per process; the lock guards both. */
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct index live, fresh;
static bool rebuilding; /* of the thread that feeds the index */

static char *key_of(const char *ns, const char *name)
{
    return mem_printf("%s/%s", ns, name);
}

static void role_free(void *p)
{
    struct role *r = p;
    if (!r)
        return;
    rbac_rules_free(r->rules, r->count);
    free(r);
}

static void binding_free(void *p)
{
    struct binding *b = p;
    for (char **s = b->subjects; *s; s++)
        free(*s);
    free(b->subjects);
    free(b->ns);
    free(b->role);
    free(b);
}

static void subject_free(void *p)
{
    struct subject *s = p;
    free(s->bindings);
    free(s);
}

static void index_clear(struct index *x)
{
    map_clear(&x->subjects, subject_free);
    map_clear(&x->bindings, binding_free);
    map_clear(&x->roles, role_free);
}

static void subject_add(struct index *x, const char *who, struct binding *b)
{
    struct subject *s = map_get(&x->subjects, who);
    if (!s) {
        s = mem_alloc(sizeof *s);
        map_add(&x->subjects, who, s);
    }
    s->bindings = mem_realloc(s->bindings, (s->count + 1) * sizeof(void *));
    s->bindings[s->count++] = b;
}

static void subject_remove(struct index *x, const char *who, const struct binding *b)
{
    struct subject *s = map_get(&x->subjects, who);
    size_t kept = 0;
    for (size_t i = 0; s && i < s->count; i++)
        if (s->bindings[i] != b)
            s->bindings[kept++] = s->bindings[i];
    if (!s)
        return;
    s->count = kept;
    if (!kept)
        subject_free(map_remove(&x->subjects, who));
}

static char *subject_text(const cJSON *s)
{
    const char *kind = json_str_or(s, "kind", ""), *name = json_str_or(s, "name", "");
    if (!*name)
        return NULL;
    if (!strcmp(kind, "User"))
        return mem_printf("u:%s", name);
    if (!strcmp(kind, "Group"))
        return mem_printf("g:%s", name);
    const char *ns = json_str_or(s, "namespace", "");
    if (!strcmp(kind, "ServiceAccount") && *ns)
        return mem_printf("u:" SA_USER_PREFIX "%s:%s", ns, name);
    return NULL;
}

static struct binding *binding_of(const cJSON *object, const char *ns)
{
    const char *name = json_str_or(object, "roleRef.name", "");
    bool cluster = !strcmp(json_str_or(object, "roleRef.kind", ""), "ClusterRole");
    const cJSON *subjects = json_get(object, "subjects"), *s;
    struct binding *b = mem_alloc(sizeof *b);
    b->ns = mem_strdup(ns);
    b->role = key_of(cluster ? "" : ns, name);
    size_t n = 0;
    b->subjects = mem_alloc(sizeof *b->subjects * ((size_t)cJSON_GetArraySize(subjects) + 1));
    cJSON_ArrayForEach(s, subjects)
    {
        char *text = subject_text(s);
        if (text)
            b->subjects[n++] = text;
    }
    return b;
}

static bool is_binding(const char *kind)
{
    return !strcmp(kind, "RoleBinding") || !strcmp(kind, "ClusterRoleBinding");
}

static void index_remove(struct index *x, const char *kind, const char *key)
{
    if (!is_binding(kind)) {
        role_free(map_remove(&x->roles, key));
        return;
    }
    struct binding *b = map_remove(&x->bindings, key);
    if (!b)
        return;
    for (char **s = b->subjects; *s; s++)
        subject_remove(x, *s, b);
    binding_free(b);
}

void rbac_put(const char *kind, const cJSON *object)
{
    bool cluster = !strncmp(kind, "Cluster", 7);
    const char *ns = cluster ? "" : json_str_or(object, "metadata.namespace", "");
    cleanup_free char *key = key_of(ns, json_str_or(object, "metadata.name", ""));
    struct binding *b = NULL;
    struct role *r = NULL;
    if (is_binding(kind)) {
        b = binding_of(object, ns);
    } else {
        r = mem_alloc(sizeof *r);
        r->rules = rbac_rules_parse(json_get(object, "rules"), &r->count);
    }
    struct index *x = rebuilding ? &fresh : &live;
    if (!rebuilding)
        pthread_rwlock_wrlock(&lock);
    index_remove(x, kind, key);
    if (b) {
        map_add(&x->bindings, key, b);
        for (char **s = b->subjects; *s; s++)
            subject_add(x, *s, b);
    } else {
        map_add(&x->roles, key, r);
    }
    if (!rebuilding)
        pthread_rwlock_unlock(&lock);
}

void rbac_remove(const char *kind, const char *ns, const char *name)
{
    cleanup_free char *key = key_of(ns, name);
    pthread_rwlock_wrlock(&lock);
    index_remove(&live, kind, key);
    pthread_rwlock_unlock(&lock);
}

void rbac_rebuild_begin(void)
{
    rebuilding = true;
}

void rbac_rebuild_end(void)
{
    pthread_rwlock_wrlock(&lock);
    struct index old = live;
    live = fresh;
    pthread_rwlock_unlock(&lock);
    fresh = (struct index){0};
    rebuilding = false;
    index_clear(&old);
}

static void put_object(void *ctx, cJSON *object_taken)
{
    (void)ctx;
    rbac_put(json_str(object_taken, "kind"), object_taken);
    cJSON_Delete(object_taken);
}

void rbac_start(void)
{
    rbac_rebuild_begin();
    rbac_policy_objects(put_object, NULL);
    rbac_rebuild_end();
}

/* --- questions --- */

/* Calls visit until it returns true. */
static bool visit_subject(const char *prefix, const char *name, const char *ns,
                          bool (*visit)(void *ctx, const struct rbac_rule *rule), void *ctx)
{
    char small[256];
    cleanup_free char *large = NULL;
    const char *key = small;
    if (snprintf(small, sizeof small, "%s%s", prefix, name) >= (int)sizeof small)
        key = large = mem_printf("%s%s", prefix, name);
    const struct subject *s = map_get(&live.subjects, key);
    for (size_t i = 0; s && i < s->count; i++) {
        const struct binding *b = s->bindings[i];
        if (*b->ns && strcmp(b->ns, ns) != 0)
            continue;
        const struct role *r = map_get(&live.roles, b->role);
        for (size_t k = 0; r && k < r->count; k++)
            if (visit(ctx, &r->rules[k]))
                return true;
    }
    return false;
}

static bool visit_user(const struct api_user *u, const char *ns,
                       bool (*visit)(void *ctx, const struct rbac_rule *rule), void *ctx)
{
    pthread_rwlock_rdlock(&lock);
    bool found = u->name && visit_subject("u:", u->name, ns, visit, ctx);
    for (char **g = u->groups; !found && g && *g; g++)
        found = visit_subject("g:", *g, ns, visit, ctx);
    pthread_rwlock_unlock(&lock);
    return found;
}

struct all {
    void (*visit)(void *ctx, const struct rbac_rule *rule);
    void *ctx;
};

static bool visit_each(void *ctx, const struct rbac_rule *rule)
{
    const struct all *all = ctx;
    all->visit(all->ctx, rule);
    return false;
}

void rbac_visit_rules(const struct api_user *u, const char *ns,
                      void (*visit)(void *ctx, const struct rbac_rule *rule), void *ctx)
{
    visit_user(u, ns, visit_each, &(struct all){visit, ctx});
}

static bool allows(void *ctx, const struct rbac_rule *rule)
{
    return rbac_rule_allows(rule, ctx);
}

bool rbac_allowed(const struct auth_attributes *a)
{
    return visit_user(a->user, a->is_resource ? a->ns : "", allows, (void *)a);
}
