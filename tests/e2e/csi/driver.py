"""A CSI driver for tests: a volume is a directory of the host, bound where the kubelet wants it.

driver.py NAME NODE ROOT DATA LOG: serves NAME below the kubelet's ROOT, keeps volumes in DATA, writes each call to LOG.
The modules csi_pb2 and registration_pb2 come from protoc and kubelet/csi/*.proto.
"""
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToDict
from kubelet.csi import csi_pb2 as csi
from kubelet.csi import registration_pb2 as registration

name, node, root, data, log = sys.argv[1:6]
lock = threading.Lock()


def note(method, request):
    with lock, open(log, "a") as f:
        f.write(json.dumps({"method": method, **MessageToDict(request)}, sort_keys=True) + "\n")


def mount(*args):
    subprocess.run(["mount", *args], check=True)


def bind(source, target, readonly=False):
    os.makedirs(target, exist_ok=True)
    if not os.path.ismount(target) and subprocess.run(["mountpoint", "-q", target], check=False).returncode != 0:
        mount("--bind", source, target)
        if readonly:
            mount("-o", "remount,bind,ro", target)


def unmount(target):
    while subprocess.run(["mountpoint", "-q", target], check=False).returncode == 0:
        subprocess.run(["umount", target], check=True)
    if os.path.isdir(target):
        os.rmdir(target)


def get_info(request, context):
    return csi.NodeGetInfoResponse(node_id="id-" + node, max_volumes_per_node=7,
                                   accessible_topology=csi.Topology(segments={name + "/node": node}))


def get_capabilities(request, context):
    stage = csi.NodeServiceCapability(rpc=csi.NodeServiceCapability.RPC(
        type=csi.NodeServiceCapability.RPC.STAGE_UNSTAGE_VOLUME))
    return csi.NodeGetCapabilitiesResponse(capabilities=[stage])


def stage(request, context):
    note("NodeStageVolume", request)
    if request.volume_id == "broken":
        context.abort(grpc.StatusCode.INTERNAL, "this volume is broken")
    source = os.path.join(data, request.volume_id)
    os.makedirs(source, exist_ok=True)
    bind(source, request.staging_target_path)
    return csi.NodeStageVolumeResponse()


def unstage(request, context):
    note("NodeUnstageVolume", request)
    unmount(request.staging_target_path)
    return csi.NodeUnstageVolumeResponse()


def publish(request, context):
    note("NodePublishVolume", request)
    source = request.staging_target_path
    if request.volume_context.get("csi.storage.k8s.io/ephemeral") == "true":
        source = os.path.join(data, request.volume_id)
        os.makedirs(source, exist_ok=True)
        with open(os.path.join(source, "content"), "w") as f:
            f.write(request.volume_context.get("content", "") + "\n")
    bind(source, request.target_path, request.readonly)
    return csi.NodePublishVolumeResponse()


def unpublish(request, context):
    note("NodeUnpublishVolume", request)
    unmount(request.target_path)
    return csi.NodeUnpublishVolumeResponse()


def plugin_info(request, context):
    return registration.PluginInfo(type="CSIPlugin", name=name, endpoint=endpoint, supported_versions=["1.0.0"])


def registered(request, context):
    note("NotifyRegistrationStatus", request)
    return registration.RegistrationStatusResponse()


def handler(function, request):
    return grpc.unary_unary_rpc_method_handler(function, request_deserializer=request.FromString,
                                               response_serializer=lambda m: m.SerializeToString())


def serve(socket, service, methods):
    os.makedirs(os.path.dirname(socket), exist_ok=True)
    if os.path.exists(socket):
        os.unlink(socket)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    server.add_insecure_port("unix://" + socket)
    server.start()
    return server


endpoint = f"{root}/plugins/{name}/csi.sock"
registry = f"{root}/plugins_registry/{name}-reg.sock"
servers = [
    serve(endpoint, "csi.v1.Node", {
        "NodeGetInfo": handler(get_info, csi.NodeGetInfoRequest),
        "NodeGetCapabilities": handler(get_capabilities, csi.NodeGetCapabilitiesRequest),
        "NodeStageVolume": handler(stage, csi.NodeStageVolumeRequest),
        "NodeUnstageVolume": handler(unstage, csi.NodeUnstageVolumeRequest),
        "NodePublishVolume": handler(publish, csi.NodePublishVolumeRequest),
        "NodeUnpublishVolume": handler(unpublish, csi.NodeUnpublishVolumeRequest),
    }),
    serve(registry, "pluginregistration.Registration", {
        "GetInfo": handler(plugin_info, registration.InfoRequest),
        "NotifyRegistrationStatus": handler(registered, registration.RegistrationStatus),
    }),
]
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
signal.signal(signal.SIGINT, lambda *_: stop.set())
stop.wait()
os.unlink(registry)
for s in servers:
    s.stop(0)
