/* Fuzz target: messages from clients and from other servers. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "dns/answer.h"
#include "dns/cache.h"

static struct zone_service *service(const char *text)
{
    cleanup_json cJSON *o = json_parse(text, strlen(text), NULL);
    return zone_service_new(o, &(struct kube_object_list){0});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct answer_config config = {.ttl = 30,
                                          .pods = ANSWER_PODS_INSECURE,
                                          .own_namespace = "d",
                                          .own_service = "w",
                                          .forwards = true};
    static uint8_t out[DNS_TCP_SIZE];
    if (!config.zone) {
        config.zone = zone_new();
        config.domain_len = dns_name_from_text(config.domain, "c");
        zone_put_namespace(config.zone, "d", true);
        zone_put_service(
            config.zone, "d/w",
            service("{\"metadata\":{\"namespace\":\"d\",\"name\":\"w\"},\"spec\":{\"clusterIP\":"
                    "\"10.0.0.1\",\"ports\":[{\"name\":\"p\",\"port\":1}]}}"));
        zone_put_service(
            config.zone, "d/e",
            service("{\"metadata\":{\"namespace\":\"d\",\"name\":\"e\"},\"spec\":{\"type\":"
                    "\"ExternalName\",\"externalName\":\"x.y\"}}"));
    }
    struct dns_query q;
    struct dns_writer w;
    uint8_t next[DNS_NAME_MAX];
    int rcode;
    if (dns_query_parse(&q, data, size, &rcode) == DNS_PARSED) {
        size_t limit = dns_answer_limit(&q, false);
        dns_writer_start(&w, &q, out, limit);
        answer(&config, &q, &w, next, &rcode);
        if (dns_writer_finish(&w, rcode, true) > limit)
            __builtin_trap();
    }
    /* The same bytes as an answer, to the question that they contain. */
    if (size < DNS_HEADER_SIZE)
        return 0;
    uint8_t *copy = mem_dup(data, size);
    copy[2] &= 0x7f;
    copy[2] &= 0x87;
    if (dns_query_parse(&q, copy, size, &rcode) == DNS_PARSED) {
        bool truncated;
        copy[2] |= 0x80;
        struct cached *c = cached_new(&q, q.id, copy, size, 100, 1000, &truncated);
        if (c) {
            cached_write(c, &q, out, dns_answer_limit(&q, false), 5000);
            dns_writer_start(&w, &q, out, DNS_TCP_SIZE);
            cached_append(c, &w, 5000);
            dns_writer_finish(&w, cached_rcode(c), true);
            cached_unref(c);
        }
    }
    free(copy);
    return 0;
}
