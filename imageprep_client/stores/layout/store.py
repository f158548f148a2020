"""One repository: an image layout."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence

from imageprep_client import errors
from imageprep_client.host import disk, locks
from imageprep_client.host.directory import write_all
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.layout import (
    INDEX,
    LAYOUT,
    LAYOUT_CONTENT,
    MAX_SIZE,
    VERSION,
    Index,
)
from imageprep_client.stores import base, verify
from imageprep_client.stores.layout.directory import Layouts

# Directories of these names could not be beside a layout's own files;
# one named blobs can.
_RESERVED = frozenset({INDEX, LAYOUT})
_SMALL = 64 * 1024
#: Seconds; no piece of content takes longer without a byte being written.
_STALE = 24 * 3600
#: Seconds that another process may take to change an index.
_PATIENCE = 60.0


class LayoutStore:
    """A repository among `Layouts`.

    Content is renamed into place without ``fsync``; `flush` makes all of it
    durable at once. ``index.json`` is changed under an flock on the directory
    and replaced atomically. Content with another size than its descriptor
    does not exist; symbolic links are not content.

    :ivar home: the directory of the layout.
    """

    def __init__(self, layouts: Layouts, repository: str) -> None:
        self.repository = references.check_repository(repository)
        if not _RESERVED.isdisjoint(repository.split("/")):
            raise errors.InvalidReference(
                f"invalid repository name {repository!r}: image layouts have"
                f" files named {INDEX} and {LAYOUT}"
            )
        self.registry = layouts.registry
        self._layouts = layouts
        self._tree = layouts.tree
        self.home = self._tree.path / repository
        self._prepared = False

    def __str__(self) -> str:
        return references.join(self.registry, self.repository)

    def resolve(self, reference: str) -> Descriptor:
        by_digest = digests.is_valid(reference)
        if not by_digest:
            references.check_tag(reference)
        manifest = self._index().find(reference)
        if manifest is None and by_digest:
            manifest = self._manifest_in(reference)
        if manifest is None or not self.exists(manifest):
            raise errors.NotFound(f"{self}:{reference}: manifest unknown")
        return Descriptor(manifest.media_type, manifest.digest, manifest.size)

    def _manifest_in(self, digest: str) -> Descriptor | None:
        """The content of this digest, when it is a manifest."""
        limit = manifests.MAX_SIZE + 1
        with self._reported():
            content = self._tree.read(self._blob(digest), limit)
        if content is None or len(content) == limit:
            return None
        media_type = manifests.type_of(content)
        if not mediatypes.is_manifest(media_type):
            return None
        return Descriptor(media_type, digest, len(content))

    def exists(self, descriptor: Descriptor) -> bool:
        with self._reported():
            size = self._tree.regular_size(self._blob(descriptor.digest))
        return size == descriptor.size

    def _blob(self, digest: str) -> str:
        algorithm, _, encoded = digests.check(digest).partition(":")
        return f"{self.repository}/blobs/{algorithm}/{encoded}"

    def _make_place(self, digest: str) -> str:
        """Make the directory of a blob, and tell where it will be."""
        path = self._blob(digest)
        self._tree.make_directory(path.rpartition("/")[0])
        return path

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        name = f"{self}@{descriptor.digest}"
        path = self._blob(descriptor.digest)
        with self._reported():
            stream = self._tree.open_regular(path)
        if stream is None:
            raise errors.NotFound(f"{name}: unknown")
        return verify.VerifiedContent(stream, descriptor, name)

    def push(self, expected: Descriptor, content: base.Content) -> None:
        source = verify.verified(expected, content)
        if expected.is_manifest:
            self._push_manifest(expected, source)
        elif self.exists(expected):
            while source.read(base.CHUNK):
                pass
        else:
            self._write(expected, source)

    def _push_manifest(
        self, expected: Descriptor, source: base.Content
    ) -> None:
        manifests.check_size(expected)
        data = source.read()
        manifest = manifests.parse(data, expected.media_type, expected.digest)
        if not self.exists(expected):
            self._write(expected, verify.from_bytes(data, expected))

        def list_root(index: Index) -> None:
            named = frozenset(child.digest for child in manifest.manifests)
            index.drop_untagged(named)
            if expected.digest not in self._reachable(index):
                index.add(manifest.descriptor)

        self._change(list_root)

    def _write(self, expected: Descriptor, source: base.Content) -> None:
        """Rename content into place when it is complete."""
        self._prepare()
        with self._tree.staged(self.repository) as temporary:
            with self._reported(expected.size):
                path = self._make_place(expected.digest)
                disk.check_room(self._tree.path, expected.size)
                file = self._tree.create(temporary)
            with file:
                while chunk := source.read(base.CHUNK):
                    with self._reported(expected.size):
                        write_all(file, chunk)
            with self._reported():
                self._tree.rename(temporary, path)
        self._layouts.remember(expected, self.repository)

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        references.check_tag(tag)
        manifest = self.resolve(descriptor.digest)
        self._change(lambda index: index.tag(manifest, tag))

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        if descriptor.is_manifest:
            return False
        if self.exists(descriptor):
            return True
        name = repository or self.locate(descriptor)
        origin = LayoutStore(self._layouts, name) if name else None
        if origin is None or not origin.exists(descriptor):
            return False
        self._prepare()
        with self._reported():
            linked = self._tree.link(
                origin._blob(descriptor.digest),
                self._make_place(descriptor.digest),
                staging=self.repository,
            )
        return linked and self.exists(descriptor)

    def locate(self, descriptor: Descriptor) -> str | None:
        name = self._layouts.locate(descriptor)
        if name is None:
            return None
        exists = LayoutStore(self._layouts, name).exists(descriptor)
        return name if exists else None

    def tags(self) -> Iterator[str]:
        return iter(self._index().tags())

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        referrers = {}
        for manifest in self._walk(self._index()):
            if manifest.subject and manifest.subject.digest == subject.digest:
                referrers[manifest.descriptor.digest] = manifest.referrer
        return list(referrers.values())

    def delete(self, descriptor: Descriptor) -> None:
        if not self.exists(descriptor):
            raise errors.NotFound(f"{self}@{descriptor.digest}: unknown")
        if descriptor.is_manifest:
            children = verify.manifest(self, descriptor).manifests

            def unlist(index: Index) -> None:
                index.remove(descriptor.digest)
                reachable = self._reachable(index)
                for child in children:
                    if child.digest not in reachable and self.exists(child):
                        index.add(child)

            self._change(unlist)
        with self._reported():
            self._tree.unlink(self._blob(descriptor.digest))
        self._layouts.forget()

    def holds(self, descriptor: Descriptor) -> bool:
        return verify.holds(self, descriptor)

    def flush(self) -> None:
        self._layouts.flush()

    def free_space(self) -> int:
        return self._layouts.free_space()

    def _walk(
        self, index: Index, *, indexes_only: bool = False
    ) -> Iterator[manifests.Manifest]:
        """Every manifest that is here and that the index leads to."""
        todo = list(index.roots())
        seen = set()
        while todo:
            descriptor = todo.pop()
            if descriptor.digest in seen or not descriptor.is_manifest:
                continue
            seen.add(descriptor.digest)
            if indexes_only and descriptor.media_type not in (
                mediatypes.INDEXES
            ):
                continue
            if self.exists(descriptor):
                manifest = verify.manifest(self, descriptor)
                yield manifest
                todo.extend(manifest.manifests)

    def _reachable(self, index: Index) -> set[str]:
        """Digests of the roots and of all that they name."""
        reachable = {root.digest for root in index.roots()}
        for manifest in self._walk(index, indexes_only=True):
            reachable.update(child.digest for child in manifest.manifests)
        return reachable

    def _index(self) -> Index:
        """The index as it is now; empty where there is no layout."""
        layout = f"{self.repository}/{LAYOUT}"
        index = f"{self.repository}/{INDEX}"
        with self._reported():
            version = self._tree.read(layout, _SMALL)
            content = self._tree.read(index, MAX_SIZE + 1)
        if version is not None:
            _check_version(version, str(self._tree.path / layout))
        if content is None:
            return Index.empty()
        return Index.parse(content, str(self._tree.path / index))

    def _change(self, change: Callable[[Index], None]) -> None:
        """Change the index, which no other thread or run does meanwhile."""
        self._prepare()
        path = f"{self.repository}/{INDEX}"
        with self._locked():
            index = self._index()
            before = index.render()
            change(index)
            after = index.render()
            if after != before or self._tree.regular_size(path) is None:
                with self._reported(len(after)):
                    self._tree.replace(path, after)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Each call opens the directory again: threads exclude each other."""
        with contextlib.ExitStack() as stack:
            with self._reported():
                directory = self._tree.open_directory(self.repository)
                descriptor = stack.enter_context(directory)
            try:
                stack.enter_context(
                    locks.locked(descriptor, timeout=_PATIENCE)
                )
            except BlockingIOError:
                process = locks.owner(descriptor) or "unknown"
                raise errors.StoreError(
                    f"{self._tree.path / self.repository}: locked by another"
                    f" process ({process}) for {_PATIENCE:.0f} seconds",
                    hint="end that process, or see what it waits for",
                ) from None
            yield

    def _prepare(self) -> None:
        """Make the layout, once, and clear away what killed runs left."""
        if self._prepared:
            return
        self._layouts.prepare()
        path = f"{self.repository}/{LAYOUT}"
        with self._reported():
            self._tree.make_directory(self.repository)
            self._tree.remove_stale(self.repository, time.time() - _STALE)
            if self._tree.regular_size(path) is None:
                self._tree.replace(path, LAYOUT_CONTENT)
        self._prepared = True

    def _reported(
        self, needed: int | None = None
    ) -> contextlib.AbstractContextManager[None]:
        return disk.reported(self._tree.path, needed=needed)


def _check_version(content: bytes, name: str) -> None:
    try:
        version = json.loads(content)["imageLayoutVersion"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise errors.InvalidContent(
            f"{name}: does not say which version of image layouts this is"
        ) from None
    if version != VERSION:
        raise errors.InvalidContent(
            f"{name}: image layout version {str(version)[:50]!r} is not"
            f" supported, only {VERSION}"
        )
