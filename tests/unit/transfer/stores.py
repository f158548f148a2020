"""Stores that record what is asked of them, and fail when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, memory, verify
from imageprep_client.testing import content
from imageprep_client.testing.streams import put


class Recording(memory.MemoryStore):
    """A memory store with a log of its calls and faults on demand."""

    def __init__(
        self,
        home: memory.MemoryRegistry,
        repository: str,
        calls: list[tuple[str, str, str]],
        faults: dict[tuple[str, str], list[errors.StoreError]],
    ) -> None:
        super().__init__(home, repository)
        self._calls = calls
        self._faults = faults
        self._log_lock = threading.Lock()

    def _log(self, verb: str, what: str) -> None:
        with self._log_lock:
            self._calls.append((verb, self.repository, what))
            pending = self._faults.get((verb, what))
            if pending:
                raise pending.pop(0)

    def resolve(self, reference: str) -> Descriptor:
        self._log("resolve", reference)
        return super().resolve(reference)

    def exists(self, descriptor: Descriptor) -> bool:
        self._log("exists", descriptor.digest)
        return super().exists(descriptor)

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        self._log("fetch", descriptor.digest)
        return super().fetch(descriptor)

    def push(self, expected: Descriptor, content: base.Content) -> None:
        self._log("push", expected.digest)
        super().push(expected, content)

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        self._log("tag", tag)
        super().tag(descriptor, tag)

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        self._log("mount", descriptor.digest)
        return super().mount(descriptor, repository)

    def locate(self, descriptor: Descriptor) -> str | None:
        self._log("locate", descriptor.digest)
        return super().locate(descriptor)

    def flush(self) -> None:
        self._log("flush", "")


class Registry:
    """A registry of recording stores."""

    def __init__(self, name: str, kind: type[Recording] = Recording) -> None:
        self.home = memory.MemoryRegistry(name)
        self.calls: list[tuple[str, str, str]] = []
        self.faults: dict[tuple[str, str], list[errors.StoreError]] = {}
        self._kind = kind

    def store(self, repository: str) -> Recording:
        return self._kind(self.home, repository, self.calls, self.faults)

    def fail(self, verb: str, what: str, *faults: errors.StoreError) -> None:
        """Raise these, one per call of the verb with that argument."""
        self.faults[verb, what] = list(faults)

    def did(self, verb: str, what: str = "") -> list[tuple[str, str, str]]:
        """The calls of one verb, with that argument or any."""
        return [
            call
            for call in self.calls
            if call[0] == verb and what in ("", call[2])
        ]

    def fill(
        self, repository: str, image: content.Image, tag: str = "1"
    ) -> None:
        """Put an image there, unrecorded."""
        put(memory.MemoryStore(self.home, repository), image, tag)


def order(
    calls: Sequence[tuple[str, str, str]],
    wanted: Callable[[tuple[str, str, str]], bool],
) -> list[int]:
    """The positions of the calls that are wanted."""
    return [i for i, call in enumerate(calls) if wanted(call)]
