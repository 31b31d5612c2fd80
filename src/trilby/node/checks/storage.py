"""Checks of storage: configuration, driver, file systems, room, and the store itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from trilby.node.model import Check, Seen, failed, passed, skipped, warned, worst
from trilby.storage.drivers.registry import DRIVERS

if TYPE_CHECKING:
    from trilby.node.node import Node

__all__ = ["CHECKS"]

GROUP: Final = "storage"
#: File systems that can be the upper layer of an overlay.
UPPERS: Final = ("ext4", "xfs", "btrfs", "tmpfs", "f2fs", "zfs", "bcachefs", "ext3", "ext2")
FOREIGN: Final = ("btrfs", "zfs", "aufs", "devicemapper")
GIB: Final = 1 << 30


def _configuration(node: Node) -> Seen:
    settings = node.settings
    if settings.storage_problem:
        return failed(settings.storage_problem)
    if settings.storage.warnings:
        return warned(*settings.storage.warnings)
    sources = settings.storage.sources
    return passed(f"{', '.join(sources)} read" if sources else "no storage.conf: the defaults")


def _on_disk(node: Node) -> list[str]:
    root = node.settings.storage.graphroot
    return [name for name in (*DRIVERS, *FOREIGN) if node.host.is_directory(f"{root}/{name}")]


def _named(node: Node) -> str:
    driver = node.settings.storage.driver
    return "overlay" if driver == "overlay2" else driver


def _driver(node: Node) -> Seen:
    storage = node.settings.storage
    named, there = _named(node), _on_disk(node)
    place = f"{storage.driver_place or 'asked for'}: driver is {named}" if named else ""
    seen = [*filter(None, [place]), f"{storage.graphroot} has {', '.join(there) or 'no layers'}"]
    choose = f"""sed -i 's/^ *driver *=.*/driver = "overlay"/' {_conf(node)}"""
    if named and named not in DRIVERS:
        return failed(*seen, f"drivers are {', '.join(DRIVERS)}", mend=choose)
    foreign = [name for name in there if name in FOREIGN]
    if not named and (foreign or len(there) > 1):
        return failed(*seen, mend=f"name the driver in {_conf(node)}")
    if named and there and named not in there:
        return warned(*seen, "the images that are there are not seen", mend="trilby image list")
    chosen = named or (there[0] if there else "overlay")
    if chosen == "vfs":
        return warned(*seen, "vfs copies every layer", mend=choose)
    return passed(*seen)


def _conf(node: Node) -> str:
    return node.settings.storage.driver_place.partition(":")[0] or "/etc/containers/storage.conf"


def _file_system(node: Node) -> Seen:
    root = node.settings.storage.graphroot
    mount = node.mount_of(root)
    if mount is None:
        return skipped("the mount table is not there")
    seen = f"{root} is on {mount.fs_type} ({mount.source} at {mount.target})"
    if _named(node) == "vfs":
        return passed(seen)
    if mount.fs_type not in UPPERS:
        return failed(seen, f"overlay needs {', '.join(UPPERS[:4])}")
    return passed(seen)


def _options(node: Node) -> Seen:
    root = node.settings.storage.graphroot
    mount = node.mount_of(root)
    if mount is None:
        return skipped("the mount table is not there")
    options = {*mount.options, *mount.super_options.split(",")}
    seen = f"{mount.target} is mounted {','.join(mount.options)}"
    for option in ("ro", "noexec"):
        if option in options:
            return failed(seen, mend=f"mount -o remount,{_OPPOSITE[option]} {mount.target}")
    if "nosuid" in options:
        return warned(seen, mend=f"mount -o remount,suid {mount.target}")
    return passed(seen)


_OPPOSITE: Final = {"ro": "rw", "noexec": "exec"}


def _entry_types(node: Node) -> Seen:
    root = node.settings.storage.graphroot
    mount = node.mount_of(root)
    kind = f" ({mount.fs_type})" if mount else ""
    seen = f"{node.host.parent(root)}{kind}: directory entries have"
    if not node.host.tells_types(root):
        return failed(f"{seen} no types")
    return passed(f"{seen} types")


def _overlay(node: Node) -> Seen:
    """What the kernel lists and the file system may be: only a mount tells."""
    if not node.host.live or _named(node) == "vfs":
        return skipped("the driver is vfs" if node.host.live else "the host does not run")
    place = node.host.parent(node.settings.storage.graphroot)
    problem = node.host.try_overlay(place)
    if problem:
        return failed(*(f"below {place}: {line}" for line in problem.splitlines()[:3]))
    return passed(f"below {place} an overlay was mounted, and unmounted")


def _probes(node: Node) -> Seen:
    """The answers that the driver found at its first mounts, and keeps for the boot."""
    folder = f"{node.settings.storage.runroot}/overlay"
    said, bad = [], []
    for name in node.host.names(folder):
        feature, _, answer = name.rpartition("-")
        if answer not in ("true", "false") or feature.startswith("metacopy"):
            continue
        said.append(f"{folder}/{name}")
        if answer == "false":
            bad.append(f"{folder}/{name}: {node.host.word(f'{folder}/{name}') or 'no reason'}")
    if bad:
        return warned(*bad)
    return passed(*said) if said else skipped(f"{folder} has no answers yet")


def _quota(node: Node) -> Seen:
    storage = node.settings.storage
    asked = [each for each in storage.driver_options if each.partition("=")[0].endswith("size")]
    if not asked:
        return skipped("no option asks for a size of containers")
    mount = node.mount_of(storage.graphroot)
    options = mount.super_options.split(",") if mount else []
    if {"prjquota", "pquota"} & set(options):
        return warned(f"{asked[0]} is set, and this version limits no sizes")
    return warned(
        f"{asked[0]} is set, and {mount.target if mount else storage.graphroot} is mounted without"
        " prjquota"
    )


def _run_root(node: Node) -> Seen:
    root = node.settings.storage.runroot
    mount = node.mount_of(root)
    if mount is None:
        return skipped("the mount table is not there")
    seen = f"{root} is on {mount.fs_type} ({mount.target})"
    return passed(seen) if mount.fs_type in ("tmpfs", "ramfs") else warned(seen)


def _rights(node: Node) -> Seen:
    seen = []
    for root in (node.settings.storage.graphroot, node.settings.storage.runroot):
        found = node.host.stat(root)
        if found is None:
            continue
        mode, owner = stat.S_IMODE(found.st_mode), found.st_uid
        said = f"{root} has mode {mode:04o} and owner {owner}"
        expected = 0 if node.host.root == "/" and os.geteuid() == 0 else owner
        if mode & 0o022 or owner != expected:
            seen.append(failed(said, mend=f"chown root:root {root} && chmod 0711 {root}"))
        else:
            seen.append(passed(said))
    return worst(seen, skipped("there is no store yet"))


def _space(path_of: Callable[[Node], str], least: int) -> Callable[[Node], Seen]:
    """The kubelet evicts pods below 10 %, and removes images below 15 %."""

    def look(node: Node) -> Seen:
        path = path_of(node)
        space = node.host.space(path)
        if not space.size:
            return skipped(f"{path} is on a file system that does not count")
        share = space.free / space.size
        seen = f"{path} has {space.free / GIB:.1f} GiB of {space.size / GIB:.1f} free ({share:.0%})"
        if space.free < least or share < 0.05:
            return failed(f"{seen}; {least / GIB:g} GiB and 5 % are needed")
        return passed(seen) if share >= 0.15 else warned(f"{seen}; below 15 % images are removed")

    return look


def _inodes(node: Node) -> Seen:
    path = node.settings.storage.graphroot
    space = node.host.space(path)
    if not space.inodes:
        return skipped(f"{path} is on a file system without a number of inodes")
    share = space.inodes_free / space.inodes
    seen = f"{path} has {space.inodes_free} of {space.inodes} inodes free ({share:.0%})"
    if share < 0.05:
        return failed(f"{seen}; below 5 % pods are evicted")
    return passed(seen) if share >= 0.1 else warned(seen)


def _store(node: Node) -> Seen:
    """The quick look of `trilby` itself: every record has what it names."""
    storage = node.settings.storage
    if not node.host.live:
        return skipped("the store of a host that does not run is not opened")
    there = [name for name in _on_disk(node) if name in DRIVERS]
    if not any(node.host.is_directory(f"{storage.graphroot}/{name}-layers") for name in there):
        return skipped(f"{storage.graphroot} has no store yet")
    here = msgspec.structs.replace(
        storage,
        graphroot=node.host.path(storage.graphroot),
        runroot=node.host.path(storage.runroot),
    )
    if not all(os.access(path, os.W_OK) for path in (here.graphroot, here.runroot)):
        return skipped(f"{storage.graphroot} cannot be opened without being root")
    from trilby.storage.store import Store

    with Store.open(here) as store:
        found = store.check()
        count = f"{len(store.images())} images, {len(store.layers())} layers"
    if found.sound:
        return passed(f"{storage.graphroot}: {count}, all there")
    bad = [
        f"{kind} {name[:12]}: {problems[0]}"
        for kind, those in (
            ("image", found.images), ("layer", found.layers), ("container", found.containers),
        )
        for name, problems in those.items()
    ]  # fmt: skip
    return failed(*bad[:5], *([f"and {len(bad) - 5} more"] if len(bad) > 5 else []))


def _additional(node: Node) -> Seen:
    seen = []
    for path in node.settings.storage.additional_image_stores:
        there = any(node.host.is_directory(f"{path}/{name}-images") for name in DRIVERS)
        seen.append(passed(f"{path} is there") if there else failed(f"{path} is no image store"))
    return worst(seen, skipped("there are none"))


def _removes(node: Node) -> str:
    return node.settings.storage.graphroot


FREE: Final = "trilby image prune --all, or a larger file system"
PLACES: Final = (
    ("space-images", "Room for images", _removes, GIB, FREE),
    ("space-kubelet", "Room of the kubelet", lambda node: "/var/lib/kubelet", GIB // 2,
     "du -xsh /var/lib/kubelet/pods/*"),
    ("space-logs", "Room for logs", lambda node: node.settings.log_dir, GIB // 4,
     "journalctl --vacuum-size=500M"),
    ("space-run", "Room of the run root", lambda node: node.settings.storage.runroot, 32 << 20,
     "mount -o remount,size=50% /run"),
)  # fmt: skip

CHECKS: Final = (
    Check(
        id="storage-configuration", group=GROUP, title="storage.conf", look=_configuration,
        why="a store that cannot be opened runs nothing; what is not understood does not count",
        mend="trilby config check",
    ),
    Check(
        id="storage-driver", group=GROUP, title="Storage driver", look=_driver,
        why="images of another driver are not seen",
    ),
    Check(
        id="storage-file-system", group=GROUP, title="File system of images", look=_file_system,
        why="overlay's upper layers need an ordinary local file system",
        mend="set graphroot in storage.conf to a directory on xfs or ext4",
    ),
    Check(
        id="storage-mount-options", group=GROUP, title="Mount options of images", look=_options,
        why="containers run programs from there, with the rights that files have",
    ),
    Check(
        id="storage-entry-types", group=GROUP, title="Types of directory entries (d_type)",
        look=_entry_types, slow=True,
        why="overlay cannot tell removed files without them: images come out wrong",
        mend="make the file system anew: mkfs.xfs -n ftype=1",
    ),
    Check(
        id="storage-overlay-mount", group=GROUP, title="Overlay can be mounted", look=_overlay,
        slow=True, why="no image can be mounted", mend="dmesg | tail; set driver to vfs if need be",
    ),
    Check(
        id="storage-overlay-features", group=GROUP, title="Features of overlay", look=_probes,
        why="differences of layers are found by comparing all files, and containers sync more",
        mend="sysctl and options: see /sys/module/overlay/parameters; reboot to ask again",
    ),
    Check(
        id="storage-quota", group=GROUP, title="Size limits of containers", look=_quota,
        why="a limit that does not count lets one container fill the disk",
        mend="take the option out of storage.conf; limit ephemeral-storage in pods",
    ),
    Check(
        id="storage-run-root", group=GROUP, title="File system of the run root", look=_run_root,
        why="what describes a past boot must not outlive it", mend="set runroot to a place on /run",
    ),
    Check(
        id="storage-rights", group=GROUP, title="Rights of the store", look=_rights,
        why="who can write there can change every image",
    ),
    Check(
        id="storage-readable", group=GROUP, title="Records of the store", look=_store, slow=True,
        why="damaged images cannot be started", mend="trilby image pull IMAGE, once more",
    ),
    Check(
        id="storage-additional", group=GROUP, title="Additional image stores", look=_additional,
        why="their images are not found", mend="mount it, or take it out of storage.conf",
    ),
    *(
        Check(id=id, group=GROUP, title=title, look=_space(path_of, least), mend=mend, slow=True,
              why="pods are evicted and images removed when there is no room")
        for id, title, path_of, least, mend in PLACES
    ),
    Check(
        id="inodes-images", group=GROUP, title="Inodes for images", look=_inodes, slow=True,
        why="pods are evicted and images removed when there is no room", mend=FREE,
    ),
)  # fmt: skip
