"""The versioned tag behind a floating tag.

Images carry their version as a label. The tag to deploy is the value of one
label, or several labels put into a template, and must exist in the image's
repository.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import string
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from imageprep_client import errors
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.oci.referrers import subject_tag
from imageprep_client.stores import base
from imageprep_client.transfer import graph, nearest
from imageprep_client.transfer.known import KnownContent

# Labels that are named in an error: all of a real image's, not all that a
# hostile one may have.
_MAX_SHOWN = 40
#: Tags of a repository whose images are looked at for a versioned one.
_MAX_VERSIONS = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Discovered:
    """The result of discovery for one image.

    :ivar descriptor: what the tag names.
    :ivar missing: the label that the image lacks, so that it keeps its tag.
    """

    tag: str
    descriptor: Descriptor
    labels: Mapping[str, str]
    missing: str | None = None


class Destination(Protocol):
    """The repository that an image will be copied to.

    :ivar nearby: the same as a store, where reading it takes no network.
    """

    @property
    def nearby(self) -> base.ReadableStore | None: ...

    def digest_of(self, tag: str) -> str | None:
        """The digest that a tag names; None when there is none known."""
        ...


class _LabelFormatter(string.Formatter):
    """``str.format`` over labels without a way to anything else.

    Attribute access, indexing, conversions and format specifications reach
    objects or memory that a label template has no use for.
    """

    def get_field(
        self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, str]:
        return kwargs[field_name], field_name

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion is not None:
            raise ValueError("conversions are not allowed")
        return value

    def format_field(self, value: Any, format_spec: str) -> Any:
        if format_spec:
            raise ValueError("format specifications are not allowed")
        return value


def labels(
    store: base.ReadableStore,
    descriptor: Descriptor,
    known: KnownContent | None = None,
) -> Mapping[str, str]:
    """The labels in the config of an image.

    Of an index: those of the image for this host's platform.

    :param known: is told what was fetched, and asked first.
    :raises InvalidContent: when the config is no image config.
    """
    manifest = _image(store, descriptor, known)
    return graph.fetch_config(store, manifest, known).labels


def _image(
    store: base.ReadableStore,
    descriptor: Descriptor,
    known: KnownContent | None,
    platforms: Sequence[Platform] = (),
) -> manifests.Manifest:
    """The manifest of an image; of an index, that for one platform.

    It is the first of `platforms` that the index has, or that of this host.
    """
    manifest = graph.fetch_manifest(store, descriptor, known)
    if manifest.is_index:
        child = _choose(manifest, platforms)
        manifest = graph.fetch_manifest(store, child, known)
    return manifest


def _choose(
    index: manifests.Manifest, platforms: Sequence[Platform]
) -> Descriptor:
    for platform in (*platforms, graph.host_platform()):
        with contextlib.suppress(errors.NotFound):
            return graph.choose(index, platform)
    return graph.choose(index, Platform("linux", "amd64"))


def discover(
    store: base.ReadableStore,
    name: str,
    tag: str,
    label: str | None,
    *,
    fallback: bool,
    stored: bool = False,
    known: KnownContent | None = None,
    destination: Destination | None = None,
    platforms: Sequence[Platform] = (),
) -> Discovered:
    """The versioned tag behind `tag`.

    :param name: the image as the user knows it, for messages.
    :param label: a label's name, or a template such as
        ``{version}-{release}`` when it has a ``{``; None: only the labels
        are wanted, and `tag` stays.
    :param fallback: whether `tag` is the release's default. Then an image
        without the label keeps it; and where `tag` does not exist the labels
        of the repository's newest tag count, the last that it lists, and the
        label must be there.
    :param stored: whether the repository is one that a run has stored images
        in, under their versioned tags only. Where `tag` does not exist, the
        newest of these is taken.
    :param known: is told what was fetched, and asked first.
    :param destination: where the image is copied to. If the versioned tag
        names the same image there, the source is not asked for the tag.
    :param platforms: those that are copied of an index, whose labels count;
        empty: that of this host.
    :raises DiscoveryError: when no tag comes out, or it does not exist.
    """
    try:
        descriptor = base.resolve_ahead(store, tag)
    except errors.NotFound as error:
        newest = None
        if stored:
            newest = _version(store, name, label, known, platforms)
        if newest is None and fallback and label:
            newest = _newest(store)
        if newest is None:
            error.hint = error.hint or nearest.hint(store, tag)
            raise
        tag, descriptor = newest, base.resolve_ahead(store, newest)
        fallback = False
    image = _image(store, descriptor, known, platforms)
    nearby = destination.nearby if destination else None
    labels = graph.fetch_config(store, image, known, nearby).labels
    if not label:
        return Discovered(tag, descriptor, labels)
    missing = label if fallback and not _has(labels, label) else None
    discovered = tag if missing else _tag_of(name, labels, label)
    if discovered == tag:
        return Discovered(tag, descriptor, labels, missing)
    copied = destination.digest_of(discovered) if destination else None
    if copied in (descriptor.digest, image.descriptor.digest):
        return Discovered(discovered, descriptor, labels, missing)
    try:
        return Discovered(
            discovered, store.resolve(discovered), labels, missing
        )
    except errors.NotFound as error:
        raise errors.DiscoveryError(
            f"{name}: label {label} gives tag {discovered}, which is not in"
            f" the repository: {error}",
            hint=nearest.hint(store, discovered),
        ) from error


def versioned_tag(
    store: base.ReadableStore, name: str, tag: str, label: str | None
) -> str:
    """The tag that the labels of one image give, which exists.

    :param label: as in `discover`; None is an error that tells the labels.
    :raises DiscoveryError: when no tag comes out.
    """
    discovered = discover(store, name, tag, label, fallback=False)
    if label:
        return discovered.tag
    shown = ", ".join(sorted(discovered.labels)[:_MAX_SHOWN]) or "none"
    raise errors.DiscoveryError(
        f"{name}: no label was named; its labels: {shown}",
        hint="name one of them with --tag-from-label",
    )


def _version(
    store: base.ReadableStore,
    name: str,
    label: str | None,
    known: KnownContent | None,
    platforms: Sequence[Platform],
) -> str | None:
    """The newest tag that the labels of its own image give.

    Tags whose images cannot be read are none.
    """
    newest = ("", "")
    if not label or not isinstance(store, base.ListsTags):
        return None
    for tag in itertools.islice(store.tags(), _MAX_VERSIONS):
        if subject_tag(tag):
            continue
        with contextlib.suppress(
            errors.NotFound, errors.InvalidContent, errors.DiscoveryError
        ):
            image = _image(
                store, base.resolve_ahead(store, tag), known, platforms
            )
            config = graph.fetch_config(store, image, known)
            if _tag_of(name, config.labels, label) == tag:
                newest = max(newest, (config.created or "", tag))
    return newest[1] or None


def _newest(store: base.ReadableStore) -> str | None:
    last = None
    if isinstance(store, base.ListsTags):
        for last in store.tags():  # noqa: B007 - the last one is wanted
            pass
    return last


def _has(labels: Mapping[str, str], label: str) -> bool:
    """Whether all labels that a label or a template names are there."""
    if "{" not in label:
        return label in labels
    try:
        fields = [field for _, field, *_ in string.Formatter().parse(label)]
    except ValueError:
        return True
    return all(field in labels for field in fields if field is not None)


def _tag_of(name: str, labels: Mapping[str, str], label: str) -> str:
    """The tag that the labels give, checked against the grammar."""
    try:
        if "{" in label:
            tag = _LabelFormatter().vformat(label, (), labels)
        else:
            tag = labels[label]
    except (KeyError, IndexError) as error:
        shown = ", ".join(sorted(labels)[:_MAX_SHOWN]) or "none"
        missing = error.args[0] if "{" in label else label
        raise errors.DiscoveryError(
            f"{name}: no label {missing}; its labels: {shown}",
            hint="name one of them (tag_from_label or --tag-from-label), or"
            " give the tag",
        ) from None
    except ValueError as error:
        raise errors.DiscoveryError(
            f"{name}: tag_from_label {label!r} is no label template: {error}"
        ) from None
    if not references.is_tag(tag):
        raise errors.DiscoveryError(
            f"{name}: label {label} gives {tag[:150]!r}, which is no tag"
        )
    return tag
