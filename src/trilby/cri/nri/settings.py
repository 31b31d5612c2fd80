"""What the configuration says of NRI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trilby.pods.model_common import ProfileType

if TYPE_CHECKING:
    from trilby.cri.config import DaemonConfig

__all__ = ["Rules", "Settings", "settings_of"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What plugins may not do, and which have to be there for a container to be made.

    ``reject_seccomp``: the kinds of profiles that they may not replace. ``tolerate_annotation`` is
    that of pods that do without the required plugins; "" for none.
    """

    reject_hooks: bool = False
    reject_namespaces: bool = False
    reject_seccomp: tuple[ProfileType, ...] = ()
    required_plugins: tuple[str, ...] = ()
    tolerate_annotation: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds. ``listen`` is "" when no plugin may connect."""

    listen: str = "/var/run/nri/nri.sock"
    plugin_dir: str = "/opt/nri/plugins"
    config_dir: str = "/etc/nri/conf.d"
    registration_timeout: float = 5.0
    request_timeout: float = 2.0
    rules: Rules | None = None


def settings_of(config: DaemonConfig) -> Settings:
    """As the daemon is configured."""
    kinds = {
        ProfileType.RUNTIME_DEFAULT: config.nri_validator_reject_runtime_default_seccomp_adjustment,
        ProfileType.UNCONFINED: config.nri_validator_reject_unconfined_seccomp_adjustment,
        ProfileType.LOCALHOST: config.nri_validator_reject_custom_seccomp_adjustment,
    }
    rules = Rules(
        reject_hooks=config.nri_validator_reject_oci_hook_adjustment,
        reject_namespaces=config.nri_validator_reject_namespace_adjustment,
        reject_seccomp=tuple(kind for kind, rejected in kinds.items() if rejected),
        required_plugins=config.nri_validator_required_plugins,
        tolerate_annotation=config.nri_validator_tolerate_missing_plugins_annotation,
    )
    return Settings(
        rules=rules if config.nri_enable_default_validator else None,
        listen="" if config.nri_disable_connections else config.nri_listen,
        plugin_dir=config.nri_plugin_dir,
        config_dir=config.nri_plugin_config_dir,
        registration_timeout=config.nri_plugin_registration_timeout,
        request_timeout=config.nri_plugin_request_timeout,
    )
