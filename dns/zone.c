/* Trees of <search.h> under one lock: a lookup takes well below a microsecond, and changes are
 * rare. */
#include "dns/zone.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

/* One user of an address. */
struct holder {
    struct holder *next;
    const struct zone_service *service;
    const struct zone_endpoint *endpoint; /* NULL: the Service's own address */
};
struct by_address {
    struct zone_address address; /* first: what is compared */
    struct holder *holders;
};
/* A name, with how many pods have that address in that namespace. */
struct counted {
    char *key;
    int count;
};

struct zone {
    pthread_rwlock_t lock;
    void *services;   /* struct zone_service by key */
    void *addresses;  /* struct by_address */
    void *namespaces; /* char * */
    void *pods;       /* struct counted: "namespace/address" */
};

static int compare_services(const void *a, const void *b)
{
    return strcmp(((const struct zone_service *)a)->key, ((const struct zone_service *)b)->key);
}

static int compare_addresses(const void *a, const void *b)
{
    const struct zone_address *x = a, *y = b;
    return x->family != y->family ? x->family - y->family
                                  : memcmp(x->bytes, y->bytes, zone_address_size(x));
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int compare_counted(const void *a, const void *b)
{
    return strcmp(((const struct counted *)a)->key, ((const struct counted *)b)->key);
}

bool zone_address_parse(const char *text, struct zone_address *out)
{
    memset(out, 0, sizeof(*out));
    out->family = 4;
    if (inet_pton(AF_INET, text, out->bytes) == 1)
        return true;
    out->family = 6;
    return inet_pton(AF_INET6, text, out->bytes) == 1;
}

bool zone_address_parse_dashed(const char *text, size_t len, struct zone_address *out)
{
    char dotted[INET6_ADDRSTRLEN];
    if (len == 0 || len >= sizeof(dotted) || memchr(text, 0, len))
        return false;
    for (int family = 4; family <= 6; family += 2) {
        for (size_t i = 0; i < len; i++)
            dotted[i] = text[i] != '-' ? text[i] : family == 4 ? '.' : ':';
        dotted[len] = 0;
        if (zone_address_parse(dotted, out))
            return out->family == family;
    }
    return false;
}

void zone_service_unref(struct zone_service *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(s->key);
    free(s->external_name);
    free(s->addresses);
    free(s->ports);
    free(s->endpoints);
    free(s);
}

struct zone *zone_new(void)
{
    struct zone *z = mem_alloc(sizeof(*z));
    pthread_rwlock_init(&z->lock, NULL);
    return z;
}

static void free_address(void *p)
{
    struct by_address *a = p;
    while (a->holders) {
        struct holder *h = a->holders;
        a->holders = h->next;
        free(h);
    }
    free(a);
}

static void free_service(void *p)
{
    zone_service_unref(p);
}

static void free_counted(void *p)
{
    free(((struct counted *)p)->key);
    free(p);
}

void zone_free(struct zone *z)
{
    if (!z)
        return;
    tdestroy(z->addresses, free_address);
    tdestroy(z->services, free_service);
    tdestroy(z->namespaces, free);
    tdestroy(z->pods, free_counted);
    pthread_rwlock_destroy(&z->lock);
    free(z);
}

static void hold(struct zone *z, const struct zone_address *address, const struct zone_service *s,
                 const struct zone_endpoint *e)
{
    struct by_address **found = tfind(address, &z->addresses, compare_addresses);
    if (!found) {
        struct by_address *a = mem_alloc(sizeof(*a));
        a->address = *address;
        found = tsearch(a, &z->addresses, compare_addresses);
    }
    struct holder *h = mem_alloc(sizeof(*h));
    *h = (struct holder){.next = (*found)->holders, .service = s, .endpoint = e};
    (*found)->holders = h;
}

static void let_go(struct zone *z, const struct zone_address *address, const struct zone_service *s)
{
    struct by_address **found = tfind(address, &z->addresses, compare_addresses);
    if (!found)
        return;
    struct by_address *a = *found;
    for (struct holder **p = &a->holders; *p;) {
        struct holder *h = *p;
        if (h->service != s) {
            p = &h->next;
            continue;
        }
        *p = h->next;
        free(h);
    }
    if (!a->holders) {
        tdelete(a, &z->addresses, compare_addresses);
        free(a);
    }
}

void zone_put_service(struct zone *z, const char *key, struct zone_service *s)
{
    struct zone_service wanted = {.key = (char *)key}, *old = NULL;
    pthread_rwlock_wrlock(&z->lock);
    struct zone_service **found = tfind(&wanted, &z->services, compare_services);
    if (found) {
        old = *found;
        for (size_t i = 0; i < old->address_count; i++)
            let_go(z, &old->addresses[i], old);
        for (size_t i = 0; i < old->endpoint_count; i++)
            let_go(z, &old->endpoints[i].address, old);
        tdelete(old, &z->services, compare_services);
    }
    if (s) {
        tsearch(s, &z->services, compare_services);
        for (size_t i = 0; i < s->address_count; i++)
            hold(z, &s->addresses[i], s, NULL);
        for (size_t i = 0; i < s->endpoint_count; i++)
            hold(z, &s->endpoints[i].address, s, &s->endpoints[i]);
    }
    pthread_rwlock_unlock(&z->lock);
    zone_service_unref(old);
}

void zone_put_namespace(struct zone *z, const char *name, bool exists)
{
    pthread_rwlock_wrlock(&z->lock);
    char **found = tfind(name, &z->namespaces, compare_text);
    if (exists && !found) {
        tsearch(mem_strdup(name), &z->namespaces, compare_text);
    } else if (!exists && found) {
        char *old = *found;
        tdelete(old, &z->namespaces, compare_text);
        free(old);
    }
    pthread_rwlock_unlock(&z->lock);
}

static void pod_key(char out[400], const char *ns, const struct zone_address *a)
{
    char text[INET6_ADDRSTRLEN];
    inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->bytes, text, sizeof(text));
    snprintf(out, 400, "%s/%s", ns, text);
}

void zone_put_pod(struct zone *z, const char *ns, const struct zone_address *a, bool exists)
{
    char key[400];
    pod_key(key, ns, a);
    struct counted wanted = {.key = key};
    pthread_rwlock_wrlock(&z->lock);
    struct counted **found = tfind(&wanted, &z->pods, compare_counted);
    if (exists && !found) {
        struct counted *c = mem_alloc(sizeof(*c));
        *c = (struct counted){mem_strdup(key), 1};
        tsearch(c, &z->pods, compare_counted);
    } else if (exists) {
        (*found)->count++;
    } else if (found && --(*found)->count == 0) {
        struct counted *old = *found;
        tdelete(old, &z->pods, compare_counted);
        free_counted(old);
    }
    pthread_rwlock_unlock(&z->lock);
}

struct zone_service *zone_find_service(struct zone *z, const char *ns, const char *name)
{
    char key[2 * DNS_NAME_MAX];
    snprintf(key, sizeof(key), "%s/%s", ns, name);
    struct zone_service wanted = {.key = key}, *s = NULL;
    pthread_rwlock_rdlock(&z->lock);
    struct zone_service **found = tfind(&wanted, &z->services, compare_services);
    if (found) {
        s = *found;
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    }
    pthread_rwlock_unlock(&z->lock);
    return s;
}

bool zone_has_namespace(struct zone *z, const char *name)
{
    pthread_rwlock_rdlock(&z->lock);
    bool has = tfind(name, &z->namespaces, compare_text) != NULL;
    pthread_rwlock_unlock(&z->lock);
    return has;
}

bool zone_has_pod(struct zone *z, const char *ns, const struct zone_address *a)
{
    char key[400];
    pod_key(key, ns, a);
    struct counted wanted = {.key = key};
    pthread_rwlock_rdlock(&z->lock);
    bool has = tfind(&wanted, &z->pods, compare_counted) != NULL;
    pthread_rwlock_unlock(&z->lock);
    return has;
}

void zone_by_address(struct zone *z, const struct zone_address *a,
                     void (*fn)(void *ctx, const struct zone_service *s,
                                const struct zone_endpoint *endpoint),
                     void *ctx)
{
    pthread_rwlock_rdlock(&z->lock);
    struct by_address **found = tfind(a, &z->addresses, compare_addresses);
    for (const struct holder *h = found ? (*found)->holders : NULL; h; h = h->next)
        fn(ctx, h->service, h->endpoint);
    pthread_rwlock_unlock(&z->lock);
}
