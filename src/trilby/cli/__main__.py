"""``python -m trilby.cli``: the command out of a source tree that is not installed."""

from __future__ import annotations

from trilby.cli.main import main

if __name__ == "__main__":
    main()
