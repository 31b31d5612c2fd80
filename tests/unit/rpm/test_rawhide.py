"""Everything that the packages require exists in Fedora Rawhide, in a version that is enough."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trilby.rpm.project import load_project
from trilby.rpm.requirement import Requirement

ROOT = Path(__file__).resolve().parents[3]
PROJECT = load_project(ROOT)
SPEC = (ROOT / "spec" / "trilby.spec").read_text()
LISTED = {
    words[3] if len(words) > 3 else words[0]: words[1]
    for line in (ROOT / "spec" / "rawhide-packages").read_text().splitlines()
    if (words := line.split()) and not line.startswith("#")
}
TAGS = r"(?:BuildRequires|Requires(?:\(\w+\))?|Recommends|Suggests)"


def capabilities(text: str) -> list[tuple[str, str]]:
    """The names in a plain or rich dependency, each with its lowest version or nothing."""
    words = re.findall(r"python3dist\([\w-]+\)|[\w.+-]+|>=|<=|<|>|=", text)
    found: list[tuple[str, str]] = []
    for number, word in enumerate(words):
        if word in (">=", "=") and found:
            found[-1] = (found[-1][0], words[number + 1])
        elif not re.match(r"[<>=]|\d|if$|or$|and$|with$", word):
            found.append((word, ""))
    return found


def in_spec() -> list[str]:
    lines = re.findall(rf"^{TAGS}: +(.+)$", SPEC, re.MULTILINE)
    return [line for line in lines if "%{version}" not in line]


def at_build_time() -> list[Requirement]:
    """What %pyproject_buildrequires finds: run time, the extra for tests, and the backend."""
    return [*PROJECT.requires, *PROJECT.extras["check"], *PROJECT.extras["rpm"]]


WANTED = sorted(
    {
        *(each for line in in_spec() for each in capabilities(line)),
        *(each for item in at_build_time() for text in item.rpm() for each in capabilities(text)),
        ("python3dist(setuptools)", "69"),
    }
)


def number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


@pytest.mark.parametrize(("name", "floor"), WANTED, ids=[name for name, _ in WANTED])
def test_rawhide_has_it(name: str, floor: str) -> None:
    assert name in LISTED, f"look for {name} in Rawhide, and add it to spec/rawhide-packages"
    assert number(LISTED[name]), f"look for the version of {name}"
    if floor:
        assert number(LISTED[name]) >= number(floor)


def test_nothing_is_listed_that_nobody_needs() -> None:
    for_the_collection = {"ansible-core"}
    assert set(LISTED) - {name for name, _ in WANTED} <= for_the_collection


def test_rich_dependencies_are_understood() -> None:
    assert capabilities("(container-selinux if selinux-policy)") == [
        ("container-selinux", ""),
        ("selinux-policy", ""),
    ]
    assert capabilities("(python3dist(a) >= 1.4 with python3dist(a) < 1.5~~)")[0] == (
        "python3dist(a)",
        "1.4",
    )


def test_the_backend_is_what_pyproject_says() -> None:
    assert 'requires = ["setuptools>=69"]' in (ROOT / "pyproject.toml").read_text()


def test_every_filter_of_rpmlint_is_explained() -> None:
    lines = (ROOT / "spec" / "rpmlint.toml").read_text().partition("Filters = [")[2].splitlines()
    for above, line in zip(lines, lines[1:], strict=False):
        if line.strip().startswith("'"):
            assert above.strip().startswith(("#", "'")), f"say why {line.strip()} is a filter"
