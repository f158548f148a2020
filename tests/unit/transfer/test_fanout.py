"""Streams of blobs that several destinations read."""

from __future__ import annotations

import io
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.stores import base
from imageprep_client.testing import content
from imageprep_client.transfer import fanout
from imageprep_client.transfer.fanout import FanOut, Passed

BLOB = content.blob("blob", 3000)
DIGEST = BLOB.descriptor.digest


@pytest.fixture
def streams() -> FanOut:
    """Destinations x and y both need the blob."""
    streams = FanOut(["x", "y"])
    streams.leave("x")
    for name in "yx":
        streams.begin(name, [DIGEST])
    return streams


def opened(streams: FanOut, destination: str) -> base.Content:
    return streams.open(BLOB.descriptor, destination, BLOB.open)


class Waited(Exception):
    """A destination waits for a stream."""


def look() -> None:
    raise Waited


def test_next_stream_is_not_waited_for(streams: FanOut) -> None:
    """A destination joins the stream that waits for it.

    It could not join the one before, which another destination had to repeat
    before this one looked.
    """
    with opened(streams, "y") as first, opened(streams, "x") as other:
        assert first.read()
        assert other.read()
        other.close()
        with pytest.raises(Passed):
            opened(streams, "x")
    with opened(streams, "y") as again:
        assert again.read() == BLOB.data
        streams.wait(DIGEST, "x", look)
        with opened(streams, "x") as late:
            assert late.read() == BLOB.data


def test_stream_under_way_is_waited_for(streams: FanOut) -> None:
    """A destination that was too late for a stream waits for its end."""
    with opened(streams, "y") as first, opened(streams, "x") as other:
        assert first.read()
        assert other.read()
        other.close()
        with pytest.raises(Waited):
            streams.wait(DIGEST, "x", look)
    streams.wait(DIGEST, "x", look)


def test_idle_stream_is_not_waited_for(
    streams: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that only waits for a busy destination ends."""
    monkeypatch.setattr(fanout, "_GRACE", 0.0)
    with opened(streams, "y") as first:
        assert first.read()
    with opened(streams, "z") as sent:
        assert sent.read()
    streams.wait(DIGEST, "z", look)
    with opened(streams, "z") as sent:
        assert sent.read() == BLOB.data


def test_failed_source_is_closed(streams: FanOut) -> None:
    """Also where another destination has not begun to read it."""
    source = mock.create_autospec(io.BytesIO, instance=True)
    source.read.side_effect = errors.ServerFault("broken")
    with (
        streams.open(BLOB.descriptor, "y", lambda: source) as reader,
        pytest.raises(errors.ServerFault),
    ):
        reader.read()
    source.close.assert_called_once_with()


def test_defect_is_not_the_end(streams: FanOut) -> None:
    """Another destination does not take a part of a blob for all of it."""
    source = mock.create_autospec(io.BytesIO, instance=True)
    source.read.side_effect = [b"begin", ZeroDivisionError, ZeroDivisionError]
    readers = [
        streams.open(BLOB.descriptor, name, lambda: source) for name in "xy"
    ]
    for reader in readers:
        with pytest.raises(ZeroDivisionError):
            reader.read()
