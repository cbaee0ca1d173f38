#include "kube-proxy/route.h"
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include "common/mem.h"

/* Marks the routes as ours (rtm_protocol); not used by any routing daemon. */
enum { ROUTE_PROTOCOL = 89 };

struct routes {
    struct mnl_socket *socket;
    unsigned sequence;
};

bool route_equal(const struct route *a, const struct route *b)
{
    return a->prefix == b->prefix && address_equal(&a->destination, &b->destination) &&
           address_equal(&a->gateway, &b->gateway) && address_equal(&a->source, &b->source);
}

struct routes *routes_new(struct error **err)
{
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) != 0) {
        error_set_errno(err, errno, "opening a route socket");
        if (socket)
            mnl_socket_close(socket);
        return NULL;
    }
    struct routes *r = mem_alloc(sizeof *r);
    r->socket = socket;
    return r;
}

void routes_free(struct routes *r)
{
    if (!r)
        return;
    mnl_socket_close(r->socket);
    free(r);
}

static size_t address_size(const struct address *a)
{
    return a->family == AF_INET ? 4 : 16;
}

/* The interface that has this address; 0 if none. */
static unsigned interface_of(const struct address *ip)
{
    struct ifaddrs *list = NULL;
    unsigned index = 0;
    if (getifaddrs(&list) != 0)
        return 0;
    for (struct ifaddrs *a = list; a && !index; a = a->ifa_next) {
        if (!a->ifa_addr || a->ifa_addr->sa_family != ip->family)
            continue;
        const void *bytes =
            ip->family == AF_INET
                ? (const void *)&((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr
                : (const void *)&((const struct sockaddr_in6 *)(const void *)a->ifa_addr)
                      ->sin6_addr;
        if (memcmp(bytes, ip->bytes, address_size(ip)) == 0)
            index = if_nametoindex(a->ifa_name);
    }
    freeifaddrs(list);
    return index;
}

static void put_address(struct nlmsghdr *h, uint16_t type, const struct address *a)
{
    if (a->family)
        mnl_attr_put(h, type, address_size(a), a->bytes);
}

/* Sends a request and handles its answers up to the acknowledgement or the end of the list. */
static bool exchange(struct routes *r, struct nlmsghdr *request, mnl_cb_t cb, void *data)
{
    char buffer[16384];
    unsigned port = mnl_socket_get_portid(r->socket);
    request->nlmsg_seq = ++r->sequence;
    if (mnl_socket_sendto(r->socket, request, request->nlmsg_len) < 0)
        return false;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(r->socket, buffer, sizeof buffer);
        if (n < 0)
            return false;
        int result = mnl_cb_run(buffer, (size_t)n, r->sequence, port, cb, data);
        if (result <= MNL_CB_STOP)
            return result == MNL_CB_STOP;
    }
}

static bool change(struct routes *r, bool add, const struct route *route)
{
    char buffer[512];
    memset(buffer, 0, sizeof buffer);
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = add ? RTM_NEWROUTE : RTM_DELROUTE;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_REPLACE : 0);
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    m->rtm_family = route->destination.family;
    m->rtm_dst_len = route->prefix;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = ROUTE_PROTOCOL;
    m->rtm_type = add ? RTN_UNICAST : RTN_UNSPEC;
    bool direct = route->destination.family == AF_INET && !route->gateway.family;
    m->rtm_scope = !add ? RT_SCOPE_NOWHERE : direct ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    put_address(h, RTA_DST, &route->destination);
    if (add) {
        put_address(h, RTA_GATEWAY, &route->gateway);
        put_address(h, RTA_PREFSRC, &route->source);
    }
    if (add && !route->gateway.family) {
        unsigned index = interface_of(&route->source);
        if (index == 0) {
            errno = ENODEV;
            return false;
        }
        mnl_attr_put_u32(h, RTA_OIF, index);
    }
    return exchange(r, h, NULL, NULL);
}

struct found {
    struct route *routes;
    size_t count;
};

static int on_route(const struct nlmsghdr *h, void *data)
{
    struct found *f = data;
    const struct rtmsg *m = mnl_nlmsg_get_payload(h);
    if ((m->rtm_family != AF_INET && m->rtm_family != AF_INET6) || m->rtm_table != RT_TABLE_MAIN ||
        m->rtm_protocol != ROUTE_PROTOCOL)
        return MNL_CB_OK;
    struct route route = {.prefix = m->rtm_dst_len, .destination.family = m->rtm_family};
    const struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof *m)
    {
        struct address ip = {.family = m->rtm_family};
        if (mnl_attr_get_payload_len(a) != address_size(&ip))
            continue;
        memcpy(ip.bytes, mnl_attr_get_payload(a), address_size(&ip));
        switch (mnl_attr_get_type(a)) {
        case RTA_DST:
            route.destination = ip;
            break;
        case RTA_GATEWAY:
            route.gateway = ip;
            break;
        case RTA_PREFSRC:
            route.source = ip;
            break;
        default:
            break;
        }
    }
    f->routes = mem_realloc(f->routes, (f->count + 1) * sizeof *f->routes);
    f->routes[f->count++] = route;
    return MNL_CB_OK;
}

static bool list_ours(struct routes *r, struct found *f)
{
    char buffer[256];
    memset(buffer, 0, sizeof buffer);
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    h->nlmsg_type = RTM_GETROUTE;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    struct rtmsg *m = mnl_nlmsg_put_extra_header(h, sizeof *m);
    m->rtm_family = AF_UNSPEC;
    return exchange(r, h, on_route, f);
}

static bool is_in(const struct route *route, const struct route *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (route_equal(&list[i], route))
            return true;
    return false;
}

/* A route that only changes is replaced, never missing in between. */
static bool same_destination(const struct route *route, const struct route *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].prefix == route->prefix &&
            address_equal(&list[i].destination, &route->destination))
            return true;
    return false;
}

static void describe(struct error **err, int errno_value, const char *verb,
                     const struct route *route)
{
    char to[ADDRESS_TEXT_MAX], via[ADDRESS_TEXT_MAX];
    error_set_errno(err, errno_value, "%s the route to %s/%d via %s", verb,
                    address_text(&route->destination, to), route->prefix,
                    address_text(&route->gateway, via));
}

bool routes_sync(struct routes *r, const struct route *wanted, size_t count, struct error **err)
{
    struct found have = {0};
    if (!list_ours(r, &have)) {
        error_set_errno(err, errno, "listing routes");
        free(have.routes);
        return false;
    }
    bool ok = true;
    for (size_t i = 0; i < have.count; i++) {
        if (!same_destination(&have.routes[i], wanted, count) &&
            !change(r, false, &have.routes[i]) && errno != ESRCH && ok) {
            describe(err, errno, "removing", &have.routes[i]);
            ok = false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_in(&wanted[i], have.routes, have.count) && !change(r, true, &wanted[i]) && ok) {
            describe(err, errno, "adding", &wanted[i]);
            ok = false;
        }
    }
    free(have.routes);
    return ok;
}
