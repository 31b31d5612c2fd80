"""registries.d: URLs of signatures, and reading them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilby.image import registriesd
from trilby.image.errors import ConfigError, CorruptImage, UnsupportedImage
from trilby.image.reference import parse
from trilby.image.registriesd import (
    Lookaside,
    load_registries_d,
    read_signatures,
    signature_url,
    write_signatures,
)
from trilby.oci.digest import Digest

DIGEST = Digest.of(b"")
IMAGE = parse("q.io/n/r:1")


def write(folder: Path, **files: str) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder)


def test_most_specific_setting(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "d",
        a="default-docker:\n  lookaside: https://default.example\n",
        b="docker:\n  q.io:\n    sigstore: https://host.example/s\n    use-sigstore-attachments: true\n"
        "  q.io/n/r:\n    lookaside-staging: file:///stage\n"
        "  'q.io/n/r:1':\n    use-sigstore-attachments: false\n  '*.wild.io':\n"
        "    lookaside: file:///wild\n",
        c="# nothing\n",
    )
    (tmp_path / "d/ignored.yml").write_text("{")
    found = load_registries_d(folder)
    assert found.lookaside(IMAGE) == Lookaside(
        "https://host.example/s", "file:///stage", False, True
    )
    assert found.lookaside(parse("q.io/other")) == Lookaside(
        "https://host.example/s", "https://host.example/s", True, True
    )
    assert found.lookaside(parse("q.io:5000/x")).read_url == "https://default.example"
    assert found.lookaside(parse("a.b.wild.io/x")).read_url == "file:///wild"


def test_nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    found = load_registries_d(str(tmp_path / "missing")).lookaside(IMAGE)
    assert found == Lookaside("file:///var/lib/containers/sigstore", found.read_url, False, False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    found = load_registries_d(str(tmp_path / "missing"), env={"HOME": "/h"}).lookaside(IMAGE)
    assert found.write_url == "file:///h/.local/share/containers/sigstore"


def test_which_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = write(tmp_path / "etc", a="default-docker: {lookaside: 'file:///system'}")
    monkeypatch.setattr(registriesd, "SYSTEM_DIRECTORY", system)
    env = {"HOME": str(tmp_path)}
    assert load_registries_d(env=env).lookaside(IMAGE).read_url == "file:///system"
    (tmp_path / ".config/containers").mkdir(parents=True)
    write(tmp_path / ".config/containers/registries.d", a="docker: {}")
    assert not load_registries_d(env=env).lookaside(IMAGE).configured


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "a.yaml:1:"),
        ("- x", "a.yaml:1: must be a mapping"),
        ("docker:\n  q.io: 3", "a.yaml:2: q.io must be a table"),
        ("docker:\n  q.io:\n    lookaside: 3", "a.yaml:3: lookaside must be a string"),
        ("docker:\n  q.io:\n    lookaside: ftp://x", "a.yaml:3: lookaside 'ftp://x' is not"),
        ("docker:\n  q.io: {}\n  q.io: {}", "a.yaml:3: duplicate key 'q.io'"),
        ("docker:\n  ? [x]\n  : {}", "a.yaml:2: a key must be text"),
        ("a: &a [1]\nb: &b [*a,*a]\nc: *missing", "a.yaml:3:"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{name}: &{name} [{','.join([f'*{below}'] * 10)}]\n"
                for below, name in ("ab", "bc", "cd", "de", "ef")
            ),
            "more than",
        ),
        ("default-docker:\n  lookaside: !!python/object:os.system x", "a.yaml:2:"),
    ],
)
def test_errors(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_registries_d(write(tmp_path / "d", a=text))
    assert said in caught.value.message


def test_twice_in_two_files(tmp_path: Path) -> None:
    for text in ("default-docker: {}", "docker:\n  q.io: {}"):
        folder = write(tmp_path / "d", a=text, b=text)
        with pytest.raises(ConfigError, match=r"b.yaml:\d: .*defined already at .*a.yaml"):
            load_registries_d(folder)


def test_unknown_keys_warn(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", a="dockr: {}\ndocker:\n  q.io:\n    lokaside: x\n")
    lines = [warning.partition("a.yaml")[2] for warning in load_registries_d(folder).warnings]
    assert lines == [":4: unknown key 'docker.q.io.lokaside'", ":1: unknown key 'dockr'"]


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        ("https://s.example/base", "https://s.example/base/n/r@sha256={}/signature-1"),
        ("https://s.example", "https://s.example/n/r@sha256={}/signature-1"),
        ("https://s.example/a?k=v", "https://s.example/a/n/r@sha256={}/signature-1?k=v"),
        ("file:///a%20b", "file:///a%20b/n/r@sha256={}/signature-1"),
    ],
)
def test_urls(base: str, wanted: str) -> None:
    assert signature_url(base, IMAGE, DIGEST, 1) == wanted.format(DIGEST.encoded)


async def never(url: str) -> bytes | None:
    raise AssertionError(f"asked for {url}")


async def test_files(tmp_path: Path) -> None:
    where = Lookaside(f"file://{tmp_path}/s p", f"file://{tmp_path}/s p")
    assert await read_signatures(where, IMAGE, DIGEST, never) == []
    write_signatures(where, IMAGE, DIGEST, [b"one", b"two", b"three"])
    assert await read_signatures(where, IMAGE, DIGEST, never) == [b"one", b"two", b"three"]
    write_signatures(where, IMAGE, DIGEST, [b"new"])
    assert await read_signatures(where, IMAGE, DIGEST, never) == [b"new"]
    assert (tmp_path / f"s p/n/r@sha256={DIGEST.encoded}/signature-1").read_bytes() == b"new"
    (tmp_path / f"s p/n/r@sha256={DIGEST.encoded}/signature-2").mkdir()
    with pytest.raises(CorruptImage):
        await read_signatures(where, IMAGE, DIGEST, never)
    with pytest.raises(UnsupportedImage, match="lookaside-staging"):
        write_signatures(Lookaside("", "https://s.example"), IMAGE, DIGEST, [])


async def test_http(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def fetch(url: str) -> bytes | None:
        asked.append(url)
        return b"sig" if len(asked) < 3 else None

    where = Lookaside("https://s.example")
    assert await read_signatures(where, IMAGE, DIGEST, fetch) == [b"sig", b"sig"]
    assert asked[2].endswith("/signature-3")
    assert await read_signatures(Lookaside(), IMAGE, DIGEST, never) == []

    async def endless(url: str) -> bytes | None:
        return b"sig"

    monkeypatch.setattr(registriesd, "SIGNATURES_MAX", 10)
    with pytest.raises(CorruptImage, match="more than 10"):
        await read_signatures(where, IMAGE, DIGEST, endless)
