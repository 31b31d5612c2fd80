"""What Ansible's modules import, compiled once for a host: their Python there loads this at its start.

Every task brings a zip of sources, and the interpreter compiles all of it anew, which is half of
what a small task costs. The code is kept by the digest of its source, in a directory of the host.
"""

from __future__ import annotations

import _imp
import contextlib
import hashlib
import marshal
import os
import zipimport
from types import CodeType

PLACE = "/var/cache/ansible-python"

# An importer of the standard library has no public way to be told where compiled code is.
_compile = zipimport._compile_source  # type: ignore[attr-defined]


def compile_source(path: str, source: bytes) -> CodeType:
    """The code of one module of a zip, from the cache if it is there."""
    kept = f"{PLACE}/{hashlib.sha256(source).hexdigest()}"
    with contextlib.suppress(OSError, EOFError, ValueError, TypeError), open(kept, "rb") as file:
        code: CodeType = marshal.load(file)
        # The zip is another one each time.
        _imp._fix_co_filename(code, path)  # type: ignore[attr-defined]
        return code
    made: CodeType = _compile(path, source)
    with contextlib.suppress(OSError):
        os.makedirs(PLACE, exist_ok=True)
        with open(f"{kept}.{os.getpid()}", "wb") as file:
            marshal.dump(made, file)
        os.rename(f"{kept}.{os.getpid()}", kept)
    return made


zipimport._compile_source = compile_source  # type: ignore[attr-defined]
