/* What Secrets, configurations and plug-ins say of registries. */
#include <stdint.h>
#include <string.h>
#include "common/mem.h"
#include "kubelet/credential/credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = mem_strndup((const char *)data, size);
    cleanup_arena struct arena a = {0};
    struct credentials c = {0};
    char *repository = credential_repository(&a, text);
    credential_matches(text, "registry.example:5000/team/app");
    credential_matches("*.example:5000/team", repository);
    credentials_from_docker_config(&c, &a, text, strlen(text), "registry.example:5000/team/app");
    struct error *err = NULL;
    struct credential_providers *p =
        credential_providers_parse(text, strlen(text), "/nowhere", &err);
    credential_providers_free(p);
    error_free(err);
    return 0;
}
