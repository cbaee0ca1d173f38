#include "kubelet/garbage/garbage.h"
#include <string.h>
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/pod/pod.h"

static struct { /* settled at start */
    struct garbage_options options;
    struct node_agent *agent;
} garbage;

/* --- dead containers and sandboxes --- */

/* The names of one pod's newest dead containers are kept, for `kubectl logs --previous`. */
static void remove_dead_of(struct kubelet *k, struct pod *p)
{
    cleanup_runtime_containers struct runtime_containers containers = {0};
    cleanup_runtime_sandboxes struct runtime_sandboxes sandboxes = {0};
    if (!cri_list_containers(&k->cri, p->uid, &containers, NULL) ||
        !cri_list_sandboxes(&k->cri, p->uid, &sandboxes, NULL))
        return;
    for (size_t i = 0; i < containers.count; i++) {
        const struct runtime_container *c = &containers.items[i];
        bool newer = false; /* newest first */
        for (size_t n = 0; n < i && !newer; n++)
            newer = containers.items[n].state == CONTAINER_EXITED &&
                    strcmp(containers.items[n].name, c->name) == 0;
        if (!newer || c->state != CONTAINER_EXITED)
            continue;
        cleanup_free char *log = NULL;
        pthread_mutex_lock(&p->lock);
        for (size_t n = 0; n < p->containers.count; n++)
            if (strcmp(p->containers.items[n].id, c->id) == 0)
                log = mem_strdup(p->containers.items[n].log_path);
        pthread_mutex_unlock(&p->lock);
        if (cri_remove_container(&k->cri, c->id, NULL) && log && *log)
            unlink(log);
    }
    for (size_t i = 1; i < sandboxes.count; i++) { /* the newest stays */
        bool used = sandboxes.items[i].ready;
        for (size_t n = 0; n < containers.count && !used; n++)
            used = strcmp(containers.items[n].sandbox_id, sandboxes.items[i].id) == 0;
        if (!used)
            cri_remove_sandbox(&k->cri, sandboxes.items[i].id, NULL);
    }
}

/* Has it more than it needs? Answered from what is known already, so that an idle pass asks the
 * runtime nothing. */
static bool has_dead(struct pod *p)
{
    bool found = false;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->containers.count && !found; i++)
        for (size_t n = 0; n < i && !found; n++)
            found = p->containers.items[i].state == CONTAINER_EXITED &&
                    p->containers.items[n].state == CONTAINER_EXITED &&
                    strcmp(p->containers.items[i].name, p->containers.items[n].name) == 0;
    found = found || p->sandboxes.count > 1;
    found = found && !p->running;
    pthread_mutex_unlock(&p->lock);
    return found;
}

void garbage_remove_dead(struct kubelet *k)
{
    struct pod **list = pods_all(k);
    for (size_t i = 0; list[i]; i++) {
        if (!has_dead(list[i]))
            continue;
        remove_dead_of(k, list[i]);
        pod_wake(list[i]); /* it looks anew */
    }
    pods_free_list(list);
}

/* --- logs --- */

struct reopening {
    struct kubelet *k;
    const char *id;
};

static bool reopen(void *userdata, struct error **err)
{
    const struct reopening *r = userdata;
    return cri_reopen_log(&r->k->cri, r->id, err);
}

/* True: one was rotated. */
static bool rotate_logs_of(struct kubelet *k, struct pod *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = 0;
    struct {
        char *path, *id;
    } *running = mem_alloc((p->containers.count + 1) * sizeof(*running));
    for (size_t i = 0; i < p->containers.count; i++) {
        const struct runtime_container *c = &p->containers.items[i];
        if (c->state != CONTAINER_RUNNING || !c->log_path || !strchr(c->log_path, '/'))
            continue;
        running[n].path = mem_strdup(c->log_path);
        running[n++].id = mem_strdup(c->id);
    }
    pthread_mutex_unlock(&p->lock);
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        cleanup_error struct error *failure = NULL;
        struct reopening r = {k, running[i].id};
        if (log_rotate(running[i].path, garbage.options.log_max_size, garbage.options.log_max_files,
                       reopen, &r, &failure))
            any = true;
        else if (failure)
            log_warn("Could not rotate a log", "path", running[i].path, "err",
                     error_message(failure));
        free(running[i].path);
        free(running[i].id);
    }
    free(running);
    return any;
}

/* A container that fills its log faster than we look is looked at more often. */
static void rotate_logs(void *arg)
{
    enum { SOON_MS = 1000 };
    struct kubelet *k = arg;
    if (atomic_load(&k->stopping))
        return;
    bool any = false;
    struct pod **list = pods_all(k);
    for (size_t i = 0; list[i]; i++)
        any = rotate_logs_of(k, list[i]) || any;
    pods_free_list(list);
    int64_t interval = garbage.options.log_interval_ms;
    pool_run_after(k->pool, any && SOON_MS < interval ? SOON_MS : interval, rotate_logs, k);
}

/* --- the rounds --- */

static void collect_images(void *arg)
{
    struct kubelet *k = arg;
    if (atomic_load(&k->stopping))
        return;
    images_collect(k, &garbage.options, garbage.agent);
    pool_run_after(k->pool, garbage.options.image_interval_ms, collect_images, k);
}

static void collect_dead(void *arg)
{
    enum { EVERY_MS = 60000 };
    struct kubelet *k = arg;
    if (atomic_load(&k->stopping))
        return;
    garbage_remove_dead(k);
    pool_run_after(k->pool, EVERY_MS, collect_dead, k);
}

void garbage_start(struct kubelet *k, const struct garbage_options *o, struct node_agent *agent)
{
    garbage.options = *o;
    garbage.agent = agent;
    images_setup(o);
    pool_run_after(k->pool, o->log_interval_ms, rotate_logs, k);
    pool_run_after(k->pool, o->image_interval_ms < 30000 ? o->image_interval_ms : 30000,
                   collect_images, k);
    pool_run_after(k->pool, 60000, collect_dead, k);
}
