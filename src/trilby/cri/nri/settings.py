"""What the configuration says of NRI."""

from __future__ import annotations

import msgspec

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds. ``listen`` is "" when no plugin may connect."""

    listen: str = "/var/run/nri/nri.sock"
    plugin_dir: str = "/opt/nri/plugins"
    config_dir: str = "/etc/nri/conf.d"
    registration_timeout: float = 5.0
    request_timeout: float = 2.0
