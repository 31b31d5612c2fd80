"""Whether pods get a network with this configuration: CNI files, plugins, subnets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Final

from trilby.cri.config_finding import Finding, Severity, about, of_error
from trilby.cri.config_load import BUILT_IN, Loaded
from trilby.pods.network.conflist import Conflist, discover
from trilby.system.routes import routes_in

__all__ = ["check_network", "routes"]

NETWORK: Final = "trilby.network"
# What the built-in network runs; portmap is for host ports only.
BUILTIN_PLUGINS: Final = ("bridge", "host-local")
HOST_PORTS: Final = "portmap"

ROUTES: Final = {4: "/proc/net/route", 6: "/proc/net/ipv6_route"}

WHY: Final = "pods that do not use the host's network are refused"


def check_network(loaded: Loaded) -> Iterator[Finding]:
    """Findings about the network that a new pod would get."""
    engine = loaded.config.engine
    found = discover(engine.cni_config_dirs)
    yield from map(of_error, found.errors)
    yield from _directories(loaded)
    for network in found.networks:
        yield from _plugins(loaded, network)
    chosen = found.choose(engine.cni_default_network)
    named = engine.cni_default_network
    if chosen is None and named not in ("", "trilby"):
        names = ", ".join(network.name for network in found.networks)
        yield about(
            loaded,
            f"{NETWORK}.cni_default_network",
            f"is {named!r}, and no file has a network of that name",
            why=WHY,
            hint=f"there are: {names}" if names else "write its .conflist",
        )
    elif chosen is None and not found.errors:
        yield from _builtin(loaded)


def _directories(loaded: Loaded) -> Iterator[Finding]:
    """A directory that somebody named should be there; of the usual ones any may be missing."""
    engine = loaded.config.engine
    for name, directories in (
        ("network_dir", engine.cni_config_dirs),
        ("plugin_dirs", engine.cni_plugin_dirs),
    ):
        key = f"{NETWORK}.{name}"
        for directory in directories if loaded.origins.get(key, BUILT_IN) != BUILT_IN else ():
            if not os.path.isdir(directory):
                yield about(
                    loaded,
                    key,
                    f"has {directory}, which is no directory",
                    why="nothing is found there",
                    hint="make it, or take it out",
                    severity=Severity.WARNING,
                )


def _plugins(loaded: Loaded, network: Conflist) -> Iterator[Finding]:
    directories = loaded.config.engine.cni_plugin_dirs
    for plugin in network.plugins:
        if missing := _missing([plugin.type], directories):
            yield Finding(
                path=network.path,
                what=f"the network {network.name} needs the plugin {missing[0]}, which is in none"
                f" of {', '.join(directories)}",
                why="pods of this network are refused",
                hint="install containernetworking-plugins, or set plugin_dirs",
            )


def _builtin(loaded: Loaded) -> Iterator[Finding]:
    """No file is there: the built-in network serves."""
    engine = loaded.config.engine
    if not engine.bridge_name:
        yield about(
            loaded,
            f"{NETWORK}.bridge_name",
            f"is empty, and {', '.join(engine.cni_config_dirs)} has no configuration",
            why=WHY,
            hint="install a CNI network, or name a bridge",
        )
        return
    if missing := _missing(BUILTIN_PLUGINS, engine.cni_plugin_dirs):
        yield about(
            loaded,
            f"{NETWORK}.plugin_dirs",
            f"lacks {', '.join(missing)}, which the built-in network needs",
            why=WHY,
            hint="install containernetworking-plugins, or set plugin_dirs",
        )
    elif _missing([HOST_PORTS], engine.cni_plugin_dirs):
        yield about(
            loaded,
            f"{NETWORK}.plugin_dirs",
            f"lacks {HOST_PORTS}",
            why="pods with host ports are refused",
            hint="install containernetworking-plugins, or set plugin_dirs",
            severity=Severity.WARNING,
        )
    if shutil.which("iptables") is None:
        yield about(
            loaded,
            f"{NETWORK}.bridge_name",
            f"is {engine.bridge_name}: a built-in network, and iptables is not installed",
            why="pods do not reach the outside",
            hint="install iptables, or a CNI network that does without",
        )
    yield from _subnets(loaded)


def _missing(plugins: Iterable[str], directories: Iterable[str]) -> list[str]:
    path = os.pathsep.join(directories)
    return [plugin for plugin in plugins if shutil.which(plugin, path=path) is None]


def _subnets(loaded: Loaded) -> Iterator[Finding]:
    """Addresses that another link of this host has already."""
    import ipaddress

    engine = loaded.config.engine
    for name, subnet in (
        ("bridge_subnet", engine.bridge_subnet),
        ("bridge_subnet_v6", engine.bridge_subnet_v6),
    ):
        if not subnet:
            continue
        ours = ipaddress.ip_network(subnet)
        for link, route in routes(ours.version):
            if link != engine.bridge_name and ours.overlaps(ipaddress.ip_network(route)):
                yield about(
                    loaded,
                    f"{NETWORK}.{name}",
                    f"is {subnet}, which overlaps with {route} on {link}",
                    why="packets for pods or for that network go astray",
                    hint="choose a subnet that nobody uses",
                )
                break


def routes(version: int) -> list[tuple[str, str]]:
    """(link, subnet) of the host's routes to networks, without default routes and single hosts."""
    try:
        with open(ROUTES[version]) as file:
            return routes_in(file.read(), version)
    except OSError:
        return []
