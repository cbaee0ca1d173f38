/* How a component comes to its client, and what the simple ones' main() does. */
#include "common/component.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"

struct kube_client *component_connect(struct kube_client_config *config, const char *component,
                                      struct error **err)
{
    cleanup_buf struct buf agent = {0};
    free(config->user_agent);
    config->user_agent = mem_strdup(component_user_agent(component, &agent));
    struct kube_client *client = kube_client_new(config, err);
    kube_client_config_clear(config);
    return client;
}

int component_main(int argc, char **argv, const struct flag *flags, const char *description,
                   bool (*run)(struct error **err))
{
    cleanup_error struct error *err = NULL;
    if (!component_parse_flags(argc, argv, flags, description, &err)) {
        if (!err)
            return 0;
        log_error("Bad flags", "err", error_message(err));
        return 2;
    }
    if (!run(&err)) {
        log_error("Could not start", "err", error_message(err));
        return 1;
    }
    return 0;
}
