#include "kube-proxy/element_list.h"
#include "kube-proxy/rules.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include "common/log.h"
#include "common/mem.h"
#include "kube-proxy/hash.h"
#include "kube-proxy/rules_table.h"

/* A Service as it is in the table. */
struct applied {
    struct proxy_service
        *service;    /* each group's endpoints in the order of their numbers in the map */
    struct element_list elements; /* sorted: one character for the map, then "key" or "key : value" */
    bool conflict; /* an address was left out because another Service has it */
};

struct rules {
    struct rules_skeleton skeleton;
    struct hash services;  /* name -> struct applied */
    struct hash frontends; /* "key" of service-ips and node-ports, with the map's character ->
                              struct applied that has it */
    struct hash
        numbers; /* number of a group or of an endpoint in a group, as text -> its name (owned) */
    struct hash hairpins; /* element -> how many Services have it, as a pointer */
    struct hash chains;   /* chains made since the last whole table -> self */
    struct buf new_chains, removed[RULES_MAP_COUNT], added[RULES_MAP_COUNT];
    struct rules_udp *udp;
    size_t udp_count;
};

struct rules *rules_new(int family, const char *cluster_cidr, const char *service_cidr)
{
    struct rules *r = mem_alloc(sizeof *r);
    r->skeleton = (struct rules_skeleton){.family = family,
                                          .cluster_cidr = mem_strdup(cluster_cidr),
                                          .service_cidr = mem_strdup(service_cidr)};
    return r;
}

static void applied_free(void *p)
{
    struct applied *a = p;
    proxy_service_free(a->service);
    element_list_clear(&a->elements);
    free(a);
}

void rules_free(struct rules *r)
{
    if (!r)
        return;
    hash_clear(&r->services, applied_free);
    hash_clear(&r->frontends, NULL);
    hash_clear(&r->numbers, free);
    hash_clear(&r->hairpins, NULL);
    hash_clear(&r->chains, NULL);
    buf_free(&r->new_chains);
    for (int i = 0; i < RULES_MAP_COUNT; i++) {
        buf_free(&r->removed[i]);
        buf_free(&r->added[i]);
    }
    rules_udp_free(r->udp, r->udp_count);
    free(r->skeleton.cluster_cidr);
    free(r->skeleton.service_cidr);
    free(r);
}

/* --- numbers: derived from names, so that a restarted kube-proxy gives the same ones and affinity
 * survives
 * --- */

static void number_key(char key[16], uint32_t number)
{
    snprintf(key, 16, "%x", number);
}

/* kind: 0 for groups, ENDPOINT_BIT for endpoints. */
static uint32_t number_of(struct rules *r, const char *name, uint32_t kind)
{
    for (uint32_t n = hash_text(name);; n += 2654435761u) {
        uint32_t number = ((n & ~(ENDPOINT_BIT | MASQUERADE_BIT | OUTSIDE_BIT)) | kind);
        char key[16];
        number_key(key, number);
        const char *owner = hash_get(&r->numbers, key);
        if (owner && strcmp(owner, name) == 0)
            return number;
        if (!owner && number != kind) {
            hash_set(&r->numbers, key, mem_strdup(name));
            return number;
        }
    }
}

static void number_release(struct rules *r, const char *name, uint32_t kind)
{
    char key[16];
    number_key(key, number_of(r, name, kind));
    free(hash_remove(&r->numbers, key));
}

static char *endpoint_name(const struct proxy_group *g, const struct proxy_endpoint *e)
{
    char ip[ADDRESS_TEXT_MAX];
    address_text(&e->ip, ip);
    return mem_printf("%s %s:%d", g->name, ip, e->port);
}

/* --- from a Service to map elements --- */

__attribute__((format(printf, 3, 4))) static void element(struct element_list *l,
                                                          enum rules_map map, const char *fmt, ...)
{
    char text[320];
    va_list ap;
    va_start(ap, fmt);
    text[0] = (char)('a' + map);
    vsnprintf(text + 1, sizeof text - 1, fmt, ap);
    va_end(ap);
    element_list_append(l, text);
}

static void need_chain(struct rules *r, const char *name, rules_printer *print, unsigned n,
                       int seconds)
{
    if (hash_get(&r->chains, name))
        return;
    hash_set(&r->chains, name, r);
    print(&r->new_chains, rules_family(&r->skeleton), name, n, seconds);
}

/* Where a group's connections go; number has MASQUERADE_BIT for those whose answers must come back
 * here. */
static void group_verdict(struct rules *r, const struct proxy_group *g, uint32_t number,
                          struct element_list *l)
{
    bool masquerade = number & MASQUERADE_BIT;
    unsigned n = (unsigned)g->count;
    char chain[48], use[48];
    if (n == 0) {
        element(l, RULES_NO_ENDPOINTS, "%u : %s", number,
                g->elsewhere ? "drop" : "goto reject-service");
        return;
    }
    if (g->affinity_seconds > 0) {
        snprintf(use, sizeof use, "remembered-%d", g->affinity_seconds);
        need_chain(r, use, rules_print_remembered, n, g->affinity_seconds);
        snprintf(chain, sizeof chain, "affinity-%u-%d", n, g->affinity_seconds);
        need_chain(r, chain, rules_print_affinity, n, g->affinity_seconds);
    } else {
        snprintf(chain, sizeof chain, "pick-%u", n);
        need_chain(r, chain, rules_print_pick, n, 0);
        if (masquerade) {
            snprintf(chain, sizeof chain, "masquerade-%u", n);
            need_chain(r, chain, rules_print_masquerade, n, 0);
        }
    }
    element(l, RULES_GROUPS, "%u : goto %s", number, chain);
}

static void group_elements(struct rules *r, const struct proxy_group *g, uint32_t number,
                           bool masqueraded, struct element_list *l)
{
    for (size_t i = 0; i < g->count; i++) {
        const struct proxy_endpoint *e = &g->endpoints[i];
        char ip[ADDRESS_TEXT_MAX];
        address_text(&e->ip, ip);
        if (e->local)
            element(l, RULES_HAIRPIN, "%s . %s", ip, ip);
        cleanup_free char *name = endpoint_name(g, e);
        uint32_t endpoint = number_of(r, name, ENDPOINT_BIT);
        element(l, RULES_ENDPOINTS, "%u : %s . %d", endpoint, ip, e->port);
        element(l, RULES_PICKS, "%u . %zu : %u", number, i, endpoint);
        if (g->affinity_seconds == 0)
            continue;
        element(l, RULES_AFFINITY_ALIVE, "%u : goto remembered-%d", endpoint, g->affinity_seconds);
        if (masqueraded)
            element(l, RULES_PICKS, "%u . %zu : %u", number | MASQUERADE_BIT, i, endpoint);
    }
}

/* Claims the frontend's address; false when another Service has it. */
static bool claim(struct rules *r, struct applied *owner, enum rules_map map, const char *key)
{
    char name[80];
    snprintf(name, sizeof name, "%c%s", 'a' + map, key);
    struct applied *now = hash_get(&r->frontends, name);
    if (now && now != owner)
        return false;
    if (!now)
        hash_set(&r->frontends, name, owner);
    return true;
}

static void render_firewall(const struct rules *r, const struct proxy_frontend *f, const char *key,
                            struct element_list *l)
{
    element(l, RULES_FIREWALL, "%s : goto check-source", key);
    for (size_t i = 0; i < f->sources.count; i++) {
        cleanup_buf struct buf range = {0};
        ranges_print_addresses(&(struct ranges){&f->sources.items[i], 1}, r->skeleton.family,
                               &range);
        element(l, RULES_SOURCES, "%s . %s", key, range.data);
    }
}

static void render_frontend(struct rules *r, struct applied *a, const struct proxy_frontend *f,
                            struct element_list *l)
{
    const struct proxy_group *g = &a->service->groups[f->group];
    enum rules_map map = f->ip.family ? RULES_SERVICE_IPS : RULES_NODE_PORTS;
    char key[72], ip[ADDRESS_TEXT_MAX];
    if (f->ip.family)
        snprintf(key, sizeof key, "%s . %s . %d", address_text(&f->ip, ip),
                 proxy_protocol_name(g->protocol), f->port);
    else
        snprintf(key, sizeof key, "%s . %d", proxy_protocol_name(g->protocol), f->port);
    if (!claim(r, a, map, key)) {
        a->conflict = true;
        return;
    }
    uint32_t number = number_of(r, g->name, 0) | (f->masquerade ? MASQUERADE_BIT : 0);
    if (f->has_inside) {
        element(l, RULES_INSIDE, "%u : %u", number | OUTSIDE_BIT,
                number_of(r, a->service->groups[f->inside_group].name, 0));
        number |= OUTSIDE_BIT;
    }
    element(l, map, "%s : %u", key, number);
    if (f->firewalled)
        render_firewall(r, f, key, l);
}

static void render(struct rules *r, struct applied *a, struct element_list *l)
{
    const struct proxy_service *s = a->service;
    a->conflict = false;
    for (size_t i = 0; i < s->group_count; i++) {
        const struct proxy_group *g = &s->groups[i];
        uint32_t number = number_of(r, g->name, 0);
        bool plain = false, masqueraded = false;
        for (size_t j = 0; j < s->frontend_count; j++) {
            const struct proxy_frontend *f = &s->frontends[j];
            if (f->group == i) {
                plain |= !f->masquerade;
                masqueraded |= f->masquerade;
            }
            plain |= f->has_inside && f->inside_group == i;
        }
        if (plain)
            group_verdict(r, g, number, l);
        if (masqueraded)
            group_verdict(r, g, number | MASQUERADE_BIT, l);
        group_elements(r, g, number, masqueraded, l);
    }
    for (size_t j = 0; j < s->frontend_count; j++)
        render_frontend(r, a, &s->frontends[j], l);
    element_list_sort(l);
}

/* --- endpoints keep their numbers --- */

/* Orders the new endpoints so that those which stay keep their place, new ones fill the gaps, and
 * the rest of the gaps is filled from the end: one change touches one or two elements, not all. */
static void keep_places(const struct proxy_group *old, struct proxy_group *g)
{
    struct proxy_endpoint *placed = mem_alloc((g->count + 1) * sizeof *placed);
    bool *taken = mem_alloc(g->count + 1), *filled = mem_alloc(g->count + 1);
    for (size_t i = 0; i < g->count; i++) {
        for (size_t j = 0; j < old->count && j < g->count; j++) {
            if (!filled[j] && proxy_endpoint_equal(&g->endpoints[i], &old->endpoints[j])) {
                placed[j] = g->endpoints[i];
                filled[j] = taken[i] = true;
                break;
            }
        }
    }
    size_t next = 0;
    for (size_t i = 0; i < g->count; i++) {
        if (taken[i])
            continue;
        while (filled[next])
            next++;
        placed[next] = g->endpoints[i];
        filled[next] = true;
    }
    free(g->endpoints);
    free(taken);
    free(filled);
    g->endpoints = placed;
}

static const struct proxy_group *find_group(const struct proxy_service *s, const char *name)
{
    for (size_t i = 0; s && i < s->group_count; i++)
        if (strcmp(s->groups[i].name, name) == 0)
            return &s->groups[i];
    return NULL;
}

static bool has_endpoint(const struct proxy_group *g, const struct proxy_endpoint *e)
{
    for (size_t i = 0; g && i < g->count; i++)
        if (proxy_endpoint_equal(&g->endpoints[i], e))
            return true;
    return false;
}

static void release_numbers(struct rules *r, const struct proxy_service *old,
                            const struct proxy_service *now)
{
    for (size_t i = 0; old && i < old->group_count; i++) {
        const struct proxy_group *g = &old->groups[i], *still = find_group(now, g->name);
        for (size_t j = 0; j < g->count; j++) {
            if (still && has_endpoint(still, &g->endpoints[j]))
                continue;
            cleanup_free char *name = endpoint_name(g, &g->endpoints[j]);
            number_release(r, name, ENDPOINT_BIT);
        }
        if (!still)
            number_release(r, g->name, 0);
    }
}

/* --- changes --- */

static void change(struct buf *list, const char *element_text, bool with_value)
{
    const char *end = with_value ? NULL : strstr(element_text, " : ");
    if (list->len > 0)
        buf_adds(list, ", ");
    buf_add(list, element_text, end ? (size_t)(end - element_text) : strlen(element_text));
}

/* An element of `hairpin` belongs to all Services that have this endpoint. Is this the first, or
 * the last one? */
static bool hairpin_edge(struct rules *r, const char *text, int by)
{
    size_t count = (size_t)(uintptr_t)hash_get(&r->hairpins, text) + (size_t)by;
    if (count == 0)
        hash_remove(&r->hairpins, text);
    else
        hash_set(&r->hairpins, text, (void *)(uintptr_t)count);
    return by > 0 ? count == 1 : count == 0;
}

static void remove_element(struct rules *r, const char *text)
{
    enum rules_map map = (enum rules_map)(text[0] - 'a');
    if (map == RULES_HAIRPIN && !hairpin_edge(r, text + 1, -1))
        return;
    if (map == RULES_SERVICE_IPS || map == RULES_NODE_PORTS) {
        cleanup_free char *key = mem_strndup(text, (size_t)(strstr(text, " : ") - text));
        hash_remove(&r->frontends, key);
    }
    change(&r->removed[map], text + 1, false);
}

static void add_element(struct rules *r, struct applied *owner, const char *text)
{
    enum rules_map map = (enum rules_map)(text[0] - 'a');
    if (map == RULES_HAIRPIN && !hairpin_edge(r, text + 1, 1))
        return;
    if (map == RULES_SERVICE_IPS || map == RULES_NODE_PORTS) {
        /* Its value may have changed: then it was removed just now, and the claim with it. */
        cleanup_free char *key = mem_strndup(text, (size_t)(strstr(text, " : ") - text));
        hash_set(&r->frontends, key, owner);
    }
    change(&r->added[map], text + 1, true);
}

static void note_udp(struct rules *r, const struct proxy_service *gone,
                     const struct proxy_service *now)
{
    for (size_t i = 0; gone && i < gone->frontend_count; i++) {
        const struct proxy_frontend *f = &gone->frontends[i];
        const struct proxy_group *g = &gone->groups[f->group];
        if (g->protocol != IPPROTO_UDP)
            continue;
        const struct proxy_group *current = NULL;
        for (size_t j = 0; now && j < now->frontend_count && !current; j++)
            if (address_equal(&now->frontends[j].ip, &f->ip) && now->frontends[j].port == f->port &&
                now->groups[now->frontends[j].group].protocol == IPPROTO_UDP)
                current = &now->groups[now->frontends[j].group];
        r->udp = mem_realloc(r->udp, (r->udp_count + 1) * sizeof *r->udp);
        struct rules_udp *u = &r->udp[r->udp_count++];
        *u = (struct rules_udp){.ip = f->ip, .port = f->port};
        if (current && current->count > 0) {
            u->endpoints = mem_dup(current->endpoints, current->count * sizeof *current->endpoints);
            u->count = current->count;
        }
    }
}

/* Brings the elements of a Service to what its state asks for. */
static void reconcile(struct rules *r, struct applied *a)
{
    struct element_list now = {0}, *before = &a->elements;
    if (a->service)
        render(r, a, &now);
    size_t i = 0, j = 0;
    /* First all removals, so that the claims of what is only given another value are not lost. */
    for (i = 0, j = 0; i < before->count; i++) {
        while (j < now.count && strcmp(now.items[j], before->items[i]) < 0)
            j++;
        if (j == now.count || strcmp(now.items[j], before->items[i]) != 0)
            remove_element(r, before->items[i]);
    }
    for (i = 0, j = 0; j < now.count; j++) {
        while (i < before->count && strcmp(before->items[i], now.items[j]) < 0)
            i++;
        if (i == before->count || strcmp(before->items[i], now.items[j]) != 0)
            add_element(r, a, now.items[j]);
    }
    element_list_clear(&a->elements);
    a->elements = now;
}

/* After a Service gave addresses up, others may have been waiting for them. */
static void reconcile_conflicts(struct rules *r)
{
    for (struct hash_entry *e = NULL; (e = hash_next(&r->services, e));) {
        struct applied *a = e->value;
        if (a->conflict)
            reconcile(r, a);
    }
}

static size_t changes_pending(const struct rules *r)
{
    size_t bytes = 0;
    for (int i = 0; i < RULES_MAP_COUNT; i++)
        bytes += r->removed[i].len + r->added[i].len;
    return bytes;
}

void rules_set(struct rules *r, const char *name, struct proxy_service *desired)
{
    struct applied *a = hash_get(&r->services, name);
    if (!a && !desired)
        return;
    if (!a) {
        a = mem_alloc(sizeof *a);
        hash_set(&r->services, name, a);
    }
    struct proxy_service *old = a->service;
    for (size_t i = 0; desired && i < desired->group_count; i++) {
        const struct proxy_group *before = find_group(old, desired->groups[i].name);
        if (before)
            keep_places(before, &desired->groups[i]);
    }
    size_t frontends_before = r->frontends.count, changes_before = changes_pending(r);
    a->service = desired;
    reconcile(r, a);
    if (changes_pending(r) != changes_before) {
        note_udp(r, old, desired);
        note_udp(r, desired, desired);
    }
    release_numbers(r, old, desired);
    proxy_service_free(old);
    if (a->conflict)
        log_warn("Some addresses of the Service belong to another one already", "service", name);
    if (!desired) {
        hash_remove(&r->services, name);
        applied_free(a);
    }
    if (r->frontends.count < frontends_before || r->removed[RULES_SERVICE_IPS].len ||
        r->removed[RULES_NODE_PORTS].len)
        reconcile_conflicts(r);
}

void rules_each(const struct rules *r, void (*fn)(void *ctx, const char *name), void *ctx)
{
    for (struct hash_entry *e = NULL; (e = hash_next(&r->services, e));)
        fn(ctx, e->key);
}

/* --- transactions --- */

static void drop_changes(struct rules *r)
{
    buf_free(&r->new_chains);
    for (int i = 0; i < RULES_MAP_COUNT; i++) {
        buf_free(&r->removed[i]);
        buf_free(&r->added[i]);
    }
}

static void print_elements(const struct rules *r, struct buf *out, const char *verb,
                           struct buf *lists)
{
    for (int i = 0; i < RULES_MAP_COUNT; i++)
        if (lists[i].len > 0)
            buf_printf(out, "%s element %s " RULES_TABLE " %s { %s }\n", verb,
                       rules_family(&r->skeleton), rules_map_names[i], lists[i].data);
}

void rules_take_changes(struct rules *r, struct buf *out)
{
    buf_add(out, buf_str(&r->new_chains), r->new_chains.len);
    print_elements(r, out, "delete", r->removed);
    print_elements(r, out, "add", r->added);
    drop_changes(r);
}

void rules_take_all(struct rules *r, struct buf *out)
{
    drop_changes(r);
    hash_clear(&r->chains, NULL);
    rules_print_skeleton(out, &r->skeleton);
    struct buf added[RULES_MAP_COUNT] = {0};
    for (struct hash_entry *e = NULL; (e = hash_next(&r->services, e));) {
        struct applied *a = e->value;
        struct element_list again = {0};
        render(r, a, &again); /* for the chains that it needs; the elements are the same as a's */
        for (size_t i = 0; i < again.count; i++) {
            if (again.items[i][0] - 'a' != RULES_HAIRPIN)
                change(&added[again.items[i][0] - 'a'], again.items[i] + 1, true);
        }
        element_list_clear(&again);
    }
    for (struct hash_entry *e = NULL; (e = hash_next(&r->hairpins, e));)
        change(&added[RULES_HAIRPIN], e->key, true);
    buf_add(out, buf_str(&r->new_chains), r->new_chains.len);
    buf_free(&r->new_chains);
    print_elements(r, out, "add", added);
    for (int i = 0; i < RULES_MAP_COUNT; i++)
        buf_free(&added[i]);
}

size_t rules_take_udp(struct rules *r, struct rules_udp **out)
{
    size_t count = r->udp_count;
    *out = r->udp;
    r->udp = NULL;
    r->udp_count = 0;
    return count;
}

void rules_udp_free(struct rules_udp *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(list[i].endpoints);
    free(list);
}
