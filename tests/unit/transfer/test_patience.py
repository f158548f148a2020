"""Blobs whose transfer breaks off again and again."""

from __future__ import annotations

import collections
import socket

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import images
from imageprep_client.transfer import engine, stream

IMAGE = images.random_image("patience", layers=1)


class Breaking(MemoryStore):
    """Its first pushes of each blob break off.

    :ivar failures: so many of each.
    :ivar unknown: whether they are of a name that does not exist.
    :ivar given_up: whether they were tried long enough.
    """

    failures = 0
    unknown = False
    given_up = False

    def __init__(self, registry: MemoryRegistry, repository: str) -> None:
        super().__init__(registry, repository)
        self._failed: collections.Counter[str] = collections.Counter()

    def push(self, expected: Descriptor, content: base.Content) -> None:
        failed = self._failed[expected.digest]
        if failed < self.failures and not expected.is_manifest:
            self._failed[expected.digest] += 1
            error = errors.Unreachable(
                "it broke off",
                errno=socket.EAI_NONAME if self.unknown else None,
            )
            error.given_up = self.given_up
            raise error
        super().push(expected, content)


def copy(
    failures: int, *, unknown: bool = False, given_up: bool = False
) -> None:
    """Copy an image to where so many pushes of each blob break off."""
    source = MemoryRegistry("source")
    images.write([IMAGE], source.store)
    target = Breaking(MemoryRegistry("target"), IMAGE.repository)
    target.failures = failures
    target.unknown = unknown
    target.given_up = given_up
    engine.copy(
        source.store(IMAGE.repository),
        "latest",
        target,
        "latest",
        observer=Observer(),
    )
    assert target.resolve("latest") == IMAGE.descriptor


def test_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven failures in a row are survived."""
    monkeypatch.setattr(stream, "_POLICY", RetryPolicy(base=0, few=2))
    copy(7)


def test_what_seems_to_stay_is_tried_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store that says so has tried it already."""
    monkeypatch.setattr(stream, "_POLICY", RetryPolicy(base=0, few=2))
    copy(1, unknown=True)
    with pytest.raises(errors.CopyError, match="broke off"):
        copy(2, unknown=True)


def test_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the end the last error is told."""
    monkeypatch.setattr(stream, "_POLICY", RetryPolicy(base=0, few=2))
    with pytest.raises(errors.CopyError, match="broke off"):
        copy(1000)


def test_it_is_not_tried_for_ever() -> None:
    """A request that the transport has given up is not tried again."""
    with pytest.raises(errors.CopyError, match="broke off"):
        copy(1, given_up=True)
