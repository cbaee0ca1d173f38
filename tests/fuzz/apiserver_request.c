/* What stands in a request line and its headers: paths, Accept, continue tokens. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/registry/proxy.h"
#include "apiserver/server/server.h"
#include "common/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = mem_strndup((const char *)data, size);
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"};
    struct request_info info = {0};
    request_info_parse(methods[size % ARRAY_LEN(methods)], text, size & 1 ? "true" : NULL, size & 2 ? text : NULL,
                       &info);
    if (!info.verb || !info.path || !info.resource || !info.name)
        abort();
    request_info_clear(&info);
    struct proxy_name name;
    const char *rest = proxy_rest(text);
    if (rest < text || rest > text + strlen(text))
        if (*rest)
            abort();
    if (proxy_name_parse(text, &name) && (!*name.name || strlen(name.scheme) > 5))
        abort();
    proxy_address_allowed(text);
    struct api_accept accept = {0};
    accept_parse(text, NULL, size & 1, &accept, NULL);
    uint64_t revision;
    char *after = NULL;
    if (continue_parse(text, &revision, &after, NULL)) {
        cleanup_free char *token = continue_token(revision, after);
        uint64_t again;
        char *after_again = NULL;
        if (!continue_parse(token, &again, &after_again, NULL) || again != revision || strcmp(after, after_again) != 0)
            abort();
        free(after_again);
    }
    free(after);
    return 0;
}
