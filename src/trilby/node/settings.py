"""What the checks need to know of the host's configuration; whoever asks for them reads it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trilby.pods.config import EngineConfig
from trilby.pods.config_layers import Mistake
from trilby.storage.config import StorageConfig

__all__ = ["ServerFiles", "Settings"]


class ServerFiles(msgspec.Struct, frozen=True):
    """A server of the daemon that speaks TLS: who it is, its certificate and its key."""

    name: str
    certificate: str
    key: str


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """trilby.conf and storage.conf as far as checks go.

    ``mistakes`` are what keeps the daemon from starting, ``warnings`` are unknown options.
    ``storage_problem`` says why storage.conf cannot be used; ``storage`` are the defaults then.
    ``ports`` are those that the daemon listens on, with what for.
    """

    engine: EngineConfig
    storage: StorageConfig
    storage_problem: str = ""
    listen: str = "/run/trilby/trilby.sock"
    servers: tuple[ServerFiles, ...] = ()
    ports: tuple[tuple[int, str], ...] = ()
    registries_conf: str = ""
    registries_conf_dir: str = ""
    insecure_registries: tuple[str, ...] = ()
    policy: str = ""
    log_dir: str = "/var/log/trilby/pods"
    origins: Mapping[str, str] = {}
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()
    sources: tuple[str, ...] = ()

    def place(self, key: str) -> str:
        """Where an option was set, ``path:line:column`` or ``built in default``."""
        return self.origins.get(key, "built in default")
