"""The tags of a repository: type maps, older links, and the list of both."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from imageprep_client.host import disk
from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references
from imageprep_client.stores.imageserve import files, layout, typemap
from imageprep_client.stores.imageserve.typemap import Variant

_MAX_SIZE = 64 * 1024
#: What readlink says where there is no link: nothing, or something else.
_NO_LINK = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL})


class Tags:
    """The tags of one repository; callers turn an `OSError` into theirs.

    :param paths: of the repository.
    :param media_type: tells the type of a manifest by its digest.
    """

    def __init__(
        self,
        tree: Path,
        repository: str,
        paths: layout.RepositoryPaths,
        media_type: Callable[[str], str],
    ) -> None:
        self._tree = tree
        self._incoming = tree / layout.INCOMING
        self._repository = repository
        self._paths = paths
        self._media_type = media_type

    def names(self) -> list[str]:
        """All tags, sorted."""
        found = set()
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._paths.manifests):
                name = entry.name.removesuffix(layout.TYPE_MAP_SUFFIX)
                there = (
                    entry.is_symlink()
                    if name == entry.name
                    else entry.is_file(follow_symlinks=False)
                )
                if there and references.is_tag(name):
                    found.add(name)
        return sorted(found)

    def variants(self, tag: str) -> tuple[Variant, ...]:
        """The manifests that a tag can answer with; empty without it."""
        content = disk.read(self._tree, self._paths.type_map(tag), _MAX_SIZE)
        if content is not None:
            return typemap.parse(content)
        try:
            target = os.readlink(self._paths.tag_link(tag))
        except OSError as error:
            if error.errno in _NO_LINK:
                return ()
            raise
        digest = os.path.basename(target.rstrip("/"))
        if not digests.is_valid(digest):
            return ()
        return (Variant(self._media_type(digest), digest),)

    def write(self, tag: str, variants: Sequence[Variant]) -> None:
        """Let a tag name these; an older link is replaced."""
        content = typemap.render(tag, variants)
        files.replace(self._incoming, self._paths.type_map(tag), content)
        if self._paths.tag_link(tag).is_symlink():
            self._paths.tag_link(tag).unlink()
        self.write_list()

    def write_list(self) -> None:
        """Have ``tags/list`` say what there is."""
        content = layout.tags_list(self._repository, self.names())
        files.replace(self._incoming, self._paths.tags_list, content)

    def remove(self, tag: str) -> None:
        """Remove a tag, in whichever form it is there."""
        self._unlink(tag)
        self.write_list()

    def _unlink(self, tag: str) -> None:
        self._paths.type_map(tag).unlink(missing_ok=True)
        if self._paths.tag_link(tag).is_symlink():
            self._paths.tag_link(tag).unlink()

    def forget(self, digest: str) -> None:
        """Remove the tags of a manifest, and it from those of an index."""
        for tag in self.names():
            variants = self.variants(tag)
            kept = [each for each in variants if each.digest != digest]
            root = typemap.root(variants)
            if root and root.digest == digest:
                self._unlink(tag)
            elif len(kept) < len(variants):
                self.write(tag, kept)
        self.write_list()
