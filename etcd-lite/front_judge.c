/* What a connection's first bytes say about its protocol (RFC 9113 section 3.4, RFC 8446 section
 * 4.1.2, RFC 7301). Only looks: nothing here is trusted, a wrong guess ends in a failed handshake. */
#include <string.h>
#include "etcd-lite/front.h"

struct cursor {
    const unsigned char *p, *end;
    bool bad;
};

static size_t number(struct cursor *c, size_t bytes)
{
    size_t v = 0;
    if ((size_t)(c->end - c->p) < bytes) {
        c->bad = true;
        c->p = c->end;
        return 0;
    }
    while (bytes-- > 0)
        v = v << 8 | *c->p++;
    return v;
}

/* A vector with a length of so many bytes in front. */
static struct cursor vector(struct cursor *c, size_t bytes)
{
    size_t n = number(c, bytes);
    if ((size_t)(c->end - c->p) < n) {
        c->bad = true;
        n = 0;
    }
    struct cursor inner = {c->p, c->p + n, c->bad};
    c->p += n;
    return inner;
}

static bool offers_only_h2(struct cursor hello)
{
    enum { EXTENSION_ALPN = 16 };
    number(&hello, 2); /* version */
    for (int i = 0; i < 32; i++)
        number(&hello, 1);
    vector(&hello, 1); /* session */
    vector(&hello, 2); /* cipher suites */
    vector(&hello, 1); /* compression */
    struct cursor extensions = vector(&hello, 2);
    while (!extensions.bad && extensions.p < extensions.end) {
        size_t type = number(&extensions, 2);
        struct cursor body = vector(&extensions, 2);
        if (type != EXTENSION_ALPN)
            continue;
        struct cursor names = vector(&body, 2);
        bool h2 = false, http1 = false;
        while (!names.bad && names.p < names.end) {
            struct cursor name = vector(&names, 1);
            size_t n = (size_t)(name.end - name.p);
            h2 |= n == 2 && memcmp(name.p, "h2", 2) == 0;
            http1 |= n == 8 && memcmp(name.p, "http/1.1", 8) == 0;
        }
        return h2 && !http1 && !names.bad;
    }
    return false;
}

enum front_verdict front_judge(const unsigned char *p, size_t len, bool tls)
{
    if (!tls) {
        static const char preface[] = "PRI * HTTP/2";
        size_t n = sizeof(preface) - 1;
        if (memcmp(p, preface, len < n ? len : n) != 0)
            return FRONT_HTTP;
        return len < n ? FRONT_MORE : FRONT_GRPC;
    }
    enum { RECORD_HANDSHAKE = 22, CLIENT_HELLO = 1, HEADER = 5 };
    if (len < HEADER + 4)
        return len > 0 && p[0] != RECORD_HANDSHAKE ? FRONT_HTTP : FRONT_MORE;
    size_t record = (size_t)p[3] << 8 | p[4],
           hello = (size_t)p[6] << 16 | (size_t)p[7] << 8 | p[8];
    /* A greeting in several records is nobody's who speaks gRPC. */
    if (p[0] != RECORD_HANDSHAKE || p[5] != CLIENT_HELLO || record > 16384 || hello + 4 > record)
        return FRONT_HTTP;
    if (len < HEADER + record)
        return FRONT_MORE;
    return offers_only_h2((struct cursor){p + HEADER + 4, p + HEADER + 4 + hello, false})
               ? FRONT_GRPC
               : FRONT_HTTP;
}
