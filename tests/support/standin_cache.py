"""Folders that are made once and kept by what they are made of, outside the tree.

They are in TRILBY_CACHE, or else in the user's cache folder, as the programs of Kubernetes are. A
folder that has its name is whole: it was made beside its place and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["cache_folder", "fingerprint", "made_once", "say"]

#: Folders that nobody asked for in so many seconds go when another one of their kind is made.
KEPT = 14 * 24 * 3600.0
_BEGAN = time.monotonic()


def cache_folder() -> Path:
    """Where everything of the stand-in is kept."""
    chosen = os.environ.get("TRILBY_CACHE")
    if chosen:
        return Path(chosen) / "standin"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "trilby" / "standin"


def say(text: str) -> None:
    """A line of progress: a cold start takes minutes."""
    sys.stderr.write(f"standin: {time.monotonic() - _BEGAN:5.1f} s  {text}\n")
    sys.stderr.flush()


def fingerprint(*parts: str | Path) -> str:
    """A short name for texts and for what files hold; a folder stands for all its files."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(f"{part}\0".encode())
            continue
        for path in _files(part):
            total.update(f"{path.relative_to(part.parent)}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def made_once(kind: str, mark: str, make: Callable[[Path], None]) -> Path:
    """The folder ``kind-mark``; ``make`` fills an empty one if it is not there.

    Whoever comes while it is made waits for it. What ``make`` raises is raised here, and nothing is
    kept then but for what it says.
    """
    cache = cache_folder()
    path = cache / f"{kind}-{mark}"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{kind}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _make(path, make)
                _remove_unused(cache, kind)
    os.utime(path)
    return path


def _make(path: Path, make: Callable[[Path], None]) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        folder.chmod(0o755)
        make(folder)
        os.rename(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unused(cache: Path, kind: str) -> None:
    for folder in [*cache.glob(f"{kind}-*"), *cache.glob(f".{kind}-*")]:
        if folder.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(folder, ignore_errors=True)


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return sorted(inner for inner in path.rglob("*") if inner.is_file())
