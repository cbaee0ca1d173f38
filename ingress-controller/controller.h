/* Watches what Ingresses are made of, and gives nginx the outcome. */
#pragma once
#include <stdbool.h>
#include "common/kube_client.h"

struct controller_options {
    struct kube_client *client;
    const char *controller_class; /* spec.controller of the IngressClasses that are ours:
                                     "k8s.io/ingress-nginx" */
    const char *ingress_class; /* value of the annotation kubernetes.io/ingress.class that means us:
                                  "nginx" */
    bool without_class;        /* take Ingresses too that name no class */
    const char *publish_service; /* "namespace/name": its addresses go into the status of Ingresses;
                                    "" for none */
    const char *default_certificate; /* "namespace/name" of a Secret; "" for nginx' own */
    const char *ns, *identity;       /* of the lease for who writes statuses and events */
    const char *nginx, *nginx_conf, *run_dir;
    int workers;
};
struct controller;
struct controller *controller_start(const struct controller_options *o, struct error **err);
/* Has nginx got the first whole set of documents? */
bool controller_ready(struct controller *c);
/* Requests under way may end within grace_ms. */
void controller_stop(struct controller *c, int64_t grace_ms);
