/* Cluster IPs and node ports: chosen here, taken by keys that are written in the same store
 * transaction as the Service.
 *
 * A key /registry/ranges/serviceips/<ip> exists exactly as long as a Service holds that address:
 * whoever makes it first has it, no matter how many apiservers try, and no crash can leave it
 * without its Service. The first choice is a random one (mostly free); when it turns out to be
 * taken, the next choice is made among what a consistent list of Services shows as free. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include "apiserver/registry/cidr.h"
#include "apiserver/registry/services.h"
#include "common/json.h"
#include "common/mem.h"

/* Others that choose at the same time may be faster, but not for ever. */
enum { CLAIM_ATTEMPTS = 32 };

/* Set by services_start, constant afterwards. */
static struct cidr range;
static char *range_text;
static int64_t port_first = 30000, port_last = 32767;

bool services_start(const struct api_config *config, struct error **err)
{
    const char *text =
        config->service_cluster_ip_range ? config->service_cluster_ip_range : "10.96.0.0/16";
    free(range_text);
    range_text = mem_strndup(text, strcspn(text, ","));
    if (!cidr_parse(range_text, &range, err)) {
        error_wrap(err, "--service-cluster-ip-range");
        return false;
    }
    const char *ports = config->service_node_port_range;
    if (!ports || !*ports)
        return true;
    char end;
    long long first, last;
    if (sscanf(ports, "%lld-%lld%c", &first, &last, &end) != 2 || first < 1 || last < first ||
        last > 65535) {
        error_setf(err, "--service-node-port-range: \"%s\" is no range of ports", ports);
        return false;
    }
    port_first = first;
    port_last = last;
    return true;
}

const char *service_range_family(void)
{
    return range.family == AF_INET6 ? "IPv6" : "IPv4";
}

/* --- claims --- */

void claims_clear(struct claims *c)
{
    for (int i = 0; i < c->count; i++)
        free(c->items[i].key);
    free(c->items);
    *c = (struct claims){0};
}

static void claim_add(struct claims *c, char *key_taken, bool release)
{
    for (int i = 0; i < c->count; i++)
        if (!strcmp(c->items[i].key, key_taken)) {
            free(key_taken);
            return;
        }
    c->items = mem_realloc(c->items, (size_t)(c->count + 1) * sizeof *c->items);
    c->items[c->count++] = (struct storage_claim){.key = key_taken, .release = release};
}

static char *ip_key(const char *ip)
{
    char canonical[ADDRESS_TEXT_MAX];
    return mem_printf("serviceips/%s", address_parse(ip, canonical) ? canonical : ip);
}

static char *port_key(int64_t port)
{
    return mem_printf("servicenodeports/%lld", (long long)port);
}

/* --- what a Service holds --- */

static bool holds_ip(const cJSON *service, const char *ip)
{
    const cJSON *i;
    if (!service || !service_needs_ip(service))
        return false;
    cJSON_ArrayForEach(
        i, json_path(service, "spec.clusterIPs")) if (cJSON_IsString(i) &&
                                                      !strcmp(i->valuestring, ip)) return true;
    return !strcmp(json_str_or(service, "spec.clusterIP", ""), ip);
}

static bool holds_port(const cJSON *service, int64_t port)
{
    const cJSON *p;
    if (!service)
        return false;
    cJSON_ArrayForEach(p, json_path(service, "spec.ports")) if (json_int(p, "nodePort", 0) ==
                                                                port) return true;
    return json_int(service, "spec.healthCheckNodePort", 0) == port;
}

/* --- what is free --- */

struct used {
    uint64_t *offsets;
    size_t count, capacity;
    bool ports[65536];
};

static void used_cleanup(struct used **u)
{
    if (*u)
        free((*u)->offsets);
    free(*u);
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void used_add_ip(struct used *u, const char *ip)
{
    uint64_t offset;
    if (!cidr_offset(&range, ip, &offset))
        return;
    if (u->count == u->capacity) {
        u->capacity = u->capacity ? u->capacity * 2 : 64;
        u->offsets = mem_realloc(u->offsets, u->capacity * sizeof *u->offsets);
    }
    u->offsets[u->count++] = offset;
}

static void used_add(struct used *u, const cJSON *service)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(service, "spec.clusterIPs")) if (cJSON_IsString(item))
        used_add_ip(u, item->valuestring);
    cJSON_ArrayForEach(item, json_path(service, "spec.ports"))
        u->ports[json_int(item, "nodePort", 0) & 0xffff] = true;
    u->ports[json_int(service, "spec.healthCheckNodePort", 0) & 0xffff] = true;
}

/* NULL with an error. uid: a Service that is not counted. */
static struct used *used_load(struct storage *storage, const char *uid, struct error **err)
{
    struct stored **list = NULL;
    size_t count = 0;
    uint64_t revision;
    if (!storage_list(storage, resource_find("", "v1", "services"), NULL, &list, &count, &revision,
                      err))
        return NULL;
    struct used *u = mem_alloc(sizeof *u);
    for (size_t i = 0; i < count; i++) {
        if (!uid || !list[i]->uid || strcmp(uid, list[i]->uid) != 0) {
            cleanup_json cJSON *service = json_parse(list[i]->json, list[i]->len, NULL);
            used_add(u, service);
        }
        stored_unref(list[i]);
    }
    free(list);
    if (u->count)
        qsort(u->offsets, u->count, sizeof *u->offsets, compare_offsets);
    return u;
}

static bool used_has(const struct used *u, uint64_t offset)
{
    return u && u->count && bsearch(&offset, u->offsets, u->count, sizeof offset, compare_offsets);
}

static uint64_t random_below(uint64_t n)
{
    uint64_t r = 0;
    while (getrandom(&r, sizeof r, 0) != sizeof r)
        ;
    return r % n;
}

/* A free one of first..last, from a random place on; false when there is none. */
static bool pick_offset(const struct used *u, uint64_t first, uint64_t last, uint64_t *out)
{
    uint64_t n = last - first + 1, start = random_below(n);
    for (uint64_t i = 0; i < n; i++) {
        *out = first + (start + i) % n;
        if (!used_has(u, *out))
            return true;
        /* More cannot be taken than are known to be. */
        if (i > u->count)
            break;
    }
    return false;
}

static bool pick_ip(const struct used *u, char out[ADDRESS_TEXT_MAX], struct error **err)
{
    uint64_t offset;
    uint64_t upper = range.band && range.band < range.last ? range.band : range.first;
    if (!pick_offset(u, upper, range.last, &offset) &&
        (upper == range.first || !pick_offset(u, range.first, upper - 1, &offset))) {
        error_set(err, 500, "InternalError",
                  "Internal error occurred: failed to allocate a serviceIP: range is full");
        return false;
    }
    cidr_address(&range, offset, out);
    return true;
}

static bool pick_port(const struct used *u, const cJSON *service, int64_t *out, struct error **err)
{
    int64_t n = port_last - port_first + 1, start = (int64_t)random_below((uint64_t)n);
    for (int64_t i = 0; i < n; i++) {
        *out = port_first + (start + i) % n;
        if (!(u && u->ports[*out]) && !holds_port(service, *out))
            return true;
    }
    error_set(err, 500, "InternalError",
              "Internal error occurred: failed to allocate a nodePort: range is full");
    return false;
}

/* --- errors about what was asked for by name --- */

static bool ip_error(const cJSON *service, const char *ip, const char *why, struct error **err)
{
    cleanup_field_errors struct field_errors errors = {0};
    field_invalid(&errors, PATH_CHILD(PATH_ROOT("spec"), "clusterIPs"),
                  json_path(service, "spec.clusterIPs"), "failed to allocate IP %s: %s", ip, why);
    return field_errors_check(&errors, "", "Service", json_str_or(service, "metadata.name", ""),
                              err);
}

static bool port_error(const cJSON *service, int index, int64_t port, const char *why,
                       struct error **err)
{
    cleanup_field_errors struct field_errors errors = {0};
    const struct field_path *spec = PATH_ROOT("spec");
    if (index < 0)
        field_invalid_int(&errors, PATH_CHILD(spec, "healthCheckNodePort"), port, "%s", why);
    else
        field_invalid_int(&errors,
                          PATH_CHILD(PATH_INDEX(PATH_CHILD(spec, "ports"), index), "nodePort"),
                          port, "%s", why);
    return field_errors_check(&errors, "", "Service", json_str_or(service, "metadata.name", ""),
                              err);
}

static bool check_port(const cJSON *service, int index, int64_t port, struct error **err)
{
    if (port >= port_first && port <= port_last)
        return true;
    cleanup_free char *why =
        mem_printf("provided port is not in the valid range. The range of valid ports is %lld-%lld",
                   (long long)port_first, (long long)port_last);
    return port_error(service, index, port, why, err);
}

/* --- giving out --- */

static bool allocate_ips(cJSON *service, const cJSON *old, const struct used *u, struct claims *out,
                         struct error **err)
{
    const cJSON *ip;
    if (old && service_needs_ip(old))
        cJSON_ArrayForEach(
            ip, json_path(old, "spec.clusterIPs")) if (cJSON_IsString(ip) &&
                                                       strcmp(ip->valuestring, "None") &&
                                                       !holds_ip(service, ip->valuestring))
            claim_add(out, ip_key(ip->valuestring), true);
    if (!service_needs_ip(service) || service_headless(service))
        return true;
    if (cJSON_GetArraySize(json_path(service, "spec.clusterIPs")) == 0) {
        char text[ADDRESS_TEXT_MAX];
        if (!pick_ip(u, text, err))
            return false;
        cJSON *list = cJSON_CreateArray();
        cJSON_AddItemToArray(list, cJSON_CreateString(text));
        json_set(service, "spec.clusterIPs", list);
        json_set_str(service, "spec.clusterIP", text);
        claim_add(out, ip_key(text), false);
        return true;
    }
    cJSON_ArrayForEach(ip, json_path(service, "spec.clusterIPs"))
    {
        const char *text = cJSON_IsString(ip) ? ip->valuestring : "";
        if (holds_ip(old, text))
            continue;
        uint64_t offset;
        if (!cidr_offset(&range, text, &offset) || offset < range.first || offset > range.last) {
            cleanup_free char *why = mem_printf(
                "the provided IP (%s) is not in the valid range. The range of valid IPs is %s",
                text, range_text);
            return ip_error(service, text, why, err);
        }
        if (used_has(u, offset))
            return ip_error(service, text, "provided IP is already allocated", err);
        claim_add(out, ip_key(text), false);
    }
    return true;
}

/* The node port that another of the ports with the same number has (DNS over UDP and TCP share
 * one). */
static int64_t twin_port(const cJSON *service, const cJSON *port)
{
    const cJSON *p;
    cJSON_ArrayForEach(
        p, json_path(service,
                     "spec.ports")) if (p != port &&
                                        json_int(p, "port", 0) == json_int(port, "port", 0) &&
                                        strcmp(json_str_or(p, "protocol", "TCP"),
                                               json_str_or(port, "protocol", "TCP")) != 0 &&
                                        json_int(p, "nodePort", 0)) return json_int(p, "nodePort",
                                                                                    0);
    return 0;
}

static bool claim_port(const cJSON *service, int index, int64_t port, const struct used *u,
                       struct claims *out, struct error **err)
{
    if (!check_port(service, index, port, err))
        return false;
    if (u && u->ports[port])
        return port_error(service, index, port, "provided port is already allocated", err);
    claim_add(out, port_key(port), false);
    return true;
}

static bool allocate_ports(cJSON *service, const cJSON *old, const struct used *u,
                           struct claims *out, struct error **err)
{
    bool needs = service_needs_node_ports(service);
    cJSON *p;
    int index = 0;
    cJSON_ArrayForEach(p, json_path(service, "spec.ports"))
    {
        int64_t port = json_int(p, "nodePort", 0);
        if (!port && needs)
            port = twin_port(service, p);
        if (!port && needs && !pick_port(u, service, &port, err))
            return false;
        if (port) {
            json_set_int(p, "nodePort", port);
            if (!holds_port(old, port) && !claim_port(service, index, port, u, out, err))
                return false;
        }
        index++;
    }
    int64_t health = json_int(service, "spec.healthCheckNodePort", 0);
    if (service_needs_health_port(service)) {
        if (!health && !pick_port(u, service, &health, err))
            return false;
        json_set_int(service, "spec.healthCheckNodePort", health);
        if (!holds_port(old, health) && !claim_port(service, -1, health, u, out, err))
            return false;
    }
    if (!old)
        return true;
    const cJSON *q;
    cJSON_ArrayForEach(q, json_path(old, "spec.ports"))
    {
        int64_t port = json_int(q, "nodePort", 0);
        if (port && !holds_port(service, port))
            claim_add(out, port_key(port), true);
    }
    health = json_int(old, "spec.healthCheckNodePort", 0);
    if (health && !holds_port(service, health))
        claim_add(out, port_key(health), true);
    return true;
}

bool service_allocate(struct storage *storage, cJSON *service, const cJSON *old, int attempt,
                      struct claims *out, struct error **err)
{
    __attribute__((cleanup(used_cleanup))) struct used *u = NULL;
    if (attempt > 0) {
        u = used_load(storage, json_str(old, "metadata.uid"), err);
        if (!u)
            return false;
    }
    return allocate_ips(service, old, u, out, err) && allocate_ports(service, old, u, out, err);
}

bool service_explain_taken(struct storage *storage, const cJSON *asked, const cJSON *old,
                           struct error **err)
{
    __attribute__((cleanup(used_cleanup))) struct used *u =
        used_load(storage, json_str(old, "metadata.uid"), err);
    if (!u)
        return false;
    bool chooses = false; /* is anything left to our own choice? */
    const cJSON *item;
    const cJSON *ips = json_path(asked, "spec.clusterIPs");
    if (service_needs_ip(asked) && !service_headless(asked)) {
        chooses |= cJSON_GetArraySize(ips) == 0;
        cJSON_ArrayForEach(item, ips)
        {
            uint64_t offset;
            if (cJSON_IsString(item) && !holds_ip(old, item->valuestring) &&
                cidr_offset(&range, item->valuestring, &offset) && used_has(u, offset))
                return ip_error(asked, item->valuestring, "provided IP is already allocated", err);
        }
    }
    int index = 0;
    cJSON_ArrayForEach(item, json_path(asked, "spec.ports"))
    {
        int64_t port = json_int(item, "nodePort", 0);
        chooses |= !port && service_needs_node_ports(asked);
        if (port && !holds_port(old, port) && u->ports[port & 0xffff])
            return port_error(asked, index, port, "provided port is already allocated", err);
        index++;
    }
    chooses |= service_needs_health_port(asked) && !json_int(asked, "spec.healthCheckNodePort", 0);
    if (chooses)
        return true;
    /* All was asked for by name, and its holder is not to be seen (it went a moment ago). */
    if (ips && cJSON_IsString(ips->child) && !service_headless(asked) &&
        !holds_ip(old, ips->child->valuestring))
        return ip_error(asked, ips->child->valuestring, "provided IP is already allocated", err);
    return port_error(asked, 0, json_int(json_path(asked, "spec.ports")->child, "nodePort", 0),
                      "provided port is already allocated", err);
}

struct stored *service_create(struct storage *storage, const cJSON *asked, struct error **err)
{
    const struct resource *services = resource_find("", "v1", "services");
    for (int attempt = 0;; attempt++) {
        cleanup_json cJSON *service = json_dup(asked);
        struct claims claims = {0};
        struct error *why = NULL;
        struct stored *s = NULL;
        if (service_allocate(storage, service, NULL, attempt, &claims, &why))
            s = storage_create(storage, services, service, claims.items, claims.count, &why);
        claims_clear(&claims);
        if (s)
            return s;
        struct error *explained = NULL;
        bool again = why && !strcmp(why->reason, "ClaimTaken") && attempt < CLAIM_ATTEMPTS &&
                     service_explain_taken(storage, asked, NULL, &explained);
        if (again) {
            error_free(why);
            continue;
        }
        if (explained) {
            error_free(why);
            why = explained;
        }
        error_move(err, why);
        return NULL;
    }
}

void service_release(const cJSON *service, struct claims *out)
{
    const cJSON *item;
    if (service_needs_ip(service))
        cJSON_ArrayForEach(
            item, json_path(service, "spec.clusterIPs")) if (cJSON_IsString(item) &&
                                                             strcmp(item->valuestring, "None") &&
                                                             *item->valuestring)
            claim_add(out, ip_key(item->valuestring), true);
    cJSON_ArrayForEach(item, json_path(service, "spec.ports")) if (json_int(item, "nodePort", 0))
        claim_add(out, port_key(json_int(item, "nodePort", 0)), true);
    if (json_int(service, "spec.healthCheckNodePort", 0))
        claim_add(out, port_key(json_int(service, "spec.healthCheckNodePort", 0)), true);
}
