"""Write go.mod and go.sum beside this file for a version of Kubernetes.

    python tests/kubernetes/pin.py v1.36.3

k8s.io/kubernetes replaces its staging modules by folders of its own repository, which nobody else
has; each is published under the version v0.MINOR.PATCH of the same release.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAIN = "k8s.io/kubernetes"
MODULE = "trilby.test/kubernetes"
#: Programs of Kubernetes itself that tests use; our own are the folders beside this file.
TOOLS = (
    *(f"{MAIN}/cmd/{name}" for name in ("kubeadm", "kubectl", "kubelet")),
    f"{MAIN}/test/images/agnhost",
)


def staging_modules(go_mod: str) -> list[str]:
    """The modules that a go.mod of k8s.io/kubernetes replaces by folders of its repository."""
    described = json.loads(_go("mod", "edit", "-json", go_mod))
    return sorted(
        replace["Old"]["Path"]
        for replace in described["Replace"]
        if replace["New"]["Path"].startswith("./staging/")
    )


def pin(version: str) -> None:
    """Write both files; ``go mod tidy`` adds what the programs import."""
    if not re.fullmatch(r"v1\.\d+\.\d+", version):
        raise SystemExit(f"pin.py: {version} is not a release of Kubernetes, as v1.36.3")
    staging_version = version.replace("v1.", "v0.", 1)
    described = json.loads(_go("mod", "download", "-json", f"{MAIN}@{version}"))
    go_version = json.loads(_go("mod", "edit", "-json", described["GoMod"]))["Go"]
    modules = staging_modules(described["GoMod"])
    lines = [
        f"// Written by pin.py {version}.",
        f"module {MODULE}\n",
        f"go {go_version}\n",
        *(f"tool {tool}" for tool in TOOLS),
        f"\nrequire {MAIN} {version}\n",
        "replace (",
        *(f"\t{module} => {module} {staging_version}" for module in modules),
        ")",
    ]
    (HERE / "go.mod").write_text("\n".join(lines) + "\n")
    (HERE / "go.sum").unlink(missing_ok=True)
    _go("mod", "tidy", where=HERE)


def _go(*words: str, where: Path | None = None) -> str:
    done = subprocess.run(
        ["go", *words], cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"pin.py: go {' '.join(words)} failed, see above")
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    pin(sys.argv[1])
