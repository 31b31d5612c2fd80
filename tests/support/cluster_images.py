"""Images of a cluster and of Kubernetes' test suite, made here, under their names upstream.

::

    python -m tests.support.cluster_images cluster          what kubeadm wants
    python -m tests.support.cluster_images older            the same of the release before
    python -m tests.support.cluster_images agnhost          its image of all tools, as agnhost:1
    python -m tests.support.cluster_images provider         a network provider's
    python -m tests.support.cluster_images suite            what e2e.test wants
    python -m tests.support.cluster_images --list cluster   only their names

Each is made once and kept as an OCI layout by what it is made of, outside the tree, and copied into
the registry of the hosts' network (hosts_fabric.py) if there is one. A name there is the one
upstream without its registry: hosts have that registry as a mirror of registry.k8s.io.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec.structs import replace
from tests.support.cluster_images_list import (
    Image,
    agnhost_image,
    cluster_images,
    provider_images,
    suite_images,
)
from tests.support.cluster_images_root import add_programs, base, packages_root
from tests.support.hosts_fabric import REGISTRY
from tests.support.kubernetes import OLDER, program
from tests.support.standin_cache import fingerprint, made_once, say

__all__ = ["layout", "main", "publish"]

HERE = Path(__file__).resolve().parent
#: Built and copied at the same time; compressing is most of the work.
TOGETHER = 2


def layout(image: Image) -> Path:
    """The OCI layout of an image, whose only manifest has the tag ``image``."""
    programs = {place: program(name, image.release) for place, name in image.programs.items()}
    inner = {name: layout(found) for name, found in image.registry.items()}
    kind = "image-" + image.name.rpartition("/")[2].replace(":", "-")
    mark = fingerprint(
        repr(replace(image, registry={}, content={})),
        # By what they are, and not by what they were built from: most stay when go.mod changes.
        *(
            f"{place}={_text(found)}"
            for place, found in [*programs.items(), *image.content.items()]
        ),
        *(f"{name}={path}" for name, path in inner.items()),
        str(packages_root()) if image.tools else "",
        Path(__file__),
        HERE / "cluster_images_root.py",
    )
    return made_once(kind, mark, lambda folder: _make(image, programs, inner, folder))


def _text(content: str | Path) -> str:
    return content if isinstance(content, str) else hashlib.sha256(content.read_bytes()).hexdigest()


def _make(image: Image, programs: dict[str, Path], inner: dict[str, Path], folder: Path) -> None:
    say(f"image {image.name}")
    with tempfile.TemporaryDirectory(prefix="trilby-image-") as scratch:
        root = Path(scratch) / "root"
        base(root)
        _fill(image, programs, root)
        for name, found in inner.items():
            _serve(root / "var/registry", name, found)
        _trilby(Path(scratch), "import", *_changes(image), str(root), "localhost/made:1")
        source = "containers-storage:localhost/made:1"
        _trilby(Path(scratch), "copy", "-q", source, f"oci:{folder}:image")


def _fill(image: Image, programs: dict[str, Path], root: Path) -> None:
    for name, added in (("passwd", image.users), ("group", image.groups)):
        with (root / "etc" / name).open("a") as opened:
            opened.write(added)
    for place in image.folders:
        (root / place).mkdir(parents=True)
    add_programs(root, image.tools)
    for place, content in [*programs.items(), *image.content.items()]:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copy(content, root / place)
        else:
            (root / place).write_text(content)
    for place, target in image.links.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).unlink(missing_ok=True)
        (root / place).symlink_to(target)
    for place, mode in image.modes.items():
        (root / place).chmod(mode)


def _changes(image: Image) -> Iterable[str]:
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [word for change in (path, *image.changes) for word in ("-c", change)]


def _serve(registry: Path, name: str, found: Path) -> None:
    """The files that agnhost's own small registry answers from, of one image by its tag."""
    repository, _, tag = name.partition(":")
    place = registry / repository
    index = (found / "index.json").read_bytes()
    documents = [index, *(path.read_bytes() for path in (found / "blobs/sha256").iterdir())]
    for content in documents:
        digest = hashlib.sha256(content).hexdigest()
        for kind in ("manifests", "blobs"):
            file = place / kind / "sha256" / digest[:2] / digest / "data"
            file.parent.mkdir(parents=True)
            file.write_bytes(content)
    (place / "manifests" / tag).write_text(f"sha256:{hashlib.sha256(index).hexdigest()}\n")


def _trilby(scratch: Path, *words: str, inside: int = 0) -> None:
    """``trilby image`` with a store of its own, perhaps in another process' network."""
    command = [sys.executable, "-m", "trilby.cli", "--root", str(scratch / "store")]
    command += ["--runroot", str(scratch / "run"), "image", *words]
    if inside:
        command = ["nsenter", "--net", "--target", str(inside), *command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"cluster_images: trilby image {words[0]}: {done.stderr}")


def publish(images: Iterable[Image], network: int) -> None:
    """Copy images into the registry of the hosts' network; ``network`` is a process in it."""

    def send(image: Image) -> None:
        name = image.name.partition("/")[2]
        with tempfile.TemporaryDirectory(prefix="trilby-image-") as scratch:
            _trilby(
                Path(scratch),
                *("copy", "-q", "--dest-tls-verify=false"),
                f"oci:{layout(image)}:image",
                f"docker://{REGISTRY}/{name}",
                inside=network,
            )

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(send, images))


def wanted(kind: str) -> list[Image]:
    """The images of a word on the command line."""
    match kind:
        case "cluster":
            return cluster_images()
        case "older":
            return cluster_images(OLDER)
        case "agnhost":
            return [agnhost_image()]
        case "provider":
            return provider_images()
        case "suite":
            return suite_images()
    raise SystemExit(__doc__)


def main(words: Sequence[str]) -> int:
    """Make, and publish where there is a network of hosts."""
    from tests.support.hosts_place import fabric_pid

    listing = words[:1] == ["--list"]
    images = [image for kind in words[listing:] for image in wanted(kind)]
    for image in images:
        sys.stdout.write(f"{image.name}\n" if listing else f"{image.name} {layout(image)}\n")
        sys.stdout.flush()
    if not listing and fabric_pid():
        publish(images, fabric_pid())
    return 0 if images else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
