"""The order of versions; rpm's own answers are in tests/integration."""

from __future__ import annotations

import itertools
import random

import pytest

from imageprep_client.rpm.evr import Evr, key


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "1.1"),
        ("1.9", "1.10"),
        ("1.0", "1.0.0"),
        ("1.0", "1.0a"),
        ("1.a", "1.0"),
        ("a", "b"),
        ("A", "a"),
        ("1.0~rc1", "1.0"),
        ("1.0~rc1", "1.0~rc2"),
        ("1.0~~", "1.0~"),
        ("1.0", "1.0^git1"),
        ("1.0^git1", "1.0.1"),
        ("1.0~rc1", "1.0~rc1^git1"),
        ("1.0^git1~pre", "1.0^git1"),
        ("9" * 5000, "1" + "0" * 5000),
    ],
)
def test_older(older: str, newer: str) -> None:
    """The parts of versions count as rpm's manual says."""
    assert key(older) < key(newer)


@pytest.mark.parametrize(
    ("one", "other"), [("1.0", "1.00"), ("1.0", "1_0"), ("1.0", "1.0.")]
)
def test_equal(one: str, other: str) -> None:
    """Leading zeros and what only separates make no difference."""
    assert Evr(0, one, "1") == Evr(0, other, "1")
    assert hash(Evr(0, one, "1")) == hash(Evr(0, other, "1"))


def test_order_is_total() -> None:
    """Any three versions are in one order, whichever are compared."""
    source = random.Random(1)  # noqa: S311 - no secret
    words = [
        "".join(source.choices("019ab.~^", k=source.randint(0, 6)))
        for _ in range(60)
    ]
    for a, b, c in itertools.permutations(map(key, words), 3):
        assert not (a <= b <= c) or a <= c


def test_epoch_outweighs_the_version() -> None:
    """A higher epoch is newer whatever the version."""
    assert Evr(1, "1", "1") > Evr(0, "99", "1")


def test_release_decides_last() -> None:
    """Of one version the higher release is newer."""
    assert Evr(0, "1", "2.el9") < Evr(0, "1", "10.el9")


@pytest.mark.parametrize(
    ("evr", "text"),
    [(Evr(0, "1.0", "1"), "1.0-1"), (Evr(2, "1.0", "1"), "2:1.0-1")],
)
def test_text(evr: Evr, text: str) -> None:
    """The epoch is shown where there is one."""
    assert str(evr) == text
