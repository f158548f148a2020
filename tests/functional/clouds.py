"""A deployment whose plan is in a real object store."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from imageprep_client.plans import base
from tests.functional import deployment
from tests.functional.deployment import Deployment
from tests.openstack_services import Services

#: Passwords that the plan has.
CANARIES = {"AdminPassword": "Zz9AdminCanary", "NovaPassword": "Zz9NovaCanary"}
REGISTRY_PASSWORD = "Zz9RegistryCanary"


class CloudPlan:
    """A plan of its own name, which wants two of the deployment's images.

    :ivar name: of the container.
    """

    def __init__(self, services: Services, site: Deployment) -> None:
        self.name = f"overcloud-{uuid.uuid4().hex[:8]}"
        self.services = services
        self._site = site
        services.make_plan(self.name, self._files())

    def _files(self) -> dict[str, str]:
        entry = self._site.entry(includes=["keystone", "nova-api"])
        services = list(deployment.SERVICES.values())
        roles = [{"name": "A", "CountDefault": 1, "ServicesDefault": services}]
        plan = {
            "name": self.name,
            "template": "overcloud.yaml",
            "environments": [{"path": "images.yaml"}],
            "passwords": CANARIES,
            "parameter_defaults": {
                "ContainerImageRegistryCredentials": {
                    "registry.test": {"me": REGISTRY_PASSWORD}
                }
            },
        }
        images = {"parameter_defaults": {"ContainerImagePrepare": [entry]}}
        return {
            base.PLAN_ENVIRONMENT: yaml.safe_dump(plan, sort_keys=False),
            "images.yaml": yaml.safe_dump(images),
            base.ROLES: yaml.safe_dump(roles),
        }

    def words(self, *words: str) -> tuple[str, ...]:
        """The command line of a run over the plan."""
        return (
            *("image-prepare", "run", "--plan", self.name),
            *("--template-file", "table.j2", "--image-serve", "tree"),
            *words,
        )

    def state(self) -> Mapping[str, tuple[str, str]]:
        """Of each object its ETag and when it was written."""
        found = {}
        for path in self.services.objects(self.name):
            headers = self.services.ask_swift(
                "HEAD", f"{self.name}/{path}"
            ).headers
            found[path] = (headers["ETag"], headers["X-Timestamp"])
        return found

    def listed(self) -> Sequence[Any]:
        """The environments that the plan lists."""
        text = self.services.read(self.name, base.PLAN_ENVIRONMENT)
        environments: list[Any] = yaml.safe_load(text or "")["environments"]
        return environments

    def parameters(self) -> dict[str, Any]:
        """The parameters that were written into the plan."""
        text = self.services.read(self.name, base.PARAMETERS)
        found = yaml.safe_load(text or "{}").get("parameter_defaults", {})
        return dict(found)

    def images(self) -> dict[str, Any]:
        """Those of the parameters that the plan wants images for."""
        wanted = set(deployment.expected()) - {"ContainerNovaComputeImage"}
        return {
            name: image
            for name, image in self.parameters().items()
            if name in wanted
        }


def wanted() -> dict[str, str]:
    """The value of `CloudPlan.images` after a run."""
    found = deployment.expected()
    del found["ContainerNovaComputeImage"]
    return found
