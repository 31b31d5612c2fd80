"""What the checks of storage, programs, networks, ports and names say of unfit hosts."""

from __future__ import annotations

import pytest
from tests.unit.node.case import Case
from tests.unit.node.cases_runtime import CASES


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_unfit_host(case: Case) -> None:
    case.check()
