"""The tags of a repository: type maps, older links, and the list of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from imageprep_client.host.reading import Kind
from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references
from imageprep_client.stores.imageserve import htaccess, layout, typemap
from imageprep_client.stores.imageserve.catalog import TreeCatalog
from imageprep_client.stores.imageserve.typemap import Variant

_MAX_SIZE = 64 * 1024
#: One of so many tags may be missing in the list during a run.
_SHARE = 16


class Tags:
    """The tags of one repository; callers turn an `OSError` into theirs.

    Writers hold `TreeCatalog.listing`. While this run has the tree's lock,
    the list is written when one in sixteen tags has changed, and when the
    catalog writes all lists: otherwise many tags take quadratic time.

    :param media_type: tells the type of a manifest by its digest.
    """

    def __init__(
        self,
        catalog: TreeCatalog,
        repository: str,
        media_type: Callable[[str], str],
    ) -> None:
        self._catalog = catalog
        self._tree = catalog.tree
        self._repository = repository
        self._paths = layout.RepositoryPaths(repository)
        self._media_type = media_type

    def names(self) -> list[str]:
        """All tags, sorted."""
        with self._catalog.listing:
            index = self._catalog.tag_index(self._repository)
            if index is None:
                return sorted(self._scanned())
            if index.names is None:
                index.names = set(self._scanned())
            return sorted(index.names)

    def _scanned(self) -> Iterator[str]:
        for name, kind in self._tree.scan(self._paths.manifests):
            if references.is_tag(tag := _tag(name, kind)):
                yield tag

    def has(self, tag: str) -> bool:
        """Whether there is such a tag, understood or not."""
        type_map = self._tree.regular_size(self._paths.type_map(tag))
        link = self._tree.read_link(self._paths.tag_link(tag))
        return type_map is not None or link is not None

    def variants(self, tag: str) -> tuple[Variant, ...]:
        """The manifests that a tag can answer with; empty without it."""
        content = self._tree.read(self._paths.type_map(tag), _MAX_SIZE)
        if content is not None:
            return typemap.parse(content)
        target = self._tree.read_link(self._paths.tag_link(tag)) or ""
        digest = os.path.basename(target.rstrip("/"))
        if not digests.is_valid(digest):
            return ()
        return (Variant(self._media_type(digest), digest),)

    def write(self, tag: str, variants: Sequence[Variant]) -> None:
        """Point a tag at these; an older link is replaced."""
        if self._tree.status(self._paths.tag_headers) is None:
            self._tree.put(self._paths.tag_headers, htaccess.TYPE_MAPS)
        content = typemap.render(tag, variants)
        self._tree.put(self._paths.type_map(tag), content)
        self._unlink_older(tag)
        self._changed(tag, variants)

    def remove(self, tag: str) -> None:
        """Remove a tag, in either form."""
        self._tree.unlink(self._paths.type_map(tag))
        self._unlink_older(tag)
        self._changed(tag, ())

    def _unlink_older(self, tag: str) -> None:
        link = self._paths.tag_link(tag)
        if self._tree.read_link(link) is not None:
            self._tree.unlink(link)

    def _changed(self, tag: str, variants: Sequence[Variant]) -> None:
        index = self._catalog.tag_index(self._repository)
        if index is None:
            self.write_list()
            return
        index.note(tag, variants)
        if index.names is None:
            index.names = set(self._scanned())
        if index.changes * _SHARE >= len(index.names):
            self.write_list()
        elif index.changes == 1:
            self._catalog.defer_list(self._repository, self.write_list)

    def write_list(self) -> None:
        content = layout.tags_list(self._repository, self.names())
        self._tree.put(self._paths.tags_list, content)
        index = self._catalog.tag_index(self._repository)
        if index:
            index.changes = 0
            self._catalog.list_written(self._repository)

    def forget(self, digest: str) -> None:
        """Remove the tags of a manifest, and its variants of other tags."""
        for tag in self._users(digest):
            variants = self.variants(tag)
            kept = [v for v in variants if v.digest != digest]
            root = typemap.root(variants)
            if root and root.digest == digest:
                self.remove(tag)
            elif len(kept) < len(variants):
                self.write(tag, kept)

    def _users(self, digest: str) -> Sequence[str]:
        """The tags that may name a manifest."""
        index = self._catalog.tag_index(self._repository)
        if index is None:
            return self.names()
        if not index.is_loaded:
            index.load({tag: self.variants(tag) for tag in self.names()})
        return index.users(digest)


def _tag(name: str, kind: Kind) -> str:
    """The tag of a file's name; empty for a file of something else."""
    tag = name.removesuffix(layout.TYPE_MAP_SUFFIX)
    is_older = tag == name
    return tag if kind is (Kind.LINK if is_older else Kind.FILE) else ""
