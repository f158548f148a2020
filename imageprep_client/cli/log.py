"""The log file of a command, and log records in a printable form."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from imageprep_client import errors
from imageprep_client.errors import printable
from imageprep_client.observer import (
    BlobOutcome,
    Forwarding,
    ImageOutcome,
    Observer,
    Phase,
)

if TYPE_CHECKING:
    from imageprep_client.oci.descriptor import Descriptor

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_log = logging.getLogger(__name__)
#: The extra attribute of records whose text the other observer shows as well.
SHOWN = "shown_by_observer"
_SHOWN = {SHOWN: True}
_CHANGES = (ImageOutcome.COPIED, ImageOutcome.CHANGED, ImageOutcome.HOTFIXED)


class Log(Forwarding):
    """Logs the events of a run, and passes them to another observer.

    The levels are INFO and DEBUG, since the other observer shows what the user
    has to see.
    """

    def phase(self, phase: Phase, total: int) -> None:
        _log.info("phase %s: %d %s", phase.title, total, phase.unit)
        super().phase(phase, total)

    def image_started(self, image: str) -> None:
        _log.debug("%s: started", image)
        super().image_started(image)

    def image_finished(self, image: str, outcome: ImageOutcome) -> None:
        _log.info("%s: %s", image, outcome)
        super().image_finished(image, outcome)

    def bytes_expected(self, count: int) -> None:
        _log.info("bytes to move: %d", count)
        super().bytes_expected(count)

    def blob_finished(self, blob: Descriptor, outcome: BlobOutcome) -> None:
        _log.debug("%s, %d bytes: %s", blob.digest, blob.size, outcome)
        super().blob_finished(blob, outcome)

    def retrying(
        self, what: str, attempt: int, seconds: float, limit: int
    ) -> None:
        _log.info(
            "%s; attempt %d of %d in %.1f s",
            what,
            attempt + 1,
            limit,
            seconds,
            extra=_SHOWN,
        )
        super().retrying(what, attempt, seconds, limit)

    def waiting(self, what: str) -> None:
        _log.info("waiting: %s", what, extra=_SHOWN)
        super().waiting(what)

    def note(self, text: str) -> None:
        _log.info("%s", text, extra=_SHOWN)
        super().note(text)

    def warning(self, text: str) -> None:
        _log.info("warning: %s", text, extra=_SHOWN)
        super().warning(text)


class Work(Log):
    """A `Log` that knows whether anything was changed."""

    def __init__(self, inner: Observer) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._bytes = 0
        self._changed = False

    @property
    def began(self) -> bool:
        """Whether a failure is a partial one.

        Something was stored or made, or bytes were copied that no destination
        has refused since.
        """
        return self._changed or self._bytes > 0

    def bytes_copied(self, count: int) -> None:
        with self._lock:
            self._bytes += count
        super().bytes_copied(count)

    def blob_finished(self, blob: Descriptor, outcome: BlobOutcome) -> None:
        if outcome is not BlobOutcome.PRESENT:
            self._changed = True
        super().blob_finished(blob, outcome)

    def image_finished(self, image: str, outcome: ImageOutcome) -> None:
        if outcome in _CHANGES:
            self._changed = True
        super().image_finished(image, outcome)


class _Printable(logging.Formatter):
    """Another formatter's lines, with their control characters escaped."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        text = self.inner.format(record)
        return "\n".join(printable(line) for line in text.split("\n"))


class _Record(logging.Formatter):
    """One line for a record; lines of a traceback are marked as such."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        text = super().formatException(ei)
        return "\n".join(f"  | {printable(line)}" for line in text.split("\n"))


class _File(logging.StreamHandler):  # type: ignore[type-arg] # of text
    """Appends to a file until that fails, which is reported once."""

    def __init__(self, path: str) -> None:
        # Every `openstack` command imports this module.
        from imageprep_client.host import files

        super().__init__(files.append(path))
        self._path = path
        self._failed = False
        self.setFormatter(_Record(_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        if not self._failed:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._failed = True
        _log.warning(
            "%s: cannot be written: %s; the log ends here and the command"
            " goes on",
            self._path,
            errors.reason(error),
        )

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()
        super().close()


@contextlib.contextmanager
def to_file(path: str | None) -> Iterator[None]:
    """Append all that this package logs in the block to a file.

    :param path: None for no file; then records that no handler takes are
        dropped at once.
    :raises InvalidFile: when it cannot be written.
    """
    logger = logging.getLogger("imageprep_client")
    before = logger.level
    if path is None:
        # Records that no handler takes are not made: there are thousands.
        levels = [handler.level for handler in _handlers(logger)]
        heard = min(levels, default=logging.NOTSET)
        logger.setLevel(max(logger.getEffectiveLevel(), heard))
        try:
            yield
        finally:
            logger.setLevel(before)
        return
    handler = _File(path)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    """All handlers that records of a logger come to."""
    above: logging.Logger | None = logger
    while above:
        yield from above.handlers
        above = above.parent if above.propagate else None


@contextlib.contextmanager
def made_printable() -> Iterator[None]:
    """Escape the control characters of what all handlers write meanwhile."""
    changed = []
    for handler in logging.getLogger().handlers:
        before = handler.formatter
        if not isinstance(before, _Printable):
            handler.setFormatter(_Printable(before or logging.Formatter()))
            changed.append((handler, before))
    try:
        yield
    finally:
        for handler, before in changed:
            handler.setFormatter(before)
