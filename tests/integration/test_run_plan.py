"""A deployment whose plan is in Swift, from the registry to the plan."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client import catalog
from imageprep_client.catalog.table_image import TableImage
from imageprep_client.oci.reference import Reference
from imageprep_client.plans import base as plans
from imageprep_client.plans.swift.files import PROBE
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import images
from tests import servers
from tests.functional import base
from tests.integration import overcloud
from tests.integration.overcloud import RELEASE, UNDERCLOUD
from tests.openstack_services import Services
from tests.servers import DockerRegistry

VERSION = "17.1.4-9"
TAG = "current"
#: In the plan, services are chosen from those that have images.
SHARE = 4
OFF = 5


def _entries(host: str) -> list[TableImage]:
    """The images of the release that the registry has."""
    values = {"namespace": f"{host}/ns", "tag": TAG, "neutron_driver": "ovn"}
    return [
        entry
        for entry in catalog.load(RELEASE).render(values)
        if "/openstack-" in entry.image
    ]


@dataclasses.dataclass(frozen=True)
class Site:
    """A registry, and a plan that wants some of its images.

    :ivar expected: the parameters that the plan has to get.
    """

    registry: DockerRegistry
    services: Services
    plan: str
    expected: Mapping[str, str]

    def listed(self) -> Sequence[Any]:
        """The environments of the plan."""
        text = self.services.read(self.plan, plans.PLAN_ENVIRONMENT) or ""
        found: list[Any] = yaml.safe_load(text)["environments"]
        return found


def _files(host: str, entries: Sequence[TableImage]) -> dict[str, str]:
    """A plan with roles and a dozen environments."""
    services = sorted({name for each in entries for name in each.services})
    chosen, off = services[::SHARE], services[:: SHARE * OFF]
    roles = [
        {
            "name": name,
            "CountDefault": count,
            "tags": ["primary"] * (number == 0),
            "networks": {"InternalApi": {"subnet": "internal_api_subnet"}},
            "ServicesDefault": theirs,
        }
        for number, (name, count, theirs) in enumerate(
            [
                ("Controller", 1, chosen[::2]),
                ("Compute", 0, chosen[1::2]),
                ("BlockStorage", 0, services),
            ]
        )
    ]
    environments: dict[str, Any] = {
        f"environments/services/{number}.yaml": {
            "resource_registry": dict.fromkeys(part, "../service.yaml"),
            "parameter_defaults": {f"Option{number}": [number, "x", None]},
        }
        for number, part in enumerate(chosen[n::8] for n in range(8))
    }
    environments["environments/off.yaml"] = {
        "resource_registry": dict.fromkeys(off, "OS::Heat::None")
    }
    environments["environments/counts.yaml"] = {
        "parameter_defaults": {"ComputeCount": 2}
    }
    prepare = {
        "push_destination": UNDERCLOUD,
        "tag_from_label": "{version}-{release}",
        "includes": ["/openstack-"],
        "set": {"namespace": f"{host}/ns"},
    }
    environments["containers-prepare-parameter.yaml"] = {
        "parameter_defaults": {"ContainerImagePrepare": [prepare]}
    }
    environments["user-environment.yaml"] = {"parameter_defaults": {"Own": 1}}
    plan = {
        "version": 1.0,
        "name": "overcloud",
        "template": "overcloud.yaml",
        "environments": [{"path": path} for path in environments],
        "passwords": {"AdminPassword": "canary"},
    }
    return {
        plans.PLAN_ENVIRONMENT: yaml.safe_dump(plan, sort_keys=False),
        plans.ROLES: yaml.safe_dump(roles),
        **{path: yaml.safe_dump(data) for path, data in environments.items()},
    }


def _expected(entries: Sequence[TableImage]) -> dict[str, str]:
    services = sorted({name for each in entries for name in each.services})
    enabled = set(services[::SHARE]) - set(services[:: SHARE * OFF])
    return {
        parameter: f"{UNDERCLOUD}/{_repository(entry)}:{VERSION}"
        for entry in entries
        if entry.services & enabled
        for parameter in entry.parameters
    }


def _repository(entry: TableImage) -> str:
    return Reference.parse(entry.image).repository


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, services: Services
) -> Iterator[Site]:
    """All images are in the registry, each by two tags."""
    directory = tmp_path_factory.mktemp("registry")
    with servers.docker_registry(directory, access_log=True) as registry:
        entries = _entries(registry.host)
        names = {_repository(each) for each in entries}
        made = images.overcloud(
            {name: [TAG, VERSION] for name in names},
            unique_bytes=1_000_000,
            labels={"version": "17.1.4", "release": "9"},
        )
        overcloud.fill(registry, made.images)
        plan = f"overcloud-{uuid.uuid4().hex[:8]}"
        services.make_plan(plan, _files(registry.host, entries))
        yield Site(registry, services, plan, _expected(entries))


def test_overcloud(site: Site, tmp_path: Path) -> None:
    """The plan names every image of the enabled services by its version.

    ``openstack object save`` shows it; a second run changes nothing, and
    says so.
    """
    home = tmp_path / "home"
    openstack = base.OpenStack(home, **site.services.environment())
    words = ["image-prepare", "run", "--plan", site.plan]
    words += ["--release", RELEASE, "--image-serve", "tree", "-f", "json"]
    rows = json.loads(openstack(*words, stderr=".*").stdout)

    assert {row["Outcome"] for row in rows} == {"copied"}
    openstack(
        *("object", "save", site.plan, plans.PARAMETERS),
        *("--file", "saved.yaml"),
    )
    saved = yaml.safe_load((home / "saved.yaml").read_text())
    written = saved["parameter_defaults"]
    prepared = {
        name: image
        for name, image in written.items()
        if str(image).startswith(UNDERCLOUD)
    }
    assert prepared == site.expected
    assert len(prepared) > 10
    tree = ImageServeTree(home / "tree")
    for image in set(prepared.values()):
        store = tree.store(Reference.parse(image).repository)
        assert store.holds(store.resolve(VERSION))
    listed = site.listed()
    assert listed.count({"path": plans.PARAMETERS}) == 1

    before = site.services.log("^(PUT|POST|DELETE) ")
    again = openstack(*words, stderr=".*")
    assert "has these parameters already" in again.stderr
    assert {row["Outcome"] for row in json.loads(again.stdout)} == {"present"}
    now = site.services.log("^(PUT|POST|DELETE) ")[len(before) :]
    put = [request for request in now if request.startswith("P")]
    assert put == [f"PUT {site.plan}/{PROBE}"]  # which stores nothing
    assert site.listed() == listed
