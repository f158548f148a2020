"""Progress of a run, reported to an observer.

The libraries never print: they call an `Observer`. Every method does nothing
by default, so a subclass overrides what it shows. Calls come from several
threads at once; a method returns at once and raises nothing.
"""

from __future__ import annotations

import enum

from imageprep_client.oci.descriptor import Descriptor


class Phase(enum.Enum):
    """A part of a run, with the unit that it counts.

    :ivar title: what users read.
    :ivar unit: what `Observer.phase` and `Observer.advanced` count.
    :ivar copies: whether it is a step of the copy of images: then finished
        images count over all these steps.
    """

    title: str
    unit: str
    copies: bool

    DISCOVER = "discover", "images", False
    RESOLVE = "resolve", "images", True
    LOCATE = "locate", "blobs", True
    BLOBS = "blobs", "blobs", True
    MANIFESTS = "manifests", "images", True
    TAGS = "tags", "images", True
    MODIFY = "modify", "images", False
    HOTFIX = "hotfix", "images", False
    READ = "read", "repositories", False
    HASH = "hash", "blobs", False
    NODES = "nodes", "nodes", False
    DIFF_IDS = "diff ids", "images", False

    def __new__(cls, title: str, unit: str, copies: bool) -> Phase:
        phase = object.__new__(cls)
        phase._value_ = title
        phase.title, phase.unit, phase.copies = title, unit, copies
        return phase


class ImageOutcome(enum.StrEnum):
    """The outcome of one image."""

    COPIED = "copied"
    PRESENT = "present"
    #: A dry run would copy it.
    PLANNED = "planned"
    #: It is used where it is.
    REFERENCED = "referenced"
    #: Its registry did not answer.
    UNCHECKED = "unchecked"
    CHANGED = "changed"
    HOTFIXED = "hotfixed"
    FAILED = "failed"
    #: The failure of another image ended the run first.
    LEFT = "left"


class BlobOutcome(enum.StrEnum):
    """The way in which a repository got a blob."""

    COPIED = "copied"
    MOUNTED = "mounted"
    PRESENT = "present"


class Observer:
    """Does nothing; the base of all observers."""

    def phase(self, phase: Phase, total: int) -> None:
        """A phase begins that has to do `total` of its units."""

    def advanced(self, phase: Phase) -> None:
        """One more unit of a phase is done, and it is not a whole image."""

    def image_started(self, image: str) -> None:
        """Work on this image begins."""

    def image_finished(self, image: str, outcome: ImageOutcome) -> None:
        """This image is done."""

    def bytes_expected(self, count: int) -> None:
        """That many more bytes will have to travel."""

    def bytes_copied(self, count: int) -> None:
        """That many bytes have travelled since the last call.

        :param count: negative: so many that were counted were not stored.
        """

    def blob_finished(self, blob: Descriptor, outcome: BlobOutcome) -> None:
        """A blob, or a manifest without its tag, is in place."""

    def retrying(
        self, what: str, attempt: int, seconds: float, limit: int
    ) -> None:
        """An attempt failed and is repeated after `seconds`.

        :param what: the request and the cause of its failure.
        :param limit: attempts in all, at most.
        """

    def waiting(self, what: str) -> None:
        """The run waits for something else, such as a lock of another run."""

    def note(self, text: str) -> None:
        """Information for the user that needs no action."""

    def warning(self, text: str) -> None:
        """A warning to the user; nothing has failed."""


#: Tells nothing to anybody.
SILENT = Observer()


class Forwarding(Observer):
    """Forwards all calls to another observer; a base for subclasses."""

    def __init__(self, inner: Observer) -> None:
        self._inner = inner

    def phase(self, phase: Phase, total: int) -> None:
        self._inner.phase(phase, total)

    def advanced(self, phase: Phase) -> None:
        self._inner.advanced(phase)

    def image_started(self, image: str) -> None:
        self._inner.image_started(image)

    def image_finished(self, image: str, outcome: ImageOutcome) -> None:
        self._inner.image_finished(image, outcome)

    def bytes_expected(self, count: int) -> None:
        self._inner.bytes_expected(count)

    def bytes_copied(self, count: int) -> None:
        self._inner.bytes_copied(count)

    def blob_finished(self, blob: Descriptor, outcome: BlobOutcome) -> None:
        self._inner.blob_finished(blob, outcome)

    def retrying(
        self, what: str, attempt: int, seconds: float, limit: int
    ) -> None:
        self._inner.retrying(what, attempt, seconds, limit)

    def waiting(self, what: str) -> None:
        self._inner.waiting(what)

    def note(self, text: str) -> None:
        self._inner.note(text)

    def warning(self, text: str) -> None:
        self._inner.warning(text)
