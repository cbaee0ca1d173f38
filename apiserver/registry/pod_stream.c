/* pods/exec, pods/attach, pods/portforward: the client's connection becomes a tunnel to the
 * kubelet's. Runs on a thread of its own. */
#include <string.h>
#include <strings.h>
#include "apiserver/registry/pod_node.h"
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/tunnel.h"

enum { COMMAND_MAX = 4096, PORTS_MAX = 64 };

bool pod_stream_handles(const char *sub)
{
    return !strcmp(sub, "exec") || !strcmp(sub, "attach") || !strcmp(sub, "portforward");
}

/* WebSocket clients ask by GET; to run something in a pod takes the right to create all the same. */
static bool may_create(struct write *w, struct error **err)
{
    struct request_info *info = &w->req->info;
    const char *verb = info->verb;
    if (!strcmp(verb, "create"))
        return true;
    info->verb = "create";
    bool ok = auth_authorize(w->req, err);
    info->verb = verb;
    return ok;
}

/* Runtimes speak SPDY/3.1, and the WebSocket protocols that came before v5. A client that asks for a
 * newer one only is refused, and then comes again with SPDY. */
static bool protocol_is_known(const struct httpd_request *http, bool forward, struct error **err)
{
    static const char *const known[] = {"v4.channel.k8s.io", "v4.base64.channel.k8s.io",
                                        "channel.k8s.io", "base64.channel.k8s.io",
                                        "SPDY/3.1+portforward.k8s.io" /* to forward ports only */};
    size_t n_known = ARRAY_LEN(known) - !forward;
    if (strcasecmp(httpd_header(http, "Upgrade"), "websocket") != 0)
        return true;
    for (size_t k = 0; k < n_known; k++)
        if (httpd_header_lists(http, "Sec-WebSocket-Protocol", known[k]))
            return true;
    const char *values[8];
    size_t n = httpd_header_all(http, "Sec-WebSocket-Protocol", values, ARRAY_LEN(values));
    bool any = false;
    cleanup_buf struct buf asked = {0};
    for (size_t i = 0; i < n && i < ARRAY_LEN(values); i++) {
        cleanup_free char *copy = mem_strdup(values[i]);
        char *save = NULL;
        for (char *p = strtok_r(copy, ", ", &save); p; p = strtok_r(NULL, ", ", &save)) {
            if (!strncmp(p, "base64url.bearer.", 17))
                continue;
            any = true;
            buf_printf(&asked, "%s%s", asked.len ? " " : "", p);
        }
    }
    if (!any)
        return true;
    api_error_bad_request(err,
                          "unable to upgrade: requested protocol(s) are not supported: [%s]; "
                          "supports [v4.channel.k8s.io v4.base64.channel.k8s.io channel.k8s.io "
                          "base64.channel.k8s.io] and SPDY/3.1",
                          buf_str(&asked));
    return false;
}

static void add(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%c%s=", strchr(buf_str(b), '?') ? '&' : '?', name);
    buf_add_urlencoded(b, value);
}

static void add_all(struct buf *b, const struct httpd_request *http, const char *from,
                    const char *to, size_t max)
{
    cleanup_free const char **values = mem_alloc(max * sizeof *values);
    size_t n = httpd_query_all(http, from, values, max);
    for (size_t i = 0; i < n && i < max; i++)
        add(b, to, values[i]);
}

static bool add_flag(struct buf *b, const struct httpd_request *http, const char *from,
                     const char *to, bool otherwise, struct error **err)
{
    const char *text = httpd_query(http, from);
    bool on = text ? !*text || !strcasecmp(text, "true") || !strcmp(text, "1") ||
                         !strcasecmp(text, "t")
                   : otherwise;
    if (text && !on && *text && strcasecmp(text, "false") != 0 && strcmp(text, "0") != 0 &&
        strcasecmp(text, "f") != 0) {
        api_error_bad_request(err, "strconv.ParseBool: parsing \"%s\": invalid syntax", text);
        return false;
    }
    if (on)
        add(b, to, "1");
    return true;
}

static bool add_options(struct write *w, struct buf *path, struct error **err)
{
    const struct httpd_request *http = w->req->http;
    if (!strcmp(w->sub, "portforward")) {
        add_all(path, http, "ports", "port", PORTS_MAX);
        return true;
    }
    if (!add_flag(path, http, "stdin", "input", false, err) ||
        !add_flag(path, http, "stdout", "output", true, err) ||
        !add_flag(path, http, "stderr", "error", true, err) ||
        !add_flag(path, http, "tty", "tty", false, err))
        return false;
    if (!strcmp(w->sub, "exec"))
        add_all(path, http, "command", "command", COMMAND_MAX);
    return true;
}

/* The kubelet's address, and the path there. */
static char *find_kubelet(struct write *w, struct buf *path, struct error **err)
{
    cleanup_stored struct stored *s = storage_get(w->req->storage, w->stored, w->ns, w->name, err);
    cleanup_json cJSON *pod = s ? json_parse(s->json, s->len, err) : NULL;
    if (!pod)
        return NULL;
    bool forward = !strcmp(w->sub, "portforward");
    const char *container =
        forward ? "" : pod_choose_container(pod, httpd_query(w->req->http, "container"), err);
    if (!container)
        return NULL;
    const char *node = json_str_or(pod, "spec.nodeName", "");
    if (!*node) {
        api_error_bad_request(err, "pod %s does not have a host assigned", w->name);
        return NULL;
    }
    buf_printf(path, "/%s/%s/%s", forward ? "portForward" : w->sub, w->ns, w->name);
    if (!forward) {
        buf_addc(path, '/');
        buf_add_urlencoded(path, container);
    }
    return add_options(w, path, err) ? pod_node_url(w, node, err) : NULL;
}

static struct tunnel *open_stream(struct write *w, struct error **err)
{
    cleanup_buf struct buf path = {0};
    if (!may_create(w, err))
        return NULL;
    cleanup_free char *server = find_kubelet(w, &path, err);
    if (!server)
        return NULL;
    if (!tunnel_wanted(w->req->http)) {
        api_error_bad_request(err, "Upgrade request required");
        return NULL;
    }
    if (!protocol_is_known(w->req->http, !strcmp(w->sub, "portforward"), err))
        return NULL;
    const struct api_config *config = w->req->config;
    struct tunnel_target target = {
        .server = server,
        .path = buf_str(&path),
        .client_certificate = config->kubelet_client_certificate,
        .client_key = config->kubelet_client_key,
        .authority = config->kubelet_certificate_authority,
    };
    struct error *failure = NULL;
    struct tunnel *t = tunnel_open(w->req->http, &target, &failure);
    if (!t) {
        error_set(err, 500, "", "error dialing backend: %s", error_message(failure));
        error_free(failure);
    }
    return t;
}

void pod_stream(struct write *w)
{
    cleanup_error struct error *err = NULL;
    struct tunnel *t = open_stream(w, &err);
    if (t)
        tunnel_run(t, api_answered(w->req, tunnel_status(t)));
    else
        api_reply_error(w->req, err);
}
