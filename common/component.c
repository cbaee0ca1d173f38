/* Signals and identity of a component's process. */
#include "common/component.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "common/mem.h"

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

#define SETTLED_MS     3000 /* by then the start is over */
#define REST_PERIOD_MS 10000
#define CALM_SHARE     20 /* a process that used less than a twentieth of one processor is calm */

static int64_t processor_time_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The main thread has nothing else to do while the others work, so that it is the one that gives
 * back what the start took (half of every library is read for symbols, relocations and self-tests),
 * and later what a burst of work left behind, whenever the process has been calm for a while. */
void component_wait(void)
{
    component_init_signals();
    int timeout = SETTLED_MS;
    int64_t before = 0;
    while (!atomic_load(&stopping)) {
        struct pollfd p = {.fd = stop_fd, .events = POLLIN};
        int rc = poll(&p, 1, timeout);
        if (rc < 0 && errno != EINTR)
            return;
        if (rc != 0)
            continue;
        int64_t now = processor_time_ms();
        if (timeout == SETTLED_MS || now - before < REST_PERIOD_MS / CALM_SHARE)
            mem_release_idle();
        before = now;
        timeout = REST_PERIOD_MS;
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
