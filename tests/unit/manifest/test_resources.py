"""Requests and limits as cgroup numbers, by the kubelet's rules."""

from __future__ import annotations

import pytest

from trilby.pods.manifest import schema
from trilby.pods.manifest.resources import (
    QosClass,
    container_resources,
    machine_memory,
    pod_resources,
    qos_class,
    resource_field,
    sum_memory_limits,
)
from trilby.pods.model_common import HugepageLimit

MI = 1 << 20
GI = 1 << 30
Table = dict[str, schema.Quantity]


def container(
    limits: Table | None = None,
    requests: Table | None = None,
    *,
    name: str = "c",
    restart_policy: str = "",
) -> schema.Container:
    resources = schema.ResourceRequirements(limits=limits or {}, requests=requests or {})
    return schema.Container(name=name, resources=resources, restart_policy=restart_policy)


def spec(
    *containers: schema.Container, init: list[schema.Container] | None = None
) -> schema.PodSpec:
    return schema.PodSpec(containers=list(containers), init_containers=init or [])


FULL: Table = {"cpu": "500m", "memory": "64Mi"}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (spec(container()), "BestEffort"),
        (spec(container({"cpu": 0}, {"memory": "0"})), "BestEffort"),
        (spec(container({"hugepages-2Mi": "2Mi"})), "BestEffort"),
        (spec(container(FULL)), "Guaranteed"),
        (spec(container(FULL, {"cpu": 0.5, "memory": 64 * MI})), "Guaranteed"),
        (spec(container(FULL, {"cpu": "400m"})), "Burstable"),
        (spec(container({"memory": "1Gi"})), "Burstable"),
        (spec(container(requests=FULL)), "Burstable"),
        (spec(container(FULL), container()), "Burstable"),
        (spec(container(FULL), init=[container()]), "Burstable"),
        (spec(container(FULL), init=[container(FULL)]), "Guaranteed"),
    ],
)  # fmt: skip
def test_qos_class(pod: schema.PodSpec, expected: str) -> None:
    assert qos_class(pod) == expected


@pytest.mark.parametrize(
    ("limits", "requests", "period", "quota", "shares"),
    [
        ({}, {}, 0, 0, 2),
        ({"cpu": "500m"}, {}, 100_000, 50_000, 512),
        ({"cpu": "2"}, {"cpu": "250m"}, 100_000, 200_000, 256),
        ({"cpu": "1m"}, {}, 100_000, 1_000, 2),
        ({"cpu": "0.1m"}, {}, 100_000, 1_000, 2),
        ({"cpu": 0}, {}, 0, 0, 2),
        ({}, {"cpu": 1000}, 0, 0, 262_144),
    ],
)
def test_cpu(limits: Table, requests: Table, period: int, quota: int, shares: int) -> None:
    found = container_resources(container(limits, requests), QosClass.BURSTABLE, GI)
    assert (found.cpu_period, found.cpu_quota, found.cpu_shares) == (period, quota, shares)


def test_memory_and_huge_pages() -> None:
    limits: Table = {"memory": "100M", "hugepages-1Gi": "1Gi", "hugepages-2Mi": "4Mi"}
    found = container_resources(container(limits), QosClass.BURSTABLE, GI)
    assert found.memory_limit == 100_000_000
    assert found.hugepage_limits == (
        HugepageLimit(page_size="1GB", limit=GI),
        HugepageLimit(page_size="2MB", limit=4 * MI),
    )


@pytest.mark.parametrize(
    ("qos", "asked", "score"),
    [
        (QosClass.GUARANTEED, "1Mi", -997),
        (QosClass.BEST_EFFORT, "0", 1000),
        (QosClass.BURSTABLE, "0", 999),
        (QosClass.BURSTABLE, "512Mi", 500),
        (QosClass.BURSTABLE, "2Gi", 3),
    ],
)
def test_oom_score(qos: QosClass, asked: str, score: int) -> None:
    found = container_resources(container(requests={"memory": asked}), qos, GI)
    assert found.oom_score_adj == score


def test_a_pod_gets_the_sum_of_its_containers() -> None:
    found = pod_resources(spec(container(FULL, name="a"), container(FULL, name="b")))
    assert (found.cpu_period, found.cpu_quota, found.cpu_shares) == (100_000, 100_000, 1024)
    assert found.memory_limit == 128 * MI


def test_a_container_without_a_limit_leaves_the_pod_without() -> None:
    found = pod_resources(spec(container(FULL, name="a"), container({"memory": "1Mi"}, name="b")))
    assert (found.cpu_period, found.cpu_quota, found.memory_limit) == (0, 0, 65 * MI)
    found = pod_resources(spec(container(FULL), init=[container(name="i")]))
    assert (found.cpu_quota, found.memory_limit, found.cpu_shares) == (0, 0, 512)


def limited(memory: str, name: str, restart_policy: str = "") -> schema.Container:
    return container({"memory": memory}, name=name, restart_policy=restart_policy)


@pytest.mark.parametrize(
    ("init", "memory"),
    [
        ([limited("50Mi", "i")], 100),  # init containers run one by one, before the others
        ([limited("150Mi", "i"), limited("120Mi", "j")], 150),
        ([limited("30Mi", "s", "Always")], 130),  # a sidecar runs beside all others
        ([limited("30Mi", "s", "Always"), limited("120Mi", "i")], 150),
        ([limited("120Mi", "i"), limited("30Mi", "s", "Always")], 130),
        ([limited("30Mi", "s", "Always"), limited("40Mi", "t", "Always")], 170),
    ],
)
def test_init_containers_and_sidecars_count(init: list[schema.Container], memory: int) -> None:
    found = pod_resources(spec(limited("60Mi", "a"), limited("40Mi", "b"), init=init))
    assert found.memory_limit == memory * MI


def test_pod_shares_have_bounds() -> None:
    assert pod_resources(spec(container())).cpu_shares == 2
    assert pod_resources(spec(container(requests={"cpu": 9999}))).cpu_shares == 262_144


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "0", "2"), ("limits.cpu", "1", "2"), ("limits.cpu", "1m", "1500"),
        ("limits.memory", "0", str(65 * MI)), ("limits.memory", "1Mi", "65"),
        ("limits.memory", "1Gi", "1"), ("requests.cpu", "1m", "1500"),
        ("requests.memory", "1Mi", "32"), ("requests.ephemeral-storage", "0", "0"),
    ],
)  # fmt: skip
def test_resource_field(resource: str, divisor: str, value: str) -> None:
    one = container({"cpu": "1500m", "memory": "65Mi"}, {"memory": "32Mi"})
    selector = schema.ResourceFieldSelector(resource=resource, divisor=divisor)
    assert resource_field(one, selector) == value


def test_a_limit_that_is_not_set_is_the_machine_and_a_request_is_nothing() -> None:
    def value(resource: str) -> str:
        return resource_field(container(), schema.ResourceFieldSelector(resource=resource))

    assert value("limits.memory") == str(machine_memory())
    assert int(value("limits.cpu")) >= 1
    assert value("requests.memory") == value("requests.cpu") == "0"


@pytest.mark.parametrize("resource", ["memory", "limits.disk", "limit.cpu", "limits.", ""])
def test_an_unknown_resource_field_is_an_error(resource: str) -> None:
    with pytest.raises(ValueError, match="no resource"):
        resource_field(container(), schema.ResourceFieldSelector(resource=resource))


def test_sum_of_memory_limits() -> None:
    assert sum_memory_limits([limited("1Mi", "a"), limited("2Mi", "b")]) == 3 * MI
    assert sum_memory_limits([limited("1Mi", "a"), container()]) == 0
