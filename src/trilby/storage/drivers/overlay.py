"""The overlay driver: each layer's changes in a directory of its own, stacked by the kernel."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trilby.storage.drivers.base import DriverOptions, MountRequest, ReadBlob
from trilby.storage.drivers.overlaylinks import Links, new_link, read_text, rotated
from trilby.storage.drivers.overlaymount import OverlayPlan, mount_overlay, unmount
from trilby.storage.errors import DriverFailed, StorageError
from trilby.storage.records import IDMap
from trilby.storage.tempdirs import TempDir, TempRoot
from trilby.system.files import fsync_directory, sync_fs
from trilby.system.locks import RecordLock

if TYPE_CHECKING:
    from trilby.storage.drivers.probes import Probes
    from trilby.storage.unpack import Unpacked

_ROOT_MODE = 0o555


class OverlayDriver:
    """``<graphroot>/overlay``; see drivers.base.Driver for what the methods promise."""

    name = "overlay"

    def __init__(self, graphroot: str, runroot: str, options: DriverOptions) -> None:
        self.home = os.path.join(graphroot, "overlay")
        self.run_home = os.path.join(runroot, "overlay")
        self.temp = TempRoot(os.path.join(self.home, "tempdirs"))
        self.options = options
        # The kernel lets only the host's root use trusted attributes.
        self._prefix = "trusted" if os.geteuid() == 0 else "user"
        others = [os.path.join(store, "overlay") for store in options.image_stores]
        self._links = Links(self.home, others)
        self._asked: Probes | None = None
        self._made_home_mount = False

    @property
    def _probes(self) -> Probes:
        if self._asked is None:
            from trilby.storage.drivers.probes import Probes

            self._asked = Probes(self.temp, self.run_home, self.options.mount_options, self._prefix)
        return self._asked

    # -- making and removing -----------------------------------------------------------------

    def unpack_staged(
        self,
        place: str,
        read: ReadBlob,
        *,
        compression: str | None,
        tar_split: str,
        size_hint: int | None = None,
    ) -> Unpacked:
        from trilby.storage.unpack import Owners, unpack

        layer = os.path.join(place, "layer")
        self._make_skeleton(layer)
        unpacked = unpack(
            read,
            os.path.join(layer, "diff"),
            whiteouts="overlay" if self._prefix == "trusted" else "overlay-user",
            tar_split=tar_split,
            compression=compression,
            size_hint=size_hint,
            owners=Owners(ignore_chown_errors=True) if self.options.ignore_chown_errors else None,
        )
        if self.options.sync != "none":
            # The one flush of a layer: what is renamed and recorded later is on disk already.
            fd = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_fs(fd)
            finally:
                os.close(fd)
        return unpacked

    def place_staged(self, place: str, layer_id: str, parent: str | None, tar_split: str) -> None:
        layer = os.path.join(place, "layer")
        self._finish_skeleton(layer, parent)
        target = os.path.join(self.home, layer_id)
        if os.path.lexists(target):
            # No record knew it: what a killed process left.
            with self.temp.directory() as away:
                self.discard(layer_id, away)
        with open(os.path.join(layer, "link"), encoding="ascii") as file:
            link = file.read()
        os.rename(layer, target)
        self._links.make(layer_id, link)
        self._flush_names(target)

    def create(
        self,
        layer_id: str,
        parent: str | None,
        *,
        durable: bool = True,
        uid_map: Sequence[IDMap] = (),
        gid_map: Sequence[IDMap] = (),
    ) -> None:
        target = os.path.join(self.home, layer_id)
        if os.path.lexists(target):
            with self.temp.directory() as away:
                self.discard(layer_id, away)
        link = self._make_skeleton(target)
        self._finish_skeleton(target, parent)
        if uid_map or gid_map:
            from trilby.storage.drivers.overlayidmap import shift_owners

            shift_owners(target, uid_map, gid_map)
        self._links.make(layer_id, link)
        if durable:
            self._flush_names(target)

    def _make_skeleton(self, layer: str) -> str:
        """A layer directory without what depends on its parent; its link name."""
        self._refuse_other_whiteouts()
        os.makedirs(layer, 0o700)
        for name in ("diff", "work", "merged"):
            os.mkdir(os.path.join(layer, name), 0o700)
        link = new_link()
        _write(os.path.join(layer, "link"), link)
        return link

    def _refuse_other_whiteouts(self) -> None:
        """Raise DriverFailed for layers of a mount program: deleted files are kept otherwise."""
        if read_text(os.path.join(self.home, ".has-mount-program")) == "true":
            raise DriverFailed(
                f"using {self.home}: its layers were written for fuse-overlayfs, which the"
                " kernel's overlay reads otherwise",
                hint="use another --root, or podman with its mount_program",
            )

    def _finish_skeleton(self, layer: str, parent: str | None) -> None:
        """The parent's chain, and the owner and mode of the root directory: always the parent's."""
        diff = os.path.join(layer, "diff")
        if parent is None:
            os.mkdir(os.path.join(layer, "empty"), 0o700)
            os.chmod(diff, _ROOT_MODE)
            return
        _write(os.path.join(layer, "lower"), self._links.lower_text(parent))
        above = os.stat(os.path.join(self._links.home_of(parent), parent, "diff"))
        here = os.stat(diff)
        if (here.st_uid, here.st_gid) != (above.st_uid, above.st_gid):
            os.chown(diff, above.st_uid, above.st_gid)
        os.chmod(diff, stat.S_IMODE(above.st_mode))

    def _flush_names(self, layer: str) -> None:
        if self.options.sync == "none":
            return
        for name in ("lower", "link"):
            path = os.path.join(layer, name)
            if os.path.exists(path):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        for folder in (layer, self.home, os.path.join(self.home, "l")):
            fsync_directory(folder)

    def discard(self, layer_id: str, into: TempDir) -> None:
        folder = os.path.join(self.home, layer_id)
        merged = os.path.join(folder, "merged")
        if self.mounted(merged):
            unmount(merged)
        self._links.remove(layer_id)
        into.take(folder)

    # -- looking -----------------------------------------------------------------------------

    def exists(self, layer_id: str) -> bool:
        return os.path.lexists(os.path.join(self.home, layer_id))

    def layer_ids(self) -> list[str]:
        try:
            names = os.listdir(self.home)
        except FileNotFoundError:
            return []
        return [name for name in names if len(name) == 64 and name.isalnum()]

    def roots(self, layer_id: str) -> list[str]:
        folder = os.path.join(self._links.home_of(layer_id), layer_id)
        return [os.path.join(folder, "diff"), *rotated(folder), *self._links.lowers(layer_id)]

    def diff(self, layer_id: str, parent: str | None) -> Iterator[bytes]:
        from trilby.storage.tardiff import write_diff

        own, *lowers = self.roots(layer_id)
        if self._probes.native_diff():
            return write_diff(own, lowers)
        return self._compared(layer_id, parent)

    def _compared(self, layer_id: str, parent: str | None) -> Iterator[bytes]:
        """Mount both and compare: for kernels whose upper directories do not tell everything."""
        from trilby.storage.tardiff import compare_trees

        with self.temp.directory() as place:
            tree = self._mount_aside(layer_id, os.path.join(place.path, "layer"))
            try:
                if parent is None:
                    yield from compare_trees(tree, None)
                    return
                below = self._mount_aside(parent, os.path.join(place.path, "parent"))
                try:
                    yield from compare_trees(tree, below)
                finally:
                    unmount(below)
            finally:
                unmount(tree)

    def _mount_aside(self, layer_id: str, target: str) -> str:
        os.mkdir(target, 0o700)
        mount_overlay(self._plan(layer_id, target, MountRequest(read_only=True)))
        return target

    # -- mounting ----------------------------------------------------------------------------

    def mount(self, layer_id: str, request: MountRequest) -> str:
        home = self._links.home_of(layer_id)
        if home == self.home:
            target = os.path.join(home, layer_id, "merged")
        elif request.read_only:
            target = os.path.join(self.run_home, layer_id, "merged")
        else:
            raise DriverFailed(
                f"mounting layer {layer_id[:12]} for writing: it is in the read-only store {home}"
            )
        try:
            os.makedirs(target, 0o700, exist_ok=True)
        except OSError as error:
            raise DriverFailed(f"making mount point {target}: {error.strerror}") from error
        plan = self._plan(layer_id, target, request)
        if request.uid_map or request.gid_map:
            from trilby.storage.drivers.overlayidmap import make_reachable, mapped_lowers

            make_reachable(target, os.path.dirname(self.home))
            with mapped_lowers(plan, os.path.join(home, layer_id, "mapped"), request) as plan:
                mount_overlay(plan)
        else:
            mount_overlay(plan)
        return target

    def _plan(self, layer_id: str, target: str, request: MountRequest) -> OverlayPlan:
        home = self._links.home_of(layer_id)
        folder = os.path.join(home, layer_id)
        diff = os.path.join(folder, "diff")
        lowers = [*rotated(folder), *self._links.lowers(layer_id)]
        options = list(request.options or self.options.mount_options)
        read_only = request.read_only or "ro" in options
        if "metacopy=on" in options and not self._probes.metacopy():
            options.remove("metacopy=on")
        if self._prefix == "user" and "userxattr" not in options:
            options.append("userxattr")
        if read_only:
            stack = [diff, *lowers]
            if len(stack) == 1:
                # Without an upper directory the kernel wants two lower ones.
                stack.append(self._empty(folder))
            return OverlayPlan(target, tuple(stack), options=tuple(options), label=request.label)
        if request.volatile and "volatile" not in options and self._probes.volatile():
            options.append("volatile")
        work = os.path.join(folder, "work")
        _forget_volatile(work)
        return OverlayPlan(
            target,
            tuple(lowers or [self._empty(folder)]),
            diff,
            work,
            tuple(options),
            request.label,
        )

    def _empty(self, folder: str) -> str:
        path = os.path.join(folder, "empty")
        if folder.startswith(self.home + os.sep):
            os.makedirs(path, 0o700, exist_ok=True)
        return path

    def mounted(self, path: str) -> bool:
        from trilby.system.mount_table import is_mountpoint

        return is_mountpoint(path)

    def unmount(self, layer_id: str) -> None:
        home = self._links.home_of(layer_id)
        base = self.home if home == self.home else self.run_home
        target = os.path.join(base, layer_id, "merged")
        unmount(target)
        # A new directory in its place lets go of copies of the mount in other namespaces.
        fresh = f"{target}.1"
        try:
            os.mkdir(fresh, 0o700)
            os.rename(fresh, target)
        except OSError:
            try:
                os.rmdir(fresh)
            except OSError:
                pass

    def prepare_mounts(self) -> None:
        """Make the home a private mount, as podman does: else its bind would hide our mounts."""
        os.makedirs(self.home, 0o700, exist_ok=True)
        self._refuse_other_whiteouts()
        if self.options.skip_mount_home or self.mounted(self.home):
            return
        from trilby.system.mounts import BindMount

        try:
            BindMount(self.home, self.home, recursive=False).mount()
        except OSError as error:
            raise DriverFailed(
                f"making {self.home} a private mount: {error.strerror}",
                hint="this needs root, or skip_mount_home in storage.conf",
            ) from error
        self._made_home_mount = True

    def release_mounts(self, lock: RecordLock) -> None:
        if not self._made_home_mount:
            return
        from trilby.system.mount_table import unmount as system_unmount

        with lock.exclusive():
            try:
                # Busy while anything is mounted or open below: then it stays, as podman's does.
                system_unmount(self.home)
            except OSError:
                return
        self._made_home_mount = False


def _write(path: str, text: str) -> None:
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"writing {path}: {error.strerror}") from error


def _forget_volatile(work: str) -> None:
    """The kernel refuses a second mount of an upper directory that was mounted volatile."""
    marker = os.path.join(work, "work", "incompat", "volatile")
    try:
        os.rmdir(marker)
    except FileNotFoundError:
        pass
    except OSError:
        from trilby.system.files import remove_tree

        remove_tree(marker)
