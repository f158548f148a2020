"""Which manifest a tag answers with, for the types that a client takes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from imageprep_client.oci import mediatypes
from imageprep_client.stores.imageserve import typemap

#: Found in an ``Accept`` value that takes an index of either family.
TAKES_INDEX = re.compile(r"(image\.index|manifest\.list|application/\*|\*/\*)")


def takes_index(accept: str) -> bool:
    """Whether a client with this ``Accept`` value takes an index."""
    return not accept or bool(TAKES_INDEX.search(accept))


def choose(
    variants: Sequence[typemap.Variant], accept: str
) -> typemap.Variant | None:
    """The index if the client takes any, else an image of it.

    A tag always has an answer: types that the client did not list are no
    reason to refuse, since there is nothing else to give.

    :param accept: the header's value; empty takes everything.
    :returns: None when there are no variants.
    """
    root = typemap.root(variants)
    if root is None or root.media_type not in mediatypes.INDEXES:
        return root
    if takes_index(accept):
        return root
    return typemap.fallback(variants) or root
