"""Whether the files that trilby.conf names are there and can be understood."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

from trilby.cri.config_finding import Finding, Severity, about, of_error, told
from trilby.cri.config_load import BUILT_IN, Loaded
from trilby.errors import TrilbyError
from trilby.pods.config_layers import FLAG

__all__ = [
    "check_drop_ins", "check_files_of_images", "check_policies", "check_seccomp", "check_socket",
    "check_store",
]  # fmt: skip


def check_drop_ins(loaded: Loaded) -> Iterator[Finding]:
    """Files beside drop-ins that are not read."""
    for folder in dict.fromkeys(os.path.dirname(path) for path in loaded.sources):
        if not folder.endswith(".d"):
            continue
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".conf") and not name.startswith("."):
                yield Finding(
                    severity=Severity.WARNING,
                    path=f"{folder}/{name}",
                    what="is not read",
                    why="only files count whose name ends in .conf",
                    hint="rename it, or remove it",
                )


def check_socket(loaded: Loaded) -> Iterator[Finding]:
    """A socket that is open to everybody."""
    mode = loaded.config.socket_mode
    if mode & stat.S_IWOTH:
        yield about(
            loaded,
            "trilby.api.socket_mode",
            f"is {mode:04o}: everybody on this host may write to the socket",
            why="who can ask the daemon for a privileged pod is root",
            hint='set it to "0660" or "0600"',
        )


def check_store(loaded: Loaded, env: Mapping[str, str] | None) -> Iterator[Finding]:
    """A store that only the daemon knows of. Raises StorageConfigError."""
    from trilby.storage.config import load_storage_config

    usual = load_storage_config(os.environ if env is None else env)
    for name, ours, theirs in (
        ("root", loaded.config.root, usual.graphroot),
        ("runroot", loaded.config.runroot, usual.runroot),
    ):
        if ours != theirs and loaded.origins[f"trilby.{name}"] != FLAG:
            yield about(
                loaded,
                f"trilby.{name}",
                f"is {ours}, and storage.conf says {theirs}",
                why="podman, skopeo and `trilby image` do not see what the daemon has",
                hint="say it in storage.conf, and take the option out",
                severity=Severity.WARNING,
            )


def check_files_of_images(
    loaded: Loaded, authfile: str, env: Mapping[str, str] | None
) -> Iterator[Finding]:
    """registries.conf, registries.d, policy.json and auth.json, as pulls read them."""
    from trilby.image.config_check import check_files

    config = loaded.config
    for name, path in (
        ("global_auth_file", config.global_auth_file),
        ("registries_conf_dir", config.registries_conf_dir),
        ("registries_d", config.registries_d),
        ("big_files_temporary_dir", config.big_files_temporary_dir),
    ):
        if path and not os.path.exists(path):
            yield about(
                loaded,
                f"trilby.image.{name}",
                f"is {path}, which is not there",
                why="what it should say does not count",
                hint="make it, or take the option out",
            )
    yield from told(
        lambda: check_files(
            registries_conf=config.registries_conf or None,
            registries_conf_dir=config.registries_conf_dir or None,
            registries_d=config.registries_d or None,
            policy=config.signature_policy or None,
            authfile=authfile or config.global_auth_file or None,
            env=env,
        )
    )


def check_policies(loaded: Loaded, env: Mapping[str, str] | None) -> Iterator[Finding]:
    """The policies of namespaces."""
    from trilby.image.policy import load_policy

    directory = loaded.config.signature_policy_dir
    key = "trilby.image.signature_policy_dir"
    try:
        names = sorted(os.listdir(directory)) if directory else []
    except OSError as error:
        if loaded.origins.get(key, BUILT_IN) != BUILT_IN:
            yield about(
                loaded,
                key,
                f"is {directory}, which cannot be read: {error.strerror}",
                why="the policies of namespaces do not count",
                hint="make it, or take the option out",
            )
        return
    for name in names:
        if name.endswith(".json"):
            try:
                load_policy(f"{directory}/{name}", env=env)
            except TrilbyError as error:
                yield of_error(error)


def check_seccomp(loaded: Loaded) -> Iterator[Finding]:
    """The seccomp profiles that containers get."""
    from trilby.pods.spec.seccomp import DEFAULT_PROFILES

    engine = loaded.config.engine
    runtime = "trilby.runtime"
    usual = next((path for path in DEFAULT_PROFILES if os.path.exists(path)), "")
    for name, path in (
        ("seccomp_profile", engine.seccomp_profile or usual),
        ("privileged_seccomp_profile", engine.privileged_seccomp_profile),
    ):
        if path:
            yield from _profile(loaded, f"{runtime}.{name}", path)
    if not engine.seccomp_profile and not usual:
        yield about(
            loaded,
            f"{runtime}.seccomp_profile",
            f"is empty, and there is none of {', '.join(DEFAULT_PROFILES)}",
            why="containers with the profile RuntimeDefault are refused",
            hint="install containers-common, or name a profile",
        )


def _profile(loaded: Loaded, key: str, path: str) -> Iterator[Finding]:
    from trilby.pods.spec.host import detect_host
    from trilby.pods.spec.seccomp import build_seccomp
    from trilby.system.positions import json_load

    why = "containers with this profile are refused"
    host = detect_host()
    try:
        json_load(path)
        with open(path, "rb") as file:
            raw = file.read()
        build_seccomp(raw, path, arch=host.arch, capabilities=(), kernel=host.kernel)
    except OSError as error:
        what = f"means {path}, which cannot be read: {error.strerror}"
        yield about(loaded, key, what, why=why, hint="put the profile there, or name another")
    except TrilbyError as error:
        yield about(
            loaded,
            key,
            f"means {path}, which is no profile: {error.message}",
            why=why,
            hint=error.hint or "see containers-common's seccomp.json for the format",
        )
