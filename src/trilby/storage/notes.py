"""Log records of rare events; the logging package is loaded by the first of them only.

Listing images logs nothing, and the import is a tenth of the time that it may take.
"""

from __future__ import annotations


def warning(module: str, text: str, *values: object) -> None:
    """Log a warning as ``module``; ``text`` has a ``%s`` for each value."""
    import logging

    logging.getLogger(module).warning(text, *values)


def debug(module: str, text: str, *values: object) -> None:
    """Log a detail that helps to find out why something is slow or different."""
    import logging

    logging.getLogger(module).debug(text, *values)
