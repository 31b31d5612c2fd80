"""Overlay mounts of any number of layers, without ever changing the working directory.

mount(2) takes at most a page of options. A short list goes there in one call. A longer one goes
through fsconfig(2), one ``lowerdir+`` per layer (Linux 6.8): as a string, or above 255 bytes as a
descriptor (6.13). Kernels without that get mount(2) once more with the layers' common parent
replaced by a descriptor's path in /proc/self/fd.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from trilby.system import syscalls_mount as sys_mount
from trilby.system.files import Fd

if TYPE_CHECKING:
    from trilby.system.mounts import OverlayMount

_SPECIAL = str.maketrans({"\\": "\\\\", ",": "\\,", ":": "\\:"})
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def option_string(overlay: OverlayMount) -> str:
    """The options as mount(8) takes them."""
    layers = ":".join(path.translate(_SPECIAL) for path in overlay.lower)
    options = [f"lowerdir={layers}"]
    if overlay.upper:
        options += [f"upperdir={_escape(overlay.upper)}", f"workdir={_escape(overlay.work)}"]
    return ",".join([*options, *overlay.options])


def mount_overlay(overlay: OverlayMount, flags: int, attributes: int) -> None:
    """Mount it; ``flags`` and ``attributes`` say the same to mount(2) and fsmount(2). OSError."""
    data = option_string(overlay)
    if len(os.fsencode(data)) <= sys_mount.MOUNT_DATA_MAX:
        sys_mount.mount(overlay.source, overlay.target, "overlay", flags, data)
        return
    try:
        with Fd(open_overlay(overlay, attributes)) as detached:
            sys_mount.move_mount(detached.number, overlay.target)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED or not _mount_shortened(overlay, flags):
            raise


def open_overlay(overlay: OverlayMount, attributes: int = 0) -> int:
    """The detached mount, made with one fsconfig(2) per layer; OSError."""
    with Fd(sys_mount.fsopen("overlay")) as context:
        fs = context.number
        sys_mount.fsconfig_string(fs, "source", overlay.source)
        for path in overlay.lower:
            _set_path(fs, "lowerdir+", path)
        if overlay.upper:
            _set_path(fs, "upperdir", overlay.upper)
            _set_path(fs, "workdir", overlay.work)
        for option in overlay.options:
            name, given, value = option.partition("=")
            if given:
                sys_mount.fsconfig_string(fs, name, value.strip('"'))
            else:
                sys_mount.fsconfig_flag(fs, name)
        sys_mount.fsconfig_create(fs)
        return sys_mount.fsmount(fs, attributes)


def _set_path(fs: int, key: str, path: str) -> None:
    # The kernel takes backslashes away from these two, but not from ``lowerdir+``.
    text = path if key == "lowerdir+" else path.replace("\\", "\\\\")
    if len(os.fsencode(text)) <= sys_mount.FSCONFIG_STRING_MAX:
        sys_mount.fsconfig_string(fs, key, text)
        return
    with Fd.open(path, os.O_PATH | os.O_DIRECTORY) as folder:
        sys_mount.fsconfig_fd(fs, key, folder.number)


def _mount_shortened(overlay: OverlayMount, flags: int) -> bool:
    """The old call with short names for long prefixes; False when that is too long still."""
    from msgspec.structs import replace

    with ExitStack() as stack:
        prefixes: dict[str, str] = {}
        short = []
        for path in overlay.lower:
            folder, name = os.path.split(path)
            if folder not in prefixes:
                fd = stack.enter_context(Fd.open(folder, os.O_PATH | os.O_DIRECTORY))
                prefixes[folder] = f"/proc/self/fd/{fd.number}"
            short.append(f"{prefixes[folder]}/{name}")
        data = option_string(replace(overlay, lower=tuple(short)))
        if len(os.fsencode(data)) > sys_mount.MOUNT_DATA_MAX:
            return False
        sys_mount.mount(overlay.source, overlay.target, "overlay", flags, data)
        return True


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,")
