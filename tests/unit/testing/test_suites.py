"""The conformance suite collects the tests that apply."""

from __future__ import annotations

import pytest

from imageprep_client.stores import base
from imageprep_client.testing import store_suite


class Plain(store_suite.StoreSuite):
    powers = frozenset()
    sha512 = False


class Capable(Plain):
    powers = store_suite.ALL_POWERS
    sha512 = True


@pytest.mark.parametrize(
    "name",
    ["test_mount", "test_sha512_round_trip", "test_push_tagged_with_sha512"],
)
def test_only_what_applies_is_collected(name: str) -> None:
    """A test whose powers the store lacks is left out, not skipped."""
    assert not callable(getattr(Plain, name))
    assert callable(getattr(Capable, name))


def test_partial_power_is_not_enough() -> None:
    """A test that needs a power and sha512 needs both."""

    class Short(Plain):
        powers = frozenset({base.PushesTagged})

    assert callable(Short.test_push_tagged)
    assert not callable(Short.test_push_tagged_with_sha512)
