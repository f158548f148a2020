"""Input that is valid in itself but inconsistent, or probably a mistake."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from imageprep_client import catalog as catalogs
from imageprep_client import errors
from imageprep_client.catalog import Catalog
from imageprep_client.container.worklist import Selection, Worklist
from imageprep_client.heat.parameters import (
    ENTRY_KEYS,
    INSECURE_REGISTRIES,
    PrepareEntry,
    PrepareParameters,
)
from imageprep_client.heat.verbatim import PREPARE
from imageprep_client.oci import reference as references

#: Parameters that are often written into the wrong section.
_READ = frozenset(
    {PREPARE, "ContainerImageRegistryCredentials", INSECURE_REGISTRIES}
)
#: Keys of an entry that say how its role modifies images.
_MODIFY_KEYS = (
    "modify_append_tag",
    "modify_vars",
    "modify_only_with_labels",
    "modify_only_with_source",
)
#: Variables of the image table that are booleans, and a false one in quotes.
_SWITCHES = ("ceph_images", "rhel_containers")
_FALSE = ("false", "False", "no", "off")
# Registries in the names of images, as podman and buildah take them.
_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_HOST_OF_PODMAN = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.IGNORECASE)
_LOOPBACK = re.compile(r"127\.|\[(::1|0(:0){6}:1)\]")


def check_variables(parameters: PrepareParameters, catalog: Catalog) -> None:
    """Check that ``set`` has no unknown variables.

    :raises InvalidFile: for the first variable that neither the release nor
        the table of the user knows.
    """
    for entry in parameters.all_entries:
        for name in entry.values:
            if not catalog.knows(name):
                raise entry.error(
                    "unknown variable",
                    f"set.{errors.printable(name)[:100]}",
                    catalog.advice(name),
                )


def notices(
    parameters: PrepareParameters,
    catalog: Catalog,
    selections: Sequence[Selection],
    *,
    release_named: bool,
    names: Iterable[str],
    misplaced: Iterable[str],
    roles: Collection[str],
) -> Iterator[str]:
    """Warnings about entries and parameters.

    :param release_named: whether the user or a file names the release.
    :param names: those of the parameters that are set.
    :param misplaced: those of the parameters of the stack alone.
    :param roles: the names of those of the deployment.
    """
    for name in sorted(_READ.intersection(misplaced)):
        yield (
            f"parameters.{name}: it has no effect: write it under"
            " parameter_defaults"
        )
    names = set(names)
    for name in sorted(ENTRY_KEYS & names):
        yield (
            f"parameter_defaults.{name}: it has no effect: write it in an"
            f" element of {PREPARE}"
        )
    for name in sorted(_READ - names - {PREPARE}):
        for like in difflib.get_close_matches(name, names, 1, 0.9):
            yield (
                f"{errors.printable(like)}: it has no effect: is {name} meant?"
            )
    for role in parameters.role_entries:
        if role not in roles:
            yield (
                f"{errors.printable(role)}{PREPARE}: it has no effect: there"
                " is no such role in --roles-file or the plan"
            )
    if parameters.entries is None:
        # A name that is mistyped is one of another parameter.
        others = {n for n in names if not n.endswith(PREPARE)}
        near = difflib.get_close_matches(PREPARE, others, 1, 0.9)
        meant = (
            f"; is it meant by {errors.printable(near[0])}?" if near else ""
        )
        yield (
            f"{PREPARE} is not given or empty: the default of"
            f" release {catalog.release} is used{meant}"
        )
    given = [*parameters.all_entries]
    for entry in given:
        for key in _MODIFY_KEYS if not entry.modify_role else ():
            if getattr(entry, key):
                yield _about(
                    entry, key, "it has no effect without modify_role"
                )
        for name, value in entry.values.items():
            if name in _SWITCHES and value in _FALSE:
                yield _about(
                    entry,
                    f"set.{name}",
                    "it has no effect: in quotes it is a text, which counts"
                    " as true",
                )
    for selection in selections:
        if selection.unlike is not None:
            like = selection.unlike
            yield _about(
                selection.entry,
                "includes",
                "it has no effect: no image of release"
                f" {catalog.release} has such a name"
                f"{like and f'; the nearest is {like}'}",
            )
        if selection.entry in given:
            yield from _about_release(selection, catalog, release_named)


def _about_release(
    selection: Selection, catalog: Catalog, release_named: bool
) -> Iterator[str]:
    """Warnings about an entry that may be one of another release."""
    entry = selection.entry
    probable = None if release_named else catalogs.probable(entry.values)
    guess = f" (probably {probable})" if probable else ""
    labelled = bool(entry.tag_from_label)
    if labelled and not selection.images:
        yield _about(
            entry, "tag_from_label", "it has no effect: no image is wanted"
        )
    elif labelled and entry.values.get("tag") and catalog.tag_wins:
        yield _about(
            entry,
            "tag_from_label",
            f"it has no effect: in release {catalog.release} the tag in"
            " set wins; leave that out for versioned tags",
        )
    elif labelled and entry.values.get("tag") and not release_named:
        yield _about(
            entry,
            "tag_from_label",
            "with a tag in set, too, the label gives the versioned tag,"
            " as up to ussuri and in master; from victoria on the tag"
            f" wins: name the release with --release{guess}",
        )
    elif probable and probable != catalog.release:
        yield _about(
            entry,
            "set.namespace",
            f"the image table is that of release {catalog.release}: name"
            f" the release of these images with --release{guess}",
        )


def unreachable(work: Worklist) -> Iterator[str]:
    """Warnings about registries that nodes cannot pull from."""
    counts: dict[tuple[str, str], int] = {}
    for item in work.images:
        place = item.push_destination or references.split(item.target)[0]
        remedy = _remedy(place, item.push_destination is not None)
        if remedy and item.parameters:
            key = place, remedy
            counts[key] = counts.get(key, 0) + len(item.parameters)
    for (place, remedy), count in counts.items():
        parameters = f"{count} parameters" if count > 1 else "1 parameter"
        yield (
            f"{place}: no node can pull from it, and {parameters} will name"
            f" it: {remedy}"
        )


def _remedy(place: str, copied: bool) -> str | None:
    """The remedy where nodes cannot pull from there, or None."""
    host = re.sub(r":[0-9]+$", "", place)
    local = host == "localhost" or bool(_LOOPBACK.match(host))
    if copied and (local or references.is_transport(place)):
        return (
            "name a registry by an address that nodes reach, in"
            " push_destination or LocalContainerRegistry"
        )
    if references.is_registry(place) and not _HOST_OF_PODMAN.fullmatch(host):
        return (
            "podman takes neither IPv6 addresses nor underscores there; use a"
            " host name of letters, digits, hyphens and single dots"
        )
    return None


def _about(entry: PrepareEntry, key: str, text: str) -> str:
    return f"{entry.path}: {entry.key}.{key}: {text}"
