/* Rows of what extends and steers the API. */
#include <string.h>
#include "apiserver/registry/tables.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

static const cJSON *find_condition(const cJSON *o, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(o, "status.conditions"))
    {
        if (!strcmp(json_str_or(c, "type", ""), type))
            return c;
    }
    return NULL;
}

void row_certificatesigningrequest(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf state = {0};
    buf_adds(&state, find_condition(o, "Denied")     ? "Denied"
                     : find_condition(o, "Approved") ? "Approved"
                                                     : "Pending");
    if (find_condition(o, "Failed"))
        buf_adds(&state, ",Failed");
    if (*json_str_or(o, "status.certificate", ""))
        buf_adds(&state, ",Issued");
    const cJSON *seconds = json_path(o, "spec.expirationSeconds");
    char text[TIME_TEXT_MAX];
    cell_name(cells, o);
    cell_created(cells, o);
    cell_path(cells, o, "spec.signerName", "<none>");
    cell_path(cells, o, "spec.username", "");
    cell_str(cells, seconds ? time_human_duration((int64_t)seconds->valuedouble, text) : "<none>");
    cell_str(cells, buf_str(&state));
}

void row_flowschema(const cJSON *o, cJSON *cells)
{
    const cJSON *dangling = find_condition(o, "Dangling");
    cell_name(cells, o);
    cell_path(cells, o, "spec.priorityLevelConfiguration.name", "<none>");
    cell_int(cells, json_int(o, "spec.matchingPrecedence", 0));
    cell_path(cells, o, "spec.distinguisherMethod.type", "<none>");
    cell_created(cells, o);
    cell_str(cells, dangling ? json_str_or(dangling, "status", "?") : "?");
}

void row_prioritylevelconfiguration(const cJSON *o, cJSON *cells)
{
    static const char queuing[] = "spec.limited.limitResponse.queuing";
    const cJSON *q = json_path(o, queuing);
    cell_name(cells, o);
    cell_path(cells, o, "spec.type", "");
    cell_path(cells, o, "spec.limited.nominalConcurrencyShares", "<none>");
    cell_path(cells, q, "queues", "<none>");
    cell_path(cells, q, "handSize", "<none>");
    cell_path(cells, q, "queueLengthLimit", "<none>");
    cell_created(cells, o);
}

void row_webhooks(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_int(cells, cJSON_GetArraySize(json_get(o, "webhooks")));
    cell_created(cells, o);
}

static void policy_row(const cJSON *o, cJSON *cells, const char *counted)
{
    const cJSON *kind = json_path(o, "spec.paramKind");
    cleanup_buf struct buf b = {0};
    if (kind)
        buf_printf(&b, "%s/%s", json_str_or(kind, "apiVersion", ""), json_str_or(kind, "kind", ""));
    cell_name(cells, o);
    cell_int(cells, cJSON_GetArraySize(json_path(o, counted)));
    cell_str(cells, kind ? buf_str(&b) : "<unset>");
    cell_created(cells, o);
}

void row_admissionpolicy(const cJSON *o, cJSON *cells)
{
    policy_row(o, cells, "spec.validations");
}

void row_mutatingpolicy(const cJSON *o, cJSON *cells)
{
    policy_row(o, cells, "spec.mutations");
}

void row_policybinding(const cJSON *o, cJSON *cells)
{
    const cJSON *ref = json_path(o, "spec.paramRef");
    cleanup_buf struct buf b = {0};
    if (json_str(ref, "namespace"))
        buf_printf(&b, "%s/", json_str(ref, "namespace"));
    buf_adds(&b, json_str_or(ref, "name", "*"));
    cell_name(cells, o);
    cell_path(cells, o, "spec.policyName", "");
    cell_str(cells, ref ? buf_str(&b) : "<unset>");
    cell_created(cells, o);
}

void row_apiservice(const cJSON *o, cJSON *cells)
{
    const cJSON *service = json_path(o, "spec.service"), *c = find_condition(o, "Available");
    const char *status = json_str_or(c, "status", "Unknown");
    cleanup_buf struct buf b = {0}, available = {0};
    if (service)
        buf_printf(&b, "%s/%s", json_str_or(service, "namespace", ""),
                   json_str_or(service, "name", ""));
    buf_adds(&available, status);
    if (strcmp(status, "True") != 0 && json_str(c, "reason"))
        buf_printf(&available, " (%s)", json_str(c, "reason"));
    cell_name(cells, o);
    cell_str(cells, service ? buf_str(&b) : "Local");
    cell_str(cells, buf_str(&available));
    cell_created(cells, o);
}
