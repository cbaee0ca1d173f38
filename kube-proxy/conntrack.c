#include "kube-proxy/conntrack.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <netinet/in.h>
#include <string.h>
#include "common/mem.h"

struct dump {
    int family;
    const struct rules_udp *frontends;
    size_t count;
    struct nf_conntrack *
        *stale; /* collected first: entries cannot be deleted while they are being listed */
    size_t stale_count;
};

static bool is_own_address(const struct address *ip)
{
    struct ifaddrs *list = NULL;
    bool own = false;
    if (getifaddrs(&list) != 0)
        return false;
    for (struct ifaddrs *a = list; a && !own; a = a->ifa_next) {
        if (!a->ifa_addr || a->ifa_addr->sa_family != ip->family)
            continue;
        own = ip->family == AF_INET
                  ? memcmp(&((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr,
                           ip->bytes, 4) == 0
                  : memcmp(&((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr,
                           ip->bytes, 16) == 0;
    }
    freeifaddrs(list);
    return own;
}

static bool is_stale(const struct dump *d, const struct address *to, uint16_t port,
                     const struct proxy_endpoint *reached)
{
    for (size_t i = 0; i < d->count; i++) {
        const struct rules_udp *f = &d->frontends[i];
        if (f->port != port || (f->ip.family ? !address_equal(&f->ip, to) : !is_own_address(to)))
            continue;
        for (size_t j = 0; j < f->count; j++)
            if (proxy_endpoint_equal(&f->endpoints[j], reached))
                return false;
        return true;
    }
    return false;
}

static void read_address(const struct dump *d, struct nf_conntrack *ct, enum nf_conntrack_attr v4,
                         enum nf_conntrack_attr v6, struct address *out)
{
    *out = (struct address){.family = (uint8_t)d->family};
    const void *bytes = nfct_get_attr(ct, d->family == AF_INET ? v4 : v6);
    if (bytes)
        memcpy(out->bytes, bytes, d->family == AF_INET ? 4 : 16);
}

static int on_entry(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *data)
{
    (void)type;
    struct dump *d = data;
    if (nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO) != IPPROTO_UDP)
        return NFCT_CB_CONTINUE;
    struct address to;
    struct proxy_endpoint reached = {.port = ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_SRC))};
    read_address(d, ct, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC, &reached.ip);
    read_address(d, ct, ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST, &to);
    if (!is_stale(d, &to, ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST)), &reached))
        return NFCT_CB_CONTINUE;
    d->stale = mem_realloc(d->stale, (d->stale_count + 1) * sizeof *d->stale);
    d->stale[d->stale_count++] = nfct_clone(ct);
    return NFCT_CB_CONTINUE;
}

int conntrack_clean(int family_wanted, const struct rules_udp *frontends, size_t count,
                    struct error **err)
{
    struct nfct_handle *h = nfct_open(CONNTRACK, 0);
    if (!h) {
        error_set_errno(err, errno, "opening connection tracking");
        return -1;
    }
    struct dump d = {.family = family_wanted, .frontends = frontends, .count = count};
    uint32_t family = (uint32_t)family_wanted;
    nfct_callback_register(h, NFCT_T_ALL, on_entry, &d);
    int deleted = 0;
    if (nfct_query(h, NFCT_Q_DUMP, &family) != 0) {
        error_set_errno(err, errno, "listing tracked connections");
        deleted = -1;
    }
    nfct_close(h);
    h = d.stale_count ? nfct_open(CONNTRACK, 0) : NULL;
    for (size_t i = 0; i < d.stale_count; i++) {
        if (h && deleted >= 0 && nfct_query(h, NFCT_Q_DESTROY, d.stale[i]) == 0)
            deleted++; /* otherwise it ended by itself meanwhile */
        nfct_destroy(d.stale[i]);
    }
    if (h)
        nfct_close(h);
    free(d.stale);
    return deleted;
}
