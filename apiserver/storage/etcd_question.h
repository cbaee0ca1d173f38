/* One question, put to the store thousands of times a second: how far is it? (A linearizable read
 * of a key that is not there; the answer's header says the revision.) It has a connection of its
 * own and as little around it as HTTP/1.1 and TLS allow, because every consistent read of every
 * client waits for it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "apiserver/storage/etcd_client.h"

struct etcd_question;
struct etcd_question *etcd_question_new(struct etcd_client *c);
void etcd_question_free(struct etcd_question *q);
/* Blocks for half a second at most. False when that came to nothing, for whatever reason:
 * etcd_call() then has the patience and the other servers. One thread at a time. */
bool etcd_question_ask(struct etcd_question *q, uint64_t *revision);
