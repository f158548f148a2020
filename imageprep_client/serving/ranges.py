"""Ranges of bytes, RFC 9110 section 14."""

from __future__ import annotations

import re

from imageprep_client.serving.route import Refusal

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.I | re.A)


def parse(header: str | None, size: int) -> tuple[int, int] | None:
    """The requested bytes of a ``Range``, as offset and count.

    :param size: of the whole content.
    :returns: None to send all of it: without a range, with several, or with
        a malformed one, which RFC 9110 lets servers ignore.
    :raises Refusal: when no byte of it exists.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if not match or not (match[1] or match[2]):
        return None
    if match[1]:
        start = int(match[1])
        end = min(int(match[2] or size), size - 1)
        if match[2] and int(match[2]) < start:
            return None
    else:
        start = max(size - int(match[2]), 0)
        end = size - 1
    if start > end:
        raise Refusal(
            416,
            "UNSUPPORTED",
            f"no byte of {header} is in {size} bytes",
            {"Content-Range": f"bytes */{size}"},
        )
    return start, end - start + 1
