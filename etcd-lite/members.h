/* Who belongs to the cluster: part of the replicated state, changed by commands in the log, so it
 * is the same on all members, stands in snapshots, and outlives any --initial-cluster.
 *
 * It says what shall be. The leader brings libraft's own configuration in line with it
 * (member_change.c): a change that was half-way when a leader died is finished by the next. */
#pragma once
#include "etcd-lite/api.h"
#include "etcd-lite/status.h"

struct state;

#define MEMBERS_MAX  15
#define LEARNERS_MAX 1 /* as etcd */

struct member_info {
    uint64_t id;
    char *name;                      /* "" until the member has started for the first time */
    char **client_urls, **peer_urls; /* NULL-terminated */
    bool learner;
};
const struct member_info *state_member(const struct state *s, uint64_t id);
bool state_member_removed(const struct state *s, uint64_t id);
void state_clear_members(struct state *s);
/* Commands: the write lock is needed. All but members_init and publish need a known membership. */
enum kv_status members_apply(struct state *s, const struct command *c);
bool members_is_command(const struct command *c);

/* What etcd refuses of a request before it is proposed: URLs that are none. */
enum kv_status members_check_urls(const struct msg_list *peer_urls);
/* Whether a change would leave a majority of started voters, as etcd asks before it proposes it. */
enum kv_status members_check_quorum(const struct state *s, const struct command *c);
/* All members, as clients see them. Strings are copied. */
void members_list(const struct state *s, struct arena *a, struct msg_list *out);
/* The number of a member that is added now. */
int64_t members_new_id(const struct msg_list *peer_urls, int64_t now_us);
char **strings_copy(const struct msg_list *list); /* struct bytes -> NULL-terminated */
void strings_free(char **list);
