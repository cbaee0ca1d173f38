/* The HTTP server, spoken to by libcurl and by bare sockets, over TCP and over TLS. */
#include <arpa/inet.h>
#include <check.h>
#include <curl/curl.h>
#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/httpd.h"
#include "common/mem.h"
#include "common/tunnel.h"

#define MAX_BODY (64 * 1024)

static char directory[] = "/tmp/test_httpd_XXXXXX";

/* --- certificates, made before Check runs --- */

static void must(bool ok)
{
    if (!ok)
        abort();
}

static gnutls_x509_privkey_t new_key(const char *name)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_privkey_init(&key);
    must(gnutls_x509_privkey_generate2(key, GNUTLS_PK_ECDSA,
                                       GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0, NULL,
                                       0) == 0);
    gnutls_datum_t pem;
    gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem);
    char path[128];
    snprintf(path, sizeof path, "%s/%s.key", directory, name);
    must(buf_write_file_atomic(path, pem.data, pem.size, 0600, NULL));
    gnutls_free(pem.data);
    return key;
}

static gnutls_x509_crt_t new_cert(const char *name, gnutls_x509_privkey_t key, const char *cn,
                                  const char *const *orgs, gnutls_x509_crt_t ca,
                                  gnutls_x509_privkey_t ca_key, const char *purpose)
{
    gnutls_x509_crt_t crt;
    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_set_version(crt, 3);
    unsigned char serial[8];
    gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);
    serial[0] &= 0x7f;
    gnutls_x509_crt_set_serial(crt, serial, sizeof serial);
    gnutls_x509_crt_set_activation_time(crt, time(NULL) - 60);
    gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 3600);
    gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, cn, (unsigned)strlen(cn));
    for (; orgs && *orgs; orgs++)
        gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, *orgs,
                                      (unsigned)strlen(*orgs));
    gnutls_x509_crt_set_key(crt, key);
    gnutls_x509_crt_set_basic_constraints(crt, !ca, -1);
    if (!ca)
        gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN);
    if (purpose)
        gnutls_x509_crt_set_key_purpose_oid(crt, purpose, 0);
    unsigned char ip[4] = {127, 0, 0, 1};
    gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 4, 0);
    must(gnutls_x509_crt_sign2(crt, ca ? ca : crt, ca ? ca_key : key, GNUTLS_DIG_SHA256, 0) == 0);
    gnutls_datum_t pem;
    gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
    char path[128];
    snprintf(path, sizeof path, "%s/%s.crt", directory, name);
    must(buf_write_file_atomic(path, pem.data, pem.size, 0600, NULL));
    gnutls_free(pem.data);
    return crt;
}

static void make_certificates(void)
{
    must(mkdtemp(directory) != NULL);
    gnutls_x509_privkey_t ca_key = new_key("ca"), other_key = new_key("other-ca"), key;
    gnutls_x509_crt_t ca = new_cert("ca", ca_key, "test ca", NULL, NULL, NULL, NULL), crt;
    gnutls_x509_crt_t other = new_cert("other-ca", other_key, "another ca", NULL, NULL, NULL, NULL);
    key = new_key("server");
    crt = new_cert("server", key, "server", NULL, ca, ca_key, GNUTLS_KP_TLS_WWW_SERVER);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    key = new_key("client");
    crt = new_cert("client", key, "system:node:a", (const char *[]){"system:nodes", "team", NULL},
                   ca, ca_key, GNUTLS_KP_TLS_WWW_CLIENT);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    key = new_key("stranger");
    crt = new_cert("stranger", key, "kubernetes-admin", (const char *[]){"system:masters", NULL},
                   other, other_key, GNUTLS_KP_TLS_WWW_CLIENT);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
    gnutls_x509_crt_deinit(ca);
    gnutls_x509_crt_deinit(other);
    gnutls_x509_privkey_deinit(ca_key);
    gnutls_x509_privkey_deinit(other_key);
}

static const char *file(const char *name)
{
    static _Thread_local char paths[8][128];
    static _Thread_local int next;
    char *p = paths[next++ % 8];
    snprintf(p, 128, "%s/%s", directory, name);
    return p;
}

/* --- the server under test --- */

static struct httpd *server;
static bool tls;
static atomic_int gone_count, released;
static struct httpd_stream *held_stream;
static struct httpd_request *held_request;
static pthread_mutex_t held_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t held_cond = PTHREAD_COND_INITIALIZER;

static void on_gone(void *userdata)
{
    (void)userdata;
    atomic_fetch_add(&gone_count, 1);
}

static void on_release(void *owner)
{
    (void)owner;
    atomic_fetch_add(&released, 1);
}

enum { PIECES_LEN = 1000003 };

static char nth_byte(uint64_t at)
{
    return (char)('a' + at * 7 % 23);
}

/* Pieces of odd sizes. */
static size_t fill_piece(void *owner, uint64_t at, char *out, size_t max)
{
    (void)owner;
    size_t n = PIECES_LEN - at < 777 ? PIECES_LEN - at : 777;
    n = n < max ? n : max;
    for (size_t i = 0; i < n; i++)
        out[i] = nth_byte(at + i);
    return n;
}

static void nap(void)
{
    nanosleep(&(struct timespec){0, 2000000}, NULL);
}

static bool eventually(atomic_int *what, int value)
{
    for (int i = 0; i < 2500 && atomic_load(what) != value; i++)
        nap();
    return atomic_load(what) == value;
}

static void *answer_later(void *arg)
{
    struct httpd_request *r = arg;
    if (strcmp(httpd_query(r, "now") ? httpd_query(r, "now") : "", "1"))
        nap();
    httpd_reply(r, 200, "text/plain", "later", 5);
    return NULL;
}

static void *write_stream(void *arg)
{
    struct httpd_stream *s = arg;
    for (int i = 0; i < 200; i++) {
        char line[64];
        int n = snprintf(line, sizeof line, "line %d\n", i);
        httpd_stream_write(s, line, (size_t)n);
        if (i % 20 == 0)
            nap();
    }
    httpd_stream_end(s);
    return NULL;
}

static void start_thread(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    ck_assert_int_eq(pthread_create(&t, NULL, fn, arg), 0);
    pthread_detach(t);
}

/* The other end of a tunnel: gives back what it gets; with ?say=n it says n bytes and ends. */
static void *serve_upgrade(void *arg)
{
    struct httpd_request *r = arg;
    const char *say = httpd_query(r, "say");
    size_t left = say ? strtoul(say, NULL, 10) : 0, len = 0, at = 0;
    char piece[20000];
    memset(piece, 'y', sizeof piece);
    httpd_add_header(r, "Upgrade", "echo");
    httpd_add_header(r, "X-Stream-Protocol-Version", httpd_header(r, "X-Stream-Protocol-Version"));
    struct httpd_upgrade *u = httpd_upgrade(r);
    while (u) {
        ssize_t n = 0;
        if (at == len && !say) {
            n = httpd_upgrade_read(u, piece, sizeof piece);
            at = 0;
            len = n > 0 ? (size_t)n : 0;
        } else if (at == len) {
            if (!left)
                break;
            at = 0;
            len = left < sizeof piece ? left : sizeof piece;
            left -= len;
        } else {
            n = httpd_upgrade_write(u, piece + at, len - at);
            at += n > 0 ? (size_t)n : 0;
        }
        if (n == HTTPD_UPGRADE_OVER)
            break;
        if (n == HTTPD_UPGRADE_LATER)
            poll(&(struct pollfd){httpd_upgrade_fd(u), at == len ? POLLIN : POLLOUT, 0}, 1, -1);
    }
    if (u)
        httpd_upgrade_end(u);
    atomic_fetch_add(&released, 1);
    return NULL;
}

/* A server that passes on to itself. */
static void *serve_tunnel(void *arg)
{
    struct httpd_request *r = arg;
    char base[64];
    snprintf(base, sizeof base, "%s://127.0.0.1:%d", tls ? "https" : "http", httpd_port(server));
    cleanup_free char *path = mem_printf("/%s?%s", httpd_path(r) + 8, httpd_query_string(r));
    struct tunnel_target to = {.server = base, .path = path, .authority = file("ca.crt")};
    cleanup_error struct error *err = NULL;
    struct tunnel *t = tunnel_wanted(r) ? tunnel_open(r, &to, &err) : NULL;
    if (t)
        tunnel_run(t, r);
    else
        httpd_reply(r, 502, "text/plain", error_message(err), strlen(error_message(err)));
    atomic_fetch_add(&released, 1);
    return NULL;
}

static void handle(struct httpd_request *r, void *userdata)
{
    (void)userdata;
    const char *path = httpd_path(r);
    if (!strcmp(path, "/upgrade") || !strncmp(path, "/tunnel/", 8)) {
        httpd_defer(r);
        start_thread(*++path == 'u' ? serve_upgrade : serve_tunnel, r);
        return;
    }
    if (!strcmp(path, "/hello")) {
        httpd_add_header(r, "X-Test", "yes");
        httpd_reply(r, 200, "text/plain", "hello", 5);
    } else if (!strcmp(path, "/echo")) {
        size_t len;
        const char *body = httpd_body(r, &len);
        httpd_reply(r, 201, "application/octet-stream", body, len);
    } else if (!strcmp(path, "/facts") || !strncmp(path, "/facts/", 7)) {
        struct buf b = {0};
        const char *values[4];
        size_t n = httpd_query_all(r, "a", values, 4);
        buf_printf(&b, "%s|%s|%s|%zu|%s|%s|%s", httpd_method(r), httpd_path(r), httpd_raw_path(r),
                   n, n ? values[n - 1] : "-", httpd_header(r, "x-long") ? "long" : "-",
                   httpd_client_cn(r) ? httpd_client_cn(r) : "nobody");
        for (const char *const *o = httpd_client_orgs(r); *o; o++)
            buf_printf(&b, "|%s", *o);
        buf_adds(&b, httpd_client_cert_invalid(r) ? "|invalid" : "");
        size_t len = b.len;
        httpd_reply_take(r, 200, "text/plain", buf_take(&b), len);
    } else if (!strcmp(path, "/later")) {
        httpd_defer(r);
        start_thread(answer_later, r);
    } else if (!strcmp(path, "/shared")) {
        static char big[300000];
        memset(big, 'x', sizeof big);
        httpd_reply_shared(r, 200, "text/plain", big, sizeof big, on_release, NULL);
    } else if (!strcmp(path, "/pieces")) {
        httpd_reply_pieces(r, 200, "text/plain", PIECES_LEN, fill_piece, on_release, NULL);
    } else if (!strcmp(path, "/stream")) {
        start_thread(write_stream,
                     httpd_stream_start(r, 200, "text/plain", 1 << 20, on_gone, NULL));
    } else if (!strcmp(path, "/held")) {
        struct httpd_stream *s =
            httpd_stream_start(r, 200, "text/plain", 256 * 1024, on_gone, NULL);
        httpd_stream_write(s, "first\n", 6);
        pthread_mutex_lock(&held_mutex);
        held_stream = s;
        pthread_cond_broadcast(&held_cond);
        pthread_mutex_unlock(&held_mutex);
    } else if (!strcmp(path, "/hold-request")) {
        httpd_defer(r);
        pthread_mutex_lock(&held_mutex);
        held_request = r;
        pthread_cond_broadcast(&held_cond);
        pthread_mutex_unlock(&held_mutex);
    } else {
        httpd_reply(r, 404, "text/plain", "", 0);
    }
}

static struct httpd_stream *take_held_stream(void)
{
    pthread_mutex_lock(&held_mutex);
    while (!held_stream)
        pthread_cond_wait(&held_cond, &held_mutex);
    struct httpd_stream *s = held_stream;
    held_stream = NULL;
    pthread_mutex_unlock(&held_mutex);
    return s;
}

static void too_large(struct httpd_request *r, void *userdata)
{
    (void)userdata;
    httpd_reply(r, 413, "application/json", "{\"code\":413}", 12);
}

static void start_server(bool with_tls, bool require)
{
    signal(SIGPIPE, SIG_IGN);
    tls = with_tls;
    struct httpd_options o = {.address = "127.0.0.1:0",
                              .threads = 3,
                              .max_body = MAX_BODY,
                              .idle_timeout_seconds = 30,
                              .require_client_cert = require,
                              .handler = handle,
                              .too_large = too_large};
    if (with_tls) {
        o.cert_file = file("server.crt");
        o.key_file = file("server.key");
        o.client_ca_file = file("ca.crt");
    }
    cleanup_error struct error *err = NULL;
    server = httpd_start(&o, &err);
    ck_assert_msg(server != NULL, "%s", error_message(err));
}

static void setup_plain(void)
{
    start_server(false, false);
}

static void setup_tls(void)
{
    start_server(true, false);
}

static void teardown(void)
{
    httpd_stop(server);
    server = NULL;
}

/* --- the client --- */

static size_t collect(char *p, size_t size, size_t n, void *userdata)
{
    buf_add(userdata, p, size * n);
    return size * n;
}

static CURL *client(const char *path, const char *cert, struct buf *out)
{
    CURL *c = curl_easy_init();
    char url[512];
    snprintf(url, sizeof url, "%s://127.0.0.1:%d%s", tls ? "https" : "http", httpd_port(server),
             path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(c, CURLOPT_CAINFO, file("ca.crt"));
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, out);
    if (cert) {
        char name[64];
        snprintf(name, sizeof name, "%s.crt", cert);
        curl_easy_setopt(c, CURLOPT_SSLCERT, file(name));
        snprintf(name, sizeof name, "%s.key", cert);
        curl_easy_setopt(c, CURLOPT_SSLKEY, file(name));
    }
    return c;
}

static long perform(CURL *c)
{
    CURLcode rc = curl_easy_perform(c);
    ck_assert_msg(rc == CURLE_OK, "%s", curl_easy_strerror(rc));
    long status = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

static long get(const char *path, const char *cert, struct buf *out)
{
    CURL *c = client(path, cert, out);
    long status = perform(c);
    curl_easy_cleanup(c);
    return status;
}

/* --- tests that hold for TCP and TLS alike --- */

START_TEST(test_answers)
{
    cleanup_buf struct buf out = {0};
    CURL *c = client("/hello", NULL, &out);
    for (int i = 0; i < 50; i++) { /* keep-alive: one connection */
        buf_clear(&out);
        ck_assert_int_eq(perform(c), 200);
        ck_assert_str_eq(buf_str(&out), "hello");
    }
    long connects = -1;
    curl_easy_getinfo(c, CURLINFO_NUM_CONNECTS, &connects);
    ck_assert_int_eq(connects, 0);
    buf_clear(&out);
    curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    ck_assert_int_eq(perform(c), 200);
    ck_assert_uint_eq(out.len, 0);
    curl_off_t length = 0;
    curl_easy_getinfo(c, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    ck_assert_int_eq(length, 5);
    curl_easy_cleanup(c);
    buf_clear(&out);
    ck_assert_int_eq(get("/nothing", NULL, &out), 404);
}
END_TEST

START_TEST(test_request_parts)
{
    cleanup_buf struct buf out = {0};
    get("/facts/a%2Fb%20c+?a=1&b=2&a=x%26y+z&=&a", NULL, &out);
    ck_assert_str_eq(buf_str(&out), "GET|/facts/a/b c+|/facts/a%2Fb%20c+|3||-|nobody");
    buf_clear(&out);
    get("/facts?a=%41%zz%", NULL, &out);
    ck_assert_str_eq(buf_str(&out), "GET|/facts|/facts|1|A%zz%|-|nobody");
    /* A header line of 10 KB */
    buf_clear(&out);
    CURL *c = client("/facts", NULL, &out);
    char *header = mem_alloc(10200);
    memset(header, 'h', 10199);
    memcpy(header, "X-Long: ", 8);
    struct curl_slist *list = curl_slist_append(NULL, header);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    ck_assert_int_eq(perform(c), 200);
    ck_assert_str_eq(buf_str(&out), "GET|/facts|/facts|0|-|long|nobody");
    curl_easy_cleanup(c);
    curl_slist_free_all(list);
    free(header);
}
END_TEST

START_TEST(test_bodies)
{
    char *body = mem_alloc(MAX_BODY + 1);
    memset(body, 'b', MAX_BODY + 1);
    size_t sizes[] = {0, 1, 511, 512, 1025, 40000, MAX_BODY};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (int chunked = 0; chunked < 2; chunked++) {
            cleanup_buf struct buf out = {0};
            CURL *c = client("/echo", NULL, &out);
            curl_easy_setopt(c, CURLOPT_POST, 1L);
            curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
            curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)sizes[i]);
            struct curl_slist *list = chunked
                                          ? curl_slist_append(NULL, "Transfer-Encoding: chunked")
                                          : curl_slist_append(NULL, "Expect: 100-continue");
            curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
            ck_assert_int_eq(perform(c), 201);
            ck_assert_uint_eq(out.len, sizes[i]);
            ck_assert(!out.len || !memcmp(out.data, body, out.len));
            curl_easy_cleanup(c);
            curl_slist_free_all(list);
        }
    }
    free(body);
}
END_TEST

START_TEST(test_body_too_large)
{
    size_t size = 10 * 1024 * 1024;
    char *body = mem_alloc(size);
    memset(body, 'b', size);
    for (int form = 0; form < 3; form++) {
        cleanup_buf struct buf out = {0};
        CURL *c = client("/echo", NULL, &out);
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, form ? (long)size : (long)MAX_BODY + 1);
        struct curl_slist *list = curl_slist_append(NULL, form == 0   ? "Expect:"
                                                          : form == 1 ? "Transfer-Encoding: chunked"
                                                                      : "Expect: 100-continue");
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
        ck_assert_int_eq(perform(c), 413);
        ck_assert_str_eq(buf_str(&out), "{\"code\":413}");
        curl_easy_cleanup(c);
        curl_slist_free_all(list);
    }
    free(body);
}
END_TEST

START_TEST(test_deferred)
{
    cleanup_buf struct buf out = {0};
    CURL *c = client("/later", NULL, &out);
    for (int i = 0; i < 30; i++) {
        buf_clear(&out);
        ck_assert_int_eq(perform(c), 200);
        ck_assert_str_eq(buf_str(&out), "later");
    }
    curl_easy_cleanup(c);
    c = client("/later?now=1", NULL, &out);
    for (int i = 0; i < 100; i++) { /* the answer races with the suspension */
        buf_clear(&out);
        ck_assert_int_eq(perform(c), 200);
        ck_assert_str_eq(buf_str(&out), "later");
    }
    curl_easy_cleanup(c);
}
END_TEST

START_TEST(test_shared_bytes_are_released)
{
    cleanup_buf struct buf out = {0};
    released = 0;
    ck_assert_int_eq(get("/shared", NULL, &out), 200);
    ck_assert_uint_eq(out.len, 300000);
    ck_assert(eventually(&released, 1));
}
END_TEST

START_TEST(test_pieces_arrive_whole)
{
    cleanup_buf struct buf out = {0};
    released = 0;
    ck_assert_int_eq(get("/pieces", NULL, &out), 200);
    ck_assert_uint_eq(out.len, PIECES_LEN);
    for (size_t i = 0; i < out.len; i++)
        ck_assert_msg(out.data[i] == nth_byte(i), "byte %zu", i);
    ck_assert(eventually(&released, 1));
}
END_TEST

static void *stream_client(void *arg)
{
    (void)arg;
    struct buf expect = {0};
    for (int i = 0; i < 200; i++)
        buf_printf(&expect, "line %d\n", i);
    cleanup_buf struct buf out = {0};
    CURL *c = client("/stream", NULL, &out);
    for (int i = 0; i < 10; i++) {
        buf_clear(&out);
        ck_assert_int_eq(perform(c), 200);
        ck_assert_str_eq(buf_str(&out), expect.data);
    }
    curl_easy_cleanup(c);
    buf_free(&expect);
    return NULL;
}

START_TEST(test_streams)
{
    gone_count = 0;
    pthread_t t[6];
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_create(&t[i], NULL, stream_client, NULL);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    ck_assert_int_eq(gone_count, 0);
}
END_TEST

static size_t first_line(char *p, size_t size, size_t n, void *userdata)
{
    (void)p;
    *(bool *)userdata = true;
    (void)size;
    (void)n;
    return 0; /* hang up */
}

START_TEST(test_hang_up_is_noticed_while_nothing_is_sent)
{
    gone_count = 0;
    cleanup_buf struct buf out = {0};
    CURL *c = client("/held", NULL, &out);
    bool seen = false;
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, first_line);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &seen);
    ck_assert_int_eq(curl_easy_perform(c), CURLE_WRITE_ERROR);
    ck_assert(seen);
    struct httpd_stream *s = take_held_stream();
    curl_easy_cleanup(c);
    ck_assert(eventually(&gone_count, 1));
    ck_assert(!httpd_stream_write(s, "x", 1));
    released = 0;
    ck_assert(!httpd_stream_write_shared(s, "x", 1, on_release, NULL));
    ck_assert_int_eq(released, 1);
    httpd_stream_end(s);
    ck_assert_int_eq(gone_count, 1);
}
END_TEST

static size_t slow_reader(char *p, size_t size, size_t n, void *userdata)
{
    (void)p;
    if (!atomic_load((atomic_int *)userdata))
        return CURL_WRITEFUNC_PAUSE;
    return size * n;
}

struct slow {
    CURL *c;
    CURLcode rc;
    atomic_int go;
};

static void *slow_client(void *arg)
{
    struct slow *s = arg;
    s->rc = curl_easy_perform(s->c);
    return NULL;
}

START_TEST(test_slow_client_is_cut_off)
{
    gone_count = 0;
    released = 0;
    struct slow slow = {0};
    slow.c = client("/held", NULL, NULL);
    curl_easy_setopt(slow.c, CURLOPT_WRITEFUNCTION, slow_reader);
    curl_easy_setopt(slow.c, CURLOPT_WRITEDATA, &slow.go);
    curl_easy_setopt(slow.c, CURLOPT_TIMEOUT_MS,
                     1500L); /* a paused transfer notices nothing else */
    pthread_t t;
    pthread_create(&t, NULL, slow_client, &slow);
    struct httpd_stream *s = take_held_stream();
    static char piece[16384];
    int n = 0;
    while (n < 100000 && httpd_stream_write_shared(s, piece, sizeof piece, on_release, NULL))
        n++;
    ck_assert_int_lt(n, 100000);
    ck_assert(eventually(&gone_count, 1));
    ck_assert(eventually(&released, n + 1));
    httpd_stream_end(s);
    pthread_join(t, NULL);
    ck_assert_int_ne(slow.rc, CURLE_OK);
    curl_easy_cleanup(slow.c);
}
END_TEST

START_TEST(test_stop_ends_streams)
{
    gone_count = 0;
    struct slow slow = {0};
    slow.go = 1;
    slow.c = client("/held", NULL, NULL);
    curl_easy_setopt(slow.c, CURLOPT_WRITEFUNCTION, slow_reader);
    curl_easy_setopt(slow.c, CURLOPT_WRITEDATA, &slow.go);
    pthread_t t;
    pthread_create(&t, NULL, slow_client, &slow);
    struct httpd_stream *s = take_held_stream();
    httpd_stop(server);
    server = NULL;
    ck_assert_int_eq(gone_count, 1);
    httpd_stream_end(s);
    pthread_join(t, NULL);
    ck_assert_int_ne(slow.rc, CURLE_OK);
    curl_easy_cleanup(slow.c);
}
END_TEST

static void *stop_server(void *arg)
{
    (void)arg;
    httpd_stop(server);
    return NULL;
}

static void stop_while_answering(void)
{
    cleanup_buf struct buf out = {0};
    struct slow slow = {0};
    slow.c = client("/hold-request", NULL, &out);
    pthread_t t, stopper;
    pthread_create(&t, NULL, slow_client, &slow);
    pthread_mutex_lock(&held_mutex);
    while (!held_request)
        pthread_cond_wait(&held_cond, &held_mutex);
    pthread_mutex_unlock(&held_mutex);
    pthread_create(&stopper, NULL, stop_server, NULL);
    nap();
    struct httpd_request *r = held_request;
    held_request = NULL;
    httpd_reply(r, 200, "text/plain", "bye", 3);
    pthread_join(stopper, NULL);
    server = NULL;
    pthread_join(t, NULL);
    ck_assert_int_eq(slow.rc, CURLE_OK);
    ck_assert_uint_eq(out.len, 3);
    curl_easy_cleanup(slow.c);
}

START_TEST(test_stop_waits_for_answers)
{
    bool with_tls = tls;
    stop_while_answering();
    for (int i = 0; i < 100; i++) { /* the answer, the thread that sends it and the stop race */
        start_server(with_tls, false);
        stop_while_answering();
    }
}
END_TEST

/* --- upgrades and tunnels --- */

struct wire {
    CURL *c;
    int fd;
};

static struct wire dial(const char *request)
{
    struct buf none = {0};
    struct wire w = {.c = client("/", NULL, &none)};
    curl_easy_setopt(w.c, CURLOPT_CONNECT_ONLY, 1L);
    ck_assert_int_eq(curl_easy_perform(w.c), CURLE_OK);
    curl_socket_t fd;
    curl_easy_getinfo(w.c, CURLINFO_ACTIVESOCKET, &fd);
    w.fd = fd;
    size_t n;
    ck_assert_int_eq(curl_easy_send(w.c, request, strlen(request), &n), CURLE_OK);
    ck_assert_uint_eq(n, strlen(request));
    return w;
}

/* One read; 0 at the end. */
static size_t wire_read(struct wire *w, char *p, size_t max)
{
    size_t n = 0;
    CURLcode rc;
    while ((rc = curl_easy_recv(w->c, p, max, &n)) == CURLE_AGAIN)
        ck_assert_int_gt(poll(&(struct pollfd){w->fd, POLLIN, 0}, 1, 20000), 0);
    return rc == CURLE_OK ? n : 0;
}

static void read_head(struct wire *w, struct buf *head)
{
    char c;
    while ((head->len < 4 || strcmp(head->data + head->len - 4, "\r\n\r\n")) && wire_read(w, &c, 1))
        buf_addc(head, c);
}

#define UPGRADE(path)                                                                              \
    "POST " path " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"                 \
    "X-Stream-Protocol-Version: v4\r\nContent-Length: 0\r\n\r\n"

static void *feed(void *arg)
{
    struct wire *w = arg;
    char piece[10000];
    memset(piece, 'z', sizeof piece);
    for (int i = 0; i < 100; i++) {
        for (size_t at = 0, n; at < sizeof piece; at += n) {
            n = 0;
            if (curl_easy_send(w->c, piece + at, sizeof piece - at, &n) == CURLE_AGAIN)
                poll(&(struct pollfd){w->fd, POLLOUT, 0}, 1, 1000);
        }
    }
    return NULL;
}

/* Straight, through one tunnel and through two: the answer's headers arrive, and all bytes do. */
START_TEST(test_upgrade_echoes)
{
    static const char *const requests[] = {UPGRADE("/upgrade"), UPGRADE("/tunnel/upgrade"),
                                           UPGRADE("/tunnel/tunnel/upgrade")};
    atomic_store(&released, 0);
    for (int i = 0; i < 3; i++) {
        struct wire w = dial(requests[i]);
        cleanup_buf struct buf head = {0};
        read_head(&w, &head);
        ck_assert(!strncmp(head.data, "HTTP/1.1 101 ", 13));
        ck_assert(strstr(head.data, "Upgrade: echo\r\n") != NULL);
        ck_assert(strstr(head.data, "X-Stream-Protocol-Version: v4\r\n") != NULL);
        size_t sent, got = 0;
        char piece[4096];
        for (int k = 0; k < 50; k++) {
            ck_assert_int_eq(curl_easy_send(w.c, "ping-ping", 9, &sent), CURLE_OK);
            for (got = 0; got < 9;) {
                size_t n = wire_read(&w, piece + got, 9 - got);
                ck_assert_uint_gt(n, 0);
                got += n;
            }
            ck_assert(!memcmp(piece, "ping-ping", 9));
        }
        if (!tls) { /* one TLS session of libcurl is not for two threads */
            pthread_t t;
            pthread_create(&t, NULL, feed, &w);
            for (got = 0; got < 1000000;) {
                size_t n = wire_read(&w, piece, sizeof piece);
                ck_assert_uint_gt(n, 0);
                got += n;
            }
            pthread_join(t, NULL);
        }
        curl_easy_cleanup(w.c); /* the client leaves: so do all others */
        ck_assert(eventually(&released, (i + 1) * (i + 2) / 2));
    }
}
END_TEST

/* What is said last, before the end, arrives whole. */
START_TEST(test_upgrade_loses_no_last_words)
{
    static const char *const requests[] = {UPGRADE("/upgrade?say=777777"),
                                           UPGRADE("/tunnel/upgrade?say=777777"),
                                           UPGRADE("/tunnel/tunnel/upgrade?say=777777")};
    for (int i = 0; i < 12; i++) {
        struct wire w = dial(requests[i % 3]);
        cleanup_buf struct buf head = {0};
        read_head(&w, &head);
        size_t got = 0;
        char piece[5000];
        for (size_t n; (n = wire_read(&w, piece, sizeof piece)) > 0;)
            got += n;
        ck_assert_uint_eq(got, 777777);
        curl_easy_cleanup(w.c);
    }
}
END_TEST

START_TEST(test_tunnel_passes_refusals)
{
    struct wire w = dial(UPGRADE("/tunnel/nothing"));
    cleanup_buf struct buf head = {0};
    read_head(&w, &head);
    ck_assert(!strncmp(head.data, "HTTP/1.1 404 ", 13));
    curl_easy_cleanup(w.c);
    cleanup_buf struct buf out = {0};
    ck_assert_int_eq(get("/tunnel/upgrade", NULL, &out), 502);
}
END_TEST

START_TEST(test_stop_ends_upgrades)
{
    struct wire w = dial(UPGRADE("/tunnel/upgrade"));
    cleanup_buf struct buf head = {0};
    read_head(&w, &head);
    ck_assert(!strncmp(head.data, "HTTP/1.1 101 ", 13));
    httpd_stop(server);
    server = NULL;
    char c;
    ck_assert_uint_eq(wire_read(&w, &c, 1), 0);
    curl_easy_cleanup(w.c);
}
END_TEST

/* --- what only one of them has --- */

START_TEST(test_client_certificates)
{
    cleanup_buf struct buf out = {0};
    get("/facts", NULL, &out);
    ck_assert_str_eq(buf_str(&out), "GET|/facts|/facts|0|-|-|nobody");
    buf_clear(&out);
    get("/facts", "client", &out);
    ck_assert(strstr(buf_str(&out), "|system:node:a|") != NULL);
    ck_assert(strstr(buf_str(&out), "|team") != NULL &&
              strstr(buf_str(&out), "|system:nodes") != NULL);
    ck_assert(strstr(buf_str(&out), "invalid") == NULL);
    buf_clear(&out);
    get("/facts", "stranger", &out);
    ck_assert_str_eq(buf_str(&out), "GET|/facts|/facts|0|-|-|nobody|invalid");
    /* A server's certificate is no client's. */
    buf_clear(&out);
    get("/facts", "server", &out);
    ck_assert_str_eq(buf_str(&out), "GET|/facts|/facts|0|-|-|nobody|invalid");
}
END_TEST

START_TEST(test_required_client_certificate)
{
    start_server(true, true);
    cleanup_buf struct buf out = {0};
    const char *bad[] = {NULL, "stranger"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CURL *c = client("/facts", bad[i], &out);
        ck_assert_int_ne(curl_easy_perform(c), CURLE_OK);
        curl_easy_cleanup(c);
    }
    ck_assert_int_eq(get("/hello", "client", &out), 200);
}
END_TEST

static int raw_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)httpd_port(server))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

START_TEST(test_garbage_harms_nobody)
{
    const char *const garbage[] = {
        "\x16\x03\x01\x02garbage\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nno colon here\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nshort",
        "GET http://other HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        int fd = raw_socket();
        ck_assert_int_gt(send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL), 0);
        shutdown(fd, SHUT_WR);
        struct timeval limit = {.tv_usec = 300000};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        char answer[1024];
        while (recv(fd, answer, sizeof answer, 0) > 0)
            ;
        close(fd);
    }
    cleanup_buf struct buf out = {0};
    ck_assert_int_eq(get("/hello", NULL, &out), 200);
}
END_TEST

START_TEST(test_pipelined_requests_are_answered_in_order)
{
    int fd = raw_socket();
    const char text[] = "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: "
                        "a\r\nConnection: close\r\n\r\n";
    ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
    cleanup_buf struct buf out = {0};
    char piece[512];
    ssize_t n;
    while ((n = recv(fd, piece, sizeof piece, 0)) > 0)
        buf_add(&out, piece, (size_t)n);
    const char *first = strstr(buf_str(&out), "later"), *second = strstr(buf_str(&out), "hello");
    ck_assert(first && second && first < second);
    close(fd);
}
END_TEST

START_TEST(test_bad_addresses)
{
    const char *bad[] = {"127.0.0.1", "nonsense:x", "203.0.113.1:1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_error struct error *err = NULL;
        struct httpd_options o = {
            .address = bad[i], .threads = 1, .max_body = 1, .handler = handle};
        ck_assert_ptr_null(httpd_start(&o, &err));
        ck_assert_ptr_nonnull(err);
    }
}
END_TEST

static void add_common(TCase *t)
{
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_answers);
    tcase_add_test(t, test_request_parts);
    tcase_add_test(t, test_bodies);
    tcase_add_test(t, test_body_too_large);
    tcase_add_test(t, test_deferred);
    tcase_add_test(t, test_shared_bytes_are_released);
    tcase_add_test(t, test_pieces_arrive_whole);
    tcase_add_test(t, test_streams);
    tcase_add_test(t, test_hang_up_is_noticed_while_nothing_is_sent);
    tcase_add_test(t, test_slow_client_is_cut_off);
    tcase_add_test(t, test_stop_ends_streams);
    tcase_add_test(t, test_stop_waits_for_answers);
    tcase_add_test(t, test_upgrade_echoes);
    tcase_add_test(t, test_upgrade_loses_no_last_words);
    tcase_add_test(t, test_tunnel_passes_refusals);
    tcase_add_test(t, test_stop_ends_upgrades);
}

int main(void)
{
    make_certificates();
    Suite *s = suite_create("httpd");
    TCase *t = tcase_create("plain");
    tcase_add_checked_fixture(t, setup_plain, teardown);
    add_common(t);
    tcase_add_test(t, test_garbage_harms_nobody);
    tcase_add_test(t, test_pipelined_requests_are_answered_in_order);
    suite_add_tcase(s, t);
    t = tcase_create("tls");
    tcase_add_checked_fixture(t, setup_tls, teardown);
    add_common(t);
    tcase_add_test(t, test_client_certificates);
    suite_add_tcase(s, t);
    t = tcase_create("start");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, test_required_client_certificate);
    tcase_add_test(t, test_bad_addresses);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    const char *const names[] = {"ca", "other-ca", "server", "client", "stranger"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.crt", names[i]);
        unlink(file(name));
        snprintf(name, sizeof name, "%s.key", names[i]);
        unlink(file(name));
    }
    rmdir(directory);
    return failed ? 1 : 0;
}
