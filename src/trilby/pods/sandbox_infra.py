"""The process that holds a pod's PID namespace, for pods whose containers share one.

There is no image for it: its root is a directory in which the host's ``catatonit`` is bound. It
is started like a container, by the runtime under conmon, and reaps what the containers orphan.
"""

from __future__ import annotations

import asyncio
import os
import shutil

from trilby.oci import codec
from trilby.oci.runtime import (
    SPEC_VERSION,
    Capabilities,
    Cpu,
    Linux,
    LinuxResources,
    Mount,
    Namespace,
    Process,
    Root,
    Spec,
    User,
)
from trilby.pods import monitor
from trilby.pods.engine_parts import Parts
from trilby.pods.engine_tasks import in_thread
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.journal import AnyStep, Mountpoint, Pin, Processes, Tree
from trilby.pods.model_common import NamespaceMode
from trilby.pods.runtime import warm_cgroups
from trilby.pods.sandbox_cgroup import cgroup_path, container_cgroup
from trilby.pods.sandbox_files import write_config
from trilby.pods.spec.namespaces import user_mappings
from trilby.pods.state import CREATING, RUNNING, ContainerLive, SandboxRecord
from trilby.pods.trace import part
from trilby.system.mounts import BindMount
from trilby.system.namespaces import pin

_CPU_SHARES = 2


def wants_infra(record: SandboxRecord) -> bool:
    """Only a shared PID namespace needs a process to stand."""
    return record.config.security.namespaces.pid is NamespaceMode.POD


def infra_steps(parts: Parts, record: SandboxRecord) -> list[AnyStep]:
    """What start_infra() makes outside the process."""
    if not wants_infra(record):
        return []
    layout = parts.layout
    cgroup = cgroup_path(container_cgroup(parts.config, record.cgroup, record.id))
    bundle = layout.bundle(record.id)
    return [
        Tree(bundle),
        Mountpoint(f"{bundle}/root/catatonit"),
        Processes(record.id, record.handler, cgroup),
        Pin(f"{layout.sandbox_run(record.id)}/ns/pid"),
    ]


async def start_infra(parts: Parts, record: SandboxRecord) -> tuple[int, int]:
    """Start it if the pod needs it; its process number and start time, or zeros."""
    if not wants_infra(record):
        return 0, 0
    with part("infra process"):
        return await _start(parts, record)


async def _start(parts: Parts, record: SandboxRecord) -> tuple[int, int]:
    layout = parts.layout
    runtime = parts.runtimes.get(record.handler)
    warm_cgroups()
    await in_thread(_prepare, parts, record)
    made = await monitor.create(
        parts.config.conmon,
        runtime,
        monitor.MonitorRequest(
            container_id=record.id,
            name=record.full_name,
            bundle=layout.bundle(record.id),
            persist_dir=layout.bundle(record.id),
            exits=layout.exits,
            log="none:",
        ),
    )
    live = ContainerLive(
        phase=RUNNING,
        pid=made.pid,
        pid_start=made.pid_start,
        monitor_pid=made.monitor_pid,
        monitor_start=made.monitor_start,
    )
    layout.save_container_live(record.id, live)
    namespaces = f"{layout.sandbox_run(record.id)}/ns"
    os.makedirs(namespaces, 0o755, exist_ok=True)
    await asyncio.gather(
        runtime.start(record.id),
        in_thread(pin, f"/proc/{made.pid}/ns/pid", f"{namespaces}/pid"),
    )
    return made.pid, made.pid_start


def _prepare(parts: Parts, record: SandboxRecord) -> None:
    """The bundle: a root with nothing but the program, and the config."""
    program = shutil.which(parts.config.infra_command)
    if program is None:
        raise InvalidPodConfig(
            f"a shared PID namespace needs {parts.config.infra_command}, which is not installed",
            hint="install catatonit, or set infra_command",
        )
    bundle = parts.layout.bundle(record.id)
    for folder in ("", "/root", "/root/proc", "/root/dev", "/root/sys"):
        os.mkdir(bundle + folder, 0o755)
    parts.layout.save_container_live(record.id, ContainerLive(phase=CREATING))
    target = f"{bundle}/root/catatonit"
    os.close(os.open(target, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o755))
    BindMount(program, target, flags=("ro",), recursive=False).mount()
    cgroup = container_cgroup(parts.config, record.cgroup, record.id)
    write_config(bundle, codec.encode(infra_spec(parts, record, f"{bundle}/root", cgroup)))


def infra_spec(parts: Parts, record: SandboxRecord, root: str, cgroup: str) -> Spec:
    """Its OCI config: the pod's namespaces, a new PID namespace, no capabilities."""
    pins = f"{parts.layout.sandbox_run(record.id)}/ns"
    options = record.config.security.namespaces
    joined = []
    if options.network is not NamespaceMode.NODE:
        joined += [Namespace("network", f"{pins}/net"), Namespace("uts", f"{pins}/uts")]
    if options.ipc is not NamespaceMode.NODE:
        joined.append(Namespace("ipc", f"{pins}/ipc"))
    uids, gids = user_mappings(options.userns)
    if uids:
        joined.append(Namespace("user", f"{pins}/user"))
    return Spec(
        oci_version=SPEC_VERSION,
        process=Process(
            user=User(uid=0, gid=0),
            args=("/catatonit", "-P"),
            cwd="/",
            capabilities=Capabilities(),
            no_new_privileges=True,
        ),
        root=Root(path=root, readonly=True),
        mounts=(
            Mount(destination="/proc", type="proc", source="proc"),
            Mount(
                destination="/dev",
                type="tmpfs",
                source="tmpfs",
                options=("nosuid", "strictatime", "mode=755", "size=65536k"),
            ),
        ),
        linux=Linux(
            uid_mappings=uids,
            gid_mappings=gids,
            namespaces=(Namespace("mount"), Namespace("pid"), *joined),
            cgroups_path=cgroup,
            resources=LinuxResources(cpu=Cpu(shares=_CPU_SHARES)),
        ),
    )
