"""Pages of lists."""

from __future__ import annotations

import pytest

from imageprep_client.serving import paging
from imageprep_client.serving.route import Refusal

NAMES = ["a", "b", "c/d", "e"]


@pytest.mark.parametrize(
    ("n", "last", "names", "following"),
    [
        (None, None, NAMES, ""),
        ("2", None, ["a", "b"], "n=2&last=b"),
        ("2", "b", ["c/d", "e"], ""),
        ("1", "b", ["c/d"], "n=1&last=c%2Fd"),
        ("4", None, NAMES, ""),
        ("9", None, NAMES, ""),
        ("9" * 5000, None, NAMES, ""),
        ("0" * 20 + "1", None, ["a"], "n=1&last=a"),
        ("0", None, [], ""),
        (None, "b", ["c/d", "e"], ""),
        (None, "aa", ["b", "c/d", "e"], ""),
        ("2", "e", [], ""),
    ],
)
def test_page(
    n: str | None, last: str | None, names: list[str], following: str
) -> None:
    """`last` is left out, n is the most, and the next page has a query."""
    assert paging.page(NAMES, n, last) == (names, following)


@pytest.mark.parametrize("n", ["", "-1", "x", "1.5", "²"])
def test_refuses(n: str) -> None:
    """A count that is no number is refused."""
    with pytest.raises(Refusal, match="invalid number"):
        paging.page(NAMES, n, None)
