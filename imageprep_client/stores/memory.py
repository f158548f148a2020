"""A registry in memory: the plainest implementation of every power."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Iterator, Sequence

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, verify


@dataclasses.dataclass
class _Repository:
    contents: dict[str, bytes] = dataclasses.field(default_factory=dict)
    manifests: dict[str, Descriptor] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)


class MemoryRegistry:
    """Repositories by name; they live as long as this object."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._lock = threading.RLock()
        self._repositories: dict[str, _Repository] = {}

    def store(self, repository: str) -> MemoryStore:
        """The store of one repository, made when it is first written."""
        return MemoryStore(self, references.check_repository(repository))

    def repositories(self) -> list[str]:
        """The names of all repositories, sorted."""
        with self._lock:
            return sorted(self._repositories)

    def _repository(self, name: str) -> _Repository:
        return self._repositories.setdefault(name, _Repository())


class MemoryStore:
    """One repository of a `MemoryRegistry`."""

    def __init__(self, home: MemoryRegistry, repository: str) -> None:
        self._home = home
        self.registry = f"memory:{home.name}"
        self.repository = repository

    def __str__(self) -> str:
        return references.join(self.registry, self.repository)

    @property
    def _data(self) -> _Repository:
        with self._home._lock:
            return self._home._repository(self.repository)

    def resolve(self, reference: str) -> Descriptor:
        if not digests.is_valid(reference):
            references.check_tag(reference)
        # Looking for a tag makes no repository.
        with self._home._lock:
            data = self._home._repositories.get(self.repository, _Repository())
        digest = data.tags.get(reference, reference)
        descriptor = data.manifests.get(digest)
        if descriptor is None:
            raise errors.NotFound(f"{self}:{reference}: manifest unknown")
        return descriptor

    def describe(self, digest: str) -> Descriptor:
        """The content of this digest; blobs have no type of their own."""
        descriptor = self._data.manifests.get(digest)
        if descriptor is not None:
            return descriptor
        content = self._data.contents.get(digest)
        if content is None:
            raise errors.NotFound(f"{self}@{digest}: unknown")
        return Descriptor("application/octet-stream", digest, len(content))

    def exists(self, descriptor: Descriptor) -> bool:
        if descriptor.is_manifest:
            return descriptor.digest in self._data.manifests
        return descriptor.digest in self._data.contents

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        if not self.exists(descriptor):
            raise errors.NotFound(f"{self}@{descriptor.digest}: unknown")
        return verify.from_bytes(
            self._data.contents[descriptor.digest], descriptor
        )

    def fetch_from(self, descriptor: Descriptor, offset: int) -> io.BytesIO:
        if not self.exists(descriptor):
            raise errors.NotFound(f"{self}@{descriptor.digest}: unknown")
        return io.BytesIO(self._data.contents[descriptor.digest][offset:])

    def push(self, expected: Descriptor, content: base.Content) -> None:
        data = verify.verified(expected, content).read()
        with self._home._lock:
            self._data.contents[expected.digest] = data
            # Registries have manifests that nobody else understands.
            old = expected.media_type in mediatypes.DOCKER_SCHEMA1
            if expected.is_manifest or old:
                self._data.manifests[expected.digest] = expected

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        references.check_tag(tag)
        with self._home._lock:
            if descriptor.digest not in self._data.manifests:
                raise errors.NotFound(f"{self}@{descriptor.digest}: unknown")
            self._data.tags[tag] = descriptor.digest

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        with self._home._lock:
            names = (
                [repository]
                if repository is not None
                else list(self._home._repositories)
            )
            for name in names:
                other = self._home._repository(name)
                if descriptor.digest in other.contents:
                    self._data.contents[descriptor.digest] = other.contents[
                        descriptor.digest
                    ]
                    return True
        return False

    def locate(self, descriptor: Descriptor) -> str | None:
        with self._home._lock:
            for name, repository in self._home._repositories.items():
                if descriptor.digest in repository.contents:
                    return name
        return None

    def tags(self) -> Iterator[str]:
        with self._home._lock:
            return iter(sorted(self._data.tags))

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        artifacts = []
        with self._home._lock:
            for descriptor in self._data.manifests.values():
                if not descriptor.is_manifest:
                    continue
                manifest = verify.manifest(self, descriptor)
                named = manifest.subject
                if named is not None and named.digest == subject.digest:
                    artifacts.append(manifest.referrer)
        return artifacts

    def delete(self, descriptor: Descriptor) -> None:
        with self._home._lock:
            if not self.exists(descriptor):
                raise errors.NotFound(f"{self}@{descriptor.digest}: unknown")
            del self._data.contents[descriptor.digest]
            self._data.manifests.pop(descriptor.digest, None)
            for tag, digest in list(self._data.tags.items()):
                if digest == descriptor.digest:
                    del self._data.tags[tag]

    def untag(self, tag: str) -> None:
        references.check_tag(tag)
        with self._home._lock:
            if self._data.tags.pop(tag, None) is None:
                raise errors.NotFound(f"{self}:{tag}: tag unknown")

    def manifests(self) -> Iterator[Descriptor]:
        with self._home._lock:
            return iter(list(self._data.manifests.values()))

    def holds(self, descriptor: Descriptor) -> bool:
        with self._home._lock:
            # What a subclass notes or breaks of its fetches are none.
            plain = self._home.store(self.repository)
            return verify.holds(plain, descriptor)
