"""The ends of streams, which servers rarely show."""

from __future__ import annotations

import threading
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.http.transport import Response
from imageprep_client.retry import Retrier
from imageprep_client.stores.registry import blob
from tests.recorder import Recorder
from tests.unit.stores.registry.conftest import FAST


def answer(*pieces: bytes | Exception) -> mock.Mock:
    """A response that gives these pieces, one for each read."""
    response = mock.Mock(spec=Response)
    response.status = 200
    response.headers = {}
    response.read.side_effect = pieces
    return response


def download(size: int, *responses: mock.Mock) -> blob.Download:
    rest = list(responses[1:])
    return blob.Download(
        Retrier(FAST, Recorder(), threading.Event()),
        "x",
        size,
        responses[0],
        lambda offset: rest.pop(0),
    )


def test_reads_everything() -> None:
    """Without a size, everything is read."""
    assert download(4, answer(b"ab", b"cd", b"")).read() == b"abcd"


def test_a_break_behind_the_end() -> None:
    """When all is there, how the connection ends does not matter."""
    stream = download(2, answer(b"ab", errors.Unreachable("broken")))
    assert stream.read(2) == b"ab"
    assert stream.read(1) == b""


def test_reads_of_nothing() -> None:
    """A read of no bytes is no end."""
    assert download(2, answer(b"")).read(0) == b""


def test_second_answer_is_too_short() -> None:
    """An answer that ends within what is known already is one more break."""
    stream = download(
        4, answer(b"abc", b""), answer(b"a", b""), answer(b"abc", b"d", b"")
    )
    assert stream.read() == b"abcd"


def test_too_many_breaks() -> None:
    """Breaks without progress end with the last error."""
    ends = errors.Unreachable("broken")
    stream = download(4, answer(b"a", ends), *(answer(ends) for _ in range(9)))
    assert stream.read(1) == b"a"
    with pytest.raises(errors.StoreError):
        stream.read(1)
