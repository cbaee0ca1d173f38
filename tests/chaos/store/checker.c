/* store-checker HISTORY: reads a history, prints a line a rule as tests/lib.sh does; exit status 1 if any is broken. */
#include <stdio.h>
#include "common/mem.h"
#include "tests/chaos/store/check.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s HISTORY\n", argv[0]);
        return 2;
    }
    cleanup_fclose FILE *f = fopen(argv[1], "r");
    cleanup_error struct error *e = NULL;
    struct history h = {0};
    if (!f || !history_read(&h, f, &e)) {
        fprintf(stderr, "cannot read %s: %s\n", argv[1], f ? error_message(e) : "no such file");
        history_clear(&h);
        return 2;
    }
    struct verdict v;
    check_history(&h, &v);
    bool ok = true;
    for (int r = 0; r < RULES; r++) {
        /* What was never put to the test has not been shown. */
        bool good = v.violated[r] == 0 && v.checked[r] > 0;
        ok = ok && good;
        printf("  %s  %s (%zu checked", good ? "ok  " : "FAIL", rule_name((enum rule)r), v.checked[r]);
        if (v.violated[r])
            printf(", %zu broken", v.violated[r]);
        printf(")\n");
        for (size_t i = 0; i < RULE_MESSAGES && v.messages[r][i]; i++)
            printf("        | %s\n", v.messages[r][i]);
    }
    verdict_clear(&v);
    history_clear(&h);
    return ok ? 0 : 1;
}
