#include "apiserver/openapi/json_writer.h"
#include <string.h>
#include "common/json.h"

static void separate(struct json_writer *w)
{
    if (w->comma)
        buf_addc(w->out, ',');
    w->comma = true;
}

void json_begin(struct json_writer *w, char bracket)
{
    separate(w);
    buf_addc(w->out, bracket);
    w->comma = false;
}

void json_end(struct json_writer *w, char bracket)
{
    buf_addc(w->out, bracket);
    w->comma = true;
}

void json_key(struct json_writer *w, const char *key)
{
    separate(w);
    json_print_string(key, strlen(key), w->out);
    buf_addc(w->out, ':');
    w->comma = false;
}

void json_string(struct json_writer *w, const char *value)
{
    separate(w);
    json_print_string(value, strlen(value), w->out);
}

void json_bare(struct json_writer *w, const char *value)
{
    separate(w);
    buf_adds(w->out, value);
}

void json_member(struct json_writer *w, const char *key, const char *value)
{
    if (!value)
        return;
    json_key(w, key);
    json_string(w, value);
}
