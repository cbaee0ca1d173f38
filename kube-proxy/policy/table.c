#include "kube-proxy/policy/table.h"
#include <netinet/in.h>
#include <string.h>
#include "common/mem.h"
#include "kube-proxy/hash.h"
#include "kube-proxy/policy/elements.h"
#include "kube-proxy/policy/rules_text.h"

/* A policy, and what of it is in the kernel. */
struct entry {
    struct policy *policy; /* NULL: removed, but perhaps not yet from the kernel */
    size_t local;          /* how many pods of this node it selects */
    bool changed, programmed;
    bool chains[POLICY_DIRECTIONS]; /* there */
    struct element_list sets;       /* there; their names */
    struct hash members;  /* pod key -> struct element_list: the pod's elements in these sets */
    struct hash elements; /* element -> how many pods have it, as a pointer */
};

/* The chain that pods under the same policies share. */
struct combination {
    char *chain, *members; /* "ingress-7"; keys of policies, each ended by \n */
    enum policy_direction direction;
    size_t refs;
    bool programmed;
};

struct pod_entry {
    struct policy_pod *pod;        /* NULL: gone */
    struct element_list selected;  /* keys of the policies that select it, if it is local */
    struct element_list isolation; /* its elements in the maps */
    struct combination *combinations[POLICY_DIRECTIONS];
    bool waiting; /* another pod has one of its addresses */
};

struct policies {
    struct hash policies;     /* key -> struct entry */
    struct hash pods;         /* key -> struct pod_entry */
    struct hash namespaces;   /* name -> labels */
    struct hash combinations; /* name of the direction and keys of policies -> struct combination */
    struct hash owners;       /* address of a local pod -> its struct pod_entry */
    struct hash dirty;        /* keys of pods to look at */
    unsigned last_number;     /* of a combination's chain */
    struct element_commands removed, added;
};

struct policies *policies_new(void)
{
    return mem_alloc(sizeof(struct policies));
}

static void free_list(void *list)
{
    element_list_clear(list);
    free(list);
}

static void entry_forget_kernel(struct entry *e)
{
    e->programmed = e->chains[0] = e->chains[1] = false;
    element_list_clear(&e->sets);
    hash_clear(&e->members, free_list);
    hash_clear(&e->elements, NULL);
}

static void free_entry(void *p)
{
    struct entry *e = p;
    entry_forget_kernel(e);
    policy_free(e->policy);
    free(e);
}

static void free_pod(void *p)
{
    struct pod_entry *pod = p;
    policy_pod_free(pod->pod);
    element_list_clear(&pod->selected);
    element_list_clear(&pod->isolation);
    free(pod);
}

static void free_combination(void *p)
{
    struct combination *c = p;
    free(c->chain);
    free(c->members);
    free(c);
}

static void free_labels(void *p)
{
    cJSON_Delete(p);
}

void policies_free(struct policies *p)
{
    hash_clear(&p->policies, free_entry);
    hash_clear(&p->pods, free_pod);
    hash_clear(&p->namespaces, free_labels);
    hash_clear(&p->combinations, free_combination);
    hash_clear(&p->owners, NULL);
    hash_clear(&p->dirty, NULL);
    element_commands_clear(&p->removed);
    element_commands_clear(&p->added);
    free(p);
}

bool policies_none(const struct policies *p)
{
    for (struct hash_entry *h = NULL; (h = hash_next(&p->policies, h));)
        if (((struct entry *)h->value)->policy)
            return false;
    return true;
}

/* --- what changed --- */

static bool in_namespace(const char *key, const char *ns)
{
    size_t n = strlen(ns);
    return strncmp(key, ns, n) == 0 && key[n] == '/';
}

static void drop_selected(struct element_list *l, const char *key)
{
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->items[i], key) == 0) {
            free(l->items[i]);
            memmove(&l->items[i], &l->items[i + 1], (l->count - i - 1) * sizeof *l->items);
            l->count--;
            return;
        }
    }
}

void policies_set_policy(struct policies *p, const char *key, struct policy *taken)
{
    struct entry *e = hash_get(&p->policies, key);
    if (!e && !taken)
        return;
    if (!e) {
        e = mem_alloc(sizeof *e);
        hash_set(&p->policies, key, e);
    }
    policy_free(e->policy);
    e->policy = taken;
    e->changed = true;
    e->local = 0;
    cleanup_free char *ns = mem_strndup(key, strcspn(key, "/"));
    for (struct hash_entry *h = NULL; (h = hash_next(&p->pods, h));) {
        struct pod_entry *pod = h->value;
        if (!in_namespace(h->key, ns))
            continue;
        drop_selected(&pod->selected, key);
        hash_set(&p->dirty, h->key, p);
    }
}

void policies_set_pod(struct policies *p, const char *key, struct policy_pod *taken)
{
    struct pod_entry *pod = hash_get(&p->pods, key);
    if (policy_pod_equal(pod ? pod->pod : NULL, taken)) {
        policy_pod_free(taken);
        return;
    }
    if (!pod) {
        pod = mem_alloc(sizeof *pod);
        hash_set(&p->pods, key, pod);
    }
    policy_pod_free(pod->pod);
    pod->pod = taken;
    hash_set(&p->dirty, key, p);
}

void policies_set_namespace(struct policies *p, const char *name, cJSON *labels_taken)
{
    cJSON_Delete(hash_remove(&p->namespaces, name));
    if (labels_taken)
        hash_set(&p->namespaces, name, labels_taken);
    for (struct hash_entry *h = NULL; (h = hash_next(&p->pods, h));)
        if (in_namespace(h->key, name))
            hash_set(&p->dirty, h->key, p);
}

/* --- which policies isolate a pod --- */

static void select_policies(struct policies *p, struct pod_entry *pod)
{
    for (size_t i = 0; i < pod->selected.count; i++) {
        struct entry *e = hash_get(&p->policies, pod->selected.items[i]);
        if (e && e->local)
            e->local--;
    }
    element_list_clear(&pod->selected);
    if (!pod->pod || !pod->pod->local)
        return;
    for (struct hash_entry *h = NULL; (h = hash_next(&p->policies, h));) {
        struct entry *e = h->value;
        if (e->policy && policy_selects(e->policy, pod->pod)) {
            e->local++;
            element_list_add(&pod->selected, "%s", h->key);
        }
    }
    element_list_sort(&pod->selected);
}

/* NULL: nothing isolates the pod in this direction. */
static struct combination *combination_for(struct policies *p, const struct pod_entry *pod,
                                           enum policy_direction d)
{
    cleanup_buf struct buf key = {0};
    const char *direction = policy_direction_names[d];
    for (size_t i = 0; i < pod->selected.count; i++) {
        const struct entry *e = hash_get(&p->policies, pod->selected.items[i]);
        if (!e->policy->directions[d].applies)
            continue;
        if (key.len == 0)
            buf_printf(&key, "%s\n", direction);
        buf_printf(&key, "%s\n", pod->selected.items[i]);
    }
    if (key.len == 0)
        return NULL;
    struct combination *c = hash_get(&p->combinations, key.data);
    if (!c) {
        c = mem_alloc(sizeof *c);
        c->chain = mem_printf("%s-%u", direction, ++p->last_number);
        c->members = mem_strdup(key.data + strlen(direction) + 1);
        c->direction = d;
        hash_set(&p->combinations, key.data, c);
    }
    return c;
}

/* --- whose address it is --- */

static void release_addresses(struct policies *p, const struct pod_entry *pod)
{
    struct hash_entry *next = hash_next(&p->owners, NULL);
    /* A pod's old addresses are not known here any more, and there are few local pods. */
    while (next) {
        if (next->value != pod) {
            next = hash_next(&p->owners, next);
            continue;
        }
        cleanup_free char *key = mem_strdup(next->key);
        hash_remove(&p->owners, key);
        next = hash_next(&p->owners, NULL);
    }
}

static void element_gone(void *ctx, const char *text)
{
    element_commands_add(&((struct policies *)ctx)->removed, text, false);
}

static void element_added(void *ctx, const char *text)
{
    element_commands_add(&((struct policies *)ctx)->added, text, true);
}

static void isolate(struct policies *p, struct pod_entry *pod, struct element_list *taken)
{
    element_list_sort(taken);
    element_list_compare(&pod->isolation, taken, p, element_gone, element_added);
    element_list_clear(&pod->isolation);
    pod->isolation = *taken;
}

/* An address that a pod on its way out still shows may be given to a new one already. */
static bool claim_addresses(struct policies *p, struct pod_entry *pod)
{
    bool all = true;
    for (size_t i = 0; i < pod->pod->address_count; i++) {
        char text[ADDRESS_TEXT_MAX];
        address_text(&pod->pod->addresses[i], text);
        struct pod_entry *owner = hash_get(&p->owners, text);
        if (owner && owner != pod) {
            if (!owner->pod || !owner->pod->terminating || pod->pod->terminating) {
                all = false;
                continue;
            }
            struct element_list nothing = {0};
            isolate(p, owner, &nothing);
            owner->waiting = true;
        }
        hash_set(&p->owners, text, pod);
    }
    return all;
}

static void look_at_pod(struct policies *p, struct pod_entry *pod)
{
    struct element_list now = {0};
    select_policies(p, pod);
    release_addresses(p, pod);
    struct combination *combinations[POLICY_DIRECTIONS] = {0};
    pod->waiting = pod->pod && pod->pod->local && !claim_addresses(p, pod);
    if (pod->pod && !pod->waiting) {
        for (int d = 0; d < POLICY_DIRECTIONS; d++) {
            struct combination *c = combinations[d] = combination_for(p, pod, d);
            if (!c)
                continue;
            c->refs++;
            for (size_t i = 0; i < pod->pod->address_count; i++) {
                char ip[ADDRESS_TEXT_MAX];
                int version = pod->pod->addresses[i].family == AF_INET ? 4 : 6;
                address_text(&pod->pod->addresses[i], ip);
                element_list_add(&now, "%s-pods%d\t%s : goto %s", policy_direction_names[d],
                                 version, ip, c->chain);
                element_list_add(&now, "self%d\t%s . %s", version, ip, ip);
            }
        }
    }
    for (int d = 0; d < POLICY_DIRECTIONS; d++) {
        if (pod->combinations[d])
            pod->combinations[d]->refs--;
        pod->combinations[d] = combinations[d];
    }
    isolate(p, pod, &now);
}

/* --- the sets of one policy --- */

struct entry_change {
    struct policies *p;
    struct entry *e;
};

static void member_gone(void *ctx, const char *text)
{
    struct entry_change *c = ctx;
    size_t count = (size_t)(uintptr_t)hash_get(&c->e->elements, text) - 1;
    if (count > 0) {
        hash_set(&c->e->elements, text, (void *)(uintptr_t)count);
        return;
    }
    hash_remove(&c->e->elements, text);
    element_commands_add(&c->p->removed, text, false);
}

static void member_added(void *ctx, const char *text)
{
    struct entry_change *c = ctx;
    size_t count = (size_t)(uintptr_t)hash_get(&c->e->elements, text) + 1;
    hash_set(&c->e->elements, text, (void *)(uintptr_t)count);
    if (count == 1)
        element_commands_add(&c->p->added, text, true);
}

static void update_member(struct policies *p, struct entry *e, const char *key,
                          const struct pod_entry *pod)
{
    static const struct element_list none;
    struct element_list now = {0}, *before = hash_get(&e->members, key);
    if (pod->pod)
        policy_elements(e->policy, pod->pod, hash_get(&p->namespaces, pod->pod->ns), &now);
    element_list_sort(&now);
    element_list_compare(before ? before : &none, &now, &(struct entry_change){p, e}, member_gone,
                         member_added);
    if (before)
        free_list(hash_remove(&e->members, key));
    if (now.count)
        hash_set(&e->members, key, mem_dup(&now, sizeof now));
    else
        element_list_clear(&now);
}

static void tear_down(struct entry *e, const char *key, struct buf *out)
{
    for (int d = 0; d < POLICY_DIRECTIONS; d++) {
        if (e->chains[d]) {
            cleanup_free char *chain = policy_chain_name(key, d);
            buf_printf(out, "flush chain " POLICY_TABLE " %s\n", chain);
        }
    }
    for (size_t i = 0; i < e->sets.count; i++)
        buf_printf(out, "delete set " POLICY_TABLE " %s\n", e->sets.items[i]);
    for (int d = 0; d < POLICY_DIRECTIONS; d++) {
        if (e->chains[d] && !(e->policy && e->local && e->policy->directions[d].applies)) {
            cleanup_free char *chain = policy_chain_name(key, d);
            buf_printf(out, "delete chain " POLICY_TABLE " %s\n", chain);
        }
    }
    entry_forget_kernel(e);
}

static void build(struct policies *p, struct entry *e, struct buf *out)
{
    for (int d = 0; d < POLICY_DIRECTIONS; d++) {
        e->chains[d] = e->policy->directions[d].applies;
        if (e->chains[d])
            policy_print_chain(e->policy, d, &e->sets, out);
    }
    e->programmed = true;
    for (struct hash_entry *h = NULL; (h = hash_next(&p->pods, h));)
        update_member(p, e, h->key, h->value);
}

/* --- transactions --- */

static void look_at_dirty_pods(struct policies *p)
{
    /* Those that are gone first: they free addresses. */
    for (int pass = 0; pass < 2; pass++) {
        for (struct hash_entry *h = NULL; (h = hash_next(&p->dirty, h));) {
            struct pod_entry *pod = hash_get(&p->pods, h->key);
            if (pod && (pod->pod == NULL) == (pass == 0))
                look_at_pod(p, pod);
        }
    }
    for (struct hash_entry *h = NULL; (h = hash_next(&p->pods, h));)
        if (((struct pod_entry *)h->value)->waiting)
            look_at_pod(p, h->value);
}

static void stale_combinations(struct policies *p, struct buf *out)
{
    struct element_list stale = {0};
    for (struct hash_entry *h = NULL; (h = hash_next(&p->combinations, h));)
        if (((struct combination *)h->value)->refs == 0) {
            /* Longer than element_list_add's texts, perhaps. */
            stale.items = mem_realloc(stale.items, (stale.count + 1) * sizeof *stale.items);
            stale.items[stale.count++] = mem_strdup(h->key);
        }
    for (size_t i = 0; i < stale.count; i++) {
        struct combination *c = hash_remove(&p->combinations, stale.items[i]);
        if (c->programmed)
            buf_printf(out, "flush chain " POLICY_TABLE " %s\ndelete chain " POLICY_TABLE " %s\n",
                       c->chain, c->chain);
        free_combination(c);
    }
    element_list_clear(&stale);
}

static void new_combinations(struct policies *p, struct buf *out)
{
    for (struct hash_entry *h = NULL; (h = hash_next(&p->combinations, h));) {
        struct combination *c = h->value;
        if (c->programmed)
            continue;
        c->programmed = true;
        buf_printf(out, "add chain " POLICY_TABLE " %s\n", c->chain);
        for (const char *m = c->members; *m; m += strcspn(m, "\n") + 1) {
            cleanup_free char *key = mem_strndup(m, strcspn(m, "\n"));
            cleanup_free char *chain = policy_chain_name(key, c->direction);
            buf_printf(out, "add rule " POLICY_TABLE " %s jump %s\n", c->chain, chain);
        }
        buf_printf(out, "add rule " POLICY_TABLE " %s drop\n", c->chain);
    }
}

static void forget_what_is_gone(struct policies *p)
{
    struct element_list keys = {0};
    for (struct hash_entry *h = NULL; (h = hash_next(&p->dirty, h));)
        element_list_add(&keys, "%s", h->key);
    for (size_t i = 0; i < keys.count; i++) {
        struct pod_entry *pod = hash_get(&p->pods, keys.items[i]);
        if (pod && !pod->pod)
            free_pod(hash_remove(&p->pods, keys.items[i]));
    }
    element_list_clear(&keys);
    for (struct hash_entry *h = NULL; (h = hash_next(&p->policies, h));)
        if (!((struct entry *)h->value)->policy)
            element_list_add(&keys, "%s", h->key);
    for (size_t i = 0; i < keys.count; i++)
        free_entry(hash_remove(&p->policies, keys.items[i]));
    element_list_clear(&keys);
    hash_clear(&p->dirty, NULL);
}

void policies_take_changes(struct policies *p, struct buf *out)
{
    cleanup_buf struct buf removals = {0}, additions = {0};
    look_at_dirty_pods(p);
    stale_combinations(p, &removals);
    for (struct hash_entry *h = NULL; (h = hash_next(&p->policies, h));) {
        struct entry *e = h->value;
        bool wanted = e->policy && e->local > 0;
        if (e->programmed && (!wanted || e->changed))
            tear_down(e, h->key, &removals);
        if (wanted && !e->programmed) {
            build(p, e, &additions);
        } else if (wanted) {
            for (struct hash_entry *d = NULL; (d = hash_next(&p->dirty, d));) {
                const struct pod_entry *pod = hash_get(&p->pods, d->key);
                if (pod)
                    update_member(p, e, d->key, pod);
            }
        }
        e->changed = false;
    }
    new_combinations(p, &additions);
    element_commands_print(&p->removed, "delete", POLICY_TABLE, out);
    buf_add(out, buf_str(&removals), removals.len);
    buf_add(out, buf_str(&additions), additions.len);
    element_commands_print(&p->added, "add", POLICY_TABLE, out);
    forget_what_is_gone(p);
}

void policies_take_all(struct policies *p, struct buf *out)
{
    element_commands_clear(&p->removed);
    element_commands_clear(&p->added);
    for (struct hash_entry *h = NULL; (h = hash_next(&p->policies, h));)
        entry_forget_kernel(h->value);
    hash_clear(&p->combinations, free_combination);
    for (struct hash_entry *h = NULL; (h = hash_next(&p->pods, h));) {
        struct pod_entry *pod = h->value;
        pod->combinations[0] = pod->combinations[1] = NULL;
        element_list_clear(&pod->isolation);
        hash_set(&p->dirty, h->key, p);
    }
    buf_adds(out, "add table " POLICY_TABLE "\ndelete table " POLICY_TABLE "\n");
    if (!policies_none(p))
        policy_print_table(out);
    policies_take_changes(p, out);
}
