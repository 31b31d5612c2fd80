"""A registry that behaves, until a fault is switched on: for tests of everything that goes wrong.

async with HostileRegistry() as registry:
    digest = registry.add_blob(b"...")
    registry.fault(Drop(after=100), path="/blobs/", times=1)
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from dataclasses import dataclass, field

from tests.support.hostile_http import Answer, Exchange, RawServer, Request

from trilby.oci.digest import Digest
from trilby.oci.media import OCI_MANIFEST


class Fault:
    """Replaces a proper answer. Returns False if the connection is spoilt."""

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        raise NotImplementedError


@dataclass
class Status(Fault):
    """Another status, with a registry's error body unless ``body`` is given."""

    status: int
    code: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        body = self.body
        if body is None:
            errors = [{"code": self.code, "message": self.message}] if self.code else []
            body = json.dumps({"errors": errors}).encode()
        await exchange.send(Answer(self.status, body, self.headers))
        return True


@dataclass
class Headers(Fault):
    """The proper answer with other headers (a wrong Content-Length, digest, type ...)."""

    headers: dict[str, str]

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        await exchange.send(Answer(proper.status, proper.body, {**proper.headers, **self.headers}))
        return "Content-Length" not in self.headers


@dataclass
class Body(Fault):
    """Another body of any length, properly announced: corrupt, truncated, HTML ..."""

    body: bytes
    content_type: str = ""

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        headers = dict(proper.headers)
        if self.content_type:
            headers["Content-Type"] = self.content_type
        await exchange.send(Answer(200, self.body, headers))
        return True


@dataclass
class Redirect(Fault):
    """To ``location``; "" is the same URL again, a circle."""

    location: str = ""

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        target = self.location or exchange.request.path
        await exchange.send(Answer(307, b"", {"Location": target}))
        return True


@dataclass
class EndlessRedirect(Fault):
    """Always on to another place."""

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        step = int((exchange.request.values("step") or ["0"])[0]) + 1
        location = f"{exchange.request.path}?step={step}"
        await exchange.send(Answer(307, b"", {"Location": location}))
        return True


@dataclass
class Hang(Fault):
    """Nothing any more: before the headers (-1), or after so many bytes of the body."""

    after: int = -1

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        if self.after >= 0:
            await _send_part(exchange, proper, self.after)
        await exchange.hang()
        return False


@dataclass
class Late(Fault):
    """The proper answer, after a while."""

    seconds: float

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        await asyncio.sleep(self.seconds)
        await exchange.send(proper)
        return True


@dataclass
class Drop(Fault):
    """The connection is reset: before the headers (-1), or after so many bytes of the body."""

    after: int = -1

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        if self.after >= 0:
            await _send_part(exchange, proper, self.after)
            # Give the bytes a chance to be read: a reset discards what is in flight.
            exchange.writer.close()
            return False
        exchange.abort()
        return False


@dataclass
class Endless(Fault):
    """A body without an end, and without a length."""

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        headers = {**proper.headers, "Transfer-Encoding": "chunked"}
        await exchange.send_head(200, headers)
        piece = b"{" + b" " * 65535
        while not exchange.gone.is_set():
            await exchange.send_raw(b"%x\r\n%s\r\n" % (len(piece), piece))
        return False


@dataclass
class Drip(Fault):
    """A few bytes of the body now and then."""

    pause: float
    piece: int = 1

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        await _send_part(exchange, proper, 0)
        for at in range(0, len(proper.body), self.piece):
            await exchange.send_raw(proper.body[at : at + self.piece])
            await asyncio.sleep(self.pause)
        return True


@dataclass
class Garbage(Fault):
    """Bytes that are no HTTP."""

    data: bytes = b"SSH-2.0-OpenSSH_9.2\r\n"

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        await exchange.send_raw(self.data)
        return False


@dataclass
class IgnoreRange(Fault):
    """The whole blob whatever range was asked for."""

    data: bytes

    async def answer(self, exchange: Exchange, proper: Answer) -> bool:
        await exchange.send(Answer(200, self.data, {"Content-Type": "application/octet-stream"}))
        return True


async def _send_part(exchange: Exchange, proper: Answer, length: int) -> None:
    headers = {"Content-Length": str(len(proper.body)), **proper.headers}
    await exchange.send_head(proper.status, headers)
    await exchange.send_raw(proper.body[:length])


@dataclass
class _Armed:
    fault: Fault
    path: str
    method: str
    left: int


class HostileRegistry:
    """Manifests, blobs, tags, tokens and uploads in memory. ``requests`` is all that came."""

    def __init__(
        self,
        *,
        auth: str = "",
        users: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.auth = auth
        self.users = users or {}
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.uploads: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.page = 1000
        self.token_lifetime = 300
        self.tokens: set[str] = set()
        self._scheme = "https" if tls else "http"
        self._faults: list[_Armed] = []
        self._server = RawServer(self._handle, tls)

    async def __aenter__(self) -> HostileRegistry:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.__aexit__(*exc)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self.address}"

    @property
    def connections(self) -> int:
        return self._server.connections

    def add_blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[str(digest)] = data
        return digest

    def add_manifest(
        self, repository: str, tag: str, raw: bytes, media_type: str = OCI_MANIFEST
    ) -> Digest:
        digest = Digest.of(raw)
        self.manifests[repository, tag] = self.manifests[repository, str(digest)] = raw, media_type
        return digest

    def fault(self, fault: Fault, *, path: str = "", method: str = "", times: int = -1) -> None:
        """Switch a fault on for requests whose path contains ``path``; -1: for ever."""
        self._faults.append(_Armed(fault, path, method, times))

    def count(self, path: str, method: str = "") -> int:
        """How many requests had ``path`` in theirs."""
        return sum(path in r.path and method in ("", r.method) for r in self.requests)

    async def _handle(self, exchange: Exchange) -> bool:
        request = exchange.request
        self.requests.append(request)
        proper = self._proper(request)
        for armed in self._faults:
            if armed.left and armed.path in request.path and armed.method in ("", request.method):
                armed.left -= 1
                return await armed.fault.answer(exchange, proper)
        await exchange.send(proper)
        return True

    def _proper(self, request: Request) -> Answer:
        if request.path == "/token":
            return self._token(request)
        if refused := self._refusal(request):
            return refused
        if request.path == "/v2/":
            return Answer(200, b"{}")
        if match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", request.path):
            return self._manifest(request, match[1], match[2])
        if match := re.fullmatch(r"/v2/(.+)/blobs/uploads/([^/]*)", request.path):
            return self._upload(request, match[1], match[2])
        if match := re.fullmatch(r"/v2/(.+)/blobs/([^/]+)", request.path):
            return self._blob(request, match[2])
        if match := re.fullmatch(r"/v2/(.+)/tags/list", request.path):
            return self._tags(request, match[1])
        return Answer(404, b"")

    def _refusal(self, request: Request) -> Answer | None:
        given = request.headers.get("authorization", "")
        if self.auth == "basic":
            import base64

            for user, password in self.users.items():
                pair = base64.b64encode(f"{user}:{password}".encode()).decode()
                if given == f"Basic {pair}":
                    return None
            challenge = 'Basic realm="hostile"'
        elif self.auth == "bearer":
            if given.removeprefix("Bearer ") in self.tokens:
                return None
            challenge = f'Bearer realm="{self.url}/token",service="hostile"'
            if match := re.match(r"/v2/(.+)/(manifests|blobs|tags)/", request.path):
                actions = "pull" if request.method in ("GET", "HEAD") else "pull,push"
                challenge += f',scope="repository:{match[1]}:{actions}"'
        else:
            return None
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        return Answer(401, body, {"WWW-Authenticate": challenge})

    def _token(self, request: Request) -> Answer:
        import base64

        given = request.headers.get("authorization", "")
        if given:
            name, _, password = base64.b64decode(given.split()[1]).decode().partition(":")
            if self.users.get(name) != password:
                body = b'{"details":"incorrect username or password"}'
                return Answer(401, body)
        token = f"token-{len(self.tokens)}"
        self.tokens.add(token)
        answer = {"token": token, "expires_in": self.token_lifetime}
        return Answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _manifest(self, request: Request, repository: str, reference: str) -> Answer:
        if request.method == "PUT":
            raw = request.body
            media_type = request.headers.get("content-type", "")
            self.add_manifest(repository, reference, raw, media_type)
            return Answer(201, b"", {"Docker-Content-Digest": str(Digest.of(raw))})
        if request.method == "DELETE":
            found = [key for key, value in self.manifests.items() if key[0] == repository
                     and str(Digest.of(value[0])) == reference]  # fmt: skip
            for key in found:
                del self.manifests[key]
            return Answer(202 if found else 404)
        if (repository, reference) not in self.manifests:
            return Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such"}]}')
        raw, media_type = self.manifests[repository, reference]
        return Answer(
            200, raw, {"Content-Type": media_type, "Docker-Content-Digest": str(Digest.of(raw))}
        )

    def _blob(self, request: Request, digest: str) -> Answer:
        data = self.blobs.get(digest)
        if data is None:
            return Answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"no such blob"}]}')
        headers = {"Content-Type": "application/octet-stream"}
        if match := re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", "")):
            start = int(match[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Answer(206, data[start:], headers)
        return Answer(200, data, headers)

    def _tags(self, request: Request, repository: str) -> Answer:
        every = sorted(tag for name, tag in self.manifests if name == repository and ":" not in tag)
        last = (request.values("last") or [""])[0]
        rest = [tag for tag in every if tag > last]
        page, more = rest[: self.page], rest[self.page :]
        headers = {"Content-Type": "application/json"}
        if more:
            target = f"/v2/{repository}/tags/list?last={page[-1]}&n={self.page}"
            headers["Link"] = f'<{target}>; rel="next"'
        return Answer(200, json.dumps({"name": repository, "tags": page}).encode(), headers)

    def _upload(self, request: Request, repository: str, name: str) -> Answer:
        if request.method == "POST":
            mount = request.values("mount")
            if mount and mount[0] in self.blobs:
                return Answer(201)
            name = f"upload{len(self.uploads)}"
            self.uploads[name] = b""
        elif name not in self.uploads:
            return Answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"gone"}]}')
        elif request.method == "PATCH":
            self.uploads[name] += request.body
        elif request.method == "PUT":
            data = self.uploads.pop(name) + request.body
            if request.values("digest") != [str(Digest.of(data))]:
                return Answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"wrong"}]}')
            self.add_blob(data)
            return Answer(201)
        elif request.method == "DELETE":
            del self.uploads[name]
            return Answer(204)
        size = len(self.uploads[name])
        headers = {
            "Location": f"/v2/{repository}/blobs/uploads/{name}?state=a%2Fb",
            "Range": f"0-{max(0, size - 1)}",
        }
        return Answer(204 if request.method == "GET" else 202, b"", headers)
