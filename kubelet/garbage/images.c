/* Images that no container uses go when the disk fills, longest unused first.
 * https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-lifecycle */
#include <string.h>
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/garbage/garbage.h"
#include "kubelet/node/node.h"
#include "kubelet/stats/usage.h"

/* What is known of images beyond what the runtime tells. */
static struct {
    pthread_mutex_t lock;
    struct image_seen *items;
    size_t count;
    char *sandbox_image;
    int64_t min_age_ms;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- the choice --- */

static _Thread_local const struct image_seen *order_of; /* for qsort, which passes nothing on */
static int longest_unused(const void *a, const void *b)
{
    const struct image_seen *x = &order_of[*(const size_t *)a], *y = &order_of[*(const size_t *)b];
    if (x->used_ms != y->used_ms)
        return x->used_ms < y->used_ms ? -1 : 1;
    return x->detected_ms < y->detected_ms ? -1 : x->detected_ms > y->detected_ms;
}

size_t images_to_free(const struct image_seen *images, size_t count, int64_t bytes, int64_t now_ms,
                      int64_t min_age_ms, size_t *out, int64_t *found)
{
    size_t n = 0, taken = 0;
    for (size_t i = 0; i < count; i++)
        if (!images[i].in_use && now_ms - images[i].detected_ms >= min_age_ms)
            out[n++] = i;
    order_of = images;
    qsort(out, n, sizeof(*out), longest_unused);
    *found = 0;
    while (taken < n && *found < bytes)
        *found += images[out[taken++]].size;
    return taken;
}

/* --- what is there, what is used --- */

void images_setup(const struct garbage_options *o)
{
    pthread_mutex_lock(&seen.lock);
    free(seen.sandbox_image);
    seen.sandbox_image = mem_strdup(o->sandbox_image);
    seen.min_age_ms = o->image_min_age_ms;
    pthread_mutex_unlock(&seen.lock);
}

static bool same_image(const Runtime__V1__Image *m, const char *name)
{
    if (!name || !*name)
        return false;
    if (strcmp(m->id, name) == 0)
        return true;
    for (size_t i = 0; i < m->n_repo_tags; i++)
        if (strcmp(m->repo_tags[i], name) == 0)
            return true;
    for (size_t i = 0; i < m->n_repo_digests; i++)
        if (strcmp(m->repo_digests[i], name) == 0)
            return true;
    return false;
}

static bool is_used(const Runtime__V1__Image *m, const struct runtime_containers *containers)
{
    for (size_t i = 0; i < containers->count; i++)
        if (same_image(m, containers->items[i].image) ||
            same_image(m, containers->items[i].image_ref))
            return true;
    return false;
}

static const struct image_seen *known(const char *id)
{
    for (size_t i = 0; i < seen.count; i++)
        if (strcmp(seen.items[i].id, id) == 0)
            return &seen.items[i];
    return NULL;
}

/* Brings `seen` up to date; with its lock held. */
static bool detect(struct kubelet *k, struct error **err)
{
    cleanup_runtime_containers struct runtime_containers containers = {0};
    if (!cri_list_containers(&k->cri, NULL, &containers, err))
        return false;
    Runtime__V1__ListImagesResponse *list = cri_list_images(&k->cri, err);
    if (!list)
        return false;
    int64_t now = time_monotonic_ms();
    struct image_seen *fresh = mem_alloc((list->n_images + 1) * sizeof(*fresh));
    for (size_t i = 0; i < list->n_images; i++) {
        const Runtime__V1__Image *m = list->images[i];
        const struct image_seen *old = known(m->id);
        bool used = m->pinned || is_used(m, &containers) || same_image(m, seen.sandbox_image);
        fresh[i] =
            (struct image_seen){mem_strdup(m->id), (int64_t)m->size, old ? old->detected_ms : now,
                                used  ? now
                                : old ? old->used_ms
                                      : 0,
                                used};
    }
    for (size_t i = 0; i < seen.count; i++)
        free(seen.items[i].id);
    free(seen.items);
    seen.items = fresh;
    seen.count = list->n_images;
    runtime__v1__list_images_response__free_unpacked(list, NULL);
    return true;
}

static int64_t remove_images(struct kubelet *k, const size_t *which, size_t count)
{
    int64_t freed = 0;
    for (size_t i = 0; i < count; i++) {
        const struct image_seen *m = &seen.items[which[i]];
        cleanup_error struct error *failure = NULL;
        if (cri_remove_image(&k->cri, m->id, &failure)) {
            freed += m->size;
            log_info("Removed an image that no container uses", "image", m->id);
        } else {
            log_warn("Could not remove an image", "image", m->id, "err", error_message(failure));
        }
    }
    return freed;
}

/* --- the passes --- */

void garbage_remove_unused_images(struct kubelet *k)
{
    pthread_mutex_lock(&seen.lock);
    cleanup_error struct error *failure = NULL;
    if (detect(k, &failure)) {
        int64_t found;
        cleanup_free size_t *which = mem_alloc((seen.count + 1) * sizeof(*which));
        size_t n = images_to_free(seen.items, seen.count, INT64_MAX, time_monotonic_ms(),
                                  seen.min_age_ms, which, &found);
        remove_images(k, which, n);
    } else {
        log_warn("Could not list images", "err", error_message(failure));
    }
    pthread_mutex_unlock(&seen.lock);
}

/* Those that nobody used for image_max_age. */
static void remove_old(struct kubelet *k, int64_t max_age_ms)
{
    int64_t now = time_monotonic_ms();
    cleanup_free size_t *which = mem_alloc((seen.count + 1) * sizeof(*which));
    size_t n = 0;
    for (size_t i = 0; i < seen.count; i++) {
        const struct image_seen *m = &seen.items[i];
        int64_t since = m->used_ms ? m->used_ms : m->detected_ms;
        if (!m->in_use && now - since > max_age_ms)
            which[n++] = i;
    }
    remove_images(k, which, n);
}

void images_collect(struct kubelet *k, const struct garbage_options *o, struct node_agent *agent)
{
    pthread_mutex_lock(&seen.lock);
    cleanup_error struct error *failure = NULL;
    struct fs_usage fs = {0};
    if (!detect(k, &failure) || (k->image_dir && !usage_of_filesystem(k->image_dir, &fs))) {
        log_warn("Image garbage collection failed", "err",
                 failure ? error_message(failure) : "statvfs");
        pthread_mutex_unlock(&seen.lock);
        return;
    }
    if (o->image_max_age_ms)
        remove_old(k, o->image_max_age_ms);
    int64_t percent =
        fs.capacity ? 100 - (int64_t)((double)fs.available * 100 / (double)fs.capacity) : 0;
    if (fs.capacity && percent >= o->image_high) {
        int64_t wanted = (int64_t)((double)fs.capacity * (double)(100 - o->image_low) / 100) -
                         (int64_t)fs.available;
        int64_t found;
        cleanup_free size_t *which = mem_alloc((seen.count + 1) * sizeof(*which));
        size_t n = images_to_free(seen.items, seen.count, wanted, time_monotonic_ms(),
                                  o->image_min_age_ms, which, &found);
        int64_t freed = remove_images(k, which, n);
        if (freed < wanted)
            node_agent_event(agent, "Warning", "FreeDiskSpaceFailed",
                             "Failed to garbage collect required amount of images. Attempted to "
                             "free %lld bytes, but only "
                             "found %lld bytes eligible to free.",
                             (long long)wanted, (long long)freed);
    }
    pthread_mutex_unlock(&seen.lock);
}
