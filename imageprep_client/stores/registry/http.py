"""Requests to one registry: retries, redirects, authentication.

Whatever can be sent again is tried again here. What cannot, a stream, is
fetched again by the engine that copies it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.window import Window
from imageprep_client.http.wire import Body, Timeout
from imageprep_client.observer import Observer
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.auth import Authenticator
from imageprep_client.stores.registry.hosts import TLS, Endpoint, Hosts
from imageprep_client.stores.registry.transport import Response, Transport

USER_AGENT = "imageprep-client"
MAX_REDIRECTS = 5
#: How often one request answers a challenge: a token that is fresh may still
#: end while other requests are in its way.
_ANSWERS = 3
#: How often something is tried that is as likely to stay as it is: a name
#: that may be mistyped, a registry that nothing has been heard of yet.
_FEW_ATTEMPTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAFE = frozenset({"GET", "HEAD"})

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When something that failed for now is tried again.

    :ivar attempts: how often something is tried, the first included. Where
        three of ten answers are faults, five would fail some of a thousand
        requests.
    :ivar base: seconds before the second attempt; doubled for each next.
    :ivar cap: no pause is longer, but for what a registry asks for.
    :ivar patience: a registry that asks for a longer pause is given up.
    """

    attempts: int = 12
    base: float = 0.5
    cap: float = 20.0
    patience: float = 300.0

    @property
    def hasty(self) -> RetryPolicy:
        """The same for what will hardly get better."""
        return dataclasses.replace(
            self, attempts=min(self.attempts, _FEW_ATTEMPTS)
        )

    def pause(self, attempt: int, error: errors.StoreError) -> float | None:
        """Seconds to wait after this attempt, None to give up.

        :param attempt: counted from 1.
        """
        attempts = self.hasty.attempts if error.doubtful else self.attempts
        if not error.temporary or attempt >= attempts:
            return None
        limit = min(self.cap, self.base * 2.0 ** (attempt - 1))
        # Jitter spreads the load; no secret hangs on it.
        pause = random.uniform(limit / 2, limit)  # noqa: S311
        asked = getattr(error, "retry_after", None)
        if asked is None:
            return pause
        return None if asked > self.patience else max(asked, pause)


#: For dry runs: an answer now or none.
NO_RETRIES = RetryPolicy(attempts=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, and for each piece of an answer."""

    connect: float = 10.0
    read: float = 60.0

    @property
    def pair(self) -> Timeout:
        return (self.connect, self.read)


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a registry.

    :ivar url: absolute, or a path below the base of the registry.
    :ivar what: the object, as messages name it.
    :ivar unknown: what a 404 means.
    :ivar repository: whose credentials are used.
    :ivar scopes: what a token must allow.
    :ivar repeatable: whether it may be sent again; a stream may not.
    """

    method: str
    url: str
    what: str
    repository: str = ""
    scopes: Sequence[str] = ()
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes | Body | None = None
    unknown: str = ""
    repeatable: bool = True


class Transports:
    """One `Transport` for each TLS policy, made when it is first needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._transports: dict[TLS, Transport] = {}

    def of(self, tls: TLS) -> Transport:
        """The transport of this policy."""
        with self._lock:
            if tls not in self._transports:
                self._transports[tls] = Transport(tls, self._size)
            return self._transports[tls]

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for transport in self._transports.values():
                transport.close()


class Retrier:
    """Tries again by one policy; all workers of one registry share it.

    :param stop: when it is set, nobody waits any longer.
    """

    def __init__(
        self, policy: RetryPolicy, observer: Observer, stop: threading.Event
    ) -> None:
        self._policy = policy
        self._observer = observer
        self._stop = stop
        self._held_until = 0.0

    @property
    def is_held(self) -> bool:
        """Whether the registry's rate limit lets nobody ask now."""
        return self._held_until > time.monotonic()

    def retrying(self, what: str, work: Callable[[], _T]) -> _T:
        """Do the work again while it fails with temporary errors.

        :param what: what the observer is told.
        :raises StoreError: the last one, or when the run ends.
        """
        attempt = 0
        while True:
            self.wait()
            try:
                return work()
            except errors.StoreError as error:
                attempt += 1
                self.rest(what, attempt, error)

    def rest(self, what: str, attempt: int, error: errors.StoreError) -> None:
        """Wait before the next attempt, or raise the error.

        Where the registry limits the rate, all its users wait.

        :param attempt: how many failed, this one included.
        """
        pause = self._policy.pause(attempt, error)
        if pause is None:
            raise error
        self._observer.retrying(what, attempt, pause)
        if isinstance(error, errors.TooManyRequests):
            self.hold(pause)
        self.wait(pause)

    def hold(self, seconds: float | None) -> None:
        """Let all users of the registry wait, as long as is sensible."""
        if seconds is not None and seconds <= self._policy.patience:
            end = time.monotonic() + seconds
            self._held_until = max(self._held_until, end)

    def wait(self, seconds: float = 0.0) -> None:
        """Wait that long, and until the registry's rate limit allows more.

        :raises StoreError: when the run ends in the meantime.
        """
        end = time.monotonic() + seconds
        while (left := max(end, self._held_until) - time.monotonic()) > 0:
            if self._stop.wait(left):
                break
        if self._stop.is_set():
            raise errors.StoreError("given up: the run ends")


class Registry:
    """One physical registry, as all its repositories' stores share it.

    :ivar name: ``host[:port]`` of the server.
    :ivar base: URL that ``/v2/...`` is appended to.
    :ivar retrier: for what takes several requests.
    :param window: how many requests are sent to it at once.
    :ivar lists_referrers: False once it was found to have no API for them.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        hosts: Hosts,
        transports: Transports,
        retrier: Retrier,
        window: Window,
        timeouts: Timeouts,
    ) -> None:
        self.name = endpoint.host
        self.base = endpoint.base
        self.retrier = retrier
        self.lists_referrers = True
        self._answered: dict[tuple[str, str], Response] = {}
        self._tls = endpoint.tls
        self._window = window
        self._hosts = hosts
        self._transports = transports
        self._timeouts = timeouts.pair
        self._authenticator = Authenticator(
            endpoint.base,
            endpoint.host,
            hosts.credentials,
            self._ask,
        )

    def keep(self, response: Response) -> None:
        """Give this answer to who asks for it next."""
        self._answered[response.method, response.url] = response

    def call(self, request: Request, expect: Collection[int]) -> Response:
        """Send it until one of the expected answers comes.

        :returns: a response that the caller reads, discards or closes.
        :raises StoreError: for any other answer, after all retries.
        """
        if not request.repeatable:
            self.retrier.wait()
            try:
                return self._attempt(request, expect)
            except errors.TooManyRequests as limited:
                # Who sends it again will not know how long to wait.
                self.retrier.hold(limited.retry_after)
                raise
        return self.retrier.retrying(
            request.what, lambda: self._attempt(request, expect)
        )

    def _attempt(self, request: Request, expect: Collection[int]) -> Response:
        begin = time.monotonic()
        try:
            response = self._authenticated(request)
        except errors.AccessDenied as denied:
            denied.hint = self._authenticator.explain(request.repository)
            raise
        if response.status in expect:
            return response
        error = answers.from_response(response, request.what, request.unknown)
        wait = answers.retry_after(response.headers)
        if response.status == 503 and wait is not None:
            error = errors.TooManyRequests(str(error), retry_after=wait)
        if isinstance(error, errors.TooManyRequests):
            self._window.limited(begin)
        if isinstance(error, errors.AccessDenied) and not response.redirected:
            error.hint = self._authenticator.explain(request.repository)
        raise error

    def _authenticated(self, request: Request) -> Response:
        """Send it, and again when the registry asks who we are."""
        url = request.url
        if url.startswith("/"):
            url = self.base + url
        ours = urls.same_origin(url, self.base)
        header = None
        if ours:
            header = self._authenticator.header(
                request.repository, request.scopes
            )
        response = self._following(request, url, header)
        for _ in range(_ANSWERS):
            if response.status != 401 or response.redirected or not ours:
                break
            challenge = response.headers.get("WWW-Authenticate", "")
            header = self._authenticator.answer(
                challenge, request.repository, request.scopes, header
            )
            if header is None:
                break
            response.discard()
            if not isinstance(request.body, bytes | None):
                raise errors.ServerFault(
                    f"{request.what}: the registry wants a new token for what"
                    " was sent already"
                )
            response = self._following(request, url, header)
        return response

    def _following(
        self, request: Request, url: str, authorization: str | None
    ) -> Response:
        """Send it and follow redirects; those are never authenticated when
        they lead to another scheme, host or port.
        """
        headers = {"User-Agent": USER_AGENT, **request.headers}
        start = url
        for _ in range(MAX_REDIRECTS + 1):
            if authorization and urls.same_origin(url, start):
                headers["Authorization"] = authorization
            else:
                headers.pop("Authorization", None)
                authorization = None
            with self._place(request):
                response = self._send(
                    request.method, url, headers, request.body
                )
            if response.status not in _REDIRECTS:
                response.redirected = not urls.same_origin(url, start)
                return response
            location = response.headers.get("Location")
            if request.method not in _SAFE or not location:
                return response
            response.discard()
            url = urls.follow(url, location, f"{request.what}: redirect")
        raise errors.ServerFault(
            f"{request.what}: over {MAX_REDIRECTS} redirects"
        )

    def _place(
        self, request: Request
    ) -> contextlib.AbstractContextManager[None]:
        """A place among the requests under way, until the answer begins.

        Streams take long whatever the registry does, and who makes them
        bounds their number.
        """
        if isinstance(request.body, bytes | None):
            return self._window.place(request.method)
        return contextlib.nullcontext()

    def _ask(
        self, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        method = "GET" if body is None else "POST"
        headers = {"User-Agent": USER_AGENT, **headers}
        return self._send(method, url, headers, body)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
    ) -> Response:
        if answer := self._answered.pop((method, url), None):
            return answer
        _, host, port = urls.origin(url)
        _, home, _ = urls.origin(self.base)
        tls = self._tls
        if host != home:
            authority = f"[{host}]" if ":" in host else host
            if port not in (80, 443):
                authority += f":{port}"
            tls = self._hosts.tls_of(authority)
        transport = self._transports.of(tls)
        return transport.send(method, url, headers, body, self._timeouts)


def probe(
    endpoint: Endpoint,
    transports: Transports,
    timeouts: Timeouts,
    first: Request | None = None,
) -> Response | None:
    """What a registry answers at this endpoint; None when none does.

    Nothing secret is sent. Servers of TLS say 400 to a plain request, and
    web servers redirect it: neither is a registry.

    :param first: a GET or HEAD to ask with, so that its answer need not be
        asked for again; otherwise it is the distribution API's own question.
    :raises Unreachable: when nobody is there.
    """
    asked = first or Request("GET", "/v2/", endpoint.host)
    response = transports.of(endpoint.tls).send(
        asked.method,
        f"{endpoint.base}{asked.url}",
        {"User-Agent": USER_AGENT, **asked.headers},
        None,
        (min(timeouts.connect, 3.0), min(timeouts.read, 10.0)),
    )
    no_registry = response.status == 400 or response.status in _REDIRECTS
    if no_registry and first is not None:
        # Some say so of what was asked for, and only of that.
        no_registry = probe(endpoint, transports, timeouts) is None
    if no_registry or first is None:
        response.discard()
    return None if no_registry else response
