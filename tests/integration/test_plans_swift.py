"""Plans in a real object store keep what `plans.base` promises."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

import openstack
import pytest
from openstack.connection import Connection

from imageprep_client.plans.files import PlanFiles
from imageprep_client.plans.object_store import ObjectStore
from imageprep_client.plans.swift import SwiftFiles
from imageprep_client.testing import plan_suite
from tests import openstack_services
from tests.openstack_services import Services


def connect(services: Services, **changes: str) -> Connection:
    """A connection of the administrator's."""
    return openstack.connect(
        **{
            "auth_url": services.identity,
            "username": "admin",
            "password": openstack_services.PASSWORD,
            "project_name": "admin",
            "user_domain_id": "default",
            "project_domain_id": "default",
            "region_name": openstack_services.REGION,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def store(services: Services) -> Iterator[ObjectStore]:
    """The object store, as the SDK gives it."""
    with connect(services) as connection:
        yield ObjectStore.of(connection)


class _InSwift:
    def __init__(self, services: Services, store: ObjectStore) -> None:
        self._services = services
        self._store = store
        self._name = f"plan-{uuid.uuid4().hex[:8]}"

    def keep(self, files: Mapping[str, str]) -> PlanFiles:
        self._services.make_plan(self._name, files)
        return SwiftFiles(self._store, self._name)

    def read(self, path: str) -> str | None:
        return self._services.read(self._name, path)


class TestSwift(plan_suite.PlanSuite):
    @pytest.fixture
    def host(
        self, services: Services, store: ObjectStore
    ) -> plan_suite.PlanHost:
        return _InSwift(services, store)
