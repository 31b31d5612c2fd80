"""Which runtime handlers there are, and what pods can ask of each."""

from __future__ import annotations

import logging
import os
import shutil

import msgspec

from trilby.errors import TrilbyError
from trilby.pods.engine_parts import Parts
from trilby.pods.errors import HandlerUnknown
from trilby.pods.spec.host import detect_host
from trilby.system.process import CommandFailed

log = logging.getLogger(__name__)


class HandlerFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """CRI ``RuntimeHandlerFeatures``.

    ``user_namespaces`` needs the kernel alone: the mounts whose owners are shifted are ours.
    """

    recursive_read_only: bool
    user_namespaces: bool


def installed(parts: Parts) -> list[str]:
    """Names of the configured handlers whose program is there."""
    handlers = parts.config.runtimes.values()
    return [one.name for one in handlers if shutil.which(one.path or one.name)]


def features(parts: Parts) -> dict[str, HandlerFeatures]:
    """What each installed handler can do; the default one is there once more under ""."""
    found = {}
    user_namespaces = has_user_namespaces()
    for name in installed(parts):
        try:
            can = parts.runtimes.get(name).features()
        except (TrilbyError, CommandFailed, OSError) as error:
            log.warning("runtime handler %s does not say what it can do: %s", name, error)
            continue
        found[name] = HandlerFeatures(
            recursive_read_only=can.recursive_read_only,
            user_namespaces=user_namespaces,
        )
    try:
        default = found.get(parts.runtimes.resolve(""))
    except HandlerUnknown:
        default = None
    return found if default is None else {"": default, **found}


def has_user_namespaces() -> bool:
    """Whether pods can have them: Linux 5.19, for overlays of idmapped layers; not forbidden."""
    if detect_host().kernel < (5, 19) or not os.path.exists("/proc/self/ns/user"):
        return False
    with open("/proc/sys/user/max_user_namespaces") as file:
        return int(file.read()) > 0
