#include "kube-proxy/policy/elements.h"
#include <string.h>
#include "common/mem.h"

void element_commands_add(struct element_commands *c, const char *text, bool with_value)
{
    const char *tab = strchr(text, '\t'), *end = with_value ? NULL : strstr(tab, " : ");
    cleanup_free char *set = mem_strndup(text, (size_t)(tab - text));
    struct buf *b = hash_get(&c->sets, set);
    if (!b) {
        b = mem_alloc(sizeof *b);
        hash_set(&c->sets, set, b);
    }
    if (b->len)
        buf_adds(b, ", ");
    buf_add(b, tab + 1, end ? (size_t)(end - tab - 1) : strlen(tab + 1));
}

static void free_buf(void *p)
{
    buf_free(p);
    free(p);
}

void element_commands_clear(struct element_commands *c)
{
    hash_clear(&c->sets, free_buf);
}

void element_commands_print(struct element_commands *c, const char *verb, const char *table,
                            struct buf *out)
{
    for (struct hash_entry *e = NULL; (e = hash_next(&c->sets, e));)
        buf_printf(out, "%s element %s %s { %s }\n", verb, table, e->key, buf_str(e->value));
    element_commands_clear(c);
}
