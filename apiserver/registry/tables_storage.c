/* Rows of volumes, storage.k8s.io and node.k8s.io. */
#include <string.h>
#include "apiserver/registry/tables.h"
#include "common/buf.h"
#include "common/json.h"

/* "RWO,ROX": always in this order. */
static void cell_access_modes(cJSON *cells, const cJSON *modes)
{
    static const struct {
        const char *mode, *text;
    } known[] = {{"ReadWriteOnce", "RWO"},
                 {"ReadOnlyMany", "ROX"},
                 {"ReadWriteMany", "RWX"},
                 {"ReadWriteOncePod", "RWOP"}};
    cleanup_buf struct buf b = {0};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const cJSON *m;
        cJSON_ArrayForEach(m, modes) if (cJSON_IsString(m) &&
                                         !strcmp(m->valuestring, known[i].mode)) break;
        if (m)
            buf_printf(&b, "%s%s", b.len ? "," : "", known[i].text);
    }
    cell_str(cells, buf_str(&b));
}

static const char *storage_class(const cJSON *o)
{
    const char *named = json_map_str(json_path(o, "metadata.annotations"),
                                     "volume.beta.kubernetes.io/storage-class");
    return named ? named : json_str_or(o, "spec.storageClassName", "");
}

static const char *volume_phase(const cJSON *o)
{
    return json_path(o, "metadata.deletionTimestamp") ? "Terminating"
                                                      : json_str_or(o, "status.phase", "");
}

void row_persistentvolume(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf claim = {0};
    if (json_path(o, "spec.claimRef"))
        buf_printf(&claim, "%s/%s", json_str_or(o, "spec.claimRef.namespace", ""),
                   json_str_or(o, "spec.claimRef.name", ""));
    cell_name(cells, o);
    cell_path(cells, o, "spec.capacity.storage", "0");
    cell_access_modes(cells, json_path(o, "spec.accessModes"));
    cell_path(cells, o, "spec.persistentVolumeReclaimPolicy", "");
    cell_str(cells, volume_phase(o));
    cell_str(cells, buf_str(&claim));
    cell_str(cells, storage_class(o));
    cell_path(cells, o, "spec.volumeAttributesClassName", "<unset>");
    cell_path(cells, o, "status.reason", "");
    cell_created(cells, o);
    cell_path(cells, o, "spec.volumeMode", "<unset>");
}

void row_persistentvolumeclaim(const cJSON *o, cJSON *cells)
{
    bool bound = *json_str_or(o, "spec.volumeName", "") != 0;
    cell_name(cells, o);
    cell_str(cells, volume_phase(o));
    cell_path(cells, o, "spec.volumeName", "");
    cell_str(cells, bound ? json_str_or(o, "status.capacity.storage", "0") : "");
    cell_access_modes(cells, bound ? json_path(o, "status.accessModes") : NULL);
    cell_str(cells, storage_class(o));
    cell_path(cells, o, "spec.volumeAttributesClassName", "<unset>");
    cell_created(cells, o);
    cell_path(cells, o, "spec.volumeMode", "<unset>");
}

void row_storageclass(const cJSON *o, cJSON *cells)
{
    static const char *const keys[] = {"storageclass.kubernetes.io/is-default-class",
                                       "storageclass.beta.kubernetes.io/is-default-class"};
    cleanup_buf struct buf name = {0};
    buf_adds(&name, json_str_or(o, "metadata.name", ""));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *is = json_map_str(json_path(o, "metadata.annotations"), keys[i]);
        if (is && !strcmp(is, "true")) {
            buf_adds(&name, " (default)");
            break;
        }
    }
    cell_str(cells, buf_str(&name));
    cell_path(cells, o, "provisioner", "");
    cell_path(cells, o, "reclaimPolicy", "Delete");
    cell_path(cells, o, "volumeBindingMode", "Immediate");
    cell_bool(cells, json_bool(o, "allowVolumeExpansion", false));
    cell_created(cells, o);
}

static void cell_joined(cJSON *cells, const cJSON *list, const char *member, const char *otherwise)
{
    cleanup_buf struct buf b = {0};
    const cJSON *i;
    cJSON_ArrayForEach(i, list)
    {
        const char *text = member ? json_str_or(i, member, "") : cJSON_GetStringValue(i);
        buf_printf(&b, "%s%s", b.len ? "," : "", text ? text : "");
    }
    cell_str(cells, b.len ? buf_str(&b) : otherwise);
}

void row_csidriver(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_bool(cells, json_bool(o, "spec.attachRequired", true));
    cell_bool(cells, json_bool(o, "spec.podInfoOnMount", false));
    cell_bool(cells, json_bool(o, "spec.storageCapacity", false));
    cell_joined(cells, json_path(o, "spec.tokenRequests"), "audience", "<unset>");
    cell_bool(cells, json_bool(o, "spec.requiresRepublish", false));
    cell_joined(cells, json_path(o, "spec.volumeLifecycleModes"), NULL, "<none>");
    cell_created(cells, o);
}

void row_csinode(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_int(cells, cJSON_GetArraySize(json_path(o, "spec.drivers")));
    cell_created(cells, o);
}

void row_csistoragecapacity(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_path(cells, o, "storageClassName", "");
    cell_path(cells, o, "capacity", "<unset>");
}

void row_volumeattachment(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_path(cells, o, "spec.attacher", "");
    cell_path(cells, o, "spec.source.persistentVolumeName", "");
    cell_path(cells, o, "spec.nodeName", "");
    cell_bool(cells, json_bool(o, "status.attached", false));
    cell_created(cells, o);
}

void row_volumeattributesclass(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_path(cells, o, "driverName", "");
    cell_created(cells, o);
}

void row_runtimeclass(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_path(cells, o, "handler", "");
    cell_created(cells, o);
}
