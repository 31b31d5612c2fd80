"""What the node commands share: the host that is meant, and its configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click
import msgspec

from trilby.cli.config.files import overrides, place

if TYPE_CHECKING:
    from trilby.cli.settings import Settings
    from trilby.cri.config_load import Loaded
    from trilby.node import settings as node_settings
    from trilby.node.node import Node
    from trilby.pods.config_layers import Layers, Mistake
    from trilby.storage.config import StorageConfig

STORE_VARIABLES = (
    *("CONTAINERS_STORAGE_CONF", "CONTAINERS_STORAGE_CONF_OVERRIDE"),
    *("STORAGE_DRIVER", "STORAGE_OPTS"),
)

P = ParamSpec("P")
R = TypeVar("R")


def host_options(command: Callable[P, R]) -> Callable[P, R]:
    """The flags that say which host and which files are meant."""
    command = click.option(
        "--root",
        "host_root",
        metavar="DIR",
        default="/",
        show_default=True,
        help="The root directory of the host: another one is looked at by its files alone.",
    )(command)
    command = click.option(
        "--kubelet-config",
        metavar="FILE",
        default="",
        help="The kubelet's configuration; without it the running kubelet's, or"
        " /var/lib/kubelet/config.yaml.",
    )(command)
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        default="",
        help="trilby.conf to read instead of /etc/trilby/trilby.conf.",
    )(command)


def format_option(help: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """--format of what is shown as lines, or as JSON."""
    return click.option(
        "--format",
        metavar="FORMAT",
        type=click.Choice(("table", "json")),
        default="table",
        show_default=True,
        help=help,
    )


def node_of(settings: Settings, config_file: str, host_root: str, kubelet_config: str) -> Node:
    """The host of the flags.

    Raises:
        NoHost: --root is no directory.
    """
    from trilby.node.host import Host
    from trilby.node.node import Node

    host = Host(host_root)
    found = read_settings(
        settings, config_file or settings.config, "" if host.root == "/" else host.root
    )
    return Node(host, found, os.path.abspath(kubelet_config) if kubelet_config else "")


def read_settings(settings: Settings, config_file: str, root: str) -> node_settings.Settings:
    """trilby.conf and storage.conf of the host; mistakes are for a check to tell."""
    from trilby.cri.config_load import all_options, build, read_layers
    from trilby.cri.config_relations import contradictions
    from trilby.pods.config import CgroupManager
    from trilby.pods.config_layers import Layers, Mistake
    from trilby.pods.errors import InvalidEngineConfig

    problems: list[Mistake] = []
    try:
        layers = read_layers(place(config_file), None, overrides(settings), root=root)
    except InvalidEngineConfig as error:
        path, _, text = error.message.partition(": ")
        problems.append(Mistake(path, "", text, error.hint))
        layers = Layers(all_options())
    storage, problem = _storage(layers, root)
    loaded = build(layers, None, storage)
    mistakes = [*problems, *layers.mistakes, *contradictions(loaded.config, loaded.origins)]
    found = _settings(loaded, layers, mistakes, storage, problem)
    if root and "trilby.runtime.cgroup_manager" not in layers.values:
        # The default is that of this machine.
        booted = os.path.isdir(f"{root}/run/systemd/system")
        manager = CgroupManager.SYSTEMD if booted else CgroupManager.CGROUPFS
        engine = msgspec.structs.replace(found.engine, cgroup_manager=manager)
        found = msgspec.structs.replace(found, engine=engine)
    return found


def _storage(layers: Layers, root: str) -> tuple[StorageConfig, str]:
    """The store of the host, or the usual one and why that is."""
    from trilby.errors import TrilbyError
    from trilby.storage.config import StorageConfig, default_roots, load_storage_config
    from trilby.storage.configfiles import SYSTEM_DIRECTORIES

    # The daemon's store is root's, whoever asks; a service has no HOME.
    env = {} if root else {name: os.environ[name] for name in STORE_VARIABLES if name in os.environ}
    said = {name: str(layers.values.get(f"trilby.{name}") or "") for name in ("root", "runroot")}
    options = layers.values.get("trilby.storage_option")
    try:
        found = load_storage_config(
            env,
            root=said["root"] or None,
            runroot=said["runroot"] or None,
            driver=str(layers.values.get("trilby.storage_driver") or "") or None,
            options=options if isinstance(options, tuple) else None,
            uid=0,
            system=tuple(root + each for each in SYSTEM_DIRECTORIES),
        )
        return found, ""
    except (TrilbyError, OSError) as error:
        return StorageConfig(*default_roots(env, 0)), str(error)


def _settings(
    loaded: Loaded, layers: Layers, mistakes: list[Mistake], storage: StorageConfig, problem: str
) -> node_settings.Settings:
    from trilby.node.settings import ServerFiles, Settings

    config = loaded.config
    servers = []
    if config.stream_enable_tls and config.stream_tls_cert:
        servers.append(ServerFiles("streams", config.stream_tls_cert, config.stream_tls_key))
    if config.enable_metrics and config.metrics_cert:
        servers.append(ServerFiles("metrics", config.metrics_cert, config.metrics_key))
    ports = [(config.stream_port, "streams")]
    ports += [(config.metrics_port, "metrics")] * config.enable_metrics
    return Settings(
        engine=config.engine,
        storage=storage,
        storage_problem=problem,
        listen=config.listen,
        servers=tuple(servers),
        ports=tuple(each for each in ports if each[0]),
        registries_conf=config.registries_conf,
        registries_conf_dir=config.registries_conf_dir,
        insecure_registries=config.insecure_registries,
        policy=config.signature_policy,
        log_dir=config.log_dir,
        origins=loaded.origins,
        mistakes=tuple(mistakes),
        warnings=tuple(layers.unknown),
        sources=loaded.sources,
    )
