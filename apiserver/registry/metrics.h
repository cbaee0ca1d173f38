/* metrics.k8s.io: answered by asking the kubelets. Worker thread. */
#pragma once
struct write;
void metrics_read(struct write *w);
