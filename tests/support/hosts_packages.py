"""What hosts of Molecule install and run: repositories of packages, and images in a registry.

Python 3.14 is there for Ansible, whose modules do not run by the 3.15 of Rawhide: ansible-core up
to 2.21 looks for what ``dataclasses`` no longer has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.hosts_fabric import PACKAGES, REGISTRY, SECURE, USERS
from tests.support.pods import APPLETS, BUSYBOX, FOLDERS, GROUP, PASSWD
from tests.support.standin import repository, signing_key
from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_definition import definition
from tests.support.standin_kubernetes import kubernetes, older_kubernetes
from tests.support.standin_tree import tools, tree
from tests.support.standin_trilby import older, today

from trilby.rpm.build import Source, build_in_tree
from trilby.rpm.build_root import BuildRoot
from trilby.rpm.prebuilt import Prebuilt, render
from trilby.rpm.repo import KEY_NAME, Repository, make_repository
from trilby.rpm.sign import sign

__all__ = [
    "EXTRA",
    "publish_images",
    "publish_older",
    "publish_older_kubernetes",
    "publish_packages",
    "repository_file",
]

#: A signed repository of the user's own, for packages that the stand-in does not have, as CRI-O.
EXTRA = "extra"
ANSIBLE_PYTHON = "3.14"
BINDINGS = ("libdnf5", "rpm")
CUSTOMIZE = Path(__file__).with_name("hosts_sitecustomize.py")
PYTHON = Prebuilt(
    name=f"python{ANSIBLE_PYTHON}",
    version=f"{ANSIBLE_PYTHON}.0",
    summary="A Python that Ansible's modules run by, with bindings of dnf5 and rpm",
    arch="x86_64",
    license="PSF-2.0",
    tree="python",
    under="/usr",
    requires=("python3-libs", "libdnf5", "rpm-libs"),
    automatic=False,
    brp="none",
    # Nobody sends it anywhere: the quickest compression is the best.
    macros={"_binary_payload": "w1.zstdio"},
)


def publish_packages(web: Path, newest: bool = False) -> None:
    """Links to the repositories, as they are now, for a web server."""
    web.mkdir(parents=True, exist_ok=True)
    # Who works on roles alone has no need of new packages each time.
    built = os.environ.get("TRILBY_HOSTS_PACKAGES")
    ours = Repository("trilby", built) if built else today()
    for found in (repository(newest), ours, kubernetes()):
        _publish(web, found.name, found)
    if extra := os.environ.get("TRILBY_HOSTS_REPOSITORY"):
        _publish(web, EXTRA, Repository(EXTRA, extra))


def root_for_ansible(newest: bool = False) -> Path:
    """The stand-in's root with a Python that Ansible's modules run by."""
    rawhide, extras = repository(newest), python_for_ansible(newest)

    def make(folder: Path) -> None:
        say("a root for Ansible")
        root = BuildRoot(
            str(folder / "root"),
            tools=tools(),
            repositories=[rawhide, extras],
            log=str(folder / "log"),
        )
        root.fill([*definition().host, f"python{ANSIBLE_PYTHON}"])
        # Not by time stamps, which the packages have of another day.
        python = f"python{ANSIBLE_PYTHON}"
        compiling = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
        root.run([python, *compiling, f"/usr/lib/{python}", "/usr/lib/python3"])

    mark = fingerprint(rawhide.directory, extras.directory, *definition().host)
    return made_once("ansible-root", mark, make) / "root"


def publish_older(web: Path) -> None:
    """The packages of a release before this one, too."""
    _publish(web, "older", older())


def publish_older_kubernetes(web: Path) -> None:
    """Those of a release of Kubernetes before, too."""
    found = older_kubernetes()
    _publish(web, found.name, found)


def _publish(web: Path, name: str, found: Repository) -> None:
    new = web / f".{name}"
    new.unlink(missing_ok=True)
    new.symlink_to(found.directory)
    new.rename(web / name)


def repository_file(name: str, folder: str) -> str:
    """A repository of that web server, for a host's package manager."""
    return (
        f"[{name}]\nname={name}\nbaseurl={PACKAGES}/{folder}/\nenabled=1\ngpgcheck=1\n"
        f"gpgkey={PACKAGES}/{folder}/{KEY_NAME}\nmetadata_expire=0\n"
    )


def python_for_ansible(newest: bool = False) -> Repository:
    """A repository with that Python alone."""
    base = tree(newest)

    def make(folder: Path) -> None:
        say(f"a package of Python {ANSIBLE_PYTHON}")
        files = folder / "files"
        _stage_python(base / "usr", files / "python")
        spec = folder / "python.spec"
        spec.write_text(render(PYTHON, folder=str(files)))
        build_in_tree(Source(str(spec)), tools(), str(folder), shared=(str(files),))
        shutil.rmtree(files)
        sign(sorted(map(str, folder.glob("*.rpm"))), signing_key(), tools=tools())
        make_repository(str(folder), tools=tools(), key=signing_key())

    path = made_once("python", fingerprint(str(base), Path(__file__), CUSTOMIZE), make)
    return Repository("python", str(path), key=str(path / KEY_NAME))


def _stage_python(usr: Path, files: Path) -> None:
    """Debian's own Python of the tree, with the bindings of dnf5 and rpm that are made for it."""
    (files / "bin").mkdir(parents=True)
    shutil.copy(usr / f"bin/python{ANSIBLE_PYTHON}", files / "bin")
    for library in (usr / "lib").glob(f"*-linux-gnu/libpython{ANSIBLE_PYTHON}.so.*"):
        folder = files / "lib" / library.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, folder, follow_symlinks=False)
    skipped = shutil.ignore_patterns("__pycache__", "test", "idlelib", "ensurepip", "tkinter")
    bindings = (f"python3/dist-packages/{name}" for name in BINDINGS)
    for name in (f"python{ANSIBLE_PYTHON}", *bindings):
        shutil.copytree(usr / "lib" / name, files / "lib" / name, symlinks=True, ignore=skipped)
    customize = files / f"lib/python{ANSIBLE_PYTHON}/sitecustomize.py"
    # Debian's is a link to a file in /etc.
    customize.unlink(missing_ok=True)
    shutil.copy(CUSTOMIZE, customize)


def publish_images(network: int, work: Path) -> None:
    """busybox, as the network's registries have it; ``network`` is a process that is in it."""
    shutil.rmtree(work, ignore_errors=True)
    rootfs = work / "rootfs"
    for folder in FOLDERS:
        (rootfs / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, rootfs / "bin/busybox")
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text(PASSWD)
    (rootfs / "etc/group").write_text(GROUP)
    trilby = ["nsenter", "--net", "--target", str(network), sys.executable, "-m", "trilby.cli"]
    trilby += ["--root", str(work / "root"), "--runroot", str(work / "run"), "image"]
    # Containerd holds a pod's namespaces by a container, for which any image does that waits.
    waits = ("-c", 'CMD ["sleep", "2147483647"]')
    for changes, name in (((), "busybox:1"), (waits, "pause:1")):
        imported = ["import", "-c", "ENV PATH=/bin", *changes, str(rootfs), f"localhost/{name}"]
        subprocess.run([*trilby, *imported], check=True, stdout=subprocess.DEVNULL)
    ((user, password),) = USERS.items()
    known = ("--creds", f"{user}:{password}", "--cert-dir", str(work.parent / "secure/tls/certs.d"))
    plain = ("--no-tls-verify",)
    for image, options, name in (
        ("pause:1", plain, f"{REGISTRY}/pause:1"),
        ("busybox:1", plain, f"{REGISTRY}/busybox:1"),
        ("busybox:1", plain, f"{REGISTRY}/refused/busybox:1"),
        ("busybox:1", known, f"{SECURE}/team/busybox:1"),
    ):
        pushed = [*trilby, "push", "-q", *options, f"localhost/{image}", name]
        subprocess.run(pushed, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(work)
