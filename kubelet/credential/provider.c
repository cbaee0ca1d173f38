/* Credential provider plug-ins: programs that are asked, by JSON on their standard input, for the
 * credentials of an image. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include "common/component.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "common/yaml.h"
#include "kubelet/credential/credential.h"

enum { TIMEOUT_MS = 60000, ANSWER_MAX = 1 << 20, CACHE_MAX = 256 };
static const char group[] = "credentialprovider.kubelet.k8s.io/";

struct cached {
    char *provider, *key;
    int64_t until_ms;
    cJSON *auth; /* the answer's map */
};
struct credential_providers {
    cJSON *config;
    char *bin_dir;
    pthread_mutex_t lock;
    struct cached cache[CACHE_MAX]; /* a ring; guarded by lock */
    size_t next;
};

/* --- configuration --- */

static bool check_provider(const cJSON *p, struct error **err)
{
    const char *name = json_str_or(p, "name", ""), *version = json_str_or(p, "apiVersion", "");
    int64_t ms;
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        error_setf(err,
                   "providers.name: Invalid value: \"%s\": provider name cannot be empty, contain "
                   "'/' or be '.' or '..'",
                   name);
        return false;
    }
    if (!cJSON_GetArraySize(json_get(p, "matchImages"))) {
        error_setf(err,
                   "providers.matchImages: Required value: at least 1 item in matchImages is "
                   "required for %s",
                   name);
        return false;
    }
    if (strncmp(version, group, sizeof(group) - 1) != 0) {
        error_setf(err, "providers.apiVersion: Unsupported value: \"%s\" of %s", version, name);
        return false;
    }
    if (!json_str(p, "defaultCacheDuration") ||
        !component_parse_duration(json_str(p, "defaultCacheDuration"), &ms) || ms < 0) {
        error_setf(err, "providers.defaultCacheDuration: Required value: a duration, for %s", name);
        return false;
    }
    return true;
}

struct credential_providers *credential_providers_parse(const char *text, size_t len,
                                                        const char *bin_dir, struct error **err)
{
    cleanup_json cJSON *config = yaml_to_json(text, len, err);
    if (!config)
        return NULL;
    if (strcmp(json_str_or(config, "kind", ""), "CredentialProviderConfig") != 0 ||
        strncmp(json_str_or(config, "apiVersion", ""), "kubelet.config.k8s.io/", 22) != 0) {
        error_setf(err, "a CredentialProviderConfig of kubelet.config.k8s.io is wanted");
        return NULL;
    }
    const cJSON *p;
    if (!cJSON_GetArraySize(json_get(config, "providers"))) {
        error_setf(err, "providers: Required value: at least 1 item in plugins is required");
        return NULL;
    }
    cJSON_ArrayForEach(p, json_get(config, "providers"))
    {
        if (!check_provider(p, err))
            return NULL;
    }
    struct credential_providers *out = mem_alloc(sizeof(*out));
    out->config = json_dup(config);
    out->bin_dir = mem_strdup(bin_dir);
    pthread_mutex_init(&out->lock, NULL);
    return out;
}

struct credential_providers *credential_providers_load(const char *path, const char *bin_dir,
                                                       struct error **err)
{
    cleanup_buf struct buf text = {0};
    if (!buf_read_file(&text, path, err))
        return NULL;
    struct credential_providers *p =
        credential_providers_parse(buf_str(&text), text.len, bin_dir, err);
    if (!p)
        error_wrap(err, "%s", path);
    return p;
}

static void cached_clear(struct cached *c)
{
    free(c->provider);
    free(c->key);
    cJSON_Delete(c->auth);
    *c = (struct cached){0};
}

void credential_providers_free(struct credential_providers *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < CACHE_MAX; i++)
        cached_clear(&p->cache[i]);
    cJSON_Delete(p->config);
    free(p->bin_dir);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* --- running one --- */

extern char **environ;

/* Ours, with what the configuration adds. Freed by the caller, the strings of ours not. */
static char **environment(const cJSON *provider, struct arena *a)
{
    size_t own = 0, n = 0;
    while (environ[own])
        own++;
    const cJSON *more = json_get(provider, "env"), *e;
    char **out = arena_alloc(a, (own + (size_t)cJSON_GetArraySize(more) + 1) * sizeof(*out));
    for (size_t i = 0; i < own; i++)
        out[n++] = environ[i];
    cJSON_ArrayForEach(e, more)
    {
        const char *name = json_str_or(e, "name", "");
        if (*name && !strchr(name, '='))
            out[n++] = arena_printf(a, "%s=%s", name, json_str_or(e, "value", ""));
    }
    return out;
}

static char **arguments(const cJSON *provider, const char *program, struct arena *a)
{
    const cJSON *args = json_get(provider, "args"), *e;
    size_t n = 0;
    char **out = arena_alloc(a, ((size_t)cJSON_GetArraySize(args) + 2) * sizeof(*out));
    out[n++] = arena_strdup(a, program);
    cJSON_ArrayForEach(e, args)
    {
        if (cJSON_IsString(e))
            out[n++] = arena_strdup(a, e->valuestring);
    }
    return out;
}

static bool spawn(const char *program, char **argv, char **env, int in, int out, pid_t *pid,
                  struct error **err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(pid, program, &actions, &attr, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (rc != 0)
        error_set_errno(err, rc, "run %s", program);
    return rc == 0;
}

/* The question goes in, the answer comes out, until the program closes its output; killed when it
 * takes too long. */
static bool converse(int to, int from, const struct buf *question, struct buf *answer)
{
    int64_t end = time_monotonic_ms() + TIMEOUT_MS;
    size_t sent = 0;
    for (;;) {
        int64_t left = end - time_monotonic_ms();
        struct pollfd p[2] = {{.fd = from, .events = POLLIN}, {.fd = to, .events = POLLOUT}};
        if (left <= 0 || poll(p, to >= 0 ? 2 : 1, (int)left) == 0)
            return false;
        if (to >= 0 && (p[1].revents & (POLLOUT | POLLERR | POLLHUP))) {
            ssize_t n = write(to, question->data + sent, question->len - sent);
            if (n > 0)
                sent += (size_t)n;
            if (n < 0 || sent == question->len) { /* all said, or it does not listen: it may answer
                                                     all the same */
                close(to);
                to = -1;
            }
        }
        if (p[0].revents) {
            char piece[4096];
            ssize_t n = read(from, piece, sizeof(piece));
            if (n <= 0) {
                if (to >= 0)
                    close(to);
                return n == 0;
            }
            buf_add(answer, piece, (size_t)n);
            if (answer->len > ANSWER_MAX)
                return false;
        }
    }
}

static cJSON *run(struct credential_providers *p, const cJSON *provider, const char *image,
                  struct error **err)
{
    cleanup_arena struct arena a = {0};
    const char *name = json_str_or(provider, "name", ""),
               *version = json_str_or(provider, "apiVersion", "");
    char *program = arena_printf(&a, "%s/%s", p->bin_dir, name);
    cleanup_json cJSON *request = cJSON_CreateObject();
    json_set_str(request, "apiVersion", version);
    json_set_str(request, "kind", "CredentialProviderRequest");
    json_set_str(request, "image", image);
    cleanup_buf struct buf question = {0}, answer = {0};
    json_print(request, &question);
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0)
        return error_set_errno(err, errno, "pipe"), NULL;
    if (pipe2(out, O_CLOEXEC) != 0) {
        error_set_errno(err, errno, "pipe");
        close(in[0]);
        close(in[1]);
        return NULL;
    }
    pid_t pid;
    bool ok = spawn(program, arguments(provider, program, &a), environment(provider, &a), in[0],
                    out[1], &pid, err);
    close(in[0]);
    close(out[1]);
    if (!ok) {
        close(in[1]);
        close(out[0]);
        return NULL;
    }
    bool answered = converse(in[1], out[0], &question, &answer);
    close(out[0]);
    if (!answered)
        kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!answered || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        error_setf(err, "error execing credential provider plugin %s for image %s: %s", name, image,
                   answered ? "it failed" : "it took too long or said too much");
        return NULL;
    }
    cJSON *response = json_parse(buf_str(&answer), answer.len, NULL);
    if (strcmp(json_str_or(response, "kind", ""), "CredentialProviderResponse") != 0 ||
        strcmp(json_str_or(response, "apiVersion", ""), version) != 0) {
        error_setf(
            err,
            "the answer of credential provider plugin %s is no CredentialProviderResponse of %s",
            name, version);
        cJSON_Delete(response);
        return NULL;
    }
    return response;
}

/* --- with memory --- */

static char *registry_of(const char *repository)
{
    return mem_strndup(repository, strcspn(repository, "/"));
}

static cJSON *from_cache(struct credential_providers *p, const char *provider,
                         const char *repository, const char *image)
{
    cleanup_free char *registry = registry_of(repository);
    const char *keys[] = {image, registry, "*"};
    cJSON *found = NULL;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < CACHE_MAX && !found; i++) {
        const struct cached *c = &p->cache[i];
        if (!c->key || c->until_ms <= time_monotonic_ms() || strcmp(c->provider, provider) != 0)
            continue;
        for (size_t n = 0; n < ARRAY_LEN(keys) && !found; n++)
            if (strcmp(c->key, keys[n]) == 0)
                found = json_dup(c->auth);
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

static void into_cache(struct credential_providers *p, const cJSON *provider, const cJSON *response,
                       const char *repository, const char *image)
{
    int64_t ms = 0;
    const char *text = json_str(response, "cacheDuration");
    if (!text || !component_parse_duration(text, &ms))
        component_parse_duration(json_str_or(provider, "defaultCacheDuration", "0s"), &ms);
    const char *type = json_str_or(response, "cacheKeyType", "Image");
    if (ms <= 0)
        return;
    cleanup_free char *registry = registry_of(repository);
    const char *key = strcmp(type, "Global") == 0     ? "*"
                      : strcmp(type, "Registry") == 0 ? registry
                                                      : image;
    pthread_mutex_lock(&p->lock);
    struct cached *c = &p->cache[p->next++ % CACHE_MAX];
    cached_clear(c);
    *c = (struct cached){mem_strdup(json_str_or(provider, "name", "")), mem_strdup(key),
                         time_monotonic_ms() + ms, json_dup(json_get(response, "auth"))};
    pthread_mutex_unlock(&p->lock);
}

static bool is_for(const cJSON *provider, const char *repository)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, json_get(provider, "matchImages"))
    {
        if (cJSON_IsString(m) && credential_matches(m->valuestring, repository))
            return true;
    }
    return false;
}

void credentials_from_providers(struct credentials *c, struct arena *a,
                                struct credential_providers *p, const char *image)
{
    if (!p)
        return;
    char *repository = credential_repository(a, image);
    const cJSON *provider, *e;
    cJSON_ArrayForEach(provider, json_get(p->config, "providers"))
    {
        if (!is_for(provider, repository))
            continue;
        cleanup_json cJSON *auth =
            from_cache(p, json_str_or(provider, "name", ""), repository, image);
        if (!auth) {
            cleanup_error struct error *failure = NULL;
            cleanup_json cJSON *response = run(p, provider, image, &failure);
            if (!response) {
                log_error("Failed getting credential from external registry credential provider",
                          "err", error_message(failure));
                continue;
            }
            into_cache(p, provider, response, repository, image);
            auth = json_dup(json_get(response, "auth"));
        }
        cJSON_ArrayForEach(e, auth)
        {
            const char *user = json_str(e, "username"), *password = json_str(e, "password");
            if (e->string && user && password && credential_matches(e->string, repository))
                credential_add(c, a, user, password, NULL);
        }
    }
}
