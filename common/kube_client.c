/* Requests over libcurl. A request borrows an easy handle with its kept-alive connection and gives it back.
 */
#include "common/kube_client_internal.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/connection.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"

#define REQUEST_TIMEOUT_MS 30000

/* libcurl's initialization also starts libssh2, and that all of OpenSSL: two megabytes in each process for a
 * protocol that we never speak. This takes its place, by the rules of symbol lookup. */
__attribute__((visibility("default"))) int libssh2_init(int flags);
int libssh2_init(int flags)
{
    (void)flags;
    return 0;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_init(void)
{
    curl_global_init(CURL_GLOBAL_ALL);
}

static void share_lock(CURL *handle, curl_lock_data data, curl_lock_access access, void *userdata)
{
    (void)handle;
    (void)access;
    pthread_mutex_lock(&((struct kube_client *)userdata)->share_locks[data]);
}

static void share_unlock(CURL *handle, curl_lock_data data, void *userdata)
{
    (void)handle;
    pthread_mutex_unlock(&((struct kube_client *)userdata)->share_locks[data]);
}

/* curl's GnuTLS backend reads credentials from files only. Inline ones go to a memory file, never to a disk.
 */
static bool memory_file(const char *name, const char *data, int *fd, char **path, struct error **err)
{
    if (!data)
        return true;
    *fd = memfd_create(name, MFD_CLOEXEC);
    size_t n = strlen(data);
    if (*fd < 0 || write(*fd, data, n) != (ssize_t)n) {
        error_setf(err, "cannot keep inline credentials in memory");
        return false;
    }
    free(*path);
    *path = mem_printf("/proc/self/fd/%d", *fd);
    return true;
}

struct kube_client *kube_client_new(const struct kube_client_config *config, struct error **err)
{
    pthread_once(&curl_once, curl_init);
    struct kube_client *c = mem_alloc(sizeof(*c));
    c->ca_fd = c->cert_fd = c->key_fd = -1;
    struct kube_client_config *k = &c->config;
    k->server = mem_strdup(config->server);
    k->ca_file = mem_strdup(config->ca_file);
    k->cert_file = mem_strdup(config->cert_file);
    k->key_file = mem_strdup(config->key_file);
    k->token_file = mem_strdup(config->token_file);
    k->token = mem_strdup(config->token);
    k->user_agent = mem_strdup(config->user_agent ? config->user_agent : "skiff");
    k->insecure = config->insecure;
    pthread_mutex_init(&c->lock, NULL);
    for (size_t i = 0; i < ARRAY_LEN(c->share_locks); i++)
        pthread_mutex_init(&c->share_locks[i], NULL);
    if (!k->server || !*k->server) {
        error_setf(err, "no server given");
        kube_client_free(c);
        return NULL;
    }
    size_t n = strlen(k->server);
    while (n && k->server[n - 1] == '/')
        k->server[--n] = 0;
    if (!memory_file("ca", config->ca_data, &c->ca_fd, &k->ca_file, err) ||
        !memory_file("cert", config->cert_data, &c->cert_fd, &k->cert_file, err) ||
        !memory_file("key", config->key_data, &c->key_fd, &k->key_file, err)) {
        kube_client_free(c);
        return NULL;
    }
    c->tls = tls_client_new(k->ca_file, k->cert_file, k->key_file, k->insecure);
    c->share = curl_share_init();
    if (c->share) {
        curl_share_setopt(c->share, CURLSHOPT_LOCKFUNC, share_lock);
        curl_share_setopt(c->share, CURLSHOPT_UNLOCKFUNC, share_unlock);
        curl_share_setopt(c->share, CURLSHOPT_USERDATA, c);
        curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    }
    return c;
}

void kube_client_free(struct kube_client *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->idle_count; i++)
        curl_easy_cleanup(c->idle[i]);
    if (c->share)
        curl_share_cleanup(c->share);
    tls_client_free(c->tls);
    int fds[] = {c->ca_fd, c->cert_fd, c->key_fd};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    for (size_t i = 0; i < ARRAY_LEN(c->share_locks); i++)
        pthread_mutex_destroy(&c->share_locks[i]);
    pthread_mutex_destroy(&c->lock);
    free(c->token);
    kube_client_config_clear(&c->config);
    free(c);
}

/* --- paths --- */

void kube_path(struct buf *b, const char *api_version, const char *resource, const char *ns, const char *name,
               const char *subresource)
{
    buf_printf(b, "/%s/%s", strchr(api_version, '/') ? "apis" : "api", api_version);
    if (ns && *ns) {
        buf_adds(b, "/namespaces/");
        buf_add_urlencoded(b, ns);
    }
    buf_printf(b, "/%s", resource);
    if (name && *name) {
        buf_addc(b, '/');
        buf_add_urlencoded(b, name);
    }
    if (subresource && *subresource)
        buf_printf(b, "/%s", subresource);
}

char *kube_path_new(const char *api_version, const char *resource, const char *ns, const char *name,
                    const char *subresource)
{
    struct buf b = {0};
    kube_path(&b, api_version, resource, ns, name, subresource);
    return buf_take(&b);
}

/* --- errors --- */

/* metav1.StatusReason values; errors point into this table. */
static const struct {
    const char *reason;
    int code;
} reasons[] = {
    {"BadRequest", 400},
    {"Unauthorized", 401},
    {"Forbidden", 403},
    {"NotFound", 404},
    {"MethodNotAllowed", 405},
    {"NotAcceptable", 406},
    {"Conflict", 409},
    {"AlreadyExists", 409},
    {"Gone", 410},
    {"Expired", 410},
    {"RequestEntityTooLarge", 413},
    {"UnsupportedMediaType", 415},
    {"Invalid", 422},
    {"TooManyRequests", 429},
    {"InternalError", 500},
    {"ServiceUnavailable", 503},
    {"Timeout", 504},
    {"ServerTimeout", 500},
    {"StoreReadError", 500},
};

static const char *intern_reason(const char *reason, long code)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reason && *reason ? !strcmp(reasons[i].reason, reason) : reasons[i].code == code)
            return reasons[i].reason;
    return "";
}

void kube_client_status_error(long http_status, const char *body, size_t len, struct error **err)
{
    if (!err)
        return;
    cleanup_json cJSON *status = json_parse(body, len, NULL);
    if (status && !strcmp(json_str_or(status, "kind", ""), "Status")) {
        long code = (long)json_int(status, "code", http_status);
        const char *reason = intern_reason(json_str(status, "reason"), code);
        const char *message = json_str_or(status, "message", "");
        error_set(err, (int)code, reason, "%s", *message ? message : *reason ? reason : "unknown");
        const cJSON *details = json_get(status, "details");
        if (cJSON_IsObject(details))
            (*err)->details = json_text(details);
        return;
    }
    int shown = len > 512 ? 512 : (int)len;
    while (shown && (body[shown - 1] == '\n' || body[shown - 1] == ' '))
        shown--;
    error_set(err, (int)http_status, intern_reason(NULL, http_status),
              "the server responded with the status code %ld%s%.*s", http_status, shown ? ": " : "", shown,
              shown ? body : "");
}

bool kube_error_is(const struct error *e, const char *reason)
{
    return e && e->reason && !strcmp(e->reason, reason);
}

/* --- handles --- */

static int socket_options(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
    (void)userdata;
    (void)purpose;
    connection_socket_options(fd);
    return CURL_SOCKOPT_OK;
}

char *kube_client_authorization(struct kube_client *c)
{
    if (c->config.token)
        return mem_printf("Authorization: Bearer %s", c->config.token);
    if (!c->config.token_file)
        return NULL;
    pthread_mutex_lock(&c->lock);
    struct stat st;
    if (stat(c->config.token_file, &st) == 0 && (!c->token || st.st_mtim.tv_sec != c->token_mtime.tv_sec ||
                                                 st.st_mtim.tv_nsec != c->token_mtime.tv_nsec)) {
        cleanup_buf struct buf b = {0};
        if (buf_read_file(&b, c->config.token_file, NULL)) {
            free(c->token);
            c->token = mem_strndup(buf_str(&b), strcspn(buf_str(&b), "\r\n"));
            c->token_mtime = st.st_mtim;
        }
    }
    char *header = c->token ? mem_printf("Authorization: Bearer %s", c->token) : NULL;
    pthread_mutex_unlock(&c->lock);
    return header;
}

CURL *kube_client_handle(struct kube_client *c, CURL *reuse, const char *path_and_query,
                         struct curl_slist **headers, const char *content_type)
{
    CURL *h = reuse ? reuse : curl_easy_init();
    if (!h)
        return NULL;
    const struct kube_client_config *k = &c->config;
    cleanup_free char *url = mem_printf("%s%s", k->server, path_and_query);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 16384L);
    curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
    curl_easy_setopt(h, CURLOPT_MAXCONNECTS, 1L);
    curl_easy_setopt(h, CURLOPT_MAXAGE_CONN, 30L);
    curl_easy_setopt(h, CURLOPT_SOCKOPTFUNCTION, socket_options);
    curl_easy_setopt(h, CURLOPT_USERAGENT, k->user_agent);
    if (c->share)
        curl_easy_setopt(h, CURLOPT_SHARE, c->share);
    if (k->ca_file)
        curl_easy_setopt(h, CURLOPT_CAINFO, k->ca_file);
    curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
    if (k->insecure) {
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (k->cert_file) {
        curl_easy_setopt(h, CURLOPT_SSLCERT, k->cert_file);
        curl_easy_setopt(h, CURLOPT_SSLKEY, k->key_file ? k->key_file : k->cert_file);
    }
    *headers = curl_slist_append(NULL, "Accept: application/json");
    *headers = curl_slist_append(*headers, "Expect:");
    if (content_type) {
        cleanup_free char *type = mem_printf("Content-Type: %s", content_type);
        *headers = curl_slist_append(*headers, type);
    }
    char *auth = kube_client_authorization(c);
    if (auth) {
        *headers = curl_slist_append(*headers, auth);
        explicit_bzero(auth, strlen(auth));
        free(auth);
    }
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, *headers);
    return h;
}

static CURL *borrow_handle(struct kube_client *c)
{
    pthread_mutex_lock(&c->lock);
    CURL *h = c->idle_count ? c->idle[--c->idle_count] : NULL;
    pthread_mutex_unlock(&c->lock);
    return h;
}

static void return_handle(struct kube_client *c, CURL *h)
{
    curl_easy_reset(h); /* keeps connections and TLS sessions */
    pthread_mutex_lock(&c->lock);
    if (c->idle_count < IDLE_HANDLES_MAX) {
        c->idle[c->idle_count++] = h;
        h = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    if (h)
        curl_easy_cleanup(h);
}

static size_t collect(char *p, size_t size, size_t n, void *userdata)
{
    buf_add(userdata, p, size * n);
    return size * n;
}

cJSON *kube_request_timeout(struct kube_client *c, const char *method, const char *path_and_query,
                            const char *content_type, const cJSON *body, int timeout_ms, struct error **err)
{
    cleanup_buf struct buf sent = {0}, answer = {0};
    if (body)
        json_print(body, &sent);
    struct curl_slist *headers = NULL;
    CURL *h = kube_client_handle(c, borrow_handle(c), path_and_query, &headers,
                                 !body          ? NULL
                                 : content_type ? content_type
                                                : "application/json");
    if (!h) {
        error_setf(err, "%s %s: out of memory", method, path_and_query);
        return NULL;
    }
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &answer);
    if (body) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)sent.len);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, buf_str(&sent));
    } else if (strcmp(method, "GET") && strcmp(method, "DELETE")) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, 0L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, "");
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    CURLcode rc = curl_easy_perform(h);
    long http_status = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &http_status);
    return_handle(c, h);
    curl_slist_free_all(headers);
    log_debug(6, "Request", "method", method, "path", path_and_query, "status", log_int(http_status));
    if (rc != CURLE_OK) {
        error_setf(err, "%s %s%s: %s", method, c->config.server, path_and_query, curl_easy_strerror(rc));
        return NULL;
    }
    if (http_status >= 400) {
        kube_client_status_error(http_status, buf_str(&answer), answer.len, err);
        return NULL;
    }
    cJSON *result = json_parse(buf_str(&answer), answer.len, err);
    if (!result)
        error_wrap(err, "%s %s: malformed answer", method, path_and_query);
    return result;
}

cJSON *kube_request(struct kube_client *c, const char *method, const char *path_and_query,
                    const char *content_type, const cJSON *body, struct error **err)
{
    return kube_request_timeout(c, method, path_and_query, content_type, body, REQUEST_TIMEOUT_MS, err);
}

cJSON *kube_get(struct kube_client *c, const char *path, struct error **err)
{
    return kube_request(c, "GET", path, NULL, NULL, err);
}

cJSON *kube_create(struct kube_client *c, const char *collection_path, const cJSON *object,
                   struct error **err)
{
    return kube_request(c, "POST", collection_path, NULL, object, err);
}

cJSON *kube_update(struct kube_client *c, const char *path, const cJSON *object, struct error **err)
{
    return kube_request(c, "PUT", path, NULL, object, err);
}

cJSON *kube_merge_patch(struct kube_client *c, const char *path, const cJSON *patch, struct error **err)
{
    return kube_request(c, "PATCH", path, "application/merge-patch+json", patch, err);
}

bool kube_delete(struct kube_client *c, const char *path, const char *uid, int64_t grace_seconds,
                 const char *propagation, struct error **err)
{
    cleanup_json cJSON *options = cJSON_CreateObject();
    json_set_str(options, "kind", "DeleteOptions");
    json_set_str(options, "apiVersion", "v1");
    if (uid)
        json_set_str(options, "preconditions.uid", uid);
    if (grace_seconds >= 0)
        json_set_int(options, "gracePeriodSeconds", grace_seconds);
    if (propagation)
        json_set_str(options, "propagationPolicy", propagation);
    cleanup_json cJSON *answer = kube_request(c, "DELETE", path, NULL, options, err);
    return answer != NULL;
}
