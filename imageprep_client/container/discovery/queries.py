"""Concurrent discovery of tags and labels."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Sequence

from imageprep_client import deadlines, errors, wording
from imageprep_client.container import places, worklist
from imageprep_client.container.discovery import versioned
from imageprep_client.heat.parameters import PrepareParameters
from imageprep_client.observer import Observer, Phase
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
from imageprep_client.transfer.copies import ResolvedTag
from imageprep_client.transfer.known import KnownContent
from imageprep_client.transfer.workers import Workers


class DestinationTags:
    """Queries tags at destinations, and caches the answers.

    Safe for use by several threads.

    :param open_store: opens the repository at a destination.
    """

    def __init__(self, open_store: Callable[[str, str], base.Store]) -> None:
        self._open = open_store
        self._tags: dict[tuple[str, str, str], ResolvedTag] = {}

    def known(
        self, push_destination: str, repository: str, tag: str
    ) -> ResolvedTag | None:
        """The answer of a repository that was asked for a tag, or None."""
        return self._tags.get((push_destination, repository, tag))

    def repository(
        self, push_destination: str, repository: str
    ) -> _Repository:
        store = self._open(push_destination, repository)
        return _Repository(store, (push_destination, repository), self._tags)


@dataclasses.dataclass(frozen=True, slots=True)
class _Repository:
    """One repository that an image will be copied to."""

    store: base.Store
    names: tuple[str, str]
    tags: dict[tuple[str, str, str], ResolvedTag]

    @property
    def nearby(self) -> base.ReadableStore | None:
        # Only stores of this host have something to flush.
        return self.store if isinstance(self.store, base.Flushes) else None

    def digest_of(self, tag: str) -> str | None:
        """The digest that a tag names; None when there is none known.

        An error is cached: the copy reports it.
        """
        key = (*self.names, tag)
        answer = self.tags.get(key) or ResolvedTag.of(self.store, tag)
        self.tags[key] = answer
        return answer.descriptor.digest if answer.descriptor else None


def destinations(
    selections: Sequence[worklist.Selection],
    parameters: PrepareParameters,
    undercloud_registry: Callable[[], str],
) -> dict[worklist.Key, tuple[str, str]]:
    """The push destination and repository of the images to discover.

    An image that is modified on its way has another tag there: it has none.

    :raises InvalidFile: when an entry names no location of images.
    """
    wanted: dict[worklist.Key, tuple[str, str]] = {}
    for selection in selections:
        entry = selection.entry
        if not selection.label or not selection.images or entry.modify_role:
            continue
        location = places.location(entry, parameters, undercloud_registry)
        if location is None:
            continue
        for image in selection.images:
            reference = Reference.parse(image.image)
            path = places.path_of(image.image, reference)
            with contextlib.suppress(errors.InvalidReference):
                wanted[image.image, selection.label] = (
                    location.registry,
                    places.repository(path, location),
                )
    return wanted


@dataclasses.dataclass(frozen=True, slots=True)
class Discovery:
    """The result of a discovery.

    :ivar pins: one for each image; those that failed say why.
    :ivar descriptors: what the tags name.
    """

    pins: dict[worklist.Key, worklist.Pin] = dataclasses.field(
        default_factory=dict
    )
    descriptors: dict[Reference, Descriptor] = dataclasses.field(
        default_factory=dict
    )


def discover(
    wanted: Sequence[worklist.Query],
    source: Callable[[Reference], base.ReadableStore],
    *,
    observer: Observer,
    concurrency: int,
    known: KnownContent | None = None,
    stored: bool = False,
    destination: Callable[
        [worklist.Key], versioned.Destination | None
    ] = lambda key: None,
    timeout: float | None = None,
    platforms: Sequence[Platform] = (),
) -> Discovery:
    """Discover all images; a failed one does not stop the others.

    :param source: opens the repository that an image is read from.
    :param stored: whether a run has stored the images there.
    :param known: keeps the manifests and configs that are read.
    :param destination: the repository that an image is copied to, if any.
    :param timeout: the maximum seconds for one image; None: no limit.
    :param platforms: as in `versioned.discover`.
    """
    discovery = Discovery()
    lacking: dict[str, list[str]] = {}
    lock = threading.Lock()

    def find(query: worklist.Query) -> None:
        with deadlines.within(timeout, str(query.reference)):
            discovered = versioned.discover(
                source(query.read_from),
                str(query.reference),
                query.read_from.identifier,
                query.label,
                fallback=query.default_tag,
                stored=stored,
                known=known,
                destination=destination(query.key),
                platforms=platforms,
            )
        pinned = dataclasses.replace(query.read_from, tag=discovered.tag)
        with lock:
            discovery.pins[query.key] = worklist.Pin(
                discovered.tag if query.label else None,
                query.labels.intersection(discovered.labels),
            )
            discovery.descriptors[pinned] = discovered.descriptor
            if discovered.missing:
                lacking.setdefault(discovered.missing, []).append(query.key[0])
        observer.advanced(Phase.DISCOVER)

    observer.phase(Phase.DISCOVER, len(wanted))
    with Workers(concurrency, keep_going=True) as workers:
        for query, error in workers.each(find, wanted):
            discovery.pins[query.key] = worklist.Pin(error=error)
    for label, images in sorted(lacking.items()):
        asked = sum(query.label == label for query in wanted)
        observer.warning(
            f"tag_from_label {label}: {len(images)} of {asked} images have"
            f" no such label and keep their tags, such as {min(images)}"
        )
    return discovery


def together(failed: Sequence[worklist.Undiscovered]) -> errors.ImagePrepError:
    """One error that names several images.

    One cause in the input is told once.
    """
    failures = [
        image.error
        if isinstance(image.error, errors.InputError)
        or str(image.error).startswith(f"{image.source}: ")
        else errors.DiscoveryError(
            f"{image.source}: {image.error}", hint=image.error.hint
        )
        for image in failed
    ]
    if isinstance(failures[0], errors.InputError) and wording.is_one_cause(
        failures
    ):
        return failures[0]
    summary = "no tag could be discovered"
    return errors.CombinedFailure(
        f"{summary} for {len(failures)} images"
        if len(failures) > 1
        else summary,
        failures,
    )
