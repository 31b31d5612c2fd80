"""Reading what a spec needs from the host and the container's root file system."""

from __future__ import annotations

import os

from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_common import ProfileType, SecurityProfile
from trilby.pods.spec.cdi import edit_devices, find_edits
from trilby.pods.spec.devices import HostDevice, host_devices, parse_device, read_devices
from trilby.pods.spec.host import HostFacts, detect_host
from trilby.pods.spec.inputs import SpecInputs, SpecRequest
from trilby.pods.spec.mount_sources import resolve_sources
from trilby.pods.spec.rootfs_files import read_in_root
from trilby.pods.spec.seccomp import DEFAULT_PROFILES
from trilby.pods.spec.security import host_contexts
from trilby.pods.spec.users import resolve_user

MAX_PROFILE = 4 << 20


def gather(request: SpecRequest, host: HostFacts | None = None) -> SpecInputs:
    """Read users, devices, profiles and mount sources. Blocking; makes missing host directories.

    ``host`` None: this host, as detect_host() finds it. Raises ``InvalidPodConfig``.
    """
    host = host or detect_host()
    security = request.container.security
    defaults = request.defaults
    user = resolve_user(
        security,
        request.image.config.user,
        read_in_root(request.rootfs, "/etc/passwd"),
        read_in_root(request.rootfs, "/etc/group"),
    )
    edits = find_edits(request.container.cdi_devices, defaults.cdi_spec_dirs)
    name = seccomp_file(security.seccomp, request)
    return SpecInputs(
        request=request,
        host=host,
        user=user,
        sources=resolve_sources(
            request.container.mounts,
            request.image_mounts,
            reject_absent=defaults.absent_mount_sources_to_reject,
        ),
        devices=_devices(request) + edit_devices(edits),
        cdi=edits,
        seccomp=_read_profile(name) if name else None,
        seccomp_name=name,
        selinux=host_contexts() if host.selinux else None,
        apparmor_profiles=_apparmor_profiles() if host.apparmor else None,
    )


def seccomp_file(profile: SecurityProfile | None, request: SpecRequest) -> str:
    """The profile's path, empty for none. A container without a profile has none, says the CRI."""
    defaults = request.defaults
    if request.container.security.privileged:
        return defaults.privileged_seccomp_profile
    if profile is None or profile.type is ProfileType.UNCONFINED:
        return ""
    if profile.type is ProfileType.LOCALHOST:
        path = profile.localhost_ref.removeprefix("localhost/")
        if not path.startswith("/"):
            raise InvalidPodConfig(f"seccomp profile {profile.localhost_ref!r} is no absolute path")
        return path
    for path in filter(None, (defaults.seccomp_profile, *DEFAULT_PROFILES)):
        if os.path.exists(path):
            return path
    raise InvalidPodConfig(
        f"seccomp profile RuntimeDefault: none of {', '.join(DEFAULT_PROFILES)} exists",
        hint="install containers-common, or set seccomp_profile",
    )


def _read_profile(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_PROFILE + 1)
    except OSError as error:
        raise InvalidPodConfig(f"seccomp profile {path}: {error.strerror}") from error
    if len(raw) > MAX_PROFILE:
        raise InvalidPodConfig(f"seccomp profile {path} is larger than {MAX_PROFILE} bytes")
    return raw


def _devices(request: SpecRequest) -> tuple[HostDevice, ...]:
    defaults = request.defaults
    found = read_devices(map(parse_device, defaults.additional_devices))
    if request.container.security.privileged and not defaults.privileged_without_host_devices:
        found += host_devices()
    return found + read_devices(request.container.devices)


def _apparmor_profiles() -> frozenset[str] | None:
    try:
        with open("/sys/kernel/security/apparmor/profiles") as file:
            return frozenset(line.rpartition(" (")[0] for line in file)
    except OSError:
        return None
