"""What ADD did, on disk in the place and format of libcni, so that any tool can DEL it.

A file is ``<directory>/results/<network>-<container>-<interface>``, mode 0600. We write it once
before ADD without a result, so that a crash in between is found, and once more after it.
"""

from __future__ import annotations

import logging
import os

import msgspec

from trilby.oci.codec import JsonValue
from trilby.pods.network.document import JsonObject
from trilby.system.files import atomic_write

KIND = "cniCacheV1"
NOTHING = msgspec.Raw(b"{}")
NULL = msgspec.Raw(b"null")
log = logging.getLogger(__name__)


class CachedAttachment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One file. ``config`` is the conflist's bytes, ``result`` null when ADD did not end."""

    kind: str = KIND
    container_id: str
    config: bytes
    if_name: str
    network_name: str
    netns: str = ""
    cni_args: tuple[tuple[str, str], ...] = ()
    capability_args: msgspec.Raw = NOTHING
    result: msgspec.Raw = NULL

    def capabilities(self) -> JsonObject:
        """What the plugins were told in runtimeConfig, if they declare it."""
        values: JsonValue = msgspec.json.decode(self.capability_args)
        return values if isinstance(values, dict) else {}

    def document(self) -> JsonValue:
        """The result object; None when ADD did not end."""
        document: JsonValue = msgspec.json.decode(self.result)
        return document


class ResultCache:
    """The files of one cache directory (libcni's default is /var/lib/cni)."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.join(directory, "results")

    def path(self, network: str, container_id: str, ifname: str) -> str:
        return os.path.join(self.directory, f"{network}-{container_id}-{ifname}")

    def write(self, cached: CachedAttachment) -> None:
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        atomic_write(
            self.path(cached.network_name, cached.container_id, cached.if_name),
            msgspec.json.encode(cached),
            mode=0o600,
            fsync=False,
        )

    def read(self, network: str, container_id: str, ifname: str) -> CachedAttachment | None:
        """The file's content; None when there is none, or it cannot be understood."""
        return self._read(self.path(network, container_id, ifname))

    def remove(self, network: str, container_id: str, ifname: str) -> None:
        try:
            os.unlink(self.path(network, container_id, ifname))
        except FileNotFoundError:
            pass

    def attachments(self, container_id: str = "") -> list[CachedAttachment]:
        """Every attachment that the directory knows, or those of one container."""
        try:
            names = sorted(os.listdir(self.directory))
        except FileNotFoundError:
            return []
        if container_id:
            names = [name for name in names if f"-{container_id}-" in name]
        found = [self._read(os.path.join(self.directory, name)) for name in names]
        return [cached for cached in found if cached and container_id in ("", cached.container_id)]

    def _read(self, path: str) -> CachedAttachment | None:
        try:
            with open(path, "rb") as file:
                cached = msgspec.json.decode(file.read(), type=CachedAttachment)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s: ignored: it cannot be read as a CNI result: %s", path, error)
            return None
        return cached if cached.kind == KIND else None
