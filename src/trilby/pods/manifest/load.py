"""A Pod manifest file as a typed Pod, with every mistake named by file, line and field.

``load_pod`` is strict: unknown fields are errors (with a suggestion), fields that the embedded
engine does not honour are warnings, wrong types and values are errors.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from dataclasses import dataclass

import msgspec

from trilby.pods.manifest import fields, schema
from trilby.pods.manifest.document import Document, Value, load_documents
from trilby.pods.manifest.errors import InvalidManifest, Problem
from trilby.pods.manifest.validate import validate_pod


@dataclass(frozen=True, slots=True)
class LoadedPod:
    """A valid Pod and what of its manifest will not be honoured."""

    pod: schema.Pod
    warnings: tuple[Problem, ...]
    source: str


def load_pod(text: str, source: str) -> LoadedPod:
    """The one Pod of a YAML or JSON text; ``source`` is its file name for messages.

    Raises:
        InvalidManifest: with every problem found, not only the first.
    """
    documents = load_documents(text, source)
    if not documents:
        raise InvalidManifest(source, [Problem(0, 0, "", "is empty; a v1 Pod was expected")])
    if len(documents) > 1:
        raise InvalidManifest(
            source, [documents[1].problem("", "a second document; one Pod a file is run")]
        )
    document = documents[0]
    _check_kind(document)
    walker = _Walker(document)
    walker.struct(document.value, schema.Pod, "")
    if walker.errors:
        raise InvalidManifest(source, walker.errors)
    pod = _convert(document)
    errors = validate_pod(pod, document)
    if errors:
        raise InvalidManifest(source, errors)
    return LoadedPod(pod, tuple(sorted(walker.warnings)), source)


def _check_kind(document: Document) -> None:
    value = document.value
    if not isinstance(value, dict):
        raise InvalidManifest(
            document.source, [document.problem("", "a mapping with kind: Pod was expected")]
        )
    kind, version = value.get("kind"), value.get("apiVersion")
    if kind != "Pod":
        message = f"kind {kind!r} cannot be run; only Pod can" if kind else "kind is missing"
        raise InvalidManifest(document.source, [document.problem("kind", message)])
    if version != "v1":
        message = f"must be v1, not {version!r}"
        raise InvalidManifest(document.source, [document.problem("apiVersion", message)])


def _convert(document: Document) -> schema.Pod:
    try:
        return msgspec.convert(document.value, schema.Pod)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        path = place.strip("`").removeprefix("$").removeprefix(".")
        path = re.sub(r"\[\.\.\.\]", "", path)
        problem = document.problem(path, message[:1].lower() + message[1:])
        raise InvalidManifest(document.source, [problem]) from None


class _Walker:
    """Compares a document's keys with the schema; types are checked by msgspec afterwards."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def struct(self, value: Value, kind: type[msgspec.Struct], path: str) -> None:
        if not isinstance(value, dict):
            return
        known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        for key in list(value):
            below = f"{path}.{key}" if path else key
            if key in known:
                # An explicit null means the same as leaving the field out, as in the API.
                if value[key] is None:
                    del value[key]
                else:
                    self.field(value[key], known[key], below)
            elif key in fields.NOT_HONOURED.get(kind, frozenset()):
                self._not_honoured(kind, key, below)
            else:
                self._unknown(key, known, kind, below)

    def field(self, value: Value, declared: object, path: str) -> None:
        if isinstance(declared, type) and issubclass(declared, msgspec.Struct):
            self.struct(value, declared, path)
            return
        origin = typing.get_origin(declared)
        if origin in (types.UnionType, typing.Union):
            for option in typing.get_args(declared):
                self.field(value, option, path)
        elif origin is list and isinstance(value, list):
            (item,) = typing.get_args(declared)
            for index, entry in enumerate(value):
                self.field(entry, item, f"{path}[{index}]")

    def _not_honoured(self, kind: type, key: str, path: str) -> None:
        if key in fields.ESSENTIAL.get(kind, frozenset()):
            message = "is not supported by the embedded engine, and the pod needs it"
            self.errors.append(self.document.problem(path, message))
        elif key in fields.INERT:
            message = "has no meaning without an API server and is ignored"
            self.warnings.append(self.document.problem(path, message))
        else:
            self.warnings.append(
                self.document.problem(path, "is not honoured by the embedded engine")
            )

    def _unknown(
        self, key: str, known: dict[str, object], kind: type[msgspec.Struct], path: str
    ) -> None:
        names = list(known) + sorted(fields.NOT_HONOURED.get(kind, ()))
        by_case = {name.lower(): name for name in names}
        near = [by_case[key.lower()]] if key.lower() in by_case else []
        near = near or difflib.get_close_matches(key, names, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        self.errors.append(self.document.problem(path, f"unknown field{hint}"))
