"""Faults hit the requests they are meant for."""

from __future__ import annotations

from imageprep_client.testing.faults import Fault, Faults


def hits(faults: Faults, count: int, method: str = "GET") -> list[bool]:
    return [
        faults.of(method, "/v2/x/blobs/y") is not None for _ in range(count)
    ]


def test_once_by_default() -> None:
    """A fault happens once unless it says otherwise."""
    assert hits(Faults([Fault(status=500)]), 3) == [True, False, False]


def test_skip_and_times() -> None:
    """Some are spared, some get it, the rest is spared again."""
    faults = Faults([Fault(skip=1, times=2)])
    assert hits(faults, 4) == [False, True, True, False]


def test_always() -> None:
    """Without a number it never ends."""
    assert all(hits(Faults([Fault(times=None)]), 10))


def test_method_and_path() -> None:
    """Only requests that fit are counted."""
    faults = Faults([Fault("PUT", "/blobs/"), Fault(path="/manifests/")])
    assert hits(faults, 2) == [False, False]
    assert hits(faults, 2, "PUT") == [True, False]


def test_chance_is_repeatable() -> None:
    """The same seed makes the same choice."""
    runs = [
        hits(Faults([Fault(chance=0.5, times=None)], seed=7), 50)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert 0 < sum(runs[0]) < 50


def test_order() -> None:
    """The first fault that applies is the one."""
    one, two = Fault(status=1), Fault(status=2)
    faults = Faults([one])
    faults.add(two)
    assert faults.of("GET", "/") is one
    assert faults.of("GET", "/") is two
    faults.add(Fault(times=None))
    faults.clear()
    assert faults.of("GET", "/") is None
