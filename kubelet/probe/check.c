#include "kubelet/probe/check.h"
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/pod/spec.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_BODY 10240

void check_argv_from_json(const cJSON *command, struct check_argv *out)
{
    *out = (struct check_argv){mem_alloc(((size_t)cJSON_GetArraySize(command) + 1) * sizeof(*out->items)), 0};
    const cJSON *e;
    cJSON_ArrayForEach(e, command)
    {
        if (cJSON_IsString(e))
            out->items[out->count++] = e->valuestring;
    }
}

void check_argv_clear(struct check_argv *a)
{
    free(a->items);
    *a = (struct check_argv){0};
}

int check_port(const cJSON *port, const cJSON *container)
{
    long n = -1;
    if (cJSON_IsNumber(port)) {
        n = number_value(port);
    } else if (cJSON_IsString(port)) {
        const cJSON *p;
        cJSON_ArrayForEach(p, json_get(container, "ports"))
        {
            if (strcmp(json_str_or(p, "name", ""), port->valuestring) == 0)
                n = (long)json_int(p, "containerPort", -1);
        }
        char *end;
        if (n < 0) {
            n = strtol(port->valuestring, &end, 10);
            if (*end || end == port->valuestring)
                n = -1;
        }
    }
    return n > 0 && n < 65536 ? (int)n : -1;
}

/* --- HTTP --- */

bool check_http_from_json(const cJSON *http, const cJSON *container, const char *pod_ip, struct check_http *out,
                          struct error **err)
{
    *out = (struct check_http){0};
    int port = check_port(json_get(http, "port"), container);
    if (port < 0) {
        error_setf(err, "couldn't find port of httpGet in the container");
        return false;
    }
    const char *host = json_str(http, "host"), *path = json_str_or(http, "path", "/");
    if (!host || !*host)
        host = pod_ip;
    bool https = strcasecmp(json_str_or(http, "scheme", "HTTP"), "HTTPS") == 0;
    bool v6 = strchr(host, ':') != NULL;
    out->host = mem_printf(v6 ? "[%s]:%d" : "%s:%d", host, port);
    cleanup_buf struct buf url = {0};
    buf_printf(&url, "%s://%s%s", https ? "https" : "http", out->host, *path == '/' ? "" : "/");
    for (const char *p = path; *p; p++) /* what cannot stand in a URL */
        if (*p <= ' ' || *p == 0x7f || *p == '"' || *p == '<' || *p == '>')
            buf_printf(&url, "%%%02X", (unsigned char)*p);
        else
            buf_addc(&url, *p);
    out->url = buf_take(&url);
    const cJSON *headers = json_get(http, "httpHeaders"), *h;
    out->headers = mem_alloc(((size_t)cJSON_GetArraySize(headers) + 1) * sizeof(*out->headers));
    cJSON_ArrayForEach(h, headers)
    {
        const char *name = json_str_or(h, "name", ""), *value = json_str_or(h, "value", "");
        if (*name && !strpbrk(name, ":\r\n ") && !strpbrk(value, "\r\n"))
            out->headers[out->header_count++] = *value ? mem_printf("%s: %s", name, value) : mem_printf("%s;", name);
    }
    return true;
}

void check_http_clear(struct check_http *c)
{
    for (size_t i = 0; i < c->header_count; i++)
        free(c->headers[i]);
    free(c->headers);
    free(c->url);
    free(c->host);
    *c = (struct check_http){0};
}

static size_t take_body(char *data, size_t size, size_t n, void *userdata)
{
    struct buf *b = userdata;
    size_t room = b->len < MAX_BODY ? MAX_BODY - b->len : 0;
    buf_add(b, data, size * n < room ? size * n : room);
    return b->len < MAX_BODY ? size * n : 0; /* enough: ends the transfer */
}

static bool has_header(const struct check_http *c, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < c->header_count; i++)
        if (strncasecmp(c->headers[i], name, n) == 0 && (c->headers[i][n] == ':' || c->headers[i][n] == ';'))
            return true;
    return false;
}

/* curl's failure in the words of Go's HTTP client. */
static void http_error(const struct check_http *c, CURLcode code, long os_error, struct buf *message)
{
    buf_printf(message, "Get \"%s\": ", c->url);
    if (code == CURLE_OPERATION_TIMEDOUT)
        buf_adds(message, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
    else if (code == CURLE_COULDNT_CONNECT && os_error == ECONNREFUSED)
        buf_printf(message, "dial tcp %s: connect: connection refused", c->host);
    else if (code == CURLE_COULDNT_CONNECT && os_error == EHOSTUNREACH)
        buf_printf(message, "dial tcp %s: connect: no route to host", c->host);
    else if (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR)
        buf_adds(message, "EOF");
    else
        buf_adds(message, curl_easy_strerror(code));
}

enum check_result check_http(const struct check_http *c, int64_t timeout_ms, const char *version, struct buf *message)
{
    CURL *curl = curl_easy_init();
    if (!curl) {
        buf_adds(message, "no HTTP client");
        return CHECK_UNKNOWN;
    }
    struct curl_slist *headers = NULL;
    for (size_t i = 0; i < c->header_count; i++)
        headers = curl_slist_append(headers, c->headers[i]);
    cleanup_free char *agent = mem_printf("kube-probe/%s", version);
    if (!has_header(c, "User-Agent"))
        curl_easy_setopt(curl, CURLOPT_USERAGENT, agent);
    if (!has_header(c, "Accept"))
        headers = curl_slist_append(headers, "Accept: */*");
    cleanup_buf struct buf body = {0};
    curl_easy_setopt(curl, CURLOPT_URL, c->url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L); /* as Kubernetes: a probe asks whether it answers, not who */
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 4096L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    CURLcode code = CURLE_OK;
    long status = 0, os_error = 0;
    /* Redirects on the same host are followed; one to elsewhere counts as an answer. */
    for (int hops = 0;; hops++) {
        buf_clear(&body);
        code = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os_error);
        if (code == CURLE_WRITE_ERROR && body.len >= MAX_BODY)
            code = CURLE_OK;
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        char *location = NULL;
        if (code == CURLE_OK && status >= 300 && status < 400)
            curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &location);
        if (!location || hops >= 10)
            break;
        const char *after = strstr(location, "://");
        size_t n = strlen(c->host);
        cleanup_free char *bare = mem_strndup(c->host, (size_t)(strrchr(c->host, ':') - c->host));
        size_t bare_len = strlen(bare);
        bool same = after && (strncmp(after + 3, c->host, n) == 0 ||
                              (strncmp(after + 3, bare, bare_len) == 0 && strchr("/:", after[3 + bare_len])));
        if (!same)
            break;
        cleanup_free char *next = mem_strdup(location);
        curl_easy_setopt(curl, CURLOPT_URL, next);
    }
    enum check_result result = CHECK_FAILURE;
    if (code != CURLE_OK) {
        http_error(c, code, os_error, message);
    } else if (status >= 200 && status < 400) {
        result = CHECK_SUCCESS;
        buf_add(message, body.data, body.len);
    } else {
        buf_printf(message, "HTTP probe failed with statuscode: %ld", status);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return result;
}

/* --- TCP --- */

enum check_result check_tcp(const char *host, int port, int64_t timeout_ms, struct buf *message)
{
    char service[16];
    snprintf(service, sizeof(service), "%d", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    int r = getaddrinfo(host, service, &hints, &found);
    if (r != 0) {
        buf_printf(message, "dial tcp: lookup %s: %s", host, gai_strerror(r));
        return CHECK_FAILURE;
    }
    cleanup_free char *shown = mem_printf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
    cleanup_close int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;
    bool timeout = false;
    if (fd < 0) {
        error = errno;
    } else if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        error = errno;
        if (error == EINPROGRESS) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            int n = poll(&p, 1, (int)timeout_ms);
            socklen_t len = sizeof(error);
            timeout = n == 0;
            if (n < 0)
                error = errno;
            else if (n > 0)
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
        }
    }
    freeaddrinfo(found);
    if (timeout)
        buf_printf(message, "dial tcp %s: i/o timeout", shown);
    else if (error == ECONNREFUSED)
        buf_printf(message, "dial tcp %s: connect: connection refused", shown);
    else if (error == EHOSTUNREACH)
        buf_printf(message, "dial tcp %s: connect: no route to host", shown);
    else if (error)
        buf_printf(message, "dial tcp %s: connect: %s", shown, strerror(error));
    return error || timeout ? CHECK_FAILURE : CHECK_SUCCESS;
}
