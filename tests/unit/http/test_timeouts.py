"""Timeouts that follow the times of answers."""

from __future__ import annotations

import time

import pytest

from imageprep_client.http.timeouts import AdaptiveTimeout


def after(seconds: float) -> AdaptiveTimeout:
    """The timeout of a server whose answers take so long."""
    timeout = AdaptiveTimeout(60)
    for _ in range(100):
        timeout.answered(seconds)
    return timeout


def test_prompt_servers_are_noticed_soon() -> None:
    """A server that answers promptly has a few seconds."""
    assert after(0.01).of("GET x") == pytest.approx(4)


def test_slow_servers_have_more_time() -> None:
    """A server has many times as long as its answers take on average."""
    assert after(1).of("GET x") == pytest.approx(20, rel=0.1)
    assert AdaptiveTimeout(60).of("GET x") > 5


def test_timeouts_double_the_time_of_a_request() -> None:
    """A request that had no answer gets longer; others do not."""
    timeout = after(0.01)
    times = []
    for _ in range(6):
        times.append(timeout.of("GET x"))
        timeout.exceeded("GET x", time.monotonic())
    assert times == pytest.approx([4, 8, 16, 32, 60, 60])
    assert timeout.of("GET y") == pytest.approx(4)


def test_timeouts_at_the_same_time_are_one() -> None:
    """Requests of one name that were under way together double it once."""
    timeout = after(0.01)
    begin = time.monotonic()
    assert [timeout.exceeded("GET x", begin) for _ in range(3)] == [1, 1, 1]
    assert timeout.of("GET x") == pytest.approx(8)
    assert timeout.exceeded("GET x", time.monotonic()) == 2
    assert timeout.of("GET x") == pytest.approx(16)


def test_proxies_may_take_longer() -> None:
    """The longest timeout is longer where a proxy scans what it passes on."""
    timeout = after(0.01)
    assert timeout.of("GET x", factor=5) == pytest.approx(4)
    for _ in range(7):
        timeout.exceeded("GET x", time.monotonic())
    assert timeout.of("GET x") == 60
    assert timeout.of("GET x", factor=5) == 300


def test_large_bodies_take_longer() -> None:
    """A server has time to store what it was sent, within the limit."""
    timeout = after(0.01)
    assert timeout.of("PUT x", 10 << 20) == pytest.approx(14)
    assert timeout.of("PUT x", 10 << 30) == 60
    assert AdaptiveTimeout(2).of("GET x") == 2
