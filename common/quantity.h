/* resource.Quantity: "100m", "1.5Gi", "2e3". Kept exactly as a 128-bit count of nano-units.
 * https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum quantity_format { QUANTITY_DECIMAL_SI, QUANTITY_BINARY_SI, QUANTITY_DECIMAL_EXPONENT };
struct quantity {
    __int128 nano;
    enum quantity_format format;
};
#define QUANTITY_TEXT_MAX 64
/* False for malformed text. Values beyond +-2^63-1 units are capped; parts finer than nano round up. */
bool quantity_parse(const char *text, struct quantity *q);
int64_t quantity_value(struct quantity q);       /* units, rounded up, capped */
int64_t quantity_milli_value(struct quantity q); /* thousandths, rounded up, capped */
/* Canonical text, as Kubernetes prints it. Returns out. */
char *quantity_print(struct quantity q, char out[QUANTITY_TEXT_MAX]);
/* Convenience: 0 when text is NULL or malformed. */
int64_t quantity_text_value(const char *text);
int64_t quantity_text_milli(const char *text);
