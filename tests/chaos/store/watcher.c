/* A watcher of all keys: it goes on at another member where it was, again and again, until it has seen everything. */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "tests/chaos/store/work.h"

struct watcher {
    struct work *w;
    const struct worker *me;
    struct prng random;
    int member;
    int64_t stream; /* number of this connection */
    int64_t next;   /* revision to go on from */
    bool compacted;
    struct buf line;
};

static void on_event(struct watcher *s, const cJSON *event)
{
    cleanup_buf struct buf key = {0};
    const char *text = json_str_or(event, "kv.key", ""), *value = json_str(event, "kv.value");
    if (!buf_add_base64_decoded(&key, text, strlen(text)))
        buf_adds(&key, "damaged");
    bool deleted = strcmp(json_str_or(event, "type", "PUT"), "DELETE") == 0;
    struct hist_record r = {.kind = HIST_EVENT,
                            .client = s->me->number,
                            .member = s->member + 1,
                            .conn = s->stream,
                            .key = key.data,
                            .rev = json_number(event, "kv.mod_revision"),
                            .value = deleted ? 0 : value_decode(value ? value : ""),
                            .version = json_number(event, "kv.version"),
                            .lease = json_number(event, "kv.lease")};
    r.inv = r.ret = work_now();
    work_record(s->w, &r);
    if (r.rev >= s->next)
        s->next = r.rev + 1;
}

static void on_line(struct watcher *s)
{
    cleanup_json cJSON *j = json_parse(s->line.data, s->line.len, NULL);
    const cJSON *result = json_get(j, "result"), *event;
    if (json_bool(result, "canceled", false) && json_number(result, "compact_revision")) {
        struct hist_record r = {.kind = HIST_COMPACTED,
                                .client = s->me->number,
                                .member = s->member + 1,
                                .rev = json_number(result, "compact_revision")};
        work_record(s->w, &r);
        s->compacted = true;
    }
    cJSON_ArrayForEach(event, json_get(result, "events")) on_event(s, event);
    if (s->me->number < WATCHERS)
        atomic_store(&s->w->seen[s->me->number], s->next - 1);
}

static size_t on_data(char *p, size_t size, size_t n, void *userdata)
{
    struct watcher *s = userdata;
    for (size_t i = 0; i < size * n; i++) {
        if (p[i] != '\n') {
            buf_addc(&s->line, p[i]);
            continue;
        }
        on_line(s);
        buf_clear(&s->line);
    }
    return size * n;
}

static bool finished(const struct watcher *s)
{
    int64_t until = atomic_load(&s->w->until);
    return s->compacted || atomic_load(&s->w->abandon) || (until && s->next > until);
}

static void one_stream(struct watcher *s, CURLM *multi)
{
    CURL *curl = curl_easy_init();
    cleanup_free char *url = mem_printf("%s/v3/watch", s->w->endpoints[s->member]);
    cleanup_free char *body = mem_printf("{\"create_request\":{\"key\":\"AA==\",\"range_end\":\"AA==\",\"start_revision\":\"%lld\"}}",
                                         (long long)s->next);
    buf_clear(&s->line);
    s->stream++;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 400L);
    curl_multi_add_handle(multi, curl);
    int64_t end = work_now() + (300 + prng_below(&s->random, 3000)) * 1000;
    int running = 1;
    while (running && work_now() < end && !finished(s)) {
        curl_multi_poll(multi, NULL, 0, 100, NULL);
        curl_multi_perform(multi, &running);
    }
    curl_multi_remove_handle(multi, curl);
    curl_easy_cleanup(curl);
    if (!running) /* not to knock without a pause at a member that is down */
        curl_multi_poll(multi, NULL, 0, 50, NULL);
}

void *work_watch(void *arg)
{
    const struct worker *me = arg;
    struct watcher s = {.w = me->w, .me = me, .next = me->start, .random = {me->w->seed * 7919 + (uint64_t)me->number}};
    struct hist_record r = {.kind = HIST_WATCH, .client = me->number, .rev = me->start};
    work_record(s.w, &r);
    s.member = me->member >= 0 ? me->member : prng_below(&s.random, s.w->members);
    CURLM *multi = curl_multi_init();
    while (!finished(&s)) {
        one_stream(&s, multi);
        if (me->member < 0)
            s.member = (s.member + 1 + prng_below(&s.random, s.w->members - 1)) % s.w->members;
    }
    curl_multi_cleanup(multi);
    buf_free(&s.line);
    r = (struct hist_record){.kind = HIST_UNTIL, .client = me->number, .rev = atomic_load(&s.w->until)};
    r.outcome = s.next > r.rev && !s.compacted ? HIST_OK : HIST_FAIL;
    work_record(s.w, &r);
    return NULL;
}
