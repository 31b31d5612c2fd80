"""playbooks/mirror.yml: real registries, Ansible's own run, images from upstream and from archives.

Ansible is in a venv of its own, which `make molecule` makes. Without it these tests are skipped; in
continuous integration it has to be there (TRILBY_CI_ANSIBLE=yes).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.images import small_image, write_layout
from tests.support.registry import TestRegistry, start_registry

ROOT = Path(__file__).resolve().parents[3]
MOLECULE = ROOT / ".venv/molecule/bin"
pytestmark = pytest.mark.timeout(300)


class Mirror:
    """Runs the playbook with some images, and tells what it changed."""

    def __init__(self, place: Path, upstream: TestRegistry, mirror: TestRegistry) -> None:
        self.place, self.upstream, self.mirror = place, upstream, mirror
        collection = place / "ansible_collections/trilby"
        collection.mkdir(parents=True)
        (collection / "node").symlink_to(ROOT)
        registries = place / "registries.conf"
        registries.write_text(f'[[registry]]\nlocation = "{upstream.address}"\ninsecure = true\n')

    def run(
        self, *images: dict[str, str], registry: str = "", check: bool = False, fails: bool = False
    ) -> str:
        """What Ansible said."""
        password = {"trilby_mirror_username": "ada", "trilby_mirror_password": "s3:cret"}
        assert self.mirror.cert_dir is not None
        variables = {
            "trilby_mirror_registry": registry or f"{self.mirror.address}/team",
            "trilby_mirror_images": list(images),
            "trilby_mirror_ca": str(self.mirror.cert_dir / "ca.crt"),
            **password,
        }
        playbook = shutil.which("ansible-playbook", path=f"{MOLECULE}:{os.environ['PATH']}")
        assert playbook
        done = subprocess.run(
            [
                *(playbook, "-i", "localhost,", "-c", "local", "-e", json.dumps(variables)),
                *(["--check"] if check else []),
                str(ROOT / "playbooks/mirror.yml"),
            ],
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={
                "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
                "HOME": str(self.place),
                "LANG": "C.UTF-8",
                "ANSIBLE_COLLECTIONS_PATH": str(self.place),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
                "CONTAINERS_REGISTRIES_CONF": str(self.place / "registries.conf"),
            },
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    def changes(self, *images: dict[str, str]) -> int:
        """How many images were copied."""
        found = re.search(r"changed=(\d+)", self.run(*images))
        assert found
        return int(found[1])

    def digest(self, name: str) -> str:
        """What skopeo says of an image in the mirror."""
        done = subprocess.run(
            [
                *("skopeo", "inspect", "--creds", "ada:s3:cret", "--format", "{{.Digest}}"),
                *(
                    "--cert-dir",
                    str(self.mirror.cert_dir),
                    f"docker://{self.mirror.address}/{name}",
                ),
            ],
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    if not shutil.which("ansible-playbook", path=f"{MOLECULE}:{os.environ['PATH']}"):
        assert os.environ.get("TRILBY_CI_ANSIBLE") != "yes", "ansible-playbook has to be here"
        pytest.skip("no ansible-playbook: scripts/molecule installs it")
    place = tmp_path_factory.mktemp("mirror")
    with (
        start_registry(place / "upstream") as upstream,
        start_registry(place / "target", tls=True, users={"ada": "s3:cret"}) as target,
    ):
        yield Mirror(place, upstream, target)


def upstream_image(mirror: Mirror, name: str, text: str) -> str:
    """Put an image upstream by skopeo; its digest."""
    image = small_image(text=text)
    layout = write_layout(mirror.place / f"layout-{text}", {"it": image})
    target = f"docker://{mirror.upstream.address}/{name}"
    command = ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]
    subprocess.run([*command, f"oci:{layout}:it", target], check=True)
    return image.manifest.digest


def test_images_come_from_upstream_and_a_second_run_changes_nothing(mirror: Mirror) -> None:
    first = upstream_image(mirror, "app/one:1", "one")
    second = upstream_image(mirror, "two:2.0", "two")
    images = (
        {"name": f"{mirror.upstream.address}/app/one:1"},
        {"name": f"{mirror.upstream.address}/two:2.0", "digest": second},
    )
    assert mirror.changes(*images) == 2
    assert mirror.digest("team/app/one:1") == first
    assert mirror.digest("team/two:2.0") == second
    assert mirror.changes(*images) == 0
    moved = upstream_image(mirror, "app/one:1", "moved")
    assert mirror.changes(*images) == 1
    assert mirror.digest("team/app/one:1") == moved


def test_a_pin_holds_when_the_tag_was_moved_and_is_asked_for_once(mirror: Mirror) -> None:
    digest = upstream_image(mirror, "kept:1", "before")
    upstream_image(mirror, "kept:1", "after")
    image = {"name": f"{mirror.upstream.address}/kept:1", "digest": digest}
    mirror.run(image, check=True)
    assert mirror.digest("team/kept:1") == ""
    assert mirror.changes(image) == 1
    assert mirror.digest("team/kept:1") == digest
    assert mirror.changes({**image, "name": "127.0.0.1:1/kept:1"}) == 0


def test_archives(mirror: Mirror, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"it": small_image(text="saved")})
    images = []
    for kind in ("oci", "oci-archive", "docker-archive", "dir"):
        source = target = f"{kind}:{tmp_path / kind}"
        if kind == "oci":
            source = target = f"{target}:it"
        if kind.endswith("archive"):
            target += ":registry.example.com/saved:1"
        subprocess.run(["skopeo", "copy", "-q", f"oci:{layout}:it", target], check=True)
        images.append({"name": f"registry.example.com/saved/{kind}:1", "source": source})
    assert mirror.changes(*images) == 4
    for kind in ("oci", "oci-archive", "dir"):
        assert mirror.digest(f"team/saved/{kind}:1") == small_image(text="saved").manifest.digest
    assert mirror.digest("team/saved/docker-archive:1").startswith("sha256:")
    assert mirror.changes(*images) == 0


def test_another_image_than_the_pinned_one_ends_it(mirror: Mirror, tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", {"it": small_image(text="other")})
    image = {"name": "registry.example.com/x:1", "digest": "sha256:" + "0" * 64}
    said = mirror.run({**image, "source": f"oci:{layout}:it"}, fails=True)
    assert "is wanted" in said
    assert "s3:cret" not in said


def test_wrong_variables_are_told_at_once(mirror: Mirror) -> None:
    images = (
        {"name": "pause:3"},
        {"name": "registry.k8s.io/pause"},
        {"name": "a.example.com/app:1", "digest": "sha256:12"},
        {"name": "b.example.com/app:1", "source": "pause.tar"},
    )
    said = " ".join(mirror.run(*images, registry="https://mirror", fails=True).split())
    assert "as mirror.example.com:5000" in said
    assert "pause:3, registry.k8s.io/pause: a name needs its registry and a tag" in said
    assert "64 hexadecimal digits" in said
    assert "a whole path" in said
    assert "would have one place" in said
