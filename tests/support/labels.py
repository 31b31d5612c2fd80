"""SELinux labels of files, which a kernel without SELinux keeps as well."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trilby.system.labels import ATTRIBUTE

__all__ = ["label_of", "need_labels"]


def need_labels(directory: Path) -> None:
    """Skip the test unless labels can be set there: by root, on a file system that keeps them."""
    try:
        os.setxattr(directory, ATTRIBUTE, b"system_u:object_r:tmp_t:s0")
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.ENOTSUP)
        pytest.skip(f"no labels here: {error}")


def label_of(path: Path) -> str:
    """The label of a file, of a link its own; "" without one."""
    try:
        return os.getxattr(path, ATTRIBUTE, follow_symlinks=False).rstrip(b"\0").decode()
    except OSError as error:
        assert error.errno == errno.ENODATA
        return ""
