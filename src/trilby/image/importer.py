"""Make an image of one layer from a root file system: a directory or a tar archive."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from trilby.image.copy_errors import InvalidChange
from trilby.image.errors import ImageNotFound
from trilby.image.transports.names import layer_ids, local_name, stored_name
from trilby.image.transports.storage_record import ImageDocuments, record_image
from trilby.oci import media
from trilby.oci.codec import decode
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.errors import OciError
from trilby.oci.image import ContainerDefaults, History, ImageConfig, Nothing, RootFs
from trilby.oci.manifest import make_manifest
from trilby.oci.platform import host_platform
from trilby.storage.records import now

if TYPE_CHECKING:
    from trilby.oci.descriptor import Platform
    from trilby.storage.staging import Applied, StagedLayer
    from trilby.storage.store import Store

CHUNK = 1 << 20


def import_rootfs(
    store: Store,
    source: str,
    name: str = "",
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: Platform | None = None,
) -> str:
    """The new image's id; see Images.import_rootfs. Nothing is left if it fails."""
    defaults = apply_changes(ContainerDefaults(), changes)
    names = [stored_name(local_name(name))] if name else []
    with store.stage_layer() as staged:
        applied = _unpack(staged, source)
        diff_id = Digest.parse(applied.diff_id)
        layer_id = layer_ids([diff_id])[0]
        fresh = store.layer(layer_id) is None
        store.commit_layer(staged, layer_id=layer_id)
    try:
        config = _config(defaults, diff_id, source, message, platform or host_platform())
        documents = _documents(config.encode(), applied)
        return record_image(store, documents, names=names, top_layer=layer_id).id
    except BaseException:
        if fresh:
            store.delete_layer(layer_id)
        raise


def _unpack(staged: StagedLayer, source: str) -> Applied:
    if os.path.isdir(source):
        from trilby.storage.tardiff import pack_directory

        blocks = pack_directory(source)
        return staged.apply(BlockReader(blocks), compression="none")
    try:
        with open(source, "rb", buffering=0) as file:
            return staged.apply(lambda size: file.read(size) or b"")
    except FileNotFoundError as error:
        raise ImageNotFound(
            f"importing {source}: {error.strerror}", hint="name a directory or a tar file"
        ) from error


class BlockReader:
    """Blocks of any size, read as from a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; b"" at the end."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = memoryview(block)
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return piece


def _config(
    defaults: ContainerDefaults, diff_id: Digest, source: str, message: str, platform: Platform
) -> ImageConfig:
    created = now()
    step = History(
        created=created,
        created_by=f"trilby image import {os.path.basename(os.path.abspath(source))}",
        comment=message or f"imported from {os.path.basename(os.path.abspath(source))}",
    )
    return ImageConfig(
        created=created,
        architecture=platform.architecture,
        variant=platform.variant,
        os=platform.os,
        config=defaults,
        rootfs=RootFs(diff_ids=(diff_id,)),
        history=(step,),
    )


def _documents(config: bytes, applied: Applied) -> ImageDocuments:
    compression = applied.compression if applied.compression in ("gzip", "zstd") else ""
    digest, size = applied.compressed_digest, applied.compressed_size
    if not compression:
        # What no manifest can say (bzip2, xz) is told as the plain layer that can be exported.
        digest, size = applied.diff_id, applied.diff_size
    layer = Descriptor(
        media_type=media.with_compression(media.OCI_LAYER, compression),
        digest=Digest.parse(digest),
        size=size,
    )
    described = Descriptor(media_type=media.OCI_CONFIG, digest=Digest.of(config), size=len(config))
    manifest = make_manifest(described, [layer])
    top = manifest.digest, manifest.raw
    return ImageDocuments(described.digest, media.OCI_CONFIG, config, top, top)


def apply_changes(defaults: ContainerDefaults, changes: Sequence[str]) -> ContainerDefaults:
    """The container defaults with instructions as in a Containerfile. Raises InvalidChange."""
    for change in changes:
        instruction, _, value = change.strip().partition(" ")
        if "=" in instruction and not value:
            # podman also takes CMD=/bin/sh.
            instruction, _, value = change.strip().partition("=")
        try:
            defaults = _apply(defaults, instruction.upper(), value.strip())
        except (ValueError, OciError) as error:
            raise InvalidChange(
                f"invalid change {change!r}: {error}",
                hint='write it as in a Containerfile, like CMD ["sh"] or ENV A=1',
            ) from error
    return defaults


def _apply(defaults: ContainerDefaults, instruction: str, value: str) -> ContainerDefaults:
    replace = msgspec.structs.replace
    if not value and instruction not in ("CMD", "ENTRYPOINT"):
        raise ValueError("a value is missing")
    match instruction:
        case "CMD":
            return replace(defaults, cmd=_command(value))
        case "ENTRYPOINT":
            return replace(defaults, entrypoint=_command(value))
        case "ENV":
            env = dict(item.partition("=")[::2] for item in defaults.env)
            env |= _pairs(value)
            return replace(defaults, env=tuple(f"{key}={text}" for key, text in env.items()))
        case "LABEL":
            return replace(defaults, labels={**defaults.labels, **_pairs(value)})
        case "WORKDIR":
            return replace(defaults, working_dir=os.path.join(defaults.working_dir or "/", value))
        case "USER":
            return replace(defaults, user=value)
        case "STOPSIGNAL":
            return replace(defaults, stop_signal=value)
        case "EXPOSE":
            ports = {_port(port): Nothing() for port in value.split()}
            return replace(defaults, exposed_ports={**defaults.exposed_ports, **ports})
        case "VOLUME":
            paths = _command(value) if value.startswith("[") else tuple(value.split())
            volumes = {path: Nothing() for path in paths}
            return replace(defaults, volumes={**defaults.volumes, **volumes})
    raise ValueError(f"unknown instruction {instruction!r}")


def _command(value: str) -> tuple[str, ...]:
    """The exec form is a JSON array, anything else is for a shell."""
    if value.startswith("["):
        return tuple(decode(list[str], value.encode(), "command"))
    return ("/bin/sh", "-c", value) if value else ()


def _pairs(value: str) -> dict[str, str]:
    words = shlex.split(value)
    if words and "=" not in words[0]:
        # The old form: one name, and everything behind it is the value.
        name, _, text = value.partition(" ")
        if not text:
            raise ValueError("a value is missing")
        return {name: text.strip()}
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        pairs[name] = text
    return pairs


def _port(text: str) -> str:
    number, slash, protocol = text.partition("/")
    low, _, high = number.partition("-")
    if not all(part.isdecimal() and 0 < int(part) < 65536 for part in (low, high or low)):
        raise ValueError(f"{text!r} is no port")
    if slash and protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"{protocol!r} is no protocol")
    return f"{number}/{protocol or 'tcp'}"
