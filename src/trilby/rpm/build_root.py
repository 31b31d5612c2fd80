"""A root directory that dnf5 fills from given repositories, for a build or a test."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Sequence
from typing import Final

from trilby.rpm.build_log import Recorder
from trilby.rpm.errors import MissingDependency, RpmError
from trilby.rpm.repo import Repository, dnf_config
from trilby.rpm.tools import HOST, Inside, Tools
from trilby.system import process

__all__ = ["BUILDER", "BUILD_PACKAGES", "TOP", "BuildRoot", "ThisRoot", "made_below", "problems"]

# The user that mock builds as, too: nobody's files, and no root's rights.
BUILDER: Final = (1000, 1000)
TOP: Final = "/builddir"
# What Fedora's group buildsys-build has and every build may use without asking.
BUILD_PACKAGES: Final = (
    "bash",
    "bzip2",
    "coreutils",
    "cpio",
    "diffutils",
    "findutils",
    "gawk",
    "grep",
    "gzip",
    "patch",
    "redhat-rpm-config",
    "rpm-build",
    "sed",
    "shadow-utils",
    "tar",
    "util-linux",
    "xz",
    "zstd",
)
_REPOS: Final = "/etc/yum.repos.d"
_TOLD: Final = 8
_PROBLEM: Final = ("nothing provides", "No match for argument", "Problem", "conflicts", "cannot")


class BuildRoot:
    """A root at ``path``, which must not exist yet; ``log`` is a file for what dnf5 says."""

    def __init__(
        self,
        path: str,
        *,
        tools: Tools = HOST,
        repositories: Sequence[Repository] = (),
        release: str = "",
        log: str = os.devnull,
    ) -> None:
        self.path = path
        self.log = log
        self._tools = tools
        self._repositories = tuple(repositories)
        self._release = release
        self._work = path + ".dnf"

    def fill(self, packages: Sequence[str]) -> None:
        """Make the root with these packages. Raises MissingDependency, ToolMissing, ToolRefused."""
        self._tools.need("dnf5")
        os.makedirs(self.path)
        os.makedirs(self._work, exist_ok=True)
        # Without repositories of the caller those of the tree with the tools count.
        folder = "/dev/null" if self._repositories else _REPOS
        own = f"{self._tools.root.rstrip('/')}{_REPOS}"
        if not self._repositories and not glob.glob(f"{own}/*.repo"):
            raise MissingDependency(
                f"there is no repository to fill the build root from: {own} has none",
                hint="name one: --repo NAME=URL, or --repo DIRECTORY",
            )
        with open(os.path.join(self._work, "dnf.conf"), "w", encoding="utf-8") as file:
            file.write(dnf_config(self._repositories, folder=folder))
        self.dnf("install", *packages)

    def dnf(self, *words: str, about: str = "") -> process.Completed:
        """A dnf5 command on the root; ``about`` is what needs it, for the message.

        Raises:
            MissingDependency: dnf5 cannot do it; the message is what it says about that.
        """
        command, inside = self._command(words)
        done = self._tools.run(command, inside, check=False)
        with open(self.log, "ab") as file:
            file.write(f"$ {process.replay_command(command)}\n".encode())
            file.write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise self._failed(words, done, about)
        return done

    def _command(self, words: Sequence[str]) -> tuple[list[str], Inside]:
        command = [
            "dnf5",
            "-y",
            f"--config={self._work}/dnf.conf",
            "--use-host-config",
            f"--installroot={self.path}",
            *([f"--releasever={self._release}"] if self._release else []),
            *words,
        ]
        shared = [self._work, *(each.directory for each in self._repositories if each.directory)]
        return command, Inside(shared=tuple(shared), install_root=self.path)

    def run(
        self, command: Sequence[str], *, check: bool = True, network: bool = False
    ) -> process.Completed:
        """A command inside the root, as root. Raises CommandFailed with ``check``."""
        return Tools(self.path).run(command, Inside(network=network), check=check)

    def installed(self) -> list[str]:
        """Name, version and architecture of every package, sorted."""
        command = ["rpm", "--root", self.path, "-qa", "--qf", "%{NEVRA}\\n"]
        text = self._tools.run(command, Inside(shared=(self.path,))).text
        return sorted(text.splitlines())

    def build(self, command: list[str], log: Recorder) -> int:
        """A command as the builder, without a network as in Fedora's build system; its status."""
        inside = Inside(
            env={"HOME": TOP, "TMPDIR": "/var/tmp", "USER": "mockbuild"},
            user=BUILDER,
            network=False,
            cwd=TOP,
        )
        return log.run(Tools(self.path), command, inside)

    def give_to_builder(self) -> None:
        """The build directory and its user: what mock's root has, too."""
        uid, gid = BUILDER
        for name, line in (
            ("passwd", f"mockbuild:x:{uid}:{gid}::{TOP}:/usr/bin/bash\n"),
            ("group", f"mock:x:{gid}:\n"),
        ):
            with open(f"{self.path}/etc/{name}", "a", encoding="utf-8") as file:
                file.write(line)
        for folder, _, names in os.walk(self.path + TOP):
            os.chown(folder, uid, gid)
            for name in names:
                os.chown(os.path.join(folder, name), uid, gid)

    def take_srpm(self) -> str:
        """The newest source package in the build directory, moved out of the next one's way."""
        found = glob.glob(f"{self.path}{TOP}/SRPMS/*.rpm")
        if not found:
            raise RpmError("rpmbuild wrote no source package")
        newest = max(found, key=os.path.getmtime)
        taken = os.path.join(self._work, os.path.basename(newest))
        shutil.move(newest, taken)
        return taken

    def requirements_of(self, package: str) -> list[str]:
        """What a package file requires, without rpm's own features."""
        inside = Inside(shared=(self._work,))
        text = self._tools.run(["rpm", "-qp", "--requires", package], inside).text
        return [line for line in text.splitlines() if not line.startswith("rpmlib(")]

    def install_requirements_of(self, package: str, spec: str) -> None:
        """Install what a source package needs for building; ``spec`` is for the message."""
        self.dnf("builddep", package, about=spec)

    def _failed(self, words: Sequence[str], done: process.Completed, about: str) -> RpmError:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        reason = "\n  ".join(problems(said) or said.splitlines()[-10:])
        what = f"{_at_line(about, reason)}: " if about else ""
        return MissingDependency(
            f"{what}dnf5 {words[0]} failed:\n  {reason}",
            hint=f"look into the repositories, or into {self.log}",
        )


class ThisRoot(BuildRoot):
    """The root that we run in, as a build root: for containers that live for one build only.

    What the build needs is installed by the root's own dnf5, from its own repositories.
    """

    def __init__(self, work: str, *, log: str = os.devnull) -> None:
        super().__init__("/", log=log)
        self._work = work

    def fill(self, packages: Sequence[str]) -> None:
        self.dnf("install", *packages)

    def _command(self, words: Sequence[str]) -> tuple[list[str], Inside]:
        return ["dnf5", "-y", "--setopt=install_weak_deps=False", *words], Inside()

    def build(self, command: list[str], log: Recorder) -> int:
        return log.run(HOST, command, Inside(env={"HOME": TOP}, cwd=TOP))

    def give_to_builder(self) -> None:
        """Nothing: who builds here is who runs us."""


def problems(said: str) -> list[str]:
    """The lines of what dnf5 said that tell why it cannot do what it was asked for."""
    telling = [line.strip() for line in said.splitlines()]
    telling = [line for line in telling if any(word in line for word in _PROBLEM)]
    if len(telling) > _TOLD:
        telling[_TOLD:] = [f"... and {len(telling) - _TOLD} more"]
    return telling


def _at_line(spec: str, reason: str) -> str:
    """The spec with the line that asks for what is missing; without, if the build itself asks."""
    wanted = re.findall(r"(?:match for argument:|nothing provides) (\S+)", reason)
    with open(spec, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("BuildRequires:") and any(name in line.split() for name in wanted):
                return f"{spec}:{number}"
    return spec


def made_below(top: str) -> list[str]:
    """The packages that rpmbuild wrote in its directory."""
    found = glob.glob(f"{top}/RPMS/**/*.rpm", recursive=True)
    return sorted(found + glob.glob(f"{top}/SRPMS/*.src.rpm"))
