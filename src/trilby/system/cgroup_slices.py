"""Names of systemd slices and the cgroup paths that they stand for; systemd.slice(5)."""

from __future__ import annotations

from trilby.system.errors import CgroupFailed

_SUFFIX = ".slice"


def expand_slice(name: str) -> str:
    """The cgroup path of a slice: ``a-b.slice`` is /a.slice/a-b.slice; the root ``-.slice`` is /.

    Raises CgroupFailed when it is no slice's name.
    """
    stem = name.removesuffix(_SUFFIX)
    if stem == name or "/" in name or not stem:
        raise CgroupFailed(f"{name!r} is not the name of a systemd slice")
    if stem == "-":
        return "/"
    parts = stem.split("-")
    if not all(parts):
        raise CgroupFailed(f"{name!r} is not the name of a systemd slice: an empty part")
    prefixes = ("-".join(parts[: index + 1]) for index in range(len(parts)))
    return "".join(f"/{prefix}{_SUFFIX}" for prefix in prefixes)


def slice_path(parent: str, unit: str) -> str:
    """The cgroup path of a scope or service in a slice; ``parent`` may be a path ending in one."""
    return f"{expand_slice(parent.rstrip('/').rsplit('/', 1)[-1]).rstrip('/')}/{unit}"
