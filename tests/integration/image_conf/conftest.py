"""One signing key for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.gpg import Gpg, gpg_home


@pytest.fixture(scope="package")
def gpg() -> Iterator[Gpg]:
    with gpg_home() as made:
        yield made
