"""A log of a run: what happened when, line by line."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imageprep_client.observer import Observer

if TYPE_CHECKING:
    from imageprep_client.oci.descriptor import Descriptor

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
_log = logging.getLogger(__name__)


class Log(Observer):
    """Logs what a run does, and tells another observer.

    Levels are INFO and DEBUG: what the user has to see now is the other
    observer's to show.
    """

    def __init__(self, inner: Observer) -> None:
        self._inner = inner

    def phase(self, name: str, total: int) -> None:
        _log.info("phase %s: %d", name, total)
        self._inner.phase(name, total)

    def image_started(self, image: str) -> None:
        _log.debug("%s: started", image)
        self._inner.image_started(image)

    def image_finished(self, image: str, outcome: str) -> None:
        _log.info("%s: %s", image, outcome)
        self._inner.image_finished(image, outcome)

    def bytes_expected(self, count: int) -> None:
        _log.info("bytes to move: %d", count)
        self._inner.bytes_expected(count)

    def bytes_copied(self, count: int) -> None:
        self._inner.bytes_copied(count)

    def blob_finished(self, blob: Descriptor, how: str) -> None:
        _log.debug("%s, %d bytes: %s", blob.digest, blob.size, how)
        self._inner.blob_finished(blob, how)

    def retrying(self, what: str, attempt: int, seconds: float) -> None:
        _log.info("%s; attempt %d in %.1f s", what, attempt + 1, seconds)
        self._inner.retrying(what, attempt, seconds)

    def waiting(self, what: str) -> None:
        _log.info("waiting: %s", what)
        self._inner.waiting(what)

    def note(self, text: str) -> None:
        _log.info("%s", text)
        self._inner.note(text)

    def warning(self, text: str) -> None:
        _log.info("warning: %s", text)
        self._inner.warning(text)


@contextlib.contextmanager
def to_file(path: str) -> Iterator[None]:
    """Append all that this package logs in the block to a file.

    :param path: empty for no file.
    :raises InvalidFile: when it cannot be written.
    """
    if not path:
        yield
        return
    # Every `openstack` command imports this module.
    from imageprep_client.host import files

    stream = files.append(path)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger = logging.getLogger("imageprep_client")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()
        stream.close()
