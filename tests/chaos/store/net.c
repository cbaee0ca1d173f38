#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "tests/chaos/store/work.h"

#define CONNECT_MS 400
#define CALL_MS    2500

int64_t work_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

bool work_pause(struct work *w, int ms)
{
    int64_t end = time_monotonic_ms() + ms;
    pthread_mutex_lock(&w->lock);
    while (!w->stop && time_monotonic_ms() < end)
        thread_cond_wait_until(&w->cond, &w->lock, end);
    bool go_on = !w->stop;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

void work_record(struct work *w, const struct hist_record *r)
{
    pthread_mutex_lock(&w->lock);
    hist_print(r, w->out);
    pthread_mutex_unlock(&w->lock);
    if (r->kind <= HIST_REVOKE)
        atomic_fetch_add(r->outcome == HIST_OK ? &w->ok : r->outcome == HIST_FAIL ? &w->failed : &w->unknown, 1);
}

uint64_t prng_next(struct prng *p)
{
    uint64_t z = p->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void value_text(int64_t value, struct buf *b)
{
    struct prng p = {(uint64_t)value};
    /* Every fourth is large, so that logs and snapshots grow while a short test runs. */
    size_t size = prng_below(&p, 4) ? (size_t)prng_below(&p, 300) : 4096 + (size_t)prng_below(&p, 12288);
    buf_printf(b, "%lld.", (long long)value);
    char c = (char)('a' + value % 26);
    buf_reserve(b, size + 1);
    for (size_t i = 0; i < size; i++)
        buf_addc(b, c);
}

void value_encode(int64_t value, struct buf *b)
{
    cleanup_buf struct buf text = {0};
    value_text(value, &text);
    buf_add_base64(b, text.data, text.len);
}

int64_t value_decode(const char *base64)
{
    cleanup_buf struct buf got = {0}, want = {0};
    if (!buf_add_base64_decoded(&got, base64, strlen(base64)))
        return -1;
    int64_t value = strtoll(buf_str(&got), NULL, 10);
    value_text(value, &want);
    return got.len == want.len && memcmp(got.data, want.data, got.len) == 0 ? value : -1;
}

int64_t json_number(const cJSON *j, const char *path)
{
    const char *s = json_str(j, path);
    return s ? strtoll(s, NULL, 10) : json_int(j, path, 0);
}

/* --- calls --- */
static size_t on_body(char *p, size_t size, size_t n, void *userdata)
{
    buf_add(userdata, p, size * n);
    return size * n;
}

void conn_open(struct conn *c, struct work *w)
{
    *c = (struct conn){.w = w};
    for (int i = 0; i < w->members; i++) {
        c->curl[i] = curl_easy_init();
        c->number[i] = 1;
    }
}

void conn_close(struct conn *c)
{
    for (int i = 0; i < c->w->members; i++)
        curl_easy_cleanup(c->curl[i]);
}

cJSON *conn_call(struct conn *c, int member, const char *path, const char *body, bool change, enum hist_outcome *outcome)
{
    CURL *curl = c->curl[member];
    cleanup_buf struct buf answer = {0};
    cleanup_free char *url = mem_printf("%s/v3/%s", c->w->endpoints[member], path);
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)CALL_MS);
    curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, change ? 1L : 0L);
    CURLcode rc = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    long status = 0, connects = 0;
    double sent_after = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(curl, CURLINFO_PRETRANSFER_TIME, &sent_after);
    if (connects > 0 || rc != CURLE_OK)
        c->number[member]++;
    *outcome = HIST_UNKNOWN;
    if (rc == CURLE_COULDNT_CONNECT || (rc == CURLE_OPERATION_TIMEDOUT && sent_after == 0)) {
        *outcome = HIST_FAIL; /* it was never sent */
        return NULL;
    }
    if (rc != CURLE_OK)
        return NULL;
    if (status == 200) {
        cJSON *j = json_parse(buf_str(&answer), answer.len, NULL);
        if (j)
            *outcome = HIST_OK;
        return j;
    }
    if (status == 400 || status == 404)
        *outcome = HIST_FAIL;
    return NULL;
}
