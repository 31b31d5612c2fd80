"""What a name without a registry means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from trilby.image.errors import (
    ConfigError,
    InvalidReference,
    ShortNameAmbiguous,
    ShortNameUnresolved,
)
from trilby.image.reference import Reference, parse
from trilby.image.registries import Registries
from trilby.image.shortnames import Resolved, local_candidates, record_alias, resolve

DIGEST = "sha256:" + "ab" * 32
TWO = Registries(
    unqualified_search_registries=("a.example", "docker.io"),
    search_origin="/r.conf",
    aliases={"fedora": "registry.example/fedora", "org/app": "q.io/org/app"},
    alias_origins={"fedora": "/shortnames.conf"},
)
ONE = Registries(unqualified_search_registries=("a.example",))


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache" / "short-name-aliases.conf")


def names(resolved: Resolved) -> list[str]:
    return [str(candidate) for candidate in resolved.candidates]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("q.io/x", ["q.io/x:latest"]),
        ("localhost/x:1", ["localhost/x:1"]),
        (f"q.io/x:1@{DIGEST}", [f"q.io/x:1@{DIGEST}"]),
        ("fedora", ["registry.example/fedora:latest"]),
        ("fedora:40", ["registry.example/fedora:40"]),
        (f"fedora@{DIGEST}", [f"registry.example/fedora@{DIGEST}"]),
        ("org/app", ["q.io/org/app:latest"]),
        ("org/fedora", ["a.example/org/fedora:latest", "docker.io/org/fedora:latest"]),
        ("nginx", ["a.example/nginx:latest", "docker.io/library/nginx:latest"]),
    ],
)
def test_permissive(cache: str, text: str, wanted: list[str]) -> None:
    assert names(resolve(text, TWO, cache=cache)) == wanted


def test_modes(cache: str) -> None:
    with pytest.raises(ShortNameAmbiguous, match="without a TTY") as caught:
        resolve("nginx", TWO, mode="enforcing", cache=cache)
    assert "docker.io/library/nginx:latest" in caught.value.hint
    assert names(resolve("fedora", TWO, mode="enforcing", cache=cache))[0].startswith("registry.")
    assert names(resolve("nginx", ONE, mode="enforcing", cache=cache)) == ["a.example/nginx:latest"]
    # Without prompting, but with aliases, as podman does.
    assert len(names(resolve("nginx", TWO, mode="disabled", cache=cache))) == 2
    assert len(names(resolve("fedora", TWO, mode="disabled", cache=cache))) == 1
    with pytest.raises(ConfigError):
        resolve("nginx", TWO, mode="maybe", cache=cache)


def test_a_person_chooses_once(cache: str) -> None:
    asked: list[str] = []

    def ask(text: str, candidates: Sequence[Reference]) -> Reference:
        asked.append(text)
        return candidates[1]

    resolved = resolve("nginx:1", TWO, mode="enforcing", ask=ask, cache=cache)
    assert names(resolved) == ["docker.io/library/nginx:1"] and resolved.record
    record_alias("nginx:1", resolved.candidates[0], cache=cache)
    again = resolve("nginx:2", TWO, mode="enforcing", ask=ask, cache=cache)
    assert names(again) == ["docker.io/library/nginx:2"] and not again.record
    assert asked == ["nginx:1"]
    assert Path(cache).read_text() == '[aliases]\n  "nginx" = "docker.io/library/nginx"\n'


def test_recorded_aliases_win(cache: str) -> None:
    record_alias("fedora", parse("mine.example/fedora:1"), cache=cache)
    record_alias("zoo", parse("q.io/zoo"), cache=cache)
    resolved = resolve("fedora", TWO, cache=cache)
    assert names(resolved) == ["mine.example/fedora:latest"]
    assert cache in resolved.explanation
    Path(cache).write_text('[aliases]\nfedora = ""\n')
    assert len(names(resolve("fedora", TWO, cache=cache))) == 2
    Path(cache).write_text('[aliases]\nfedora = "nonsense"\n')
    with pytest.raises(ConfigError, match=f"{cache}:2:"):
        resolve("fedora", TWO, cache=cache)


def test_nothing_says_which(cache: str) -> None:
    empty = Registries(origin="/etc/containers/registries.conf")
    with pytest.raises(ShortNameUnresolved, match="did not resolve to an alias and no unqualified"):
        resolve("nginx", empty, cache=cache)


@pytest.mark.parametrize("text", ["", "UPPER", "a b", "x:", "x@sha256:1"])
def test_invalid(cache: str, text: str) -> None:
    with pytest.raises(InvalidReference):
        resolve(text, TWO, cache=cache)


def test_local_candidates(cache: str) -> None:
    found = [str(each) for each in local_candidates("fedora:1", TWO, cache=cache)]
    assert found == [
        "registry.example/fedora:1",
        "localhost/fedora:1",
        "a.example/fedora:1",
        "docker.io/library/fedora:1",
    ]
    assert local_candidates("q.io/x", TWO, cache=cache) == [parse("q.io/x:latest")]
