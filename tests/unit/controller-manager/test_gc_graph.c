/* Whom the garbage collector looks at. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/gc_graph.h"

static struct buf looks;

static void on_look(void *userdata, const struct gc_node *node, int kind)
{
    (void)userdata;
    buf_printf(&looks, "%s%s:%s", looks.len ? " " : "",
               kind == GC_LOOK_DELETE   ? "delete"
               : kind == GC_LOOK_ORPHAN ? "orphan"
                                        : "virtual",
               node->uid);
}

static struct gc_graph *graph(void)
{
    struct gc_graph *g = mem_alloc(sizeof(*g));
    g->look = on_look;
    return g;
}

static void end(struct gc_graph *g)
{
    gc_graph_clear(g);
    free(g);
    buf_free(&looks);
}

static void expect_looks(const char *want)
{
    ck_assert_str_eq(buf_str(&looks), want);
    buf_clear(&looks);
}

/* owner: uid or NULL; extra: further members of metadata, beginning with a comma. */
static cJSON *object(const char *kind, const char *uid, const char *owner, bool blocks,
                     const char *extra)
{
    cleanup_free char *refs =
        owner ? mem_printf(",\"ownerReferences\":[{\"apiVersion\":\"apps/"
                           "v1\",\"kind\":\"ReplicaSet\",\"name\":\"%s\",\"uid\":"
                           "\"%s\",\"blockOwnerDeletion\":%s}]",
                           owner, owner, blocks ? "true" : "false")
              : mem_strdup("");
    cleanup_free char *text = mem_printf("{\"apiVersion\":\"apps/"
                                         "v1\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\","
                                         "\"namespace\":\"x\",\"uid\":\"%s\"%s%s}}",
                                         kind, uid, uid, refs, extra);
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_msg(o != NULL, "%s", text);
    return o;
}

#define DELETING(finalizer)                                                                        \
    ",\"deletionTimestamp\":\"2026-01-01T00:00:00Z\",\"finalizers\":[\"" finalizer "\"]"

START_TEST(dependents_of_a_gone_owner_are_looked_at)
{
    struct gc_graph *g = graph();
    cleanup_json cJSON *rs = object("ReplicaSet", "rs", NULL, false, ""),
                       *pod = object("Pod", "pod", "rs", true, "");
    gc_graph_observe(g, NULL, rs);
    gc_graph_observe(g, NULL, pod);
    expect_looks("");
    gc_graph_deleted(g, "rs");
    expect_looks("delete:pod");
    ck_assert(gc_graph_owner_known_absent(g, "apps/v1", "ReplicaSet", "x", "rs", "rs"));
    ck_assert(!gc_graph_owner_known_absent(g, "apps/v1", "ReplicaSet", "x", "rs", "another"));
    ck_assert_ptr_null(gc_graph_node(g, "rs"));
    gc_graph_deleted(g, "pod");
    expect_looks("");
    ck_assert_uint_eq(g->nodes.count, 0);
    end(g);
}
END_TEST

START_TEST(an_owner_not_seen_is_virtual_until_it_is)
{
    struct gc_graph *g = graph();
    cleanup_json cJSON *rs = object("ReplicaSet", "rs", NULL, false, ""),
                       *pod = object("Pod", "pod", "rs", true, "");
    gc_graph_observe(g, NULL, pod);
    expect_looks("virtual:rs");
    ck_assert(gc_graph_node(g, "rs")->is_virtual);
    gc_graph_observe(g, NULL, rs);
    expect_looks("");
    ck_assert(!gc_graph_node(g, "rs")->is_virtual);
    /* A late answer about other coordinates does not take a seen one away. */
    gc_graph_absent(g, "apps/v1", "ReplicaSet", "y", "rs", "rs");
    ck_assert_ptr_nonnull(gc_graph_node(g, "rs"));
    end(g);
}
END_TEST

START_TEST(an_owner_that_never_was)
{
    struct gc_graph *g = graph();
    cleanup_json cJSON *pod = object("Pod", "pod", "rs", true, "");
    gc_graph_observe(g, NULL, pod);
    expect_looks("virtual:rs");
    gc_graph_absent(g, "apps/v1", "ReplicaSet", "x", "rs", "rs");
    expect_looks("delete:pod");
    ck_assert_ptr_null(gc_graph_node(g, "rs"));
    ck_assert(gc_graph_owner_known_absent(g, "apps/v1", "ReplicaSet", "x", "rs", "rs"));
    end(g);
}
END_TEST

START_TEST(dependents_that_disagree_on_an_absent_owner)
{
    struct gc_graph *g = graph();
    cleanup_json cJSON *a = object("Pod", "a", "rs", true, ""),
                       *b = object("Pod", "b", "rs", true, "");
    json_set_str(json_path(b, "metadata.ownerReferences")->child, "name", "other");
    gc_graph_observe(g, NULL, a);
    gc_graph_observe(g, NULL, b);
    buf_clear(&looks);
    /* What a says is not there; what b says may be: the node lives on under that name and is asked
     * for. */
    gc_graph_absent(g, "apps/v1", "ReplicaSet", "x", "rs", "rs");
    ck_assert_ptr_nonnull(strstr(buf_str(&looks), "delete:a"));
    ck_assert_ptr_nonnull(strstr(buf_str(&looks), "virtual:rs"));
    ck_assert_ptr_null(strstr(buf_str(&looks), "delete:b"));
    ck_assert_str_eq(gc_graph_node(g, "rs")->name, "other");
    buf_clear(&looks);
    gc_graph_absent(g, "apps/v1", "ReplicaSet", "x", "other", "rs");
    ck_assert_ptr_nonnull(strstr(buf_str(&looks), "delete:b"));
    end(g);
}
END_TEST

START_TEST(foreground_deletion_waits_for_blocking_dependents)
{
    struct gc_graph *g = graph();
    cleanup_json cJSON *rs = object("ReplicaSet", "rs", NULL, false, ""),
                       *pod = object("Pod", "pod", "rs", true, ""),
                       *loose = object("Pod", "loose", "rs", false, ""),
                       *going =
                           object("ReplicaSet", "rs", NULL, false, DELETING("foregroundDeletion"));
    gc_graph_observe(g, NULL, rs);
    gc_graph_observe(g, NULL, pod);
    gc_graph_observe(g, rs, going);
    expect_looks("delete:pod delete:rs");
    gc_graph_observe(g, going, going);
    expect_looks(""); /* begins once */
    struct gc_node *n = gc_graph_node(g, "rs"), *blocking[4];
    ck_assert(n->deleting_dependents);
    ck_assert_uint_eq(gc_graph_blocking_dependents(n, blocking, 4), 1);
    gc_graph_observe(g, NULL, loose);
    ck_assert_uint_eq(gc_graph_blocking_dependents(n, blocking, 4), 1);
    gc_graph_deleted(g, "pod");
    expect_looks("delete:rs"); /* free to go */
    ck_assert_uint_eq(gc_graph_blocking_dependents(n, blocking, 4), 0);
    end(g);
}
END_TEST

START_TEST(unblocking_and_disowning_wake_the_owner)
{
    struct gc_graph *g = graph();
    cleanup_json cJSON *rs =
                           object("ReplicaSet", "rs", NULL, false, DELETING("foregroundDeletion")),
                       *pod = object("Pod", "pod", "rs", true, ""),
                       *unblocked = object("Pod", "pod", "rs", false, ""),
                       *free_pod = object("Pod", "pod", NULL, false, "");
    gc_graph_observe(g, NULL, rs);
    gc_graph_observe(g, NULL, pod);
    buf_clear(&looks);
    gc_graph_observe(g, pod, unblocked);
    expect_looks("delete:rs");
    gc_graph_observe(g, unblocked, pod);
    gc_graph_observe(g, pod, free_pod);
    expect_looks("delete:rs");
    ck_assert_uint_eq(gc_graph_node(g, "rs")->dependents.count, 0);
    end(g);
}
END_TEST

START_TEST(orphaning_is_asked_for_once)
{
    struct gc_graph *g = graph();
    cleanup_json cJSON *rs = object("ReplicaSet", "rs", NULL, false, ""),
                       *pod = object("Pod", "pod", "rs", true, ""),
                       *going = object("ReplicaSet", "rs", NULL, false, DELETING("orphan"));
    gc_graph_observe(g, NULL, rs);
    gc_graph_observe(g, NULL, pod);
    gc_graph_observe(g, rs, going);
    expect_looks("orphan:rs");
    gc_graph_observe(g, going, going);
    expect_looks("");
    ck_assert(gc_graph_node(g, "rs")->being_deleted);
    ck_assert(!gc_graph_node(g, "rs")->deleting_dependents);
    end(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gc_graph");
    TCase *t = tcase_create("gc_graph");
    tcase_add_test(t, dependents_of_a_gone_owner_are_looked_at);
    tcase_add_test(t, an_owner_not_seen_is_virtual_until_it_is);
    tcase_add_test(t, an_owner_that_never_was);
    tcase_add_test(t, dependents_that_disagree_on_an_absent_owner);
    tcase_add_test(t, foreground_deletion_waits_for_blocking_dependents);
    tcase_add_test(t, unblocking_and_disowning_wake_the_owner);
    tcase_add_test(t, orphaning_is_asked_for_once);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
