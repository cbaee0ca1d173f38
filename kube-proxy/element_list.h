/* Texts that stand for elements of sets and maps. Each user says in his texts of which one. */
#pragma once
#include <stddef.h>

struct element_list { /* owned */
    char **items;
    size_t count, capacity;
};
void element_list_append(struct element_list *l, const char *text);
void element_list_add(struct element_list *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void element_list_sort(struct element_list *l); /* and drops what is there twice */
void element_list_clear(struct element_list *l);
/* Calls for what only one of two sorted lists has. */
void element_list_compare(const struct element_list *before, const struct element_list *now,
                          void *ctx, void (*gone)(void *ctx, const char *text),
                          void (*added)(void *ctx, const char *text));
