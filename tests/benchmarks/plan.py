"""The cost of a plan in Swift to a run, beside its objects by curl::

    tools/check services
    python -m tests.benchmarks.plan [--environments 100] [--runs 5]

The servers are a real keystone, swift and docker-registry. One image is in
the registry, by many tags. Each round fetches all objects of the plan with
eight curl processes, which have a token already; then runs over the plan
with another tag than before, so that it is written; then once more, when
there is nothing to write. The bar is 2 s more than the curls, with the start
of ``openstack`` included. Exit status 1 when the median of the rounds is over
it.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
import tempfile
import urllib.parse

import yaml

from imageprep_client.plans import base as plans
from imageprep_client.testing import images
from tests import openstack_services, servers
from tests.benchmarks.site import Bench, Taken
from tests.integration import overcloud
from tests.openstack_services import Services
from tests.servers import DockerRegistry

_BAR = 2.0
_CURLS = 8
_PLAN = "overcloud"
_IMAGE = "bench/openstack-keystone"
_TABLE = """container_images_template:
- imagename: "{{namespace}}/openstack-keystone:{{tag}}"
  image_source: bench
  params: [ContainerKeystoneImage]
"""


def _files(count: int) -> dict[str, str]:
    """A plan; its environments have the size of real ones, some kilobytes."""
    environments = {
        f"environments/{number:03}.yaml": yaml.safe_dump(
            {
                "resource_registry": {
                    f"OS::TripleO::Services::S{number}x{n}": "../service.yaml"
                    for n in range(20)
                },
                "parameter_defaults": {
                    f"Option{number}x{n}": {"value": n, "text": "x" * 60}
                    for n in range(30)
                },
            }
        )
        for number in range(count)
    }
    plan = {
        "name": _PLAN,
        "environments": [{"path": path} for path in environments],
        "passwords": {f"Password{n}": "x" * 25 for n in range(80)},
    }
    roles = [{"name": "Controller", "CountDefault": 1, "ServicesDefault": []}]
    return {
        plans.PLAN_ENVIRONMENT: yaml.safe_dump(plan),
        plans.ROLES: yaml.safe_dump(roles),
        **environments,
    }


class _Site:
    """A plan in Swift, and the commands that are measured.

    :param directory: where commands run.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        services: Services,
        registry: DockerRegistry,
    ) -> None:
        self._directory = directory
        self._services = services
        self._registry = registry
        self._bench = Bench(directory, print)
        directory.mkdir()
        (directory / "table.j2").write_text(_TABLE)

    def curls(self, paths: list[str]) -> Taken:
        """Fetch all objects, by eight processes that share them."""
        url = f"{self._services.account}/{_PLAN}"
        for share in range(_CURLS):
            lines = [f'header = "X-Auth-Token: {self._services.token}"\n']
            for number, path in enumerate(paths[share::_CURLS]):
                quoted = urllib.parse.quote(path)
                lines.append(f'url = "{url}/{quoted}"\n')
                lines.append(f'output = "object-{share}-{number}"\n')
            (self._directory / f"curl-{share}").write_text("".join(lines))
        script = " ".join(
            f"curl -sSf -K curl-{share} &" for share in range(_CURLS)
        )
        return self._bench.take("eight curls", ["sh", "-c", f"{script} wait"])

    def run(self, name: str, tag: str) -> Taken:
        """Run over the plan."""
        entry = {
            "push_destination": "localhost:8787",
            "set": {"namespace": f"{self._registry.host}/bench", "tag": tag},
        }
        defaults = {"ContainerImagePrepare": [entry]}
        text = yaml.safe_dump({"parameter_defaults": defaults})
        (self._directory / "env.yaml").write_text(text)
        program = pathlib.Path(sys.executable).with_name("openstack")
        variables = self._services.environment().items()
        return self._bench.take(
            name,
            [
                *("env", *(f"{key}={value}" for key, value in variables)),
                *(str(program), "image-prepare", "run", "--plan", _PLAN),
                *("-e", "env.yaml", "--template-file", "table.j2"),
                *("--image-serve", "tree"),
            ],
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--environments", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    files = _files(options.environments)
    tags = [f"v{number}" for number in range(options.runs + 1)]
    image = images.random_image("bench", repository=_IMAGE, tags=tags)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        home = pathlib.Path(name)
        with (
            openstack_services.running(home / "services") as services,
            servers.docker_registry(home / "registry") as registry,
        ):
            overcloud.fill(registry, [image])
            services.make_plan(_PLAN, files)
            site = _Site(home / "work", services, registry)
            site.run("before all", tags.pop())
            rounds = [
                (
                    site.curls([*files]).seconds,
                    site.run("run that writes", tag).seconds,
                    site.run("run again", tag).seconds,
                )
                for tag in tags
            ]
    size = sum(len(text) for text in files.values())
    print(f"{len(files)} objects, {size / 1e6:.2f} MB")
    for name, seconds in zip(
        ("eight curls", "run that writes", "run again"),
        zip(*rounds, strict=True),
        strict=True,
    ):
        print(f"{name:24}{statistics.median(seconds):8.2f} s")
    more = [
        statistics.median(each[index] - each[0] for each in rounds)
        for index in (1, 2)
    ]
    for name, extra in zip(("writes", "again"), more, strict=True):
        print(f"more, {name:18}{extra:8.2f} s    (bar {_BAR:.1f} s)")
    return int(max(more) > _BAR)


if __name__ == "__main__":
    sys.exit(main())
