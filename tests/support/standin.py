"""A stand-in for the repository of Fedora Rawhide, made of Debian's packages and PyPI's wheels.

``repository()`` gives a signed repository for dnf and makes it if it is not there; spec/standin
says what is in it. As a command it prints where the repository and the tree of tools are::

    python -m tests.support.standin
"""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec.structs import replace
from tests.support import standin_cut, standin_dpkg, standin_spec, standin_stage
from tests.support.standin_cache import fingerprint, made_once, say
from tests.support.standin_cut import Part
from tests.support.standin_definition import DATA, FILES, Definition, definition, wheels
from tests.support.standin_tree import TreeError, debian_mirror, tools, tree
from tests.support.standin_wheels import fetched, wheel_parts

from trilby.errors import TrilbyError
from trilby.rpm.build import Source, build_in_tree
from trilby.rpm.prebuilt import render
from trilby.rpm.repo import KEY_NAME, Repository, make_repository
from trilby.rpm.sign import SigningKey, find_key, make_key, sign

__all__ = ["impossible", "repository", "signing_key"]

NAME = "rawhide"
NEWEST = "rawhide-newest"
OWNER = "Rawhide stand-in <standin@example.invalid>"
#: rpmbuild looks for what files provide and require in one process: so many run at a time.
AT_A_TIME = 2


def repository(newest: bool = False) -> Repository:
    """The repository; its packages are signed and so is its metadata.

    ``newest`` has what spec/standin holds back for hosts with cgroup v1, as Rawhide has it.
    """
    # The wheels come meanwhile: both wait for a network most of the time.
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(fetched, wheels(), definition().python)
        base = tree(newest)
        coming.result()
    code = (standin_cut, standin_dpkg, standin_spec, standin_stage)
    mark = fingerprint(base.name, *DATA, FILES, *(Path(str(module.__file__)) for module in code))
    path = made_once("repository", mark, lambda folder: _make(folder, base))
    return Repository(NEWEST if newest else NAME, str(path), key=str(path / KEY_NAME))


def signing_key() -> SigningKey:
    """The key of this machine's stand-ins: made once, kept beside them, of no worth elsewhere.

    Sequoia's, for GnuPG leaves an agent behind that outlives the tests.
    """
    home = made_once("key", fingerprint(OWNER, "sq"), _make_key)
    return find_key(str(home), how="sq", tools=tools())


def _make_key(folder: Path) -> None:
    folder.chmod(0o700)
    make_key(str(folder), OWNER, how="sq", tools=tools())


def _make(folder: Path, base: Path) -> None:
    wanted, key = definition(), signing_key()
    parts = _parts(base, wanted)
    count = sum(len(part.entries) for part in parts.values())
    say(f"{len(parts)} packages of {count} files")
    largest = sorted(parts, key=lambda name: -len(parts[name].entries))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        shares = [largest[number::AT_A_TIME] for number in range(AT_A_TIME)]
        list(pool.map(lambda share: _build(folder, parts, share), shares))
    say("signing")
    sign(sorted(map(str, folder.glob("*.rpm"))), key, tools=tools())
    make_repository(str(folder), tools=tools(), key=key)
    say(f"done: {len(list(folder.glob('*.rpm')))} packages")


def _build(folder: Path, parts: dict[str, Part], names: list[str]) -> None:
    """Some of the packages, as one source package that nobody keeps."""
    work = folder / names[0]
    work.mkdir()
    staged = work / "stage"
    standin_stage.stage((entry for name in names for entry in parts[name].entries.values()), staged)
    spec = work / "rawhide-standin.spec"
    whole = standin_spec.prebuilt(parts, definition(), staged, work / "lists")
    share = tuple(package for package in whole.packages if package.name in names)
    spec.write_text(render(replace(whole, packages=share), folder=str(work)))
    say(f"rpmbuild: {len(names)} packages")
    source, results = Source(str(spec)), work / "packages"
    build_in_tree(source, tools(), str(results), shared=(str(work),), topdir=str(work))
    for path in results.glob("*.rpm"):
        path.rename(folder / path.name)
    shutil.rmtree(work)


def _parts(base: Path, wanted: Definition) -> dict[str, Part]:
    parts = standin_cut.cut(base, wanted).parts
    for wheel in wheel_parts(wheels(), wanted.python, tools()):
        # In the place of Debian's, if it has one of that name.
        parts[wheel.name] = Part(entries=wheel.entries, version=wheel.version)
    standin_stage.lay_over(parts, wanted)
    for name in wanted.made:
        parts.setdefault(name, Part())
    return parts


def impossible() -> str:
    """Why the stand-in cannot be made on this machine; empty if it can."""
    if os.geteuid() != 0:
        return "roots of packages need root"
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed"
    try:
        debian_mirror()
    except TreeError as error:
        return str(error)
    return ""


def main(words: list[str]) -> int:
    """``--for-tests``: also our packages; where that is impossible, tests are skipped, too."""
    for_tests = words == ["--for-tests"]
    if for_tests and impossible():
        sys.stderr.write(f"standin: not made: {impossible()}\n")
        return 0
    try:
        found = repository()
        sys.stdout.write(f"repository={found.directory}\nkey={found.key}\ntools={tree()}\n")
        if for_tests:
            from tests.support import standin_trilby

            with ThreadPoolExecutor() as pool:
                for coming in (
                    pool.submit(standin_trilby.today),
                    pool.submit(standin_trilby.older),
                ):
                    coming.result()
    except (TreeError, TrilbyError) as error:
        sys.stderr.write(f"standin: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
