"""What the checks of cluster, control plane and etcd say."""

from __future__ import annotations

import pytest
from tests.unit.node.case import Case
from tests.unit.node.cases_cluster import CASES


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_host_in_a_cluster(case: Case) -> None:
    case.check()
