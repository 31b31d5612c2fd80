"""SELinux labels of a container, and of what the host gives to it; nothing without SELinux.

The root file system is mounted with its label. Files that the engine makes, and mounts for which
the caller says so (``selinux_relabel``), are labelled on the host, as CRI-O and podman's ``:Z`` do.
"""

from __future__ import annotations

import os

from trilby.oci.runtime import Spec
from trilby.pods.errors import InvalidPodConfig
from trilby.pods.model_container import ContainerConfig, Mount
from trilby.pods.spec.host import detect_host
from trilby.pods.spec.mounts import container_path
from trilby.pods.spec.security import (
    SUPER_PRIVILEGED,
    Labels,
    container_labels,
    host_contexts,
    pod_level,
    sandbox_labels,
)
from trilby.pods.state import SandboxRecord
from trilby.system.labels import label_tree, set_label

OURS = frozenset(("/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/etc/passwd"))
#: The host needs their labels itself: go-selinux, podman and CRI-O refuse them likewise.
NOT_LABELLED = frozenset(
    "/ /bin /boot /dev /etc /etc/passwd /etc/pki /etc/shadow /home /lib /lib64 /media /opt /proc"
    " /root /run /sbin /srv /sys /tmp /usr /var /var/lib /var/log".split()
)


def labels_of(sandbox: SandboxRecord, config: ContainerConfig) -> Labels:
    """Those of a container of the pod on this host; empty without SELinux."""
    if not detect_host().selinux:
        return Labels()
    return container_labels(sandbox.config, config, pod_level(sandbox.id), host_contexts())


def label_shared(sandbox: SandboxRecord, directory: str) -> None:
    """Label a directory of the whole pod: what is made in it gets the same. Raises OSError."""
    labels = sandbox_labels(sandbox.config, sandbox.id, host_contexts())
    if labels.mount:
        set_label(directory, labels.mount)


def label_mounts(spec: Spec, config: ContainerConfig, labels: Labels) -> None:
    """Label what the container is given by bind mounts. Raises InvalidPodConfig."""
    if not labels.mount:
        return
    asked = {container_path(mount): mount for mount in config.mounts}
    for mount in spec.mounts:
        wish = asked.get(mount.destination)
        try:
            if wish is None and mount.destination in OURS:
                set_label(mount.source, labels.mount)
            elif wish is not None and _is_labelled(wish, config):
                _check_place(wish)
                label_tree(mount.source, labels.mount)
        except OSError as error:
            raise InvalidPodConfig(
                f"mount {mount.destination}: {mount.source} cannot get the label {labels.mount}:"
                f" {error.strerror} ({error.filename or mount.source})"
            ) from error


def _is_labelled(wish: Mount, config: ContainerConfig) -> bool:
    options = config.security.selinux
    privileged = options is not None and options.type == SUPER_PRIVILEGED
    return wish.selinux_relabel and wish.image is None and not privileged


def _check_place(wish: Mount) -> None:
    place = os.path.realpath(wish.host_path)
    if place in NOT_LABELLED:
        raise InvalidPodConfig(
            f"mount {wish.container_path}: {place} is not given another SELinux label, for the host"
            " needs the one that it has",
            hint="mount a directory of the pod's own, or run the container with type spc_t",
        )
