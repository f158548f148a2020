"""One repository of an archive, to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores import base, verify
from imageprep_client.stores.archive.contents import Contents
from imageprep_client.stores.archive.tar import Member

_READ_ONLY = "an archive is not changed once it is whole"


class Home(Protocol):
    """An archive, as the stores of its repositories see it."""

    @property
    def registry(self) -> str: ...

    @property
    def blobs(self) -> Mapping[str, Member]:
        """The members with blobs and manifests, by digest."""
        ...

    @property
    def contents(self) -> Contents: ...

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the archive from an offset on."""
        ...


class ArchiveStore:
    """A repository; its blobs are those of the whole archive."""

    def __init__(self, home: Home, repository: str) -> None:
        self.repository = references.check_repository(repository)
        self.registry = home.registry
        self._home = home
        self._parsed: dict[str, Manifest] = {}

    def __str__(self) -> str:
        return references.join(self.registry, self.repository)

    def resolve(self, reference: str) -> Descriptor:
        if digests.is_valid(reference):
            named = self._by_digest(reference)
        else:
            references.check_tag(reference)
            tags = self._home.contents.tags.get(self.repository, {})
            named = tags.get(reference)
        if named is None or not self.exists(named):
            raise errors.NotFound(f"{self}:{reference}: manifest unknown")
        return Descriptor(named.media_type, named.digest, named.size)

    def _by_digest(self, digest: str) -> Descriptor | None:
        for named in self._home.contents.named(self.repository):
            if named.digest == digest:
                return named
        member = self._home.blobs.get(digest)
        if member is None or member.size > manifests.MAX_SIZE:
            return None
        content = self._home.read(member.offset, member.size)
        media_type = manifests.type_of(content)
        if not mediatypes.is_manifest(media_type):
            return None
        return Descriptor(media_type, digest, member.size)

    def exists(self, descriptor: Descriptor) -> bool:
        member = self._home.blobs.get(digests.check(descriptor.digest))
        return member is not None and member.size == descriptor.size

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        name = f"{self}@{descriptor.digest}"
        return verify.VerifiedContent(
            self._open(descriptor, 0), descriptor, name
        )

    def fetch_from(self, descriptor: Descriptor, offset: int) -> _Slice:
        return self._open(descriptor, offset)

    def _open(self, descriptor: Descriptor, skipped: int) -> _Slice:
        digest = digests.check(descriptor.digest)
        member = self._home.blobs.get(digest)
        if member is not None:
            start = member.offset + min(skipped, member.size)
            return _Slice(self._home, start, member.offset + member.size)
        if digest in self._home.contents.left_out:
            raise errors.NotFound(
                f"{self}@{digest}: left out of the archive, for a place that"
                " has it",
                hint="carry the images again without --since",
            )
        raise errors.NotFound(f"{self}@{digest}: unknown")

    def left_out(self, descriptor: Descriptor) -> Sequence[str]:
        one = self._home.contents.left_out.get(descriptor.digest)
        return one.repositories if one else ()

    def signatures(self, digest: str) -> Sequence[bytes]:
        key = (self.repository, digest)
        return self._home.contents.signatures.get(key, ())

    def tags(self) -> Iterator[str]:
        tags = self._home.contents.tags.get(self.repository, {})
        return iter(sorted(tags))

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        artifacts = {}
        for named in list(self._home.contents.named(self.repository)):
            manifest = self._manifest(named)
            if manifest.subject and manifest.subject.digest == subject.digest:
                artifacts[named.digest] = manifest.referrer
        return list(artifacts.values())

    def _manifest(self, descriptor: Descriptor) -> Manifest:
        if descriptor.digest not in self._parsed:
            manifest = verify.manifest(self, descriptor)
            self._parsed[descriptor.digest] = manifest
        return self._parsed[descriptor.digest]

    def push(self, expected: Descriptor, content: base.Content) -> None:
        raise errors.AccessDenied(f"{self}: {_READ_ONLY}")

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        raise errors.AccessDenied(f"{self}: {_READ_ONLY}")


class _Slice(base.Closing):
    """Bytes of an archive as a stream."""

    def __init__(self, home: Home, start: int, end: int) -> None:
        self._home = home
        self._start = start
        self._end = end

    def read(self, size: int = -1, /) -> bytes:
        left = self._end - self._start
        wanted = left if size < 0 else min(size, left)
        chunk = self._home.read(self._start, wanted)
        self._start += len(chunk)
        return chunk

    def close(self) -> None:
        self._end = self._start
