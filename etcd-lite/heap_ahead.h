/* Memory that will be needed soon, made ready by another thread. A page's first touch costs more
 * than what is done with it here (the kernel clears it; a hypervisor may have to find it first), so
 * while one thread loads a large store, another one takes the pages of the heap's end beforehand.
 * It concerns the heap that grows by brk: the one of the process's first thread. */
#pragma once
#include <stddef.h>

struct heap_ahead;
/* NULL when so few bytes are not worth it. */
struct heap_ahead *heap_ahead_begin(size_t bytes);
/* The heap may have grown: call it now and then while loading. NULL is allowed, here and below. */
void heap_ahead_look(struct heap_ahead *h);
/* What was made ready and is not used goes back to the kernel. */
void heap_ahead_end(struct heap_ahead *h);
