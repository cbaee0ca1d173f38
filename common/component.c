/* Signals and identity of a component's process. */
#include "common/component.h"
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
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

/* Tells the kernel that we need no page of this object's code and constants just now. They are clean file
 * pages: what is used again is mapped again from the page cache. Writable segments (and what was relocated in
 * them) are left alone. */
static int release_object(struct dl_phdr_info *info, size_t size, void *userdata)
{
    (void)size;
    size_t page = *(size_t *)userdata;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type != PT_LOAD || (h->p_flags & PF_W))
            continue;
        uintptr_t start = (info->dlpi_addr + h->p_vaddr + page - 1) & ~(page - 1);
        uintptr_t end = (info->dlpi_addr + h->p_vaddr + h->p_memsz) & ~(page - 1);
        if (start < end)
            madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

/* Start-up reads half of every library (symbols, relocations, self-tests) and parses what is thrown away
 * again: none of that needs to stay resident. */
static void release_startup_memory(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    malloc_trim(0);
    dl_iterate_phdr(release_object, &page);
}

#define SETTLED_MS 3000

void component_wait(void)
{
    component_init_signals();
    int timeout = SETTLED_MS;
    while (!atomic_load(&stopping)) {
        struct pollfd p = {.fd = stop_fd, .events = POLLIN};
        int rc = poll(&p, 1, timeout);
        if (rc < 0 && errno != EINTR)
            return;
        if (rc == 0) {
            release_startup_memory();
            timeout = -1;
        }
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
