"""Transfers of blobs: reads that resume, and streamed writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from imageprep_client import errors
from imageprep_client.http.transport import Response
from imageprep_client.retry import Retrier
from imageprep_client.stores.base import CHUNK, Closing, Content

_CONTENT_RANGE = re.compile(
    r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)", re.IGNORECASE
)
#: Restarts of one reader from the beginning if the registry has no ranges.
#: Without a bound they could read the square of the size.
_RESTARTS = 2

#: Requests a blob from an offset to its end; None: without a range.
Open = Callable[[int | None], Response]


class Download(Closing):
    """Reads a blob of `size` bytes, and resumes after broken connections.

    The next request continues where the last one broke. The caller verifies
    the content.

    :param response: the response with the beginning, or that of `open_at`.
    :param open_at: requests the rest.
    :param offset: the first byte.
    :raises ServerFault: if the blob breaks again and again, and the registry
        gives no ranges.
    :raises SizeMismatch: if the blob is shorter.
    """

    def __init__(
        self,
        retrier: Retrier,
        what: str,
        size: int,
        response: Response,
        open_at: Open,
        offset: int = 0,
    ) -> None:
        self._retrier = retrier
        self._what = what
        self._size = size
        self._response = response
        self._open_at = open_at
        self._position = offset
        self._attempts = retrier.begin()
        self._failed_at = self._began_at = 0
        self._restarts = 0
        if offset:
            self._align()

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes, by default to the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        while True:
            try:
                data = self._response.read(size)
            except errors.Unreachable as error:
                if self._position >= self._size:
                    return b""
                self._resume(error)
                continue
            self._position += len(data)
            if data or not size or self._position >= self._size:
                return data
            self._resume(
                errors.Unreachable(
                    f"{self._what}: ends after {self._position} of"
                    f" {self._size} bytes"
                )
            )

    def close(self) -> None:
        self._response.close()

    def _resume(self, error: errors.StoreError) -> None:
        """Request the rest; give up after attempts without progress."""
        self._response.close()
        if self._position - self._failed_at >= CHUNK:
            self._attempts.progressed()
        if not self._attempts.failed:
            self._began_at = self._position
        self._failed_at = self._position
        while True:
            try:
                self._retrier.rest(self._what, self._attempts, error)
            except errors.Unreachable as broken:
                if broken.is_timeout or self._position != self._began_at:
                    raise
                raise self._breaks(broken) from broken
            self._response = self._open_at(self._position)
            try:
                self._align()
            except errors.Unreachable as again:
                self._response.close()
                error = again
                continue
            return

    def _breaks(self, broken: errors.Unreachable) -> errors.ServerFault:
        """The error of a blob whose responses all end after the same byte.

        distribution answers so for content that only its cache still has.
        """
        fault = errors.ServerFault(
            f"{self._what}: each response breaks off after {self._position} of"
            f" {self._size} bytes ({broken})",
            hint=broken.hint,
        )
        fault.isolated = True
        fault.given_up = broken.given_up
        return fault

    def _align(self) -> None:
        """Advance the new response to where the old one broke.

        The whole is requested in place of a range that is refused or of no
        use.
        """
        start = self._start()
        if start is None:
            self._response.close()
            self._response = self._open_at(None)
            start = self._start()
        if start == self._position:
            return
        self._restarts += 1
        if start is None or self._restarts > _RESTARTS:
            self._response.close()
            raise errors.ServerFault(
                f"{self._what}: breaks again and again, and the registry"
                " gives no ranges"
            )
        self._skip(self._position - start)

    def _start(self) -> int | None:
        """The first byte of the response, or None if it is of no use.

        :raises SizeMismatch: if there is none.
        """
        if self._response.status == 200:
            return 0
        given = self._response.headers.get("Content-Range", "").strip()
        if self._response.status == 206:
            match = _CONTENT_RANGE.fullmatch(given)
            start = int(match[1]) if match else None
            return start if start in (0, self._position) else None
        if given.rpartition("/")[2] == str(self._size):
            return None
        # There is no more: the blob is too short.
        self._response.close()
        raise errors.SizeMismatch(
            f"{self._what}: {self._position} bytes, expected {self._size}"
        )

    def _skip(self, count: int) -> None:
        while count:
            data = self._response.read(min(CHUNK, count))
            if not data:
                raise errors.Unreachable(
                    f"{self._what}: ends before what was read already"
                )
            count -= len(data)


def pieces(body: Iterable[bytes] | bytes, size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size`; the last may be shorter."""
    kept = bytearray()
    for part in [body] if isinstance(body, bytes) else body:
        kept += part
        while len(kept) >= size:
            yield bytes(kept[:size])
            del kept[:size]
    if kept:
        yield bytes(kept)


class Upload:
    """Verified content as the body of one request.

    The last part is sent only after the content was verified, so that no
    registry can store wrong content.

    :ivar failure: the exception of the content, or None.
    """

    def __init__(self, content: Content, size: int) -> None:
        self._content = content
        self._size = size
        self.failure: BaseException | None = None

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        left = self._size
        try:
            while data := self._content.read(CHUNK):
                left -= len(data)
                if left <= 0:
                    # The end of content that is not as expected is an error.
                    self._content.read(1)
                yield data
        except GeneratorExit:
            raise
        except BaseException as error:
            # The HTTP library could take it for an error of its own.
            self.failure = error
            raise
