#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/websocket.h"

static void take(void *ctx, const void *p, size_t n, bool begins)
{
    struct buf *b = ctx;
    if (begins)
        buf_addc(b, '|');
    if (n)
        buf_add(b, p, n);
}

/* A client's frame, masked. */
static void client_frame(struct buf *out, unsigned first, const char *text)
{
    static const unsigned char mask[4] = {1, 2, 3, 4};
    size_t n = strlen(text);
    buf_addc(out, (char)first);
    buf_addc(out, (char)(0x80 | n));
    buf_add(out, mask, 4);
    for (size_t i = 0; i < n; i++)
        buf_addc(out, (char)(text[i] ^ mask[i & 3]));
}

/* The example of RFC 6455 section 1.3. */
START_TEST(accept_is_the_rfcs)
{
    cleanup_buf struct buf b = {0};
    websocket_accept(&b, "dGhlIHNhbXBsZSBub25jZQ==");
    ck_assert_str_eq(buf_str(&b), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
END_TEST

START_TEST(messages_in_fragments_with_a_ping_between)
{
    cleanup_buf struct buf in = {0}, got = {0}, reply = {0};
    client_frame(&in, 0x02, "one ");
    client_frame(&in, 0x89, "are you there");
    client_frame(&in, 0x80, "message");
    client_frame(&in, 0x82, "");
    client_frame(&in, 0x82, "another");
    struct websocket w = {0};
    for (size_t i = 0; i < in.len; i++)
        ck_assert(websocket_feed(&w, in.data + i, 1, take, &got, &reply));
    ck_assert_str_eq(buf_str(&got), "|one message||another");
    ck_assert_str_eq(buf_str(&reply), "\x8a\x0d"
                                      "are you there");
}
END_TEST

START_TEST(a_close_is_answered)
{
    cleanup_buf struct buf in = {0}, got = {0}, reply = {0};
    client_frame(&in, 0x88, "\x03\xe9");
    client_frame(&in, 0x82, "too late");
    struct websocket w = {0};
    ck_assert(!websocket_feed(&w, in.data, in.len, take, &got, &reply));
    ck_assert_uint_eq(got.len, 0);
    ck_assert_uint_eq(reply.len, 4);
    ck_assert_mem_eq(reply.data, "\x88\x02\x03\xe8", 4);
}
END_TEST

START_TEST(what_breaks_the_protocol_closes)
{
    static const char *const bad[] = {"\x82\x01z" /* not masked */,
                                      "\xc2\x80" /* reserved bit */,
                                      "\x80\x80" /* continues nothing */,
                                      "\x83\x80" /* no such frame */,
                                      "\x09\x80" /* a control frame in fragments */,
                                      "\x89\xfe" /* a control frame too long */};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cleanup_buf struct buf got = {0}, reply = {0};
        struct websocket w = {0};
        ck_assert(!websocket_feed(&w, bad[i], strlen(bad[i]), take, &got, &reply));
        ck_assert_mem_eq(reply.data, "\x88\x02\x03\xea", 4);
    }
}
END_TEST

START_TEST(lengths)
{
    static const struct {
        size_t n, head;
    } cases[] = {{125, 2}, {126, 4}, {65535, 4}, {65536, 10}};
    char *payload = calloc(1, 65536);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cleanup_buf struct buf b = {0};
        websocket_frame(&b, WEBSOCKET_BINARY, payload, cases[i].n);
        ck_assert_uint_eq(b.len, cases[i].head + cases[i].n);
    }
    free(payload);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("websocket");
    TCase *c = tcase_create("frames");
    tcase_add_test(c, accept_is_the_rfcs);
    tcase_add_test(c, messages_in_fragments_with_a_ping_between);
    tcase_add_test(c, a_close_is_answered);
    tcase_add_test(c, what_breaks_the_protocol_closes);
    tcase_add_test(c, lengths);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
