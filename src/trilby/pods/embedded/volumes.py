"""A pod's volumes on the host, and the mounts that containers get of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from trilby.pods.embedded.errors import VolumeFailed
from trilby.pods.embedded.folder import PodFolder
from trilby.pods.manifest import schema
from trilby.pods.manifest.expand import expand
from trilby.pods.manifest.quantity import parse_quantity, whole
from trilby.pods.manifest.resources import sum_memory_limits
from trilby.pods.model_container import ImageSpec, Mount, Propagation
from trilby.system import syscalls_file as sys_file
from trilby.system.files import Fd
from trilby.system.mount_table import is_mountpoint
from trilby.system.mounts import BindMount, TmpfsMount

_PROPAGATION = {
    "": Propagation.PRIVATE,
    "None": Propagation.PRIVATE,
    "HostToContainer": Propagation.HOST_TO_CONTAINER,
    "Bidirectional": Propagation.BIDIRECTIONAL,
}
_FILE_TYPES = {
    "Directory": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


class PodVolumes:
    """``images`` are the ids of the images that image volumes name."""

    def __init__(self, folder: PodFolder, pod: schema.Pod, images: Mapping[str, str]) -> None:
        self.folder = folder
        self.pod = pod
        self.images = images
        self.volumes = {volume.name: volume for volume in pod.spec.volumes}

    def prepare(self) -> None:
        """Make what does not exist yet. Raises VolumeFailed."""
        for volume in self.pod.spec.volumes:
            try:
                if volume.empty_dir is not None:
                    self._empty_dir(volume.name, volume.empty_dir)
                elif volume.host_path is not None:
                    _host_path(volume.name, volume.host_path)
            except OSError as error:
                raise VolumeFailed(f"volume {volume.name}: {error}") from error

    def mounts(
        self, container: schema.Container, attempt: int, variables: Mapping[str, str]
    ) -> list[Mount]:
        """The mounts of one try of a container. Raises VolumeFailed."""
        found = [
            self._mount(container, index, mount, variables)
            for index, mount in enumerate(container.volume_mounts)
        ]
        if container.termination_message_path:
            path = self.folder.termination_log(container.name, attempt)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
            os.chmod(path, 0o666)
            where = container.termination_message_path
            found.append(Mount(container_path=where, host_path=path, selinux_relabel=True))
        return found

    def path(self, name: str) -> str:
        """Where an emptyDir or hostPath volume is on the host."""
        host_path = self.volumes[name].host_path
        if host_path is not None:
            return host_path.path
        return f"{self.folder.path}/volumes/{name}"

    def _empty_dir(self, name: str, source: schema.EmptyDir) -> None:
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        if source.medium == "Memory" and not is_mountpoint(path):
            TmpfsMount(path, size=self._memory_size(source), mode=0o777).mount()
        os.chmod(path, 0o777)
        group = self.pod.spec.security_context.fs_group
        if group is not None:
            os.chown(path, -1, group)
            os.chmod(path, 0o2777)

    def _memory_size(self, source: schema.EmptyDir) -> int:
        """The smaller of the volume's limit and the pod's memory, 0 without either."""
        spec = self.pod.spec
        asked = whole(parse_quantity(source.size_limit)) if source.size_limit is not None else 0
        limits = [size for size in (asked, sum_memory_limits(spec.containers)) if size]
        return min(limits, default=0)

    def _mount(
        self,
        container: schema.Container,
        index: int,
        mount: schema.VolumeMount,
        variables: Mapping[str, str],
    ) -> Mount:
        volume = self.volumes[mount.name]
        sub_path = mount.sub_path or expand(mount.sub_path_expr, variables)
        recursive = mount.recursive_read_only in ("Enabled", "IfPossible")
        if volume.image is not None:
            return Mount(
                container_path=mount.mount_path,
                readonly=True,
                image=ImageSpec(image=self.images[volume.image.reference]),
                image_sub_path=sub_path,
            )
        source = self.path(mount.name)
        if sub_path:
            target = f"{self.folder.path}/subpaths/{container.name}/{index}"
            try:
                source = _bind_sub_path(source, sub_path, target)
            except OSError as error:
                where = f"container {container.name}: subPath {sub_path} of volume {mount.name}"
                raise VolumeFailed(f"{where}: {error.strerror}") from error
        return Mount(
            container_path=mount.mount_path,
            host_path=source,
            readonly=mount.read_only,
            recursive_read_only=mount.read_only and recursive,
            propagation=_PROPAGATION[mount.mount_propagation],
            # What the host has of its own keeps its SELinux label, as with the kubelet.
            selinux_relabel=volume.host_path is None,
        )


def _host_path(name: str, source: schema.HostPath) -> None:
    """Create or check what the type says; without a type a missing path becomes a directory."""
    path, kind = source.path, source.type
    if kind in ("", "DirectoryOrCreate") and not os.path.lexists(path):
        os.makedirs(path, mode=0o755)
    if kind == "FileOrCreate" and not os.path.lexists(path):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    wanted = kind.removesuffix("OrCreate")
    if wanted:
        mode = os.stat(path).st_mode
        if not _FILE_TYPES[wanted](mode):
            raise VolumeFailed(f"volume {name}: {path} is not a {wanted}")


def _bind_sub_path(volume: str, sub_path: str, target: str) -> str:
    """Bind ``sub_path`` (made if it is missing) of a volume at ``target``.

    No link is followed out of the volume, and the bind mount pins what was found: a container that
    exchanges the path afterwards gains nothing.
    """
    with Fd.open(volume, os.O_PATH | os.O_DIRECTORY) as root:
        try:
            fd = sys_file.open_in_root(root.number, sub_path, os.O_PATH)
        except FileNotFoundError:
            _make_below(root.number, sub_path)
            fd = sys_file.open_in_root(root.number, sub_path, os.O_PATH)
    with Fd(fd) as found:
        directory = stat.S_ISDIR(os.fstat(found.number).st_mode)
        _make_target(target, directory)
        if not is_mountpoint(target):
            BindMount(f"/proc/self/fd/{found.number}", target).mount()
    return target


def _make_below(root: int, path: str) -> None:
    made = ""
    for part in path.strip("/").split("/"):
        with Fd(sys_file.open_in_root(root, made or ".", os.O_PATH | os.O_DIRECTORY)) as parent:
            try:
                os.mkdir(part, 0o755, dir_fd=parent.number)
            except FileExistsError:
                pass
        made = f"{made}/{part}"


def _make_target(target: str, directory: bool) -> None:
    if directory:
        os.makedirs(target, exist_ok=True)
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
