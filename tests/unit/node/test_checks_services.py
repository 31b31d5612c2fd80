"""What the checks of images, security, clock, kubelet and daemon say of unfit hosts."""

from __future__ import annotations

import pytest
from tests.unit.node.case import Case
from tests.unit.node.cases_services import CASES


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_unfit_host(case: Case) -> None:
    case.check()
