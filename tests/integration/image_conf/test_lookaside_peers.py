"""Signatures beside a registry: skopeo's are found and accepted here, ours there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support import registry as registries
from tests.support.dirimage import write_dir_image
from tests.support.gpg import Gpg

from trilby.image.errors import PolicyRefused
from trilby.image.policy import SignedImage, load_policy
from trilby.image.reference import parse
from trilby.image.registriesd import load_registries_d, read_signatures, write_signatures
from trilby.image.signatures import Claim, sign
from trilby.oci.digest import Digest

pytestmark = pytest.mark.skipif(
    not (shutil.which("skopeo") and shutil.which("gpg") and registries.available()),
    reason="needs skopeo, gpg and docker-registry",
)


class Site:
    """A registry, a lookaside directory, and a policy that wants signatures for the registry."""

    def __init__(self, folder: Path, gpg: Gpg, address: str) -> None:
        self.gpg = gpg
        self.address = address
        self.registries_d = folder / "registries.d"
        self.registries_d.mkdir()
        store = folder / "look aside"
        (self.registries_d / "test.yaml").write_text(
            json.dumps({"docker": {address: {"lookaside": f"file://{store}".replace(" ", "%20")}}})
        )
        key = folder / "key.gpg"
        key.write_bytes(gpg.public)
        signed = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(key)}
        scopes = {"docker": {address: [signed]}, "dir": {"": [{"type": "insecureAcceptAnything"}]}}
        self.policy = folder / "policy.json"
        self.policy.write_text(json.dumps({"default": [{"type": "reject"}], "transports": scopes}))

    def skopeo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = ["--policy", str(self.policy), "--registries.d", str(self.registries_d)]
        return subprocess.run(
            ["skopeo", *options, *arguments],
            env=self.gpg.env,
            capture_output=True,
            text=True,
            check=False,
        )

    async def accepted(self, name: str, manifest: bytes) -> bool:
        async def fetch(url: str) -> bytes | None:
            raise AssertionError(f"{url} is not a file")

        reference = parse(name)
        where = load_registries_d(str(self.registries_d)).lookaside(reference)
        found = await read_signatures(where, reference, Digest.of(manifest), fetch)
        policy = load_policy(self.policy)
        assert policy.needs_signatures("docker", name)
        try:
            image = SignedImage(f"docker://{name}", reference, manifest, tuple(found))
            policy.check("docker", name, image)
        except PolicyRefused:
            return False
        return True


async def test_both_ways(tmp_path: Path, gpg: Gpg) -> None:
    manifest = write_dir_image(tmp_path / "image")
    with registries.start_registry(tmp_path / "registry") as registry:
        site = Site(tmp_path, gpg, registry.address)
        theirs, ours = (f"{registry.address}/team/{name}:1" for name in ("theirs", "ours"))

        push = ["copy", "--dest-tls-verify=false", f"dir:{tmp_path}/image"]
        for name, options in ((theirs, ["--sign-by", gpg.fingerprint]), (ours, [])):
            done = site.skopeo(*push, *options, f"docker://{name}")
            assert done.returncode == 0, done.stderr
        assert await site.accepted(theirs, manifest.raw)
        assert not await site.accepted(ours, manifest.raw)

        pull = ["copy", "--src-tls-verify=false", f"docker://{ours}", f"dir:{tmp_path}/pulled"]
        done = site.skopeo(*pull)
        assert done.returncode != 0 and "no signature exists" in done.stderr
        where = load_registries_d(str(site.registries_d)).lookaside(parse(ours))
        blob = sign(Claim(manifest.digest, ours, creator="test"), gpg.secret)
        write_signatures(where, parse(ours), manifest.digest, [blob])
        done = site.skopeo(*pull)
        assert done.returncode == 0, done.stderr
        assert await site.accepted(ours, manifest.raw)
        assert (tmp_path / "pulled/signature-1").read_bytes() == blob
        assert os.listdir(tmp_path / "look aside") == ["team"]
