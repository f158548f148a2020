"""The tags of a repository: type maps, older links, and the list of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from imageprep_client.host.reading import Kind
from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references
from imageprep_client.stores.imageserve import layout, typemap
from imageprep_client.stores.imageserve.layout import TreeDirectory
from imageprep_client.stores.imageserve.typemap import Variant

_MAX_SIZE = 64 * 1024


class Tags:
    """The tags of one repository; callers turn an `OSError` into theirs.

    :param paths: of the repository.
    :param media_type: tells the type of a manifest by its digest.
    """

    def __init__(
        self,
        tree: TreeDirectory,
        repository: str,
        paths: layout.RepositoryPaths,
        media_type: Callable[[str], str],
    ) -> None:
        self._tree = tree
        self._repository = repository
        self._paths = paths
        self._media_type = media_type

    def names(self) -> list[str]:
        """All tags, sorted."""
        return sorted(
            tag
            for name, kind in self._tree.scan(self._paths.manifests)
            if references.is_tag(tag := _tag(name, kind))
        )

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
        """Let a tag name these; an older link is replaced."""
        content = typemap.render(tag, variants)
        self._tree.put(self._paths.type_map(tag), content)
        self._unlink_older(tag)
        self.write_list()

    def write_list(self) -> None:
        """Have ``tags/list`` say what there is."""
        content = layout.tags_list(self._repository, self.names())
        self._tree.put(self._paths.tags_list, content)

    def remove(self, tag: str) -> None:
        """Remove a tag, in whichever form it is there."""
        self._unlink(tag)
        self.write_list()

    def _unlink(self, tag: str) -> None:
        self._tree.unlink(self._paths.type_map(tag))
        self._unlink_older(tag)

    def _unlink_older(self, tag: str) -> None:
        link = self._paths.tag_link(tag)
        if self._tree.read_link(link) is not None:
            self._tree.unlink(link)

    def forget(self, digest: str) -> None:
        """Remove the tags of a manifest, and it from those of an index."""
        for tag in self.names():
            variants = self.variants(tag)
            kept = [v for v in variants if v.digest != digest]
            root = typemap.root(variants)
            if root and root.digest == digest:
                self._unlink(tag)
            elif len(kept) < len(variants):
                self.write(tag, kept)
        self.write_list()


def _tag(name: str, kind: Kind) -> str:
    """The tag of a file's name; empty for a file of something else."""
    tag = name.removesuffix(layout.TYPE_MAP_SUFFIX)
    is_older = tag == name
    return tag if kind is (Kind.LINK if is_older else Kind.FILE) else ""
