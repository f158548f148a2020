"""A new archive: blobs come in by several threads, the index comes last."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk, locks
from imageprep_client.host.directory import Directory
from imageprep_client.oci import digest as digests
from imageprep_client.oci import layout
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores import base, verify
from imageprep_client.stores.archive import contents, tar
from imageprep_client.stores.archive.contents import Contents, LeftOut
from imageprep_client.stores.archive.parts import NewParts
from imageprep_client.stores.archive.reading import blob_digest, blob_name
from imageprep_client.stores.archive.store import ArchiveStore
from imageprep_client.stores.archive.tar import Member, NotAsExpected


class NewArchive:
    """An archive in the making, and the stores of its repositories.

    Until `finish` everything is in ``<path>.partial``, where the next run
    finds it if this one is interrupted. Threads may share it.

    :param part_size: bytes of a part; 0: all is one file.
    :ivar path: the file, or the name that its parts begin with.
    """

    def __init__(self, path: str | Path, *, part_size: int = 0) -> None:
        self.path = Path(path).absolute()
        self.registry = f"oci-archive:{self.path}"
        self.contents = Contents()
        self.blobs: dict[str, Member] = {}
        self._left_out: dict[str, LeftOut] = {}
        self._directory = Directory(self.path.parent)
        self._parts = NewParts(self._directory, self.path.name, part_size)
        self._lock = threading.RLock()
        self._manifests: dict[str, Manifest] = {}
        self._owners: dict[str, list[str]] = {}
        # Regions of blobs that have not come whole.
        self._broken: dict[str, Member] = {}
        self._end = 0
        self._stack = contextlib.ExitStack()
        self._prepared = False
        # Whether there was nothing, or an empty file.
        self._is_new = False

    def store(self, repository: str) -> NewArchiveStore:
        return NewArchiveStore(self, repository)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from an offset on, fewer only at the end."""
        with self._reported():
            return self._parts.read(offset, size)

    def leave_out(self, blob: Descriptor, repository: str) -> None:
        """Leave out a blob that the reader has in a repository."""
        with self._lock:
            one = self._left_out.get(blob.digest)
            names = one.repositories if one else ()
            self._left_out[blob.digest] = LeftOut(
                blob.size, tuple({*names, repository})
            )

    def sign(
        self, repository: str, digest: str, blobs: Sequence[bytes]
    ) -> None:
        """Keep the signatures that a manifest has beside its registry."""
        with self._lock:
            self.contents.signatures[repository, digest] = list(blobs)

    def lacks_on_purpose(self, descriptor: Descriptor) -> bool:
        """Whether a blob is left out."""
        one = self._left_out.get(descriptor.digest)
        return one is not None and one.size == descriptor.size

    def prepare(self) -> None:
        """Take over what an interrupted run has left.

        :raises InvalidArgument: when another run writes to the file.
        """
        with self._lock:
            if self._prepared:
                return
            with self._reported():
                self._directory.hold()
                size = self._parts.open()
                self._take_lock()
                self._recover(size)
                self._is_new = not size
            self._prepared = True

    def _take_lock(self) -> None:
        try:
            self._stack.enter_context(
                locks.locked(self._parts.lockable, timeout=0)
            )
        except BlockingIOError:
            raise errors.InvalidArgument(
                f"{self.path}: another run is writing it"
            ) from None

    def _recover(self, size: int) -> None:
        """Find the blobs that are whole, and those to be written again."""
        try:
            for member in tar.members(self._parts.read):
                digest = blob_digest(member.name)
                if not digest or digest in self.blobs:
                    break
                whole = member.offset + member.size <= size
                if whole and self._digest(member, digest) == digest:
                    self.blobs[digest] = member
                else:
                    self._broken[digest] = member
                self._end = member.end
        except NotAsExpected:
            # Nothing after the last header is used.
            pass

    def _digest(self, member: Member, digest: str) -> str:
        hasher = digests.hasher(digest)
        offset, end = member.offset, member.offset + member.size
        while offset < end:
            chunk = self._parts.read(offset, min(base.CHUNK, end - offset))
            if not chunk:
                break
            hasher.update(chunk)
            offset += len(chunk)
        return f"{digest.partition(':')[0]}:{hasher.hexdigest()}"

    def add(self, expected: Descriptor, content: base.Content) -> None:
        """Write a blob; `content` is verified and read to its end."""
        self.prepare()
        with self._reported(expected.size):
            disk.check_room(self.path.parent, expected.size)
            member = self._reserve(expected)
        offset = member.offset
        while chunk := content.read(base.CHUNK):
            with self._reported(expected.size):
                self._parts.write(offset, chunk)
            offset += len(chunk)
        with self._lock:
            self.blobs.setdefault(expected.digest, member)
            if self._broken.get(expected.digest) is member:
                del self._broken[expected.digest]

    def _reserve(self, expected: Descriptor) -> Member:
        """The region for a blob, with its header."""
        with self._lock:
            known = self._broken.get(expected.digest)
            if known and known.size == expected.size:
                return known
            member = self._append(blob_name(expected.digest), expected.size)
            self._broken[expected.digest] = member
            return member

    def _append(self, name: str, size: int) -> Member:
        header = tar.header(name, size)
        start, offset = self._end, self._end + len(header)
        self._parts.write(start, header)
        member = Member(name, start, offset, size)
        self._end = member.end
        return member

    def owners(self, digest: str) -> list[str]:
        """The repositories that have a blob or manifest of the archive."""
        return self._owners.get(digest, [])

    def own(self, digest: str, repository: str) -> None:
        """Add a blob or manifest of the archive to another repository."""
        with self._lock:
            owners = self._owners.setdefault(digest, [])
            if repository not in owners:
                owners.append(repository)

    def add_root(self, repository: str, manifest: Manifest) -> None:
        """Add a manifest to a repository; no tag names it yet."""
        with self._lock:
            self._manifests[manifest.descriptor.digest] = manifest
            roots = self.contents.roots.setdefault(repository, {})
            for child in manifest.manifests:
                roots.pop(child.digest, None)
            digest = manifest.descriptor.digest
            tagged = self.contents.tags.get(repository, {}).values()
            known = [*tagged, *roots.values()]
            named = {d.digest for one in known for d in self._children(one)}
            if digest not in named.union(d.digest for d in known):
                roots[digest] = manifest.descriptor

    def _children(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        manifest = self._manifests.get(descriptor.digest)
        return manifest.manifests if manifest else ()

    def tag(self, repository: str, descriptor: Descriptor, tag: str) -> None:
        """Point a tag at a manifest."""
        with self._lock:
            tags = self.contents.tags.setdefault(repository, {})
            old = tags.get(tag)
            tags[tag] = descriptor
            roots = self.contents.roots.setdefault(repository, {})
            roots.pop(descriptor.digest, None)
            if old and old.digest not in {d.digest for d in tags.values()}:
                roots[old.digest] = old

    def flush(self) -> None:
        """Return when all that was written is on stable storage."""
        with self._reported():
            self._parts.sync()

    def free_space(self) -> int:
        """Bytes that can still be written."""
        with self._reported():
            return disk.free_space(self.path.parent)

    def finish(self) -> int:
        """Write the documents, and give the file its name.

        :returns: its size.
        """
        self.prepare()
        needed = self._needed()
        with self._reported():
            used = needed.intersection(self._left_out)
            self._compact(needed - used)
            self.contents.left_out = {
                digest: self._left_out[digest] for digest in used
            }
            self._write_documents()
            self._parts.write(self._end, tar.END)
            self._end += len(tar.END)
            self._parts.truncate(self._end)
            self._parts.sync()
            self._parts.publish()
        return self._end

    def _needed(self) -> set[str]:
        """The digests of all that the images consist of."""
        needed: set[str] = set()
        todo = list(self.contents.all_named())
        while todo:
            digest = todo.pop().digest
            if digest not in needed:
                needed.add(digest)
                if manifest := self._manifests.get(digest):
                    needed.update(blob.digest for blob in manifest.blobs)
                    todo += [
                        child
                        for child in manifest.manifests
                        if child.digest in self.blobs
                    ]
        return {
            digest
            for digest in needed
            if digest in self.blobs or digest in self._left_out
        }

    def _compact(self, needed: set[str]) -> None:
        """Remove what was begun and is not needed after all."""
        end = 0
        kept = [m for d, m in self.blobs.items() if d in needed]
        self.blobs = {}
        for member in sorted(kept, key=lambda member: member.start):
            moved = member
            if member.start != end:
                moved = self._move(member, end)
            self.blobs[blob_digest(member.name)] = moved
            end = moved.end
        self._end = end
        self._parts.truncate(end)

    def _move(self, member: Member, start: int) -> Member:
        header = tar.header(member.name, member.size)
        moved = Member(member.name, start, start + len(header), member.size)
        self._parts.write(start, header)
        done = 0
        while done < member.size:
            chunk = self._parts.read(
                member.offset + done, min(base.CHUNK, member.size - done)
            )
            self._parts.write(moved.offset + done, chunk)
            done += len(chunk)
        return moved

    def _write_documents(self) -> None:
        documents = {
            layout.LAYOUT: layout.LAYOUT_CONTENT,
            layout.INDEX: self.contents.index(),
            contents.CARRIED: self.contents.carried(),
            **{
                contents.signature_name(*key, number): blob
                for key, blobs in self.contents.signatures.items()
                for number, blob in enumerate(blobs, 1)
            },
        }
        sums = [
            f"{hashlib.sha256(content).hexdigest()}  {name}\n"
            for name, content in documents.items()
        ]
        sums += [
            f"{digest.partition(':')[2]}  {member.name}\n"
            for digest, member in self.blobs.items()
            if digest.startswith("sha256:")
        ]
        documents[contents.SUMS] = "".join(sums).encode()
        for name, content in documents.items():
            member = self._append(name, len(content))
            padding = bytes(member.end - member.offset - len(content))
            self._parts.write(member.offset, content + padding)

    def _reported(
        self, needed: int | None = None
    ) -> contextlib.AbstractContextManager[None]:
        return disk.reported(self.path, needed=needed)

    def close(self) -> None:
        """Close all files; an unfinished archive can be continued.

        Of one without content nothing is left, unless there was a file that
        no run has begun.
        """
        if self._is_new and not self._end:
            self._parts.remove()
        self._stack.close()
        self._parts.close()
        self._directory.close()


class NewArchiveStore(ArchiveStore):
    """A repository of an archive in the making."""

    def __init__(self, home: NewArchive, repository: str) -> None:
        super().__init__(home, repository)
        self._new = home

    def exists(self, descriptor: Descriptor) -> bool:
        owners = self._new.owners(digests.check(descriptor.digest))
        return self._new.lacks_on_purpose(descriptor) or (
            self.repository in owners and super().exists(descriptor)
        )

    def push(self, expected: Descriptor, content: base.Content) -> None:
        source = verify.verified(expected, content)
        if expected.is_manifest:
            manifests.check_size(expected)
            data = source.read()
            manifest = manifests.parse(
                data, expected.media_type, expected.digest
            )
            self._add(expected, verify.from_bytes(data, expected))
            self._new.add_root(self.repository, manifest)
        else:
            self._add(expected, source)

    def _add(self, expected: Descriptor, content: base.Content) -> None:
        if not self.exists(expected) and not self.locate(expected):
            self._new.add(expected, content)
        while content.read(base.CHUNK):
            pass
        self._new.own(expected.digest, self.repository)

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        references.check_tag(tag)
        manifest = self.resolve(descriptor.digest)
        self._new.tag(self.repository, manifest, tag)

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        if descriptor.is_manifest or not self.locate(descriptor):
            return False
        self._new.own(descriptor.digest, self.repository)
        return True

    def locate(self, descriptor: Descriptor) -> str | None:
        if self.exists(descriptor):
            return self.repository
        if not super().exists(descriptor):
            return None
        owners = self._new.owners(descriptor.digest)
        if not owners:
            # An interrupted run has left it.
            self._new.own(descriptor.digest, self.repository)
        return owners[0] if owners else self.repository

    def holds(self, descriptor: Descriptor) -> bool:
        return verify.holds(self, descriptor)

    def flush(self) -> None:
        self._new.flush()

    def free_space(self) -> int:
        return self._new.free_space()
