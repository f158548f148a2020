"""Requests to one registry: retries, redirects, authentication.

Streams are not repeated here: the copy engine reads them again.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Collection, Mapping

from imageprep_client import deadlines, errors
from imageprep_client.http import urls
from imageprep_client.http.connections import Body
from imageprep_client.http.request_limit import RequestLimit
from imageprep_client.http.timeouts import AdaptiveTimeout
from imageprep_client.http.transport import Response, Timeouts, Transports
from imageprep_client.retry import AT_SILENT_SERVERS, Retrier
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.auth.authenticator import Authenticator
from imageprep_client.stores.registry.endpoints.hosts import Endpoint, Hosts
from imageprep_client.stores.registry.repository import Request, RequestAhead
from imageprep_client.stores.registry.traits import RegistryTraits

USER_AGENT = "imageprep-client"
MAX_REDIRECTS = 5
#: Challenges that one request answers: a token may expire while it waits.
_ANSWERS = 3
#: Seconds that connections for requests ahead may take, and how many more
#: each request permits that uses one again.
_CONNECTING, _REUSED = 0.3, 0.001
#: Deletions are not repeated elsewhere.
_WRITES = frozenset({"POST", "PUT", "PATCH"})
#: Redirects that keep the method and the body.
_KEEPS_METHOD = frozenset({307, 308})
API = "/v2/"


class RegistrySession:
    """A physical registry, shared by the stores of its repositories.

    :ivar name: ``host[:port]`` of the server.
    :ivar base: URL that ``/v2/...`` is appended to.
    :ivar retrier: for what takes several requests.
    :ivar authenticator: the login of all its requests.
    :ivar traits: what its responses have shown so far.
    :param limit: bounds the requests that are sent to it at once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        hosts: Hosts,
        transports: Transports,
        retrier: Retrier,
        limit: RequestLimit,
        timeouts: Timeouts,
    ) -> None:
        self.name = endpoint.host
        self.base = endpoint.base
        self.retrier = retrier
        self.traits = RegistryTraits()
        self._kept: dict[tuple[str, str], tuple[Response, str | None]] = {}
        self._connecting = 0.0
        self._home = urls.origin(endpoint.base)
        self._known: set[urls.Origin] = set()
        self._transport = transports.of(endpoint.tls)
        self._limit = limit
        self._hosts = hosts
        self._transports = transports
        self._connect_timeout = timeouts.connect
        self._timeout = AdaptiveTimeout(timeouts.read)
        self.authenticator = Authenticator(
            endpoint.base,
            endpoint.host,
            hosts.credentials,
            self._send_token_request,
            self.retrier,
            hosts.token_servers(endpoint.host),
        )

    def keep(
        self, response: Response, authorization: str | None = None
    ) -> None:
        """Use this response for the next request of its URL.

        :param authorization: that of its request, which the next one has to
            have as well.
        """
        self._kept[response.method, response.url] = response, authorization
        self._known.add(self._home)

    def drop(self, response: Response) -> None:
        """Forget a kept response, unless a request used it."""
        key = response.method, response.url
        if self._kept.get(key, (None,))[0] is response:
            del self._kept[key]
            response.close()

    def send_ahead(self, request: Request) -> RequestAhead | None:
        """Send a GET, whose response the next `call` of it uses.

        The response is waited for with `receive`.

        :returns: None where nothing was sent: a proxy is in between, the
            registry wants fewer requests at once, or connecting takes so long
            that several threads should do it at the same time.
        :raises StoreError: if it cannot be sent.
        """
        if self._limit.is_reduced or self._connecting > _CONNECTING:
            return None
        self.retrier.wait()
        url = self._url(request)
        headers = {"User-Agent": USER_AGENT, **request.headers}
        header = self.authenticator.header(request.repository, request.scopes)
        if header:
            headers["Authorization"] = header
        seconds = self._timeout.of(f"GET {request.what}")
        timeout = (self._connect_timeout, deadlines.bounded(seconds))
        begin = time.monotonic()
        sent = self._transport.send_ahead(url, headers, timeout)
        if sent is None:
            return None
        took = time.monotonic() - begin
        self._connecting += -_REUSED if sent.reused else took
        return RequestAhead(request, sent, header, begin)

    def call(self, request: Request, expect: Collection[int]) -> Response:
        """Send a request, and repeat it until an expected response arrives.

        :returns: a response that the caller reads, discards or closes.
        :raises StoreError: for any other response, after all retries.
        """
        if not request.repeatable:
            self.retrier.wait()
            try:
                return self._attempt(request, expect)
            except errors.TooManyRequests as limited:
                # The caller that repeats it does not know how long to wait.
                self.retrier.hold(limited.retry_after)
                raise
        return self.retrier.retrying(
            request.what, lambda: self._attempt(request, expect)
        )

    def _attempt(self, request: Request, expect: Collection[int]) -> Response:
        begin = time.monotonic()
        try:
            response, header = self._authenticated(request)
            if response.status in expect:
                return response
            error = answers.from_response(
                response, request.what, request.unknown
            )
            if request.dispensable and response.redirected:
                raise errors.NotFound(str(error))
            if renewed := self._renewed(request, response, error, header):
                response = renewed
                if response.status in expect:
                    return response
                error = answers.from_response(
                    response, request.what, request.unknown
                )
        except errors.AccessDenied as denied:
            denied.hint = self.authenticator.explain(request.repository)
            raise
        error = self._limited(request, response, error, begin)
        if response.redirected:
            error = answers.of_other_server(error, response, self.name)
        elif isinstance(error, errors.AccessDenied) and not error.hint:
            error.hint = self.authenticator.explain(request.repository)
        raise error

    def _limited(
        self,
        request: Request,
        response: Response,
        error: errors.StoreError,
        begin: float,
    ) -> errors.StoreError:
        """The error; the registry gets fewer requests if it wants fewer."""
        wait = answers.retry_after(response.headers)
        if response.status == 503 and wait is not None:
            error = errors.TooManyRequests(
                str(error), retry_after=wait, status=response.status
            )
        if response.status in answers.LIMITED:
            self._limit.limited(begin)
            if isinstance(error, errors.ServerFault):
                error.served = self.traits.served[request.counted_as]
        return error

    def fails_alone(self, error: errors.ServerFault) -> bool:
        """Whether it still answers the request that it answered last."""
        if not error.temporary or isinstance(error, errors.TooManyRequests):
            return False
        if self.traits.is_failing:
            return False
        request = self.traits.answered or Request("GET", API, self.name)
        with contextlib.suppress(errors.StoreError):
            response, _ = self._authenticated(request)
            response.discard()
            if not answers.is_unwell(response):
                return True
        self.traits.note_failure()
        return False

    def _renewed(
        self,
        request: Request,
        response: Response,
        error: errors.StoreError,
        refused: str | None,
    ) -> Response | None:
        """The response to a new token, where the last one seems expired.

        ECR Public answers 400 to an expired token, without a challenge.
        """
        if (
            not isinstance(error, errors.AccessDenied)
            or response.status != 400
            or response.redirected
            or refused is None
        ):
            return None
        header = self.authenticator.renew(
            request.repository, request.scopes, refused
        )
        return None if header is None else self._again(request, header)

    def _again(self, request: Request, authorization: str) -> Response:
        """Send a request again with another Authorization."""
        if not isinstance(request.body, bytes | None):
            raise errors.ServerFault(
                f"{request.what}: the registry wants a new token for what"
                " was sent already"
            )
        return self._following(request, self._url(request), authorization)

    def _url(self, request: Request) -> str:
        url = request.url
        return self.base + url if url.startswith("/") else url

    def _authenticated(self, request: Request) -> tuple[Response, str | None]:
        """Send a request, and answer challenges of the registry.

        :returns: the response, and the Authorization that was sent.
        """
        url = self._url(request)
        ours = urls.same_origin(url, self.base)
        repository, scopes, header = request.repository, request.scopes, None
        if ours:
            header = self.authenticator.header(
                repository, scopes, login=request.personal
            )
        begin = time.monotonic()
        response = self._following(request, url, header)
        for _ in range(_ANSWERS):
            if response.redirected or not ours:
                break
            challenge = self.authenticator.challenge(
                response, repository, header
            )
            if challenge is None:
                break
            header = self.authenticator.answer(
                challenge, repository, scopes, header, begin
            )
            if header is None:
                break
            response.discard()
            begin, response = time.monotonic(), self._again(request, header)
            self.authenticator.answered(header, response)
        self.traits.note(request, response)
        return response, header

    def _following(
        self, request: Request, url: str, authorization: str | None
    ) -> Response:
        """Send it and follow redirects.

        A redirect to another scheme, host or port is not authenticated, and
        for HEAD it is the answer, as for a write whose body is a stream. Nor
        is one out of the API: Quay serves its storage below another path, and
        that refuses tokens of the registry.
        """
        headers = {"User-Agent": USER_AGENT, **request.headers}
        start = url
        for _ in range(MAX_REDIRECTS + 1):
            redirected = not urls.same_origin(url, start)
            api = url == start or API in url.partition("?")[0]
            if authorization and not redirected and api:
                headers["Authorization"] = authorization
            else:
                headers.pop("Authorization", None)
                authorization = None
            try:
                with self._slot(request):
                    response = self._send(
                        request.method,
                        url,
                        headers,
                        request.body,
                        request.what,
                    )
            except errors.Unreachable as error:
                if request.dispensable and redirected:
                    raise errors.NotFound(str(error)) from None
                raise
            self.authenticator.sent(authorization, response)
            response.redirected = redirected
            location = response.headers.get("Location")
            if not location or not _is_followed(request, response):
                return response
            target = urls.follow(url, location, f"{request.what}: redirect")
            if request.method == "HEAD" and not urls.same_origin(
                target, start
            ):
                # Storage elsewhere may have signed the URL for GET only.
                return response
            response.discard()
            url = target
        raise errors.ServerFault(
            f"{request.what}: over {MAX_REDIRECTS} redirects",
            hint="they may lead in a circle; look at the registry, or at a"
            " proxy in front of it that asks for a login",
            temporary=False,
        )

    def _slot(
        self, request: Request
    ) -> contextlib.AbstractContextManager[None]:
        """Count a request as under way until its answer begins.

        Streams do not count: the copy engine bounds their number.
        """
        if request.body is None or isinstance(request.body, bytes):
            return self._limit
        return contextlib.nullcontext()

    def _send_token_request(
        self, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        method = "GET" if body is None else "POST"
        headers = {"User-Agent": USER_AGENT, **headers}
        return self._send(method, url, headers, body, urls.shown(url))

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
        what: str,
    ) -> Response:
        """Send one request once.

        :param what: its object: each attempt at it has the same.
        """
        if kept := self._kept.pop((method, url), None):
            response, authorization = kept
            if headers.get("Authorization") == authorization:
                return response
            response.discard()
        transport = self._transport
        origin, server = urls.origin(url), urls.authority(url)
        if origin[1] != self._home[1]:
            transport = self._transports.of(self._hosts.tls_of(server))
        name = f"{method} {what}"
        factor = transport.timeout_factor(url)
        seconds = self._timeout.of(name, len(body or b""), factor)
        if origin not in self._known:
            self.retrier.check(server)
            # Other requests may have found that it is slow.
            seconds = max(seconds, self._timeout.of(server, factor=factor))
        timeout = (self._connect_timeout, deadlines.bounded(seconds))
        begin = time.monotonic()
        try:
            response = transport.send(method, url, headers, body, timeout)
        except errors.Unreachable as error:
            if error.is_timeout:
                # A server is not slow because this thread has no time left.
                deadlines.check(failure=error)
                self._timeout.exceeded(name, begin)
            if origin not in self._known:
                error.unknown = server
                if error.is_timeout:
                    # Each thread would wait as long as the others did.
                    waited = self._timeout.exceeded(server, begin)
                    error.given_up = waited >= AT_SILENT_SERVERS
                if origin != self._home:
                    error.hint = error.hint or (
                        f"{self.name} names this server, which has to be"
                        " reachable from here; if it is the registry itself or"
                        " its storage, correct the address that clients are"
                        " given"
                    )
            raise
        self._known.add(origin)
        response.authorization = headers.get("Authorization", "")
        self.adapt(response, what, begin)
        return response

    def adapt(self, response: Response, what: str, begin: float) -> None:
        """Adapt the timeouts to the response to a request sent at `begin`.

        :param what: as for `_send`.
        """
        self._timeout.answered(time.monotonic() - begin)
        response.timed_out = functools.partial(
            self._timeout.exceeded, f"{response.method} {what}", begin
        )

    def receive(self, ahead: RequestAhead) -> Response:
        """Wait for the response to a request that was sent ahead; keep it.

        :raises Unreachable: if there is none.
        :raises StoreError: if further requests are needed, which other
            threads can make at the same time.
        """
        what = ahead.request.what
        try:
            response = ahead.sent.response()
        except errors.Unreachable as silent:
            if silent.is_timeout:
                self._timeout.exceeded(f"GET {what}", ahead.begin)
            raise
        response.authorization = ahead.authorization or ""
        self.adapt(response, what, ahead.begin)
        if answers.is_unwell(response) or response.status in urls.REDIRECTS:
            error = answers.from_response(response, what)
            error = self._limited(ahead.request, response, error, ahead.begin)
            if isinstance(error, errors.TooManyRequests):
                self.retrier.hold(error.retry_after)
            raise error
        self.keep(response, ahead.authorization)
        return response


def _is_followed(request: Request, response: Response) -> bool:
    """Whether the same request can be sent where a response redirects it."""
    if request.reads:
        return response.status in urls.REDIRECTS
    return (
        request.method in _WRITES
        and response.status in _KEEPS_METHOD
        and isinstance(request.body, bytes | None)
    )
