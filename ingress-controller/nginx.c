#include "ingress-controller/nginx.h"
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "ingress-controller/key_pair.h"

#define RESPAWN_MS      200
#define RESPAWN_MAX_MS  10000
#define POST_TIMEOUT_MS 10000

struct nginx {
    char *program, *configuration, *socket, *directives;
    void (*restarted)(void *userdata);
    void *userdata;
    pthread_t supervisor;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pid_t pid; /* 0 while it does not run */
    bool stopping;
    atomic_uint generation;
};

static bool spawn(struct nginx *n)
{
    /* After a master that was killed its workers may still be there, with the sockets; they are
     * told below to go. */
    unlink(n->socket);
    pid_t pid = fork();
    if (pid < 0) {
        log_error("Cannot start nginx", "err", strerror(errno));
        return false;
    }
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        setpgid(0, 0);
        execl(n->program, "nginx", "-e", "stderr", "-c", n->configuration, "-g", n->directives,
              (char *)NULL);
        _exit(127);
    }
    pthread_mutex_lock(&n->lock);
    n->pid = pid;
    atomic_fetch_add(&n->generation, 1);
    pthread_mutex_unlock(&n->lock);
    log_info("Started nginx", "pid", log_int(pid));
    return true;
}

/* Also reaps what a dead master left behind: in a pod this is process 1. */
static int wait_for_end(pid_t pid)
{
    for (;;) {
        int status;
        pid_t ended = waitpid(-1, &status, 0);
        if (ended == pid)
            return status;
        if (ended < 0 && errno != EINTR)
            return 0;
    }
}

static void *supervise(void *arg)
{
    struct nginx *n = arg;
    int64_t delay_ms = RESPAWN_MS;
    for (;;) {
        int64_t began = time_monotonic_ms();
        if (spawn(n)) {
            n->restarted(n->userdata);
            int status = wait_for_end(n->pid);
            kill(-n->pid, SIGQUIT); /* workers without a master: they finish what they have, and
                                       free the ports */
            log_warn("nginx ended", "status",
                     log_int(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
        }
        delay_ms = time_monotonic_ms() - began > 10000 ? RESPAWN_MS : delay_ms * 2;
        if (delay_ms > RESPAWN_MAX_MS)
            delay_ms = RESPAWN_MAX_MS;
        pthread_mutex_lock(&n->lock);
        n->pid = 0;
        pthread_cond_broadcast(&n->changed);
        int64_t until = time_monotonic_ms() + delay_ms;
        while (!n->stopping && time_monotonic_ms() < until)
            thread_cond_wait_until(&n->changed, &n->lock, until);
        bool stop = n->stopping;
        pthread_mutex_unlock(&n->lock);
        if (stop)
            return NULL;
    }
}

static void nginx_free(struct nginx *n)
{
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->changed);
    free(n->program);
    free(n->configuration);
    free(n->socket);
    free(n->directives);
    free(n);
}

struct nginx *nginx_start(const struct nginx_options *o, struct error **err)
{
    cleanup_free char *certificate = mem_printf("%s/default.crt", o->run_dir),
                      *key = mem_printf("%s/default.key", o->run_dir);
    if (!key_pair_write_default(certificate, key, err))
        return NULL;
    struct nginx *n = mem_alloc(sizeof(*n));
    n->program = mem_strdup(o->program);
    n->configuration = mem_strdup(o->configuration);
    n->socket = mem_printf("%s/control.sock", o->run_dir);
    n->directives = mem_printf("daemon off; worker_processes %d;", o->workers);
    n->restarted = o->restarted;
    n->userdata = o->userdata;
    pthread_mutex_init(&n->lock, NULL);
    thread_cond_init(&n->changed);
    if (access(n->program, X_OK) < 0) {
        error_set_errno(err, errno, "%s", n->program);
        nginx_free(n);
        return NULL;
    }
    if (!thread_start(&n->supervisor, supervise, n)) {
        error_setf(err, "cannot start a thread");
        nginx_free(n);
        return NULL;
    }
    return n;
}

unsigned nginx_generation(const struct nginx *n)
{
    return atomic_load(&n->generation);
}

bool nginx_post(struct nginx *n, const char *name, const char *json, size_t len, struct error **err)
{
    CURL *h = curl_easy_init();
    if (!h) {
        error_setf(err, "out of memory");
        return false;
    }
    cleanup_free char *url = mem_printf("http://nginx/configuration/%s", name);
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, n->socket);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, json);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)POST_TIMEOUT_MS);
    CURLcode rc = curl_easy_perform(h);
    long status = 0;
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(h);
    if (rc != CURLE_OK)
        error_setf(err, "giving %s to nginx: %s", name, curl_easy_strerror(rc));
    else if (status != 204)
        error_setf(err, "giving %s (%zu bytes) to nginx: it answered %ld", name, len, status);
    return rc == CURLE_OK && status == 204;
}

void nginx_stop(struct nginx *n, int64_t grace_ms)
{
    if (!n)
        return;
    int64_t until = time_monotonic_ms() + grace_ms;
    pthread_mutex_lock(&n->lock);
    n->stopping = true;
    if (n->pid)
        kill(n->pid, SIGQUIT);
    pthread_cond_broadcast(&n->changed);
    while (n->pid && time_monotonic_ms() < until)
        thread_cond_wait_until(&n->changed, &n->lock, until);
    if (n->pid)
        kill(-n->pid, SIGKILL);
    pthread_mutex_unlock(&n->lock);
    pthread_join(n->supervisor, NULL);
    nginx_free(n);
}
