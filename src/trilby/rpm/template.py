"""Spec templates: jinja2 with no silent gaps, and errors that name the template's line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trilby.rpm.errors import InvalidSpec, ToolMissing
from trilby.system.files import read_bytes_limited

if TYPE_CHECKING:
    import jinja2

__all__ = ["render_builtin", "render_file"]

_TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
_LIMIT = 1 << 20


def render_builtin(name: str, values: Mapping[str, object]) -> str:
    """One of the toolkit's own templates, filled in."""
    return render_file(os.path.join(_TEMPLATES, name), values)


def render_file(path: str | os.PathLike[str], values: Mapping[str, object]) -> str:
    """A template of a file, filled in. Raises InvalidSpec with file and line, and OSError."""
    name = os.fspath(path)
    text = read_bytes_limited(name, _LIMIT).decode()
    environment = _environment()
    import jinja2

    try:
        return environment.from_string(text).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise InvalidSpec(f"{name}:{error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise InvalidSpec(f"{name}:{_line(error)}: {error}") from None


def _environment() -> jinja2.Environment:
    try:
        import jinja2
    except ImportError:
        raise ToolMissing(
            "specs are rendered with jinja2, which is not installed",
            hint="install python3-jinja2 or pip install 'trilby[rpm]'",
        ) from None
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["rpmdate"] = rpmdate
    return environment


def rpmdate(text: str) -> str:
    """``2026-11-24`` as a spec's changelog writes it: ``Tue Nov 24 2026``."""
    import datetime

    return datetime.date.fromisoformat(text).strftime("%a %b %d %Y")


def _line(error: Exception) -> int:
    """The template's line of an error while rendering: the last frame that jinja2 compiled."""
    line = 1
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
