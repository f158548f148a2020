"""Files fetched over HTTP, resumed where an earlier attempt broke off."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import re
import socket
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TypeVar

from imageprep_client import errors, retry
from imageprep_client.host import disk
from imageprep_client.http import urls
from imageprep_client.http.transport import Response, Timeouts, Transport
from imageprep_client.machine.sources.quarantine import QuarantinedFile
from imageprep_client.observer import Observer
from imageprep_client.retry import RetryPolicy

_T = TypeVar("_T")
_CHUNK = 1 << 20
_MAX_REDIRECTS = 5
_RANGE = re.compile(r"bytes (?P<start>[0-9]{1,18})-[0-9]{1,18}/[0-9*]{1,18}")
_WHOLE = re.compile(r"bytes \*/(?P<size>[0-9]{1,18})")
_POLICY = RetryPolicy(attempts=6, cap=10.0)
#: Reasons that a server which never answered does not begin to.
_PERMANENT = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        socket.EAI_NONAME,
        socket.EAI_NODATA,
    }
)


class Fetcher:
    """Fetches files by their URLs.

    :param limit: bytes of a file, at most.
    """

    def __init__(
        self, transport: Transport, observer: Observer, *, limit: int
    ) -> None:
        self._transport = transport
        self._observer = observer
        self._limit = limit
        self._answered = False

    def small(self, url: str, limit: int) -> bytes:
        """The whole of a small file.

        :raises NotFound: when there is none.
        :raises StoreError: when it cannot be fetched.
        """

        def read() -> bytes:
            response = self._send(url, {})
            _check(response, url)
            return response.body(limit)

        return self._retried(url, read, lambda: False)

    def into(self, url: str, file: QuarantinedFile, *, known: bool) -> None:
        """Fetch the missing part of a file.

        :param known: whether its digest is known: then the present part may
            be continued although the server names no version of it.
        :raises NotFound: when there is none.
        :raises StoreError: when it cannot be fetched; the present part stays.
        """
        before = file.size

        def advanced() -> bool:
            nonlocal before
            grown, before = file.size > before, file.size
            return grown

        self._retried(url, lambda: self._fetch(url, file, known), advanced)

    def _retried(
        self, url: str, work: Callable[[], _T], advanced: Callable[[], bool]
    ) -> _T:
        attempts = _POLICY.begin()
        while True:
            try:
                with self._named(urls.shown(url)):
                    return work()
            except errors.StoreError as error:
                if advanced():
                    attempts.progressed()
                attempts.rest(error, self._observer.retrying)

    @contextlib.contextmanager
    def _named(self, shown: str) -> Iterator[None]:
        """Give errors the URL, where they have only the host.

        They are permanent where a server never answered and will not do so.
        """
        try:
            yield
        except errors.Unreachable as error:
            told = str(error)
            if told.startswith(shown):
                raise
            hint = error.hint
            if isinstance(error, errors.Unverified):
                hint = "give the certificate of its authority with --cacert"
            elif hint:
                hint = "the server speaks plain HTTP: give an http:// URL"
            where = urllib.parse.urlsplit(shown).netloc
            never = not self._answered and error.errno in _PERMANENT
            raise type(error)(
                f"{shown}: {told.removeprefix(f'{where}: ')}",
                errno=error.errno,
                hint=hint,
                temporary=not never and retry.may_pass(error),
            ) from error

    def _fetch(self, url: str, file: QuarantinedFile, known: bool) -> None:
        if file.size and not (known or file.validator):
            file.clear()
        headers = {}
        if offset := file.size:
            headers["Range"] = f"bytes={offset}-"
            if file.validator:
                headers["If-Range"] = file.validator
        response = self._send(url, headers)
        if response.status == 416 and offset:
            whole = _WHOLE.fullmatch(response.headers.get("Content-Range", ""))
            response.discard()
            if whole and int(whole["size"]) == offset:
                return
            file.clear()
            raise errors.Unreachable(f"{urls.shown(url)}: has changed")
        _check(response, url)
        try:
            self._take(response, url, file, offset)
        finally:
            response.close()

    def _take(
        self, response: Response, url: str, file: QuarantinedFile, offset: int
    ) -> None:
        shown = urls.shown(url)
        if response.coding is not None:
            raise response.encoded()
        if response.status == 206:
            given = response.headers.get("Content-Range", "")
            match = _RANGE.fullmatch(given.strip())
            if match is None or int(match["start"]) != offset:
                raise errors.ServerFault(
                    f"{shown}: asked for bytes from {offset} on, got"
                    f" {given[:50]!r}",
                    temporary=False,
                )
        else:
            file.clear(_validator(response))
        left = response.length()
        self._check_room(shown, file, left)
        while data := response.read(_CHUNK):
            file.append(data)
            if left is not None:
                left -= len(data)
            if file.size > self._limit:
                raise self._too_large(shown)
        if left:
            raise errors.Unreachable(f"{shown}: ended {left} bytes early")

    def _check_room(
        self, shown: str, file: QuarantinedFile, left: int | None
    ) -> None:
        if left is None:
            return
        if file.size + left > self._limit:
            raise self._too_large(shown)
        free = disk.free_space(file.path.parent)
        if left > free:
            raise errors.NoSpace(
                f"{shown}: {left} more bytes are needed, and {free} are free"
                f" in {file.path.parent}",
                needed=left,
                free=free,
                hint="free some space there; the downloaded part is kept",
            )

    def _too_large(self, shown: str) -> errors.StoreError:
        return errors.StoreError(
            f"{shown}: has more than {self._limit} bytes",
            hint="allow more with --max-size",
        )

    def _send(self, url: str, headers: dict[str, str]) -> Response:
        timeout = Timeouts().pair
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._transport.send("GET", url, headers, None, timeout)
            self._answered = True
            if response.status not in urls.REDIRECTS:
                return response
            location = response.headers.get("Location", "")
            response.discard()
            url = urls.follow(url, location, f"{urls.shown(url)}: redirect")
        raise errors.ServerFault(
            f"{urls.shown(url)}: too many redirects", temporary=False
        )


def _validator(response: Response) -> str:
    """A validator of this version of a file, which would change with it."""
    etag = response.headers.get("ETag", "").strip()
    if len(etag) > 2 and etag.startswith('"') and etag.isprintable():
        return etag[:1000]
    modified = response.headers.get("Last-Modified", "").strip()
    date = response.headers.get("Date", "").strip()
    try:
        then, now = map(email.utils.parsedate_to_datetime, (modified, date))
        stable = (now - then).total_seconds() >= 60
    except (TypeError, ValueError):
        stable = False
    if not stable:
        # It may change again within the same second.
        return ""
    return modified


def _check(response: Response, url: str) -> None:
    """Raise the error of a response that is not the file."""
    status = response.status
    if status in (200, 206):
        return
    shown = f"{urls.shown(url)}: answered {status}"
    response.discard()
    if status in (404, 410):
        raise errors.NotFound(shown)
    if status in (401, 403):
        raise errors.AccessDenied(shown)
    if status == 429:
        raise errors.TooManyRequests(shown, status=status)
    raise errors.ServerFault(
        shown, status=status, temporary=status >= 500 or status == 408
    )
