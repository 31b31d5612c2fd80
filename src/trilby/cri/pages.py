"""What the HTTP pages of the daemon's socket show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version

import msgspec

from trilby.cri.pulls import Pulls
from trilby.errors import NotFound, TrilbyError
from trilby.image.service import Images
from trilby.pods.engine import Engine
from trilby.pods.model_status import ContainerStatus, SandboxStatus

Document = dict[str, object]


class DaemonPages:
    """``reload`` and ``config`` are the daemon's own: it knows where its settings came from."""

    def __init__(
        self,
        engine: Engine,
        images: Images,
        pulls: Pulls,
        *,
        config: Callable[[], object],
        reload: Callable[[], Awaitable[object]],
        events: Callable[[], object] = list,
    ) -> None:
        self._engine = engine
        self._images = images
        self._pulls = pulls
        self._config = config
        self._reload = reload
        self._events = events

    def info(self) -> Document:
        """As CRI-O's: cAdvisor looks for containers' files by it."""
        store = self._images.store
        return {
            "storage_driver": store.driver,
            "storage_image": "",
            "storage_root": str(store.config.graphroot),
            "cgroup_driver": self._engine.config.cgroup_manager.value,
            "default_id_mappings": {"uids": [], "gids": []},
        }

    def container(self, container_id: str) -> Document:
        """A container's, or a sandbox' as CRI-O shows its infra container. Raises NotFound."""
        try:
            container = self._engine.container_status(container_id)
        except NotFound:
            return self._sandbox(self._engine.sandbox_status(container_id))
        sandbox = self._engine.sandbox_status(container.sandbox_id)
        return self._container(container, sandbox)

    def _container(self, container: ContainerStatus, sandbox: SandboxStatus) -> Document:
        return {
            "name": container.name,
            "pid": container.pid,
            "image": container.image.user_specified or container.image.image,
            "image_ref": container.image_id,
            "created_time": container.created_at,
            "labels": container.labels,
            "annotations": container.annotations,
            "crio_annotations": _crio_annotations(sandbox, container.id, container),
            "log_path": container.log_path,
            "root": self._root(container.id),
            "sandbox": container.sandbox_id,
            "ip_addresses": list(sandbox.ips),
            "host_network": sandbox.namespaces.network.value == "NODE",
        }

    def _sandbox(self, sandbox: SandboxStatus) -> Document:
        return {
            "name": "POD",
            "pid": sandbox.pid,
            "image": "",
            "image_ref": "",
            "created_time": sandbox.created_at,
            "labels": sandbox.labels,
            "annotations": sandbox.annotations,
            "crio_annotations": _crio_annotations(sandbox, sandbox.id, None),
            "log_path": "",
            "root": "",
            "sandbox": sandbox.id,
            "ip_addresses": list(sandbox.ips),
            "host_network": sandbox.namespaces.network.value == "NODE",
        }

    def _root(self, container_id: str) -> str:
        """Where its file system is mounted."""
        store = self._images.store
        container = store.container(container_id)
        if container is None:
            return ""
        return f"{store.config.graphroot}/{store.driver}/{container.layer_id}/merged"

    def config(self) -> object:
        return self._config()

    async def reload(self) -> object:
        return await self._reload()

    async def status(self) -> Document:
        """What ``trilby status`` shows."""
        store = self._images.store
        sandboxes, containers = self._engine.list_sandboxes(), self._engine.list_containers()
        return {
            "version": version("trilby"),
            "conditions": await self._conditions(),
            "handlers": {
                name: msgspec.to_builtins(features)
                for name, features in (await self._engine.handler_features()).items()
            },
            "storage": {
                "driver": store.driver,
                "graph_root": str(store.config.graphroot),
                "run_root": str(store.config.runroot),
                "images": len(store.images()),
            },
            "cgroups": {
                "manager": self._engine.config.cgroup_manager.value,
                "parent": self._engine.config.cgroup_parent,
            },
            "network": self._network(),
            "pods": _count([sandbox.state.value for sandbox in sandboxes]),
            "containers": _count([container.state.value for container in containers]),
            "pulls": [
                {
                    "image": pull.name,
                    "bytes": pull.done,
                    "size": pull.size,
                    "percent": round(pull.percent, 1),
                    "rate": round(pull.rate),
                    "layers": pull.layers,
                    "layers_total": pull.layers_total,
                }
                for pull in self._pulls.running()
            ],
        }

    def _network(self) -> Document:
        try:
            name, file = self._engine.network_name()
        except TrilbyError:
            return {}  # the condition says why
        return {"name": name, "file": file}

    async def _conditions(self) -> list[Document]:
        conditions: list[Document] = [
            {"type": "RuntimeReady", "status": True, "reason": "", "message": ""}
        ]
        network: Document = {"type": "NetworkReady", "status": True, "reason": "", "message": ""}
        try:
            await self._engine.check_network()
        except TrilbyError as error:
            network |= {
                "status": False,
                "reason": "NetworkPluginNotReady",
                "message": str(error),
            }
        return [*conditions, network]

    def trace(self, sandbox_id: str) -> object:
        """Raises NotFound."""
        return self._engine.trace(sandbox_id)

    def events(self) -> object:
        return self._events()

    async def healthy(self) -> bool:
        """Whether the state can be read."""
        self._engine.list_sandboxes()
        return True


def _count(states: list[str]) -> dict[str, int]:
    return {state.lower(): states.count(state) for state in sorted(set(states))}


def _crio_annotations(
    sandbox: SandboxStatus, some_id: str, container: ContainerStatus | None
) -> dict[str, str]:
    """Those of CRI-O's own annotations that cAdvisor and others look at."""
    return {
        "io.kubernetes.cri-o.ContainerType": "container" if container else "sandbox",
        "io.kubernetes.cri-o.ContainerID": some_id,
        "io.kubernetes.cri-o.SandboxID": sandbox.id,
        "io.kubernetes.cri-o.SandboxName": sandbox.name,
        "io.kubernetes.cri-o.Namespace": sandbox.namespace,
    }
