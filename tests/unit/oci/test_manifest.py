"""Manifests and indexes: reading, refusing, changing, converting."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from trilby.oci import codec, media
from trilby.oci.convert import convert_index, convert_manifest
from trilby.oci.descriptor import Descriptor, Platform
from trilby.oci.digest import Digest
from trilby.oci.errors import MalformedDocument, NotConvertible, UnsupportedManifest
from trilby.oci.manifest import Index, Manifest, make_index, make_manifest, parse_manifest

FRUGAL = settings(max_examples=40, deadline=None)
DIGESTS = st.binary(max_size=3).map(Digest.of)
TEXTS = st.text(max_size=12)
MAPS = st.dictionaries(TEXTS, TEXTS, max_size=3)
UNKNOWN = st.dictionaries(
    TEXTS.map(lambda text: f"x-{text}"),
    st.none() | st.booleans() | st.integers(-5, 5) | TEXTS | st.lists(TEXTS, max_size=2),
    max_size=3,
)
OCI_LAYERS = (media.OCI_LAYER, media.OCI_LAYER_GZIP, media.OCI_LAYER_NONDISTRIBUTABLE_GZIP)


def descriptors(*types: str) -> st.SearchStrategy[Descriptor]:
    return st.builds(
        Descriptor,
        media_type=st.sampled_from(types),
        digest=DIGESTS,
        size=st.integers(0, 2**40),
        urls=st.lists(st.just("https://example.com/x"), max_size=1).map(tuple),
        annotations=MAPS,
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    made = make_manifest(
        draw(descriptors(media.OCI_CONFIG)),
        draw(st.lists(descriptors(*OCI_LAYERS), max_size=4)),
        annotations=draw(MAPS),
    )
    document = json.loads(made.raw) | draw(UNKNOWN)
    for layer in document["layers"]:
        layer |= draw(UNKNOWN)
    raw = json.dumps(document, indent=draw(st.sampled_from([None, 1, 3]))).encode()
    found = parse_manifest(raw)
    assert isinstance(found, Manifest)
    return found


def image_manifest(raw: bytes, media_type: str | None = None) -> Manifest:
    found = parse_manifest(raw, media_type)
    assert isinstance(found, Manifest)
    return found


@FRUGAL
@given(manifests())
def test_what_nobody_changes_stays(manifest: Manifest) -> None:
    assert manifest.digest == Digest.of(manifest.raw)
    again = manifest.replace()
    assert json.loads(again.raw) == json.loads(manifest.raw)
    assert replace(again, raw=b"") == replace(manifest, raw=b"")


@FRUGAL
@given(manifests(), st.data())
def test_a_changed_layer_changes_nothing_else(manifest: Manifest, data: st.DataObject) -> None:
    if not manifest.layers:
        return
    index = data.draw(st.integers(0, len(manifest.layers) - 1))
    new = replace(manifest.layers[index], digest=Digest.of(b"new"), size=77)
    layers = [*manifest.layers[:index], new, *manifest.layers[index + 1 :]]
    changed = manifest.replace(layers=layers)
    assert changed.layers == tuple(layers)
    wanted = json.loads(manifest.raw)
    wanted["layers"][index] |= {"digest": str(new.digest), "size": 77}
    assert json.loads(changed.raw) == wanted


@FRUGAL
@given(manifests())
def test_docker_and_back(manifest: Manifest) -> None:
    docker = convert_manifest(manifest, media.DOCKER_MANIFEST)
    assert docker.media_type == json.loads(docker.raw)["mediaType"] == media.DOCKER_MANIFEST
    assert image_manifest(docker.raw) == docker
    back = convert_manifest(docker, media.OCI_MANIFEST)
    assert not back.annotations
    assert [(x.media_type, x.digest, x.size, x.urls) for x in back.layers] == [
        (x.media_type, x.digest, x.size, x.urls) for x in manifest.layers
    ]
    assert back.config.digest == manifest.config.digest


def layer(media_type: str = media.OCI_LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(b"layer"), size=5)


def config(media_type: str = media.OCI_CONFIG) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(b"config"), size=6)


def test_layers_may_grow_and_shrink() -> None:
    manifest = make_manifest(config(), [layer()])
    assert manifest.replace(layers=[layer(), layer()]).layers == (layer(), layer())
    assert manifest.replace(layers=[]).layers == ()
    assert make_manifest(config(), []).replace(layers=[layer()]).layers == (layer(),)


def test_annotations_go_away() -> None:
    manifest = make_manifest(config(), [replace(layer(), annotations={"a": "b"})])
    manifest = manifest.replace(annotations={"x": "y"}, layers=[layer()])
    assert manifest.annotations == {"x": "y"}
    assert "annotations" not in json.loads(manifest.raw)["layers"][0]
    assert "annotations" not in json.loads(manifest.replace(annotations={}).raw)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (make_manifest(config("application/vnd.example+json"), []), "artifact"),
        (make_manifest(config(), [layer(media.OCI_LAYER_ZSTD)]), "zstd"),
        (make_manifest(config(), [layer(media.OCI_LAYER_GZIP + "+encrypted")]), "encrypted"),
    ],
)
def test_what_docker_cannot_say(made: Manifest, reason: str) -> None:
    with pytest.raises(NotConvertible, match=reason):
        convert_manifest(made, media.DOCKER_MANIFEST)


def test_index_to_list_and_back() -> None:
    item = replace(
        layer(media.OCI_MANIFEST),
        platform=Platform(architecture="arm", os="linux", variant="v7", os_version="1"),
        annotations={"a": "b"},
    )
    index = make_index([item], annotations={"c": "d"})
    docker = convert_index(index, media.DOCKER_LIST)
    assert docker.manifests == (replace(item, annotations={}),)
    back = convert_index(docker, media.OCI_INDEX)
    assert back.media_type == media.OCI_INDEX and back.manifests == docker.manifests
    other = replace(item, digest=Digest.of(b"other"))
    assert convert_index(index, media.OCI_INDEX, (other,)).manifests == (other,)
    with pytest.raises(NotConvertible):
        convert_index(index, media.OCI_MANIFEST)


def document(**members: object) -> bytes:
    return codec.encode({"schemaVersion": 2, **members})


def test_type_by_content_when_the_sender_does_not_say() -> None:
    image = {"config": config(), "layers": [layer()]}
    docker = {"config": config(media.DOCKER_CONFIG), "layers": []}
    cases = [
        (document(**image), None, media.OCI_MANIFEST),
        (document(**image), "text/plain; charset=utf-8", media.OCI_MANIFEST),
        (document(**docker), "application/json", media.DOCKER_MANIFEST),
        (document(**docker), media.DOCKER_MANIFEST, media.DOCKER_MANIFEST),
        (document(manifests=[]), "", media.OCI_INDEX),
        (document(manifests=[]), media.DOCKER_LIST + "; x=y", media.DOCKER_LIST),
        (document(manifests=[], mediaType=media.DOCKER_LIST), None, media.DOCKER_LIST),
    ]
    for raw, sent_as, wanted in cases:
        found = parse_manifest(raw, sent_as)
        assert found.media_type == wanted
        assert isinstance(found, Index) == media.is_index(wanted)
        assert found.raw == raw


@pytest.mark.parametrize(
    ("raw", "sent_as"),
    [
        (b"[]", None),
        (b"{}", None),
        (document(), None),
        (document(config=config()), None),
        (document(config=config(), layers=[], manifests=[]), None),
        (document(manifests=[], fsLayers=[]), None),
        (document(manifests=[]), media.OCI_MANIFEST),
        (document(manifests=[], mediaType=media.OCI_INDEX), media.OCI_MANIFEST),
        (document(config=config(), layers=[], mediaType=media.OCI_INDEX), None),
        (document(config=3, layers=[]), None),
        (document(config=config(), layers=[{"digest": "x"}]), None),
        (document(config={**json.loads(codec.encode(config())), "size": -1}, layers=[]), None),
        (b'{"schemaVersion":3,"config":{},"layers":[]}', None),
        (b'{"schemaVersion":"2"}', None),
    ],
)
def test_malformed(raw: bytes, sent_as: str | None) -> None:
    with pytest.raises(MalformedDocument, match="the image: "):
        parse_manifest(raw, sent_as, "the image")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"schemaVersion":1,"fsLayers":[],"history":[]}',
        document(mediaType="application/vnd.oci.artifact.manifest.v1+json"),
        document(mediaType=media.DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_unsupported(raw: bytes) -> None:
    with pytest.raises(UnsupportedManifest):
        parse_manifest(raw)


@FRUGAL
@given(st.binary(max_size=50) | UNKNOWN.map(lambda members: document(**members)))
def test_hostile_bytes(raw: bytes) -> None:
    with pytest.raises((MalformedDocument, UnsupportedManifest)):
        parse_manifest(raw)
