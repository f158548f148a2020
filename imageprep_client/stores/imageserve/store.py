"""One repository of an image-serve tree."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Iterator, Sequence

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.host.directory import write_all
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.stores import base, verify
from imageprep_client.stores.imageserve import htaccess, layout, typemap
from imageprep_client.stores.imageserve.catalog import TreeCatalog
from imageprep_client.stores.imageserve.referrers import Referrers
from imageprep_client.stores.imageserve.tags import Tags

_DEFAULT_PLATFORM = Platform("linux", "amd64")
#: Bytes that take the disk some time.
_LARGE = 1024 * 1024


class ImageServeStore:
    """A repository; see `layout` for its files.

    Content is written under `layout.INCOMING` and renamed into place without
    ``fsync``; `flush` makes all of it durable at once. A blob or manifest
    with another size than its descriptor does not exist; symbolic links are
    not content.
    """

    def __init__(self, catalog: TreeCatalog, repository: str) -> None:
        self.repository = layout.check_repository(repository)
        self.registry = catalog.registry
        self.paths = layout.RepositoryPaths(repository)
        self._catalog = catalog
        self._tree = catalog.tree
        self._tags = Tags(catalog, repository, self._media_type)
        self._referrers = Referrers(self._tree, self.paths)

    def __str__(self) -> str:
        return references.join(self.registry, self.repository)

    def resolve(self, reference: str) -> Descriptor:
        digest = reference
        if not digests.is_valid(reference):
            root = typemap.root(self.variants(reference))
            if root is None:
                raise errors.NotFound(f"{self}:{reference}: manifest unknown")
            digest = root.digest
        with self._reported():
            size = self._tree.regular_size(self.paths.manifest(digest))
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
        """The type in the ``.htaccess`` file, else in the manifest."""
        path = self.paths.htaccess(digest)
        content = self._tree.read(path, htaccess.MAX_SIZE)
        recorded = htaccess.media_type(content or b"")
        if mediatypes.is_manifest(recorded):
            return recorded
        path = self.paths.manifest(digest)
        content = self._tree.read(path, manifests.MAX_SIZE)
        return htaccess.type_inside(content or b"")

    def exists(self, descriptor: Descriptor) -> bool:
        with self._reported():
            if not descriptor.is_manifest:
                return self._blob(descriptor) is not None
            # Without its headers a web server would not send its type.
            path = self.paths.manifest(descriptor.digest)
            headers = self.paths.htaccess(descriptor.digest)
            return self._tree.regular_size(path) == descriptor.size and bool(
                self._tree.regular_size(headers)
            )

    def _blob(self, descriptor: Descriptor) -> str | None:
        for path in self.paths.blob_candidates(descriptor.digest):
            if self._tree.regular_size(path) == descriptor.size:
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
            stream = path and self._tree.open_regular(path)
        if not stream:
            raise errors.NotFound(f"{name}: unknown")
        return verify.VerifiedContent(stream, descriptor, name)

    def open_blob(self, digest: str) -> io.FileIO | None:
        """The file of a blob, whatever its size, for a server to send."""
        with self._reported():
            for path in self.paths.blob_candidates(digests.check(digest)):
                if file := self._tree.open_regular(path):
                    return file
        return None

    def open_manifest(self, digest: str) -> io.FileIO | None:
        """The file of a manifest, for a server to send."""
        path = self.paths.manifest(digests.check(digest))
        with self._reported():
            return self._tree.open_regular(path)

    def has_manifests(self) -> bool:
        """Whether the repository has a directory for manifests."""
        with self._reported():
            return self._tree.is_directory(self.paths.manifests)

    def write_tags_list(self) -> None:
        with self._catalog.listing, self._reported():
            self._tags.write_list()

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
        self._catalog.prepare()
        path = self.paths.blob(expected.digest)
        with self._catalog.partials.staged(expected) as temporary:
            with self._reported(expected.size):
                disk.check_room(self._tree.path, expected.size)
                file = self._tree.create(temporary)
            with file:
                while chunk := source.read(base.CHUNK):
                    with self._reported(expected.size):
                        write_all(file, chunk)
                if expected.size >= _LARGE:
                    disk.begin_writing(file.fileno())
            with self._reported():
                self._make_blobs(expected)
                self._tree.rename(temporary, path)
                self._remove_broken(expected)
        self._catalog.remember_blob(expected.digest, path)

    def _make_blobs(self, blob: Descriptor) -> None:
        """Make the directory of a blob that is about to be renamed there."""
        self._catalog.publish()
        self._tree.make_directory(self.paths.blobs)
        if blob.size == 0:
            self._tree.put(self.paths.blob_headers, htaccess.EMPTY_BLOBS)

    def partial(
        self, descriptor: Descriptor
    ) -> tuple[base.Content, int] | None:
        with self._reported():
            return self._catalog.partials.take(descriptor)

    def _remove_broken(self, descriptor: Descriptor) -> None:
        """Remove incomplete files that tripleo-common left beside a blob."""
        for path in self.paths.blob_candidates(descriptor.digest):
            if self._tree.regular_size(path) not in (None, descriptor.size):
                self._tree.unlink(path)

    def _push_manifest(
        self, expected: Descriptor, source: base.Content
    ) -> None:
        manifests.check_size(expected)
        manifest = manifests.parse(
            source.read(), expected.media_type, expected.digest
        )
        if not self.exists(expected):
            self._catalog.publish()
            with self._reported(expected.size):
                self._write_manifest(manifest)
        if manifest.subject:
            with self._catalog.listing, self._reported():
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
        self._tree.make_directory(self.paths.manifests)
        with self._tree.staged_directory() as temporary:
            for name, content in parts.items():
                self._tree.write(f"{temporary}/{name}", content)
            try:
                self._tree.rename(temporary, home)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                # Half a manifest, or another thread's whole one.
                for name, content in parts.items():
                    self._tree.put(f"{home}/{name}", content)

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        references.check_tag(tag)
        root = self.resolve(digests.check(descriptor.digest))
        variants = [typemap.Variant(root.media_type, root.digest)]
        if root.media_type in mediatypes.INDEXES:
            variants += self._fallback(root)
        self._catalog.publish()
        with self._catalog.listing, self._reported():
            for path in (self.paths.tag_link(tag), self.paths.tags_list):
                if self._tree.is_directory(path):
                    raise errors.InvalidReference(
                        f"{self}:{tag}: a repository below has the directory"
                        f" {path}, which a web server would serve instead",
                        hint="give one of them another name",
                    )
            self._referrers.prepare()
            self._tags.write(tag, variants)
            self._catalog.list_repository(self.repository)

    def _fallback(self, index: Descriptor) -> list[typemap.Variant]:
        """One image of the index, for clients that know no indexes."""
        children = [
            child
            for child in verify.manifest(self, index).manifests
            if child.media_type in mediatypes.MANIFESTS and self.exists(child)
        ]
        children.sort(key=lambda child: not child.is_for(_DEFAULT_PLATFORM))
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
        path = self.paths.blob(descriptor.digest)
        with self._reported():
            self._make_blobs(descriptor)
            linked = self._tree.link(origin, path, staging=layout.INCOMING)
        if not linked or not self.exists(descriptor):
            return False
        with self._reported():
            self._remove_broken(descriptor)
        self._catalog.remember_blob(descriptor.digest, path)
        return True

    def locate(self, descriptor: Descriptor) -> str | None:
        if descriptor.is_manifest:
            return None
        if self.exists(descriptor):
            return self.repository
        origin = self._origin(descriptor, None)
        if origin is None:
            return None
        return origin.removeprefix(f"{layout.ROOT}/").rsplit("/", 2)[0]

    def _origin(
        self, descriptor: Descriptor, repository: str | None
    ) -> str | None:
        if repository is not None:
            other = ImageServeStore(self._catalog, repository)
            with self._reported():
                return other._blob(descriptor)
        path = self._catalog.find_blob(descriptor.digest)
        with self._reported():
            if path and self._tree.regular_size(path) == descriptor.size:
                return path
        return None

    def holds(self, descriptor: Descriptor) -> bool:
        return verify.holds(self, descriptor)

    def tags(self) -> Iterator[str]:
        with self._reported():
            return iter(self._tags.names())

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        with self._reported():
            return self._referrers.of(subject.digest)

    def delete(self, descriptor: Descriptor) -> None:
        if not self.exists(descriptor):
            raise errors.NotFound(f"{self}@{descriptor.digest}: unknown")
        self._catalog.prepare()
        if descriptor.is_manifest:
            self._delete_manifest(descriptor)
            return
        with self._reported():
            for path in self.paths.blob_candidates(descriptor.digest):
                self._tree.unlink(path)
        self._catalog.forget_blob(descriptor.digest, self.paths.blobs)

    def _delete_manifest(self, descriptor: Descriptor) -> None:
        """Delete a manifest after all references to it."""
        with self._catalog.listing, self._reported():
            # Under the guard, only one of two deletions finds it.
            subject = verify.manifest(self, descriptor).subject
            self._tags.forget(descriptor.digest)
            if subject:
                self._referrers.remove(subject.digest, descriptor.digest)
            home = self.paths.manifest_directory(descriptor.digest)
            self._tree.remove_directory(home)
            self._catalog.tidy(self.repository)

    def untag(self, tag: str) -> None:
        references.check_tag(tag)
        with self._reported():
            has = self._tags.has(tag)
        if not has:
            raise errors.NotFound(f"{self}:{tag}: tag unknown")
        self._catalog.prepare()
        with self._catalog.listing, self._reported():
            self._tags.remove(tag)

    def manifests(self) -> Iterator[Descriptor]:
        with self._reported():
            names = self._tree.entries(self.paths.manifests)
        for digest in filter(digests.is_valid, names):
            # A crash may have left an incomplete manifest.
            with contextlib.suppress(errors.NotFound):
                yield self.resolve(digest)

    def flush(self) -> None:
        self._catalog.flush()

    def free_space(self) -> int:
        return self._catalog.free_space()

    def _reported(
        self, needed: int | None = None
    ) -> contextlib.AbstractContextManager[None]:
        return disk.reported(self._tree.path, needed=needed)
