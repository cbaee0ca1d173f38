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
void row_scale(const cJSON *scale, cJSON *cells);

extern const struct resource_column columns_scale[];

/* --- shared by the row functions --- */
int64_t tables_now(void);        /* seconds since 1970 */
extern int64_t tables_fixed_now; /* tests set it; 0: the wall clock */
void cell_str(cJSON *cells, const char *s);
void cell_int(cJSON *cells, int64_t v);
void cell_age(cJSON *cells, const char *timestamp); /* "<unknown>" when absent */
void cell_name(cJSON *cells, const cJSON *object);
/* "a=b,c=d" of a map, sorted by key; "<none>" when empty. */
void cell_map(cJSON *cells, const cJSON *map);
/* The same of a metav1.LabelSelector. */
void cell_selector(cJSON *cells, const cJSON *selector);
/* "app,side" and "img:1,img:2" of a pod template's containers. */
void cell_containers(cJSON *cells, const cJSON *pod_spec);
