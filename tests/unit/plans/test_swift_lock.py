"""The lock of a plan in Swift, without an object store."""

from __future__ import annotations

from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.cloud.object_store import ObjectContainer
from imageprep_client.plans.swift.lock import Lock, Times


def test_old_lock_of_an_interrupted_writer() -> None:
    """A lock that may be another writer's is left, and that is told."""
    container = mock.create_autospec(ObjectContainer, instance=True)
    container.create.return_value = True
    container.get.side_effect = lambda *_, **__: (
        container.create.call_args.args[1],
        "etag",
    )
    container.error.side_effect = lambda path, text: errors.PlanError(text)
    lock = Lock(container, "lock", Times(settle=0, section=0))
    lock.take()
    with pytest.raises(errors.PlanError, match="is old"):
        lock.release((1, 1))
    container.delete.assert_not_called()
