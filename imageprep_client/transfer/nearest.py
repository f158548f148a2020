"""Resolving a tag, with the nearest tags where it does not exist."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.referrers import subject_tag
from imageprep_client.stores import base

#: Tags that are compared, and tags that are named.
_COMPARED = 2000
_NAMED = 3
# A tag of another release is nearer than none.
_LIKENESS = 0.3


def resolve(store: base.ReadableStore, identifier: str) -> Descriptor:
    """Resolve a tag or digest.

    :raises NotFound: when it does not exist; the hint names the nearest tags
        of the repository.
    :raises StoreError: when it cannot be read.
    """
    return hinted(store, identifier, store.resolve)


def hinted(
    store: base.ReadableStore,
    identifier: str,
    resolve: Callable[[str], Descriptor],
) -> Descriptor:
    """As `resolve`, by another method of the store."""
    try:
        return resolve(identifier)
    except errors.NotFound as error:
        if error.hint is None and ":" not in identifier:
            error.hint = hint(store, identifier)
        raise


def hint(store: base.ReadableStore, tag: str) -> str | None:
    """The nearest tags to one that does not exist, as a hint.

    Without a similar tag, the first ones, or that none are listed.
    """
    if not isinstance(store, base.ListsTags):
        return None
    try:
        tags = list(itertools.islice(store.tags(), _COMPARED))
    except errors.NotFound:
        tags = []
    except errors.StoreError:
        # The error that matters is the one about the tag.
        return None
    if tag in tags:
        # It exists, and what it names does not.
        return None
    images = [name for name in tags if not subject_tag(name)]
    near = difflib.get_close_matches(tag, images, _NAMED, _LIKENESS)
    if near:
        text = f"the nearest tags there are: {', '.join(near)}"
    elif images:
        text = f"no similar tag; some that exist: {', '.join(images[:_NAMED])}"
    else:
        text = "no tags of this repository are listed: is its name right?"
    return errors.printable(text)
