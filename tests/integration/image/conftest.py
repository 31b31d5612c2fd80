"""A registry, a store and the image service on it, for each test of images."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.registry import TestRegistry, available, start_registry
from tests.support.store import Peers, wait_for_users

from trilby.image.context import ImageContext
from trilby.image.service import Images
from trilby.storage.store import Store
from trilby.system.mounts import list_mounts, unmount_tree


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestRegistry]:
    if not available():
        pytest.skip("docker-registry is not installed")
    with start_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a name short enough for podman; what is left mounted in it is an error."""
    if os.geteuid() != 0:
        pytest.skip("overlay mounts need root")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="trilby-", dir=memory))
    yield path
    wait_for_users(path)
    left = [entry.target for entry in list_mounts(path)]
    unmount_tree(path)
    shutil.rmtree(path)
    # podman leaves an overlay home mounted on purpose; anything else was forgotten.
    assert [target for target in left if not target.endswith("/graph/overlay")] == []


@pytest.fixture
def peers(short_path: Path) -> Peers:
    """podman and skopeo on the store that the tests' images are in."""
    return Peers(short_path / "1")


@pytest.fixture
def other(short_path: Path) -> Peers:
    """The same on another store."""
    return Peers(short_path / "2")


@pytest.fixture
def store(peers: Peers) -> Iterator[Store]:
    store = peers.open()
    yield store
    store.close()


@pytest.fixture
def context(tmp_path: Path) -> ImageContext:
    """Settings that read none of the machine's files."""
    registries = tmp_path / "registries.conf"
    registries.write_text("")
    (tmp_path / "registries.d").mkdir()
    (tmp_path / "auth.json").write_text("{}")
    return ImageContext(
        tls_verify=False,
        insecure_policy=True,
        registries_conf=str(registries),
        registries_conf_dir=str(tmp_path / "registries.d"),
        auth_file=str(tmp_path / "auth.json"),
        retry_delay=0.01,
        retries=1,
    )


@pytest.fixture
def images(store: Store, context: ImageContext) -> Images:
    return Images(store, context)
