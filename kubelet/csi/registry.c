/* Which drivers there are: sockets in plugins_registry, and the CSINode that tells of them. */
#include "common/json.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "kubelet/csi/csi.h"
#include "kubelet/csi/csi.pb-c.h"
#include "kubelet/csi/registration.pb-c.h"
#include "kubelet/volume/atomic.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

struct csi {
    struct csi_options o;
    char *registry; /* the folder */
    pthread_t thread;
    int stop; /* eventfd */
    bool started;
    pthread_mutex_t lock;
    struct csi_driver **drivers; /* guarded by lock */
    size_t count;
    bool node_due; /* the CSINode must be written; the thread's own */
};

const struct csi_options *csi_config(const struct csi *c)
{
    return &c->o;
}

ProtobufCMessage *csi_call(struct rpc_client *client, const char *method,
                           const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *answer_type, struct error **err)
{
    enum { TIMEOUT_MS = 120000, SHORT_MS = 10000 };
    size_t len = protobuf_c_message_get_packed_size(request);
    cleanup_free uint8_t *bytes = mem_alloc(len + 1);
    protobuf_c_message_pack(request, bytes);
    cleanup_buf struct buf reply = {0};
    bool mounts = strstr(method, "Volume") != NULL;
    if (!rpc_unary(client, method, bytes, len, mounts ? TIMEOUT_MS : SHORT_MS, &reply, err))
        return NULL;
    ProtobufCMessage *answer =
        protobuf_c_message_unpack(answer_type, NULL, reply.len, (const uint8_t *)buf_str(&reply));
    if (!answer)
        error_setf(err, "the driver's answer to %s is malformed", method);
    return answer;
}

/* --- drivers --- */

static void driver_free(struct csi_driver *d)
{
    rpc_client_free(d->client);
    cJSON_Delete(d->topology);
    free(d->name);
    free(d->endpoint);
    free(d->socket);
    free(d->node_id);
    free(d);
}

static void put_locked(struct csi_driver *d)
{
    if (--d->refs == 0)
        driver_free(d);
}

struct csi_driver *csi_driver_get(struct csi *c, const char *name, struct error **err)
{
    struct csi_driver *found = NULL;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->count && !found; i++)
        if (strcmp(c->drivers[i]->name, name) == 0)
            found = c->drivers[i];
    if (found)
        found->refs++;
    pthread_mutex_unlock(&c->lock);
    if (!found)
        error_setf(err, "driver name %s not found in the list of registered CSI drivers", name);
    return found;
}

void csi_driver_put(struct csi *c, struct csi_driver *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&c->lock);
    put_locked(d);
    pthread_mutex_unlock(&c->lock);
}

static void answer_cleanup(void *p)
{
    ProtobufCMessage *m = *(ProtobufCMessage **)p;
    if (m)
        protobuf_c_message_free_unpacked(m, NULL);
}
#define cleanup_answer __attribute__((cleanup(answer_cleanup)))

/* Asks a driver what it can do. */
static bool introduce(struct csi_driver *d, struct error **err)
{
    Csi__V1__NodeGetInfoRequest info = CSI__V1__NODE_GET_INFO_REQUEST__INIT;
    cleanup_answer Csi__V1__NodeGetInfoResponse *i =
        (void *)csi_call(d->client, "/csi.v1.Node/NodeGetInfo", &info.base,
                         &csi__v1__node_get_info_response__descriptor, err);
    if (!i)
        return false;
    d->node_id = mem_strdup(i->node_id);
    d->max_volumes = i->max_volumes_per_node;
    d->topology = cJSON_CreateObject();
    for (size_t n = 0; i->accessible_topology && n < i->accessible_topology->n_segments; n++)
        json_map_set_str(d->topology, i->accessible_topology->segments[n]->key,
                         i->accessible_topology->segments[n]->value);
    Csi__V1__NodeGetCapabilitiesRequest ask = CSI__V1__NODE_GET_CAPABILITIES_REQUEST__INIT;
    cleanup_answer Csi__V1__NodeGetCapabilitiesResponse *a =
        (void *)csi_call(d->client, "/csi.v1.Node/NodeGetCapabilities", &ask.base,
                         &csi__v1__node_get_capabilities_response__descriptor, err);
    for (size_t n = 0; a && n < a->n_capabilities; n++) {
        if (a->capabilities[n]->type_case != CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC)
            continue;
        int type = a->capabilities[n]->rpc->type;
        d->stages |= type == CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__STAGE_UNSTAGE_VOLUME;
        d->mount_group |= type == CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__VOLUME_MOUNT_GROUP;
    }
    return a != NULL;
}

/* --- the CSINode --- */

static cJSON *drivers_json(struct csi *c)
{
    cJSON *list = cJSON_CreateArray();
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->count; i++) {
        const struct csi_driver *d = c->drivers[i];
        cJSON *e = cJSON_CreateObject(), *keys = NULL;
        const cJSON *t;
        json_set_str(e, "name", d->name);
        json_set_str(e, "nodeID", d->node_id);
        cJSON_ArrayForEach(t, d->topology)
        {
            keys = json_ensure_array(e, "topologyKeys");
            cJSON_AddItemToArray(keys, cJSON_CreateString(t->string));
        }
        if (d->max_volumes > 0)
            json_set_int(e, "allocatable.count", d->max_volumes);
        cJSON_AddItemToArray(list, e);
    }
    pthread_mutex_unlock(&c->lock);
    return list;
}

/* Labels by which volumes are placed, and the drivers' names of this node. */
static bool write_labels(struct csi *c, struct error **err)
{
    cleanup_json cJSON *patch = cJSON_CreateObject(), *ids = cJSON_CreateObject();
    cJSON *labels = json_ensure_object(patch, "metadata.labels");
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->count; i++) {
        const cJSON *t;
        cJSON_ArrayForEach(t, c->drivers[i]->topology)
        {
            json_map_set_str(labels, t->string, t->valuestring);
        }
        json_map_set_str(ids, c->drivers[i]->name, c->drivers[i]->node_id);
    }
    pthread_mutex_unlock(&c->lock);
    cleanup_free char *text = json_text(ids);
    json_map_set(json_ensure_object(patch, "metadata.annotations"),
                 "csi.volume.kubernetes.io/nodeid",
                 cJSON_GetArraySize(ids) ? cJSON_CreateString(text) : cJSON_CreateNull());
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, c->o.node_name, NULL);
    cleanup_json cJSON *answer = c->o.api->request(c->o.api->userdata, "PATCH", path,
                                                   "application/merge-patch+json", patch, err);
    return answer != NULL;
}

static bool write_csinode(struct csi *c, struct error **err)
{
    const struct kubelet_api *api = c->o.api;
    cleanup_free char *path =
        kube_path_new("storage.k8s.io/v1", "csinodes", NULL, c->o.node_name, NULL);
    cleanup_error struct error *failure = NULL;
    cleanup_json cJSON *known = api->request(api->userdata, "GET", path, NULL, NULL, &failure),
                       *answer = NULL;
    cJSON *drivers = drivers_json(c);
    if (known && json_equal(json_path(known, "spec.drivers"), drivers)) {
        cJSON_Delete(drivers);
        return write_labels(c, err);
    }
    if (known) {
        json_set(known, "spec.drivers", drivers);
        answer = api->request(api->userdata, "PUT", path, NULL, known, err);
        return answer && write_labels(c, err);
    }
    if (failure->code != 404) {
        cJSON_Delete(drivers);
        error_move(err, failure);
        failure = NULL;
        return false;
    }
    cleanup_free char *node_path = kube_path_new("v1", "nodes", NULL, c->o.node_name, NULL);
    cleanup_json cJSON *node = api->request(api->userdata, "GET", node_path, NULL, NULL, err);
    if (!node) {
        cJSON_Delete(drivers);
        return false;
    }
    cleanup_json cJSON *fresh = cJSON_CreateObject();
    cJSON *owner = cJSON_CreateObject();
    json_set_str(fresh, "apiVersion", "storage.k8s.io/v1");
    json_set_str(fresh, "kind", "CSINode");
    json_set_str(fresh, "metadata.name", c->o.node_name);
    json_set_str(owner, "apiVersion", "v1");
    json_set_str(owner, "kind", "Node");
    json_set_str(owner, "name", c->o.node_name);
    json_set_str(owner, "uid", json_str(node, "metadata.uid"));
    cJSON_AddItemToArray(json_ensure_array(fresh, "metadata.ownerReferences"), owner);
    json_set(fresh, "spec.drivers", drivers);
    cleanup_free char *collection =
        kube_path_new("storage.k8s.io/v1", "csinodes", NULL, NULL, NULL);
    answer = api->request(api->userdata, "POST", collection, NULL, fresh, err);
    return answer && write_labels(c, err);
}

/* --- registration --- */

static void notify(struct rpc_client *client, bool ok, const char *message)
{
    Pluginregistration__RegistrationStatus status = PLUGINREGISTRATION__REGISTRATION_STATUS__INIT;
    status.plugin_registered = ok;
    status.error = (char *)message;
    cleanup_answer ProtobufCMessage *answer =
        csi_call(client, "/pluginregistration.Registration/NotifyRegistrationStatus", &status.base,
                 &pluginregistration__registration_status_response__descriptor, NULL);
    (void)answer; /* says nothing */
}

static bool add_driver(struct csi *c, const Pluginregistration__PluginInfo *info,
                       const char *socket, struct error **err)
{
    if (strcmp(info->type, "CSIPlugin") != 0) {
        error_setf(err, "plugin type %s is not supported", info->type);
        return false;
    }
    bool version = false;
    for (size_t i = 0; i < info->n_supported_versions; i++) {
        const char *v = info->supported_versions[i];
        version = version || strncmp(v + (*v == 'v'), "1.", 2) == 0;
    }
    if (!version || !*info->name || *info->endpoint != '/') {
        error_setf(err, "no supported version, name or endpoint of driver \"%s\"", info->name);
        return false;
    }
    struct csi_driver *d = mem_alloc(sizeof(*d));
    d->refs = 1;
    d->name = mem_strdup(info->name);
    d->endpoint = mem_strdup(info->endpoint);
    d->socket = mem_strdup(socket);
    d->client = rpc_client_new(info->endpoint);
    if (!introduce(d, err)) {
        driver_free(d);
        return false;
    }
    pthread_mutex_lock(&c->lock);
    size_t at = c->count;
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->drivers[i]->name, d->name) == 0)
            at = i; /* it comes again, perhaps a newer one */
    if (at < c->count) {
        put_locked(c->drivers[at]);
    } else {
        c->drivers = mem_realloc(c->drivers, (c->count + 1) * sizeof(*c->drivers));
        c->count++;
    }
    c->drivers[at] = d;
    pthread_mutex_unlock(&c->lock);
    c->node_due = true;
    log_info("Registered a CSI driver", "driver", d->name, "node", d->node_id);
    return true;
}

static void register_socket(struct csi *c, const char *socket)
{
    struct rpc_client *client = rpc_client_new(socket);
    Pluginregistration__InfoRequest request = PLUGINREGISTRATION__INFO_REQUEST__INIT;
    cleanup_error struct error *failure = NULL;
    cleanup_answer Pluginregistration__PluginInfo *info =
        (void *)csi_call(client, "/pluginregistration.Registration/GetInfo", &request.base,
                         &pluginregistration__plugin_info__descriptor, &failure);
    if (info) {
        bool ok = add_driver(c, info, socket, &failure);
        notify(client, ok, ok ? "" : error_message(failure));
    }
    if (failure)
        log_warn("Could not register a plug-in", "socket", socket, "err", error_message(failure));
    rpc_client_free(client);
}

static bool known_socket(struct csi *c, const char *socket)
{
    bool found = false;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->count; i++)
        found = found || strcmp(c->drivers[i]->socket, socket) == 0;
    pthread_mutex_unlock(&c->lock);
    return found;
}

/* Sockets that came or went. again: a socket whose name we know was made anew. */
static void scan(struct csi *c, const char *again)
{
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->count;) {
        struct csi_driver *d = c->drivers[i];
        if (access(d->socket, F_OK) == 0) {
            i++;
            continue;
        }
        log_info("A CSI driver is gone", "driver", d->name);
        c->drivers[i] = c->drivers[--c->count];
        put_locked(d);
        c->node_due = true;
    }
    pthread_mutex_unlock(&c->lock);
    DIR *dir = opendir(c->registry);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        cleanup_free char *path = mem_printf("%s/%s", c->registry, e->d_name);
        struct stat st;
        if (e->d_name[0] == '.' || stat(path, &st) != 0 || !S_ISSOCK(st.st_mode))
            continue;
        if (!known_socket(c, path) || (again && strcmp(again, e->d_name) == 0))
            register_socket(c, path);
    }
    if (dir)
        closedir(dir);
}

static void *follow(void *arg)
{
    struct csi *c = arg;
    enum { RETRY_MS = 2000, CALM_MS = 60000 };
    cleanup_close int notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (notify_fd >= 0)
        inotify_add_watch(notify_fd, c->registry,
                          IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM);
    scan(c, NULL);
    c->node_due = true;
    for (;;) {
        cleanup_error struct error *failure = NULL;
        if (c->node_due && write_csinode(c, &failure))
            c->node_due = false;
        if (failure)
            log_debug(1, "Could not write the CSINode", "err", error_message(failure));
        struct pollfd fds[] = {{.fd = c->stop, .events = POLLIN},
                               {.fd = notify_fd, .events = POLLIN}};
        int n = poll(fds, 2, c->node_due ? RETRY_MS : CALM_MS);
        if ((n < 0 && errno != EINTR) || fds[0].revents)
            return NULL;
        char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        cleanup_free char *made = NULL;
        for (ssize_t len; notify_fd >= 0 && (len = read(notify_fd, events, sizeof(events))) > 0;)
            for (char *p = events; p < events + len;) {
                const struct inotify_event *e = (const void *)p;
                if (e->mask & (IN_CREATE | IN_MOVED_TO) && e->len) {
                    free(made);
                    made = mem_strdup(e->name);
                }
                p += sizeof(*e) + e->len;
            }
        scan(c, made);
    }
}

struct csi *csi_new(const struct csi_options *o)
{
    struct csi *c = mem_alloc(sizeof(*c));
    c->o = *o;
    c->registry = mem_printf("%s/plugins_registry", o->root_dir);
    c->stop = -1;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

bool csi_start(struct csi *c, struct error **err)
{
    cleanup_free char *plugins = mem_printf("%s/plugins", c->o.root_dir);
    if (!make_directories(c->registry, 0750, err) || !make_directories(plugins, 0750, err))
        return false;
    c->stop = eventfd(0, EFD_CLOEXEC);
    c->started = c->stop >= 0 && thread_start(&c->thread, follow, c);
    if (!c->started)
        error_setf(err, "cannot start a thread");
    return c->started;
}

void csi_stop(struct csi *c)
{
    if (!c || !c->started)
        return;
    eventfd_write(c->stop, 1);
    pthread_join(c->thread, NULL);
    c->started = false;
}

void csi_free(struct csi *c)
{
    if (!c)
        return;
    csi_stop(c);
    for (size_t i = 0; i < c->count; i++)
        put_locked(c->drivers[i]);
    free(c->drivers);
    if (c->stop >= 0)
        close(c->stop);
    pthread_mutex_destroy(&c->lock);
    free(c->registry);
    free(c);
}
