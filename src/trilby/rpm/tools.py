"""Where RPM's programs run: on this host, or in a tree that has them (a chroot).

On Fedora the host has rpmbuild, dnf5 and createrepo_c. Elsewhere a directory tree with a
distribution that has them is enough: every command enters it, and sees the directories that it
works on at their own places. See enter.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from trilby.rpm.enter import CANNOT_ENTER
from trilby.rpm.errors import RpmError, ToolMissing, ToolRefused
from trilby.system import process

__all__ = ["HOST", "Inside", "Tools"]

_PACKAGES: Final = {
    "rpmbuild": "rpm-build",
    "rpmsign": "rpm-sign",
    "rpmkeys": "rpm",
    "gpg": "gnupg2",
    "sq": "sequoia-sq",
}


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """How a command is run in a tree, besides its arguments.

    ``shared``: directories of the caller that the command sees at the same place; ``placed``: as
    directory -> place, at another one (in a tree only, the host has them where they are);
    ``install_root``: a root that a package manager fills: it is shared, and gets /proc, /sys, /dev;
    ``user``: uid and gid; ``network`` False leaves loopback only; ``env`` is added to a short
    environment from nothing.
    """

    shared: tuple[str, ...] = ()
    placed: Mapping[str, str] = {}
    install_root: str = ""
    env: Mapping[str, str] = {}
    user: tuple[int, int] | None = None
    network: bool = True
    cwd: str = "/"


class Tools(msgspec.Struct, frozen=True):
    """The tree whose programs are run; ``root`` is its absolute path, "/" is this host."""

    root: str = "/"

    def has(self, program: str) -> bool:
        """Whether the tree has a program of that name."""
        return any(
            os.access(f"{self.root}/{folder}/{program}", os.X_OK)
            for folder in ("usr/bin", "usr/sbin", "usr/local/bin", "bin")
        )

    def need(self, *programs: str) -> None:
        """Raises ToolMissing for the first program that the tree lacks."""
        for program in programs:
            if not self.has(program):
                place = "this host" if self.root == "/" else self.root
                package = _PACKAGES.get(program, program)
                raise ToolMissing(
                    f"{place} has no {program}",
                    hint=f"install {package}, or name a tree that has it with --tools",
                )

    def argv(self, command: Sequence[str], inside: Inside) -> list[str]:
        """The command line, for the host, that runs a command in the tree."""
        options = ["--parent", str(os.getpid())]
        for path in inside.shared:
            options += ["--bind", path]
        for path, place in inside.placed.items():
            options += ["--bind", f"{path}={place}"]
        if inside.install_root:
            options += ["--bind", inside.install_root, "--api", inside.install_root]
        for name, value in inside.env.items():
            options += ["--setenv", f"{name}={value}"]
        if inside.user is not None:
            options += ["--user", f"{inside.user[0]}:{inside.user[1]}"]
        if not inside.network:
            options.append("--no-network")
        options += ["--chdir", inside.cwd]
        return [sys.executable, "-sP", "-m", "trilby.rpm.enter", *options, self.root, *command]

    def run(
        self,
        command: Sequence[str],
        inside: Inside | None = None,
        *,
        check: bool = True,
        stdin: bytes | None = None,
        stdout: int = process.CAPTURE,
        stderr: int = process.CAPTURE,
        timeout: float | None = None,
    ) -> process.Completed:
        """Run a command in the tree to its end; see system.process.run() for the other parameters.

        Raises:
            ToolMissing: the tree lacks the program.
            ToolRefused: entering the tree takes root's rights.
            CommandFailed: with ``check``, when it fails.
        """
        inside = inside or Inside()
        self.need(os.path.basename(command[0]))
        if os.geteuid() != 0 and (self.root != "/" or inside.install_root or inside.user):
            raise ToolRefused(
                f"{command[0]} has to run in {inside.install_root or self.root}, which takes root",
                hint="run it as root, or build with mock",
            )
        alone = self.root == "/" and not inside.install_root and inside.network
        direct = alone and inside.user is None
        done = process.run(
            command if direct else self.argv(command, inside),
            env=dict(inside.env) if direct else {"PYTHONPATH": _import_path()},
            cwd=inside.cwd if direct else None,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            timeout=timeout,
            check=False,
        )
        if done.returncode == CANNOT_ENTER and b"trilby.rpm.enter:" in done.stderr:
            raise RpmError(done.stderr.decode(errors="replace").strip())
        if check and done.returncode != 0:
            raise process.CommandFailed(
                command,
                process.describe_status(done.returncode),
                command=process.replay_command(command, inside.env),
                returncode=done.returncode,
                stdout=done.stdout,
                stderr=done.stderr,
            )
        return done


HOST: Final = Tools("/")


def _import_path() -> str:
    """Where the helper finds this package."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
