#include "kube-proxy/health.h"
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include "common/httpd.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "kube-proxy/hash.h"

struct check {
    char *ns, *name;
    uint16_t port;
    _Atomic size_t endpoints; /* the server's thread reads it */
    struct httpd *server;     /* NULL: the port could not be opened */
};

struct health_checks {
    struct hash checks; /* service -> struct check */
};

struct health_checks *health_checks_new(void)
{
    return mem_alloc(sizeof(struct health_checks));
}

static void check_free(void *p)
{
    struct check *c = p;
    if (!c)
        return;
    if (c->server)
        httpd_stop(c->server);
    free(c->ns);
    free(c->name);
    free(c);
}

void health_checks_free(struct health_checks *h)
{
    hash_clear(&h->checks, check_free);
    free(h);
}

static void answer(struct httpd_request *req, void *userdata)
{
    struct check *c = userdata;
    size_t n = atomic_load(&c->endpoints);
    cleanup_free char *count = mem_printf("%zu", n);
    cleanup_free char *body =
        mem_printf("{\n\t\"service\": {\n\t\t\"namespace\": \"%s\",\n\t\t\"name\": \"%s\"\n\t},\n"
                   "\t\"localEndpoints\": %zu,\n\t\"serviceProxyHealthy\": true\n}",
                   c->ns, c->name, n);
    httpd_add_header(req, "X-Content-Type-Options", "nosniff");
    httpd_add_header(req, "X-Load-Balancing-Endpoint-Weight", count);
    httpd_reply(req, n ? 200 : 503, "application/json", body, strlen(body));
}

static void open_port(struct check *c, const char *service)
{
    cleanup_error struct error *err = NULL;
    cleanup_free char *port = mem_printf("%u", c->port);
    const char *const hosts[] = {"[::]", "0.0.0.0"}; /* the first is both, where there is IPv6 */
    for (size_t i = 0; i < ARRAY_LEN(hosts) && !c->server; i++) {
        cleanup_free char *address = mem_printf("%s:%u", hosts[i], c->port);
        error_free(err);
        err = NULL;
        c->server = httpd_start(&(struct httpd_options){.address = address,
                                                        .threads = 1,
                                                        .max_body = 4096,
                                                        .idle_timeout_seconds = 30,
                                                        .handler = answer,
                                                        .userdata = c},
                                &err);
    }
    if (!c->server)
        log_error("Could not open a health-check node port", "service", service, "port", port,
                  "err", error_message(err));
}

void health_checks_set(struct health_checks *h, const char *service, uint16_t port,
                       size_t local_endpoints)
{
    struct check *c = hash_get(&h->checks, service);
    if (c && c->port != port) {
        check_free(hash_remove(&h->checks, service));
        c = NULL;
    }
    if (!port)
        return;
    if (!c) {
        c = mem_alloc(sizeof *c);
        const char *slash = strchr(service, '/');
        c->ns = mem_strndup(service, (size_t)(slash - service));
        c->name = mem_strdup(slash + 1);
        c->port = port;
        hash_set(&h->checks, service, c);
    }
    atomic_store(&c->endpoints, local_endpoints);
    if (!c->server)
        open_port(c, service);
}
