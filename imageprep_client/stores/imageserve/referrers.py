"""The referrers of manifests: an image index, one file per subject."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci import document as documents
from imageprep_client.oci import referrers
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores.imageserve import files, htaccess, layout

# An index of more bytes than this is not one that `Referrers` wrote.
_MAX_SIZE = 16 * 1024 * 1024


class Referrers:
    """Those of one repository; callers turn an `OSError` into theirs."""

    def __init__(self, tree: Path, paths: layout.RepositoryPaths) -> None:
        self._tree = tree
        self._incoming = tree / layout.INCOMING
        self._paths = paths

    def of(self, subject: str) -> Sequence[Descriptor]:
        """What refers to the manifest of this digest.

        :raises InvalidContent: when the file is no such list.
        """
        path = self._paths.referrers_of(subject)
        content = disk.read(self._tree, path, _MAX_SIZE)
        return () if content is None else _parse(content, str(path))

    def add(self, subject: str, referrer: Descriptor) -> None:
        """Add one, or replace that of its digest."""
        others = self._others(subject, referrer.digest)
        self._write(subject, [*others, referrer])

    def remove(self, subject: str, digest: str) -> None:
        """Remove one; the file goes with the last."""
        self._write(subject, self._others(subject, digest))

    def _others(self, subject: str, digest: str) -> list[Descriptor]:
        return [each for each in self.of(subject) if each.digest != digest]

    def _write(self, subject: str, found: Iterable[Descriptor]) -> None:
        path = self._paths.referrers_of(subject)
        ordered = sorted(found, key=lambda each: each.digest)
        if not ordered:
            path.unlink(missing_ok=True)
            return
        headers = self._paths.referrers / layout.HTACCESS
        if not headers.exists():
            files.replace(self._incoming, headers, htaccess.REFERRERS)
        files.replace(self._incoming, path, referrers.index(ordered))


def _parse(content: bytes, name: str) -> tuple[Descriptor, ...]:
    try:
        entries = documents.parse(content, "the file")["manifests"]
        return tuple(Descriptor.from_json(entry) for entry in entries)
    except (
        LookupError,
        TypeError,
        errors.InvalidContent,
        errors.InvalidReference,
    ) as error:
        raise errors.InvalidContent(
            f"{name}: no list of referrers: {error}",
            hint="delete the file and copy the referrers again",
        ) from None
