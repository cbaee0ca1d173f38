/* Lifecycle handlers: exec, httpGet, tcpSocket (accepted as by Kubernetes, and as little done), sleep. */
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/pod/pod.h"
#include "kubelet/probe/check.h"
#include <string.h>
#include <time.h>

bool pod_run_hook(struct pod *p, const cJSON *pod, const cJSON *container, const char *container_id, const cJSON *handler,
                  int64_t timeout_ms, struct error **err)
{
    const cJSON *exec = json_get(handler, "exec"), *http = json_get(handler, "httpGet");
    const cJSON *sleep_action = json_get(handler, "sleep");
    if (exec) {
        struct check_argv argv;
        check_argv_from_json(json_get(exec, "command"), &argv);
        cleanup_buf struct buf output = {0};
        int code = 0;
        bool ok = cri_exec_sync(&p->kubelet->cri, container_id, argv.items, argv.count, timeout_ms / 1000, &output, &code,
                                err);
        check_argv_clear(&argv);
        if (ok && code != 0) {
            error_setf(err, "command exited with %d: %s", code, buf_str(&output));
            ok = false;
        }
        return ok;
    }
    if (http) {
        pthread_mutex_lock(&p->lock);
        const char *ips = pod_ips(p);
        cleanup_free char *ip = ips ? mem_strndup(ips, strcspn(ips, ",")) : mem_strdup("");
        pthread_mutex_unlock(&p->lock);
        cleanup_buf struct buf message = {0};
        struct check_http check;
        if (!check_http_from_json(http, container, ip, &check, err))
            return false;
        enum check_result r = check_http(&check, timeout_ms > 0 ? timeout_ms : 30000, p->kubelet->version, &message);
        check_http_clear(&check);
        if (r != CHECK_SUCCESS)
            error_setf(err, "%s", buf_str(&message));
        return r == CHECK_SUCCESS;
    }
    if (sleep_action) {
        int64_t ms = json_int(sleep_action, "seconds", 0) * 1000;
        if (timeout_ms > 0 && ms > timeout_ms)
            ms = timeout_ms;
        struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
        while (nanosleep(&t, &t) != 0)
            ;
        return true;
    }
    (void)pod;
    return true;
}
