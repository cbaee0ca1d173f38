/* Signals and identity of a component's process. */
#include "common/component.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Process-wide because signals are: set by component_init_signals(), written by the handler. */
static int stop_fd = -1;
static atomic_bool stopping;

static void wake(void)
{
    uint64_t one = 1;
    if (stop_fd >= 0 && write(stop_fd, &one, sizeof(one)) < 0) {
        /* full counter: the waiter is woken already */
    }
}

static void on_stop_signal(int signo)
{
    (void)signo;
    int saved = errno;
    atomic_store(&stopping, true);
    wake();
    errno = saved;
}

static void on_sigpipe(int signo)
{
    (void)signo;
}

void component_init_signals(void)
{
    if (stop_fd >= 0)
        return;
    stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0)
        abort();
    /* Handlers, not SIG_IGN and no blocked mask: programs that we start get the defaults back. */
    struct sigaction sa = {.sa_handler = on_sigpipe, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGPIPE, &sa, NULL);
    sa.sa_handler = on_stop_signal;
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
}

void component_wait(void)
{
    component_init_signals();
    while (!atomic_load(&stopping)) {
        struct pollfd p = {.fd = stop_fd, .events = POLLIN};
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return;
    }
}

void component_request_stop(void)
{
    atomic_store(&stopping, true);
    wake();
}

bool component_stopping(void)
{
    return atomic_load(&stopping);
}

const char *component_user_agent(const char *component, struct buf *b)
{
#if defined(__aarch64__)
    const char *arch = "arm64";
#else
    const char *arch = "amd64";
#endif
    buf_printf(b, "%s/%s (linux/%s) skiff/%s", component, KUBERNETES_VERSION, arch, SKIFF_VERSION);
    return buf_str(b);
}
