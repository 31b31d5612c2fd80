"""Repositories for all tests of this folder; made once, kept by their content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from tests.support import standin, standin_trilby
from tests.support.standin_host import LOG, RpmHost, note, rpm_host

from trilby.rpm.repo import Repository

Booted = Callable[..., AbstractContextManager[RpmHost]]


@pytest.fixture(scope="session")
def rawhide() -> Repository:
    """The stand-in; the first time on a machine it takes minutes."""
    if standin.impossible():
        pytest.skip(standin.impossible())
    return standin.repository()


@pytest.fixture(scope="session")
def today(rawhide: Repository) -> Repository:
    """Our RPMs as the sources are."""
    return standin_trilby.today()


@pytest.fixture(scope="session")
def older(rawhide: Repository) -> Repository:
    """Our RPMs with a lower version."""
    return standin_trilby.older()


@pytest.fixture
def booted(
    request: pytest.FixtureRequest, today: Repository, older: Repository, tmp_path: Path
) -> Booted:
    """Boots a host of a name that has our repositories, those that are named too, and the test's
    folder at hand."""
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("a host in namespaces needs the v1 hierarchies of cgroups")

    @contextmanager
    def boot(name: str, *others: Repository) -> Iterator[RpmHost]:
        note(f"== {request.node.name}")
        place = Repository("test", str(tmp_path))
        at_hand = (today, older, place, *others)
        with rpm_host(f"trilby-{name}-{os.urandom(2).hex()}", at_hand) as host:
            yield host

    return boot


@pytest.fixture(scope="session", autouse=True)
def lifecycle_log() -> None:
    LOG.unlink(missing_ok=True)
