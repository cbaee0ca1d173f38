/* UDP: datagrams come and go in batches (recvmmsg, sendmmsg). */
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "dns/server_internal.h"

#define BATCH        32
#define QUERY_SIZE   2048
#define BATCHES_MAX  8 /* in a row, before others get their turn */
#define SOCKET_BYTES (1 << 20)

struct udp_batch {
    struct mmsghdr in[BATCH], out[BATCH];
    struct iovec in_vec[BATCH], out_vec[BATCH];
    struct sockaddr_storage from[BATCH];
    uint8_t control[BATCH][64];
    uint8_t queries[BATCH][QUERY_SIZE];
    uint8_t answers[BATCH][DNS_UDP_SIZE];
};

/* The packet info tells to which of our addresses a query came; given back with the answer, it is
 * sent from there. The interface is left to routing. */
static void forget_interface(struct msghdr *h)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
            ((struct in_pktinfo *)CMSG_DATA(c))->ipi_ifindex = 0;
        else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo *info = (struct in6_pktinfo *)CMSG_DATA(c);
            if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
                info->ipi6_ifindex = 0;
        }
    }
}

static void send_all(struct server *s, struct mmsghdr *messages, unsigned count)
{
    unsigned sent = 0;
    while (sent < count) {
        int n = sendmmsg(s->udp.fd, messages + sent, count - sent, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        /* An answer that can't be sent is lost, as any datagram may be: the client asks again. */
        sent += n > 0 ? (unsigned)n : 1;
    }
}

static int receive(struct server *s)
{
    struct udp_batch *b = s->batch;
    for (int i = 0; i < BATCH; i++) {
        b->in[i].msg_hdr.msg_namelen = sizeof(b->from[i]);
        b->in[i].msg_hdr.msg_controllen = sizeof(b->control[i]);
    }
    int n = recvmmsg(s->udp.fd, b->in, BATCH, MSG_DONTWAIT, NULL);
    unsigned out = 0;
    for (int i = 0; i < n; i++) {
        struct msghdr *h = &b->in[i].msg_hdr;
        if (h->msg_flags & MSG_TRUNC)
            continue;
        if (h->msg_flags & MSG_CTRUNC)
            h->msg_controllen = 0;
        forget_interface(h);
        struct request r = {.from_len = h->msg_namelen, .control_len = h->msg_controllen};
        memcpy(&r.from, &b->from[i], h->msg_namelen);
        memcpy(r.control, b->control[i], h->msg_controllen);
        size_t len = server_handle(s, b->queries[i], b->in[i].msg_len, b->answers[out], &r);
        if (!len)
            continue;
        b->out_vec[out] = (struct iovec){b->answers[out], len};
        b->out[out].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
                                              .msg_namelen = h->msg_namelen,
                                              .msg_iov = &b->out_vec[out],
                                              .msg_iovlen = 1,
                                              .msg_control = b->control[i],
                                              .msg_controllen = h->msg_controllen};
        out++;
    }
    send_all(s, b->out, out);
    return n;
}

static void ready(struct loop_source *source, uint32_t events)
{
    struct server *s = (struct server *)((char *)source - offsetof(struct server, udp));
    (void)events;
    for (int i = 0; i < BATCHES_MAX && receive(s) == BATCH; i++)
        ;
}

void udp_send(struct server *s, const struct request *r, const uint8_t *wire, size_t len)
{
    struct iovec vec = {(void *)wire, len};
    struct mmsghdr m = {.msg_hdr = {.msg_name = (void *)&r->from,
                                    .msg_namelen = r->from_len,
                                    .msg_iov = &vec,
                                    .msg_iovlen = 1,
                                    .msg_control = r->control_len ? (void *)r->control : NULL,
                                    .msg_controllen = r->control_len}};
    send_all(s, &m, 1);
}

bool udp_open(struct server *s, struct error **err)
{
    s->udp = (struct loop_source){server_socket(s, SOCK_DGRAM, err), ready};
    if (s->udp.fd < 0)
        return false;
    int one = 1, size = SOCKET_BYTES;
    setsockopt(s->udp.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(s->udp.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (setsockopt(s->udp.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one)) <
        0) /* IPv4 too, as mapped addresses */
        setsockopt(s->udp.fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
    s->batch = mem_alloc(sizeof(*s->batch));
    for (int i = 0; i < BATCH; i++) {
        s->batch->in_vec[i] = (struct iovec){s->batch->queries[i], QUERY_SIZE};
        s->batch->in[i].msg_hdr = (struct msghdr){.msg_name = &s->batch->from[i],
                                                  .msg_iov = &s->batch->in_vec[i],
                                                  .msg_iovlen = 1,
                                                  .msg_control = s->batch->control[i]};
    }
    return loop_add(&s->loop, &s->udp, EPOLLIN);
}

void udp_close(struct server *s)
{
    loop_close(&s->loop, &s->udp);
    free(s->batch);
}
