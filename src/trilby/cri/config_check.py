"""All that ``trilby config check`` looks at, in its order: trilby.conf, then what it leads to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from trilby.cri.config_certificates import check_certificates
from trilby.cri.config_files import (
    check_drop_ins,
    check_files_of_images,
    check_policies,
    check_seccomp,
    check_socket,
    check_store,
)
from trilby.cri.config_finding import Finding, of_error, of_mistake, told
from trilby.cri.config_kubelet import check_kubelet
from trilby.cri.config_load import build, read_layers
from trilby.cri.config_network import check_network
from trilby.cri.config_programs import check_programs
from trilby.cri.config_relations import contradictions
from trilby.errors import InvalidInput
from trilby.storage.config import StorageConfig, default_roots
from trilby.storage.errors import StorageConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from trilby.cri.config_load import Loaded

__all__ = ["Asked", "check"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked: as for load(), and files of others; "" for the usual ones."""

    config_file: Path | None = None
    config_dir: Path | None = None
    overrides: Mapping[str, object] = {}
    authfile: str = ""
    kubelet_config: str = ""


def check(asked: Asked, env: Mapping[str, str] | None = None) -> list[Finding]:
    """Every finding. Options with mistakes count with their defaults for the rest of it."""
    return list(_check(asked, env))


def _check(asked: Asked, env: Mapping[str, str] | None) -> Iterator[Finding]:
    try:
        layers = read_layers(asked.config_file, asked.config_dir, asked.overrides)
    except InvalidInput as error:
        yield of_error(error)
        return
    yield from map(of_mistake, layers.mistakes)
    yield from map(of_mistake, layers.unknown)
    try:
        loaded = build(layers, env)
        yield from told(lambda: loaded.config.storage_config(env).warnings)
        yield from check_store(loaded, env)
    except StorageConfigError as error:
        yield of_error(error)
        roots = default_roots(os.environ if env is None else env, os.geteuid())
        loaded = build(layers, env, StorageConfig(*roots))
    yield from map(of_mistake, contradictions(loaded.config, loaded.origins))
    yield from check_drop_ins(loaded)
    yield from check_socket(loaded)
    yield from _around(loaded, asked, env)


def _around(loaded: Loaded, asked: Asked, env: Mapping[str, str] | None) -> Iterator[Finding]:
    yield from check_files_of_images(loaded, asked.authfile, env)
    yield from check_policies(loaded, env)
    yield from check_seccomp(loaded)
    yield from check_programs(loaded)
    yield from check_network(loaded)
    yield from check_certificates(loaded)
    yield from check_kubelet(loaded, asked.kubelet_config)
