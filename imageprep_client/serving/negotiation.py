"""Choosing the manifest of a tag by the types that a client accepts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imageprep_client.oci import mediatypes
from imageprep_client.stores.imageserve import typemap

#: Matches an ``Accept`` value that accepts an index of either family.
TAKES_INDEX = re.compile(r"(image\.index|manifest\.list|application/\*|\*/\*)")


def takes_index(accept: str) -> bool:
    """Whether a client with this ``Accept`` value accepts an index."""
    return not accept or bool(TAKES_INDEX.search(accept))


def choose(
    variants: Sequence[typemap.Variant], accept: str
) -> typemap.Variant | None:
    """The index if the client accepts any, else an image of it.

    A tag always gives a manifest: there is no other content to offer when the
    client did not list its type.

    :param accept: the header's value; empty takes everything.
    :returns: None when there are no variants.
    """
    root = typemap.root(variants)
    if root is None or root.media_type not in mediatypes.INDEXES:
        return root
    if takes_index(accept):
        return root
    return typemap.fallback(variants) or root
