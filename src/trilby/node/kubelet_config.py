"""The kubelet's configuration: its file and drop-ins, found where the running kubelet has them.

kubelet.config.k8s.io/v1beta1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trilby.errors import TrilbyError
from trilby.image.config_yaml import load_yaml
from trilby.image.errors import ConfigError
from trilby.node.processes import find

if TYPE_CHECKING:
    from trilby.image.config_document import Section
    from trilby.node.host import Host

__all__ = ["KUBELET_CONFIG", "KubeletConfig", "command_line", "load_kubelet_config"]

#: Where kubeadm puts it.
KUBELET_CONFIG: Final = "/var/lib/kubelet/config.yaml"
DEFAULT: Final = "default"


class KubeletConfig:
    """``sections`` are the files, later ones over earlier ones."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self.sections = tuple(sections)

    def _of(self, name: str) -> Section | None:
        return next((each for each in reversed(self.sections) if name in each), None)

    def __contains__(self, name: str) -> bool:
        return self._of(name) is not None

    def string(self, name: str, default: str = "") -> str:
        """Raises ConfigError with file and line for another type."""
        section = self._of(name)
        return default if section is None else section.string(name) or default

    def boolean(self, name: str, default: bool) -> bool:
        """Raises ConfigError with file and line for another type."""
        section = self._of(name)
        return default if section is None else section.boolean(name, default)

    def where(self, name: str) -> str:
        """``path:line`` of a member, or the main file where it has its default."""
        section = self._of(name)
        if section is not None:
            return section.where(name).rstrip(":")
        return f"{self.sections[0].path} ({DEFAULT})" if self.sections else DEFAULT

    def told(self, name: str, value: str) -> str:
        """Evidence: a member and its value, with file and line."""
        return f"{self.where(name)}: {name} is {value}"


def command_line(host: Host) -> dict[str, str]:
    """The flags of the running kubelet, without dashes; empty where none runs."""
    running = find(host, "kubelet")
    words = list(running[0].argv[1:]) if running else []
    flags: dict[str, str] = {}
    while words:
        name, equals, value = words.pop(0).lstrip("-").partition("=")
        if not equals and words and not words[0].startswith("-"):
            value = words.pop(0)
        flags[name] = value
    return flags


def load_kubelet_config(host: Host, path: str = "") -> KubeletConfig | None:
    """The file ``path`` of this machine, or that of the host; None if there is none.

    Raises ConfigError.
    """
    folder = ""
    if path:
        files = [path]
    else:
        flags = command_line(host)
        main, folder = flags.get("config", KUBELET_CONFIG), flags.get("config-dir", "")
        files = [host.path(main)] if host.exists(main) else []
    if folder:
        names = [name for name in host.names(folder) if name.endswith(".conf")]
        files += [host.path(f"{folder}/{name}") for name in names]
    if not files:
        return None
    sections = []
    for file in files:
        try:
            section = load_yaml(file)
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
        kind = section.string("kind", "KubeletConfiguration")
        if kind != "KubeletConfiguration":
            raise section.error(f"it is a {kind}, not a KubeletConfiguration", "kind")
        sections.append(section)
    return KubeletConfig(sections)


def problem(error: TrilbyError) -> str:
    """An error about a file in one line."""
    return " ".join(str(error).split())
