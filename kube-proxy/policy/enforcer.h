/* Keeps the node's NetworkPolicy table as the API says. Pods and namespaces are only watched once
 * there is a policy. */
#pragma once
#include <stdbool.h>
#include "common/error.h"
#include "common/kube_client.h"

struct enforcer;
struct enforcer *enforcer_start(struct kube_client *client, const char *node_name,
                                struct error **err);
/* Have the policies been programmed once? */
bool enforcer_ready(struct enforcer *e);
void enforcer_stop(
    struct enforcer *e); /* leaves all rules in place: pods stay isolated without this process */
