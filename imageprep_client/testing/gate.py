"""The access to a registry in a test: anybody, users, tokens."""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
import threading
import time
from collections.abc import Iterable


class Open:
    """Lets everybody in."""

    def admits(self, authorization: str, scope: str) -> bool:
        """Whether a request with this header may do it.

        :param scope: such as ``repository:ns/name:pull``.
        """
        return True

    def lists(self, authorization: str, repository: str) -> bool:
        """Whether the catalog for this header has a repository."""
        return True

    def challenge(self, base: str, scope: str) -> str:
        """The WWW-Authenticate for whom it does not admit."""
        raise NotImplementedError

    def token(self, authorization: str, scopes: Iterable[str]) -> object:
        """The answer of the token server; None when it refuses."""
        return None


@dataclasses.dataclass
class Basic(Open):
    """Wants a user and a password with each request."""

    user: str
    password: str = dataclasses.field(repr=False)

    def admits(self, authorization: str, scope: str) -> bool:
        pair = f"{self.user}:{self.password}".encode()
        return authorization == f"Basic {base64.b64encode(pair).decode()}"

    def challenge(self, base: str, scope: str) -> str:
        return 'Basic realm="tests, of a registry"'


@dataclasses.dataclass
class Bearer(Open):
    """Wants a token from the token server, which wants the password.

    :ivar anonymous: whether anybody gets a token that allows to pull.
    :ivar lifetime: seconds that a token is good for.
    :ivar says_lifetime: what the answer says of that; None says nothing.
    :ivar realm: URL of the token server; by default ``/token`` here.
    :ivar key: what the answer calls the token.
    :ivar issued: how many tokens were given.
    """

    user: str = ""
    password: str = dataclasses.field(default="", repr=False)
    anonymous: bool = False
    lifetime: float = 300.0
    says_lifetime: float | None = 300.0
    realm: str = ""
    key: str = "token"
    issued: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[frozenset[str], float]] = {}

    def admits(self, authorization: str, scope: str) -> bool:
        with self._lock:
            granted, end = self._tokens.get(
                authorization.removeprefix("Bearer "), (frozenset(), 0.0)
            )
        return time.monotonic() < end and (not scope or scope in granted)

    def challenge(self, base: str, scope: str) -> str:
        realm = self.realm or f"{base}/token"
        text = f'Bearer realm="{realm}",service="registry, of tests"'
        return f'{text},scope="{scope}"' if scope else text

    def token(self, authorization: str, scopes: Iterable[str]) -> object:
        known = Basic(self.user, self.password).admits(authorization, "")
        if not known and not (self.anonymous and not authorization):
            return None
        granted = {
            f"{kind}:{name}:{action}"
            for scope in scopes
            for kind, name, actions in [scope.split(":", 2)]
            for action in actions.split(",")
            if known or action == "pull"
        }
        token = secrets.token_urlsafe(16)
        with self._lock:
            self.issued += 1
            self._tokens[token] = (
                frozenset(granted),
                time.monotonic() + self.lifetime,
            )
        answer: dict[str, object] = {self.key: token}
        if self.says_lifetime is not None:
            answer["expires_in"] = self.says_lifetime
        return answer

    def revoke(self, authorizations: Iterable[str] | None = None) -> None:
        """Refuse tokens from now on.

        :param authorizations: those with the tokens; None: all so far.
        """
        with self._lock:
            if authorizations is None:
                self._tokens.clear()
                return
            for authorization in authorizations:
                self._tokens.pop(authorization.removeprefix("Bearer "), None)


@dataclasses.dataclass
class Harbor(Open):
    """Admits and refuses as Harbor does.

    Anybody gets a token. That for a wrong password names no user, and permits
    nothing. The password is asked for after a token that is refused, and for
    the catalog.

    :ivar actions: those that the user may do.
    :ivar is_administrator: whether the user may read the catalog.
    :ivar logins: each Authorization with a password.
    """

    user: str
    password: str = dataclasses.field(repr=False)
    actions: frozenset[str] = frozenset({"pull", "push"})
    is_administrator: bool = True
    logins: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._tokens: dict[str, frozenset[str]] = {}
        self._request = threading.local()

    def admits(self, authorization: str, scope: str) -> bool:
        self._request.authorization = authorization
        action = scope.rpartition(":")[2]
        if authorization.startswith("Basic "):
            permitted = action in {*self.actions, ""} or (
                action == "*" and self.is_administrator
            )
            return self._knows(authorization) and permitted
        granted = self._tokens.get(authorization.removeprefix("Bearer "))
        return granted is not None and (not scope or scope in granted)

    def challenge(self, base: str, scope: str) -> str:
        if self._request.authorization or scope.startswith("registry:"):
            return 'Basic realm="harbor"'
        text = f'Bearer realm="{base}/token",service="harbor-registry"'
        return f'{text},scope="{scope}"' if scope else text

    def token(self, authorization: str, scopes: Iterable[str]) -> object:
        known = bool(authorization) and self._knows(authorization)
        granted = [
            (kind, name, action)
            for scope in scopes
            for kind, name, actions in [scope.split(":", 2)]
            for action in actions.split(",")
            if self.grants(known, name, action)
        ]
        claims = self.claims(known)
        claims["access"] = [
            {"type": kind, "name": name, "actions": [action]}
            for kind, name, action in granted
        ]
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode())
        token = f"e30.{payload.decode().rstrip('=')}.e30"
        self._tokens[token] = frozenset(map(":".join, granted))
        return {"token": token, "expires_in": 1800}

    def grants(self, known: bool, name: str, action: str) -> bool:
        """Whether the user, or else anybody, may do it with a repository."""
        return known and action in self.actions

    def claims(self, known: bool) -> dict[str, object]:
        """The claims of a token of the user, or else of anybody."""
        claims: dict[str, object] = {"jti": secrets.token_urlsafe(16)}
        if known:
            claims["sub"] = self.user
        return claims

    def revoke(self) -> None:
        """Refuse all tokens so far."""
        self._tokens = dict.fromkeys(self._tokens, frozenset())

    def _knows(self, authorization: str) -> bool:
        self.logins.append(authorization)
        return Basic(self.user, self.password).admits(authorization, "")
