/* For the tests of dns: a zone out of JSON, questions as text, answers as text. */
#pragma once
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "dns/answer.h"

static inline void add_service(struct zone *z, const char *key, const char *spec, const char *slice)
{
    const char *slash = strchr(key, '/');
    cleanup_free char *text =
        mem_printf("{\"metadata\":{\"namespace\":\"%.*s\",\"name\":\"%s\"},\"spec\":%s}",
                   (int)(slash - key), key, slash + 1, spec);
    cleanup_json cJSON *service = json_parse(text, strlen(text), NULL);
    ck_assert_ptr_nonnull(service);
    cleanup_objects struct kube_object_list slices = {0};
    if (slice) {
        cleanup_free char *slice_text = mem_printf("{\"metadata\":{\"name\":\"s\"},%s}", slice);
        cJSON *o = json_parse(slice_text, strlen(slice_text), NULL);
        ck_assert_ptr_nonnull(o);
        slices.items = mem_alloc(sizeof(*slices.items));
        slices.items[slices.count++] = kube_object_new(o);
    }
    zone_put_service(z, key, zone_service_new(service, &slices));
}

/* A question's bytes. edns_size: 0 for no EDNS. */
static inline size_t question(uint8_t *wire, const char *name, ldns_rr_type type,
                              uint16_t edns_size)
{
    memset(wire, 0, 12);
    wire[0] = 0x12, wire[1] = 0x34, wire[2] = 0x01, wire[5] = 1;
    size_t len = 12 + dns_name_from_text(wire + 12, name);
    for (size_t i = 0; name[i]; i++) /* as it was written */
        if (name[i] != '.')
            wire[13 + i] = (uint8_t)name[i];
    dns_put16(wire + len, (uint16_t)type);
    dns_put16(wire + len + 2, 1);
    len += 4;
    if (edns_size) {
        wire[11] = 1;
        dns_write_opt(wire + len, 0, false);
        dns_put16(wire + len + 3, edns_size);
        len += 11;
    }
    return len;
}

static inline int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "NOERROR aa|name ttl type data|..." with the records of the sections sorted; "+" stands before
 * additional ones, "~" before authority. Caller frees. */
static inline char *answer_text(const uint8_t *wire, size_t len)
{
    ldns_pkt *p = NULL;
    ck_assert_int_eq(ldns_wire2pkt(&p, wire, len), LDNS_STATUS_OK);
    ldns_lookup_table *rcode = ldns_lookup_by_id(ldns_rcodes, ldns_pkt_get_rcode(p));
    char *text =
        mem_printf("%s%s%s", rcode->name, ldns_pkt_aa(p) ? " aa" : "", ldns_pkt_tc(p) ? " tc" : "");
    const ldns_rr_list *lists[] = {ldns_pkt_answer(p), ldns_pkt_authority(p),
                                   ldns_pkt_additional(p)};
    for (int s = 0; s < 3; s++) {
        size_t n = ldns_rr_list_rr_count(lists[s]);
        char **lines = mem_alloc((n + 1) * sizeof(char *));
        for (size_t i = 0; i < n; i++) {
            lines[i] = ldns_rr2str(ldns_rr_list_rr(lists[s], i));
            for (char *c = lines[i]; *c; c++)
                *c = *c == '\t' ? ' ' : *c == '\n' ? 0 : *c;
        }
        qsort(lines, n, sizeof(char *), compare_lines);
        for (size_t i = 0; i < n; i++) {
            char *longer = mem_printf("%s|%s%s", text, s == 1 ? "~" : s == 2 ? "+" : "", lines[i]);
            free(text);
            text = longer;
            free(lines[i]);
        }
        free(lines);
    }
    ldns_pkt_free(p);
    return text;
}
