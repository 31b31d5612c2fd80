"""One node for all tests of this folder: a host, trilbyd and the kubelet start in three seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.kubernetes_leftovers import check_host, need_host, place_of_host
from tests.support.kubernetes_node import Node, Pod, running_node


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    need_host()
    with place_of_host("kubelet") as (directory, name), running_node(directory, name) as node:
        yield node
        node.remove(*(pod["metadata"]["name"] for pod in node.pods()))
        check_host(node)


@pytest.fixture(autouse=True)
def both_daemons(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that failed between a kill and a start shall not fail those after it."""
    yield
    if "node" in request.fixturenames:
        request.getfixturevalue("node").revive()


@pytest.fixture(scope="module")
def crun(node: Node) -> Iterator[None]:
    """Pods of the module run by crun, where it can; those of other modules by runc."""
    if not node.has_crun():
        yield
        return
    node.use_handler("crun")
    yield
    assert "/crun --root" in node.runtime.log()
    node.use_handler("runc")


@pytest.fixture
def run_pod(node: Node) -> Iterator[Callable[[Pod], str]]:
    """Gives a manifest to the kubelet; the pod ends with the test."""
    added = []

    def add(pod: Pod) -> str:
        added.append(node.add(pod))
        return added[-1]

    yield add
    node.remove(*added)
