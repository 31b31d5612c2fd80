"""Lines of keys in TOML and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.system.errors import ConfigSyntaxError
from trilby.system.positions import Data, json_load, json_loads, toml_load, toml_loads

DOCUMENT = """\
# comment [no.table]
[a]
x = 1 # y = 2
"q.k" = \"\"\"
[[not]]
one"" two\"\"\"\"\"
arr = [
  1, # one ]
  {b = 2, c = [3,
   4]},
  1979-05-27 07:32:00,
]
a.b.c = 'x = "'
[[t]]
n = 1
[[t.u]]
m = 1
[[t.u]]
m = 2

[[t]]
[[t.u]]
m = 3
[t.v]
z = '''
a = 1'''
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("a",), 2),
        (("a", "x"), 3),
        (("a", "q.k"), 4),
        (("a", "arr"), 7),
        (("a", "arr", 0), 8),
        (("a", "arr", 1, "b"), 9),
        (("a", "arr", 1, "c", 1), 10),
        (("a", "arr", 2), 11),
        (("a", "a", "b", "c"), 13),
        (("t", 0, "n"), 15),
        (("t", 0, "u", 0, "m"), 17),
        (("t", 0, "u", 1, "m"), 19),
        (("t", 1), 21),
        (("t", 1, "u", 0, "m"), 23),
        (("t", 1, "v", "z"), 25),
        # Not there: the nearest parent that is.
        (("a", "x", "nothing"), 3),
        (("a", "missing"), 2),
    ],
)
def test_toml_lines(key: tuple[str | int, ...], line: int) -> None:
    data, positions = toml_loads(DOCUMENT, "f")
    assert positions.line(key) == line
    assert positions.where(key) == f"f:{line}"
    assert data["a"]["q.k"] == '[[not]]\none"" two""'  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (("a",), "f:2:1"),
        (("a", "x"), "f:3:1"),
        (("a", "arr", 0), "f:8:3"),
        (("a", "arr", 1, "b"), "f:9:4"),
        (("a", "arr", 1, "c", 0), "f:9:16"),
        (("a", "a", "b", "c"), "f:13:1"),
        (("t", 1, "v", "missing"), "f:24:1"),
        (("nowhere",), "f"),
    ],
)
def test_toml_columns(key: tuple[str | int, ...], place: str) -> None:
    assert toml_loads(DOCUMENT, "f")[1].place(key) == place


def test_an_unknown_key_has_no_line() -> None:
    _, positions = toml_loads(DOCUMENT, "f")
    assert positions.line(("nowhere",)) is None
    assert positions.where(("nowhere",)) == "f"


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = 1\nb =", 2), ("a = 1\na = 2\n", 2), ("x = [\n1,\n", 3), ('\n\nx = "a\n"', 3)],
)
def test_toml_errors_have_their_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigSyntaxError) as caught:
        toml_load(path)
    found = int(str(caught.value).split(":")[1])
    # Of a duplicate key older parsers tell the end of its line or the next line's start.
    assert str(caught.value).startswith(f"{path}:")
    assert found in (line, line + 1)


def test_text_that_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b"a = 1\nb = '\xe4'\n")
    with pytest.raises(ConfigSyntaxError, match=":2: it is not UTF-8"):
        toml_load(path)


def test_json_lines_and_errors(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text('{"a":[1,\n{"b":"}\\"",\n"c":[]}],\n"\\u007a":{}}')
    data, positions = json_load(path)
    assert data == {"a": [1, {"b": '}"', "c": []}], "z": {}}
    lines = {key: positions.line(key) for key in positions.keys()}
    assert lines == {
        ("a",): 1,
        ("a", 0): 1,
        ("a", 1): 2,
        ("a", 1, "b"): 2,
        ("a", 1, "c"): 3,
        ("z",): 4,
    }
    with pytest.raises(ConfigSyntaxError, match=r"^j:2: .*column 1"):
        json_loads('{"a":1,\n!}', "j")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_nesting_without_end_is_an_error_of_the_file(text: str) -> None:
    with pytest.raises(ConfigSyntaxError):
        json_loads(text, "j")
    with pytest.raises(ConfigSyntaxError):
        toml_loads("a = " + text, "t")


def paths(data: Data, above: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found: set[tuple[str | int, ...]] = set()
    items: list[tuple[str | int, Data]] = []
    if isinstance(data, dict):
        items = list(data.items())
    elif isinstance(data, list):
        items = list(enumerate(data))
    for key, value in items:
        found |= {(*above, key)} | paths(value, (*above, key))
    return found


scalars = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=8)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(documents, st.booleans())
def test_every_json_path_has_a_position(data: Data, ascii_only: bool) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=ascii_only)
    parsed, positions = json_loads(text, "j")
    assert parsed == data
    assert set(positions.keys()) == paths(data)
    rows = text.split("\n")
    for key in positions.keys():
        if isinstance(key[-1], str):
            line = positions.line(key)
            assert line is not None
            assert json.dumps(key[-1], ensure_ascii=ascii_only) in rows[line - 1]


def as_toml(data: Data) -> str:
    """One value as TOML, inline tables only; strings in all their spellings are JSON's here."""
    if isinstance(data, dict):
        return "{" + ", ".join(f"{quoted(k)} = {as_toml(v)}" for k, v in data.items()) + "}"
    if isinstance(data, list):
        return "[\n" + ",\n".join(as_toml(item) for item in data) + "\n]"
    if isinstance(data, str):
        return quoted(data)
    return "0" if data is None else str(data).lower()


def quoted(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\u007f")


bmp_text = st.text(st.characters(max_codepoint=0xD7FF), max_size=8)
toml_values = st.recursive(
    st.booleans() | st.integers(-99, 99) | bmp_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(bmp_text, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(bmp_text, toml_values, max_size=4))
def test_every_toml_path_has_a_position(data: dict[str, Data]) -> None:
    text = "".join(f"{quoted(key)} = {as_toml(value)}\n" for key, value in data.items())
    parsed, positions = toml_loads(text, "t")
    assert set(positions.keys()) == paths(dict(parsed))
