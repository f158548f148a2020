"""The referrers of manifests: an image index, one file per subject."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imageprep_client import errors
from imageprep_client.oci import document as documents
from imageprep_client.oci import referrers
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.imageserve import htaccess, layout
from imageprep_client.stores.imageserve.layout import TreeDirectory

# An index of more bytes than this is not one that `Referrers` wrote.
_MAX_SIZE = 16 * 1024 * 1024


class Referrers:
    """Those of one repository; callers turn an `OSError` into theirs."""

    def __init__(
        self, tree: TreeDirectory, paths: layout.RepositoryPaths
    ) -> None:
        self._tree = tree
        self._paths = paths

    def of(self, subject: str) -> Sequence[Descriptor]:
        """The manifests that refer to the one of this digest.

        :raises InvalidContent: when the file is no such list.
        """
        path = self._paths.referrers_of(subject)
        content = self._tree.read(path, _MAX_SIZE)
        if content is None:
            return ()
        return _parse(content, str(self._tree.path / path))

    def prepare(self) -> None:
        """Write the files with which a web server answers "no referrers"."""
        for path, content in (
            (self._paths.no_referrers, referrers.index(())),
            (self._paths.referrers_headers, htaccess.REFERRERS),
        ):
            if self._tree.regular_size(path) != len(content):
                self._tree.put(path, content)

    def add(self, subject: str, referrer: Descriptor) -> None:
        """Add one, or replace that of its digest."""
        others = self._others(subject, referrer.digest)
        self._write(subject, [*others, referrer])

    def remove(self, subject: str, digest: str) -> None:
        """Remove one; the file is removed with the last one."""
        self._write(subject, self._others(subject, digest))

    def _others(self, subject: str, digest: str) -> list[Descriptor]:
        return [entry for entry in self.of(subject) if entry.digest != digest]

    def _write(self, subject: str, entries: Iterable[Descriptor]) -> None:
        path = self._paths.referrers_of(subject)
        ordered = sorted(entries, key=lambda entry: entry.digest)
        if not ordered:
            self._tree.unlink(path)
            return
        self.prepare()
        self._tree.put(path, referrers.index(ordered))


def _parse(content: bytes, name: str) -> tuple[Descriptor, ...]:
    try:
        entries = documents.parse(content, "the file")["manifests"]
        return tuple(Descriptor.from_json(entry) for entry in entries)
    except (
        *errors.MALFORMED,
        errors.InvalidContent,
        errors.InvalidReference,
    ) as error:
        raise errors.InvalidContent(
            f"{name}: no list of referrers: {errors.structure(error)}",
            hint="delete the file and copy the referrers again",
        ) from None
