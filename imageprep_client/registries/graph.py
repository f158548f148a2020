"""One repository as a graph: tags, manifests, blobs, and what names what."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.oci.referrers import subject_tag, tag_of
from imageprep_client.stores import base
from imageprep_client.stores.stored_files import StoredFile, StoredFiles

MISSING = "missing"
CORRUPT = "corrupt"
WRONG_SIZE = "wrong size"
UNREADABLE = "unreadable"
UNSUPPORTED = "unsupported"

#: Errors that say nothing about the requested content.
_ACCESS = (
    errors.AccessDenied,
    errors.Unreachable,
    errors.TooManyRequests,
    errors.InputError,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Closure:
    """All content that some tags and digests of a repository lead to.

    :ivar manifests: those that exist.
    :ivar named: all digests, of blobs and of what is missing, too.
    """

    tags: frozenset[str]
    manifests: frozenset[str]
    named: frozenset[str]


@dataclasses.dataclass(frozen=True)
class RepositoryGraph:
    """The content of one repository.

    :ivar stored_files: its files; None where only names can be asked for.
    :ivar tags: the digest that each tag names; empty where it names none.
    :ivar descriptors: all manifests that are of use, by digest; with
        `reading.read_parents` those that were not read, too.
    :ivar manifests: all that were read, by digest, without their bytes.
    :ivar broken: the manifests and tags that could not be read, and why: a
        problem such as `MISSING`, or a message.
    :ivar elsewhere: children of indexes that have others here: images for
        platforms that were not copied.
    :ivar contents: the files, whole or broken; empty without stored_files.
    """

    name: str
    store: base.Store
    stored_files: StoredFiles | None
    tags: Mapping[str, str]
    descriptors: Mapping[str, Descriptor]
    manifests: Mapping[str, Manifest]
    broken: Mapping[str, str]
    elsewhere: frozenset[str]
    contents: Sequence[StoredFile]

    @functools.cached_property
    def blobs(self) -> dict[Descriptor, None]:
        """All blobs that manifests need, each once, in a stable order."""
        return {
            blob: None
            for manifest in self.manifests.values()
            for blob in manifest.blobs
        }

    @property
    def unsupported(self) -> list[str]:
        """The full names of manifests of kinds that cannot be read."""
        return [
            f"{self.store}{'@' if digests.is_valid(name) else ':'}{name}"
            for name, why in self.broken.items()
            if why == UNSUPPORTED
        ]

    @functools.cached_property
    def file_sizes(self) -> dict[str, list[int]]:
        """The sizes of the files that claim a digest."""
        sizes: dict[str, list[int]] = {}
        for stored in self.contents:
            sizes.setdefault(stored.digest, []).append(stored.size)
        return sizes

    @functools.cached_property
    def artifacts(self) -> dict[str, list[str]]:
        """The manifests that have another as their subject, by that."""
        artifacts: dict[str, list[str]] = {}
        for digest, manifest in self.manifests.items():
            if manifest.subject:
                artifacts.setdefault(manifest.subject.digest, []).append(
                    digest
                )
        return artifacts

    @functools.cached_property
    def attached_tags(self) -> dict[str, list[str]]:
        """Tags that are made of a digest, by the `tag_of` that digest."""
        tags: dict[str, list[str]] = {}
        for tag in self.tags:
            if subject := subject_tag(tag):
                tags.setdefault(subject, []).append(tag)
        return tags

    @functools.cached_property
    def tags_by_digest(self) -> dict[str, list[str]]:
        """The tags that name each manifest, sorted."""
        tags: dict[str, list[str]] = {}
        for tag, digest in sorted(self.tags.items()):
            if digest:
                tags.setdefault(digest, []).append(tag)
        return tags

    def depths(self) -> dict[str, int]:
        """How far attached manifests are from what they are attached to.

        An artifact of an image has 1 and an artifact of that has 2, each with
        the manifests below it; others are left out.
        """
        subjects = {
            digest: subject
            for subject, artifacts in self.artifacts.items()
            for digest in artifacts
        }
        for subject in self.manifests:
            for tag in self.attached_tags.get(tag_of(subject), ()):
                subjects[self.tags[tag]] = subject
        depths: dict[str, int] = {}
        for digest in subjects:
            # Tags may go in circles.
            chain, at = set[str](), digest
            while at in subjects and at not in chain:
                chain.add(at)
                at = subjects[at]
            for each in self.below([digest]):
                depths[each] = max(depths.get(each, 0), len(chain))
        return depths

    def below(self, roots: Iterable[str]) -> dict[str, None]:
        """The digests of manifests that these lead to, themselves included.

        Parents come before their children; what is not here is left out.
        """
        reached: dict[str, None] = {}
        todo = list(roots)[::-1]
        while todo:
            digest = todo.pop()
            if digest in reached or digest not in self.descriptors:
                continue
            reached[digest] = None
            manifest = self.manifests.get(digest)
            if manifest:
                todo.extend(child.digest for child in manifest.manifests[::-1])
        return reached

    def names(self, digests: Iterable[str]) -> set[str]:
        """Everything that these manifests name: children and blobs.

        Layers that are distributed elsewhere are named, too.
        """
        named: set[str] = set()
        for digest in digests:
            manifest = self.manifests.get(digest)
            if manifest is None:
                continue
            parts = (*manifest.manifests, *manifest.layers)
            named.update(part.digest for part in parts)
            if manifest.config:
                named.add(manifest.config.digest)
        return named

    def closure(self, names: Iterable[str]) -> Closure:
        """The tags and manifests that these lead to.

        The children of an index are kept with it, and what is attached to a
        manifest - by its subject or by a tag made of its digest - with that.

        :param names: tags and digests.
        """
        names = set(names)
        tags = {name for name in names if name in self.tags}
        todo = [*names, *(self.tags[tag] for tag in tags)]
        known: set[str] = set()
        while todo:
            digest = todo.pop()
            if digest in known:
                continue
            known.add(digest)
            todo += self.names([digest])
            todo += self.artifacts.get(digest, ())
            if digests.is_valid(digest):
                for tag in self.attached_tags.get(tag_of(digest), ()):
                    tags.add(tag)
                    todo.append(self.tags[tag])
        return Closure(
            tags=frozenset(tags),
            manifests=frozenset(known & self.descriptors.keys()),
            named=frozenset(known),
        )


def problem(error: errors.StoreError) -> str:
    """The problem of the requested content that an error tells.

    :raises StoreError: the error, when it says nothing about the content.
    """
    if isinstance(error, _ACCESS):
        raise error
    if isinstance(error, errors.NotFound):
        return MISSING
    if isinstance(error, errors.SizeMismatch):
        return WRONG_SIZE
    if isinstance(error, errors.UnsupportedManifest):
        return UNSUPPORTED
    if isinstance(error, errors.InvalidContent):
        return CORRUPT
    return UNREADABLE
