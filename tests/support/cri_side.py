"""One runtime behind its CRI socket, asked as a kubelet asks; the same for ours and for peers."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TypeVar

import msgspec
from google.protobuf.message import Message

from trilby.cri.client.connection import Connection
from trilby.cri.proto import common_pb2, container_pb2, image_pb2, runtime_pb2, sandbox_pb2

M = TypeVar("M", bound=Message)

OURS = "trilbyd"
#: As long as a kubelet waits.
TIMEOUT = 120.0
#: Ends at once when it is asked to; pid 1 without a handler would not hear SIGTERM.
POLITE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done")
SLEEP = ("sleep", "100000")


class Peer(msgspec.Struct, frozen=True):
    """A daemon that runs already: ``NAME=SOCKET[,pid=NUMBER][,handler=NAME]``."""

    name: str
    socket: str
    pid: int = 0
    handler: str = ""


def parse_peer(text: str) -> Peer:
    """Raises ValueError."""
    name, _, rest = text.partition("=")
    socket, *further = rest.split(",")
    options = dict(item.split("=", 1) for item in further)
    if not name or not socket or set(options) - {"pid", "handler"}:
        raise ValueError(f"{text}: not NAME=SOCKET[,pid=NUMBER][,handler=NAME]")
    return Peer(name, socket, int(options.get("pid", 0)), options.get("handler", ""))


class Pod(msgspec.Struct, frozen=True):
    """A sandbox, and containers in it."""

    sandbox: str
    containers: tuple[str, ...]

    @property
    def container(self) -> str:
        return self.containers[0]


class Side:
    """A runtime with one long-lived connection. ``took`` has milliseconds by step."""

    def __init__(self, peer: Peer, image: str, logs: str) -> None:
        self.name = peer.name
        self.pid = peer.pid
        self.took: dict[str, list[float]] = {}
        self.notes: dict[str, str] = {}
        #: Ids of what was made; monitors have them in their command lines.
        self.ids: set[str] = set()
        self._peer = peer
        self._image = image
        self._spec = common_pb2.ImageSpec(image=image)
        self._logs = logs
        self._number = 0
        self._configs: dict[str, sandbox_pb2.PodSandboxConfig] = {}
        self._connection = Connection(peer.socket)

    async def __aenter__(self) -> Side:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.__aexit__(None, None, None)

    async def call(self, request: Message, answer: type[M]) -> M:
        return await self._connection.call(request, answer, TIMEOUT)

    async def version(self) -> str:
        """Name and version of the runtime."""
        found = await self.call(runtime_pb2.VersionRequest(), runtime_pb2.VersionResponse)
        return f"{found.runtime_name} {found.runtime_version}"

    async def need_image(self) -> None:
        """Pull the image if it is not there."""
        spec = common_pb2.ImageSpec(image=self._image)
        status = await self.call(
            image_pb2.ImageStatusRequest(image=spec), image_pb2.ImageStatusResponse
        )
        if status.HasField("image"):
            reference = status.image.id
        else:
            pull = image_pb2.PullImageRequest(image=spec)
            reference = (await self.call(pull, image_pb2.PullImageResponse)).image_ref
        self._spec = common_pb2.ImageSpec(image=reference, user_specified_image=self._image)

    def note(self, step: str, start: float) -> None:
        """Note how long a step took that began at ``start`` of time.perf_counter()."""
        self.took.setdefault(step, []).append((time.perf_counter() - start) * 1000)

    # What a kubelet does

    async def run_sandbox(self) -> str:
        config = self._pod()
        request = sandbox_pb2.RunPodSandboxRequest(
            config=config, runtime_handler=self._peer.handler
        )
        answer = await self.call(request, sandbox_pb2.RunPodSandboxResponse)
        self.ids.add(answer.pod_sandbox_id)
        self._configs[answer.pod_sandbox_id] = config
        return answer.pod_sandbox_id

    async def create(self, sandbox: str, name: str, command: tuple[str, ...]) -> str:
        pod = self._configs[sandbox]
        os.makedirs(f"{pod.log_directory}/{name}", exist_ok=True)  # as the kubelet does
        request = runtime_pb2.CreateContainerRequest(
            pod_sandbox_id=sandbox,
            config=self._container(pod, name, command),
            sandbox_config=pod,
        )
        answer = await self.call(request, container_pb2.CreateContainerResponse)
        self.ids.add(answer.container_id)
        return answer.container_id

    async def start(self, container: str) -> container_pb2.StartContainerResponse:
        request = container_pb2.StartContainerRequest(container_id=container)
        return await self.call(request, container_pb2.StartContainerResponse)

    async def up(self, command: tuple[str, ...] = SLEEP) -> Pod:
        """A pod that runs; how long is not noted."""
        sandbox = await self.run_sandbox()
        container = await self.create(sandbox, "main", command)
        await self.start(container)
        return Pod(sandbox, (container,))

    async def exec(self, container: str, *command: str) -> container_pb2.ExecSyncResponse:
        request = container_pb2.ExecSyncRequest(container_id=container, cmd=command, timeout=30)
        answer = await self.call(request, container_pb2.ExecSyncResponse)
        assert answer.exit_code == 0, answer
        return answer

    async def stop(self, container: str, grace: int) -> container_pb2.StopContainerResponse:
        request = container_pb2.StopContainerRequest(container_id=container, timeout=grace)
        return await self.call(request, container_pb2.StopContainerResponse)

    async def stop_sandbox(self, sandbox: str) -> sandbox_pb2.StopPodSandboxResponse:
        request = sandbox_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox)
        return await self.call(request, sandbox_pb2.StopPodSandboxResponse)

    async def remove_sandbox(self, sandbox: str) -> sandbox_pb2.RemovePodSandboxResponse:
        self._configs.pop(sandbox, None)
        request = sandbox_pb2.RemovePodSandboxRequest(pod_sandbox_id=sandbox)
        return await self.call(request, sandbox_pb2.RemovePodSandboxResponse)

    async def down(self, pod: Pod) -> None:
        """Without grace: peers wait for what does not hear SIGTERM, as ``sleep`` as pid 1."""
        await asyncio.gather(*(self.stop(some, 0) for some in pod.containers))
        await self.stop_sandbox(pod.sandbox)
        await self.remove_sandbox(pod.sandbox)

    async def containers(self) -> container_pb2.ListContainersResponse:
        request = container_pb2.ListContainersRequest()
        return await self.call(request, container_pb2.ListContainersResponse)

    async def sandboxes(self) -> sandbox_pb2.ListPodSandboxResponse:
        request = sandbox_pb2.ListPodSandboxRequest()
        return await self.call(request, sandbox_pb2.ListPodSandboxResponse)

    def _pod(self) -> sandbox_pb2.PodSandboxConfig:
        """A pod as a kubelet writes it, of the class BestEffort, without its cgroup."""
        self._number += 1
        name, uid = f"bench-{self._number}", os.urandom(16).hex()
        security = sandbox_pb2.LinuxSandboxSecurityContext(namespace_options=_NAMESPACES)
        return sandbox_pb2.PodSandboxConfig(
            metadata=sandbox_pb2.PodSandboxMetadata(name=name, uid=uid, namespace="bench"),
            hostname=name,
            log_directory=f"{self._logs}/{self.name}/{uid}",
            labels={
                "app": "bench",
                "io.kubernetes.pod.name": name,
                "io.kubernetes.pod.namespace": "bench",
                "io.kubernetes.pod.uid": uid,
            },
            annotations={"kubernetes.io/config.source": "api"},
            linux=sandbox_pb2.LinuxPodSandboxConfig(security_context=security),
        )

    def _container(
        self, pod: sandbox_pb2.PodSandboxConfig, name: str, command: tuple[str, ...]
    ) -> container_pb2.ContainerConfig:
        linux = container_pb2.LinuxContainerConfig(
            resources=common_pb2.LinuxContainerResources(cpu_shares=2, oom_score_adj=1000),
            security_context=container_pb2.LinuxContainerSecurityContext(
                namespace_options=_NAMESPACES
            ),
        )
        return container_pb2.ContainerConfig(
            metadata=container_pb2.ContainerMetadata(name=name),
            image=self._spec,
            command=command,
            envs=[common_pb2.KeyValue(key="KUBERNETES_PORT", value=b"tcp://10.0.0.1:443")],
            labels={**pod.labels, "io.kubernetes.container.name": name},
            log_path=f"{name}/0.log",
            linux=linux,
        )


_NAMESPACES = common_pb2.NamespaceOption(pid=common_pb2.CONTAINER)
