"""One repository of an image-serve tree."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.stores import (
    base,
    verify,
)
from imageprep_client.stores.imageserve import (
    files,
    htaccess,
    layout,
    typemap,
)
from imageprep_client.stores.imageserve.referrers import Referrers
from imageprep_client.stores.imageserve.tags import Tags

if TYPE_CHECKING:
    from imageprep_client.stores.imageserve.tree import ImageServeTree

_DEFAULT_PLATFORM = Platform("linux", "amd64")
_MAX_HEADERS = 64 * 1024


class ImageServeStore:
    """A repository; see `layout` for its files.

    Content is written under `layout.INCOMING` and renamed into place, with
    no ``fsync`` of its own: `flush` makes all of it durable at once. A blob
    or manifest that has not exactly the descriptor's size does not exist;
    symbolic links are not content.
    """

    def __init__(self, tree: ImageServeTree, repository: str) -> None:
        self.repository = references.check_repository(repository)
        self.registry = tree.registry
        self.paths = layout.RepositoryPaths(tree.path, repository)
        self._tree = tree
        self._tags = Tags(tree.path, repository, self.paths, self._media_type)
        self._referrers = Referrers(tree.path, self.paths)

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}"

    def resolve(self, reference: str) -> Descriptor:
        digest = reference
        if not digests.is_valid(reference):
            root = typemap.root(self.variants(reference))
            if root is None:
                raise errors.NotFound(f"{self}:{reference}: manifest unknown")
            digest = root.digest
        with self._reported():
            size = disk.regular_size(self.paths.manifest(digest))
            if size is None:
                raise errors.NotFound(f"{self}:{reference}: manifest unknown")
            return Descriptor(self._media_type(digest), digest, size)

    def variants(self, tag: str) -> tuple[typemap.Variant, ...]:
        """The manifests that the tag can answer with; empty without it.

        :raises InvalidReference: when it cannot be a tag.
        """
        references.check_tag(tag)
        with self._reported():
            return self._tags.variants(tag)

    def _media_type(self, digest: str) -> str:
        """What the ``.htaccess`` says; without one, what the manifest says."""
        root, paths = self._tree.path, self.paths
        content = disk.read(root, paths.htaccess(digest), _MAX_HEADERS)
        recorded = htaccess.media_type(content or b"")
        if mediatypes.is_manifest(recorded):
            return recorded
        content = disk.read(root, paths.manifest(digest), manifests.MAX_SIZE)
        return htaccess.type_inside(content or b"")

    def exists(self, descriptor: Descriptor) -> bool:
        with self._reported():
            if not descriptor.is_manifest:
                return self._blob(descriptor) is not None
            # Without its headers no web server would say what it is.
            path = self.paths.manifest(descriptor.digest)
            headers = self.paths.htaccess(descriptor.digest)
            return disk.regular_size(path) == descriptor.size and bool(
                disk.regular_size(headers)
            )

    def _blob(self, descriptor: Descriptor) -> Path | None:
        for path in self.paths.blob_candidates(descriptor.digest):
            if disk.regular_size(path) == descriptor.size:
                return path
        return None

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        name = f"{self}@{descriptor.digest}"
        with self._reported():
            path = (
                self.paths.manifest(descriptor.digest)
                if descriptor.is_manifest
                else self._blob(descriptor)
            )
            stream = path and disk.open_regular(self._tree.path, path)
        if not stream:
            raise errors.NotFound(f"{name}: unknown")
        return verify.VerifiedContent(stream, descriptor, name)

    def open_blob(self, digest: str) -> io.FileIO | None:
        """The file of a blob, whatever its size, for a server to send."""
        with self._reported():
            for path in self.paths.blob_candidates(digests.check(digest)):
                if file := disk.open_regular(self._tree.path, path):
                    return file
        return None

    def open_manifest(self, digest: str) -> io.FileIO | None:
        """The file of a manifest, for a server to send."""
        path = self.paths.manifest(digests.check(digest))
        with self._reported():
            return disk.open_regular(self._tree.path, path)

    def push(self, expected: Descriptor, content: base.Content) -> None:
        source = verify.verified(expected, content)
        if expected.is_manifest:
            self._push_manifest(expected, source)
        elif self.exists(expected):
            while source.read(base.CHUNK):
                pass
        else:
            self._push_blob(expected, source)

    def _push_blob(self, expected: Descriptor, source: base.Content) -> None:
        self._tree.prepare()
        path = self.paths.blob(expected.digest)
        with self._tree.partials.staged(expected) as temporary:
            with self._reported(expected.size):
                files.make_directory(self.paths.blobs)
                disk.check_room(self._tree.path, expected.size)
                file = files.create(temporary)
            with file:
                while chunk := source.read(base.CHUNK):
                    with self._reported(expected.size):
                        disk.write_all(file, chunk)
            with self._reported():
                temporary.rename(path)
                self._remove_broken(expected)
        self._tree.remember_blob(expected.digest, path)

    def partial(
        self, descriptor: Descriptor
    ) -> tuple[base.Content, int] | None:
        with self._reported():
            return self._tree.partials.take(descriptor)

    def _remove_broken(self, descriptor: Descriptor) -> None:
        """Remove what a crash of tripleo-common left beside a whole blob."""
        for path in self.paths.blob_candidates(descriptor.digest):
            if disk.regular_size(path) not in (None, descriptor.size):
                path.unlink()

    def _push_manifest(
        self, expected: Descriptor, source: base.Content
    ) -> None:
        manifests.check_size(expected)
        manifest = manifests.parse(
            source.read(), expected.media_type, expected.digest
        )
        if not self.exists(expected):
            self._tree.prepare()
            with self._reported(expected.size):
                self._write_manifest(manifest)
        if manifest.subject:
            with self._tree.listing, self._reported():
                self._referrers.add(manifest.subject.digest, manifest.referrer)

    def _write_manifest(self, manifest: manifests.Manifest) -> None:
        digest = manifest.descriptor.digest
        parts = {
            layout.HTACCESS: htaccess.render(
                manifest.descriptor.media_type, digest
            ),
            layout.MANIFEST: manifest.content,
        }
        home = self.paths.manifest_directory(digest)
        incoming = self._tree.incoming
        files.make_directory(self.paths.manifests)
        with files.staged_directory(incoming) as temporary:
            for name, content in parts.items():
                files.write(temporary / name, content)
            try:
                temporary.rename(home)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                # Half a manifest, or another thread's whole one.
                for name, content in parts.items():
                    files.replace(incoming, home / name, content)

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        references.check_tag(tag)
        root = self.resolve(digests.check(descriptor.digest))
        variants = [typemap.Variant(root.media_type, root.digest)]
        if root.media_type in mediatypes.INDEXES:
            variants += self._fallback(root)
        self._tree.prepare()
        with self._tree.listing, self._reported():
            self._tags.write(tag, variants)
            self._tree.list_repository(self.repository)

    def _fallback(self, index: Descriptor) -> list[typemap.Variant]:
        """One image of the index, for clients that know no indexes."""
        children = [
            child
            for child in verify.manifest(self, index).manifests
            if child.media_type in mediatypes.MANIFESTS and self.exists(child)
        ]
        children.sort(
            key=lambda child: (
                not (
                    child.platform
                    and child.platform.matches(_DEFAULT_PLATFORM)
                )
            )
        )
        return [
            typemap.Variant(
                child.media_type, child.digest, typemap.FALLBACK_QUALITY
            )
            for child in children[:1]
        ]

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        if descriptor.is_manifest:
            return False
        if self.exists(descriptor):
            return True
        origin = self._origin(descriptor, repository)
        if origin is None:
            return False
        self._tree.prepare()
        path = self.paths.blob(descriptor.digest)
        with self._reported():
            files.make_directory(path.parent)
            linked = disk.link(origin, path, self._tree.incoming)
        if not linked or not self.exists(descriptor):
            return False
        with self._reported():
            self._remove_broken(descriptor)
        self._tree.remember_blob(descriptor.digest, path)
        return True

    def locate(self, descriptor: Descriptor) -> str | None:
        if descriptor.is_manifest:
            return None
        if self.exists(descriptor):
            return self.repository
        origin = self._origin(descriptor, None)
        if origin is None:
            return None
        root = self._tree.path / layout.ROOT
        return origin.parent.parent.relative_to(root).as_posix()

    def _origin(
        self, descriptor: Descriptor, repository: str | None
    ) -> Path | None:
        if repository is not None:
            other = ImageServeStore(self._tree, repository)
            with self._reported():
                return other._blob(descriptor)
        path = self._tree.find_blob(descriptor.digest)
        with self._reported():
            if path and disk.regular_size(path) == descriptor.size:
                return path
        return None

    def holds(self, descriptor: Descriptor) -> bool:
        return verify.holds(self, descriptor)

    def tags(self) -> Iterator[str]:
        """All tags, sorted."""
        with self._reported():
            return iter(self._tags.names())

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        with self._reported():
            return self._referrers.of(subject.digest)

    def delete(self, descriptor: Descriptor) -> None:
        if not self.exists(descriptor):
            raise errors.NotFound(f"{self}@{descriptor.digest}: unknown")
        self._tree.prepare()
        if descriptor.is_manifest:
            self._delete_manifest(descriptor)
            return
        with self._reported():
            for path in self.paths.blob_candidates(descriptor.digest):
                path.unlink(missing_ok=True)
        self._tree.forget_blob(descriptor.digest, self.paths.blobs)

    def _delete_manifest(self, descriptor: Descriptor) -> None:
        """What names the manifest goes first, so nothing names a lost one."""
        with self._tree.listing, self._reported():
            # Read with the lists guarded: of two who delete it, one has.
            subject = verify.manifest(self, descriptor).subject
            self._tags.forget(descriptor.digest)
            if subject:
                self._referrers.remove(subject.digest, descriptor.digest)
            with files.staged_directory(self._tree.incoming) as temporary:
                home = self.paths.manifest_directory(descriptor.digest)
                home.rename(temporary)
            self._tree.holdings(self.repository).tidy()

    def untag(self, tag: str) -> bool:
        references.check_tag(tag)
        if tag not in self.tags():
            raise errors.NotFound(f"{self}:{tag}: tag unknown")
        self._tree.prepare()
        with self._tree.listing, self._reported():
            self._tags.remove(tag)
        return True

    def manifests(self) -> Iterator[Descriptor]:
        names: list[str] = []
        with self._reported(), contextlib.suppress(FileNotFoundError):
            names = sorted(os.listdir(self.paths.manifests))
        for digest in filter(digests.is_valid, names):
            # What a crash left half-made is no manifest.
            with contextlib.suppress(errors.NotFound):
                yield self.resolve(digest)

    def flush(self) -> None:
        self._tree.flush()

    def free_space(self) -> int:
        return self._tree.free_space()

    @contextlib.contextmanager
    def _reported(self, needed: int | None = None) -> Iterator[None]:
        with disk.reported(self._tree.path, needed=needed):
            yield
