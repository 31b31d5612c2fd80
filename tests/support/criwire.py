"""The Go caller of the CRI, tests/kubernetes/criwire, as a process that answers line by line."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from tests.support.kubernetes import program


@dataclass(frozen=True)
class Decoded:
    """A message after it went through the API's own type."""

    data: bytes
    unknown: list[str]


@dataclass(frozen=True)
class Answer:
    """What an RPC gave: responses in protobuf's JSON form, with the fields' own names."""

    responses: list[dict[str, Any]]
    unknown: list[str]
    code: str
    error: str
    seconds: float

    @property
    def only(self) -> dict[str, Any]:
        """The one response of an RPC that succeeded."""
        assert (self.code, self.unknown) == ("OK", []), f"{self.code}: {self.error} {self.unknown}"
        assert len(self.responses) == 1
        return self.responses[0]


def api_descriptor() -> FileDescriptorProto:
    """The API's messages and services, as its Go module describes them."""
    done = subprocess.run([program("criwire"), "describe"], check=True, capture_output=True)
    return FileDescriptorProto.FromString(base64.b64decode(done.stdout))


class _Lines:
    """One question per line in, one answer per line out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        process = self._process
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"criwire ended with {process.wait(10)}, see its message above"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


class Decoder(_Lines):
    """Reads and writes messages with the API's own types."""

    def decode(self, message: str, data: bytes) -> Decoded:
        """``message`` is its full name, as runtime.v1.VersionRequest."""
        encoded = base64.b64encode(data).decode()
        answer = self.ask({"message": message, "data": encoded})
        return Decoded(base64.b64decode(answer["data"]), answer["unknown"])


class Caller(_Lines):
    """Calls a daemon over one connection."""

    def call(self, rpc: str, *, deadline: float = 0, take: int = 0, **request: object) -> Answer:
        """``rpc`` as RuntimeService/Version; ``request`` holds the request's fields.

        Of a stream it takes everything until its end or until ``deadline`` seconds, or ``take``
        messages.
        """
        question = {"rpc": rpc, "request": request, "timeout": deadline, "take": take}
        return Answer(**self.ask(question))


@contextlib.contextmanager
def decoder() -> Iterator[Decoder]:
    with _running("decode") as process:
        yield Decoder(process)


@contextlib.contextmanager
def caller(socket: str) -> Iterator[Caller]:
    with _running("call", socket) as process:
        yield Caller(process)


@contextlib.contextmanager
def _running(*words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [program("criwire"), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin
            process.stdin.close()
