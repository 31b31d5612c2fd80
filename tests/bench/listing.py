"""Listing a store of 500 images, interpreter start included: trilby and podman."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

from tests.bench.measure import Run, median, run
from tests.bench.place import Place
from tests.bench.report import Line, Section
from tests.support.store import config_of, layer_tar

from trilby.storage.config import StorageConfig
from trilby.storage.store import Store

COUNT = 500
GOAL = 150.0
#: It takes many seconds each time.
PODMAN_ROUNDS = 2
KIND = "application/vnd.oci.image"


def measure(place: Place, rounds: int) -> list[Section]:
    """Medians of whole processes, turn by turn, after one round of warming up."""
    store = place.store("list")
    fill(store, COUNT)
    commands = {
        "trilby image list": place.trilby(store, "image", "list"),
        "podman images": place.podman(store, "images"),
        "python -c pass": [place.trilby(store)[0], "-c", "pass"],
    }
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, argv in commands.items():
            if name == "podman images" and number > PODMAN_ROUNDS:
                continue
            done = run(argv, place.environment(), place.log)
            if number:
                runs[name].append(done)
            elif name != "python -c pass":
                _check(place, name)
    peer = median([done.wall for done in runs["podman images"]])
    method = (
        f"{COUNT} images of two layers, five of them over one base; whole processes, bytecode "
        "cached; skopeo has no such command"
    )
    section = Section(title=f"List of {COUNT} images", method=method)
    for name, found in runs.items():
        walls = [done.wall * 1000 for done in found]
        cpu = median([done.user + done.system for done in found]) * 1000
        section.lines.append(
            Line(
                name=name,
                unit="ms",
                value=median(walls),
                values=tuple(walls),
                ratio=median(walls) / peer / 1000 if name != "podman images" else None,
                against="podman",
                goal=GOAL if name == "trilby image list" else None,
                note=f"CPU {cpu:.0f} ms",
            )
        )
    place.remove_store(store)
    return [section]


def fill(directory: Path, count: int) -> None:
    """A store of images as a node has them: each with a layer of its own over a shared base."""
    store = Store.open(StorageConfig(f"{directory}/g", f"{directory}/r", "overlay"))
    try:
        base, parent = b"", ""
        for number in range(count):
            if number % 5 == 0:
                base = layer_tar({f"usr/lib/base{number}": b"base"})
                parent = _layer(store, base, None)
            own = layer_tar({f"usr/bin/program{number}": b"program"})
            _image(
                store,
                f"registry.example.com/team/service-{number}:v1.{number}",
                [base, own],
                parent,
            )
    finally:
        store.close()


def _layer(store: Store, tar: bytes, parent: str | None) -> str:
    plain = hashlib.sha256(tar).hexdigest()
    identity = hashlib.sha256(f"{parent}+{plain}".encode()).hexdigest() if parent else plain
    with store.stage_layer() as staged:
        staged.apply(io.BytesIO(tar))
        store.commit_layer(staged, layer_id=identity, parent=parent, diff_id=f"sha256:{plain}")
    return identity


def _image(store: Store, name: str, layers: list[bytes], parent: str) -> None:
    config = config_of(layers)
    digest = hashlib.sha256(config).hexdigest()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{KIND}.manifest.v1+json",
            "config": {
                "mediaType": f"{KIND}.config.v1+json",
                "digest": f"sha256:{digest}",
                "size": len(config),
            },
            "layers": [
                {
                    "mediaType": f"{KIND}.layer.v1.tar",
                    "digest": f"sha256:{hashlib.sha256(tar).hexdigest()}",
                    "size": len(tar),
                }
                for tar in layers
            ],
        }
    ).encode()
    name_of_manifest = f"manifest-sha256:{hashlib.sha256(manifest).hexdigest()}"
    store.create_image(
        digest,
        names=[name],
        top_layer=_layer(store, layers[-1], parent),
        created="2024-01-02T03:04:05Z",
        big_data={f"sha256:{digest}": config, name_of_manifest: manifest, "manifest": manifest},
    )


def _check(place: Place, name: str) -> None:
    """Both have to list all of them."""
    lines = place.log.read_text().splitlines()
    assert len(lines) == COUNT + 1, f"{name} lists {len(lines)} lines:\n" + "\n".join(lines[:20])
