"""``$(NAME)`` in commands, arguments and variables, as Kubernetes expands it.

``$$`` stands for one ``$``, so ``$$(NAME)`` is left as ``$(NAME)``; a name that is not defined
stays as written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``text`` with each reference to one of ``variables`` replaced."""

    def value(match: re.Match[str]) -> str:
        if match.group(1) == "$":
            return "$"
        return variables.get(match.group(2), match.group(0))

    return _REFERENCE.sub(value, text)
