"""Stores, layer archives and images for tests, and the peers podman and skopeo on the same store."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import select
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from trilby.storage.config import StorageConfig
from trilby.storage.records import Image, Layer
from trilby.storage.store import Store

Entry = bytes | str | tarfile.TarInfo


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer_tar(files: Mapping[str, Entry], *, root: bool = False) -> bytes:
    """An uncompressed layer: name -> content, "dir" for names with a final slash, or a TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        if root:
            info = tarfile.TarInfo("./")
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime = 1_700_000_000
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                info.mode = 0o755 if content[:2] in (b"#!", b"\x7fE") else 0o644
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def busybox_layer() -> bytes:
    """A layer with a static shell."""
    shell = Path("/bin/busybox").read_bytes()
    applets = {f"bin/{name}": "busybox" for name in ("sh", "cat", "ls", "echo", "true", "rm")}
    files: dict[str, Entry] = {"bin/": b"", "bin/busybox": shell, **applets}
    for folder in ("proc/", "sys/", "dev/", "tmp/", "etc/"):
        files[folder] = b""
    files["etc/passwd"] = b"root:x:0:0:root:/:/bin/sh\n"
    return layer_tar(files)


def config_of(layers: Iterable[bytes], command: Iterable[str] = ("/bin/sh",)) -> bytes:
    """An OCI image configuration over uncompressed layers."""
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-02T03:04:05Z",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
    ).encode()


def docker_archive(path: Path, name: str, layers: list[bytes]) -> Path:
    """A ``docker save`` archive that podman and skopeo read."""
    config = config_of(layers)
    parts = {f"{digest(config)[7:]}.json": config}
    names = []
    for number, layer in enumerate(layers):
        names.append(f"{number}.tar")
        parts[names[-1]] = layer
    entry = {"Config": f"{digest(config)[7:]}.json", "RepoTags": [name], "Layers": names}
    parts["manifest.json"] = json.dumps([entry]).encode()
    with tarfile.open(path, "w") as archive:
        for part, content in parts.items():
            info = tarfile.TarInfo(part)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def add_layers(store: Store, layers: Iterable[bytes]) -> Layer:
    """Store uncompressed layers gzipped, with the IDs that podman gives; the top one."""
    parent: Layer | None = None
    for data in layers:
        diff = digest(data)
        identity = diff[7:]
        if parent is not None:
            identity = hashlib.sha256(f"{parent.id}+{identity}".encode()).hexdigest()
        with store.stage_layer() as staged:
            staged.apply(io.BytesIO(gzip.compress(data, 1, mtime=0)))
            parent = store.commit_layer(
                staged, layer_id=identity, parent=parent.id if parent else None, diff_id=diff
            )
    assert parent is not None
    return parent


def add_image(store: Store, name: str, layers: list[bytes]) -> Image:
    """Store an OCI image as the image room does: layers, then manifest and configuration."""
    top = add_layers(store, layers)
    config = config_of(layers)
    blobs = [gzip.compress(layer, 1, mtime=0) for layer in layers]
    kind = "application/vnd.oci.image"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": {
                "mediaType": f"{kind}.config.v1+json",
                "digest": digest(config),
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": f"{kind}.layer.v1.tar+gzip",
                    "digest": digest(blob),
                    "size": len(blob),
                }
                for blob in blobs
            ],
        }
    ).encode()
    return store.create_image(
        digest(config)[7:],
        names=[name],
        top_layer=top.id,
        created="2024-01-02T03:04:05Z",
        big_data={
            digest(config): config,
            f"manifest-{digest(manifest)}": manifest,
            "manifest": manifest,
        },
    )


def wait_for_users(folder: Path) -> None:
    """Wait for processes whose command line names the folder: podman's conmon cleans up late."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            named = str(folder).encode() in (process / "cmdline").read_bytes()
            if named and int(process.name) != os.getpid():
                pidfd = os.pidfd_open(int(process.name))
                select.select([pidfd], [], [], 30)
                os.close(pidfd)
        except (FileNotFoundError, ProcessLookupError):
            continue


class Peers:
    """podman and skopeo on a store of their own choice of roots, never on the host's."""

    def __init__(self, folder: Path, driver: str = "overlay") -> None:
        self.graphroot = folder / "graph"
        self.runroot = folder / "run"
        self.driver = driver
        self.folder = folder

    @property
    def config(self) -> StorageConfig:
        return StorageConfig(str(self.graphroot), str(self.runroot), self.driver)

    def open(self, **changes: object) -> Store:
        return Store.open(msgspec.structs.replace(self.config, **changes))

    def podman(self, *arguments: str, check: bool = True) -> str:
        command = ["podman", "--root", str(self.graphroot), "--runroot", str(self.runroot)]
        command += ["--storage-driver", self.driver, "--runtime", "runc"]
        command += ["--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        command += ["--tmpdir", str(self.folder / "podman-tmp")]
        return self._run([*command, *arguments], check)

    def run(self, *arguments: str, check: bool = True) -> str:
        """podman run of a container that needs nothing of the host but a process."""
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
        return self.podman("run", "--network=none", *limits, *arguments, check=check)

    def skopeo(self, *arguments: str, check: bool = True) -> str:
        return self._run(["skopeo", "--insecure-policy", *arguments], check)

    def storage_reference(self, name: str) -> str:
        return f"containers-storage:[{self.driver}@{self.graphroot}+{self.runroot}]{name}"

    def _run(self, command: list[str], check: bool) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")
        return done.stdout.strip()
