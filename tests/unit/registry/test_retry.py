"""Back-off: how long, how often, and when not at all."""

from __future__ import annotations

import pytest
from tests.support.patience import FakeClock

from trilby.image.registry.errors import NoConnection, RegistryError, RegistryUnavailable
from trilby.image.registry.retry import parse_retry_after, retrying
from trilby.image.registry.settings import ClientSettings

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        (" 0 ", 0.0),
        ("-3", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


async def attempt(clock: FakeClock, *errors: RegistryError, **settings: float) -> int:
    left = list(errors)
    calls = 0

    async def operation() -> int:
        nonlocal calls
        calls += 1
        if left:
            raise left.pop(0)
        return calls

    return await retrying(operation, ClientSettings(**settings), clock.clock)  # type: ignore[arg-type]  # the keywords of ints and floats alike


def transient(retry_after: float | None = None) -> RegistryError:
    return RegistryUnavailable("reading x: no", transient=True, retry_after=retry_after)


async def test_waits_grow_and_are_spread() -> None:
    clock = FakeClock(chance=1.0)
    assert await attempt(clock, *[transient() for _ in range(4)], backoff_base=1.0) == 5
    assert clock.slept == [1, 2, 4, 8]
    clock = FakeClock(chance=0.0)
    await attempt(clock, *[transient() for _ in range(4)], backoff_base=1.0, backoff_max=3.0)
    assert clock.slept == [0.5, 1, 1.5, 1.5]


async def test_gives_up_and_says_so() -> None:
    with pytest.raises(RegistryUnavailable, match=r"reading x: no \[gave up after 3 attempts\]"):
        await attempt(FakeClock(), *[transient() for _ in range(9)], attempts=3)


async def test_no_connection_has_its_own_patience() -> None:
    errors = [NoConnection("x", transient=True) for _ in range(9)]
    clock = FakeClock()
    with pytest.raises(NoConnection):
        await attempt(clock, *errors, attempts=9, connect_attempts=2)
    assert len(clock.slept) == 1


async def test_what_is_final_is_not_tried_again() -> None:
    clock = FakeClock()
    with pytest.raises(RegistryError, match="^final$"):
        await attempt(clock, RegistryError("final"))
    assert clock.slept == []


async def test_the_servers_wish_is_respected_up_to_a_limit() -> None:
    clock = FakeClock(chance=0.0)
    assert await attempt(clock, transient(7.0)) == 2
    assert clock.slept == [7.0]
    with pytest.raises(RegistryUnavailable, match="asks to wait 3600 s"):
        await attempt(FakeClock(), transient(3600.0))
