/* Shared by the files of the client only. */
#pragma once
#include <curl/curl.h>
#include <pthread.h>
#include <time.h>
#include "common/kube_client.h"

#define IDLE_HANDLES_MAX   6
#define CONNECT_TIMEOUT_MS 5000

struct stream_wake {
    struct stream_wake *next;
    const volatile bool *stop;
    int event_fd;
};

struct kube_client {
    struct kube_client_config config;
    int ca_fd, cert_fd, key_fd; /* memory files of inline credentials; -1 */
    CURLSH *share;              /* TLS sessions */
    struct tls_client *tls;     /* of the streams */
    pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
    pthread_mutex_t lock; /* of what follows */
    CURL *idle[IDLE_HANDLES_MAX];
    int idle_count;
    struct stream_wake *streams;
    char *token;
    struct timespec token_mtime;
};

/* A handle set up for the server and this path; headers gets the list to free after the transfer. */
CURL *kube_client_handle(struct kube_client *c, CURL *reuse, const char *path_and_query,
                         struct curl_slist **headers, const char *content_type);
/* Turns an answer of 400 and more into an error. */
void kube_client_status_error(long http_status, const char *body, size_t len, struct error **err);
/* The bearer token as an Authorization header, or NULL. Service account tokens are rotated in place. The caller wipes and frees it. */
char *kube_client_authorization(struct kube_client *c);
