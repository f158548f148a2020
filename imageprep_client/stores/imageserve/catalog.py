"""The parts of a tree that its repositories share: lists and blobs."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from imageprep_client.host import disk
from imageprep_client.host.reading import Kind
from imageprep_client.oci import digest as digests
from imageprep_client.stores.imageserve import htaccess, layout
from imageprep_client.stores.imageserve.layout import TreeDirectory
from imageprep_client.stores.imageserve.partial import Partials
from imageprep_client.stores.imageserve.typemap import TagIndex


class TreeCatalog:
    """The list of repositories and the paths of blobs; thread-safe.

    :ivar path: the directory that holds ``v2``.
    :ivar registry: identity of the tree.
    :ivar tree: its directory.
    :ivar partials: beginnings of blobs.
    :ivar listing: guards the lists of tags, repositories and referrers.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.tree = TreeDirectory(path)
        self.path = self.tree.path
        self.registry = f"image-serve:{self.path}"
        self.partials = Partials(self.tree, layout.INCOMING)
        self.listing = threading.RLock()
        self._prepared = False
        self._published = False
        self._written = False
        self._file_system: disk.FileSystem | None = None
        self._repositories: set[str] | None = None
        self._blobs: dict[str, str] = {}
        self._indexes: dict[str, TagIndex] | None = None
        self._unlisted: dict[str, Callable[[], None]] = {}

    def prepare(self) -> None:
        """Make what every writer needs, once.

        Nothing that is served is made before there is content for it.

        :raises InvalidArgument: when there can be no tree.
        :raises AccessDenied: when a link or a stranger's directory is in
            the place of one of the tree's own.
        """
        if self._prepared:
            return
        with disk.reported(self.path):
            self.tree.make()
            # A web server may be told to serve all that it can read below
            # the tree.
            self.tree.make_directory(layout.INCOMING, 0o700)
            self.tree.keep_private(layout.INCOMING)
            # Before anything is written, so that all failures are told.
            self._file_system = disk.FileSystem(self.path)
            self._prepared = True
            if self.tree.status(layout.ROOT):
                self.publish()

    def publish(self) -> None:
        """Make what every tree serves, once; content is ready to follow."""
        if self._published:
            return
        self.prepare()
        index = f"{layout.ROOT}/{layout.MANIFEST}"
        # A thread that fails removes what it has made.
        with self.listing, disk.reported(self.path):
            is_new = self.tree.status(layout.ROOT) is None
            self.tree.make_directory(layout.ROOT)
            try:
                if self.tree.regular_size(index) is None:
                    self.tree.put(index, b"{}")
                if self.tree.regular_size(layout.CATALOG) is None:
                    self._begin()
            except OSError:
                if is_new:
                    self.tree.unlink(index)
                    self.tree.remove_empty(layout.ROOT)
                raise
        self._published = True

    def close(self) -> None:
        """Close all descriptors of the tree."""
        self._prepared = self._published = False
        self._file_system = None
        self.tree.close()

    def forget(self) -> None:
        """Drop cached state that other runs may have changed."""
        with self.listing:
            self._repositories = None
            self._written = False
        self.tree.forget()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep tags in memory for a block in which no other run writes."""
        with self.listing:
            self._indexes = {}
        try:
            yield
        finally:
            with self.listing, disk.reported(self.path):
                self._write_lists()
                self._indexes = None

    def tag_index(self, repository: str) -> TagIndex | None:
        """The cached tags; None while other runs may change them."""
        if self._indexes is None:
            return None
        return self._indexes.setdefault(repository, TagIndex())

    def defer_list(self, repository: str, write: Callable[[], None]) -> None:
        """Write the list of tags later; the next run does it if need be."""
        marker = layout.unlisted(repository)
        self.tree.replace(marker, repository.encode(), 0o600)
        self._unlisted[repository] = write

    def list_written(self, repository: str) -> None:
        """Note that the list of tags is complete."""
        if self._unlisted.pop(repository, None):
            self.tree.unlink(layout.unlisted(repository))

    def _write_lists(self) -> None:
        for write in list(self._unlisted.values()):
            write()

    def flush(self) -> None:
        """Return when all that was written is on stable storage."""
        with self.listing, disk.reported(self.path):
            self._write_lists()
        if self.path.exists():
            with disk.reported(self.path):
                opened = self._file_system or disk.FileSystem(self.path)
                opened.synchronise()

    def free_space(self) -> int:
        """Bytes that can still be written."""
        with disk.reported(self.path):
            return disk.free_space(self.path)

    def repositories(self) -> list[str]:
        """The names of all repositories, sorted."""
        with self.listing:
            return sorted(self._scanned())

    def list_repository(self, repository: str) -> None:
        """Add a repository to the list; the caller holds `listing`."""
        known = self._scanned()
        if repository in known and self._written:
            return
        known.add(repository)
        self._write(known)

    def unlist_repository(self, repository: str) -> None:
        """Remove a repository from the list; the caller holds `listing`."""
        known = self._scanned()
        known.discard(repository)
        self._write(known)

    def _begin(self) -> None:
        """Create the list, unless another run is faster.

        The run that has the lock may remove the file staged here.
        """
        with self.tree.staged(layout.INCOMING) as temporary:
            self.tree.write(temporary, layout.catalog(self._scanned()))
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                self.tree.link_new(temporary, layout.CATALOG)

    def _write(self, known: set[str]) -> None:
        self.tree.put(layout.CATALOG, layout.catalog(known))
        self._written = True

    def remember_blob(self, digest: str, path: str) -> None:
        """Note the path of a blob."""
        with self.listing:
            if self._repositories is not None:
                self._blobs[digest] = path

    def forget_blob(self, digest: str, blobs: str) -> None:
        """Note that the directory `blobs` no longer has the blob."""
        with self.listing:
            path = self._blobs.get(digest)
            if path and path.rpartition("/")[0] == blobs:
                del self._blobs[digest]

    def find_blob(self, digest: str) -> str | None:
        """A path in the tree where the blob is, or was."""
        with self.listing:
            self._scanned()
            return self._blobs.get(digest)

    def tidy(self, repository: str) -> None:
        """Remove a repository without content; the caller holds `listing`.

        The first manifest or tag ends the search.
        """
        tree, paths = self.tree, layout.RepositoryPaths(repository)
        half_made = []
        for name, _ in tree.scan(paths.manifests):
            if self._is_half_made(paths, name):
                half_made.append(name)
            elif name == layout.HTACCESS and (
                tree.read(paths.tag_headers, htaccess.MAX_SIZE)
                in htaccess.OF_TYPE_MAPS
            ):
                continue
            elif not layout.is_below(tree, f"{paths.manifests}/{name}"):
                return
        for name in half_made:
            tree.remove_directory(paths.manifest_directory(name))
        tree.unlink(paths.tag_headers)
        self.unlist_repository(repository)
        self.list_written(repository)
        if self._indexes:
            self._indexes.pop(repository, None)
        if not tree.is_directory(paths.tags_list):
            tree.unlink(paths.tags_list)
        own = {layout.HTACCESS, layout.MANIFEST}
        if own.issuperset(name for name, _ in tree.scan(paths.referrers)):
            tree.unlink(paths.referrers_headers)
            tree.unlink(paths.no_referrers)
        if not any(
            kind is not Kind.DIRECTORY and name != layout.HTACCESS
            for name, kind in tree.scan(paths.blobs)
        ):
            tree.unlink(paths.blob_headers)
        for part in (
            paths.manifests,
            paths.tags,
            paths.referrers,
            paths.blobs,
        ):
            tree.remove_empty(part)
        home = paths.home
        while home != layout.ROOT and tree.remove_empty(home):
            home = home.rpartition("/")[0]

    def remove_half_made(self, repository: str) -> None:
        """Remove incomplete manifests of crashed deletions and pushes."""
        paths = layout.RepositoryPaths(repository)
        for name in self.tree.entries(paths.manifests):
            if self._is_half_made(paths, name):
                directory = paths.manifest_directory(name)
                self.tree.remove_directory(directory)

    def _is_half_made(self, paths: layout.RepositoryPaths, name: str) -> bool:
        return (
            digests.is_valid(name)
            and self.tree.status(paths.manifest(name)) is None
        )

    def _scanned(self) -> set[str]:
        """The repositories; the first call walks over the whole tree."""
        if self._repositories is None:
            with disk.reported(self.path):
                self._repositories, self._blobs = _scan(self.tree)
        return self._repositories


def _scan(tree: TreeDirectory) -> tuple[set[str], dict[str, str]]:
    """Repositories and blobs; symbolic links are not followed."""
    repositories: set[str] = set()
    blobs: dict[str, str] = {}
    todo = [layout.ROOT]
    while todo:
        directory = todo.pop()
        parts = set()
        for name, kind in tree.scan(directory):
            digest = name.removesuffix(layout.LAYER_SUFFIX)
            if kind is Kind.DIRECTORY:
                parts.add(name)
            elif (
                kind is Kind.FILE
                and directory.endswith("/blobs")
                and digests.is_valid(digest)
            ):
                blobs[digest] = f"{directory}/{name}"
        if {"manifests", "tags"} <= parts and all(
            layout.is_part(tree, f"{directory}/{part}")
            for part in ("manifests", "tags")
        ):
            repositories.add(directory.partition("/")[2])
        todo.extend(
            f"{directory}/{name}"
            for name in parts
            if not digests.is_valid(name)
        )
    return repositories, blobs
