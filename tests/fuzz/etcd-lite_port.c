/* Fuzz target: a whole member, at its port between members. Each input is a connection to it: the
 * first byte says of what kind, and whether its greeting is right; the rest is what is sent. The
 * member must live, lead and answer on. */
#include <arpa/inet.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "etcd-lite/server.h"
#include "common/mem.h"

static struct server *server;
static struct sockaddr_in address = {.sin_family = AF_INET};

static void start(void)
{
    char dir[] = "/tmp/fuzz-port.XXXXXX", url[64];
    if (!mkdtemp(dir))
        abort();
    cleanup_free char *member = mem_printf("%s/member", dir), *raft = mem_printf("%s/raft", member);
    if (mkdir(member, 0700) < 0 || mkdir(raft, 0700) < 0)
        abort();
    /* A port that is free now. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        abort();
    close(fd);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", ntohs(address.sin_port));
    struct cluster_member self = {.id = 1, .name = "m", .peer_url = url};
    static const char *client_urls[] = {"http://127.0.0.1:1", NULL};
    struct server_options o = {.name = "m",
                               .data_dir = dir,
                               .cluster_id = 7,
                               .member_id = 1,
                               .members = &self,
                               .n_members = 1,
                               .fresh = true,
                               .listen_peer_url = url,
                               .advertise_peer_url = url,
                               .client_urls = client_urls,
                               .heartbeat_ms = 100,
                               .election_ms = 500};
    static struct server_options *kept; /* as long as the server */
    kept = mem_dup(&o, sizeof(o));
    kept->data_dir = mem_strdup(dir);
    kept->listen_peer_url = kept->advertise_peer_url = mem_strdup(url);
    kept->members = mem_dup(&self, sizeof(self));
    kept->members->peer_url = (char *)kept->listen_peer_url;
    struct error *e = NULL;
    server = server_start(kept, &e);
    if (!server) {
        fprintf(stderr, "%s\n", error_message(e));
        abort();
    }
    for (int i = 0; i < 500 && !server_ready(server); i++)
        usleep(10000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!server)
        start();
    if (size < 1)
        return 0;
    struct {
        uint32_t magic;
        uint16_t kind, url_len;
        uint64_t cluster, from, to;
    } greeting = {0x31504b53u, (uint16_t)(data[0] % 5), 3, 7, data[0] & 0x10 ? 1 : 99, 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        abort(); /* it listens no more */
    if (!(data[0] & 0x80)) {
        send(fd, &greeting, sizeof(greeting), MSG_NOSIGNAL);
        send(fd, "url", 3, MSG_NOSIGNAL);
    }
    send(fd, data + 1, size - 1, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    char answer[4096];
    struct pollfd p = {fd, POLLIN, 0};
    while (poll(&p, 1, 50) > 0 && recv(fd, answer, sizeof(answer), 0) > 0)
        ;
    close(fd);
    if (server_failed(server))
        abort();
    return 0;
}
