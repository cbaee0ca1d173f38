/* What the runtime has of a pod: listed anew for each sync; what cannot change any more is kept. */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "kubelet/pod/pod.h"
#include "kubelet/server/logs.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAX_MESSAGE       4096
#define MAX_MESSAGE_LINES 80
#define MAX_MESSAGE_LOG   2048

/* The message that a container left: its file, or the end of its log if the policy says so.
 * https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/ */
static void read_termination_message(struct runtime_container *c)
{
    cleanup_buf struct buf text = {0};
    cleanup_close int fd = c->termination_path ? open(c->termination_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        off_t from = size > MAX_MESSAGE ? size - MAX_MESSAGE : 0;
        char bytes[MAX_MESSAGE];
        ssize_t n = size > 0 ? pread(fd, bytes, sizeof(bytes), from) : 0;
        if (n > 0)
            buf_add(&text, bytes, (size_t)n);
    }
    if (!text.len && c->exit_code != 0 && c->termination_policy &&
        strcmp(c->termination_policy, "FallbackToLogsOnError") == 0)
        logs_tail(c->log_path, MAX_MESSAGE_LINES, MAX_MESSAGE_LOG, &text);
    if (text.len) {
        free(c->message);
        c->message = buf_take(&text);
    }
}

static struct runtime_container *find_container(struct runtime_containers *l, const char *id)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i].id, id) == 0)
            return &l->items[i];
    return NULL;
}

static struct runtime_sandbox *find_sandbox(struct runtime_sandboxes *l, const char *id)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i].id, id) == 0)
            return &l->items[i];
    return NULL;
}

static void swap(void *a, void *b, size_t size)
{
    char tmp[256];
    memcpy(tmp, a, size);
    memcpy(a, b, size);
    memcpy(b, tmp, size);
}
_Static_assert(sizeof(struct runtime_container) <= 256, "swap() has room for a container");

bool pod_refresh_runtime(struct pod *p, struct error **err)
{
    const struct cri *cri = &p->kubelet->cri;
    cleanup_runtime_sandboxes struct runtime_sandboxes sandboxes = {0};
    cleanup_runtime_containers struct runtime_containers containers = {0};
    if (!cri_list_sandboxes(cri, p->uid, &sandboxes, err) || !cri_list_containers(cri, p->uid, &containers, err))
        return false;
    /* Only this thread changes the lists, so they may be read without the lock here. */
    for (size_t i = 0; i < sandboxes.count; i++) {
        struct runtime_sandbox *s = &sandboxes.items[i], *known = find_sandbox(&p->sandboxes, s->id);
        if (known && known->has_status && known->ready == s->ready) {
            s->ip = known->ip;
            s->host_network = known->host_network;
            s->has_status = true;
            known->ip = NULL;
            known->has_status = false;
        } else {
            cleanup_error struct error *gone = NULL;
            cri_sandbox_status(cri, s, &gone); /* without it there is no address yet: the next sync asks again */
        }
    }
    for (size_t i = 0; i < containers.count; i++) {
        struct runtime_container *c = &containers.items[i], *known = find_container(&p->containers, c->id);
        if (known && known->has_status && known->state == c->state) {
            pthread_mutex_lock(&p->lock);
            swap(c, known, sizeof(*c));
            pthread_mutex_unlock(&p->lock);
            continue;
        }
        cleanup_error struct error *gone = NULL;
        if (!cri_container_status(cri, c, &gone))
            continue; /* removed meanwhile, or the next sync asks again */
        if (c->state == CONTAINER_EXITED) {
            read_termination_message(c);
            logs_container_ended(c->id);
        }
    }
    pthread_mutex_lock(&p->lock);
    swap(&p->sandboxes, &sandboxes, sizeof(sandboxes));
    swap(&p->containers, &containers, sizeof(containers));
    pthread_mutex_unlock(&p->lock);
    return true;
}
