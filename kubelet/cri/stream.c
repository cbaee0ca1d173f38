/* CRI's streaming calls: each is answered with the address of a server of the runtime's own. */
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/cri/cri.h"
#include "kubelet/metrics.h"

enum { STREAM_CALL_MS = 30000 };

static ProtobufCMessage *call(const struct cri *c, const char *method, const ProtobufCMessage *request,
                              const ProtobufCMessageDescriptor *answer_type, struct error **err)
{
    ProtobufCMessage *answer = NULL;
    int64_t began = time_now_micros();
    bool ok = c->call(c->userdata, method, request, answer_type, STREAM_CALL_MS, &answer, err);
    kubelet_metrics_runtime(method, ok, (double)(time_now_micros() - began) / 1e6);
    return ok ? answer : NULL;
}

bool cri_exec(const struct cri *c, const char *id, const char *const *argv, size_t argc, const struct cri_stream *s,
              char **url, struct error **err)
{
    Runtime__V1__ExecRequest request = RUNTIME__V1__EXEC_REQUEST__INIT;
    request.container_id = (char *)id;
    request.cmd = (char **)argv;
    request.n_cmd = argc;
    request.stdin = s->in;
    request.stdout = s->out;
    request.stderr = s->err;
    request.tty = s->tty;
    Runtime__V1__ExecResponse *answer = (Runtime__V1__ExecResponse *)call(
        c, "RuntimeService/Exec", &request.base, &runtime__v1__exec_response__descriptor, err);
    if (!answer)
        return false;
    *url = mem_strdup(answer->url);
    protobuf_c_message_free_unpacked(&answer->base, NULL);
    return true;
}

bool cri_attach(const struct cri *c, const char *id, const struct cri_stream *s, char **url, struct error **err)
{
    Runtime__V1__AttachRequest request = RUNTIME__V1__ATTACH_REQUEST__INIT;
    request.container_id = (char *)id;
    request.stdin = s->in;
    request.stdout = s->out;
    request.stderr = s->err;
    request.tty = s->tty;
    Runtime__V1__AttachResponse *answer = (Runtime__V1__AttachResponse *)call(
        c, "RuntimeService/Attach", &request.base, &runtime__v1__attach_response__descriptor, err);
    if (!answer)
        return false;
    *url = mem_strdup(answer->url);
    protobuf_c_message_free_unpacked(&answer->base, NULL);
    return true;
}

bool cri_port_forward(const struct cri *c, const char *sandbox_id, const int32_t *ports, size_t count, char **url,
                      struct error **err)
{
    Runtime__V1__PortForwardRequest request = RUNTIME__V1__PORT_FORWARD_REQUEST__INIT;
    request.pod_sandbox_id = (char *)sandbox_id;
    request.port = (int32_t *)ports;
    request.n_port = count;
    Runtime__V1__PortForwardResponse *answer = (Runtime__V1__PortForwardResponse *)call(
        c, "RuntimeService/PortForward", &request.base, &runtime__v1__port_forward_response__descriptor, err);
    if (!answer)
        return false;
    *url = mem_strdup(answer->url);
    protobuf_c_message_free_unpacked(&answer->base, NULL);
    return true;
}
