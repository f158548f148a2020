"""Fixtures of the integration tests."""

from __future__ import annotations

import contextlib
import pathlib
import types
from collections.abc import Iterator

import pytest

from imageprep_client import retry
from imageprep_client.http import timeouts
from tests import sampling, servers
from tests.functional.base import OpenStack
from tests.local_storage import LocalStorage
from tests.lxc_containers import BtrfsPool
from tests.servers import DockerRegistry


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Try one case of each claim about all kinds of plans with Swift.

    The other kinds, which need no server, have all cases.
    """
    seen: set[str] = set()
    others: list[pytest.Item] = []
    for item in () if sampling.ALL else items:
        claim, _, case = item.nodeid.partition("[")
        if "::TestSwift::" in claim and case:
            others += [item] if claim in seen else []
            seen.add(claim)
    config.hook.pytest_deselected(items=others)
    for item in others:
        items.remove(item)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are short in the process of the test."""
    pauses = types.SimpleNamespace(uniform=lambda low, high: low / 50)
    monkeypatch.setattr(retry, "random", pauses)


@pytest.fixture(scope="module", autouse=True)
def _patient() -> Iterator[None]:
    """A slow response on a busy host is not taken for a missing one.

    tests/unit/http has the timeout as it is.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeouts, "_LEAST", 60.0)
        yield


@pytest.fixture
def registry(tmp_path: pathlib.Path) -> Iterator[DockerRegistry]:
    """An empty docker-registry."""
    with servers.docker_registry(tmp_path / "registry") as found:
        yield found


@pytest.fixture
def openstack(
    tmp_path: pathlib.Path, local_storage: LocalStorage
) -> OpenStack:
    """The ``openstack`` command, on the local storage of the test."""
    return OpenStack(tmp_path / "home", **local_storage.environment)


@pytest.fixture
def port() -> int:
    """A port of this host that nobody listens on."""
    return servers.free_port()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BtrfsPool]:
    """A btrfs file system."""
    with contextlib.closing(
        BtrfsPool(tmp_path_factory.mktemp("btrfs"))
    ) as found:
        yield found
