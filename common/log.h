/* Structured log lines on stderr, in the form that Kubernetes components write (klog):
 *   I1124 10:26:08.123456 kubelet/pod.c:42] "Started container" pod="default/web" container="app"
 * Values are quoted and escaped. Never pass a secret's content. */
#pragma once

/* Lines of log_debug(n, ...) are written when n <= verbosity (the --v flag). */
extern int log_verbosity; /* set once in main before threads start */

/* Key/value pairs of strings, ended by NULL. A NULL value ends the list too, so guard values. */
void log_write(char severity, const char *file, int line, const char *msg, ...)
    __attribute__((sentinel));
#define log_info(...)  log_write('I', __FILE__, __LINE__, __VA_ARGS__, NULL)
#define log_warn(...)  log_write('W', __FILE__, __LINE__, __VA_ARGS__, NULL)
#define log_error(...) log_write('E', __FILE__, __LINE__, __VA_ARGS__, NULL)
#define log_debug(level, ...)                                                                      \
    do {                                                                                           \
        if ((level) <= log_verbosity)                                                              \
            log_write('I', __FILE__, __LINE__, __VA_ARGS__, NULL);                                 \
    } while (0)
/* A number as a log value: log_info("Listening", "port", log_int(port)). Valid until the end of the
 * enclosing block (a compound literal). */
struct log_number {
    char text[24];
};
const char *log_format_int(struct log_number *n, long long v);
#define log_int(v) log_format_int(&(struct log_number){{0}}, (v))
