"""The stores of a run, in memory; registries that do not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from imageprep_client import errors
from imageprep_client.heat.parameters import PrepareParameters
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base, memory
from imageprep_client.testing import content
from imageprep_client.testing.streams import put


class Registries:
    """Registries by name; opens itself as the stores of a run.

    :ivar silent: names of registries that do not answer.
    :ivar insecure_names: those that are `insecure`.
    :ivar locks: how often the lock was taken.
    """

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.insecure_names: set[str] = set()
        self.locks = 0
        self.opened: list[RetryPolicy] = []
        self._registries: dict[str, memory.MemoryRegistry] = {}

    def __call__(
        self, parameters: PrepareParameters, policy: RetryPolicy
    ) -> Registries:
        self.opened.append(policy)
        return self

    def registry(self, name: str) -> memory.MemoryRegistry:
        return self._registries.setdefault(name, memory.MemoryRegistry(name))

    def source(self, reference: Reference) -> base.ReadableStore:
        store = self.registry(reference.registry).store(reference.repository)
        if reference.registry in self.silent:
            return Silent(self.registry(reference.registry), store.repository)
        return store

    def admission(self, reference: Reference) -> None:
        """Any image may be copied."""

    def signatures(
        self, reference: Reference, manifest: Descriptor
    ) -> list[bytes]:
        return []

    def destination(
        self, push_destination: str, repository: str
    ) -> base.Store:
        if push_destination in self.silent:
            return Silent(self.registry(push_destination), repository)
        return self.registry(push_destination).store(repository)

    def further(self, place: str, repository: str) -> base.Store:
        return self.destination(place, repository)

    def insecure(self, registries: Iterable[str]) -> frozenset[str]:
        return frozenset(self.insecure_names.intersection(registries))

    @contextlib.contextmanager
    def locked(self, waiting: Callable[[str], None]) -> Iterator[None]:
        self.locks += 1
        yield

    def fill(self, name: str, image: content.Image | None = None) -> None:
        """Put an image there, by its whole name."""
        reference = Reference.parse(name)
        image = image or content.image(name)
        store = self.registry(reference.registry).store(reference.repository)
        put(store, image, reference.tag)


class Silent(memory.MemoryStore):
    """A repository of a registry that does not answer."""

    def resolve(self, reference: str):
        raise errors.Unreachable(f"{self.registry}: connection refused")
