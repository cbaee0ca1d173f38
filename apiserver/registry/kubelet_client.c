#include "apiserver/registry/kubelet_client.h"

enum { CONNECT_TIMEOUT_S = 10 };

void kubelet_client_configure(CURL *c, const struct api_config *config)
{
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    if (config && config->kubelet_client_certificate)
        curl_easy_setopt(c, CURLOPT_SSLCERT, config->kubelet_client_certificate);
    if (config && config->kubelet_client_key)
        curl_easy_setopt(c, CURLOPT_SSLKEY, config->kubelet_client_key);
    if (config && config->kubelet_certificate_authority) {
        curl_easy_setopt(c, CURLOPT_CAINFO, config->kubelet_certificate_authority);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL); /* never the system's authorities */
    } else { /* as Kubernetes: kubelets may serve with a certificate of their own making */
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}
