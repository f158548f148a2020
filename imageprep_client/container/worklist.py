"""The worklist of a preparation: from entries and image table.

Nothing here touches a disk, a network or a clock.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime

from imageprep_client import errors
from imageprep_client.catalog import Catalog, TableImage, filters
from imageprep_client.container import places
from imageprep_client.heat.parameters import (
    PrepareEntry,
    PrepareParameters,
    of_role,
    parse_entries,
)
from imageprep_client.oci import reference as references
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """The images that one entry of ``ContainerImagePrepare`` asks for.

    :ivar images: with names that are valid references.
    :ivar unlike: the nearest name where ``includes`` match none of the table;
        empty where none is near, None where they match.
    :ivar label: what to discover their tags from, or None.
    :ivar default_tag: whether ``set`` has no tag of the user's own.
    """

    entry: PrepareEntry
    images: tuple[TableImage, ...]
    label: str | None
    default_tag: bool
    unlike: str | None = None

    @property
    def is_discovered(self) -> bool:
        """Whether tags or labels of its images have to be discovered."""
        entry = self.entry
        labels_wanted = entry.modify_role and entry.modify_only_with_labels
        return bool(self.label or labels_wanted)

    def of_role(self, role: str) -> Selection:
        """The same, whose parameters are those of one role."""
        images = (
            dataclasses.replace(
                image,
                parameters=tuple(of_role(role, n) for n in image.parameters),
            )
            for image in self.images
        )
        return dataclasses.replace(self, images=tuple(images))

    def keeps_tag(self, image: str) -> bool:
        """Whether an image without the label may keep its tag.

        It may not if the user gave this tag as the one whose label is read.
        Images of another origin have tags of their own, such as
        ``ceph_tag``.
        """
        own = str(self.entry.values.get("tag", ""))
        return self.default_tag or Reference.parse(image).tag != own


#: An image as rendered, and the label that its tag is discovered from: two
#: entries may want different labels of one image.
Key = tuple[str, str | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """One image whose tag or labels are to be discovered.

    :ivar reference: the image by its name.
    :ivar read_from: the image to read.
    :ivar label: as in `Selection`; None where only labels are wanted.
    :ivar default_tag: whether it may keep its tag.
    :ivar labels: the names of labels that decide about a modification.
    """

    key: Key
    reference: Reference
    read_from: Reference
    label: str | None
    default_tag: bool
    labels: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class Pin:
    """The result of discovery for one image, by its tag.

    :ivar tag: the tag to use; None: the one that it has.
    :ivar labels: those of the labels asked for that it has.
    :ivar error: the reason of a failed discovery, or None.
    """

    tag: str | None = None
    labels: frozenset[str] = frozenset()
    error: errors.ImagePrepError | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Modification:
    """A change to make to an image before it is stored.

    :ivar append_tag: the suffix of the tag of the modified image; may be
        empty.
    """

    ansible_role: str
    append_tag: str
    variables: Mapping[str, object]


@dataclasses.dataclass(frozen=True, slots=True)
class WorkItem:
    """One container image and the work on it.

    :ivar image: its name as rendered, with the discovered tag.
    :ivar source: the image that it is pulled from, by its name.
    :ivar read_from: the image that is read: `source`, or its copy in the
        location that has all images of the run.
    :ivar push_destination: the registry it is copied to, or the transport
        and its place, without a path below it; None: it is not copied.
    :ivar target: the image that the parameters name.
    :ivar repository: the whole path at the destination.
    :ivar tag: the tag there, with the modification's.
    :ivar parameters: the heat parameters that end up naming `target`
        because of this image, in the table's order.
    :ivar multi_arch: whether every platform of an index is copied.
    """

    image: str
    source: Reference
    read_from: Reference
    push_destination: str | None
    target: str
    repository: str
    tag: str
    parameters: tuple[str, ...]
    multi_arch: bool
    modification: Modification | None
    entry: PrepareEntry

    @property
    def stored_in(self) -> tuple[str, str]:
        """The push destination and the repository of an image to copy."""
        if self.push_destination is None:
            raise ValueError(f"{self.image}: is not copied")
        return self.push_destination, self.repository


@dataclasses.dataclass(frozen=True, slots=True)
class Undiscovered:
    """An image whose tag or labels could not be discovered.

    :ivar image: its name as rendered.
    :ivar source: the image that was queried.
    """

    image: str
    source: Reference
    error: errors.ImagePrepError


@dataclasses.dataclass(frozen=True, slots=True)
class Worklist:
    """The work of a preparation.

    :ivar images: each target once.
    :ivar parameters: the image of each heat parameter.
    :ivar undiscovered: the other images that are wanted; their parameters
        are missing.
    """

    images: tuple[WorkItem, ...]
    parameters: dict[str, str]
    undiscovered: tuple[Undiscovered, ...] = ()


def select(
    parameters: PrepareParameters,
    catalog: Catalog,
    services: Set[str] | None,
    role: str | None = None,
) -> tuple[Selection, ...]:
    """Render and filter the table for every entry.

    :param services: the enabled services; None: no filtering by service.
    :param role: one with entries of its own, which are those that count, and
        whose images are for parameters of this role alone.
    :raises InvalidArgument: when the release lacks values, see `Catalog`.
    :raises InvalidFile: when a selected image has no usable name.
    """
    if role is not None:
        entries = parameters.role_entries[role]
    else:
        entries = parameters.entries or parse_entries(
            catalog.default_prepare,
            f"release {catalog.release}",
            "ContainerImagePrepare",
        )
    selections = (
        _select(entry, parameters, catalog, services) for entry in entries
    )
    return tuple(s.of_role(role) if role else s for s in selections)


def _select(
    entry: PrepareEntry,
    parameters: PrepareParameters,
    catalog: Catalog,
    services: Set[str] | None,
) -> Selection:
    values = dict(entry.values)
    # A release's own neutron_driver does not count here: the deployment's
    # mechanism drivers say what it needs.
    if not values.get("neutron_driver"):
        values["neutron_driver"] = catalog.neutron_driver(
            parameters.neutron_mechanism_drivers
        )
    table = catalog.render(values)
    unlike = None
    try:
        images = filters.select(
            table, services, entry.includes, entry.excludes
        )
        missing = entry.includes and not images
        if missing and not filters.select(table, None, entry.includes):
            unlike = filters.nearest(entry.includes[0], table)
    except TimeoutError as error:
        key = "includes" if entry.includes else "excludes"
        raise entry.error(str(error), key, filters.HINT) from None
    for image in images:
        places.check_name(entry, image, {**catalog.values, **values})
    return Selection(
        entry=entry,
        images=images,
        unlike=unlike,
        label=None
        if catalog.tag_wins and values.get("tag")
        else entry.tag_from_label,
        default_tag="tag" not in values,
    )


def to_discover(
    selections: Sequence[Selection], images_from: Location | None = None
) -> tuple[Query, ...]:
    """The images whose tag or labels have to be discovered, each once.

    :param images_from: as in `build`.
    """
    queries: dict[Key, Query] = {}
    for selection in selections:
        entry = selection.entry
        if not selection.is_discovered:
            continue
        for image in selection.images:
            key = (image.image, selection.label)
            asked = queries[key].labels if key in queries else frozenset()
            queries[key] = Query(
                key=key,
                reference=places.source(image.image, entry),
                read_from=places.read_from(image.image, entry, images_from),
                label=selection.label,
                default_tag=not selection.label
                or selection.keeps_tag(image.image),
                labels=asked.union(entry.modify_only_with_labels),
            )
    return tuple(queries.values())


def build(
    selections: Sequence[Selection],
    *,
    pins: Mapping[Key, Pin],
    parameters: PrepareParameters,
    undercloud_registry: Callable[[], str],
    now: datetime,
    images_from: Location | None = None,
) -> Worklist:
    """Determine the source and the target of every selected image.

    If two images have the same target, the later one gets it, as the later
    of two values of a parameter does. No parameter may need the earlier one.

    :param pins: the answers to `to_discover`; an image without one keeps
        its tag, and one whose answer is an error is `undiscovered`.
    :param undercloud_registry: ``host:port`` of the undercloud's registry;
        called only when an entry needs it, and once.
    :param now: for the tags of modified images.
    :param images_from: the location that all images are read from, with the
        layout that a run gives it; None: the registries in their names.
    :raises InvalidFile: when images cannot be stored at the destination of
        an entry or replace others there, or would be modified and copied for
        every platform.
    """
    registry = functools.cache(undercloud_registry)
    items: dict[str, WorkItem] = {}
    values: dict[str, WorkItem] = {}
    undiscovered: dict[Key, Undiscovered] = {}
    for selection in selections:
        entry = selection.entry
        place = (
            places.location(entry, parameters, registry)
            if selection.images
            else None
        )
        multi_arch = _multi_arch(entry, parameters)
        for image in selection.images:
            key = (image.image, selection.label)
            pin = pins.get(key, Pin())
            if pin.error is not None and selection.is_discovered:
                source = places.source(image.image, entry)
                undiscovered[key] = Undiscovered(
                    image.image, source, pin.error
                )
                for name in image.parameters:
                    values.pop(name, None)
                continue
            modification = _modification(entry, image, pin, now)
            if modification and multi_arch:
                raise entry.error(
                    "images cannot be modified and copied for every platform",
                    "modify_role",
                    "put multi_arch: false into this entry",
                )
            item = _item(
                entry,
                image,
                pin,
                place,
                modification,
                multi_arch=multi_arch,
                images_from=images_from,
            )
            items[item.target] = item
            values.update(dict.fromkeys(image.parameters, item))
    named: dict[str, list[str]] = {}
    for name, item in values.items():
        _check_kept(name, item, items[item.target])
        named.setdefault(item.target, []).append(name)
    return Worklist(
        images=tuple(
            dataclasses.replace(item, parameters=tuple(named.get(target, ())))
            for target, item in items.items()
        ),
        parameters={name: item.target for name, item in values.items()},
        undiscovered=tuple(undiscovered.values()),
    )


def _item(
    entry: PrepareEntry,
    image: TableImage,
    pin: Pin,
    place: Location | None,
    modification: Modification | None,
    *,
    multi_arch: bool,
    images_from: Location | None,
) -> WorkItem:
    reference = Reference.parse(image.image)
    path = places.path_of(image.image, reference)
    tag = pin.tag or reference.tag or "latest"
    digest = f"@{reference.digest}" if reference.digest else ""
    name = f"{path}:{tag}{digest}"
    stored = tag
    if modification:
        stored, digest = f"{tag}{modification.append_tag}", ""
    repository = reference.repository
    try:
        references.check_tag(stored)
        if place is not None:
            repository = places.repository(path, place)
            path = references.join(place.registry, repository)
    except errors.InvalidReference as error:
        raise entry.error(
            f"{image.image} cannot be stored: {error}"
        ) from error
    return WorkItem(
        image=name,
        source=places.source(name, entry),
        read_from=places.read_from(name, entry, images_from),
        push_destination=place.registry if place else None,
        target=f"{path}:{stored}{digest}",
        repository=repository,
        tag=stored,
        parameters=image.parameters,
        multi_arch=multi_arch,
        modification=modification,
        entry=entry,
    )


def _check_kept(name: str, wanted: WorkItem, stored: WorkItem) -> None:
    """Check that a parameter gets the image that its entry asks for."""
    contents = [
        (item.source, item.modification, item.multi_arch)
        for item in (wanted, stored)
    ]
    if stored.push_destination and contents[0] != contents[1]:
        raise stored.entry.error(
            f"its image of {stored.source} would replace that of"
            f" {wanted.source}, from another entry, at {stored.target}, and"
            f" {name} needs the latter",
            "push_destination",
            "give one of them a push_destination with another path, such as"
            f" {stored.push_destination}/other",
        )


def _multi_arch(entry: PrepareEntry, parameters: PrepareParameters) -> bool:
    if entry.multi_arch is None:
        return bool(parameters.additional_architectures)
    return entry.multi_arch


def _modification(
    entry: PrepareEntry, image: TableImage, pin: Pin, now: datetime
) -> Modification | None:
    """The modification of an image, or None.

    If an entry is limited by labels and by source, one of them is enough.
    """
    if not entry.modify_role:
        return None
    limited = entry.modify_only_with_labels or entry.modify_only_with_source
    if limited and not (
        pin.labels.intersection(entry.modify_only_with_labels)
        or image.source in entry.modify_only_with_source
    ):
        return None
    append_tag = entry.modify_append_tag
    if append_tag is None:
        append_tag = now.strftime("-modified-%Y%m%d%H%M%S")
    return Modification(entry.modify_role, append_tag, entry.modify_vars)
