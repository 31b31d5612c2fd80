"""Options of trilby.conf that contradict each other; nothing outside the values is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from trilby.cri.config import DaemonConfig
from trilby.pods.config import CgroupManager
from trilby.pods.config_forms import SOCKET_LENGTH
from trilby.pods.config_layers import Mistake

__all__ = ["contradictions"]

RUN_ROOT_LENGTH: Final = SOCKET_LENGTH - len("/grpc.sock")


def contradictions(config: DaemonConfig, origins: Mapping[str, str]) -> list[Mistake]:
    """What is wrong with values that are each right; ``origins`` say where they stand."""
    return [
        Mistake(origins[key], key, f"{key} {problem}", hint)
        for key, problem, hint in _found(config)
    ]


def _found(config: DaemonConfig) -> Iterator[tuple[str, str, str]]:
    yield from _runtime(config)
    yield from _tls(config)
    yield from _servers(config)


def _runtime(config: DaemonConfig) -> Iterator[tuple[str, str, str]]:
    engine = config.engine
    if engine.default_runtime and engine.default_runtime not in engine.runtimes:
        yield (
            "trilby.runtime.default_runtime",
            f"is {engine.default_runtime!r}, and there is no such table of trilby.runtime.runtimes",
            f"there are: {', '.join(sorted(engine.runtimes))}",
        )
    systemd = engine.cgroup_manager is CgroupManager.SYSTEMD
    if not systemd and engine.cgroup_parent.endswith(".slice"):
        yield (
            "trilby.runtime.cgroup_parent",
            f"is {engine.cgroup_parent!r}, a slice, but the cgroup manager is cgroupfs",
            "name a path, or set cgroup_manager to systemd",
        )
    if systemd and "/" in engine.cgroup_parent.strip("/"):
        yield (
            "trilby.runtime.cgroup_parent",
            f"is {engine.cgroup_parent!r}, a path, but the cgroup manager is systemd",
            "name a slice",
        )
    length = len(os.fsencode(engine.run_root))
    if length > RUN_ROOT_LENGTH:
        yield (
            "trilby.runroot",
            f"makes the run root {engine.run_root}, which is {length} bytes long; {RUN_ROOT_LENGTH}"
            " are possible, because sockets are below it",
            "choose a shorter runroot",
        )


def _tls(config: DaemonConfig) -> Iterator[tuple[str, str, str]]:
    if config.stream_enable_tls and not config.stream_tls_cert:
        yield (
            "trilby.api.stream_enable_tls",
            "is true, and there is no certificate",
            "set stream_tls_cert and stream_tls_key",
        )
    for cert, key, table, names in (
        (config.stream_tls_cert, config.stream_tls_key, "trilby.api", "stream_tls_"),
        (config.metrics_cert, config.metrics_key, "trilby.metrics", "metrics_"),
    ):
        if cert and not key:
            yield f"{table}.{names}cert", f"has no key: {names}key is empty", f"set {names}key"
        if key and not cert:
            yield (
                f"{table}.{names}key",
                f"has no certificate: {names}cert is empty",
                (f"set {names}cert"),
            )


def _servers(config: DaemonConfig) -> Iterator[tuple[str, str, str]]:
    if (
        config.enable_metrics
        and config.metrics_port
        and config.metrics_port == config.stream_port
        and config.metrics_host == config.stream_address
    ):
        yield (
            "trilby.metrics.metrics_port",
            f"is {config.metrics_port}, which is stream_port at the same address",
            "choose another port for one of them",
        )
    if config.enable_metrics and config.metrics_socket == config.listen:
        yield (
            "trilby.metrics.metrics_socket",
            "is the socket of the CRI too",
            "choose another path",
        )
    others = {config.listen: "CRI", config.metrics_socket: "metrics"}
    if config.enable_nri and config.nri_listen in others:
        yield (
            "trilby.nri.nri_listen",
            f"is the socket of the {others[config.nri_listen]} too",
            "choose another path",
        )
