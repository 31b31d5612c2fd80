"""Where the user's own configuration, data and cache files are."""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment(env: Mapping[str, str] | None) -> Mapping[str, str]:
    """The given variables, or this process's."""
    return os.environ if env is None else env


def home(env: Mapping[str, str] | None = None) -> str:
    """The home directory, by HOME or else the user database."""
    found = environment(env).get("HOME")
    if found:
        return found
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def user_config(name: str, env: Mapping[str, str] | None = None) -> str:
    """``~/.config/containers/NAME``. Peers do not look at XDG_CONFIG_HOME for these files."""
    return os.path.join(home(env), ".config", "containers", name)


def xdg_config(name: str, env: Mapping[str, str] | None = None) -> str:
    """``$XDG_CONFIG_HOME/containers/NAME``, by default under ``~/.config``."""
    base = environment(env).get("XDG_CONFIG_HOME") or os.path.join(home(env), ".config")
    return os.path.join(base, "containers", name)


def xdg_cache(name: str, env: Mapping[str, str] | None = None) -> str:
    """``$XDG_CACHE_HOME/containers/NAME``, by default under ``~/.cache``."""
    base = environment(env).get("XDG_CACHE_HOME") or os.path.join(home(env), ".cache")
    return os.path.join(base, "containers", name)


def xdg_data(name: str, env: Mapping[str, str] | None = None) -> str:
    """``$XDG_DATA_HOME/containers/NAME``, by default under ``~/.local/share``."""
    base = environment(env).get("XDG_DATA_HOME") or os.path.join(home(env), ".local", "share")
    return os.path.join(base, "containers", name)
