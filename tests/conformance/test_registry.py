"""Registries keep what `stores.base` promises, a real one and the fake."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator
from typing import Literal

import pytest

from imageprep_client.oci import reference as references
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import registry, store_suite
from tests import servers

_POWERS = frozenset(
    {
        base.BeginsPushes,
        base.Mounts,
        base.PushesTagged,
        base.ListsTags,
        base.ListsReferrers,
        base.Deletes,
        base.Untags,
    }
)


_POLICY = RetryPolicy(attempts=2, base=0.01)


@pytest.fixture(scope="module")
def docker_registry(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.DockerRegistry]:
    directory = tmp_path_factory.mktemp("docker-registry")
    with servers.docker_registry(directory) as server:
        yield server


class TestDockerRegistry(store_suite.StoreSuite):
    """The distribution project's registry, as Debian has it."""

    powers = _POWERS
    mounts_from_anywhere = False
    # Version 2.8 keeps every digest as sha256, and lists as it finds.
    sha512 = False
    sorted_tags = False

    @pytest.fixture
    def make_store(
        self, docker_registry: servers.DockerRegistry
    ) -> Iterator[store_suite.MakeStore]:
        with RegistryClient(policy=_POLICY) as client:
            make = _in_namespace(client, docker_registry.host)
            yield make


class TestInProcessRegistry(store_suite.StoreSuite):
    """The registry that tests of other parts use."""

    powers = _POWERS
    mounts_from_anywhere = False

    @pytest.fixture
    def make_store(self) -> Iterator[store_suite.MakeStore]:
        with (
            registry.RegistryServer() as server,
            RegistryClient(policy=_POLICY) as client,
        ):
            yield functools.partial(client.store, server.host)


class TestChunkingRegistry(store_suite.StoreSuite):
    """One that never says how long an answer is."""

    powers = _POWERS
    mounts_from_anywhere = False
    framing: Literal["length", "chunks", "close"] = "chunks"

    @pytest.fixture
    def make_store(self) -> Iterator[store_suite.MakeStore]:
        behaviour = registry.Behaviour(framing=self.framing)
        with (
            registry.RegistryServer(behaviour=behaviour) as server,
            RegistryClient(policy=_POLICY) as client,
        ):
            yield functools.partial(client.store, server.host)


class TestClosingRegistry(TestChunkingRegistry):
    """One that ends each answer with its connection."""

    framing = "close"


class TestMeagreRegistry(store_suite.StoreSuite):
    """One that has no more than it must: no API for referrers, no HEAD of
    manifests, no digests in headers, tags in small pages.
    """

    powers = _POWERS
    mounts_from_anywhere = False

    @pytest.fixture
    def make_store(self) -> Iterator[store_suite.MakeStore]:
        behaviour = registry.Behaviour(
            head=False, digest_header=False, referrers=False, page=2
        )
        with (
            registry.RegistryServer(behaviour=behaviour) as server,
            RegistryClient(policy=_POLICY) as client,
        ):
            yield functools.partial(client.store, server.host)


def _in_namespace(client: RegistryClient, host: str) -> store_suite.MakeStore:
    """Stores of fresh repositories, though the registry is shared."""
    prefix = f"t{uuid.uuid4().hex}"

    def make(repository: str) -> base.Store:
        references.check_repository(repository)
        return client.store(host, f"{prefix}/{repository}")

    return make
