"""Ranges of bytes."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from imageprep_client.serving import ranges
from imageprep_client.serving.route import Refusal


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, 90)),
        ("bytes=90-200", (90, 10)),
        ("bytes=99-99", (99, 1)),
        ("bytes=-10", (90, 10)),
        ("bytes=-200", (0, 100)),
        ("Bytes=0-0", (0, 1)),
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes=9-5", None),
        ("bytes=0-1,4-5", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("bytes=0-" + "9" * 30, (0, 100)),
        ("bytes=0-" + "9" * 5000, None),
    ],
)
def test_parse(header: str | None, part: tuple[int, int] | None) -> None:
    """One range is read; none, several and malformed ones are no range."""
    headers = {} if header is None else {"Range": header}
    request = make_mocked_request("GET", "/", headers)
    assert ranges.requested(request, 100) == part


@pytest.mark.parametrize(
    ("header", "size"),
    [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0)],
)
def test_unsatisfiable(header: str, size: int) -> None:
    """A range without a byte is refused, with the size to try again."""
    request = make_mocked_request("GET", "/", {"Range": header})
    with pytest.raises(Refusal) as caught:
        ranges.requested(request, size)
    assert caught.value.status == 416
    assert caught.value.headers["Content-Range"] == f"bytes */{size}"
