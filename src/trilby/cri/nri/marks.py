"""How plugins ask for removals, and how their numbers are called in OCI configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trilby.cri.nri.errors import InvalidAdjustment
from trilby.cri.nri.owners import Claims, Field

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

__all__ = ["edited", "name_of", "removed"]


def removed(name: str) -> tuple[str, bool]:
    """A name without the mark of a removal, and whether it had one."""
    return (name[1:], True) if name.startswith("-") else (name, False)


def edited(
    values: Mapping[str, str], wanted: Mapping[str, str], field: Field, claims: Claims
) -> dict[str, str]:
    """A map with entries removed, changed and added."""
    changed = dict(values)
    for name in wanted:
        key, away = removed(name)
        if away:
            claims.clear(field, key)
            changed.pop(key, None)
    for name, value in wanted.items():
        if not removed(name)[1]:
            claims.claim(field, name)
            changed[name] = value
    return changed


def name_of(enum: EnumTypeWrapper, number: int) -> str:
    """The name of a value, which is the OCI's too. Raises InvalidAdjustment."""
    try:
        return enum.Name(number)
    except ValueError as error:
        raise InvalidAdjustment(str(error)) from error
