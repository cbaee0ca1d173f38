#include "common/buf.h"
#include "common/mem.h"
#include "kubelet/node/node.h"
#include "kubelet/volume/atomic.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define OUR_FILE "10-skiff.conflist"

/* Does a user's own network configuration stand here? Then it is the user's choice. */
static bool others_file(const char *dir)
{
    bool found = false;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        found = dot && (strcmp(dot, ".conf") == 0 || strcmp(dot, ".conflist") == 0 || strcmp(dot, ".json") == 0) &&
                strcmp(e->d_name, OUR_FILE) != 0;
    }
    if (d)
        closedir(d);
    return found;
}

/* The MTU of the interface that has this address; 0 if none has it. Pods may not send more than their node can. */
static int mtu_of(const char *node_ips)
{
    cleanup_free char *ip = mem_strndup(node_ips, strcspn(node_ips, ","));
    bool v6 = strchr(ip, ':') != NULL;
    unsigned char wanted[16];
    struct ifaddrs *list = NULL;
    int mtu = 0;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, ip, wanted) != 1 || getifaddrs(&list) != 0)
        return 0;
    for (struct ifaddrs *a = list; a && !mtu; a = a->ifa_next) {
        if (!a->ifa_addr || a->ifa_addr->sa_family != (v6 ? AF_INET6 : AF_INET))
            continue;
        const void *bytes = v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr
                               : (const void *)&((const struct sockaddr_in *)(const void *)a->ifa_addr)->sin_addr;
        if (memcmp(bytes, wanted, v6 ? 16 : 4) != 0)
            continue;
        struct ifreq request = {0};
        cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", a->ifa_name);
        if (fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0)
            mtu = request.ifr_mtu;
    }
    freeifaddrs(list);
    return mtu;
}

bool cni_configure(const char *dir, const char *pod_cidrs, const char *node_ips, bool *changed, struct error **err)
{
    *changed = false;
    cleanup_buf struct buf ranges = {0}, routes = {0};
    for (const char *p = pod_cidrs; *p; p += strcspn(p, ","), p += *p == ',') {
        int n = (int)strcspn(p, ",");
        for (int i = 0; i < n; i++) {
            if (!isxdigit((unsigned char)p[i]) && !strchr(".:/", p[i])) {
                error_setf(err, "podCIDR is malformed");
                return false;
            }
        }
        const char *comma = ranges.len ? ", " : "";
        buf_printf(&ranges, "%s[{\"subnet\": \"%.*s\"}]", comma, n, p);
        buf_printf(&routes, "%s{\"dst\": \"%s\"}", comma, memchr(p, ':', (size_t)n) ? "::/0" : "0.0.0.0/0");
    }
    if (!make_directories(dir, 0755, err))
        return false;
    if (others_file(dir))
        return true;
    /* kube-proxy masquerades what leaves the cluster, so the bridge need not. A node that came back with another
     * range gives its bridge the new address. */
    cleanup_free char *text = mem_printf("{\n"
                                         "  \"cniVersion\": \"1.0.0\",\n"
                                         "  \"name\": \"skiff\",\n"
                                         "  \"plugins\": [\n"
                                         "    {\n"
                                         "      \"type\": \"bridge\",\n"
                                         "      \"bridge\": \"cni0\",\n"
                                         "      \"mtu\": %d,\n"
                                         "      \"isGateway\": true,\n"
                                         "      \"forceAddress\": true,\n"
                                         "      \"ipMasq\": false,\n"
                                         "      \"hairpinMode\": true,\n"
                                         "      \"ipam\": {\n"
                                         "        \"type\": \"host-local\",\n"
                                         "        \"ranges\": [%s],\n"
                                         "        \"routes\": [%s]\n"
                                         "      }\n"
                                         "    },\n"
                                         "    {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}\n"
                                         "  ]\n"
                                         "}\n",
                                         mtu_of(node_ips), buf_str(&ranges), buf_str(&routes));
    cleanup_free char *path = mem_printf("%s/" OUR_FILE, dir);
    cleanup_buf struct buf old = {0};
    if (buf_read_file(&old, path, NULL) && strcmp(buf_str(&old), text) == 0)
        return true;
    *changed = true;
    return buf_write_file_atomic(path, text, strlen(text), 0644, err);
}
