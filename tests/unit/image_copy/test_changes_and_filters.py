"""Instructions for imported images, filters of prune, and how long an image takes to describe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilby.image.copy_errors import InvalidChange, InvalidFilter
from trilby.image.importer import apply_changes
from trilby.image.prune import ImageFilter, moment
from trilby.image.service_list import LayerSizes, repository
from trilby.oci.image import ContainerDefaults
from trilby.storage.records import Image, Layer

NOW = 1_700_000_000.0


def changed(*changes: str) -> ContainerDefaults:
    return apply_changes(ContainerDefaults(), changes)


def test_later_changes_win() -> None:
    assert changed("ENV A=1", "ENV A=2 B=3").env == ("A=2", "B=3")
    assert changed('CMD ["a"]', "CMD").cmd == ()
    assert changed("WORKDIR /a", "WORKDIR b").working_dir == "/a/b"
    assert changed("CMD=/bin/sh").cmd == ("/bin/sh", "-c", "/bin/sh")
    assert changed('entrypoint ["x"]').entrypoint == ("x",)
    assert set(changed("EXPOSE 8000-8010/tcp 53/udp").exposed_ports) == {"8000-8010/tcp", "53/udp"}
    assert set(changed('VOLUME ["/a b"]', "VOLUME /c /d").volumes) == {"/a b", "/c", "/d"}
    assert changed("LABEL a.b='x y' c=").labels == {"a.b": "x y", "c": ""}


@given(st.text(max_size=30))
def test_any_change_is_taken_or_refused(text: str) -> None:
    try:
        changed(text)
    except InvalidChange:
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", NOW - 86400),
        ("1h30m", NOW - 5400),
        ("1.5s", NOW - 1.5),
        ("1234567890", 1234567890),
        ("2024-01-02", 1704153600),
        ("2024-01-02T00:00:00Z", 1704153600),
        ("2024-01-02T00:00:00+01:00", 1704150000),
    ],
)
def test_moments(text: str, expected: float) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["until=x", "until!=1h", "label!", "colour=red", "dangling=1", ""])
def test_filters_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidFilter):
        ImageFilter.parse([text], NOW)


def test_filters() -> None:
    parsed = ImageFilter.parse(["label=a=b!=c", "label!=x", "label!=y=z", "dangling=true"], NOW)
    assert parsed.labels == [("a", "b!=c")]
    assert parsed.not_labels == [("x", None), ("y", "z")]
    assert parsed.dangling is True


def test_sizes_of_shared_layers() -> None:
    layers = [
        Layer(id="a", diff_size=1),
        Layer(id="b", parent="a", diff_size=10),
        Layer(id="c", parent="a", diff_size=-1),
    ]
    sizes = LayerSizes(layers)
    assert [sizes.chain(top) for top in ("b", "c", "a", "", "missing")] == [11, 1, 1, 0, 0]
    assert sizes.image(Image(id="i", top_layer="b", big_data_sizes={"manifest": 5})) == 16
    assert sizes.layer("c") == 0


def test_repositories_of_stored_names() -> None:
    assert repository("localhost:5000/a/b:1") == "localhost:5000/a/b"
    assert repository("localhost:5000/a/b@sha256:12") == "localhost:5000/a/b"
