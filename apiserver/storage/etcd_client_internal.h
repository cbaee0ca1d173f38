/* What the two ways of asking the store share: etcd_client.c (everything, by libcurl) and etcd_question.c. */
#pragma once
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include "apiserver/storage/etcd_client.h"

struct handle;
struct etcd_client {
    char **servers; /* "https://10.0.0.1:2379" */
    unsigned server_count;
    atomic_uint current;
    char *ca_file, *cert_file, *key_file; /* or NULL */
    struct curl_slist *headers;
    pthread_mutex_t mutex;
    struct handle *idle;
};
