"""Streams of blobs that several destinations read."""

from __future__ import annotations

import io
import threading
from unittest import mock

import pytest

from imageprep_client import deadlines, errors
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


def opened(
    streams: FanOut,
    destination: str,
    content: base.Content | None = None,
    source: str = "s",
) -> base.Content:
    return streams.open(
        BLOB.descriptor, destination, source, lambda: content or BLOB.open()
    )


def breaking(*reads: bytes | Exception) -> mock.Mock:
    """Content whose reads return, or raise, these."""
    source: mock.Mock = mock.create_autospec(io.BytesIO, instance=True)
    source.read.side_effect = reads
    return source


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
    source = breaking(errors.ServerFault("broken"))
    with (
        opened(streams, "y", source) as reader,
        pytest.raises(errors.ServerFault),
    ):
        reader.read()
    source.close.assert_called_once_with()


def test_failed_stream_leaves_the_buffer(
    streams: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that another destination did not begin to read take no room."""
    monkeypatch.setattr(fanout, "_BUFFER", len(BLOB.data) + 1)
    monkeypatch.setattr(fanout, "_GRACE", 0.0)
    failing = breaking(b"begin", errors.ServerFault("broken"))
    with (
        opened(streams, "y", failing) as reader,
        pytest.raises(errors.ServerFault),
    ):
        reader.read()
    whole = breaking(BLOB.data[:1000], BLOB.data[1000:], b"")
    with opened(streams, "y", whole) as reader:
        assert reader.read() == BLOB.data
    with opened(streams, "x", breaking(AssertionError())) as late:
        assert late.read() == BLOB.data


def test_defect_is_not_the_end(streams: FanOut) -> None:
    """Another destination does not take a part of a blob for all of it."""
    source = breaking(b"begin", ZeroDivisionError(), ZeroDivisionError())
    for reader in [opened(streams, name, source) for name in "xy"]:
        with pytest.raises(ZeroDivisionError):
            reader.read()


def test_time_of_another_destination(streams: FanOut) -> None:
    """The time of one is over; the other begins again."""
    source = breaking(errors.OutOfTime("not done within 1 s"))
    one, other = [opened(streams, name, source) for name in "xy"]
    with pytest.raises(errors.OutOfTime):
        one.read()
    with pytest.raises(Passed):
        other.read()


def test_time_while_another_destination_reads(
    streams: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose time is over does not wait for a slow source."""
    monkeypatch.setattr(fanout, "_IDLE", 0.01)
    begun, over = threading.Event(), threading.Event()

    def read(_: int) -> bytes:
        begun.set()
        over.wait(60)
        return b""

    slow = breaking()
    slow.read.side_effect = read
    one, other = [opened(streams, name, slow) for name in "xy"]
    thread = threading.Thread(target=one.read)
    thread.start()
    assert begun.wait(60)
    try:
        with deadlines.within(0.1, "b"), pytest.raises(errors.OutOfTime):
            other.read()
        assert thread.is_alive()
    finally:
        over.set()
        thread.join()


def test_source_of_another_destination(streams: FanOut) -> None:
    """That it lacks the blob says nothing about the own source."""
    lacking = breaking(errors.NotFound("no such blob"))
    one = opened(streams, "x", lacking)
    with opened(streams, "y", source="other") as other:
        with pytest.raises(errors.NotFound):
            one.read()
        with pytest.raises(Passed):
            other.read()
