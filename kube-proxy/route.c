#include "kube-proxy/route.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include "common/mem.h"

/* Marks the routes as ours (rtm_protocol); not used by any routing daemon. */
enum { ROUTE_PROTOCOL = 89 };

struct routes {
    struct mnl_socket *socket;
    unsigned sequence;
};

bool route_parse_cidr(const char *text, uint32_t *address, uint8_t *prefix)
{
    unsigned a, b, c, d, bits;
    char end;
    if (!text || sscanf(text, "%3u.%3u.%3u.%3u/%2u%c", &a, &b, &c, &d, &bits, &end) != 5 || a > 255 ||
        b > 255 || c > 255 || d > 255 || bits > 32)
        return false;
    uint32_t mask = bits ? ~0u << (32 - bits) : 0;
    *address = htonl((a << 24 | b << 16 | c << 8 | d) & mask);
    *prefix = (uint8_t)bits;
    return true;
}

bool route_equal(const struct route *a, const struct route *b)
{
    return a->destination == b->destination && a->prefix == b->prefix && a->gateway == b->gateway &&
           a->source == b->source;
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

/* The interface that has this address; 0 if none. */
static unsigned interface_of(uint32_t ip)
{
    struct ifaddrs *list = NULL;
    unsigned index = 0;
    if (getifaddrs(&list) != 0)
        return 0;
    for (struct ifaddrs *a = list; a && !index; a = a->ifa_next)
        if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET &&
            ((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr.s_addr == ip)
            index = if_nametoindex(a->ifa_name);
    freeifaddrs(list);
    return index;
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
    m->rtm_family = AF_INET;
    m->rtm_dst_len = route->prefix;
    m->rtm_table = RT_TABLE_MAIN;
    m->rtm_protocol = ROUTE_PROTOCOL;
    m->rtm_type = add ? RTN_UNICAST : RTN_UNSPEC;
    m->rtm_scope = !add ? RT_SCOPE_NOWHERE : route->gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    mnl_attr_put_u32(h, RTA_DST, route->destination);
    if (add && route->gateway)
        mnl_attr_put_u32(h, RTA_GATEWAY, route->gateway);
    if (add && route->source)
        mnl_attr_put_u32(h, RTA_PREFSRC, route->source);
    if (add && !route->gateway) {
        unsigned index = interface_of(route->source);
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
    if (m->rtm_family != AF_INET || m->rtm_table != RT_TABLE_MAIN || m->rtm_protocol != ROUTE_PROTOCOL)
        return MNL_CB_OK;
    struct route route = {.prefix = m->rtm_dst_len};
    const struct nlattr *a;
    mnl_attr_for_each(a, h, sizeof *m)
    {
        if (mnl_attr_get_payload_len(a) != sizeof(uint32_t))
            continue;
        switch (mnl_attr_get_type(a)) {
        case RTA_DST:
            route.destination = mnl_attr_get_u32(a);
            break;
        case RTA_GATEWAY:
            route.gateway = mnl_attr_get_u32(a);
            break;
        case RTA_PREFSRC:
            route.source = mnl_attr_get_u32(a);
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
    m->rtm_family = AF_INET;
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
        if (list[i].destination == route->destination && list[i].prefix == route->prefix)
            return true;
    return false;
}

static void describe(struct error **err, int errno_value, const char *verb, const struct route *route)
{
    char to[INET_ADDRSTRLEN], via[INET_ADDRSTRLEN];
    error_set_errno(err, errno_value, "%s the route to %s/%d via %s", verb,
                    inet_ntop(AF_INET, &route->destination, to, sizeof to), route->prefix,
                    inet_ntop(AF_INET, &route->gateway, via, sizeof via));
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
        if (!same_destination(&have.routes[i], wanted, count) && !change(r, false, &have.routes[i]) &&
            errno != ESRCH && ok) {
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
