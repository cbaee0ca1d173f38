#include "etcd-lite/members.h"
#include <raft.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/state.h"
#include "etcd-lite/transport.h"

char **strings_copy(const struct msg_list *list)
{
    char **out = mem_alloc((list->n + 1) * sizeof(char *));
    const struct bytes *b = list->items;
    for (size_t i = 0; i < list->n; i++)
        out[i] = mem_strndup(b[i].n ? b[i].p : "", b[i].n);
    return out;
}

void strings_free(char **list)
{
    for (char **p = list; p && *p; p++)
        free(*p);
    free(list);
}

static void clear(struct member_info *m)
{
    free(m->name);
    strings_free(m->client_urls);
    strings_free(m->peer_urls);
    *m = (struct member_info){0};
}

void state_clear_members(struct state *s)
{
    for (size_t i = 0; i < s->n_members; i++)
        clear(&s->members[i]);
    free(s->members);
    free(s->removed);
    s->members = NULL;
    s->removed = NULL;
    s->n_members = s->n_removed = 0;
    s->members_known = false;
}

static struct member_info *find(const struct state *s, uint64_t id)
{
    for (size_t i = 0; i < s->n_members; i++)
        if (s->members[i].id == id)
            return &s->members[i];
    return NULL;
}

const struct member_info *state_member(const struct state *s, uint64_t id)
{
    return find(s, id);
}

bool state_member_removed(const struct state *s, uint64_t id)
{
    for (size_t i = 0; i < s->n_removed; i++)
        if (s->removed[i] == id)
            return true;
    return false;
}

/* --- changes --- */
static struct member_info *add(struct state *s, uint64_t id)
{
    s->members = mem_realloc(s->members, (s->n_members + 1) * sizeof(*s->members));
    struct member_info *m = &s->members[s->n_members++];
    *m = (struct member_info){.id = id, .name = mem_strdup("")};
    m->client_urls = mem_alloc(sizeof(char *));
    m->peer_urls = mem_alloc(sizeof(char *));
    return m;
}

static void replace(char ***to, const struct msg_list *urls)
{
    strings_free(*to);
    *to = strings_copy(urls);
}

/* Whether another member than `except` has one of the URLs. */
static bool urls_taken(const struct state *s, const struct msg_list *urls, uint64_t except)
{
    const struct bytes *b = urls->items;
    for (size_t i = 0; i < s->n_members; i++)
        for (char **u = s->members[i].peer_urls; s->members[i].id != except && *u; u++)
            for (size_t k = 0; k < urls->n; k++)
                if (strlen(*u) == b[k].n && memcmp(*u, b[k].p, b[k].n) == 0)
                    return true;
    return false;
}

static size_t learners(const struct state *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_members; i++)
        n += s->members[i].learner;
    return n;
}

static enum kv_status apply_add(struct state *s, const struct member *r)
{
    uint64_t id = (uint64_t)r->id;
    if (id == 0 || find(s, id) || state_member_removed(s, id))
        return KV_MEMBER_EXISTS;
    if (urls_taken(s, &r->peer_urls, 0))
        return KV_PEER_URL_EXISTS;
    if (r->is_learner && learners(s) >= LEARNERS_MAX)
        return KV_TOO_MANY_LEARNERS;
    if (s->n_members >= MEMBERS_MAX)
        return KV_TOO_MANY_MEMBERS;
    struct member_info *m = add(s, id);
    m->learner = r->is_learner;
    replace(&m->peer_urls, &r->peer_urls);
    return KV_OK;
}

static enum kv_status apply_remove(struct state *s, uint64_t id)
{
    struct member_info *m = find(s, id);
    if (!m)
        return KV_MEMBER_NOT_FOUND;
    if (s->n_members == 1)
        return KV_NOT_ENOUGH_STARTED;
    clear(m);
    size_t i = (size_t)(m - s->members);
    memmove(m, m + 1, (--s->n_members - i) * sizeof(*m));
    s->removed = mem_realloc(s->removed, (s->n_removed + 1) * sizeof(*s->removed));
    s->removed[s->n_removed++] = id;
    return KV_OK;
}

static void apply_init(struct state *s, const struct member_list_response *r)
{
    if (s->members_known)
        return;
    s->members_known = true;
    const struct member *m = r->members.items;
    for (size_t i = 0; i < r->members.n; i++) {
        struct member_info *info = find(s, (uint64_t)m[i].id);
        if (!info)
            info = add(s, (uint64_t)m[i].id);
        if (!*info->name) {
            free(info->name);
            info->name = mem_strndup(m[i].name.n ? m[i].name.p : "", m[i].name.n);
        }
        replace(&info->peer_urls, &m[i].peer_urls);
        info->learner = m[i].is_learner;
    }
}

/* A member says what it is called and where clients reach it. */
static enum kv_status apply_publish(struct state *s, const struct member *r)
{
    struct member_info *m = find(s, (uint64_t)r->id);
    if (!m && s->members_known) /* removed, and its word comes late */
        return KV_MEMBER_NOT_FOUND;
    if (!m)
        m = add(s, (uint64_t)r->id);
    free(m->name);
    m->name = mem_strndup(r->name.n ? r->name.p : "", r->name.n);
    replace(&m->client_urls, &r->client_urls);
    return KV_OK;
}

bool members_is_command(const struct command *c)
{
    return c->publish || c->members_init || c->member_add || c->member_remove ||
           c->member_promote || c->member_update;
}

enum kv_status members_apply(struct state *s, const struct command *c)
{
    if (c->publish)
        return apply_publish(s, c->publish);
    if (c->members_init) {
        apply_init(s, c->members_init);
        return KV_OK;
    }
    if (!s->members_known)
        return KV_UNHEALTHY_CLUSTER;
    enum kv_status status;
    if (c->member_add) {
        status = apply_add(s, c->member_add);
    } else if (c->member_remove) {
        status = apply_remove(s, (uint64_t)c->member_remove->id);
    } else if (c->member_promote) {
        struct member_info *m = find(s, (uint64_t)c->member_promote->id);
        status = !m ? KV_MEMBER_NOT_FOUND : !m->learner ? KV_MEMBER_NOT_LEARNER : KV_OK;
        if (!status)
            m->learner = false;
    } else {
        struct member_info *m = find(s, (uint64_t)c->member_update->id);
        status = !m                                                   ? KV_MEMBER_NOT_FOUND
                 : urls_taken(s, &c->member_update->peer_urls, m->id) ? KV_PEER_URL_EXISTS
                                                                      : KV_OK;
        if (!status)
            replace(&m->peer_urls, &c->member_update->peer_urls);
    }
    return status;
}

/* --- checks --- */
enum kv_status members_check_urls(const struct msg_list *urls)
{
    const struct bytes *b = urls->items;
    if (urls->n == 0 || urls->n > 16)
        return KV_MEMBER_BAD_URLS;
    for (size_t i = 0; i < urls->n; i++) {
        cleanup_free char *text = mem_strndup(b[i].n ? b[i].p : "", b[i].n);
        struct url url;
        if (strlen(text) != b[i].n || b[i].n >= URL_MAX || !url_parse(text, &url, NULL))
            return KV_MEMBER_BAD_URLS;
    }
    return KV_OK;
}

static bool started(const struct member_info *m)
{
    return *m->name != '\0';
}

enum kv_status members_check_quorum(const struct state *s, const struct command *c)
{
    size_t voters = 0, up = 0;
    uint64_t removed = c->member_remove ? (uint64_t)c->member_remove->id : 0;
    for (size_t i = 0; i < s->n_members; i++) {
        const struct member_info *m = &s->members[i];
        if (m->learner && m->id == removed)
            return KV_OK;
        if (m->learner || m->id == removed)
            continue;
        voters++;
        up += started(m);
    }
    if (c->member_add && !c->member_add->is_learner) {
        voters++;
        /* To a single member another may always be added. */
        if (voters == 2 && up == 1)
            return KV_OK;
    } else if (c->member_promote) {
        voters++;
        up++;
    } else if (!c->member_remove) {
        return KV_OK;
    }
    return up >= voters / 2 + 1 ? KV_OK : KV_NOT_ENOUGH_STARTED;
}

/* --- for clients --- */
static void copy_strings(char *const *from, struct arena *a, struct msg_list *out)
{
    for (; *from; from++)
        *(struct bytes *)msg_list_add(out, sizeof(struct bytes), a) =
            (struct bytes){arena_dup(a, *from, strlen(*from)), strlen(*from)};
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = (uint64_t)((const struct member *)a)->id,
             y = (uint64_t)((const struct member *)b)->id;
    return (x > y) - (x < y);
}

void members_list(const struct state *s, struct arena *a, struct msg_list *out)
{
    for (size_t i = 0; i < s->n_members; i++) {
        const struct member_info *info = &s->members[i];
        struct member *m = msg_list_add(out, sizeof(*m), a);
        m->id = (int64_t)info->id;
        m->name = (struct bytes){arena_dup(a, info->name, strlen(info->name)), strlen(info->name)};
        m->is_learner = info->learner;
        copy_strings(info->peer_urls, a, &m->peer_urls);
        copy_strings(info->client_urls, a, &m->client_urls);
    }
    if (out->n)
        qsort(out->items, out->n, sizeof(struct member), by_id);
}

int64_t members_new_id(const struct msg_list *urls, int64_t now_us)
{
    cleanup_buf struct buf seed = {0};
    const struct bytes *b = urls->items;
    for (size_t i = 0; i < urls->n; i++)
        buf_add(&seed, b[i].p, b[i].n);
    uint64_t id = raft_digest(buf_str(&seed), (uint64_t)now_us);
    return (int64_t)(id ? id : 1);
}
