/* What grows on a node and must be kept in bounds: logs of containers that run, images that no
 * container uses, containers and sandboxes that ended.
 * https://kubernetes.io/docs/concepts/architecture/garbage-collection/#containers-images */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "kubelet/kubelet.h"

struct node_agent;
struct garbage_options {
    int64_t log_max_size;          /* bytes; Kubernetes: 10Mi */
    int64_t log_max_files;         /* of one container, the one in use counts; at least 2 */
    int64_t log_interval_ms;       /* between two looks; Kubernetes: 10 s */
    int64_t image_high, image_low; /* percent of the image file system; 85, 80 */
    int64_t image_min_age_ms;      /* unused images younger than that stay; 2 minutes */
    int64_t image_max_age_ms;      /* unused for so long they go, whatever the disk has; 0: never */
    int64_t image_interval_ms;     /* 5 minutes */
    const char *sandbox_image;     /* never removed */
};
void garbage_start(struct kubelet *k, const struct garbage_options *o, struct node_agent *agent);

/* Pods' dead containers beside the newest of each name, and sandboxes that were replaced. */
void garbage_remove_dead(struct kubelet *k);
/* All images that no container uses. */
void garbage_remove_unused_images(struct kubelet *k);

/* --- logs (logs.c) --- */
/* Rotates one container's log when it is larger than max_size: the file is renamed to
 * <path>.<time>, reopen() lets the runtime begin a new one, older ones are compressed, the oldest
 * beyond max_files removed. True: it was rotated. */
bool log_rotate(const char *path, int64_t max_size, int64_t max_files,
                bool (*reopen)(void *userdata, struct error **err), void *userdata,
                struct error **err);

/* --- images (images.c) --- */
struct image_seen {
    char *id;
    int64_t size, detected_ms, used_ms; /* used_ms 0: never since it was detected */
    bool in_use;
};
/* The order in which unused images go: longest unused first. Gives indexes of those that must go to
 * free `bytes`; count of them. *found: bytes that may be freed. */
size_t images_to_free(const struct image_seen *images, size_t count, int64_t bytes, int64_t now_ms,
                      int64_t min_age_ms, size_t *out, int64_t *found);
void images_setup(const struct garbage_options *o);
void images_collect(struct kubelet *k, const struct garbage_options *o, struct node_agent *agent);
