#include "common/buf.h"
#include "common/mem.h"
#include "kubelet/node/node.h"
#include "kubelet/volume/atomic.h"
#include <ctype.h>
#include <dirent.h>
#include <string.h>

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

bool cni_configure(const char *dir, const char *pod_cidr, bool *changed, struct error **err)
{
    *changed = false;
    for (const char *p = pod_cidr; *p; p++) {
        if (!isxdigit((unsigned char)*p) && !strchr(".:/", *p)) {
            error_setf(err, "podCIDR is malformed");
            return false;
        }
    }
    if (!make_directories(dir, 0755, err))
        return false;
    if (others_file(dir))
        return true;
    /* kube-proxy masquerades what leaves the cluster, so the bridge need not. */
    cleanup_free char *text = mem_printf("{\n"
                                         "  \"cniVersion\": \"1.0.0\",\n"
                                         "  \"name\": \"skiff\",\n"
                                         "  \"plugins\": [\n"
                                         "    {\n"
                                         "      \"type\": \"bridge\",\n"
                                         "      \"bridge\": \"cni0\",\n"
                                         "      \"isGateway\": true,\n"
                                         "      \"ipMasq\": false,\n"
                                         "      \"hairpinMode\": true,\n"
                                         "      \"ipam\": {\n"
                                         "        \"type\": \"host-local\",\n"
                                         "        \"ranges\": [[{\"subnet\": \"%s\"}]],\n"
                                         "        \"routes\": [{\"dst\": \"0.0.0.0/0\"}]\n"
                                         "      }\n"
                                         "    },\n"
                                         "    {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}\n"
                                         "  ]\n"
                                         "}\n",
                                         pod_cidr);
    cleanup_free char *path = mem_printf("%s/" OUR_FILE, dir);
    cleanup_buf struct buf old = {0};
    if (buf_read_file(&old, path, NULL) && strcmp(buf_str(&old), text) == 0)
        return true;
    *changed = true;
    return buf_write_file_atomic(path, text, strlen(text), 0644, err);
}
