/* Defaults of the kinds that defaults.h does not name. Inside apiserver/schema/. */
#pragma once
#include <cjson/cJSON.h>

void default_pod_template_object(cJSON *o);
void default_replicationcontroller(cJSON *o);
void default_persistentvolume(cJSON *o);
void default_persistentvolumeclaim(cJSON *o);
void default_limitrange(cJSON *o);
void default_daemonset(cJSON *o);
void default_statefulset(cJSON *o);
void default_job(cJSON *o);
void default_cronjob(cJSON *o);
void default_horizontalpodautoscaler_v1(cJSON *o);
void default_horizontalpodautoscaler(cJSON *o);
void default_networkpolicy(cJSON *o);
void default_ingressclass(cJSON *o);
void default_rolebinding(cJSON *o);
void default_priorityclass(cJSON *o);
void default_storageclass(cJSON *o);
void default_csidriver(cJSON *o);
void default_mutatingwebhooks(cJSON *o);
void default_validatingwebhooks(cJSON *o);
void default_flowschema(cJSON *o);
void default_prioritylevel(cJSON *o);
void default_validatingadmissionpolicy(cJSON *o);
void default_customresourcedefinition(cJSON *o);
void default_tokenrequest(cJSON *o);
