/* Alarms are part of the replicated state: all members refuse the same from the same entry on. */
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/state.h"

static size_t find(const struct state *s, int64_t member, int64_t alarm)
{
    size_t i = 0;
    while (i < s->n_alarms &&
           (s->alarms[i].member_id != member || s->alarms[i].alarm != alarm))
        i++;
    return i;
}

void state_add_alarm(struct state *s, int64_t member, int64_t alarm)
{
    if (find(s, member, alarm) < s->n_alarms)
        return;
    s->alarms = mem_realloc(s->alarms, (s->n_alarms + 1) * sizeof(*s->alarms));
    s->alarms[s->n_alarms++] = (struct alarm_member){member, alarm};
}

bool state_has_alarm(const struct state *s, int64_t alarm)
{
    for (size_t i = 0; i < s->n_alarms; i++)
        if (s->alarms[i].alarm == alarm)
            return true;
    return false;
}

void state_list_alarms(const struct state *s, int64_t alarm, struct arena *a, struct msg_list *out)
{
    for (size_t i = 0; i < s->n_alarms; i++)
        if (alarm == ALARM_NONE || s->alarms[i].alarm == alarm)
            *(struct alarm_member *)msg_list_add(out, sizeof(struct alarm_member), a) =
                s->alarms[i];
}

void state_apply_alarm(struct state *s, const struct alarm_request *r, struct arena *a,
                       struct alarm_response *out)
{
    size_t i = find(s, r->member_id, r->alarm);
    bool was = i < s->n_alarms;
    if (r->action == ALARM_ACTIVATE && r->alarm != ALARM_NONE)
        state_add_alarm(s, r->member_id, r->alarm);
    else if (r->action == ALARM_DEACTIVATE && was)
        memmove(s->alarms + i, s->alarms + i + 1, (--s->n_alarms - i) * sizeof(*s->alarms));
    else
        return;
    *(struct alarm_member *)msg_list_add(&out->alarms, sizeof(struct alarm_member), a) =
        (struct alarm_member){r->member_id, r->alarm};
}

static bool ops_put(const struct msg_list *ops)
{
    const struct request_op *op = ops->items;
    for (size_t i = 0; i < ops->n; i++)
        if (op[i].put || (op[i].txn && txn_puts(op[i].txn)))
            return true;
    return false;
}

bool txn_puts(const struct txn_request *t)
{
    return ops_put(&t->success) || ops_put(&t->failure);
}
