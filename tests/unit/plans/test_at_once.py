"""Several things are asked for at once."""

from __future__ import annotations

import threading

import pytest

from imageprep_client import errors
from imageprep_client.plans.swift import at_once


def test_order() -> None:
    """Answers are in the order of the questions, whichever comes first."""
    later = threading.Event()

    def ask(number: int) -> int:
        if number:
            later.set()
        else:
            assert later.wait(timeout=20)
        return -number

    assert at_once.each(ask, range(5)) == [0, -1, -2, -3, -4]


def test_nothing() -> None:
    """Without requests there are no results."""
    assert at_once.each(len, iter([])) == []


def test_failure() -> None:
    """It is raised, and no more is asked for then."""
    asked = []

    def ask(number: int) -> None:
        asked.append(number)
        raise errors.PlanError(f"number {number}")

    with pytest.raises(errors.PlanError, match="number"):
        at_once.each(ask, range(100))
    assert len(asked) <= at_once.CONCURRENCY
