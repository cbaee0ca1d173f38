/* Rows of networking.k8s.io. */
#include <string.h>
#include "apiserver/registry/tables.h"
#include "common/buf.h"
#include "common/json.h"

static void cell_hosts(cJSON *cells, const cJSON *rules)
{
    enum { SHOWN = 3 };
    cleanup_buf struct buf b = {0};
    int count = 0;
    const cJSON *r;
    cJSON_ArrayForEach(r, rules)
    {
        const char *host = json_str_or(r, "host", "");
        if (*host && count++ < SHOWN)
            buf_printf(&b, "%s%s", b.len ? "," : "", host);
    }
    if (count > SHOWN)
        buf_printf(&b, " + %d more...", count - SHOWN);
    cell_str(cells, count ? buf_str(&b) : "*");
}

void row_ingress(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf address = {0};
    const cJSON *i;
    cJSON_ArrayForEach(i, json_path(o, "status.loadBalancer.ingress"))
    {
        const char *ip = json_str_or(i, "ip", "");
        buf_printf(&address, "%s%s", address.len ? "," : "",
                   *ip ? ip : json_str_or(i, "hostname", ""));
    }
    cell_name(cells, o);
    cell_path(cells, o, "spec.ingressClassName", "<none>");
    cell_hosts(cells, json_path(o, "spec.rules"));
    cell_str(cells, buf_str(&address));
    cell_str(cells, cJSON_GetArraySize(json_path(o, "spec.tls")) ? "80, 443" : "80");
    cell_created(cells, o);
}

void row_ingressclass(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf parameters = {0};
    const cJSON *p = json_path(o, "spec.parameters");
    if (p) {
        buf_adds(&parameters, json_str_or(p, "kind", ""));
        if (json_str(p, "apiGroup"))
            buf_printf(&parameters, ".%s", json_str(p, "apiGroup"));
        buf_printf(&parameters, "/%s", json_str_or(p, "name", ""));
    }
    cell_name(cells, o);
    cell_path(cells, o, "spec.controller", "");
    cell_str(cells, p ? buf_str(&parameters) : "<none>");
    cell_created(cells, o);
}

void row_networkpolicy(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_selector(cells, json_path(o, "spec.podSelector"));
    cell_created(cells, o);
}

void row_ipaddress(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf parent = {0};
    static const char *const parts[] = {"group", "resource", "namespace", "name"};
    const cJSON *ref = json_path(o, "spec.parentRef");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *part = json_str_or(ref, parts[i], "");
        if (*part)
            buf_printf(&parent, "%s%s", parent.len ? (i == 1 ? "." : "/") : "", part);
    }
    cell_name(cells, o);
    cell_str(cells, ref ? buf_str(&parent) : "<none>");
    cell_created(cells, o);
}

void row_servicecidr(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf b = {0};
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(o, "spec.cidrs"))
        buf_printf(&b, "%s%s", b.len ? "," : "", cJSON_IsString(c) ? c->valuestring : "");
    cell_name(cells, o);
    cell_str(cells, buf_str(&b));
    cell_created(cells, o);
}
