"""One option of trilby.conf: its name, what it may be, what it means, and what a change needs.

An option is declared at the field that holds it::

    pids_limit: Annotated[int, Option("trilby.runtime.pids_limit", Scope.NEW_PODS, "...")] = -1

Type and default are the field's. The parser, the default file, the man page, the documents and
``trilby config`` follow from that.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

import msgspec

__all__ = ["HANDLERS", "NAME", "Declared", "Kind", "Option", "Scope", "Value", "options_of"]

Value: TypeAlias = "str | int | float | bool | tuple[str, ...] | dict[str, str]"

#: The tables of runtime handlers are below this one; NAME stands for a handler's name in keys.
HANDLERS: Final = "trilby.runtime.runtimes"
NAME: Final = "NAME"


class Scope(enum.StrEnum):
    """What has to happen before a changed value counts, when the daemon reads its files again."""

    LIVE = "live"
    NEW_PODS = "new pods"
    RESTART = "restart"


class Kind(enum.StrEnum):
    """How a value is written, in the words of the documents."""

    TEXT = "text"
    TRUTH = "true or false"
    NUMBER = "number"
    PORT = "port"
    MODE = "file mode"
    DURATION = "duration"
    TEXTS = "list of texts"
    PAIRS = "list of name=value"


class Option(msgspec.Struct, frozen=True):
    """What a person may write for one field.

    ``key`` is the path of the option, parted by dots. ``form`` tells what is wrong with a text, or
    with one text of a list, as "is not ..."; "" is nothing. ``lowest`` and ``highest`` are for
    numbers. All but the first three are given by name.
    """

    key: str
    scope: Scope
    meaning: str
    #: Where the field's type does not tell.
    kind: Kind | None = None
    choices: tuple[str, ...] = ()
    lowest: int | None = None
    highest: int | None = None
    form: Callable[[str], str] | None = None
    #: A text may stand for a list of one.
    single: bool = False
    #: The default in words, where it depends on the host.
    otherwise: str = ""

    @property
    def table(self) -> str:
        """The table that it stands in."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name in the table."""
        return self.key.rpartition(".")[2]


class Declared(msgspec.Struct, frozen=True):
    """An option with what its field says."""

    option: Option
    field: str
    kind: Kind
    default: Value
    #: The class of values that are one of a few.
    enum: type[enum.StrEnum] | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """The only possible texts; empty: any."""
        return tuple(map(str, self.enum)) if self.enum else self.option.choices


def options_of(sample: msgspec.Struct) -> Mapping[str, Declared]:
    """Key -> option of every field of ``sample``'s class that declares one, in their order.

    ``sample`` is a value of the class that has its defaults.
    """
    found: dict[str, Declared] = {}
    hints: dict[str, object] = typing.get_type_hints(type(sample), include_extras=True)
    for field, hint in hints.items():
        if typing.get_origin(hint) is not Annotated:
            continue
        kind, *metadata = typing.get_args(hint)
        for option in metadata:
            if isinstance(option, Option):
                default: Value = getattr(sample, field)
                found[option.key] = _declared(option, field, kind, default)
    return found


def _declared(option: Option, field: str, hint: object, default: Value) -> Declared:
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return Declared(option, field, Kind.TEXT, default, hint)
    return Declared(option, field, option.kind or _KINDS[typing.get_origin(hint) or hint], default)


_KINDS: Final[Mapping[object, Kind]] = {
    str: Kind.TEXT,
    bool: Kind.TRUTH,
    int: Kind.NUMBER,
    float: Kind.DURATION,
    tuple: Kind.TEXTS,
    dict: Kind.PAIRS,
}
