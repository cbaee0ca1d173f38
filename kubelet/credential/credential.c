#include "kubelet/credential/credential.h"
#include <fnmatch.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

/* --- names --- */

char *credential_repository(struct arena *a, const char *image)
{
    size_t first = strcspn(image, "/");
    bool host = image[first] == '/' && (memchr(image, '.', first) || memchr(image, ':', first) ||
                                        (first == 9 && strncmp(image, "localhost", 9) == 0));
    const char *slash = strrchr(image, '/');
    const char *end = strchr(image, '@');
    if (!end)
        end = strchr(slash ? slash : image, ':');
    size_t n = end ? (size_t)(end - image) : strlen(image);
    if (host)
        return arena_strndup(a, image, n);
    bool official = !memchr(image, '/', n);
    return arena_printf(a, "docker.io/%s%.*s", official ? "library/" : "", (int)n, image);
}

static bool is_docker_hub(const char *host)
{
    return strcmp(host, "docker.io") == 0 || strcmp(host, "index.docker.io") == 0 ||
           strcmp(host, "registry-1.docker.io") == 0;
}

/* Part by part: a glob does not reach over a dot. */
static bool host_matches(const char *pattern, const char *host)
{
    cleanup_free char *p = mem_strdup(pattern), *h = mem_strdup(host);
    char *save_p = NULL, *save_h = NULL;
    char *a = strtok_r(p, ".", &save_p), *b = strtok_r(h, ".", &save_h);
    while (a && b) {
        if (fnmatch(a, b, 0) != 0)
            return false;
        a = strtok_r(NULL, ".", &save_p);
        b = strtok_r(NULL, ".", &save_h);
    }
    return !a && !b;
}

/* Splits "host:port/path" in place. */
static void split(char *s, char **port, char **path)
{
    *path = strchr(s, '/');
    if (*path)
        *(*path)++ = '\0';
    else
        *path = s + strlen(s);
    *port = strrchr(s, ':');
    if (*port)
        *(*port)++ = '\0';
    else
        *port = s + strlen(s);
}

bool credential_matches(const char *pattern, const char *repository)
{
    static const char *const schemes[] = {"https://", "http://"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (strncmp(pattern, schemes[i], strlen(schemes[i])) == 0)
            pattern += strlen(schemes[i]);
    cleanup_free char *p = mem_strdup(pattern), *r = mem_strdup(repository);
    char *p_port, *p_path, *r_port, *r_path;
    split(p, &p_port, &p_path);
    split(r, &r_port, &r_path);
    size_t n = strlen(p_path);
    while (n > 0 && p_path[n - 1] == '/')
        p_path[--n] = '\0';
    /* The registry API's version is no part of an image's name. */
    if (strcmp(p_path, "v1") == 0 || strcmp(p_path, "v2") == 0 || strncmp(p_path, "v1/", 3) == 0 ||
        strncmp(p_path, "v2/", 3) == 0)
        n = 0;
    bool hub = is_docker_hub(p) && is_docker_hub(r);
    return *p && (hub || host_matches(p, r)) && strcmp(p_port, r_port) == 0 &&
           strncmp(p_path, r_path, n) == 0;
}

/* --- docker configurations --- */

void credential_add(struct credentials *c, struct arena *a, const char *username,
                    const char *password, const char *token)
{
    cri_auth *auth = arena_alloc(a, sizeof(*auth));
    runtime__v1__auth_config__init(auth);
    if (username)
        auth->username = arena_strdup(a, username);
    if (password)
        auth->password = arena_strdup(a, password);
    if (token)
        auth->identity_token = arena_strdup(a, token);
    cri_auth **items = arena_alloc(a, (c->count + 1) * sizeof(*items));
    if (c->count)
        memcpy(items, c->items, c->count * sizeof(*items));
    items[c->count++] = auth;
    c->items = items;
}

static void add_entry(struct credentials *c, struct arena *a, const cJSON *e)
{
    const char *encoded = json_str(e, "auth"), *user = json_str(e, "username"),
               *password = json_str(e, "password");
    const char *token = json_str(e, "identitytoken");
    cleanup_buf struct buf plain = {0};
    if (encoded && *encoded && buf_add_base64_decoded(&plain, encoded, strlen(encoded))) {
        char *colon = plain.len ? strchr(plain.data, ':') : NULL;
        if (colon) {
            *colon = '\0';
            credential_add(c, a, plain.data, colon + 1, NULL);
            return;
        }
    }
    if (user && password)
        credential_add(c, a, user, password, NULL);
    else if (token)
        credential_add(c, a, NULL, NULL, token);
}

static int longer_first(const void *x, const void *y)
{
    const char *a = (*(const cJSON *const *)x)->string, *b = (*(const cJSON *const *)y)->string;
    size_t n = strlen(a), m = strlen(b);
    return n != m ? (n > m ? -1 : 1) : strcmp(b, a);
}

void credentials_from_docker_config(struct credentials *c, struct arena *a, const char *text,
                                    size_t len, const char *repository)
{
    cleanup_json cJSON *config = json_parse(text, len, NULL);
    const cJSON *auths = json_get(config, "auths"), *e;
    if (!auths)
        auths = config; /* the older form has the registries at the top */
    if (!cJSON_IsObject(auths))
        return;
    size_t n = 0;
    cleanup_free const cJSON **found =
        mem_alloc(((size_t)cJSON_GetArraySize(auths) + 1) * sizeof(*found));
    cJSON_ArrayForEach(e, auths)
    {
        if (e->string && cJSON_IsObject(e) && credential_matches(e->string, repository))
            found[n++] = e;
    }
    qsort(found, n, sizeof(*found), longer_first);
    for (size_t i = 0; i < n; i++)
        add_entry(c, a, found[i]);
}
