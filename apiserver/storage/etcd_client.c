#include "apiserver/storage/etcd_client.h"

#include <string.h>
#include <time.h>

#include "apiserver/storage/etcd_client_internal.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define CONNECT_TIMEOUT_MS 1000L
#define TRY_TIMEOUT_MS     3000L /* one server's turn; it may hang */
#define STATUS_TIMEOUT_MS  500L
#define LONG_TRY_MS        20000L /* when the caller has a minute: large answers */
#define ANSWER_MAX         ((size_t)512 * 1024 * 1024)

/* A libcurl handle keeps its connection between requests. */
struct handle {
    struct handle *next;
    CURL *curl;
    unsigned uses;
    struct buf answer;
};

struct etcd_client *etcd_client_new(const struct etcd_options *o, struct error **err)
{
    struct etcd_client *c = mem_alloc(sizeof *c);
    pthread_mutex_init(&c->mutex, NULL);
    cleanup_free char *list = mem_strdup(o->servers);
    char *save = NULL;
    for (char *url = strtok_r(list, ", ", &save); url; url = strtok_r(NULL, ", ", &save)) {
        size_t n = strlen(url);
        while (n && url[n - 1] == '/')
            url[--n] = 0;
        c->servers = mem_realloc(c->servers, (c->server_count + 1) * sizeof *c->servers);
        c->servers[c->server_count++] =
            strstr(url, "://") ? mem_strdup(url)
                               : mem_printf("%s://%s", o->ca_file ? "https" : "http", url);
    }
    if (!c->server_count) {
        error_setf(err, "--etcd-servers names no server");
        etcd_client_free(c);
        return NULL;
    }
    c->ca_file = mem_strdup(o->ca_file);
    c->cert_file = mem_strdup(o->cert_file);
    c->key_file = mem_strdup(o->key_file);
    c->headers = curl_slist_append(NULL, "Content-Type: application/json");
    c->headers = curl_slist_append(c->headers, "Expect:");
    return c;
}

static void handle_free(struct handle *h)
{
    curl_easy_cleanup(h->curl);
    buf_free(&h->answer);
    free(h);
}

void etcd_client_free(struct etcd_client *c)
{
    if (!c)
        return;
    while (c->idle) {
        struct handle *h = c->idle;
        c->idle = h->next;
        handle_free(h);
    }
    for (unsigned i = 0; i < c->server_count; i++)
        free(c->servers[i]);
    free(c->servers);
    free(c->ca_file);
    free(c->cert_file);
    free(c->key_file);
    curl_slist_free_all(c->headers);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

static size_t on_answer(char *p, size_t size, size_t n, void *userdata)
{
    struct buf *b = userdata;
    if (b->len + size * n > ANSWER_MAX)
        return 0;
    buf_add(b, p, size * n);
    return size * n;
}

static CURL *new_curl(const struct etcd_client *c)
{
    CURL *curl = curl_easy_init();
    if (!curl)
        abort();
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPIDLE, 10L);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPINTVL, 5L);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 16384L);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    /* Never the system's authorities: besides trusting them, each connection would hold 2 MB of
     * their certificates. */
    curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca_file);
    if (c->cert_file)
        curl_easy_setopt(curl, CURLOPT_SSLCERT, c->cert_file);
    if (c->key_file)
        curl_easy_setopt(curl, CURLOPT_SSLKEY, c->key_file);
    return curl;
}

static struct handle *take_handle(struct etcd_client *c)
{
    pthread_mutex_lock(&c->mutex);
    struct handle *h = c->idle;
    if (h)
        c->idle = h->next;
    pthread_mutex_unlock(&c->mutex);
    if (h)
        return h;
    h = mem_alloc(sizeof *h);
    h->curl = new_curl(c);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, &h->answer);
    return h;
}

static void give_handle(struct etcd_client *c, struct handle *h)
{
    if (h->answer.cap > 256 * 1024)
        buf_free(&h->answer);
    pthread_mutex_lock(&c->mutex);
    h->next = c->idle;
    c->idle = h;
    pthread_mutex_unlock(&c->mutex);
}

/* The next request goes to another server, unless somebody else has turned away already. */
static void turn_away(struct etcd_client *c, unsigned from)
{
    atomic_compare_exchange_strong(&c->current, &from, (from + 1) % c->server_count);
}

/* Error answers: {"error":"etcdserver: ...","code":14,"message":"..."}. */
static bool server_is_unwell(long status, const cJSON *answer)
{
    int64_t code = json_int(answer, "code", 0);
    return status >= 500 || status == 408 || code == 14 || code == 4 || code == 8 || code == 13;
}

static bool never_sent(CURL *curl, CURLcode rc)
{
    long sent = 0;
    curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &sent);
    return rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST ||
           rc == CURLE_SSL_CONNECT_ERROR || rc == CURLE_PEER_FAILED_VERIFICATION ||
           rc == CURLE_SSL_CERTPROBLEM || rc == CURLE_SSL_CACERT_BADFILE || !sent;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* One try with one server. ETCD_FAILED with *elsewhere set: not done, another server may do it. */
static enum etcd_outcome try_once(struct etcd_client *c, struct handle *h, unsigned server,
                                  const char *path, const char *body, long timeout_ms,
                                  cJSON **answer, bool *resent, bool *elsewhere, struct error **err)
{
    cleanup_free char *url = mem_printf("%s%s", c->servers[server], path);
    curl_easy_setopt(h->curl, CURLOPT_URL, url);
    curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
    curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    buf_clear(&h->answer);
    bool used = h->uses++ > 0;
    CURLcode rc = curl_easy_perform(h->curl);
    *elsewhere = true;
    if (rc != CURLE_OK) {
        error_setf(err, "%s: %s", c->servers[server], curl_easy_strerror(rc));
        return never_sent(h->curl, rc) ? ETCD_FAILED : ETCD_UNKNOWN;
    }
    long status = 0, connects = 0;
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(h->curl, CURLINFO_NUM_CONNECTS, &connects);
    /* libcurl itself sends again when a kept connection turns out to be dead. */
    if (resent && used && connects)
        *resent = true;
    cleanup_error struct error *why = NULL;
    cleanup_json cJSON *json = json_parse(buf_str(&h->answer), h->answer.len, &why);
    if (status == 200 && json) {
        *answer = json;
        json = NULL;
        return ETCD_DONE;
    }
    const char *text = json_str(json, "error");
    if (!text)
        text = json_str_or(json, "message", error_message(why));
    error_setf(err, "%s: %s (HTTP %ld)", c->servers[server], text, status);
    if (status == 200 || server_is_unwell(status, json))
        return ETCD_UNKNOWN;
    *elsewhere = false;
    return ETCD_FAILED;
}

enum etcd_outcome etcd_call(struct etcd_client *c, const char *path, const char *body, bool again,
                            int timeout_ms, cJSON **answer, bool *resent, struct error **err)
{
    int64_t deadline = time_monotonic_ms() + timeout_ms;
    struct handle *h = take_handle(c);
    enum etcd_outcome outcome;
    for (unsigned tries = 1;; tries++) {
        cleanup_error struct error *why = NULL;
        unsigned server = atomic_load(&c->current) % c->server_count;
        int64_t left = deadline - time_monotonic_ms();
        long most = timeout_ms >= 60000 ? LONG_TRY_MS : TRY_TIMEOUT_MS;
        long limit = left < 200 ? 200 : left < most ? (long)left : most;
        bool elsewhere;
        outcome = try_once(c, h, server, path, body, limit, answer, resent, &elsewhere, &why);
        if (outcome == ETCD_DONE)
            break;
        if (elsewhere)
            turn_away(c, server);
        log_debug(2, "Store request failed", "path", path, "err", error_message(why), "try",
                  log_int(tries));
        bool more =
            elsewhere && (outcome == ETCD_FAILED || again) && time_monotonic_ms() < deadline;
        if (!more) {
            error_move(err, why);
            why = NULL;
            break;
        }
        if (tries % c->server_count == 0) /* each had its turn */
            pause_ms(tries < 20 ? 20 : 100);
    }
    give_handle(c, h);
    return outcome;
}

/* Who the server is and whom it follows; false when it does not say. */
static bool ask_status(struct etcd_client *c, unsigned server, uint64_t *member, uint64_t *leader)
{
    struct handle *h = take_handle(c);
    cleanup_json cJSON *answer = NULL;
    bool elsewhere;
    bool ok = try_once(c, h, server, "/v3/maintenance/status", "{}", STATUS_TIMEOUT_MS, &answer,
                       NULL, &elsewhere, NULL) == ETCD_DONE;
    give_handle(c, h);
    *member = ok ? etcd_uint(json_get(answer, "header"), "member_id") : 0;
    *leader = ok ? etcd_uint(answer, "leader") : 0;
    return ok && *member && *leader;
}

bool etcd_prefer_leader(struct etcd_client *c)
{
    if (c->server_count < 2)
        return false;
    unsigned here = atomic_load(&c->current) % c->server_count;
    uint64_t member, leader;
    if (ask_status(c, here, &member, &leader) && member == leader)
        return false;
    for (unsigned i = 1; i < c->server_count; i++) {
        unsigned server = (here + i) % c->server_count;
        if (ask_status(c, server, &member, &leader) && member == leader)
            return atomic_compare_exchange_strong(&c->current, &here, server);
    }
    return false;
}

bool etcd_error_compacted(const struct error *e)
{
    return e && strstr(e->message, "required revision has been compacted");
}

bool etcd_error_no_lease(const struct error *e)
{
    return e && strstr(e->message, "requested lease not found");
}

/* --- watch --- */

struct etcd_watch {
    struct etcd_client *client;
    CURLM *multi;
    atomic_bool broken;
    struct buf line;
    bool (*on_result)(void *userdata, const cJSON *result);
    void *userdata;
    bool ended; /* by on_result */
    bool heard;
    char *error_text;
};

struct etcd_watch *etcd_watch_new(struct etcd_client *c)
{
    struct etcd_watch *w = mem_alloc(sizeof *w);
    w->client = c;
    w->multi = curl_multi_init();
    if (!w->multi)
        abort();
    return w;
}

void etcd_watch_free(struct etcd_watch *w)
{
    if (!w)
        return;
    curl_multi_cleanup(w->multi);
    buf_free(&w->line);
    free(w->error_text);
    free(w);
}

void etcd_watch_break(struct etcd_watch *w)
{
    atomic_store(&w->broken, true);
    curl_multi_wakeup(w->multi);
}

static bool take_line(struct etcd_watch *w, const char *text, size_t len)
{
    cleanup_json cJSON *json = json_parse(text, len, NULL);
    const cJSON *result = json_get(json, "result");
    if (!result) {
        free(w->error_text);
        const char *why = json_str(json, "error.message");
        w->error_text =
            mem_strdup(why ? why : json_str_or(json, "error", "an answer that is not JSON"));
        return false;
    }
    w->heard = true;
    if (!w->on_result(w->userdata, result)) {
        w->ended = true;
        return false;
    }
    return true;
}

static size_t on_watch_data(char *p, size_t size, size_t n, void *userdata)
{
    struct etcd_watch *w = userdata;
    size_t len = size * n;
    const char *rest = p, *end = p + len, *newline;
    while ((newline = memchr(rest, '\n', (size_t)(end - rest)))) {
        bool ok;
        if (w->line.len) {
            buf_add(&w->line, rest, (size_t)(newline - rest));
            ok = take_line(w, w->line.data, w->line.len);
            buf_clear(&w->line);
        } else {
            ok = newline == rest || take_line(w, rest, (size_t)(newline - rest));
        }
        if (!ok)
            return 0;
        rest = newline + 1;
    }
    if (w->line.len + (size_t)(end - rest) > ANSWER_MAX)
        return 0;
    if (rest < end)
        buf_add(&w->line, rest, (size_t)(end - rest));
    return len;
}

bool etcd_watch_run(struct etcd_watch *w, uint64_t start_revision,
                    bool (*on_result)(void *userdata, const cJSON *result), void *userdata,
                    struct error **err)
{
    struct etcd_client *c = w->client;
    if (atomic_exchange(&w->broken, false)) {
        error_setf(err, "the watch was ended");
        return false;
    }
    unsigned server = atomic_load(&c->current) % c->server_count;
    /* Key "\0" to "\0": every key there is. */
    cleanup_free char *body = mem_printf("{\"create_request\":{\"key\":\"AA==\",\"range_end\":\"AA="
                                         "=\",\"start_revision\":\"%llu\"}}",
                                         (unsigned long long)start_revision);
    cleanup_free char *url = mem_printf("%s/v3/watch", c->servers[server]);
    w->on_result = on_result;
    w->userdata = userdata;
    w->ended = w->heard = false;
    free(w->error_text);
    w->error_text = NULL;
    buf_clear(&w->line);
    CURL *curl = new_curl(c);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_watch_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, w);
    curl_multi_add_handle(w->multi, curl);
    int running = 1;
    bool broken = false;
    while (running && !(broken = atomic_exchange(&w->broken, false))) {
        if (curl_multi_perform(w->multi, &running) != CURLM_OK)
            break;
        if (running)
            curl_multi_poll(w->multi, NULL, 0, 60000, NULL);
    }
    CURLcode rc = CURLE_OK;
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(w->multi, &left)))
        if (m->msg == CURLMSG_DONE)
            rc = m->data.result;
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(w->multi, curl);
    curl_easy_cleanup(curl);
    if (!w->ended)
        turn_away(c, server);
    if (w->ended)
        return true;
    if (broken)
        error_setf(err, "%s: the watch was ended", c->servers[server]);
    else
        error_setf(err, "%s: watch: %s (HTTP %ld)", c->servers[server],
                   w->error_text ? w->error_text
                   : rc          ? curl_easy_strerror(rc)
                                 : "the stream ended",
                   status);
    return false;
}

/* --- protobuf's JSON form --- */

uint64_t etcd_uint(const cJSON *o, const char *name)
{
    const cJSON *v = json_get(o, name);
    if (cJSON_IsString(v))
        return strtoull(v->valuestring, NULL, 10);
    return cJSON_IsNumber(v) && v->valuedouble > 0 ? (uint64_t)v->valuedouble : 0;
}

bool etcd_bytes(const cJSON *o, const char *name, struct buf *b)
{
    const cJSON *v = json_get(o, name);
    return cJSON_IsString(v) && buf_add_base64_decoded(b, v->valuestring, strlen(v->valuestring));
}

void etcd_add_bytes(struct buf *b, const char *name, const void *p, size_t n)
{
    buf_addc(b, '"');
    buf_adds(b, name);
    buf_adds(b, "\":\"");
    buf_add_base64(b, p, n);
    buf_addc(b, '"');
}

uint64_t etcd_header_revision(const cJSON *answer)
{
    return etcd_uint(json_get(answer, "header"), "revision");
}
