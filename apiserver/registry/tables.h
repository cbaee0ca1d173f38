/* The rows that `kubectl get` prints, one function per kind: each adds exactly as many cells as the
 * resource has columns. Ages are counted against tables_now(), so that tests can fix the time. */
#pragma once
#include <cjson/cJSON.h>
#include <stdint.h>
#include "apiserver/resource.h"

void row_default(const cJSON *object, cJSON *cells); /* Name, Age (Created At) */
void row_pod(const cJSON *pod, cJSON *cells);
void row_node(const cJSON *node, cJSON *cells);
void row_namespace(const cJSON *ns, cJSON *cells);
void row_service(const cJSON *service, cJSON *cells);
void row_endpoints(const cJSON *endpoints, cJSON *cells);
void row_endpointslice(const cJSON *slice, cJSON *cells);
void row_configmap(const cJSON *configmap, cJSON *cells);
void row_secret(const cJSON *secret, cJSON *cells);
void row_serviceaccount(const cJSON *account, cJSON *cells);
void row_event(const cJSON *event, cJSON *cells);
void row_deployment(const cJSON *deployment, cJSON *cells);
void row_replicaset(const cJSON *replicaset, cJSON *cells);
void row_lease(const cJSON *lease, cJSON *cells);
void row_rolebinding(const cJSON *binding, cJSON *cells);
void row_priorityclass(const cJSON *class, cJSON *cells);
void row_resourcequota(const cJSON *quota, cJSON *cells);
void row_scale(const cJSON *scale, cJSON *cells);
void row_replicationcontroller(const cJSON *object, cJSON *cells);
void row_podtemplate(const cJSON *object, cJSON *cells);
void row_daemonset(const cJSON *object, cJSON *cells);
void row_statefulset(const cJSON *object, cJSON *cells);
void row_controllerrevision(const cJSON *object, cJSON *cells);
void row_job(const cJSON *object, cJSON *cells);
void row_cronjob(const cJSON *object, cJSON *cells);
void row_horizontalpodautoscaler(const cJSON *object, cJSON *cells);
void row_horizontalpodautoscaler_v1(const cJSON *object, cJSON *cells);
void row_poddisruptionbudget(const cJSON *object, cJSON *cells);
void row_ingress(const cJSON *object, cJSON *cells);
void row_ingressclass(const cJSON *object, cJSON *cells);
void row_networkpolicy(const cJSON *object, cJSON *cells);
void row_ipaddress(const cJSON *object, cJSON *cells);
void row_servicecidr(const cJSON *object, cJSON *cells);
void row_persistentvolume(const cJSON *object, cJSON *cells);
void row_persistentvolumeclaim(const cJSON *object, cJSON *cells);
void row_storageclass(const cJSON *object, cJSON *cells);
void row_csidriver(const cJSON *object, cJSON *cells);
void row_csinode(const cJSON *object, cJSON *cells);
void row_csistoragecapacity(const cJSON *object, cJSON *cells);
void row_volumeattachment(const cJSON *object, cJSON *cells);
void row_volumeattributesclass(const cJSON *object, cJSON *cells);
void row_runtimeclass(const cJSON *object, cJSON *cells);
void row_certificatesigningrequest(const cJSON *object, cJSON *cells);
void row_flowschema(const cJSON *object, cJSON *cells);
void row_prioritylevelconfiguration(const cJSON *object, cJSON *cells);
void row_webhooks(const cJSON *object, cJSON *cells);
void row_admissionpolicy(const cJSON *object, cJSON *cells);
void row_mutatingpolicy(const cJSON *object, cJSON *cells);
void row_policybinding(const cJSON *object, cJSON *cells);
void row_apiservice(const cJSON *object, cJSON *cells);

extern const struct resource_column columns_scale[];

/* --- shared by the row functions --- */
int64_t tables_now(void);        /* seconds since 1970 */
extern int64_t tables_fixed_now; /* tests set it; 0: the wall clock */
void cell_str(cJSON *cells, const char *s);
void cell_int(cJSON *cells, int64_t v);
void cell_age(cJSON *cells, const char *timestamp); /* "<unknown>" when absent */
void cell_name(cJSON *cells, const cJSON *object);
void cell_bool(cJSON *cells, bool v);
/* metadata.creationTimestamp as an age. */
void cell_created(cJSON *cells, const cJSON *object);
/* The string or number at a path, as text; `otherwise` when it is absent or "". */
void cell_path(cJSON *cells, const cJSON *object, const char *path, const char *otherwise);
/* "a=b,c=d" of a map, sorted by key; "<none>" when empty. */
void cell_map(cJSON *cells, const cJSON *map);
/* The same of a metav1.LabelSelector. */
void cell_selector(cJSON *cells, const cJSON *selector);
/* "app,side" and "img:1,img:2" of a pod template's containers. */
void cell_containers(cJSON *cells, const cJSON *pod_spec);
