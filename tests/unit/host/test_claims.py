"""Claims of processes, as this host and others judge them."""

from __future__ import annotations

import dataclasses

import pytest

from imageprep_client.host.processes import Claim


@pytest.mark.parametrize(
    ("changes", "is_alive"),
    [
        ({}, True),
        ({"started": "1"}, False),
        ({"boot": "former", "namespace": "former"}, False),
        ({"namespace": "of a container"}, None),
        ({"machine": "another"}, None),
    ],
    ids=["this", "same number", "restarted", "container", "other host"],
)
def test_is_alive(changes: dict[str, str], is_alive: bool | None) -> None:
    """Nothing is said of a process that this host cannot see."""
    own = Claim.parse(str(Claim.own()))
    assert own is not None
    assert dataclasses.replace(own, **changes).is_alive is is_alive


@pytest.mark.parametrize("text", ["", "boot/12/34", "a/b/c/d/none/f"])
def test_no_claim(text: str) -> None:
    """Texts of others are no claims."""
    assert Claim.parse(text) is None
