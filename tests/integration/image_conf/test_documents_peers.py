"""Our manifests, configs and runtime specs, as skopeo, runc and crun see them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from trilby.oci import media
from trilby.oci.convert import convert_manifest
from trilby.oci.descriptor import Descriptor
from trilby.oci.digest import Digest
from trilby.oci.image import (
    ContainerDefaults,
    History,
    ImageConfig,
    Nothing,
    RootFs,
    parse_image_config,
)
from trilby.oci.manifest import Manifest, make_manifest, parse_manifest
from trilby.oci.runtime import encode_spec, parse_spec

LAYER = b"\0" * 1024


def write_image(folder: Path) -> Manifest:
    """A ``dir:`` image of one empty, uncompressed layer."""
    folder.mkdir()
    config = ImageConfig(
        created="2020-01-02T03:04:05Z",
        architecture="amd64",
        os="linux",
        config=ContainerDefaults(
            env=("A=<b>&",),
            cmd=("sh",),
            labels={"k": "v"},
            volumes={"/v": Nothing()},
            exposed_ports={"80/tcp": Nothing()},
            user="1:2",
            working_dir="/w",
            stop_signal="SIGQUIT",
        ),
        rootfs=RootFs(diff_ids=(Digest.of(LAYER),)),
        history=(History(created_by="x", created="2020-01-02T03:04:05Z"),),
    ).encode()
    manifest = make_manifest(
        Descriptor(media.OCI_CONFIG, Digest.of(config), len(config)),
        [Descriptor(media.OCI_LAYER, Digest.of(LAYER), len(LAYER), annotations={"a": "b"})],
        annotations={"org.example": "<&>"},
    )
    (folder / "version").write_text("Directory Transport Version: 1.1\n")
    (folder / "manifest.json").write_bytes(manifest.raw)
    for blob in (config, LAYER):
        (folder / Digest.of(blob).encoded).write_bytes(blob)
    return manifest


def skopeo(home: Path, *arguments: str) -> bytes:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
def test_skopeo_reads_our_image(tmp_path: Path) -> None:
    manifest = write_image(tmp_path / "image")
    shown = json.loads(skopeo(tmp_path, "inspect", f"dir:{tmp_path}/image"))
    assert shown["Digest"] == str(manifest.digest)
    assert shown["Labels"] == {"k": "v"} and shown["Env"] == ["A=<b>&"]
    assert shown["Layers"] == [str(Digest.of(LAYER))]
    config = parse_image_config((tmp_path / "image" / manifest.config.digest.encoded).read_bytes())
    theirs = skopeo(tmp_path, "inspect", "--config", f"dir:{tmp_path}/image")
    assert parse_image_config(theirs) == config


@pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo")
def test_conversions_agree(tmp_path: Path) -> None:
    """skopeo and we say the same image in the other format, and back."""
    manifest = write_image(tmp_path / "image")

    def converted(source: str, form: str) -> Manifest:
        skopeo(
            tmp_path, "copy", "--format", form, f"dir:{tmp_path}/{source}", f"dir:{tmp_path}/{form}"
        )
        found = parse_manifest((tmp_path / form / "manifest.json").read_bytes())
        assert isinstance(found, Manifest)
        return found

    theirs = converted("image", "v2s2")
    ours = convert_manifest(manifest, media.DOCKER_MANIFEST)
    assert theirs.media_type == ours.media_type == media.DOCKER_MANIFEST
    assert theirs.config == ours.config
    assert [(x.digest, x.size) for x in theirs.layers] == [(x.digest, x.size) for x in ours.layers]
    back = converted("v2s2", "oci")
    again = convert_manifest(theirs, media.OCI_MANIFEST)
    assert back.media_type == again.media_type == media.OCI_MANIFEST
    assert back.layers == again.layers


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_runtime_specs_round_trip(tmp_path: Path, runtime: str) -> None:
    if not shutil.which(runtime):
        pytest.skip(f"needs {runtime}")
    subprocess.run([runtime, "spec"], cwd=tmp_path, check=True, capture_output=True)
    raw = (tmp_path / "config.json").read_bytes()
    spec = parse_spec(raw)
    again = encode_spec(spec)
    assert parse_spec(again) == spec

    def without_defaults(value: object) -> object:
        if isinstance(value, dict):
            items = {name: without_defaults(item) for name, item in value.items()}
            return {name: item for name, item in items.items() if item not in ("", [], {}, None)}
        if isinstance(value, list):
            return [without_defaults(item) for item in value]
        return value

    assert without_defaults(json.loads(again)) == without_defaults(json.loads(raw))
