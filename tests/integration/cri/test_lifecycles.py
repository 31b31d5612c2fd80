"""One pod after the other, also with what goes wrong: the daemon holds afterwards what it held."""

from __future__ import annotations

from pathlib import Path

from tests.support.cri_side import Peer, Side
from tests.support.daemon import IMAGE, DaemonProcess
from tests.support.lives import life, settled_count

#: Until then what is imported and opened once has been.
WARM = 10
ROUNDS = 40
#: Memory is the soak's business; the pool of threads grows by demand.
NOT_COMPARED = {"RSS", "threads"}


async def test_what_the_daemon_holds_does_not_grow(trilbyd: DaemonProcess, tmp_path: Path) -> None:
    async with Side(Peer("trilbyd", trilbyd.socket), IMAGE, str(tmp_path)) as side:
        for number in range(WARM):
            await life(side, number)
        before = await settled_count(trilbyd)
        for number in range(ROUNDS):
            await life(side, number)
        after = await settled_count(trilbyd)
    changed = {
        name: (value, after[name])
        for name, value in before.items()
        if name not in NOT_COMPARED and after[name] != value
    }
    assert not changed, changed
    # A thread for each of asyncio's workers, of which there are few, and a few of grpc's.
    assert after["threads"] - before["threads"] < 8
