"""All checks, in the order in which they are told: from the ground up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trilby.node.checks import (
    cgroups,
    clock,
    cluster,
    control_plane,
    daemon,
    etcd,
    firewall,
    images,
    kernel,
    kubelet,
    memory,
    modules,
    names,
    network,
    programs,
    security,
    storage,
    sysctls,
)

if TYPE_CHECKING:
    from trilby.node.model import Check

__all__ = ["CHECKS"]

CHECKS: Final[tuple[Check, ...]] = (
    *kernel.CHECKS,
    *modules.CHECKS,
    *sysctls.CHECKS,
    *cgroups.CHECKS,
    *memory.CHECKS,
    *storage.CHECKS,
    *programs.CHECKS,
    *network.CHECKS,
    *firewall.CHECKS,
    *names.CHECKS,
    *images.CHECKS,
    *security.CHECKS,
    *clock.CHECKS,
    *kubelet.CHECKS,
    *daemon.CHECKS,
    *cluster.CHECKS,
    *control_plane.CHECKS,
    *etcd.CHECKS,
)
