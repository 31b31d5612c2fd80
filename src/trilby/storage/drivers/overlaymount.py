"""One overlay mount: options sorted into the mount's flags and the file system's text."""

from __future__ import annotations

from msgspec import Struct

from trilby.storage.errors import DriverFailed

_FLAGS = frozenset({"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"})
_NEUTRAL = frozenset({"rw", "suid", "dev", "exec", "defaults", "atime", "diratime", "relatime"})


class OverlayPlan(Struct, frozen=True):
    """What to mount where. ``lowers`` nearest first; ``upper`` "" is a read-only mount."""

    target: str
    lowers: tuple[str, ...]
    upper: str = ""
    work: str = ""
    options: tuple[str, ...] = ()
    label: str = ""


def mount_overlay(plan: OverlayPlan) -> None:
    """Mount it. Raises DriverFailed with the layers' place and the kernel's reason."""
    from trilby.system.mounts import OverlayMount

    flags = [option for option in plan.options if option in _FLAGS]
    options = [option for option in plan.options if option not in _FLAGS | _NEUTRAL]
    if not plan.upper and "ro" not in flags:
        flags.append("ro")
    if plan.label:
        options.append(f'context="{plan.label}"')
    mount = OverlayMount(
        plan.target, plan.lowers, plan.upper, plan.work, tuple(options), tuple(flags)
    )
    try:
        mount.mount()
    except OSError as error:
        raise DriverFailed(
            f"mounting an overlay of {len(plan.lowers)} lower layers on {plan.target}:"
            f" {error.strerror} (options {', '.join(options) or 'none'})",
            hint="dmesg shows what the kernel's overlay refused",
        ) from error


def unmount(target: str) -> None:
    """Unmount at once for new users, lazily for those inside; not mounted is fine."""
    from trilby.system.mount_table import unmount as system_unmount

    try:
        system_unmount(target, lazy=True)
    except OSError as error:
        raise DriverFailed(f"unmounting {target}: {error.strerror}") from error
