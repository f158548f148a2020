"""Ranges of bytes, RFC 9110 section 14."""

from __future__ import annotations

from aiohttp import web

from imageprep_client.serving.route import Refusal


def requested(request: web.BaseRequest, size: int) -> tuple[int, int] | None:
    """The requested part of a content, as offset and count.

    :param size: of the whole content.
    :returns: None for all of it: without a range, and with several or a
        malformed one, which RFC 9110 lets servers ignore.
    :raises Refusal: if the range contains no byte of it.
    """
    try:
        part = request.http_range
    except ValueError:
        return None
    if part.start is None:
        return None
    start, stop, _ = part.indices(size)
    header = request.headers["Range"].strip()
    # aiohttp takes the last 0 bytes for all of them.
    if start >= stop or header.endswith("=-0"):
        raise Refusal(
            416,
            "UNSUPPORTED",
            f"no byte of {header} is in {size} bytes",
            {"Content-Range": f"bytes */{size}"},
        )
    return start, stop - start
