"""Token servers: requests for tokens, and how long a token is used.

The protocol is in the "Token Authentication Specification" of the distribution
project.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import email.utils
import json
import math
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.request_limit import RequestLimit
from imageprep_client.http.transport import Response
from imageprep_client.retry import Retrier
from imageprep_client.stores.registry import description
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.auth.credentials import (
    RegistryCredential,
)
from imageprep_client.stores.registry.auth.turns import Turn

MAX_TOKEN = 1024 * 1024
#: The lifetime of a token without a declared one, by the specification.
_LIFETIME = 60.0
#: The part of its lifetime after which a token is replaced.
_FRESH = 0.8
#: The most requests for one token, those to where it redirects included.
_REQUESTS = 3
#: Servers refuse longer headers, and each repository has a token.
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
#: The requests for tokens at once: servers hash passwords slowly on purpose,
#: and one that is asked for more takes longer for each.
_AT_ONCE = 16
#: The refusals after which credentials are taken for wrong: a server may
#: refuse a token for one repository, and give one for another.
_WRONG_AT_MOST = 3
#: The claims of the specification.
_CLAIMS = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"}
)
#: The client ID for OAuth2.
_CLIENT = "imageprep-client"


class SendTokenRequest(Protocol):
    """Sends a GET, or a POST of a body; redirects are not followed."""

    def __call__(
        self, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response: ...


@dataclasses.dataclass(frozen=True, slots=True)
class TokenRequest:
    """A token that is wanted from a token server.

    :ivar realm: URL of the server.
    :ivar credential: whose token it is; None for that of anybody.
    """

    realm: str
    service: str
    scopes: tuple[str, ...]
    credential: RegistryCredential | None


@dataclasses.dataclass(frozen=True)
class Token:
    """A token.

    :ivar header: the Authorization with it.
    :ivar stale_at: the time from which on it is to be replaced, by the clock.
    :ivar since: the time when it was given.
    :ivar is_anonymous: whether its claims name no user.
    :ivar lacks: whether it says that it grants less than wanted.
    """

    header: str = dataclasses.field(repr=False)
    stale_at: float
    since: float
    is_anonymous: bool = False
    lacks: bool = False


class _BadLogin(errors.AccessDenied):
    """A token server does not know the user, or the password."""


class _Login:
    """The result of credentials at a token server so far.

    :ivar turn: of the one request that is under way until they are settled.
    :ivar settled: set once the server answered for good anything but that
        they are wrong.
    :ivar refusals: why they got no token, by the scopes asked for.
    :ivar ignored: the scopes for which they got an anonymous token that lacks
        some.
    :ivar unneeded: whether they got one that lacks none.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.settled = False
        self.refusals: dict[tuple[str, ...], str] = {}
        self.ignored: set[tuple[str, ...]] = set()
        self.unneeded = False

    @property
    def is_ignored(self) -> bool:
        """Whether the server is not asked with them any more."""
        return len(self.ignored) >= _WRONG_AT_MOST


class TokenServer:
    """Fetches the tokens for one registry.

    Credentials that are wrong (401) for a few repositories and got no token so
    far are not sent again: servers lock users with wrong passwords out. Harbor
    gives them an anonymous token instead; more of these are fetched without
    credentials. Where such a token is enough, as for public images, others are
    fetched without credentials first.

    :param host: of the registry, for messages.
    :param send: sends a request to a token server.
    :param retrier: tells threads that waited for others that the run ends.
    """

    def __init__(
        self,
        host: str,
        send: SendTokenRequest,
        retrier: Retrier,
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._send = send
        self._clock = clock
        self._retrier = retrier
        self._slots = RequestLimit(_AT_ONCE, retrier.stop)
        self._logins: dict[tuple[str, RegistryCredential], _Login] = {}

    def fetch(self, wanted: TokenRequest) -> Token:
        """Fetch a token with these scopes, which may be fewer than wanted.

        Threads take turns with credentials that are not settled.

        :raises StoreError: if it is refused, what comes is no token, or the
            run ends while others are waited for.
        :raises OutOfTime: if the deadline of the thread passes meanwhile.
        """
        if wanted.credential is None:
            return self._fetch(wanted)
        login = self._logins.setdefault(
            (wanted.realm, wanted.credential), _Login(Turn(self._retrier.stop))
        )
        if not login.settled:
            if token := self._anonymous(login, wanted):
                return token
            with login.turn.taken():
                if not login.settled:
                    return self._try(login, wanted)
        return self._fetch(wanted)

    def _anonymous(self, login: _Login, wanted: TokenRequest) -> Token | None:
        """The token of anybody, if credentials may be wrong and it will do."""
        if not (login.is_ignored or login.unneeded):
            return None
        try:
            token = self._fetch(dataclasses.replace(wanted, credential=None))
        except errors.StoreError as error:
            if login.is_ignored or error.temporary:
                raise
            return None
        return None if token.lacks and not login.is_ignored else token

    def _try(self, login: _Login, wanted: TokenRequest) -> Token:
        """Fetch a token with credentials that are not settled."""
        known = login.refusals.get(wanted.scopes)
        if not known and len(login.refusals) >= _WRONG_AT_MOST:
            known = next(iter(login.refusals.values()))
        if known:
            raise errors.AccessDenied(known)
        if enough := self._anonymous(login, wanted):
            return enough
        try:
            token = self._fetch(wanted)
        except _BadLogin as refusal:
            login.refusals[wanted.scopes] = str(refusal)
            raise
        except errors.StoreError as error:
            passing = error.temporary or isinstance(error, errors.OutOfTime)
            login.settled = not passing
            raise
        if not token.is_anonymous:
            login.settled = True
        elif token.lacks:
            login.ignored.add(wanted.scopes)
        elif login.unneeded:
            # Nobody gets this one: the server names no users at all.
            login.settled = True
        else:
            login.unneeded = True
        return token

    def _fetch(self, wanted: TokenRequest) -> Token:
        with self._slots:
            self._retrier.wait()
            response = self._request(wanted)
        if response.status != 200:
            error = answers.from_response(response, f"{self._host}: no token")
            if response.status == 401:
                error = _BadLogin(str(error), hint=error.hint)
            if isinstance(error, errors.NotFound | errors.Refused):
                error = errors.ServerFault(
                    str(error), temporary=False, status=response.status
                )
            raise error
        return self._read(response, wanted)

    def _request(self, wanted: TokenRequest) -> Response:
        credential = wanted.credential
        if credential and credential.is_identity:
            return self._refresh(wanted, credential.password)
        service = wanted.service
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in wanted.scopes]
        if credential:
            query.append(("account", credential.username))
        joint = "&" if urllib.parse.urlsplit(wanted.realm).query else "?"
        url = f"{wanted.realm}{joint}{urllib.parse.urlencode(query)}"
        headers = {"Authorization": credential.basic} if credential else {}
        return self._get(url, headers)

    def _get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Get a token; redirects on the server, or to its TLS, are followed.

        Any other redirect is the response, if it is safe.

        :raises ServerFault: for one that is not, or too many.
        """
        what = f"{self._host}: token server"
        for _ in range(_REQUESTS):
            response = self._send(url, headers)
            if response.status not in urls.REDIRECTS or not (
                location := response.headers.get("Location")
            ):
                return response
            location = urls.with_tls_of(url, location)
            target = urls.follow(url, location, what)
            secured = urls.origin(target)[:2] == ("https", urls.origin(url)[1])
            if not secured and not urls.same_origin(url, target):
                return response
            response.discard()
            url = target
        raise errors.ServerFault(
            f"{what}: redirects {_REQUESTS} times", temporary=False
        )

    def _refresh(self, wanted: TokenRequest, password: str) -> Response:
        """Refresh a token as in docker's "OAuth2 Token Authentication".

        The token is in the body, as queries are often logged.
        """
        form = {
            "grant_type": "refresh_token",
            "client_id": _CLIENT,
            "service": wanted.service,
            "scope": " ".join(wanted.scopes),
            "refresh_token": password,
        }
        return self._send(
            wanted.realm,
            {"Content-Type": "application/x-www-form-urlencoded"},
            urllib.parse.urlencode(form).encode(),
        )

    def _read(self, response: Response, wanted: TokenRequest) -> Token:
        try:
            document = json.loads(response.body(MAX_TOKEN))
            token = document.get("token") or document.get("access_token")
            token = token.strip()
            lifetime = _declared(document.get("expires_in"))
            lifetime = lifetime or _lifetime(token)
            age = _age(document.get("issued_at"), response)
        except errors.MALFORMED:
            # The response may contain a secret and is not quoted.
            token, lifetime, age = None, 0.0, 0.0
        if token is None or not _TOKEN.fullmatch(token):
            hint = description.page_hint(response)
            unusable = errors.ServerFault(
                f"{self._host}: token server {urls.shown(wanted.realm)} gave"
                " no usable token",
                hint=hint,
                temporary=hint is None,
            )
            # It answers; what it says seldom changes.
            unusable.isolated = True
            raise unusable
        if 0 < age < lifetime:
            lifetime -= age
        now = self._clock()
        stale_at = now + max(lifetime, 0.0) * _FRESH
        told = _told(token, wanted.scopes)
        return Token(f"Bearer {token}", stale_at, now, *told)


def _age(issued_at: str, response: Response) -> float:
    """The seconds since a token was issued, or 0.

    Satellite issues a token again. The clock is that of the server, as Pulp
    gives local times as if they were of UTC.
    """
    with contextlib.suppress(*errors.MALFORMED):
        issued = datetime.datetime.fromisoformat(issued_at)
        now = email.utils.parsedate_to_datetime(response.headers["Date"])
        return (now - issued).total_seconds()
    return 0.0


def _declared(expires_in: object) -> float:
    """The seconds that a server declares, or 0 if they make no sense."""
    with contextlib.suppress(*errors.MALFORMED):
        lifetime = float(expires_in)  # type: ignore[arg-type]
        if math.isfinite(lifetime):
            return lifetime
    return 0.0


def _lifetime(token: str) -> float:
    """The seconds that a token is valid for, if its server does not say.

    The tokens of Quay are JSON Web Tokens, valid for an hour.
    """
    try:
        claims = _claims(token)
        lifetime = float(claims["exp"] - claims["iat"])
    except errors.MALFORMED:
        return _LIFETIME
    return max(lifetime, _LIFETIME) if math.isfinite(lifetime) else _LIFETIME


def _told(token: str, scopes: Iterable[str]) -> tuple[bool, bool]:
    """Whether a token is anonymous, and grants less than these scopes.

    A JSON Web Token has a subject unless the client did not log in. Other
    claims than those of the specification may name somebody, too: GitLab has
    the name of a deploy token in ``user``.
    """
    try:
        claims = _claims(token)
        granted = {
            (entry["type"], entry["name"], action)
            for entry in claims["access"]
            for action in entry["actions"]
        }
        is_anonymous = not claims.get("sub") and claims.keys() <= _CLAIMS
    except errors.MALFORMED:
        return False, False
    for scope in scopes:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if any((kind, name, one) not in granted for one in actions.split(",")):
            return is_anonymous, True
    return is_anonymous, False


def _claims(token: str) -> Any:
    """The claims of a JSON Web Token, which is not verified."""
    return json.loads(base64.urlsafe_b64decode(f"{token.split('.')[1]}==="))
