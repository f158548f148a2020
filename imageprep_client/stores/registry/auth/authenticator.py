"""Authentication: challenges, and the recipients of credentials."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.transport import Response
from imageprep_client.retry import Retrier
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.auth.challenges import (
    Challenge,
    parse_challenges,
    wanted_scopes,
)
from imageprep_client.stores.registry.auth.credentials import (
    Credentials,
    RegistryCredential,
)
from imageprep_client.stores.registry.auth.passwords import Passwords
from imageprep_client.stores.registry.auth.tokens import (
    SendTokenRequest,
    Token,
    TokenRequest,
    TokenServer,
)
from imageprep_client.stores.registry.auth.turns import Turn

#: Statuses of requests without a login for what needs one.
_HIDING = frozenset({401, 403, 404})
#: Statuses of a token that is refused; 400 is that of ECR Public.
_REFUSED = frozenset({400, 401, 403})
#: Seconds in which a new token does not expire, if that is not known.
_NEW = 2.0


class Authenticator:
    """The credentials and tokens for one registry, shared by all threads.

    :param base: URL of the registry.
    :param host: its ``host[:port]``, the key of its credentials.
    :param send: sends a request to a token server.
    :param retrier: of the registry. Failures of the token server are no
        attempts at the request that wants the token.
    :param token_servers: URLs of token servers on other sites that the user
        trusts for this registry.
    """

    def __init__(
        self,
        base: str,
        host: str,
        credentials: Credentials,
        send: SendTokenRequest,
        retrier: Retrier,
        token_servers: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base = base
        self._host = host
        self._credentials = credentials
        self._send = send
        self._retrier = retrier
        self._token_servers = token_servers
        self._clock = clock
        self._server = TokenServer(host, send, retrier, clock)
        self._lock = threading.Lock()
        self._challenges: dict[str, Challenge] = {}
        self._latest: Challenge | None = None
        self._unknown_schemes = ""
        self._version_challenge: str | None = None
        self._checking = Turn(retrier.stop)
        self._passwords = Passwords(
            host, self._check, self._checked_version, retrier
        )
        self._tokens: dict[TokenRequest, Token] = {}
        # Those of them that no response has accepted so far.
        self._untried: set[str] = set()
        self._turns: dict[TokenRequest, Turn] = {}
        self._known: dict[str, RegistryCredential | None] = {}

    def header(
        self, repository: str, scopes: Sequence[str], *, login: bool = False
    ) -> str | None:
        """The Authorization to send after the first challenge of a registry.

        Repositories of one registry may have different token servers. For a
        repository without a challenge so far, the latest challenge of another
        is used; if its token server refuses, the registry will send its own.

        :param login: whether a user is logged in before any challenge of the
            request, if the version check wants that.
        """
        own = self._challenges.get(repository)
        if own is None and login and self._credential(repository):
            wanted = self._checked_version()
            return wanted and self.answer(wanted, repository, scopes, None)
        challenge = own or self._latest
        if challenge is None:
            return None
        if own is None:
            challenge = challenge.without_scope()
        try:
            return self._answer(challenge, repository, scopes, None)
        except errors.AccessDenied:
            if own is not None:
                raise
        except errors.ServerFault as error:
            if own is not None or error.status is None or error.status >= 500:
                raise
        return None

    def challenge(
        self, response: Response, repository: str, sent: str | None
    ) -> str | None:
        """The WWW-Authenticate to answer after a response, or None.

        A registry that some may use without a login may refuse others without
        a challenge, or hide what it has (404). Then the challenge of the
        version check counts, with which docker and podman begin.

        :param sent: the Authorization of the request.
        :raises StoreError: when the version check fails for now; the response
            is released.
        """
        header = response.headers.get("WWW-Authenticate", "")
        if response.status == 401 and (header or sent):
            return header
        if (
            sent
            or response.status not in _HIDING
            or self._credential(repository) is None
        ):
            return None
        try:
            return self._checked_version()
        except errors.StoreError:
            response.discard()
            raise

    def version_checked(self, response: Response) -> None:
        """Note the response of a version check, which is not sent again."""
        if response.status not in answers.TEMPORARY:
            self._version_challenge = (
                response.headers.get("WWW-Authenticate", "")
                if response.status == 401
                else ""
            )

    def password_realm(self) -> str:
        """The realm of the registry that a password is sent to, or empty."""
        challenge = self._challenges.get("")
        if challenge is None or challenge.scheme != "basic":
            return ""
        return challenge.parameters.get("realm", "")

    def is_anonymous(self) -> bool:
        """Whether the version check wanted a login, and there is none."""
        return bool(self._version_challenge) and self._credential("") is None

    def _checked_version(self) -> str | None:
        with self._checking.taken():
            if self._version_challenge is None:
                self._retrier.wait()
                check = self._check({})
                if check.status in answers.TEMPORARY:
                    raise answers.from_response(
                        check, f"{self._host}: version check"
                    )
                check.discard()
                self.version_checked(check)
        return self._version_challenge or None

    def _check(self, headers: Mapping[str, str]) -> Response:
        return self._send(f"{self._base}/v2/", headers)

    def answer(
        self,
        header: str,
        repository: str,
        scopes: Sequence[str],
        refused: str | None,
        sent_at: float = math.inf,
    ) -> str | None:
        """The Authorization that answers a challenge.

        :param header: its WWW-Authenticate.
        :param refused: the Authorization that was refused, or None.
        :param sent_at: when that was sent, by the clock.
        :returns: None if there is no other one.
        """
        challenges = {c.scheme: c for c in parse_challenges(header)}
        bearer, basic = challenges.get("bearer"), challenges.get("basic")
        credential = self._credential(repository)
        if credential is None or credential.is_identity:
            basic = None
        if bearer and not bearer.parameters.get("realm"):
            bearer = None
        own = self._challenges.get(repository) if repository else None
        if (
            own
            and own.scheme == "bearer"
            and refused
            and scopes
            and not bearer
        ):
            # Harbor offers the password after every token that it refuses.
            # Only its catalog wants that, and deletions, whose scope it does
            # not name to clients with a token. Nor does it name another scope
            # than that of the first request.
            own = self._challenges[repository] = own.without_scope()
            return self._answer(own, repository, scopes, refused, sent_at)
        if bearer:
            self._realm(bearer)
        chosen = bearer or basic
        if chosen is None:
            self._unknown_schemes = " or ".join(challenges)
            return None
        if chosen is basic and refused and self._is_ignored(credential):
            return None
        self._challenges[repository] = self._latest = chosen
        try:
            return self._answer(chosen, repository, scopes, refused, sent_at)
        except errors.StoreError:
            if (
                chosen is basic
                or basic is None
                or self._is_ignored(credential)
            ):
                raise
            # Frameworks of web servers offer tokens that nobody issues.
            self._challenges[repository] = self._latest = basic
            return self._answer(basic, repository, scopes, refused)

    def renew(
        self, repository: str, scopes: Sequence[str], refused: str
    ) -> str | None:
        """The Authorization to send after a refusal without a challenge.

        :param refused: the Authorization that was refused.
        :returns: None if there is no other one.
        """
        challenge = self._challenges.get(repository) or self._latest
        if challenge is None:
            return None
        return self._answer(challenge, repository, scopes, refused)

    def sent(self, authorization: str | None, response: Response) -> None:
        """Note the response to a request with this Authorization.

        A token that was accepted may have expired when it is refused. A new
        one that was not gives no access, and another would not either.
        """
        if authorization and response.status not in _REFUSED:
            self._untried.discard(authorization)

    def answered(self, authorization: str, response: Response) -> None:
        """Note the response to a request that answers a challenge."""
        refused = response.status == 401 or answers.is_unwell(response)
        if authorization.startswith("Basic ") and not refused:
            self._passwords.accepted(authorization)

    def explain(self, repository: str) -> str:
        """A hint for an access error: the credentials that were used."""
        credential = self._credential(repository)
        if credential is None:
            others = self._credentials.other_ports(self._host)
            but = f", only for {', '.join(sorted(others))}" if others else ""
            return (
                f"no credentials for {self._host} were found{but}; log in with"
                f" podman login {self._host}, or give them with --authfile or"
                " ContainerImageRegistryCredentials"
            )
        of = "an identity token"
        if not credential.is_identity:
            of = f"the credentials of {credential.username}"
        of = f"{of} for {self._host} from {credential.source}"
        challenge = self._challenges.get(repository) or self._latest
        if challenge is None:
            way = self._unknown_schemes
            why = (
                f"takes a login only by {way}" if way else "asks for no login"
            )
            return f"did not send {of}: the registry {why}"
        bearer = challenge.scheme == "bearer"
        realm = self._realm(challenge) if bearer else ""
        hint = f"used {of}, which may be wrong"
        if bearer and not self._may_have(realm, credential, repository):
            scheme, server, _ = urls.origin(realm)
            why = "is on another site"
            if scheme == "http":
                why = "is another host without TLS"
            hint = (
                f"the credentials for {self._host} were not given to its token"
                f" server {server}, which {why}; if that is right, log in to"
                f" {urls.authority(realm)} with the same credentials, or name"
                f" it with --token-server {self._host}={urls.shown(realm)}"
            )
        elif self._is_ignored(credential):
            hint = (
                f"used {of}, which are probably wrong: the token that they got"
                " names no user"
            )
        elif self._tokens_of(credential):
            hint = f"used {of}, which got a token and may lack the permission"
        elif not bearer:
            hint += " or lack the permission"
        return f"{hint}; some registries answer so for what does not exist"

    def _tokens_of(self, credential: RegistryCredential | None) -> list[Token]:
        return [
            token
            for key, token in list(self._tokens.items())
            if credential is not None and key.credential == credential
        ]

    def _is_ignored(self, credential: RegistryCredential | None) -> bool:
        """Whether all tokens for credentials are anonymous, and one lacks."""
        tokens = self._tokens_of(credential)
        return any(token.lacks for token in tokens) and all(
            token.is_anonymous for token in tokens
        )

    def _credential(self, repository: str) -> RegistryCredential | None:
        # Credential helpers are programs, which run once.
        with self._lock:
            if repository not in self._known:
                self._known[repository] = self._credentials.find(
                    self._host, repository
                )
            return self._known[repository]

    def _answer(
        self,
        challenge: Challenge,
        repository: str,
        scopes: Sequence[str],
        refused: str | None,
        sent_at: float = math.inf,
    ) -> str | None:
        """The Authorization for a challenge, or None if there is no other.

        A token that expired may be given again: Satellite prolongs it, maybe
        after the refused request was sent.
        """
        credential = self._credential(repository)
        if challenge.scheme == "basic":
            if credential is None:
                return None
            if credential.basic == refused:
                self._passwords.refused(refused)
                return None
            if any(
                not one.is_anonymous for one in self._tokens_of(credential)
            ):
                self._passwords.accepted(credential.basic)
            is_own = credential == self._credential("")
            usable = self._passwords.usable(credential.basic, is_own)
            return credential.basic if usable else None
        realm = self._realm(challenge)
        if credential and not self._may_have(realm, credential, repository):
            credential = None
        wanted = TokenRequest(
            realm,
            challenge.parameters.get("service", ""),
            wanted_scopes(scopes, challenge.parameters.get("scope", "")),
            credential,
        )
        token, now = self._tokens.get(wanted), self._clock()
        # Most requests have a token that is good.
        if token and token.header != refused and token.stale_at > now:
            return token.header
        with self._lock:
            turn = self._turns.setdefault(wanted, Turn(self._retrier.stop))

        def fetch() -> str:
            token = self._retrier.retrying(
                f"{self._host}: token", lambda: self._server.fetch(wanted)
            )
            if old := self._tokens.get(wanted):
                self._untried.discard(old.header)
            self._tokens[wanted] = token
            self._untried.add(token.header)
            return token.header

        with turn.taken():
            token, now = self._tokens.get(wanted), self._clock()
            if token is None:
                first = fetch()
                return first if first != refused else None
            again = token.header == refused and token.since <= sent_at
            is_new = now - token.since < _NEW
            if again and is_new and token.header in self._untried:
                return None
            if again or token.stale_at <= now:
                return fetch()
            return token.header

    def _may_have(
        self, realm: str, credential: RegistryCredential, repository: str
    ) -> bool:
        """Whether a token server may receive the credentials of this registry.

        It has to be on the site of the registry, to be named in an option or a
        file of the user, or to have the same credentials. A registry could
        otherwise obtain tokens for other services.
        """
        if urls.may_have_credentials(self._base, realm):
            return True
        if urls.origin(realm)[0] != "https":
            return False
        named = {*self._token_servers, credential.token_server}
        if any(urls.same_origin(url, realm) for url in named if url):
            return True
        other = self._credentials.find(urls.authority(realm), repository)
        return other is not None and (
            (other.username, other.password, other.is_identity)
            == (
                credential.username,
                credential.password,
                credential.is_identity,
            )
        )

    def _realm(self, challenge: Challenge) -> str:
        """The URL of the token server, checked against the registry's."""
        try:
            return urls.follow(
                f"{self._base}/v2/",
                urls.with_tls_of(self._base, challenge.parameters["realm"]),
                f"{self._host}: token realm",
            )
        except errors.ServerFault as error:
            error.hint = (
                f"{self._host} names this token server: correct the external"
                " address in its settings, such as external_url of Harbor"
            )
            raise
