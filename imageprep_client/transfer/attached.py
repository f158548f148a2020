"""Artifacts of an image: signatures, attestations, bills of materials.

Attached are the manifests that name the image as their ``subject`` (OCI
distribution spec, "Listing Referrers"), and what cosign keeps under tags that
are made of the image's digest.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.referrers import subject_tag, tag_of
from imageprep_client.stores import base
from imageprep_client.transfer import graph as graphs
from imageprep_client.transfer.powers import SourcePowers

# An artifact may have artifacts of its own, such as a signed bill of
# materials; real chains end here.
_MAX_DEPTH = 3
_MAX_ATTACHED = 256
_UNLISTED = "{}: lists no {}; artifacts of images may stay behind"
_HINT = "leave out --referrers require to copy the image without it"


class ReferrersPolicy(enum.StrEnum):
    """The treatment of artifacts that are attached to an image."""

    #: Copy none.
    LEAVE = "leave"
    #: Copy those that are available; a note names the others.
    COPY = "copy"
    #: Copy all, or fail.
    REQUIRE = "require"


@dataclasses.dataclass(frozen=True, slots=True)
class Attached:
    """One artifact.

    :ivar tags: the tags that name it; empty: only its subject leads to it.
    """

    graph: graphs.Graph
    tags: tuple[str, ...]

    @property
    def digest(self) -> str:
        return self.graph.root.descriptor.digest


def find(
    store: base.ReadableStore,
    image: graphs.Graph,
    note: Callable[[str], None],
    *,
    policy: ReferrersPolicy = ReferrersPolicy.COPY,
) -> tuple[Attached, ...]:
    """Everything attached to an image and to the images of an index.

    :param note: called for an artifact or a list that cannot be read; a
        registry without such lists gets the same note for all repositories.
    :raises StoreError: when more is attached than any real image has; with
        REQUIRE also when something cannot be read.
    """
    if policy is ReferrersPolicy.LEAVE:
        return ()
    return _Search(store, note, policy).run(image)


class _Search:
    """Finds what is attached to one image."""

    def __init__(
        self,
        store: base.ReadableStore,
        note: Callable[[str], None],
        policy: ReferrersPolicy,
    ) -> None:
        self._store = store
        self._powers = SourcePowers.of(store)
        self._note = note
        self._policy = policy
        self._graphs: dict[str, graphs.Graph] = {}
        self._found_by: dict[str, dict[str, None]] = {}
        self._tag_count = 0
        self._size = 0
        self._unreadable: set[str] = set()

    def run(self, image: graphs.Graph) -> tuple[Attached, ...]:
        subjects = [manifest.descriptor for manifest in image.manifests]
        tags = self._tags()
        for _ in range(_MAX_DEPTH):
            subjects = [
                fresh
                for subject in subjects
                for descriptor, tag in self._of(subject, tags)
                for fresh in self._take(subject, descriptor, tag)
            ]
        return tuple(
            Attached(graph, tuple(self._found_by[digest]))
            for digest, graph in self._graphs.items()
        )

    def _take(
        self, subject: Descriptor, descriptor: Descriptor, tag: str
    ) -> Iterator[Descriptor]:
        """Record an artifact; yields it if it is new.

        One artifact may have several tags as well as a subject.
        """
        digest = descriptor.digest
        if digest in self._unreadable:
            return
        tags = self._found_by.setdefault(digest, {})
        new_tag = tag not in ("", *tags)
        new = digest not in self._graphs
        if (new and len(self._graphs) == _MAX_ATTACHED) or (
            new_tag and self._tag_count == _MAX_ATTACHED
        ):
            raise errors.InvalidContent(
                f"{subject.digest}: more than {_MAX_ATTACHED} artifacts are"
                " attached to the image"
            )
        if new_tag:
            self._tag_count += 1
            tags[tag] = None
        if not new:
            return
        try:
            graph = graphs.walk(self._store, descriptor)
        except errors.StoreError as error:
            self._unreadable.add(digest)
            self._missed(f"artifact {digest} of {subject.digest}", error)
            return
        named = graph.root.subject
        if not tag and (named is None or named.digest != subject.digest):
            # A list may have manifests that are attached to nothing.
            return
        self._size += graph.weight
        if self._size > graphs.MAX_BYTES:
            raise errors.InvalidContent(
                f"{subject.digest}: over {graphs.MAX_BYTES} bytes of"
                " manifests are attached to the image"
            )
        self._graphs[digest] = graph
        yield graph.root.descriptor

    def _tags(self) -> dict[str, list[str]]:
        """Cosign's tags, by the `tag_of` their subject."""
        tags: dict[str, list[str]] = {}
        if self._powers.lists_tags is None:
            return tags
        try:
            for tag in self._powers.lists_tags.tags():
                subject = subject_tag(tag)
                # The list of referrers itself is the store's to read.
                if subject not in ("", tag):
                    tags.setdefault(subject, []).append(tag)
        except errors.NotFound:
            pass
        except errors.StoreError as error:
            self._unlisted("tags", error)
        return tags

    def _of(
        self, subject: Descriptor, tags: dict[str, list[str]]
    ) -> list[tuple[Descriptor, str]]:
        """The artifacts of one manifest, each with its tag."""
        found: list[tuple[Descriptor, str]] = []
        if self._powers.lists_referrers:
            try:
                listed = self._powers.lists_referrers.referrers(subject)
                found += [(artifact, "") for artifact in listed]
            except errors.NotFound:
                pass
            except errors.StoreError as error:
                self._unlisted("referrers", error)
        for tag in tags.get(tag_of(subject.digest), []):
            try:
                found.append((self._store.resolve(tag), tag))
            except errors.StoreError as error:
                self._missed(f"artifact {tag}", error)
        return found

    def _unlisted(self, what: str, error: errors.StoreError) -> None:
        if isinstance(error, errors.AccessDenied | errors.Refused):
            self._missed(
                "", error, _UNLISTED.format(self._store.registry, what)
            )
        else:
            self._missed(f"list of {what}", error)

    def _missed(
        self, what: str, error: errors.StoreError, text: str = ""
    ) -> None:
        """Report that an artifact is not copied, or fail.

        :raises StoreError: where all that is attached is required.
        :raises OutOfTime: another image may have time left for it.
        """
        if isinstance(error, errors.OutOfTime):
            raise error
        if self._policy is ReferrersPolicy.REQUIRE:
            error.hint = error.hint or _HINT
            raise error
        self._note(text or f"{self._store}: {what} stays behind: {error}")
