"""What a pod needs before its first container: images, sandbox, volumes, hosts file."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

from trilby.image.progress import Progress
from trilby.image.service_types import PullPolicy
from trilby.pods.embedded.api import PodEngine, PodImages
from trilby.pods.embedded.events import Emit, SandboxReady
from trilby.pods.embedded.folder import PodFolder
from trilby.pods.manifest import schema
from trilby.pods.manifest.translate import PodFacts, sandbox_config
from trilby.pods.model_container import Mount
from trilby.pods.model_sandbox import DNSConfig
from trilby.pods.spec import files

_POLICIES: dict[str, PullPolicy] = {
    "Always": "always",
    "IfNotPresent": "missing",
    "Never": "never",
}


async def pull_images(
    images: PodImages, spec: schema.PodSpec, progress: Progress | None
) -> dict[str, str]:
    """Fetch every image that the pod names, all at once: name -> id."""
    wanted: dict[str, PullPolicy] = {}
    for container in (*spec.init_containers, *spec.containers):
        _want(wanted, container.image, container.image_pull_policy)
    for volume in spec.volumes:
        if volume.image is not None:
            _want(wanted, volume.image.reference, volume.image.pull_policy)
    async with asyncio.TaskGroup() as group:
        tasks = {
            name: group.create_task(images.pull(name, policy, progress=progress))
            for name, policy in wanted.items()
        }
    return {name: task.result().id for name, task in tasks.items()}


def default_policy(image: str) -> PullPolicy:
    """Kubernetes' default: always for :latest, else only what is missing."""
    name, at, _ = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "always" if not at and tag in ("", "latest") else "missing"


def _want(wanted: dict[str, PullPolicy], name: str, policy: str) -> None:
    chosen = _POLICIES.get(policy) or default_policy(name)
    strictness: list[PullPolicy] = ["never", "missing", "newer", "always"]
    if name not in wanted or strictness.index(chosen) > strictness.index(wanted[name]):
        wanted[name] = chosen


def image_users(images: PodImages, ids: Mapping[str, str]) -> dict[str, str]:
    """The USER of each image, by its name in the manifest."""
    return {name: images.config(image_id).config.user for name, image_id in ids.items()}


async def make_sandbox(
    engine: PodEngine, pod: schema.Pod, folder: PodFolder, emit: Emit
) -> tuple[str, PodFacts]:
    """Make the sandbox and wait for its network."""
    config = sandbox_config(pod, uid=folder.uid, log_directory=folder.logs, host_dns=_host_dns())
    sandbox_id = await engine.run_sandbox(config)
    try:
        ips = (await engine.read_sandbox(sandbox_id)).ips
    except BaseException:
        # An engine that is elsewhere can be gone by now; nobody else knows of the sandbox.
        await engine.remove_sandbox(sandbox_id)
        raise
    emit(SandboxReady(sandbox_id, ips))
    return sandbox_id, PodFacts(
        uid=folder.uid, node=os.uname().nodename, host_ip=_host_ip(), ips=ips
    )


def hosts_mount(folder: PodFolder, pod: schema.Pod, facts: PodFacts) -> tuple[Mount, ...]:
    """/etc/hosts with the manifest's hostAliases; without any the sandbox's own file does."""
    spec = pod.spec
    if not spec.host_aliases:
        return ()
    if spec.host_network:
        with open("/etc/hosts", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    else:
        text = files.hosts(spec.hostname or pod.metadata.name, facts.ips)
    text += "".join(f"{each.ip}\t{' '.join(each.hostnames)}\n" for each in spec.host_aliases)
    path = f"{folder.path}/etc-hosts"
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return (Mount(container_path="/etc/hosts", host_path=path, selinux_relabel=True),)


def _host_dns() -> DNSConfig:
    """The machine's /etc/resolv.conf, to which a manifest's dnsConfig adds."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split("#")[0].split()
                if words and words[0] == "search":
                    found["search"] = words[1:]
                elif words and words[0] in found:
                    found[words[0]] += words[1:]
    except FileNotFoundError:
        pass
    return DNSConfig(
        servers=tuple(found["nameserver"]),
        searches=tuple(found["search"]),
        options=tuple(found["options"]),
    )


def _host_ip() -> str:
    """The address that the machine's default route leaves from; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
