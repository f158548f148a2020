"""A client that does not wait, a recorder, a registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.http.transport import Timeouts
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing.registry import RegistryServer
from tests import servers
from tests.recorder import Recorder

FAST = RetryPolicy(attempts=5, base=0.001, cap=0.01)


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as registry:
        yield registry


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.crt, server.crt and server.key."""
    directory = tmp_path_factory.mktemp("certificates")
    servers.make_certificate(directory)
    return directory


@pytest.fixture
def secure(certificates: Path) -> Iterator[RegistryServer]:
    """A registry that speaks TLS."""
    with RegistryServer(tls=servers.tls_context(certificates)) as server:
        yield server


@pytest.fixture
def make_client(observer: Recorder) -> Iterator[Callable[..., RegistryClient]]:
    """Clients with `FAST` retries; arguments are those of the class."""
    made = []

    def make(*arguments: Any, **options: Any) -> RegistryClient:
        options.setdefault("policy", FAST)
        options.setdefault("timeouts", Timeouts(2, 5))
        options.setdefault("observer", observer)
        made.append(RegistryClient(*arguments, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., RegistryClient]) -> RegistryClient:
    return make_client()


@pytest.fixture
def store(server: RegistryServer, client: RegistryClient) -> RegistryStore:
    """A repository of the registry."""
    return client.store(server.host, "ns/name")


@pytest.fixture
def destination(
    server: RegistryServer, client: RegistryClient
) -> RegistryStore:
    """As `store`, to be written."""
    return client.destination(server.host, "ns/name")
