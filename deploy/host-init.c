/* Process 1 of a simulated host, and the process above all hosts.
 *
 *   host-init NAME NETNS PIDFILE SETUP COMMAND [ARG...]
 *   host-init --supervise PIDFILE COMMAND [ARG...]
 *
 * The first form makes a host. It
 * enters the network namespace NETNS (a path), makes mount, pid, UTS and IPC namespaces, and becomes the init
 * of them in a child: runs SETUP NAME once (it prepares the mounts), then keeps COMMAND running and reaps
 * orphans, such as the containerd shims whose parents leave at once. The parent stays as the handle of the
 * host: PIDFILE tells the child's pid as seen from outside; SIGTERM to the parent shuts the host down,
 * SIGKILL is like pulling the plug, because the kernel kills everything in a pid namespace whose init dies.
 *
 * The second form keeps COMMAND running without namespaces and reaps what the processes below it leave
 * behind. When it is killed nothing else is. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SHUTDOWN_SECONDS = 5 };

static int fail(const char *what)
{
    fprintf(stderr, "host-init: %s: %s\n", what, strerror(errno));
    return 1;
}

static pid_t spawn(char *const *argv, const sigset_t *mask)
{
    pid_t pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, mask, NULL);
        setsid();
        execvp(argv[0], argv);
        _exit(fail(argv[0]));
    }
    return pid;
}

/* Reaps all that ended; true when pid was among them. */
static int reap(pid_t pid)
{
    int seen = 0;
    for (pid_t p; (p = waitpid(-1, NULL, WNOHANG)) > 0;)
        seen |= p == pid;
    return seen;
}

static int write_pid(const char *path, pid_t pid)
{
    char tmp[4096];
    snprintf(tmp, sizeof tmp, "%s.new", path);
    FILE *f = fopen(tmp, "w");
    if (!f)
        return -1;
    fprintf(f, "%d\n", (int)pid);
    return fclose(f) == 0 ? rename(tmp, path) : -1;
}

/* Keeps command running until SIGTERM; then waits for all children to end, for a while. */
static int supervise(char *const *command, const sigset_t *signals, const sigset_t *old)
{
    pid_t pid = spawn(command, old);
    for (;;) {
        int sig = sigwaitinfo(signals, NULL);
        if (sig == SIGTERM || sig == SIGINT)
            break;
        if (reap(pid))
            pid = spawn(command, old);
    }
    /* runsvdir hands SIGHUP on to its services as SIGTERM. What is left in a host after that goes with this
     * process. */
    kill(pid, SIGHUP);
    time_t deadline = time(NULL) + SHUTDOWN_SECONDS;
    do {
        reap(pid);
        sigtimedwait(signals, NULL, &(struct timespec){.tv_nsec = 100 * 1000 * 1000});
    } while (waitpid(-1, NULL, WNOHANG) != -1 && time(NULL) < deadline);
    return 0;
}

static int init_main(const char *name, char *setup, char **command, const sigset_t *signals,
                     const sigset_t *old)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sethostname(name, strlen(name)) != 0)
        return fail("sethostname");
    int status = 0;
    pid_t pid = spawn((char *[]){setup, (char *)name, NULL}, old);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "host-init: %s failed with status %d\n", setup, status);
        return 1;
    }
    return supervise(command, signals, old);
}

static int supervise_main(const char *pidfile, char **command, const sigset_t *signals, const sigset_t *old)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return fail("prctl");
    if (write_pid(pidfile, getpid()) != 0)
        return fail(pidfile);
    int status = supervise(command, signals, old);
    unlink(pidfile);
    return status;
}

int main(int argc, char **argv)
{
    bool supervising = argc > 1 && strcmp(argv[1], "--supervise") == 0;
    if (argc < (supervising ? 4 : 6)) {
        fprintf(stderr, "usage: host-init NAME NETNS PIDFILE SETUP COMMAND [ARG...]\n"
                        "       host-init --supervise PIDFILE COMMAND [ARG...]\n");
        return 2;
    }
    sigset_t signals, old;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, &old);
    if (supervising)
        return supervise_main(argv[2], argv + 3, &signals, &old);

    int ns = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET) != 0)
        return fail(argv[2]);
    close(ns);
    if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC) != 0)
        return fail("unshare");
    pid_t child = fork();
    if (child < 0)
        return fail("fork");
    if (child == 0)
        return init_main(argv[1], argv[4], argv + 5, &signals, &old);
    if (write_pid(argv[3], child) != 0) {
        kill(child, SIGKILL);
        return fail(argv[3]);
    }
    for (;;) {
        int sig = sigwaitinfo(&signals, NULL);
        if (sig == SIGTERM || sig == SIGINT)
            kill(child, SIGTERM);
        if (waitpid(child, NULL, WNOHANG) == child)
            break;
    }
    unlink(argv[3]);
    return 0;
}
