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
enum { MAX_RANGES = 2 };
static struct cidr ranges[MAX_RANGES]; /* of different families; Services get the first one's unless they ask */
static char *range_texts[MAX_RANGES];
static int range_count;
static int64_t port_first = 30000, port_last = 32767;

bool services_start(const struct api_config *config, struct error **err)
{
    const char *text =
        config->service_cluster_ip_range ? config->service_cluster_ip_range : "10.96.0.0/16";
    range_count = 0;
    for (const char *p = text; *p; p += strcspn(p, ","), p += *p == ',') {
        if (range_count == MAX_RANGES) {
            error_setf(err, "--service-cluster-ip-range: at most two ranges, one of each IP family");
            return false;
        }
        free(range_texts[range_count]);
        range_texts[range_count] = mem_strndup(p, strcspn(p, ","));
        if (!cidr_parse(range_texts[range_count], &ranges[range_count], err)) {
            error_wrap(err, "--service-cluster-ip-range");
            return false;
        }
        range_count++;
    }
    if (range_count == 0 || (range_count == 2 && ranges[0].family == ranges[1].family)) {
        error_setf(err, "--service-cluster-ip-range: one range is needed, or two of different IP families");
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

static const char *family_name(const struct cidr *c)
{
    return c->family == AF_INET6 ? "IPv6" : "IPv4";
}

const char *service_range_family(int index)
{
    return index < range_count ? family_name(&ranges[index]) : NULL;
}

/* -1: no range of this family. */
static int range_of_family(const char *family)
{
    for (int i = 0; i < range_count; i++)
        if (strcmp(family_name(&ranges[i]), family) == 0)
            return i;
    return -1;
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

struct used_offsets {
    uint64_t *offsets;
    size_t count, capacity;
};
struct used {
    struct used_offsets ips[MAX_RANGES]; /* of each range */
    bool ports[65536];
};

static void used_cleanup(struct used **u)
{
    for (int i = 0; *u && i < MAX_RANGES; i++)
        free((*u)->ips[i].offsets);
    free(*u);
}

static int compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void used_add_ip(struct used *u, const char *ip)
{
    for (int i = 0; i < range_count; i++) {
        struct used_offsets *o = &u->ips[i];
        uint64_t offset;
        if (!cidr_offset(&ranges[i], ip, &offset))
            continue;
        if (o->count == o->capacity) {
            o->capacity = o->capacity ? o->capacity * 2 : 64;
            o->offsets = mem_realloc(o->offsets, o->capacity * sizeof *o->offsets);
        }
        o->offsets[o->count++] = offset;
    }
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
    for (int i = 0; i < range_count; i++)
        if (u->ips[i].count)
            qsort(u->ips[i].offsets, u->ips[i].count, sizeof *u->ips[i].offsets, compare_offsets);
    return u;
}

static bool used_has(const struct used *u, int range, uint64_t offset)
{
    const struct used_offsets *o = u ? &u->ips[range] : NULL;
    return o && o->count &&
           bsearch(&offset, o->offsets, o->count, sizeof offset, compare_offsets);
}

/* The range that an address is of, and its place there; -1: none. */
static int range_of_ip(const char *ip, uint64_t *offset)
{
    for (int i = 0; i < range_count; i++)
        if (cidr_offset(&ranges[i], ip, offset))
            return i;
    return -1;
}

static bool ip_is_used(const struct used *u, const char *ip)
{
    uint64_t offset;
    int range = range_of_ip(ip, &offset);
    return range >= 0 && used_has(u, range, offset);
}

static uint64_t random_below(uint64_t n)
{
    uint64_t r = 0;
    while (getrandom(&r, sizeof r, 0) != sizeof r)
        ;
    return r % n;
}

/* A free one of first..last, from a random place on; false when there is none. */
static bool pick_offset(const struct used *u, int range, uint64_t first, uint64_t last, uint64_t *out)
{
    uint64_t n = last - first + 1, start = random_below(n);
    for (uint64_t i = 0; i < n; i++) {
        *out = first + (start + i) % n;
        if (!used_has(u, range, *out))
            return true;
        /* More cannot be taken than are known to be. */
        if (i > u->ips[range].count)
            break;
    }
    return false;
}

static bool pick_ip(const struct used *u, int range, char out[ADDRESS_TEXT_MAX], struct error **err)
{
    const struct cidr *c = &ranges[range];
    uint64_t offset;
    uint64_t upper = c->band && c->band < c->last ? c->band : c->first;
    if (!pick_offset(u, range, upper, c->last, &offset) &&
        (upper == c->first || !pick_offset(u, range, c->first, upper - 1, &offset))) {
        error_set(err, 500, "InternalError",
                  "Internal error occurred: failed to allocate a serviceIP: range is full");
        return false;
    }
    cidr_address(c, offset, out);
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

/* An address that the client asked for, or that the Service has. */
static bool claim_given(const cJSON *service, const cJSON *old, const cJSON *given, int range,
                        const struct used *u, struct claims *out, struct error **err)
{
    const char *text = cJSON_IsString(given) ? given->valuestring : "";
    if (holds_ip(old, text))
        return true;
    uint64_t offset;
    if (range < 0)
        range = 0;
    if (!cidr_offset(&ranges[range], text, &offset) || offset < ranges[range].first ||
        offset > ranges[range].last) {
        cleanup_free char *why = mem_printf(
            "the provided IP (%s) is not in the valid range. The range of valid IPs is %s", text,
            range_texts[range]);
        return ip_error(service, text, why, err);
    }
    if (used_has(u, range, offset))
        return ip_error(service, text, "provided IP is already allocated", err);
    claim_add(out, ip_key(text), false);
    return true;
}

static bool add_picked(cJSON *service, int range, const struct used *u, struct claims *out,
                       struct error **err)
{
    char text[ADDRESS_TEXT_MAX];
    if (!pick_ip(u, range, text, err))
        return false;
    cJSON_AddItemToArray(json_ensure_array(service, "spec.clusterIPs"), cJSON_CreateString(text));
    claim_add(out, ip_key(text), false);
    return true;
}

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
    const cJSON *families = json_path(service, "spec.ipFamilies");
    cJSON *ips = json_ensure_array(service, "spec.clusterIPs");
    int wanted = cJSON_GetArraySize(families) > 1 ? 2 : 1;
    for (int i = 0; i < wanted || i < cJSON_GetArraySize(ips); i++) {
        const cJSON *given = cJSON_GetArrayItem(ips, i), *family = cJSON_GetArrayItem(families, i);
        int range = cJSON_IsString(family) ? range_of_family(family->valuestring) : 0;
        if (given ? !claim_given(service, old, given, range, u, out, err)
                  : range >= 0 && !add_picked(service, range, u, out, err))
            return false;
    }
    if (cJSON_IsString(ips->child))
        json_set_str(service, "spec.clusterIP", ips->child->valuestring);
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
        chooses |= cJSON_GetArraySize(ips) <
                   (cJSON_GetArraySize(json_path(asked, "spec.ipFamilies")) > 1 ? 2 : 1);
        cJSON_ArrayForEach(item, ips)
        {
            if (cJSON_IsString(item) && !holds_ip(old, item->valuestring) &&
                ip_is_used(u, item->valuestring))
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
