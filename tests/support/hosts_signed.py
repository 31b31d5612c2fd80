"""Signed images in the registry that hosts of Molecule pull from, as skopeo and GnuPG make them.

Signatures and the key that nodes trust are files of the web server, as of a team that publishes
both: ``signatures/`` and ``signer.asc``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.support.gpg import Gpg, gpg_home
from tests.support.hosts_fabric import REGISTRY

__all__ = ["publish_signed"]

SCOPE = f"{REGISTRY}/signed"
SOURCE = f"docker://{REGISTRY}/busybox:1"


def publish_signed(network: int, web: Path, work: Path) -> None:
    """busybox three times: signed, signed by somebody whom nobody knows, and not signed."""
    store = web / "signatures"
    shutil.rmtree(store, ignore_errors=True)
    configuration = work / "registries.d"
    configuration.mkdir(parents=True)
    lookaside = {"docker": {SCOPE: {"lookaside-staging": f"file://{store}"}}}
    (configuration / "signed.yaml").write_text(json.dumps(lookaside))
    copy = [
        *("nsenter", "--net", "--target", str(network), "skopeo", "--insecure-policy"),
        *("--registries.d", str(configuration), "copy", "-q"),
        *("--src-tls-verify=false", "--dest-tls-verify=false", SOURCE),
    ]
    with gpg_home() as signer, gpg_home() as stranger:
        (web / "signer.asc").write_bytes(signer.run("--armor", "--export"))
        _run([*copy, "--sign-by", signer.fingerprint, f"docker://{SCOPE}/busybox:1"], signer)
        _run([*copy, "--sign-by", stranger.fingerprint, f"docker://{SCOPE}/strange:1"], stranger)
        _run([*copy, f"docker://{SCOPE}/unsigned:1"], signer)
    shutil.rmtree(work)


def _run(command: list[str], gpg: Gpg) -> None:
    environment = {**os.environ, **gpg.env}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
