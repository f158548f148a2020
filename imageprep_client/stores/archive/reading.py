"""A whole archive, read in place: its members are found once, not unpacked."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import digest as digests
from imageprep_client.oci import layout
from imageprep_client.stores.archive import contents, tar
from imageprep_client.stores.archive.contents import Contents
from imageprep_client.stores.archive.parts import Parts
from imageprep_client.stores.archive.store import ArchiveStore
from imageprep_client.stores.archive.tar import Member, NotAsExpected

_DOCUMENTS = (layout.LAYOUT, layout.INDEX, contents.CARRIED, contents.SUMS)
#: Those that only run --carry writes, and those that docker writes for its
#: own older releases.
_OWN = frozenset({contents.CARRIED, contents.SUMS})
_IGNORED = frozenset({"manifest.json", "repositories"})
_BLOB = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")
_SUM = re.compile(r"([0-9a-f]{64})  (\S+)")
_HINT = (
    "carry the file over again, or make it again: with run --carry, or with"
    " skopeo copy to oci-archive:FILE:REPOSITORY:TAG"
)


def blob_name(digest: str) -> str:
    """The name of the member that has a blob."""
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


def blob_digest(name: str) -> str:
    """The digest of the blob that a member has; empty for other members."""
    match = _BLOB.fullmatch(name)
    digest = f"{match[1]}:{match[2]}" if match else ""
    return digest if digests.is_valid(digest) else ""


class Archive:
    """An archive, and the stores of the repositories in it.

    `NewArchive` has made it, or another tool that puts image layouts into
    tars. Making one touches nothing; the first use opens it and reads the
    headers of its members. Threads may share it.

    :param warn: is told of images that are left out.
    :ivar path: the file, or the name that its parts begin with.
    """

    def __init__(
        self, path: str | Path, warn: Callable[[str], object] | None = None
    ) -> None:
        self.path = Path(path).absolute()
        self.registry = f"oci-archive:{self.path}"
        self._warn = warn
        self._lock = threading.Lock()
        self._parts: Parts | None = None
        self._blobs: dict[str, Member] = {}
        self._contents = Contents()

    def __str__(self) -> str:
        return self.registry

    def store(self, repository: str) -> ArchiveStore:
        """The store of one repository.

        :raises InvalidReference: when the name breaks the grammar.
        """
        return ArchiveStore(self, repository)

    def repositories(self) -> list[str]:
        """The names of all repositories, sorted."""
        return self.contents.repositories

    @property
    def blobs(self) -> Mapping[str, Member]:
        """The members with blobs and manifests, by digest."""
        self.open()
        return self._blobs

    @property
    def contents(self) -> Contents:
        """The descriptions of the images in the archive."""
        self.open()
        return self._contents

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from an offset on, fewer only at the end."""
        with disk.reported(self.path):
            return self.open().read(offset, size)

    def open(self) -> Parts:
        """Open the archive, and check all of it but the blobs.

        :raises InvalidFile: when it is not whole, or no archive.
        """
        with self._lock:
            if self._parts is None:
                parts = Parts(self.path)
                try:
                    self._load(parts)
                except NotAsExpected as error:
                    parts.close()
                    raise errors.InvalidFile(
                        str(self.path), str(error), hint=_HINT
                    ) from None
                except errors.InvalidContent as error:
                    parts.close()
                    raise errors.InvalidFile(
                        str(self.path), str(error), hint=error.hint or _HINT
                    ) from error
                self._parts = parts
            return self._parts

    def _load(self, parts: Parts) -> None:
        with disk.reported(self.path):
            members = _members(parts)
            own = not _OWN.isdisjoint(members)
            needed = _DOCUMENTS if own else (layout.LAYOUT, layout.INDEX)
            texts = {
                name: _document(parts, members, name)
                for name in dict.fromkeys([*needed, *members])
                if ":" not in name
            }
        if own:
            _check_sums(members, texts, texts.pop(contents.SUMS))
            self._contents = contents.parse(
                texts[layout.INDEX], texts[contents.CARRIED]
            )
        else:
            self._contents = contents.parse_foreign(texts[layout.INDEX])
            unnamed = self._contents.unnamed
            if unnamed and self._warn:
                self._warn(
                    f"{self}: images without a repository and a tag in their"
                    f" names are left out ({len(unnamed)}), such as"
                    f" {unnamed[0][:300]!r}"
                )
        for name in sorted(texts, key=_number):
            if key := contents.signature_of(name):
                self._contents.signatures.setdefault(key, []).append(
                    texts[name]
                )
        self._blobs = {d: m for d, m in members.items() if ":" in d}

    def close(self) -> None:
        """Close the file; it can be used again."""
        with self._lock:
            if self._parts is not None:
                self._parts.close()
                self._parts = None


def _members(parts: Parts) -> dict[str, Member]:
    """The members by name, those with blobs by digest."""
    members: dict[str, Member] = {}
    for member in tar.members(parts.read):
        name = member.name.removeprefix("./")
        digest = blob_digest(name)
        signed = contents.signature_of(name)
        if not (digest or signed or name in {*_DOCUMENTS, *_IGNORED}):
            raise NotAsExpected(f"{name!r}: no part of an archive")
        if (digest or name) in members:
            raise NotAsExpected(f"{name!r}: is there twice")
        if member.offset + member.size > parts.size:
            raise NotAsExpected("truncated")
        members[digest or name] = member
    size = sum(m.size for name, m in members.items() if ":" not in name)
    if size > contents.MAX_SIZE:
        raise NotAsExpected(f"documents of {size} bytes")
    return members


def _number(name: str) -> int:
    """The number of a signature; 0 for other members."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _document(parts: Parts, members: Mapping[str, Member], name: str) -> bytes:
    if name not in members:
        raise NotAsExpected(f"no {name}: no archive of images")
    member = members[name]
    return parts.read(member.offset, member.size)


def _check_sums(
    members: Mapping[str, Member], documents: Mapping[str, bytes], sums: bytes
) -> None:
    """Check the documents, and that no member is missing.

    Blobs are checked by their digests whenever they are read.
    """
    listed = {
        name: digest
        for digest, name in _SUM.findall(sums.decode("ascii", "replace"))
    }
    for name, content in documents.items():
        if listed.pop(name, "") != hashlib.sha256(content).hexdigest():
            raise NotAsExpected(f"{name}: its checksum is wrong")
    for name, encoded in listed.items():
        digest = blob_digest(name)
        if digest != f"sha256:{encoded}" or digest not in members:
            raise NotAsExpected(f"{name!r}: missing, or its checksum is wrong")
    if not sums.endswith(b"\n"):
        raise NotAsExpected(f"{contents.SUMS}: truncated")
