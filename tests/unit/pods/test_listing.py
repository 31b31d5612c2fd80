"""Which pod a person means."""

from __future__ import annotations

from pathlib import Path

import pytest

from trilby.pods.config import EngineConfig
from trilby.pods.embedded.errors import AmbiguousPod, PodNotFound
from trilby.pods.embedded.listing import PodList
from trilby.pods.model_status import ContainerStatus, SandboxState, SandboxStatus


class Sandboxes:
    """States as a daemon tells them."""

    def __init__(self, *found: SandboxStatus) -> None:
        self.found = list(found)

    def sandboxes(self) -> list[SandboxStatus]:
        return self.found

    def containers(self, sandbox_id: str | None = None) -> list[ContainerStatus]:
        return []


def sandbox(identity: str, uid: str, attempt: int, *, ready: bool) -> SandboxStatus:
    return SandboxStatus(
        id=identity,
        name="web",
        uid=uid,
        namespace="default" if uid == "one" else "other",
        attempt=attempt,
        state=SandboxState.READY if ready else SandboxState.NOTREADY,
        created_at=attempt,
    )


def pods(place: Path, *found: SandboxStatus) -> PodList:
    config = EngineConfig(root=str(place / "r"), run_root=str(place / "rr"))
    return PodList(config, Sandboxes(*found))


def test_the_running_sandbox_of_a_restarted_pod(tmp_path: Path) -> None:
    listing = pods(
        tmp_path,
        sandbox("aaa1", "one", 0, ready=False),
        sandbox("bbb2", "one", 1, ready=True),
        sandbox("ccc3", "one", 2, ready=False),
    )
    assert listing.find("web").id == listing.find("one").id == "bbb2"
    assert listing.find("aaa").id == "aaa1"


def test_the_last_of_those_that_ended(tmp_path: Path) -> None:
    listing = pods(
        tmp_path,
        sandbox("aaa1", "one", 0, ready=False),
        sandbox("bbb2", "one", 1, ready=False),
    )
    assert listing.find("web").id == "bbb2"


def test_two_pods_of_one_name(tmp_path: Path) -> None:
    listing = pods(
        tmp_path,
        sandbox("aaa1", "one", 0, ready=True),
        sandbox("bbb2", "two", 0, ready=False),
    )
    with pytest.raises(AmbiguousPod, match="web fits several pods: aaa1, bbb2"):
        listing.find("web")
    assert listing.find("other/web").id == "bbb2"
    with pytest.raises(PodNotFound):
        listing.find("bb")
