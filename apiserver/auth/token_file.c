#include "apiserver/auth/token_file.h"

#include <string.h>

#include "apiserver/auth/auth.h"
#include "common/buf.h"
#include "common/mem.h"

struct token {
    struct token *next;
    char *text, *user, *uid;
    char **groups; /* NULL-terminated */
};
/* Set by token_file_load() before requests are served, constant afterwards. */
static struct token *tokens;

/* One CSV field (RFC 4180) from *at on, unquoted in place; *at is behind it, or NULL at the end of
 * the line. */
static char *next_field(char **at)
{
    static char none[] = "";
    char *p = *at, *out = p, *field = p;
    if (!p)
        return none;
    bool quoted = *p == '"';
    p += quoted;
    for (; *p && (quoted || *p != ','); p++) {
        if (quoted && *p == '"' && *++p != '"')
            break;
        *out++ = *p;
    }
    while (*p && *p != ',')
        p++;
    *at = *p ? p + 1 : NULL;
    *out = 0;
    return field;
}

static void add_group(struct token *t, size_t *count, const char *name)
{
    t->groups = mem_realloc(t->groups, (*count + 2) * sizeof *t->groups);
    t->groups[(*count)++] = mem_strdup(name);
    t->groups[*count] = NULL;
}

static bool add_token(char *line)
{
    char *at = line;
    const char *text = next_field(&at), *user = next_field(&at), *uid = next_field(&at);
    if (!*text || !*user)
        return false;
    struct token *t = mem_alloc(sizeof *t);
    *t = (struct token){
        .next = tokens, .text = mem_strdup(text), .user = mem_strdup(user), .uid = mem_strdup(uid)};
    size_t count = 0;
    char *save = NULL, *groups = next_field(&at);
    for (char *g = *groups ? strtok_r(groups, ", ", &save) : NULL; g;
         g = strtok_r(NULL, ", ", &save))
        add_group(t, &count, g);
    add_group(t, &count, GROUP_AUTHENTICATED);
    tokens = t;
    return true;
}

bool token_file_load(const char *path, struct error **err)
{
    cleanup_buf struct buf file = {0};
    if (!buf_read_file(&file, path, err))
        return false;
    char *save = NULL;
    int number = 0;
    bool ok = true;
    for (char *line = file.len ? strtok_r(file.data, "\r\n", &save) : NULL; line && ok;
         line = strtok_r(NULL, "\r\n", &save)) {
        number++;
        if (*line != '#')
            ok = add_token(line);
    }
    if (!ok)
        error_setf(err, "%s: entry %d is not token,user,uid", path, number);
    if (file.data)
        explicit_bzero(file.data, file.len);
    return ok;
}

/* Takes as long for a wrong token as for a right one. */
static bool equal(const char *a, const char *b)
{
    size_t n = strlen(a);
    if (strlen(b) != n)
        return false;
    unsigned char differs = 0;
    for (size_t i = 0; i < n; i++)
        differs |= (unsigned char)(a[i] ^ b[i]);
    return !differs;
}

bool token_file_authenticate(const char *token, struct api_user *user)
{
    for (const struct token *t = tokens; t; t = t->next) {
        if (!equal(t->text, token))
            continue;
        api_user_set(user, t->user, (const char *const *)t->groups);
        user->uid = mem_strdup(t->uid);
        return true;
    }
    return false;
}
