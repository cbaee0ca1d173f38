#include "kube-proxy/element_list.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

void element_list_append(struct element_list *l, const char *text)
{
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 4;
        l->items = mem_realloc(l->items, l->capacity * sizeof *l->items);
    }
    l->items[l->count++] = mem_strdup(text);
}

void element_list_add(struct element_list *l, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    element_list_append(l, text);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void element_list_sort(struct element_list *l)
{
    if (l->count == 0)
        return;
    qsort(l->items, l->count, sizeof *l->items, compare);
    size_t kept = 1;
    for (size_t i = 1; i < l->count; i++) {
        if (strcmp(l->items[i], l->items[kept - 1]) == 0)
            free(l->items[i]);
        else
            l->items[kept++] = l->items[i];
    }
    l->count = kept;
}

void element_list_clear(struct element_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct element_list){0};
}

void element_list_compare(const struct element_list *before, const struct element_list *now,
                          void *ctx, void (*gone)(void *, const char *),
                          void (*added)(void *, const char *))
{
    size_t i = 0, j = 0;
    while (i < before->count || j < now->count) {
        int order = i == before->count ? 1
                    : j == now->count  ? -1
                                       : strcmp(before->items[i], now->items[j]);
        if (order < 0)
            gone(ctx, before->items[i++]);
        else if (order > 0)
            added(ctx, now->items[j++]);
        else
            i++, j++;
    }
}
