/* Answers for the cluster's own names, as the Kubernetes DNS specification (schema 1.1.0) has them:
 * https://github.com/kubernetes/dns/blob/master/docs/specification.md */
#pragma once
#include "dns/message.h"
#include "dns/zone.h"

enum answer_pods { ANSWER_PODS_DISABLED, ANSWER_PODS_INSECURE, ANSWER_PODS_VERIFIED };
struct answer_config {
    struct zone *zone;
    uint8_t domain[DNS_NAME_MAX]; /* "cluster.local" */
    size_t domain_len;
    uint32_t ttl; /* seconds */
    enum answer_pods pods;
    char *own_namespace,
        *own_service; /* the Service in front of this server: what NS names stand for */
    bool forwards;    /* there are upstream servers */
};
enum answer_result {
    ANSWER_DONE,    /* *rcode is set, the writer has the records */
    ANSWER_FORWARD, /* `next` is a name outside of the cluster: the question's, or what a CNAME in
                       the writer points to */
};
enum answer_result answer(const struct answer_config *c, const struct dns_query *q,
                          struct dns_writer *w, uint8_t next[DNS_NAME_MAX], int *rcode);
