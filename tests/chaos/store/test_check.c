/* The checker is held against histories that are known to be right or wrong. */
#include <check.h>
#include <stdarg.h>
#include <string.h>
#include "common/mem.h"
#include "tests/chaos/store/check.h"

/* Checks lines of JSON; they may use ' for ". */
static void judge(struct verdict *v, const char *lines)
{
    cleanup_free char *text = mem_strdup(lines);
    for (char *p = text; *p; p++)
        if (*p == '\'')
            *p = '"';
    FILE *f = fmemopen(text, strlen(text), "r");
    struct history h = {0};
    struct error *e = NULL;
    bool ok = history_read(&h, f, &e);
    ck_assert_msg(ok, "%s", error_message(e));
    fclose(f);
    check_history(&h, v);
    history_clear(&h);
}

static size_t broken(const struct verdict *v)
{
    size_t n = 0;
    for (int r = 0; r < RULES; r++)
        n += v->violated[r];
    return n;
}

static void expect_right(const char *lines)
{
    struct verdict v;
    judge(&v, lines);
    for (int r = 0; r < RULES; r++)
        ck_assert_msg(v.violated[r] == 0, "%s: %s", rule_name((enum rule)r), v.messages[r][0]);
    verdict_clear(&v);
}

static void expect_wrong(enum rule rule, const char *lines)
{
    struct verdict v;
    judge(&v, lines);
    ck_assert_msg(v.violated[rule] > 0, "not noticed: %s (%zu others are)", rule_name(rule), broken(&v));
    ck_assert(v.messages[rule][0] != NULL);
    verdict_clear(&v);
}

#define WATCH(client, from)                "{'kind':'watch','client':" #client ",'rev':" #from "}\n"
#define UNTIL(client, to)                  "{'kind':'until','client':" #client ",'rev':" #to "}\n"
#define EVENT(client, k, r, v, n)          "{'kind':'event','client':" #client ",'key':'" k "','rev':" #r ",'value':" #v ",'version':" #n "}\n"
#define TIMES(from, to)                    ",'inv':" #from ",'ret':" #to
#define PUT(o, k, v, r, from, to)          "{'kind':'put','op':" #o ",'key':'" k "','value':" #v ",'rev':" #r TIMES(from, to) "}\n"
#define PUT_UNKNOWN(o, k, v, from)         "{'kind':'put','outcome':'unknown','op':" #o ",'key':'" k "','value':" #v TIMES(from, from) "}\n"
#define PUT_REFUSED(o, k, v, from)         "{'kind':'put','outcome':'fail','op':" #o ",'key':'" k "','value':" #v TIMES(from, from) "}\n"
#define READ(kind, k, v, m, n, r, from, to)                                                                                       \
    "{'kind':'" kind "','key':'" k "','value':" #v ",'mod':" #m ",'version':" #n ",'rev':" #r ",'client':1,'member':1,'conn':1"     \
    TIMES(from, to) "}\n"
#define GET(k, v, m, n, r, from, to)       READ("get", k, v, m, n, r, from, to)
#define SGET(k, v, m, n, r, from, to)      READ("sget", k, v, m, n, r, from, to)
#define CAS_DONE(o, k, e, v, r, from, to)                                                                                         \
    "{'kind':'cas','done':true,'op':" #o ",'key':'" k "','expect':" #e ",'value':" #v ",'rev':" #r TIMES(from, to) "}\n"
#define CAS_NOT(o, k, e, v, s, m, n, r, from, to)                                                                                 \
    "{'kind':'cas','op':" #o ",'key':'" k "','expect':" #e ",'value':" #v ",'seen':" #s ",'mod':" #m ",'version':" #n ",'rev':" #r  \
    TIMES(from, to) "}\n"
#define DELETE_DONE(o, k, r, from, to)     "{'kind':'delete','done':true,'op':" #o ",'key':'" k "','rev':" #r TIMES(from, to) "}\n"
#define DELETE_NONE(o, k, r, from, to)     "{'kind':'delete','op':" #o ",'key':'" k "','rev':" #r TIMES(from, to) "}\n"
#define DELETE_UNKNOWN(o, k, from)         "{'kind':'delete','outcome':'unknown','op':" #o ",'key':'" k "'" TIMES(from, from) "}\n"
#define FINAL(m, k, v, mod, n, r)                                                                                                 \
    "{'kind':'final','member':" #m ",'key':'" k "','value':" #v ",'mod':" #mod ",'version':" #n ",'rev':" #r "}\n"
#define END(m, r)                          "{'kind':'end','member':" #m ",'rev':" #r "}\n"
/* One watcher that sees a := 1, a := 2. */
#define TWO_PUTS WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 2, 2) UNTIL(0, 3)
#define BOTH_PUT PUT(1, "a", 1, 2, 10, 20) PUT(2, "a", 2, 3, 30, 40)

START_TEST(right_histories)
{
    expect_right("");
    expect_right(TWO_PUTS BOTH_PUT GET("a", 2, 3, 2, 3, 50, 60) FINAL(1, "a", 2, 3, 2, 3) END(1, 3));
    /* A read that overlaps a write sees it or not; another client sees the new value first. */
    expect_right(TWO_PUTS PUT(1, "a", 1, 2, 10, 20) PUT(2, "a", 2, 3, 30, 90) GET("a", 2, 3, 2, 3, 40, 50) GET("a", 2, 3, 2, 3, 60, 70));
    expect_right(TWO_PUTS PUT(1, "a", 1, 2, 10, 20) PUT(2, "a", 2, 3, 30, 90) GET("a", 1, 2, 1, 2, 40, 50));
    /* An unknown write takes effect, late, or never. */
    expect_right(TWO_PUTS PUT(1, "a", 1, 2, 10, 20) PUT_UNKNOWN(2, "a", 2, 30) GET("a", 1, 2, 1, 2, 40, 50) GET("a", 2, 3, 2, 3, 60, 70));
    expect_right(WATCH(0, 2) EVENT(0, "a", 2, 1, 1) UNTIL(0, 2) PUT(1, "a", 1, 2, 10, 20) PUT_UNKNOWN(2, "a", 2, 30)
                     GET("a", 1, 2, 1, 2, 40, 50));
    /* An old value is what a serializable read may answer. */
    expect_right(TWO_PUTS BOTH_PUT SGET("a", 1, 2, 1, 2, 50, 60) SGET("a", 2, 3, 2, 3, 70, 80));
    /* Compare and swap, delete, write again. */
    expect_right(WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 2, 2) EVENT(0, "a", 4, 0, 0) EVENT(0, "a", 5, 4, 1) UNTIL(0, 5)
                     PUT(1, "a", 1, 2, 10, 20) CAS_DONE(2, "a", 2, 2, 3, 30, 40) CAS_NOT(3, "a", 2, 3, 2, 3, 2, 3, 50, 60)
                         DELETE_DONE(4, "a", 4, 70, 80) DELETE_NONE(5, "a", 4, 81, 82) CAS_DONE(6, "a", 0, 4, 5, 90, 95)
                             FINAL(1, "a", 4, 5, 1, 5) END(1, 5));
    expect_right(WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 0, 0) UNTIL(0, 3) PUT(1, "a", 1, 2, 10, 20)
                     DELETE_UNKNOWN(2, "a", 30) GET("a", 1, 2, 1, 2, 40, 50) GET("a", 0, 0, 0, 3, 60, 70));
    /* Two keys in one transaction; a watcher that begins later. */
    expect_right(WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "b", 2, 2, 1) EVENT(0, "a", 3, 3, 2) UNTIL(0, 3) WATCH(1, 3)
                     EVENT(1, "a", 3, 3, 2) UNTIL(1, 3) PUT(1, "a", 1, 2, 10, 20) PUT(1, "b", 2, 2, 10, 20) PUT(2, "a", 3, 3, 15, 30));
}
END_TEST

START_TEST(stale_read)
{
    const char *h = TWO_PUTS BOTH_PUT GET("a", 1, 2, 1, 2, 50, 60);
    expect_wrong(RULE_LINEAR, h);
    expect_wrong(RULE_ORDER, h);
    /* New, then old again, while the write is still under way. */
    h = TWO_PUTS PUT(1, "a", 1, 2, 10, 20) PUT(2, "a", 2, 3, 30, 90) GET("a", 2, 3, 2, 3, 40, 50) GET("a", 1, 2, 1, 2, 60, 70);
    expect_wrong(RULE_LINEAR, h);
    expect_wrong(RULE_ORDER, h);
    /* Absent, though written. */
    expect_wrong(RULE_LINEAR, TWO_PUTS BOTH_PUT GET("a", 0, 0, 0, 3, 50, 60));
    expect_wrong(RULE_READ, TWO_PUTS BOTH_PUT GET("a", 0, 0, 0, 3, 50, 60));
    /* A value from nowhere; a right value with a wrong version. */
    expect_wrong(RULE_LINEAR, TWO_PUTS BOTH_PUT GET("a", 9, 3, 2, 3, 50, 60));
    expect_wrong(RULE_READ, TWO_PUTS BOTH_PUT GET("a", 2, 3, 3, 3, 50, 60));
    expect_wrong(RULE_READ, TWO_PUTS BOTH_PUT SGET("a", 1, 2, 1, 3, 50, 60));
    expect_wrong(RULE_SERIALIZABLE, TWO_PUTS BOTH_PUT SGET("a", 2, 3, 2, 3, 50, 60) SGET("a", 1, 2, 1, 2, 70, 80));
}
END_TEST

START_TEST(lost_write)
{
    const char *h = WATCH(0, 2) EVENT(0, "a", 2, 1, 1) UNTIL(0, 2) BOTH_PUT GET("a", 1, 2, 1, 2, 50, 60) FINAL(1, "a", 1, 2, 1, 2) END(1, 2);
    expect_wrong(RULE_LOST, h);
    expect_wrong(RULE_LINEAR, h);
    /* In the history, but gone in the end. */
    expect_wrong(RULE_FINAL, TWO_PUTS BOTH_PUT END(1, 3));
    expect_wrong(RULE_FINAL, TWO_PUTS BOTH_PUT FINAL(1, "a", 1, 2, 1, 3) END(1, 3));
    expect_wrong(RULE_FINAL, TWO_PUTS BOTH_PUT FINAL(1, "a", 2, 3, 2, 3) FINAL(1, "b", 7, 3, 1, 3) END(1, 3));
    /* The history ends before what members hold. */
    expect_wrong(RULE_HISTORY, TWO_PUTS BOTH_PUT FINAL(1, "a", 2, 3, 2, 4) END(1, 4));
    /* A deletion that was acknowledged and did not happen. */
    expect_wrong(RULE_LOST, TWO_PUTS BOTH_PUT DELETE_DONE(3, "a", 4, 50, 60));
    expect_wrong(RULE_LINEAR, TWO_PUTS BOTH_PUT DELETE_DONE(3, "a", 4, 50, 60) GET("a", 2, 3, 2, 3, 70, 80));
}
END_TEST

START_TEST(applied_wrongly)
{
    /* Twice. */
    expect_wrong(RULE_APPLIED, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 1, 2) UNTIL(0, 3) PUT(1, "a", 1, 2, 10, 20));
    expect_wrong(RULE_LINEAR, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 1, 2) UNTIL(0, 3) PUT(1, "a", 1, 2, 10, 20)
                                  GET("a", 1, 3, 2, 3, 30, 40));
    expect_wrong(RULE_APPLIED, PUT_UNKNOWN(1, "a", 1, 10) GET("a", 1, 2, 1, 2, 30, 40) GET("a", 1, 3, 2, 3, 50, 60));
    /* Though refused, by nobody, under another key. */
    expect_wrong(RULE_APPLIED, TWO_PUTS PUT(1, "a", 1, 2, 10, 20) PUT_REFUSED(2, "a", 2, 30));
    expect_wrong(RULE_APPLIED, TWO_PUTS PUT(1, "a", 1, 2, 10, 20));
    expect_wrong(RULE_APPLIED, TWO_PUTS PUT(1, "a", 1, 2, 10, 20) PUT_UNKNOWN(2, "b", 2, 30));
    expect_wrong(RULE_APPLIED, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 0, 0) UNTIL(0, 3) PUT(1, "a", 1, 2, 10, 20));
    /* One unknown deletion cannot have deleted twice. */
    expect_wrong(RULE_APPLIED, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 0, 0) EVENT(0, "a", 4, 2, 1) EVENT(0, "a", 5, 0, 0)
                                   UNTIL(0, 5) PUT(1, "a", 1, 2, 10, 20) DELETE_UNKNOWN(2, "a", 15) PUT(3, "a", 2, 4, 30, 40));
    /* Two swaps of the same revision. */
    const char *both = WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 2, 2) EVENT(0, "a", 4, 3, 3) UNTIL(0, 4)
        PUT(1, "a", 1, 2, 10, 20) CAS_DONE(2, "a", 2, 2, 3, 30, 40) CAS_DONE(3, "a", 2, 3, 4, 30, 40);
    expect_wrong(RULE_LINEAR, both);
    expect_wrong(RULE_READ, both);
    /* A swap that should have been done. */
    expect_wrong(RULE_LINEAR, TWO_PUTS BOTH_PUT CAS_NOT(3, "a", 3, 5, 2, 3, 2, 3, 50, 60));
    expect_wrong(RULE_READ, TWO_PUTS BOTH_PUT CAS_NOT(3, "a", 3, 5, 2, 3, 2, 3, 50, 60));
    expect_wrong(RULE_READ, TWO_PUTS BOTH_PUT DELETE_NONE(3, "a", 3, 50, 60));
}
END_TEST

START_TEST(revisions)
{
    /* A later write with an earlier revision. */
    expect_wrong(RULE_ORDER, TWO_PUTS PUT(1, "a", 2, 3, 10, 20) PUT(2, "a", 1, 2, 30, 40));
    /* An unknown one that took effect before it was asked. */
    expect_wrong(RULE_ORDER, TWO_PUTS PUT(1, "a", 2, 3, 10, 20) PUT_UNKNOWN(2, "a", 1, 30));
    /* Two transactions in one revision. */
    expect_wrong(RULE_ORDER, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "b", 2, 2, 1) UNTIL(0, 2) PUT(1, "a", 1, 2, 10, 40)
                                 PUT(2, "b", 2, 2, 20, 30));
    /* A hole; a version left out. */
    expect_wrong(RULE_HISTORY, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 4, 2, 2) UNTIL(0, 4) PUT(1, "a", 1, 2, 10, 20)
                                   PUT(2, "a", 2, 4, 30, 40));
    expect_wrong(RULE_HISTORY, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 2, 3) UNTIL(0, 3) BOTH_PUT);
    expect_wrong(RULE_HISTORY, WATCH(0, 2) EVENT(0, "a", 2, 0, 0) UNTIL(0, 2));
}
END_TEST

START_TEST(watchers)
{
    /* Missing at the end, at the beginning, in the middle of a revision. */
    expect_wrong(RULE_WATCH, TWO_PUTS BOTH_PUT WATCH(1, 2) EVENT(1, "a", 2, 1, 1) UNTIL(1, 3));
    expect_wrong(RULE_WATCH, TWO_PUTS BOTH_PUT WATCH(1, 2) EVENT(1, "a", 3, 2, 2) UNTIL(1, 3));
    expect_wrong(RULE_WATCH, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "b", 2, 2, 1) UNTIL(0, 2) WATCH(1, 2) EVENT(1, "b", 2, 2, 1)
                                 UNTIL(1, 2) PUT(1, "a", 1, 2, 10, 20) PUT(1, "b", 2, 2, 10, 20));
    /* Twice, out of order, from before it began, never at the end. */
    expect_wrong(RULE_WATCH, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 2, 2) UNTIL(0, 3) BOTH_PUT);
    expect_wrong(RULE_WATCH, WATCH(0, 2) EVENT(0, "a", 3, 2, 2) EVENT(0, "a", 2, 1, 1) UNTIL(0, 3) BOTH_PUT);
    expect_wrong(RULE_WATCH, TWO_PUTS BOTH_PUT WATCH(1, 3) EVENT(1, "a", 2, 1, 1) EVENT(1, "a", 3, 2, 2) UNTIL(1, 3));
    expect_wrong(RULE_WATCH, WATCH(0, 2) EVENT(0, "a", 2, 1, 1) EVENT(0, "a", 3, 2, 2) BOTH_PUT);
    expect_wrong(RULE_WATCH, TWO_PUTS BOTH_PUT "{'kind':'compacted','client':0,'rev':2}\n");
    /* Another value than another watcher. */
    expect_wrong(RULE_HISTORY, TWO_PUTS BOTH_PUT WATCH(1, 2) EVENT(1, "a", 2, 1, 1) EVENT(1, "a", 3, 7, 2) UNTIL(1, 3));
}
END_TEST

#define GRANT(from, to, ttl)  "{'kind':'grant','lease':'7','ttl':" #ttl TIMES(from, to) "}\n"
#define KEEP(from, to, ttl)   "{'kind':'keepalive','lease':'7','ttl':" #ttl TIMES(from, to) "}\n"
#define KEEP_NOT(from, to)    "{'kind':'keepalive','outcome':'fail','lease':'7'" TIMES(from, to) "}\n"
#define REVOKE(from, to)      "{'kind':'revoke','lease':'7'" TIMES(from, to) "}\n"
#define LEASED(v, r, from, to) "{'kind':'put','op':1,'key':'l/1','lease':'7','value':" #v ",'rev':" #r TIMES(from, to) "}\n"
#define LEASED_WATCH WATCH(0, 2) EVENT(0, "l/1", 2, 1, 1) EVENT(0, "l/1", 3, 0, 0) UNTIL(0, 3)
#define LEASED_HEAD LEASED_WATCH GRANT(100, 200, 2) LEASED(1, 2, 300, 400)

START_TEST(leases)
{
    expect_right(LEASED_HEAD GET("l/1", 1, 2, 1, 2, 1000, 1100) GET("l/1", 0, 0, 0, 3, 2100000, 2100100));
    expect_right(LEASED_HEAD REVOKE(1000, 1100) GET("l/1", 0, 0, 0, 3, 1200, 1300));
    expect_right(LEASED_HEAD KEEP(1500000, 1500100, 2) GET("l/1", 0, 0, 0, 3, 3600000, 3600100) KEEP_NOT(3700000, 3700100));
    /* Gone before its time; though kept alive; found dead though alive. */
    expect_wrong(RULE_LEASE_EARLY, LEASED_HEAD GET("l/1", 0, 0, 0, 3, 1000000, 1000100));
    expect_wrong(RULE_LEASE_EARLY, LEASED_HEAD KEEP(1500000, 1500100, 2) GET("l/1", 0, 0, 0, 3, 2500000, 2500100));
    expect_wrong(RULE_LEASE_EARLY, LEASED_HEAD KEEP_NOT(1000000, 1000100));
    /* A key that is no longer the lease's. */
    expect_wrong(RULE_APPLIED, WATCH(0, 2) EVENT(0, "l/1", 2, 1, 1) EVENT(0, "l/1", 3, 2, 2) EVENT(0, "l/1", 4, 0, 0) UNTIL(0, 4)
                                   GRANT(100, 200, 2) LEASED(1, 2, 300, 400) PUT(2, "l/1", 2, 3, 500, 600));
    expect_wrong(RULE_LEASE_LATE, WATCH(0, 2) EVENT(0, "l/1", 2, 1, 1) UNTIL(0, 2) GRANT(100, 200, 2) LEASED(1, 2, 300, 400)
                                      "{'kind':'final','member':1,'key':'l/1','value':1,'mod':2,'version':1,'rev':2,'lease':'7'}\n" END(1, 2));
}
END_TEST

/* Many at once that nobody knows the outcome of: the search must not explode, and must still see what is wrong. */
START_TEST(many_unknown)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    for (int i = 1; i <= 16; i++)
        fprintf(f, "{\"kind\":\"put\",\"outcome\":\"unknown\",\"key\":\"a\",\"op\":%d,\"value\":%d,\"inv\":%d,\"ret\":%d}\n", i, i, i, i);
    fprintf(f, "{\"kind\":\"get\",\"key\":\"a\",\"value\":5,\"mod\":7,\"version\":2,\"rev\":7,\"inv\":100,\"ret\":110}\n");
    fclose(f);
    struct verdict v;
    judge(&v, text);
    ck_assert_uint_eq(v.checked[RULE_LINEAR], 1);
    ck_assert_uint_eq(v.violated[RULE_LINEAR], 0);
    verdict_clear(&v);
    free(text);
    f = open_memstream(&text, &size);
    for (int i = 1; i <= 10; i++)
        fprintf(f, "{\"kind\":\"put\",\"outcome\":\"unknown\",\"key\":\"a\",\"op\":%d,\"value\":%d,\"inv\":%d,\"ret\":%d}\n", i, i, i, i);
    fprintf(f, "{\"kind\":\"get\",\"key\":\"a\",\"value\":5,\"mod\":7,\"version\":12,\"rev\":7,\"inv\":100,\"ret\":110}\n");
    fclose(f);
    judge(&v, text);
    ck_assert_uint_eq(v.violated[RULE_LINEAR], 1);
    verdict_clear(&v);
    free(text);
}
END_TEST

START_TEST(bad_lines)
{
    static const char *const lines[] = {"{", "[]", "{\"kind\":\"put\"}", "{\"kind\":\"other\",\"key\":\"a\"}",
                                        "{\"kind\":\"get\",\"key\":\"a\",\"outcome\":\"perhaps\"}"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        cleanup_free char *text = mem_strdup(lines[i]);
        cleanup_fclose FILE *f = fmemopen(text, strlen(text), "r");
        cleanup_error struct error *e = NULL;
        struct history h = {0};
        ck_assert(!history_read(&h, f, &e));
        ck_assert_ptr_nonnull(e);
        history_clear(&h);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store-checker");
    TCase *t = tcase_create("histories");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, right_histories);
    tcase_add_test(t, stale_read);
    tcase_add_test(t, lost_write);
    tcase_add_test(t, applied_wrongly);
    tcase_add_test(t, revisions);
    tcase_add_test(t, watchers);
    tcase_add_test(t, leases);
    tcase_add_test(t, many_unknown);
    tcase_add_test(t, bad_lines);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
