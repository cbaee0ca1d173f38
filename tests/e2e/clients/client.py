"""Debian's python3-kubernetes against the running cluster."""
import json
import os
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

NS = os.environ["NS"]


def check(what, good, why=""):
    print(f"ok {what}" if good else f"not ok {what}: {why}", flush=True)


def refused(what, status, reason, call):
    try:
        call()
        check(what, False, "it was not refused")
    except ApiException as e:
        check(what, e.status == status and reason in (e.body or ""), f"{e.status} {e.body}")


config.load_kube_config()
core, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()
check("the version is read", client.VersionApi().get_code().git_version.startswith("v1."))
check("nodes are listed", all(c.status == "True" for n in core.list_node().items for c in n.status.conditions if c.type == "Ready"))
check("groups are listed", "apps" in [g.name for g in client.ApisApi().get_api_versions().groups])

seen = []


def follow(since):
    w = watch.Watch()
    for e in w.stream(core.list_namespaced_config_map, NS, label_selector="client=python", resource_version=since, timeout_seconds=15):
        seen.append((e["type"], e["object"].metadata.name))
        if e["type"] == "DELETED":
            w.stop()


thread = threading.Thread(target=follow, args=(core.list_namespaced_config_map(NS).metadata.resource_version,))
thread.start()
body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="python-a", labels={"client": "python"}), data={"a": "1"})
made = core.create_namespaced_config_map(NS, body)
check("a config map is created", made.metadata.uid is not None and made.data == {"a": "1"})
refused("a second one is refused", 409, "AlreadyExists", lambda: core.create_namespaced_config_map(NS, body))
patched = core.patch_namespaced_config_map("python-a", NS, {"data": {"b": "2"}})
check("a strategic merge patch", patched.data == {"a": "1", "b": "2"}, patched.data)
made.data = {"a": "9"}
refused("a stale update is refused", 409, "Conflict", lambda: core.replace_namespaced_config_map("python-a", NS, made))
refused("what is not there is not found", 404, "NotFound", lambda: core.read_namespaced_config_map("python-z", NS))
refused("a wrong name is invalid", 422, "Invalid value", lambda: core.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="No!"))))
core.delete_namespaced_config_map("python-a", NS)
thread.join(20)
check("a watch saw it all", seen == [(t, "python-a") for t in ("ADDED", "MODIFIED", "DELETED")], seen)

utils.create_from_dict(client.ApiClient(), {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "python-web", "namespace": NS},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "python-web"}}, "template": {
        "metadata": {"labels": {"app": "python-web"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "c", "image": os.environ["BUSYBOX"], "command": ["sh", "-c", "mkdir /www; echo hello >/www/index.html; echo said; exec httpd -f -p 8080 -h /www"]}]}}}})
end, ready = time.monotonic() + 25, 0
while time.monotonic() < end and ready != 2:
    ready = apps.read_namespaced_deployment_status("python-web", NS).status.ready_replicas or 0
    time.sleep(0.1)
check("a deployment becomes ready", ready == 2, ready)
pods = core.list_namespaced_pod(NS, label_selector="app in (python-web)").items
check("its pods have addresses", len(pods) == 2 and all(p.status.pod_ip for p in pods))
check("a pod's log is read", core.read_namespaced_pod_log(pods[0].metadata.name, NS) == "said\n")
pod = pods[0].metadata.name
ran = stream(core.connect_get_namespaced_pod_exec, pod, NS, command=["sh", "-c", "echo out; echo err >&2; read x; echo $x; exit 4"],
             stderr=True, stdin=True, stdout=True, tty=False, _preload_content=False)
ran.write_stdin("typed\n")
ran.run_forever(timeout=5)
check("exec has output and errors", (ran.read_stdout(), ran.read_stderr()) == ("out\ntyped\n", "err\n"))
check("and tells the exit code", ran.returncode == 4, ran.returncode)
forward = portforward(core.connect_get_namespaced_pod_portforward, pod, NS, ports="8080")
s, answer = forward.socket(8080), b""
s.settimeout(5)
s.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
while part := s.recv(4096):
    answer += part
s.close()
check("port-forward carries a request", answer.endswith(b"hello\n"), answer)
check("without an error", forward.error(8080) is None, forward.error(8080))
apps.patch_namespaced_deployment_scale("python-web", NS, {"spec": {"replicas": 1}})
check("it is scaled", apps.read_namespaced_deployment("python-web", NS).spec.replicas == 1)
apps.delete_namespaced_deployment("python-web", NS, propagation_policy="Foreground")

job = batch.create_namespaced_job(NS, client.V1Job(metadata=client.V1ObjectMeta(name="python-j"), spec=client.V1JobSpec(suspend=True, template=client.V1PodTemplateSpec(
    spec=client.V1PodSpec(restart_policy="Never", containers=[client.V1Container(name="c", image=os.environ["BUSYBOX"])])))))
check("a job has a selector of its own", job.spec.selector.match_labels["batch.kubernetes.io/controller-uid"] == job.metadata.uid)

dyn = dynamic.DynamicClient(client.ApiClient())
services = dyn.resources.get(api_version="v1", kind="Service")
s = services.create(namespace=NS, body={"metadata": {"name": "python-s"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}})
check("the dynamic client creates a service", s.spec.clusterIP.startswith("10.96."), s.spec.clusterIP)
check("and finds it", services.get(name="python-s", namespace=NS).spec.ports[0].targetPort == 80)
services.delete(name="python-s", namespace=NS)
# This release of the client sends such a body only as text.
applied = services.server_side_apply(namespace=NS, name="python-s", field_manager="python", body=json.dumps({
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "python-s"}, "spec": {"ports": [{"port": 81}], "selector": {"a": "b"}}}))
check("server-side apply", [(m.manager, m.operation) for m in applied.metadata.managedFields] == [("python", "Apply")], applied.metadata.managedFields)

definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.python.clients.example.com"},
              "spec": {"group": "python.clients.example.com", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"}, "versions": [
                  {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                      "spec": {"type": "object", "properties": {"oars": {"type": "integer", "default": 2}}}}}}}]}}
crds = dyn.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
crds.create(body=definition)
for event in crds.watch(field_selector="metadata.name=boats.python.clients.example.com", timeout=10):
    if any(c.type == "Established" and c.status == "True" for c in event["object"].status.conditions or []):
        break
dyn.resources.invalidate_cache()
boats = dyn.resources.get(api_version="python.clients.example.com/v1", kind="Boat")
check("discovery finds a new kind", boats.namespaced and "watch" in boats.verbs)
since = boats.get(namespace=NS).metadata.resourceVersion
boats.create(namespace=NS, body={"apiVersion": "python.clients.example.com/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {}})
boats.patch(namespace=NS, name="b", body={"spec": {"oars": 4}}, content_type="application/merge-patch+json")
boats.delete(namespace=NS, name="b")
watched = []
for event in boats.watch(namespace=NS, resource_version=since, timeout=10):
    watched.append((event["type"], event["object"].spec.oars))
    if event["type"] == "DELETED":
        break
check("its objects are watched", watched == [("ADDED", 2), ("MODIFIED", 4), ("DELETED", 4)], watched)
custom = client.CustomObjectsApi()
check("and listed", custom.list_namespaced_custom_object("python.clients.example.com", "v1", NS, "boats")["kind"] == "BoatList")
crds.delete(name="boats.python.clients.example.com")
print("done")
