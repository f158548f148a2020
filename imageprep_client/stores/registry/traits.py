"""Facts about a registry that its responses have shown."""

from __future__ import annotations

import time
from collections import Counter

from imageprep_client.http.transport import Response
from imageprep_client.stores.registry import description
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.repository import Request

#: How many blobs HEAD is asked for to learn whether mounts find all blobs.
_LOOKS = 8
#: Seconds for which a registry counts as one that fails as a whole.
_FAILING = 1.0


class RegistryTraits:
    """The facts that all requests to one registry learn and use.

    Threads share them without a lock: a fact may be learned twice, for which
    a request too many is sent, and a count may lack a few.

    :ivar answers_head: whether HEAD tells of "blobs", "manifests", if known.
    :ivar keeps_signatures: whether a response said so.
    :ivar mounts_own: whether a repository mounts its own blobs, if known.
    :ivar body_limit: the size of chunks after a 413; None before.
    :ivar answered: the last request for no blob that it answered, if any.
    :ivar served: how many requests it took, by `Request.counted_as`.
    """

    def __init__(self) -> None:
        self.answers_head: dict[str, bool] = {}
        self.keeps_signatures = False
        self.mounts_own: bool | None = None
        self.body_limit: int | None = None
        self.answered: Request | None = None
        self.served: Counter[tuple[str, bool]] = Counter()
        self._looks = _LOOKS
        self._failing_until = 0.0

    def note(self, request: Request, response: Response) -> None:
        """Learn from a response whatever its request was for."""
        self.keeps_signatures |= description.SIGNATURES in response.headers
        if not answers.is_unwell(response):
            self.served[request.counted_as] += 1
            if request.is_small:
                self.answered = request

    def look(self) -> None:
        """Count a HEAD for a blob that was not mounted from its repository.

        Where none of the first few finds a blob, mounts find all of them.
        """
        if self.mounts_own is None:
            self._looks -= 1
            if self._looks <= 0:
                self.mounts_own = True

    def note_failure(self) -> None:
        """Note that it answers nothing at present."""
        self._failing_until = time.monotonic() + _FAILING

    @property
    def is_failing(self) -> bool:
        """Whether it answered nothing a moment ago."""
        return time.monotonic() < self._failing_until
