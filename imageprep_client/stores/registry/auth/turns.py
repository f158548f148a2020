"""Turns of threads that want the same from a server."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator

from imageprep_client import errors
from imageprep_client.http.request_limit import RequestLimit


class Turn:
    """Lets one thread at a time do some work.

    If that fails for now, it has failed for the threads that wait as well: a
    server that is down is not asked by one after the other.

    :param stop: when it is set, no thread waits any longer.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._limit = RequestLimit(1, stop)
        self._failure: errors.StoreError | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Do the work within the block.

        :raises StoreError: if it failed for now while this thread waited.
        :raises OutOfTime: if the deadline of the thread passes meanwhile.
        """
        before = self._failure
        with self._limit:
            failure = self._failure
            if failure is not None and failure is not before:
                # Retries change the error that they get.
                raise copy.copy(failure)
            try:
                yield
            except errors.StoreError as error:
                if error.temporary:
                    self._failure = copy.copy(error)
                raise
