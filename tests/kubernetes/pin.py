"""Write go.mod and go.sum beside this file for a version of Kubernetes.

    python tests/kubernetes/pin.py v1.36.3
    python tests/kubernetes/pin.py --older v1.36.1

The second writes into a folder of the version's name, with nothing but what a cluster is made of.
Below either folder etcd and coredns are pinned to the releases that this kubeadm wants; an older
one has them only where they are others than the newest's.

k8s.io/kubernetes replaces its staging modules by folders of its own repository, which nobody else
has; each is published under the version v0.MINOR.PATCH of the same release.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAIN = "k8s.io/kubernetes"
MODULE = "trilby.test/kubernetes"
#: Programs of Kubernetes itself that tests use; our own are the folders beside this file.
COMMANDS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
    "kubelet",
)
#: What a control plane is made of besides: how kubeadm's constants call its release, and programs.
BESIDES = {
    "etcd": (
        "DefaultEtcdVersion",
        [f"go.etcd.io/etcd/{name}/v3" for name in ("server", "etcdctl", "etcdutl")],
    ),
    "coredns": ("CoreDNSVersion", ["github.com/coredns/coredns"]),
}
CONSTANTS = "cmd/kubeadm/app/constants/constants.go"
#: Programs of images that the suite's pods run.
IMAGES = (
    "agnhost",
    "nonewprivs",
    "regression-issue-74839",
    "resource-consumer",
    "resource-consumer/consume-cpu",
)
TOOLS = (
    *(f"{MAIN}/cmd/{name}" for name in COMMANDS),
    f"{MAIN}/test/e2e",
    *(f"{MAIN}/test/images/{name}" for name in IMAGES),
    "k8s.io/sample-apiserver",
)


def staging_modules(go_mod: str) -> list[str]:
    """The modules that a go.mod of k8s.io/kubernetes replaces by folders of its repository."""
    described = json.loads(_go("mod", "edit", "-json", go_mod))
    return sorted(
        replace["Old"]["Path"]
        for replace in described["Replace"]
        if replace["New"]["Path"].startswith("./staging/")
    )


def pin(version: str, folder: Path, tools: Sequence[str]) -> None:
    """Write both files; ``go mod tidy`` adds what the programs import."""
    if not re.fullmatch(r"v1\.\d+\.\d+", version):
        raise SystemExit(f"pin.py: {version} is not a release of Kubernetes, as v1.36.3")
    staging_version = version.replace("v1.", "v0.", 1)
    described = json.loads(_go("mod", "download", "-json", f"{MAIN}@{version}"))
    go_version = json.loads(_go("mod", "edit", "-json", described["GoMod"]))["Go"]
    modules = staging_modules(described["GoMod"])
    head = [
        f"// Written by pin.py for {version}.",
        f"module {MODULE}\n",
        f"go {go_version}\n",
        *(f"tool {tool}" for tool in tools),
    ]
    replaces = (f"\t{module} => {module} {staging_version}" for module in modules)
    _write(folder, [*head, f"\nrequire {MAIN} {version}\n", "replace (", *replaces, ")"])
    pin_besides(Path(described["Dir"]) / CONSTANTS, folder)


def pin_besides(constants: Path, folder: Path) -> None:
    """Write etcd's and CoreDNS' below a folder, where the newest's are of other releases."""
    text = constants.read_text()
    for name, (constant, tools) in BESIDES.items():
        found = re.search(rf'^\s*{constant}\s*=\s*"v?([0-9.]+)', text, re.MULTILINE)
        if not found:
            raise SystemExit(f"pin.py: {constants} says no {constant}")
        requires = [f"\t{tool} v{found.group(1)}" for tool in tools]
        newest = HERE / name / "go.mod"
        if folder != HERE and all(each in newest.read_text() for each in requires):
            continue
        described = json.loads(
            _go("mod", "download", "-json", requires[0].strip().replace(" ", "@"))
        )
        go_version = json.loads(_go("mod", "edit", "-json", described["GoMod"]))["Go"]
        head = [f"module trilby.test/{name}\n", f"go {go_version}\n"]
        head += [f"tool {tool}" for tool in tools]
        _write(folder / name, [*head, "\nrequire (", *requires, ")"])


def _write(folder: Path, lines: Sequence[str]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "go.mod").write_text("\n".join(lines) + "\n")
    (folder / "go.sum").unlink(missing_ok=True)
    _go("mod", "tidy", where=folder)


def _go(*words: str, where: Path | None = None) -> str:
    done = subprocess.run(
        ["go", *words], cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"pin.py: go {' '.join(words)} failed, see above")
    return done.stdout


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--older", older]:
            pin(older, HERE / older, [f"{MAIN}/cmd/{name}" for name in COMMANDS])
        case [newest]:
            pin(newest, HERE, TOOLS)
        case _:
            raise SystemExit(__doc__)
