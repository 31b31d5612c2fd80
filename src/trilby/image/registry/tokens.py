"""Getting in: Basic and Bearer authentication, and the tokens of each scope.

Follows distribution's token authentication: a challenge names a realm, a service and scopes; the
realm gives a token for our credentials, or for none.
"""

from __future__ import annotations

import asyncio
import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from yarl import URL

from trilby.image.registry.answers import Failure
from trilby.image.registry.challenge import Challenge, parse_challenges
from trilby.image.registry.errors import BadResponse, RegistryUnauthorized
from trilby.image.registry.http import read_limited, shown

if TYPE_CHECKING:
    import aiohttp

    from trilby.image.registry.http import Http
    from trilby.image.registry.settings import ClientSettings, Clock

#: The specification's least lifetime of a token, in seconds.
LEAST_LIFETIME = 60.0
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class Login(msgspec.Struct, frozen=True):
    """What we know about ourselves at one registry; all empty: anonymous.

    ``identity_token`` is an OAuth2 refresh token; ``bearer`` is sent as it is, without exchange.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    bearer: str = ""

    @property
    def anonymous(self) -> bool:
        return not (self.username or self.password or self.identity_token or self.bearer)

    @property
    def basic(self) -> str:
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


class _TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


class _Token(msgspec.Struct, frozen=True):
    header: str
    expires: float


class Ticket(msgspec.Struct, frozen=True):
    """The Authorization header of one request (None: none), and whether it was just made."""

    header: str | None
    fresh: bool = False


class Authenticator:
    """The Authorization headers for one registry, kept per set of scopes."""

    def __init__(
        self,
        registry: str,
        login: Login,
        http: Http,
        settings: ClientSettings,
        clock: Clock,
        *,
        secure: bool,
    ) -> None:
        self._registry = registry
        self._login = login
        self._http = http
        self._settings = settings
        self._clock = clock
        self._secure = secure
        self._challenge: Challenge | None = None
        self._tokens: dict[frozenset[str], _Token] = {}
        self._locks: dict[frozenset[str], asyncio.Lock] = {}
        self._extra: dict[frozenset[str], frozenset[str]] = {}

    async def ticket(self, scopes: frozenset[str], doing: str) -> Ticket:
        """What to send now. Until the registry has asked for something that is nothing."""
        if self._login.bearer:
            return Ticket(f"Bearer {self._login.bearer}", fresh=True)
        challenge = self._challenge
        if challenge is None:
            return Ticket(None)
        if challenge.scheme == "basic":
            return Ticket(self._login.basic, fresh=True)
        wanted = scopes | self._extra.get(scopes, frozenset())
        async with self._locks.setdefault(wanted, asyncio.Lock()):
            token = self._tokens.get(wanted)
            if token is not None and token.expires > self._clock.now():
                return Ticket(token.header)
            token = await self._fetch(challenge, wanted, doing)
            self._tokens[wanted] = token
            return Ticket(token.header, fresh=True)

    def learn(self, headers: list[str], scopes: frozenset[str], used: Ticket) -> bool:
        """Take in the challenges of a 401; True if another try may go better."""
        challenge = self._choose(parse_challenges(headers))
        if challenge is None or self._login.bearer:
            return False
        first = used.header is None
        self._challenge = challenge
        if challenge.scheme == "basic":
            return first
        known = self._extra.get(scopes, frozenset())
        asked = frozenset(challenge.scopes) - scopes - known
        if asked:
            self._extra[scopes] = known | asked
            return True
        if first:
            return True
        # The token was rejected: once more with a new one, unless it is new already.
        self._forget(scopes | known, used)
        return not used.fresh

    def _forget(self, wanted: frozenset[str], used: Ticket) -> None:
        token = self._tokens.get(wanted)
        if token is not None and token.header == used.header:
            del self._tokens[wanted]

    def _choose(self, challenges: list[Challenge]) -> Challenge | None:
        for challenge in challenges:
            if challenge.scheme == "bearer" and self._realm_usable(challenge):
                return challenge
            if challenge.scheme == "basic" and self._login.username:
                return challenge
        return None

    def _realm_usable(self, challenge: Challenge) -> bool:
        try:
            realm = URL(challenge.realm)
        except ValueError:
            return False
        # Over plain HTTP anyone could read the password, or the token.
        schemes = ("https",) if self._secure else ("https", "http")
        return realm.scheme in schemes and bool(realm.host)

    async def _fetch(self, challenge: Challenge, scopes: frozenset[str], doing: str) -> _Token:
        realm = URL(challenge.realm)
        doing = f"{doing}: getting a token from {shown(realm)}"
        response = await self._ask(realm, challenge, sorted(scopes), doing)
        settings = self._settings
        if response.status != 200:
            failure = await Failure.of(
                response, doing=doing, limit=settings.error_limit, now=self._clock.now()
            )
            raise self._refusal(failure, doing)
        raw = await read_limited(
            response, settings.token_limit, doing=doing, timeout=settings.document_timeout
        )
        return self._read_token(raw, response, doing)

    async def _ask(
        self, realm: URL, challenge: Challenge, scopes: list[str], doing: str
    ) -> aiohttp.ClientResponse:
        login = self._login
        service = challenge.parameters.get("service", "")
        query = [("service", service)] if service else []
        if login.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", login.identity_token),
                ("client_id", self._settings.user_agent),
                *query,
                *([("scope", " ".join(scopes))] if scopes else []),
            ]
            body = urlencode(form).encode("ascii")
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return await self._http.send("POST", realm, doing=doing, headers=kind, body=body)
        headers = {}
        if login.username:
            query.append(("account", login.username))
            headers["Authorization"] = login.basic
        query += [("scope", scope) for scope in scopes]
        url = realm.with_query([*realm.query.items(), *query])
        return await self._http.send("GET", url, doing=doing, headers=headers)

    def _refusal(self, failure: Failure, doing: str) -> Exception:
        if failure.status in (400, 401, 403):
            text = failure.text
            if "unauthorized" not in text:
                text = f"unauthorized: {text}"
            return RegistryUnauthorized(
                f"{doing}: {text}",
                status=failure.status,
                hint="log in to the registry"
                if self._login.anonymous
                else "check user name and password, or log in again",
            )
        if failure.status == 404:
            return BadResponse(f"{doing}: there is no token server: {failure.text}", status=404)
        return failure.error(doing)

    def _read_token(self, raw: bytes, response: aiohttp.ClientResponse, doing: str) -> _Token:
        try:
            answer = msgspec.json.decode(raw, type=_TokenAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadResponse(
                f"{doing}: the answer ({response.content_type}) is no token: {error}"
            ) from error
        value = answer.token or answer.access_token or ""
        # Also keeps line ends out of our request headers.
        if not _VISIBLE.fullmatch(value):
            raise BadResponse(f"{doing}: the answer holds no usable token")
        lifetime = max(LEAST_LIFETIME, answer.expires_in or 0.0)
        # A token must outlive the request that carries it.
        return _Token(f"Bearer {value}", self._clock.now() + lifetime * 0.9 - 5.0)
