"""What is attached to an image: signatures, attestations, bills of materials.

Attached are the manifests that name the image as their ``subject`` (OCI
distribution spec, "Listing Referrers"), and what cosign keeps under tags that
are made of the image's digest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.referrers import subject_tag, tag_of
from imageprep_client.stores import base
from imageprep_client.transfer import graph as graphs

# An artefact may have artefacts of its own, such as a signed bill of
# materials; real chains end here.
_MAX_DEPTH = 3
_MAX_ATTACHED = 256
_UNLISTED = "{}: lists no {}; what is attached to images there may stay behind"


@dataclasses.dataclass(frozen=True, slots=True)
class Attached:
    """One artefact.

    :ivar tags: all tags that it is found by; none: by its subject only.
    """

    graph: graphs.Graph
    tags: tuple[str, ...]


def find(
    store: base.ReadableStore,
    image: graphs.Graph,
    note: Callable[[str], None] = lambda _: None,
) -> tuple[Attached, ...]:
    """Everything attached to an image and to the images of an index.

    A repository that does not list tags, or does not let us see its
    referrers, has nothing attached.

    :param note: told where the registry has no such list at all, in the
        same words for all its repositories.
    :raises StoreError: when the registry fails, or names more than any real
        image has.
    """
    found: dict[str, graphs.Graph] = {}
    found_by: dict[str, dict[str, None]] = {}
    tag_count = 0
    size = 0
    subjects = [manifest.descriptor for manifest in image.manifests]
    tags = _tags(store, note)
    for _ in range(_MAX_DEPTH):
        fresh: list[Descriptor] = []
        for subject in subjects:
            for descriptor, tag in _of(store, subject, tags, note):
                # The same bytes may have several tags, and a subject beside.
                tags_of_it = found_by.setdefault(descriptor.digest, {})
                new_tag = tag not in ("", *tags_of_it)
                new = descriptor.digest not in found
                if (new and len(found) == _MAX_ATTACHED) or (
                    new_tag and tag_count == _MAX_ATTACHED
                ):
                    raise errors.InvalidContent(
                        f"{subject.digest}: more than {_MAX_ATTACHED}"
                        " artefacts are attached to the image"
                    )
                if new_tag:
                    tag_count += 1
                    tags_of_it[tag] = None
                if not new:
                    continue
                graph = graphs.walk(store, descriptor)
                size += sum(m.descriptor.size for m in graph.manifests)
                if size > graphs.MAX_BYTES:
                    raise errors.InvalidContent(
                        f"{subject.digest}: over {graphs.MAX_BYTES} bytes of"
                        " manifests are attached to the image"
                    )
                found[descriptor.digest] = graph
                fresh.append(graph.root.descriptor)
        subjects = fresh
    return tuple(
        Attached(graph, tuple(found_by[digest]))
        for digest, graph in found.items()
    )


def _tags(
    store: base.ReadableStore, note: Callable[[str], None]
) -> dict[str, list[str]]:
    """Cosign's tags, by the `tag_of` their subject."""
    tags: dict[str, list[str]] = {}
    if isinstance(store, base.ListsTags):
        try:
            for tag in store.tags():
                subject = subject_tag(tag)
                # The list of referrers itself is the store's to read.
                if subject not in ("", tag):
                    tags.setdefault(subject, []).append(tag)
        except (errors.NotFound, errors.AccessDenied):
            return {}
        except errors.Refused:
            note(_UNLISTED.format(store.registry, "tags"))
            return {}
    return tags


def _of(
    store: base.ReadableStore,
    subject: Descriptor,
    tags: dict[str, list[str]],
    note: Callable[[str], None],
) -> list[tuple[Descriptor, str]]:
    """The artefacts of one manifest, each with its tag."""
    found: list[tuple[Descriptor, str]] = []
    if isinstance(store, base.ListsReferrers):
        try:
            found += [(each, "") for each in store.referrers(subject)]
        except errors.Refused:
            note(_UNLISTED.format(store.registry, "referrers"))
        except (errors.NotFound, errors.AccessDenied):
            pass
    found += [
        (store.resolve(tag), tag)
        for tag in tags.get(tag_of(subject.digest), [])
    ]
    return found
