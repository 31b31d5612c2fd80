"""Annotations of the OCI config: what hooks and runtimes get to see.

Some runtimes obey annotations: ``run.oci.*`` makes crun run a handler, ``org.systemd.property.*``
sets properties of the container's unit. Whoever may create a pod must not have these for nothing,
so they pass only when the configuration allows them, as in CRI-O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

OBEYED_PREFIXES = (
    "run.oci.",
    "module.wasm.",
    "org.systemd.property.",
    "org.criu.",
    "io.containers.",
    "io.katacontainers.",
    "io.kubernetes.cri-o.",
    "io.kubernetes.cri.",
)


def build_annotations(
    asked: Mapping[str, str], ours: Mapping[str, str], allowed: Iterable[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The annotations, and a warning for each that is left out.

    ``allowed`` are names, or prefixes that end with ``*`` or ``.``.
    """
    permitted = tuple(allowed)
    passed, warnings = {}, []
    for name, value in asked.items():
        if name.startswith(OBEYED_PREFIXES) and not _matches(name, permitted):
            warnings.append(f"annotation {name} left out: allowed_annotations does not have it")
        else:
            passed[name] = value
    return {**passed, **ours}, tuple(warnings)


def _matches(name: str, permitted: Iterable[str]) -> bool:
    return any(
        name == item or (item.endswith(("*", ".")) and name.startswith(item.rstrip("*")))
        for item in permitted
    )
