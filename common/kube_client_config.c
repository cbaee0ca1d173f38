/* kubeconfig files: the current context's cluster and user.
 * https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/ */
#include "common/kube_client.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>
#include "common/mem.h"

static void document_cleanup(yaml_document_t **d)
{
    if (*d)
        yaml_document_delete(*d);
}

/* Value of a mapping's key; NULL when absent. */
static yaml_node_t *member(yaml_document_t *d, yaml_node_t *map, const char *key)
{
    if (!map || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        yaml_node_t *k = yaml_document_get_node(d, p->key);
        if (k && k->type == YAML_SCALAR_NODE && !strcmp((const char *)k->data.scalar.value, key))
            return yaml_document_get_node(d, p->value);
    }
    return NULL;
}

/* A scalar's text; NULL when absent or empty. */
static const char *text(yaml_document_t *d, yaml_node_t *map, const char *key)
{
    yaml_node_t *n = member(d, map, key);
    if (!n || n->type != YAML_SCALAR_NODE || !n->data.scalar.length)
        return NULL;
    return (const char *)n->data.scalar.value;
}

/* In a list of {name: ..., <kind>: {...}}, the inner mapping of that name. */
static yaml_node_t *named(yaml_document_t *d, yaml_node_t *root, const char *list, const char *kind,
                          const char *name)
{
    yaml_node_t *l = member(d, root, list);
    if (!l || l->type != YAML_SEQUENCE_NODE || !name)
        return NULL;
    for (yaml_node_item_t *i = l->data.sequence.items.start; i < l->data.sequence.items.top; i++) {
        yaml_node_t *n = yaml_document_get_node(d, *i);
        const char *has = text(d, n, "name");
        if (has && !strcmp(has, name))
            return member(d, n, kind);
    }
    return NULL;
}

/* A path in a kubeconfig is relative to that file. */
static char *resolve(const char *kubeconfig_path, const char *path)
{
    const char *slash = strrchr(kubeconfig_path, '/');
    if (!path || path[0] == '/' || !slash)
        return mem_strdup(path);
    return mem_printf("%.*s/%s", (int)(slash - kubeconfig_path), kubeconfig_path, path);
}

/* <key>-data (base64) into *data, else <key> as a path into *file. */
static bool credential(yaml_document_t *d, yaml_node_t *map, const char *kubeconfig_path, const char *key,
                       char **data, char **file, struct error **err)
{
    cleanup_free char *data_key = mem_printf("%s-data", key);
    const char *encoded = text(d, map, data_key);
    if (!encoded) {
        *file = resolve(kubeconfig_path, text(d, map, key));
        return true;
    }
    cleanup_buf struct buf b = {0};
    if (!buf_add_base64_decoded(&b, encoded, strlen(encoded))) {
        error_setf(err, "%s is not base64", data_key);
        return false;
    }
    *data = buf_take(&b);
    return true;
}

static bool load(yaml_document_t *d, const char *path, struct kube_client_config *out, struct error **err)
{
    yaml_node_t *root = yaml_document_get_root_node(d);
    const char *current = text(d, root, "current-context");
    if (!current) {
        error_setf(err, "no current-context");
        return false;
    }
    yaml_node_t *context = named(d, root, "contexts", "context", current);
    if (!context) {
        error_setf(err, "context \"%s\" does not exist", current);
        return false;
    }
    const char *cluster_name = text(d, context, "cluster");
    yaml_node_t *cluster = named(d, root, "clusters", "cluster", cluster_name);
    const char *server = text(d, cluster, "server");
    if (!server) {
        error_setf(err, "no server found for cluster \"%s\"", cluster_name ? cluster_name : "");
        return false;
    }
    out->server = mem_strdup(server);
    const char *insecure = text(d, cluster, "insecure-skip-tls-verify");
    out->insecure = insecure && !strcmp(insecure, "true");
    yaml_node_t *user = named(d, root, "users", "user", text(d, context, "user"));
    if (!credential(d, cluster, path, "certificate-authority", &out->ca_data, &out->ca_file, err) ||
        !credential(d, user, path, "client-certificate", &out->cert_data, &out->cert_file, err) ||
        !credential(d, user, path, "client-key", &out->key_data, &out->key_file, err))
        return false;
    out->token = mem_strdup(text(d, user, "token"));
    if (!out->token)
        out->token_file = resolve(path, text(d, user, "tokenFile"));
    return true;
}

bool kube_client_config_load(const char *kubeconfig_path, struct kube_client_config *out, struct error **err)
{
    *out = (struct kube_client_config){0};
    cleanup_buf struct buf b = {0};
    if (!buf_read_file(&b, kubeconfig_path, err))
        return false;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        error_setf(err, "reading %s: out of memory", kubeconfig_path);
        return false;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)buf_str(&b), b.len);
    yaml_document_t document;
    bool ok = yaml_parser_load(&parser, &document);
    if (!ok) {
        error_setf(err, "reading %s: line %zu: %s", kubeconfig_path, parser.problem_mark.line + 1,
                   parser.problem ? parser.problem : "malformed");
    } else {
        __attribute__((cleanup(document_cleanup))) yaml_document_t *d = &document;
        ok = load(d, kubeconfig_path, out, err);
        if (!ok)
            error_wrap(err, "reading %s", kubeconfig_path);
    }
    yaml_parser_delete(&parser);
    if (!ok)
        kube_client_config_clear(out);
    return ok;
}

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

bool kube_client_config_in_cluster(struct kube_client_config *out, struct error **err)
{
    *out = (struct kube_client_config){0};
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    if (!host || !*host || !port || !*port) {
        error_setf(err, "no kubeconfig given, and not in a pod either: KUBERNETES_SERVICE_HOST and "
                        "KUBERNETES_SERVICE_PORT must be set");
        return false;
    }
    if (access(SERVICE_ACCOUNT_DIR "/token", R_OK) < 0) {
        error_set_errno(err, errno, "reading the service account's token " SERVICE_ACCOUNT_DIR "/token");
        return false;
    }
    out->server = mem_printf(strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
    out->ca_file = mem_strdup(SERVICE_ACCOUNT_DIR "/ca.crt");
    out->token_file = mem_strdup(SERVICE_ACCOUNT_DIR "/token");
    return true;
}

bool kube_client_config_find(const char *kubeconfig_path, struct kube_client_config *out, struct error **err)
{
    return kubeconfig_path && *kubeconfig_path ? kube_client_config_load(kubeconfig_path, out, err)
                                               : kube_client_config_in_cluster(out, err);
}

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void kube_client_config_clear(struct kube_client_config *c)
{
    free(c->server);
    free(c->ca_file);
    free(c->cert_file);
    free(c->key_file);
    free(c->token_file);
    free(c->user_agent);
    free(c->ca_data);
    free(c->cert_data);
    free_secret(c->key_data);
    free_secret(c->token);
    *c = (struct kube_client_config){0};
}
