/* How the apiserver talks to kubelets: its client certificate, their authority. */
#pragma once
#include <curl/curl.h>
#include "apiserver/server/request.h"

/* Sets what all requests to kubelets have in common. config NULL: to somebody else, who is told nothing and not checked. */
void kubelet_client_configure(CURL *c, const struct api_config *config);
