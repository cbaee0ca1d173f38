#include "etcd-lite/cluster.h"
#include <dirent.h>
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
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define MAX_MEMBERS  9
#define LOCK_WAIT_MS 10000
/* Members that run answer at once; where none runs, a connection is refused at once. */
#define ASK_MS        500
#define JOIN_MS       10000
#define JOIN_RETRY_MS 250
#define UNFINISHED    "restoring"

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

/* --- asking members that run --- */
static char **other_urls(const struct cluster *c, const char *own)
{
    char **urls = mem_alloc((c->n_members + 1) * sizeof(char *));
    size_t n = 0;
    for (size_t i = 0; i < c->n_members; i++)
        if (strcmp(c->members[i].peer_url, own) != 0)
            urls[n++] = c->members[i].peer_url;
    return urls;
}

static const struct member *find_member(const struct member_list_response *answer, uint64_t id)
{
    const struct member *m = answer->members.items;
    for (size_t i = 0; i < answer->members.n; i++)
        if ((uint64_t)m[i].id == id)
            return &m[i];
    return NULL;
}

struct judgement {
    struct cluster *c;
    const char *own_url;
    bool same, other, answered, started;
};

/* Does the data directory belong to the cluster that runs where the flags say? */
static bool on_compare(void *userdata, const struct member_list_response *answer)
{
    struct judgement *j = userdata;
    j->same |= (uint64_t)answer->header->cluster_id == j->c->id;
    j->other |= !j->same;
    return j->same;
}

/* Has a member that is to start a new cluster done so before? Then its votes are lost with its
 * data. */
static bool on_new(void *userdata, const struct member_list_response *answer)
{
    struct judgement *j = userdata;
    const struct member *self =
        (uint64_t)answer->header->cluster_id == j->c->id ? find_member(answer, j->c->self) : NULL;
    j->started |= self && self->client_urls.n > 0;
    return self != NULL;
}

static void clear_members(struct cluster *c)
{
    for (size_t i = 0; i < c->n_members; i++) {
        free(c->members[i].name);
        free(c->members[i].peer_url);
    }
    free(c->members);
    c->members = NULL;
    c->n_members = 0;
}

static bool is_url(const struct bytes *b, const char *url)
{
    return b->n == strlen(url) && memcmp(b->p, url, b->n) == 0;
}

/* Who are we in the cluster that is to be joined? */
static bool on_join(void *userdata, const struct member_list_response *answer)
{
    struct judgement *j = userdata;
    const struct member *m = answer->members.items, *self = NULL;
    j->answered = true;
    for (size_t i = 0; i < answer->members.n; i++)
        for (size_t u = 0; u < m[i].peer_urls.n; u++)
            if (is_url((const struct bytes *)m[i].peer_urls.items + u, j->own_url))
                self = &m[i];
    if (!self)
        return false;
    struct cluster *c = j->c;
    clear_members(c);
    c->id = (uint64_t)answer->header->cluster_id;
    c->self = (uint64_t)self->id;
    j->started = self->client_urls.n > 0;
    c->members = mem_alloc((answer->members.n + 1) * sizeof(*c->members));
    for (size_t i = 0; i < answer->members.n; i++) {
        const struct bytes *url = m[i].peer_urls.items;
        if (m[i].peer_urls.n)
            c->members[c->n_members++] = (struct cluster_member){
                (uint64_t)m[i].id, mem_strndup(m[i].name.n ? m[i].name.p : "", m[i].name.n),
                mem_strndup(url->p, url->n)};
    }
    return true;
}

static bool join(struct cluster *c, const struct cluster_options *o, struct error **err)
{
    char **urls = other_urls(c, o->advertise_peer_url);
    struct judgement j = {c, o->advertise_peer_url, false, false, false, false};
    bool found = false, asked = true;
    cleanup_error struct error *e = NULL;
    for (int64_t end = time_monotonic_ms() + JOIN_MS; !found && asked && time_monotonic_ms() < end;
         usleep(found ? 0 : JOIN_RETRY_MS * 1000)) {
        found = join_ask(&o->tls, urls, JOIN_RETRY_MS * 4, on_join, &j, &e);
        asked = !e;
    }
    free(urls);
    if (e) {
        error_move(err, e);
        e = NULL;
        return false;
    }
    if (!found && j.answered)
        error_setf(
            err,
            "the cluster has no member with the peer URL %s: add it first (etcdctl member add "
            "%s --peer-urls=%s)",
            o->advertise_peer_url, o->name, o->advertise_peer_url);
    else if (!found)
        error_setf(err, "cannot ask the members of the cluster, at the peer URLs of "
                        "--initial-cluster, who belongs to it: none answers");
    else if (j.started)
        error_setf(err,
                   "member %016" PRIx64
                   " of the cluster has been started before, and its data is not "
                   "in %s: take that data directory, or remove the member, add it anew (etcdctl "
                   "member remove, member add), and start it then",
                   c->self, o->data_dir);
    return found && !j.started;
}

/* --- with and without a data directory --- */
static bool read_identity(struct cluster *c, struct error **err)
{
    cleanup_buf struct buf text = {0};
    if (!buf_read_file(&text, c->identity_file, err))
        return false;
    cleanup_json cJSON *json = json_parse(text.data, text.len, err);
    if (!json) {
        error_wrap(err, "%s is damaged", c->identity_file);
        return false;
    }
    c->id = strtoull(json_str_or(json, "clusterID", "0"), NULL, 16);
    c->self = strtoull(json_str_or(json, "memberID", "0"), NULL, 16);
    c->token = mem_strdup(json_str_or(json, "token", ""));
    c->removed = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "removed"));
    c->joining = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "joining"));
    return true;
}

static bool check_identity(struct cluster *c, const struct cluster_options *o, struct error **err)
{
    if (c->removed)
        return true;
    struct cluster flags = {.lock_fd = -1};
    cleanup_error struct error *unfit = NULL;
    bool ok =
        parse_members(&flags, o->name, o->initial_cluster, o->token, o->advertise_peer_url, &unfit);
    if (ok && flags.id == c->id && flags.self == c->self) {
        c->members = flags.members;
        c->n_members = flags.n_members;
        return true;
    }
    /* The membership may have changed since the flags were written: then they are stale. */
    bool other = *c->token && !o->existing && strcmp(c->token, o->token) != 0;
    if (!other) {
        char **urls = other_urls(&flags, o->advertise_peer_url);
        struct judgement j = {c, o->advertise_peer_url, false, false, false, false};
        join_ask(&o->tls, urls, ASK_MS, on_compare, &j, NULL);
        other = j.other && !j.same;
        free(urls);
    }
    if (other)
        error_setf(
            err,
            "cluster ID mismatch: the data directory %s belongs to member %016" PRIx64
            " of cluster %016" PRIx64 ", but by the flags this is member %016" PRIx64
            " (%s) of another cluster: refusing to start with another cluster's data; give the "
            "data directory and the --initial-cluster-token that belong together, or, to join "
            "that cluster, start with an empty data directory after `etcdctl member add`",
            o->data_dir, c->self, c->id, flags.self, o->name);
    else
        log_info("The data directory knows its cluster: --initial-cluster is not looked at");
    clear_members(&flags);
    return !other;
}

static bool check_new(struct cluster *c, const struct cluster_options *o, struct error **err)
{
    char **urls = other_urls(c, o->advertise_peer_url);
    struct judgement j = {c, o->advertise_peer_url, false, false, false, false};
    cleanup_error struct error *e = NULL;
    join_ask(&o->tls, urls, ASK_MS, on_new, &j, &e);
    free(urls);
    if (e)
        error_move(err, e);
    else if (j.started)
        error_setf(
            err,
            "member %s has already been bootstrapped, and its data is not in %s: take that "
            "data directory, or remove the member, add it anew (etcdctl member remove, member "
            "add), and start it with --initial-cluster-state=existing",
            o->name, o->data_dir);
    bool ok = !e && !j.started;
    e = NULL;
    return ok;
}

static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    bool empty = true;
    for (struct dirent *e; d && (e = readdir(d));)
        empty &= e->d_name[0] == '.';
    if (d)
        closedir(d);
    return empty;
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

static bool open_dir(struct cluster *c, const struct cluster_options *o, struct error **err)
{
    *c = (struct cluster){.lock_fd = -1};
    if (!make_dirs(o->data_dir, err))
        return false;
    cleanup_free char *lock = mem_printf("%s/member/lock", o->data_dir);
    c->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->lock_fd < 0 || !take_lock(c->lock_fd)) {
        error_set_errno(err, errno,
                        "cannot lock the data directory %s (does another member run on it?)",
                        o->data_dir);
        return false;
    }
    c->identity_file = mem_printf("%s/member/identity.json", o->data_dir);
    return true;
}

bool cluster_create(struct cluster *c, const struct cluster_options *o, struct error **err)
{
    cleanup_free char *raft = mem_printf("%s/member/raft", o->data_dir);
    if (!open_dir(c, o, err) ||
        !parse_members(c, o->name, o->initial_cluster, o->token, o->advertise_peer_url, err))
        return false;
    if (access(c->identity_file, F_OK) == 0 || !is_empty(raft)) {
        error_setf(err,
                   "the data directory %s has a member's data already: give another, or remove it",
                   o->data_dir);
        return false;
    }
    c->fresh = true;
    c->token = mem_strdup(o->token);
    cleanup_free char *mark = mem_printf("%s/member/" UNFINISHED, o->data_dir);
    return buf_write_file_atomic(mark, "", 0, 0600, err);
}

bool cluster_created(struct cluster *c, const struct cluster_options *o, struct error **err)
{
    cleanup_free char *mark = mem_printf("%s/member/" UNFINISHED, o->data_dir);
    if (!cluster_note(c, err))
        return false;
    if (unlink(mark) == 0)
        return true;
    error_set_errno(err, errno, "cannot remove %s", mark);
    return false;
}

bool cluster_open(struct cluster *c, const struct cluster_options *o, struct error **err)
{
    if (!open_dir(c, o, err))
        return false;
    cleanup_free char *mark = mem_printf("%s/member/" UNFINISHED, o->data_dir);
    if (access(mark, F_OK) == 0) {
        error_setf(err,
                   "%s was being restored from a backup, and that was not finished: remove it, and "
                   "restore again",
                   o->data_dir);
        return false;
    }
    if (access(c->identity_file, F_OK) == 0)
        return read_identity(c, err) && check_identity(c, o, err);
    if (!parse_members(c, o->name, o->initial_cluster, o->token, o->advertise_peer_url, err))
        return false;
    c->fresh = !o->existing;
    c->joining = o->existing;
    if (o->existing)
        return join(c, o, err) && cluster_note(c, err);
    c->token = mem_strdup(o->token);
    return check_new(c, o, err);
}

bool cluster_note(struct cluster *c, struct error **err)
{
    cleanup_buf struct buf text = {0};
    buf_printf(&text, "{\"clusterID\":\"%016" PRIx64 "\",\"memberID\":\"%016" PRIx64 "\"", c->id,
               c->self);
    if (c->token && *c->token) {
        buf_adds(&text, ",\"token\":");
        json_print_string(c->token, strlen(c->token), &text);
    }
    buf_printf(&text, "%s%s}\n", c->joining ? ",\"joining\":true" : "",
               c->removed ? ",\"removed\":true" : "");
    return buf_write_file_atomic(c->identity_file, text.data, text.len, 0600, err);
}

void cluster_close(struct cluster *c)
{
    clear_members(c);
    free(c->identity_file);
    free(c->token);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    *c = (struct cluster){.lock_fd = -1};
}
