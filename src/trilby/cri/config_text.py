"""The configuration as text: the commented default file, and rows of values with their origins."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

import msgspec

from trilby.cri.config import DaemonConfig
from trilby.cri.config_load import BUILT_IN, STORAGE_CONF, Change, Loaded, all_options, values_of
from trilby.pods.config_layers import pattern_of
from trilby.pods.config_option import HANDLERS, NAME, Declared, Scope, Value
from trilby.pods.config_values import toml_text

__all__ = ["Row", "change_texts", "default_file", "limits_text", "row_text", "rows"]

HEAD = """\
trilby.conf: settings of the CRI daemon and of the pod engine; see trilby.conf(5).

Every option is here with its default, behind a #. Remove the # to change one, or better, write
what you change into a file of /etc/trilby/trilby.conf.d that ends in .conf. "trilby config check"
tells mistakes, "trilby config show" what counts and where it stands.
"""
EXAMPLE = "crun"


class Row(msgspec.Struct, frozen=True):
    """An option's effective value; ``scope`` is when a change of it takes effect."""

    key: str
    value: Value
    origin: str
    scope: Scope
    default: bool


def rows(loaded: Loaded) -> list[Row]:
    """Every option of a configuration, in the order of the documents; it can be JSON."""
    usual = values_of(DaemonConfig())
    found = []
    for key, value in values_of(loaded.config).items():
        declared = all_options()[pattern_of(key)]
        origin = loaded.origins.get(key, BUILT_IN)
        untouched = origin in (BUILT_IN, STORAGE_CONF)
        default = untouched or value == usual.get(key, declared.default)
        found.append(Row(key, value, origin, declared.option.scope, default))
    return found


def row_text(key: str, value: Value | None) -> str:
    """A value as it is written in the file; nothing for a handler that is not there."""
    declared = all_options().get(pattern_of(key))
    return "" if value is None else toml_text(value, declared.kind if declared else None)


def change_texts(change: Change) -> tuple[str, str]:
    """The old and the new value of a change, as they are written in the file."""
    return row_text(change.key, change.old), row_text(change.key, change.new)


def default_file() -> str:
    """A complete trilby.conf with every default, in comments."""
    return "\n".join(_default_file(all_options())) + "\n"


def _default_file(options: Mapping[str, Declared]) -> Iterator[str]:
    yield from (f"# {line}".rstrip() for line in HEAD.splitlines())
    table = ""
    for declared in options.values():
        option = declared.option
        if option.table != table:
            table = option.table
            yield ""
            if table == f"{HANDLERS}.{NAME}":
                yield "# One such table for each runtime handler that a RuntimeClass may name."
                yield f"#[{HANDLERS}.{EXAMPLE}]"
            else:
                yield f"[{table}]"
        yield ""
        yield from _comment(option.meaning)
        if limits := limits_text(declared):
            yield from _comment(limits)
        if option.otherwise:
            yield from _comment(f"Default: {option.otherwise}.")
        yield from _comment(f"A change takes effect: {option.scope}.")
        yield f"#{option.name} = {toml_text(declared.default, declared.kind)}"


def limits_text(declared: Declared) -> str:
    """What an option may be, as a sentence; "" if that follows from its type."""
    option = declared.option
    if len(declared.choices) > 1:
        shown = ", ".join(f"`{each}`" if each else "empty" for each in declared.choices)
        return f"One of {shown}." if isinstance(declared.default, str) else f"Some of {shown}."
    if option.lowest is not None and option.highest is not None:
        return f"From {option.lowest} to {option.highest}."
    return "" if option.lowest is None else f"At least {option.lowest}."


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, 96, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
