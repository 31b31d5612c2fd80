"""In the measured process: trilby's command line, noting when it passes some stations.

Imports next to nothing: what is measured should import it itself.
"""

from __future__ import annotations

import sys
import time


def traced() -> None:
    """Run the command line and write the times to $BENCH_STATIONS, as JSON."""
    passed = {"python": time.monotonic()}
    sys.argv[0] = "trilby"
    import trilby.cli.image.pull
    import trilby.cli.main
    import trilby.image.transports.docker  # what the command imports when it runs

    passed["imported"] = time.monotonic()
    from trilby.image import copy_layers
    from trilby.image.transports.storage_write import StorageDestination

    copy, commit = copy_layers.LayerCopier.copy, StorageDestination.commit

    async def noted_copy(*args: object, **kwargs: object) -> object:
        passed["manifest"] = time.monotonic()
        result = await copy(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they are
        passed["unpacked"] = time.monotonic()
        return result

    async def noted_commit(self: StorageDestination) -> None:
        await commit(self)
        passed["committed"] = time.monotonic()

    copy_layers.LayerCopier.copy = noted_copy  # type: ignore[method-assign,assignment]  # as above
    StorageDestination.commit = noted_commit  # type: ignore[method-assign]  # as above
    try:
        trilby.cli.main.main()
    finally:
        import os
        from pathlib import Path

        import msgspec

        Path(os.environ["BENCH_STATIONS"]).write_bytes(msgspec.json.encode(passed))
