/* Every address gets the set of its ports, then addresses with equal port sets form one subset. */
#include "controller-manager/subsets.h"
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"
#include "controller-manager/strmap.h"

struct subset_address {
    const cJSON *address;
    bool ready;
    const cJSON **ports;
    size_t port_count;
    char *identity, *port_set;
};

static int compare_ports(const void *pa, const void *pb)
{
    const cJSON *a = *(const cJSON *const *)pa, *b = *(const cJSON *const *)pb;
    int by_name = strcmp(json_str_or(a, "name", ""), json_str_or(b, "name", ""));
    if (by_name)
        return by_name;
    int64_t na = json_int(a, "port", 0), nb = json_int(b, "port", 0);
    if (na != nb)
        return na < nb ? -1 : 1;
    return strcmp(json_str_or(a, "protocol", ""), json_str_or(b, "protocol", ""));
}

static int compare_addresses(const void *pa, const void *pb)
{
    const struct subset_address *a = pa, *b = pb;
    int c = strcmp(a->port_set, b->port_set);
    if (!c)
        c = strcmp(json_str_or(a->address, "ip", ""), json_str_or(b->address, "ip", ""));
    return c ? c : strcmp(a->identity, b->identity);
}

cJSON *subsets_pack(const struct subset_entry *entries, size_t count)
{
    struct subset_address *addresses = mem_alloc((count + 1) * sizeof(*addresses));
    size_t n = 0;
    struct strmap by_identity = {0}; /* -> index + 1 */
    for (size_t i = 0; i < count; i++) {
        const struct subset_entry *e = &entries[i];
        cleanup_free char *identity =
            mem_printf("%s/%s/%d", json_str_or(e->address, "ip", ""),
                       json_str_or(e->address, "targetRef.uid", ""), e->ready);
        size_t at = (size_t)(uintptr_t)strmap_get(&by_identity, identity);
        if (!at) {
            addresses[n] = (struct subset_address){
                .address = e->address, .ready = e->ready, .identity = mem_strdup(identity)};
            at = ++n;
            strmap_put(&by_identity, identity, (void *)(uintptr_t)at);
        }
        struct subset_address *a = &addresses[at - 1];
        if (e->port) {
            a->ports = mem_realloc(a->ports, (a->port_count + 1) * sizeof(*a->ports));
            a->ports[a->port_count++] = e->port;
        }
    }
    strmap_clear(&by_identity, NULL);

    for (size_t i = 0; i < n; i++) {
        struct subset_address *a = &addresses[i];
        struct buf b = {0};
        if (a->port_count)
            qsort(a->ports, a->port_count, sizeof(*a->ports), compare_ports);
        size_t kept = 0;
        for (size_t p = 0; p < a->port_count; p++)
            if (!p || !json_equal(a->ports[p], a->ports[p - 1]))
                a->ports[kept++] = a->ports[p];
        a->port_count = kept;
        for (size_t p = 0; p < kept; p++) {
            cleanup_free char *text = json_canonical_text(a->ports[p]);
            buf_adds(&b, text);
        }
        a->port_set = buf_take(&b);
    }
    if (n)
        qsort(addresses, n, sizeof(*addresses), compare_addresses);

    cJSON *subsets = cJSON_CreateArray(), *subset = NULL;
    for (size_t i = 0; i < n; i++) {
        struct subset_address *a = &addresses[i];
        if (!i || strcmp(a->port_set, addresses[i - 1].port_set) != 0) {
            subset = cJSON_CreateObject();
            cJSON_AddItemToArray(subsets, subset);
            for (size_t p = 0; p < a->port_count; p++)
                cJSON_AddItemToArray(json_ensure_array(subset, "ports"), json_dup(a->ports[p]));
        }
        cJSON_AddItemToArray(
            json_ensure_array(subset, a->ready ? "addresses" : "notReadyAddresses"),
            json_dup(a->address));
    }
    for (size_t i = 0; i < n; i++) {
        free(addresses[i].ports);
        free(addresses[i].identity);
        free(addresses[i].port_set);
    }
    free(addresses);
    return subsets;
}
