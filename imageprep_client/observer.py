"""What happens during a run, told to whoever wants to show it.

The libraries never print: they call an `Observer`. Every method does nothing
by default, so a subclass overrides what it shows. Calls come from several
threads at once; a method returns at once and raises nothing.
"""

from __future__ import annotations

from imageprep_client.oci.descriptor import Descriptor


class Observer:
    """Does nothing; the base of all observers."""

    def phase(self, name: str, total: int) -> None:
        """A phase begins in which `total` images or blobs will be done."""

    def image_started(self, image: str) -> None:
        """Work on this image begins."""

    def image_finished(self, image: str, outcome: str) -> None:
        """This image is done; `outcome` as in `transfer.engine.Outcome`."""

    def bytes_expected(self, count: int) -> None:
        """That many more bytes will have to travel."""

    def bytes_copied(self, count: int) -> None:
        """That many bytes have travelled since the last call."""

    def blob_finished(self, blob: Descriptor, how: str) -> None:
        """A blob is in place; `how` is copied, mounted or present."""

    def retrying(self, what: str, attempt: int, seconds: float) -> None:
        """`what` failed for now and is tried again after `seconds`."""

    def waiting(self, what: str) -> None:
        """Progress waits for something outside, such as another run's lock."""

    def note(self, text: str) -> None:
        """Something the user may like to know, and need do nothing about."""

    def warning(self, text: str) -> None:
        """Something the user should know that is no failure."""
