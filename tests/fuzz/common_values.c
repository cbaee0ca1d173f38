/* The small texts that clients and objects carry: quantities, times, selectors, base64, JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/selector.h"
#include "common/timefmt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void quantities(const char *text)
{
    struct quantity q, again;
    char printed[QUANTITY_TEXT_MAX];
    if (!quantity_parse(text, &q))
        return;
    quantity_value(q);
    quantity_milli_value(q);
    /* What was printed reads as the same amount. */
    if (!quantity_parse(quantity_print(q, printed), &again) || again.nano != q.nano)
        abort();
}

static void selectors(const char *text)
{
    static const char *const labels[] = {"app", "web", "tier", "3", NULL};
    struct label_selector *s = label_selector_parse(text, NULL);
    if (s) {
        cleanup_free char *printed = label_selector_text(s);
        struct label_selector *again = label_selector_parse(printed, NULL);
        if (!again || label_selector_matches_flat(s, labels) != label_selector_matches_flat(again, labels))
            abort();
        label_selector_free(again);
        label_selector_free(s);
    }
    struct field_selector f = {0};
    if (field_selector_parse(text, &f, NULL))
        field_selector_clear(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = mem_strndup((const char *)data, size);
    quantities(text);
    selectors(text);
    int64_t micros;
    char out[TIME_TEXT_MAX];
    if (time_parse(text, &micros))
        time_format_micro(micros, out);
    cleanup_buf struct buf b = {0};
    if (buf_add_base64_decoded(&b, (const char *)data, size)) {
        cleanup_buf struct buf encoded = {0};
        buf_add_base64(&encoded, buf_str(&b), b.len);
    }
    cleanup_json cJSON *o = json_parse((const char *)data, size, NULL);
    if (o) {
        cleanup_free char *printed = json_text(o);
        cleanup_json cJSON *again = json_parse(printed, strlen(printed), NULL);
        if (!again)
            abort();
    }
    return 0;
}
