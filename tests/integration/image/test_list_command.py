"""``trilby image list``'s filters, and names for a shell that completes a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.support.image_ends import MemorySource
from tests.support.images import make_image, make_tar, small_image

from trilby.image.copy import copy_image
from trilby.image.service import Images
from trilby.image.transports.storage_write import StorageDestination

TRILBY = "from trilby.cli.main import main; main()"
CREATED = "2024-01-02T03:04:05Z"


async def add(images: Images, text: str, *names: str, labels: dict[str, str] | None = None) -> str:
    image = small_image(text=text)
    if labels is not None:
        image = make_image([make_tar({text: b""})], config={"Labels": labels})
    destination = StorageDestination(images.store, None, more_names=names)
    await copy_image(MemorySource(image), destination)
    await destination.close()
    return destination.image_id


def trilby(images: Images, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    config = images.store.config
    where = ("--root", config.graphroot, "--runroot", config.runroot, "--storage-driver")
    return subprocess.run(
        [sys.executable, "-c", TRILBY, *where, config.driver, *argv],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def listed(images: Images, *filters: str) -> set[str]:
    flags = [word for each in filters for word in ("--filter", each)]
    done = trilby(images, "image", "list", "--format", "json", *flags)
    assert done.returncode == 0, done.stderr
    return {row["Id"] for row in json.loads(done.stdout)}


async def test_filters(images: Images) -> None:
    old = await add(images, "old", "quay.example/team/old:1")
    image = await add(
        images, "labelled", "quay.example/team/new:2", "localhost/new:1", labels={"stage": "test"}
    )
    assert listed(images) == {old, image}
    assert listed(images, "label=stage") == listed(images, "label=stage=test") == {image}
    assert listed(images, "label=stage=other") == set()
    assert listed(images, "label!=stage") == {old}
    assert listed(images, f"id={old[:12]}") == {old}
    assert listed(images, f"digest={images.find('old:1').digest}") == {old}
    assert listed(images, "reference=new:*") == listed(images, "reference=*/team/new") == {image}
    assert listed(images, "dangling=true") == set()
    assert listed(images, "readonly=false", "id=" + image) == {image}
    assert listed(images, "until=24h") == {old, image}
    assert listed(images, "until=2020-01-01") == set()


async def test_older_and_newer_than_another(images: Images) -> None:
    times = ["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "2022-01-01T00:00:00Z"]
    top = images.store.image(await add(images, "x", "base:1"))
    assert top is not None
    images.store.delete_image(top.id)
    for number, time in enumerate(times):
        images.store.create_image(f"{number:064x}", names=[f"localhost/a:{number}"], created=time)
    ids = [f"{number:064x}" for number in range(3)]
    assert listed(images, "before=localhost/a:1") == {ids[0]}
    assert listed(images, "since=localhost/a:1") == listed(images, "after=a:1") == {ids[2]}
    done = trilby(images, "image", "list", "--filter", "before=nothing")
    assert done.returncode == 3 and "nothing" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour=red", "--filter colour=red: there are dangling, readonly, reference"),
        ("dangling", "write KEY=VALUE"),
        ("dangling=perhaps", "true or false"),
        ("until=soon", "invalid time 'soon' in a filter"),
    ],
)
def test_filters_that_make_no_sense(images: Images, text: str, said: str) -> None:
    done = trilby(images, "image", "list", "--filter", text)
    assert done.returncode == 2 and said in done.stderr


def completed(images: Images, line: str) -> list[str]:
    """What bash is offered for the last word of a line."""
    config = images.store.config
    words = f"trilby --root {config.graphroot} --runroot {config.runroot} {line}"
    done = trilby(
        images,
        _TRILBY_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
    )
    assert done.stderr == ""
    return sorted(row.partition(",")[2] for row in done.stdout.split())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("image rm quay", ["quay.example/team/old:1"]),
        ("image inspect ", ["localhost/new:1", "quay.example/team/old:1"]),
        ("image push ol", ["old:1"]),
        ("image inspect localhost/new:1 ", ["quay.example/team/old:1"]),
        ("image rm --host /nowhere.sock ", []),
        ("pod stop ", []),
        ("pod logs hello ", []),
    ],
)
async def test_names_for_a_shell(images: Images, line: str, found: list[str]) -> None:
    await add(images, "old", "quay.example/team/old:1")
    await add(images, "new", "localhost/new:1")
    assert completed(images, line) == found
