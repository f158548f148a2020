"""Pages of long lists: OCI distribution spec, "Listing Tags"."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence

from imageprep_client.serving.route import Refusal


def page(
    names: Sequence[str], n: str | None, last: str | None
) -> tuple[list[str], str]:
    """The names after `last`, at most `n` of them.

    :param names: sorted.
    :param n: as in the query; None for no limit.
    :param last: the name before the first; it need not exist.
    :returns: the names, and the query of the next page, empty for none.
    :raises Refusal: when `n` is no number.
    """
    rest = [name for name in names if last is None or name > last]
    if n is None:
        return rest, ""
    if not n.isascii() or not n.isdecimal():
        raise Refusal(
            400, "PAGINATION_NUMBER_INVALID", f"invalid number n={n[:50]!r}"
        )
    # No list is longer than this, and int() refuses thousands of digits.
    limit = int(n[-9:]) if len(n.lstrip("0")) < 10 else len(rest)
    if limit == 0 or limit >= len(rest):
        return rest[:limit], ""
    query = {"n": limit, "last": rest[limit - 1]}
    return rest[:limit], urllib.parse.urlencode(query)
