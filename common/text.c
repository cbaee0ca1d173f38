#include "common/text.h"
#include <string.h>

bool one_of(const char *s, const char *comma_separated)
{
    size_t len = strlen(s), n;
    for (const char *p = comma_separated; *p; p += n + (p[n] == ',')) {
        n = strcspn(p, ",");
        if (n == len && memcmp(p, s, n) == 0)
            return true;
    }
    return false;
}
