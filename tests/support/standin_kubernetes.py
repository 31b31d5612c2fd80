"""Kubernetes as packages with Fedora's names: the kubelet, kubeadm and kubectl that Go built.

As a command it prints where the repository is: ``python -m tests.support.standin_kubernetes``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from msgspec.structs import replace
from tests.support.kubernetes import OLDER, kubernetes_version, program
from tests.support.standin import signing_key
from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_definition import FILES, FOLDER
from tests.support.standin_tree import tools

from trilby.rpm import prebuilt, prebuilt_yaml
from trilby.rpm.build import Source, build_in_tree
from trilby.rpm.repo import KEY_NAME, Repository, make_repository
from trilby.rpm.sign import sign

__all__ = ["kubernetes", "older_kubernetes"]

PROGRAMS = ("kubelet", "kubeadm", "kubectl")
DEFINITION = FOLDER / "kubernetes.yaml"
#: Units and settings that come with the programs.
EXTRA = FOLDER / "kubernetes"
#: The tree of tools has no macros of systemd's.
MACROS = FILES / "systemd-rpm-macros/usr/lib/rpm/macros.d/macros.systemd"


def kubernetes() -> Repository:
    """A signed repository with the packages; programs that are not there are built, in minutes."""
    return _made("kubernetes", "")


def older_kubernetes() -> Repository:
    """The same of the release before."""
    return _made("kubernetes-older", OLDER)


def _made(name: str, release: str) -> Repository:
    programs = [program(each, release) for each in PROGRAMS]
    mark = fingerprint(*map(str, programs), tools().root, DEFINITION, EXTRA, MACROS)

    def make(folder: Path) -> None:
        say(f"packages of Kubernetes {release or kubernetes_version()}")
        files = folder / "files"
        shutil.copytree(EXTRA, files)
        (files / "usr/bin").mkdir()
        for path in programs:
            shutil.copy2(path, files / "usr/bin")
        spec = folder / "kubernetes.spec"
        spec.write_text(prebuilt.render(_packages(release), folder=str(files)))
        shared = (str(files), str(MACROS.parent))
        done = build_in_tree(Source(str(spec)), tools(), str(folder), shared=shared)
        shutil.rmtree(files)
        sign(done.packages, signing_key(), tools=tools())
        make_repository(str(folder), tools=tools(), key=signing_key())

    path = made_once(name, mark, make)
    return Repository(name, str(path), key=str(path / KEY_NAME))


def _packages(release: str) -> prebuilt.Prebuilt:
    version = (release or kubernetes_version()).removeprefix("v")
    minor = ".".join(version.split(".")[:2])
    text = DEFINITION.read_text().replace("@VERSION@", version).replace("@MINOR@", minor)
    packages = prebuilt_yaml.loads(text, str(DEFINITION))
    # A macro whose body loads the others while it is defined.
    return replace(packages, macros={**packages.macros, "with_systemd": f"1%{{load:{MACROS}}}"})


if __name__ == "__main__":
    sys.stdout.write(f"repository={kubernetes().directory}\n")
