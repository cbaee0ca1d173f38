/* Memory that a burst of requests took goes back to the kernel once things are calm again. */
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "apiserver/server/server.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define CALM_PER_SECOND 100                 /* below so many requests */
#define GROWN_BYTES     ((long)1024 * 1024) /* since it was last given back */

static long resident_bytes(void)
{
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

void memory_check(struct memory_watch *m)
{
    int64_t now = time_monotonic_ms();
    uint64_t requests = health_requests();
    uint64_t rate = m->at_ms && now > m->at_ms
                        ? (requests - m->requests) * 1000 / (uint64_t)(now - m->at_ms)
                        : 0;
    m->at_ms = now;
    m->requests = requests;
    if (rate >= CALM_PER_SECOND) {
        malloc_trim(0); /* what was a list of 10,000 objects a moment ago */
        return;
    }
    if (resident_bytes() - m->resident < GROWN_BYTES)
        return;
    mem_release_idle();
    m->resident = resident_bytes();
}
