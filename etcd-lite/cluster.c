#include "etcd-lite/cluster.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <raft.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define MAX_MEMBERS  9
#define LOCK_WAIT_MS 10000

char **cluster_split(const char *list)
{
    size_t n = 1;
    for (const char *p = list; *p; p++)
        n += *p == ',';
    char **out = mem_alloc((n + 1) * sizeof(char *));
    n = 0;
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",");
        if (len)
            out[n++] = mem_strndup(p, len);
        p += len + (p[len] == ',');
    }
    return out;
}

void cluster_free_split(char **list)
{
    for (char **p = list; p && *p; p++)
        free(*p);
    free(list);
}

static int by_id(const void *a, const void *b)
{
    const struct cluster_member *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Ids follow from the token and the URLs, so that all members find the same without talking. */
static bool parse_members(struct cluster *c, const char *name, const char *initial_cluster,
                          const char *token, const char *advertise, struct error **err)
{
    char **items = cluster_split(initial_cluster);
    bool ok = true;
    for (char **p = items; *p && ok; p++) {
        char *eq = strchr(*p, '=');
        if (!eq || c->n_members == MAX_MEMBERS) {
            error_setf(err,
                       eq ? "--initial-cluster: too many members"
                          : "--initial-cluster: \"%s\" is not name=URL",
                       *p);
            ok = false;
            break;
        }
        c->members = mem_realloc(c->members, (c->n_members + 1) * sizeof(*c->members));
        struct cluster_member *m = &c->members[c->n_members++];
        m->name = mem_strndup(*p, (size_t)(eq - *p));
        m->peer_url = mem_strdup(eq + 1);
        cleanup_free char *seed = mem_printf("%s %s", token, m->peer_url);
        m->id = raft_digest(seed, 0);
        for (size_t i = 0; i + 1 < c->n_members && ok; i++)
            if (c->members[i].id == m->id || strcmp(c->members[i].name, m->name) == 0) {
                error_setf(err, "--initial-cluster names a member or URL twice: %s", *p);
                ok = false;
            }
        if (strcmp(m->name, name) != 0)
            continue;
        c->self = m->id;
        if (ok && strcmp(m->peer_url, advertise) != 0) {
            error_setf(err, "--initial-cluster has %s=%s, but --initial-advertise-peer-urls is %s",
                       name, m->peer_url, advertise);
            ok = false;
        }
    }
    cluster_free_split(items);
    if (ok && !c->self) {
        error_setf(err, "--initial-cluster has no member named \"%s\"", name);
        ok = false;
    }
    if (!ok)
        return false;
    qsort(c->members, c->n_members, sizeof(*c->members), by_id);
    cleanup_buf struct buf seed = {0};
    for (size_t i = 0; i < c->n_members; i++)
        buf_printf(&seed, "%016" PRIx64, c->members[i].id);
    c->id = raft_digest(seed.data, 1);
    return true;
}

static bool make_dir(const char *path, struct error **err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return true;
    error_set_errno(err, errno, "cannot make the directory %s", path);
    return false;
}

static bool make_dirs(const char *data_dir, struct error **err)
{
    cleanup_free char *path = mem_strdup(data_dir);
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            if (!make_dir(path, err))
                return false;
            *p = '/';
        }
    cleanup_free char *member = mem_printf("%s/member", data_dir),
                      *raft = mem_printf("%s/member/raft", data_dir);
    return make_dir(data_dir, err) && make_dir(member, err) && make_dir(raft, err);
}

static bool check_identity(struct cluster *c, const char *data_dir, const char *name, bool existing,
                           struct error **err)
{
    cleanup_buf struct buf text = {0};
    if (!buf_read_file(&text, c->identity_file, err))
        return false;
    cleanup_json cJSON *json = json_parse(text.data, text.len, err);
    if (!json) {
        error_wrap(err, "%s is damaged", c->identity_file);
        return false;
    }
    uint64_t cluster = strtoull(json_str_or(json, "clusterID", "0"), NULL, 16),
             self = strtoull(json_str_or(json, "memberID", "0"), NULL, 16);
    if (existing) {
        c->id = cluster;
        c->self = self;
    }
    if (cluster != c->id || self != c->self) {
        error_setf(err,
                   "the data directory %s belongs to member %016" PRIx64 " of cluster %016" PRIx64
                   ", but by --initial-cluster this is member %016" PRIx64
                   " (%s) of cluster %016" PRIx64 ": refusing to start with another cluster's data",
                   data_dir, self, cluster, c->self, name, c->id);
        return false;
    }
    return true;
}

/* A process that was killed may still be on its way out. */
static bool take_lock(int fd)
{
    for (int64_t give_up = time_monotonic_ms() + LOCK_WAIT_MS; flock(fd, LOCK_EX | LOCK_NB) < 0;
         usleep(5000))
        if (errno != EWOULDBLOCK || time_monotonic_ms() > give_up)
            return false;
    return true;
}

bool cluster_open(struct cluster *c, const char *data_dir, const char *name,
                  const char *initial_cluster, const char *token, const char *advertise_peer_url,
                  bool existing, struct error **err)
{
    *c = (struct cluster){.lock_fd = -1};
    if (!parse_members(c, name, initial_cluster, token, advertise_peer_url, err) ||
        !make_dirs(data_dir, err))
        return false;
    cleanup_free char *lock = mem_printf("%s/member/lock", data_dir);
    c->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->lock_fd < 0 || !take_lock(c->lock_fd)) {
        error_set_errno(err, errno,
                        "cannot lock the data directory %s (does another member run on it?)",
                        data_dir);
        return false;
    }
    c->identity_file = mem_printf("%s/member/identity.json", data_dir);
    if (access(c->identity_file, F_OK) == 0)
        return check_identity(c, data_dir, name, existing, err);
    if (existing) {
        error_setf(err, "joining an existing cluster is not supported yet: start with "
                        "--initial-cluster-state=new");
        return false;
    }
    c->fresh = true;
    return true;
}

bool cluster_note(struct cluster *c, struct error **err)
{
    cleanup_free char *text = mem_printf(
        "{\"clusterID\":\"%016" PRIx64 "\",\"memberID\":\"%016" PRIx64 "\"}\n", c->id, c->self);
    return buf_write_file_atomic(c->identity_file, text, strlen(text), 0600, err);
}

void cluster_close(struct cluster *c)
{
    for (size_t i = 0; i < c->n_members; i++) {
        free(c->members[i].name);
        free(c->members[i].peer_url);
    }
    free(c->members);
    free(c->identity_file);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    *c = (struct cluster){.lock_fd = -1};
}
