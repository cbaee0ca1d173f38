/* What the parts of the request pipeline share: front.c (the pipeline), request_info.c and accept.c
 * (what is asked for, and in which form), list_get.c and watch.c (reads), reply.c and status.c
 * (answers), workers.c (threads for what waits), health.c. */
#pragma once
#include <stdatomic.h>
#include "apiserver/server/request.h"
#include "apiserver/storage/cacher.h"
#include "common/httpd.h"
#include "common/selector.h"

struct workers;
struct watches;

struct api_server_options {
    const char *bind_address;
    int64_t secure_port;
    const char *cert_file, *key_file, *client_ca_file;
    unsigned io_threads, worker_threads;
    int64_t request_timeout_ms;
};
struct api_server {
    struct api_config config;
    struct storage *storage;
    struct httpd *httpd;
    struct workers *workers;
    struct watches *watches;
    atomic_bool started; /* start-up hooks are through */
};
/* The server struct is the caller's; storage and config are set. */
bool server_start(struct api_server *s, const struct api_server_options *o, struct error **err);
void server_stop(struct api_server *s);

/* --- request_info.c --- */
/* verb for GET of a collection depends on ?watch=; field_selector may name one object. Free with
 * request_info_clear. */
void request_info_parse(const char *method, const char *path, const char *watch,
                        const char *field_selector, struct request_info *out);
void request_info_clear(struct request_info *i);
enum resource_verb request_verb(const char *verb); /* 0 for others */

/* --- accept.c --- */
/* The best of the media ranges in which r can be shown (NULL: no resource). False with 406. */
bool accept_parse(const char *header, const struct resource *r, bool watch, struct api_accept *out,
                  struct error **err);

/* --- the request's life (front.c) --- */
/* The request as the server knows it. `pub` is first: an api_request * is one of these. */
struct server_request {
    struct api_request pub;
    struct api_server *server;
    void (*work)(struct server_request *q); /* on a worker */
    struct server_request *next;            /* in the workers' queue */
    void *state;                            /* of list, get and watch; freed with state_free */
    void (*state_free)(void *);
    bool deferred;
    bool gzip; /* the client takes it */
    enum { UNCOUNTED, READ_ONLY, MUTATING } counted; /* among the requests under way */
    char resource_version[24];
};
/* Ends the request's memory; its answer was given. */
void request_done(struct server_request *q);
/* The handler will answer later, from another thread. */
void request_defer(struct server_request *q);
/* Runs fn on a worker; answers 429 when too many wait. Consumes q (fn calls request_done). */
void request_to_worker(struct server_request *q, void (*fn)(struct server_request *));
void reply_error_done(struct server_request *q, const struct error *err);

/* --- workers.c --- */
struct workers *workers_start(unsigned max);
bool workers_add(struct workers *w, struct server_request *q); /* false: too many wait */
bool workers_add_long(struct workers *w,
                      struct server_request *q); /* a thread of its own; false: too many */
void workers_stop(struct workers *w);            /* waits for all */

/* --- reply.c --- */
void reply_init(void);
/* Bytes of this media type (taken), gzipped if the client takes that. */
void reply_encoded(struct server_request *q, int status, const char *type, char *text, size_t len);
/* JSON text (taken) as the client wants it (pretty, YAML, protobuf, gzip). */
void reply_text(struct server_request *q, int status, char *text, size_t len);
/* Does the client want compact JSON of this length as it is? */
bool reply_is_plain(const struct server_request *q, size_t len);
/* Shared bytes, compact JSON. */
void reply_bytes(struct server_request *q, int status, const char *text, size_t len,
                 void (*release)(void *), void *owner);
/* Adds Go's MarshalIndent form of compact JSON. */
void json_indent(const char *text, size_t len, struct buf *out);

/* --- status.c --- */
void status_print(const struct error *err, struct buf *out);

/* --- filter.c --- */
struct object_filter {
    const char *ns; /* "" for all; borrowed */
    struct label_selector *labels;
    struct field_selector fields;
    int *field_at; /* per term: index into stored->fields, or one of the two below */
    bool selects;  /* there is a label or field selector */
};
enum { FILTER_NAME = -1, FILTER_NAMESPACE = -2 };
bool filter_parse(const struct resource *r, const char *ns, const char *labels, const char *fields,
                  struct object_filter *out, struct error **err);
bool filter_matches(const struct object_filter *f, const struct stored *s);
void filter_clear(struct object_filter *f);

/* --- list_options.c --- */
struct list_options {
    bool has_revision; /* resourceVersion was given and is not "" */
    uint64_t revision; /* 0: any */
    enum { MATCH_UNSET, MATCH_EXACT, MATCH_NOT_OLDER } match;
    int64_t limit; /* 0: none */
    bool has_continue;
    uint64_t continue_revision; /* 0: an inconsistent continuation, from the newest state */
    char *continue_after;       /* below the resource's prefix; owned */
    bool watch, bookmarks, has_initial_events, initial_events;
    int64_t timeout_seconds; /* 0: not given */
};
bool list_options_parse(const struct httpd_request *http, bool watch, struct list_options *out,
                        struct error **err);
void list_options_clear(struct list_options *o);
/* revision 0: inconsistent. Caller frees. */
char *continue_token(uint64_t revision, const char *last_key_below_prefix);
bool continue_parse(const char *token, uint64_t *revision, char **after, struct error **err);

/* --- list_get.c --- */
void serve_get(struct server_request *q);  /* I/O thread; consumes q */
void serve_list(struct server_request *q); /* I/O thread; consumes q */

/* --- watch.c --- */
struct watches *watches_start(struct storage *storage);
void watches_stop(struct watches *w);       /* before httpd_stop: ends them all */
void serve_watch(struct server_request *q); /* I/O thread; consumes q */

/* --- health.c --- */
/* /healthz, /livez, /readyz, /version, /metrics. False when the path is none of them; else q is
 * consumed. */
bool health_serve(struct server_request *q);
void health_count(const struct server_request *q); /* a request was answered */
void health_init(void);
/* One more, or one less (-1), request of a kind is under way. */
void health_under_way(int counted, int change);
/* So many answers were given since the start. */
uint64_t health_requests(void);

/* --- memory.c --- */
struct memory_watch { /* zero at first */
    int64_t at_ms;
    uint64_t requests;
    long resident;
};
/* To be called every few seconds, by one thread. */
void memory_check(struct memory_watch *m);
