"""The cost of modifying many images, beside one ansible for each.

Prints the ratio, and what it is made of. See
doc/source/contributor/benchmarks.rst::

    python -m tests.benchmarks.modify [--images N] [--work DIRECTORY]

Exit status 0 whether or not the bar is met; 1 when something could not be
measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from imageprep_client.host.processes import MARK
from imageprep_client.modify import ansible, ansible_roles
from imageprep_client.modify.base import ImageChange
from imageprep_client.modify.storage import PrivateStorage
from imageprep_client.observer import Observer
from tests import rpm_packages
from tests.integration.modifying import Site
from tests.local_storage import LocalStorage, local_storage
from tests.rpm_images import RpmImages
from tests.servers import docker_registry

BAR = 0.5
ROLE = "tripleo-modify-image"
_TASKS = "rpm_install.yml"
_NAMES = ("keystone", "nova-api", "nova-conductor", "nova-scheduler")
_MORE = ("glance-api", "heat-api", "heat-engine", "placement-api")
_LAST = ("neutron-server", "cinder-api", "cinder-volume", "swift-object")
#: Images that the release's table has.
IMAGES = tuple(f"openstack-{name}" for name in (*_NAMES, *_MORE, *_LAST))


class Bench:
    """Images in local storage and in a registry, and packages for them."""

    def __init__(self, site: Site, count: int) -> None:
        self.names = IMAGES[:count]
        self._site = site
        self._rpms = site.home / "rpms"
        rpm_packages.build(self._rpms, rpm_packages.NEW)
        base = site.rpm_images.base(site.storage)
        for name in self.names:
            local = f"localhost/bench/{name}:1.0"
            site.storage.build(local, {f"/{name}": b"own"}, base=base)
            site.storage.buildah.tag(local, f"localhost/pushed/{name}:1")
            site.publish(f"localhost/pushed/{name}:1", f"ns/{name}:1.0")

    def one_each(self) -> None:
        """Start ansible-playbook for each image, one after the other."""
        play = self._site.home / "play.yaml"
        include = {"name": ROLE, "tasks_from": _TASKS}
        task = {"ansible.builtin.include_role": include}
        hosts = {"hosts": "localhost", "gather_facts": False}
        play.write_text(json.dumps([{**hosts, "tasks": [task]}]))
        program = Path(sys.executable).with_name("ansible-playbook")
        for change in self._changes("-one"):
            variables = self._site.home / "variables.json"
            variables.write_text(
                json.dumps(
                    {
                        "source_image": change.source_image,
                        "target_image": change.target_image,
                        "modified_append_tag": change.append_tag,
                        "rpms_path": str(self._rpms),
                    }
                )
            )
            subprocess.run(
                [
                    *(str(program), "-i", "localhost,", "-c", "local"),
                    *("-e", f"ansible_python_interpreter={sys.executable}"),
                    *("-e", f"@{variables}", str(play)),
                ],
                env={
                    **os.environ,
                    "ANSIBLE_ROLES_PATH": str(ansible_roles.SHIPPED),
                },
                check=True,
                capture_output=True,
            )

    def together(self) -> None:
        """Change all images as a run does, in the same storage."""
        storage = self._site.storage
        environment = {**storage.environment, MARK: "bench"}
        own = PrivateStorage(
            storage.temporary, environment, storage.buildah, ""
        )
        results = ansible.modify(
            own,
            self._changes("-all"),
            concurrency=2 * (os.cpu_count() or 1),
            keep_going=False,
            observer=Observer(),
        )
        assert all(result.done for result in results), results

    def whole(self) -> None:
        """Fetch, change and push all images: a run from end to end."""
        variables = {"tasks_from": _TASKS, "rpms_path": str(self._rpms)}
        self._site.configure(
            self._site.entry(
                *self.names,
                modify_role=ROLE,
                modify_append_tag="-new",
                modify_vars=variables,
            )
        )
        assert len(self._site.run().rows) == len(self.names)

    def _changes(self, append_tag: str) -> list[ImageChange]:
        variables = {"tasks_from": _TASKS, "rpms_path": str(self._rpms)}
        return [
            ImageChange(
                source_image=f"localhost/bench/{name}:1.0",
                target_image=f"localhost/bench/{name}:1.0",
                append_tag=append_tag,
                ansible_role=ROLE,
                variables=variables,
            )
            for name in self.names
        ]


def timed(work: Callable[[], None]) -> float:
    """Seconds that it takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


@contextlib.contextmanager
def bench(directory: Path, count: int) -> Iterator[Bench]:
    """All that is needed, below a directory."""
    images, home = directory / "rpm-images", directory / "home"
    images.mkdir()
    home.mkdir()
    with contextlib.ExitStack() as stack:
        storage: LocalStorage = stack.enter_context(
            local_storage(directory / "storage")
        )
        source, destination = (
            stack.enter_context(docker_registry(directory / name))
            for name in ("source", "destination")
        )
        site = Site(home, source, destination, storage, RpmImages(images))
        yield Bench(site, count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", type=int, default=10, choices=range(1, len(IMAGES) + 1)
    )
    parser.add_argument("--work", default="/var/tmp")  # noqa: S108
    arguments = parser.parse_args()
    count = arguments.images
    with (
        tempfile.TemporaryDirectory(dir=arguments.work) as directory,
        bench(Path(directory), count) as ready,
    ):
        try:
            each = timed(ready.one_each)
            together = timed(ready.together)
            whole = timed(ready.whole)
        except (AssertionError, subprocess.CalledProcessError) as error:
            print(f"not measured: {error}", file=sys.stderr)
            return 1
    ratio = together / each
    print(f"{count} images, rpm_install, {os.cpu_count()} processors")
    print(f"ansible-playbook for each:   {each:6.1f} s")
    print(f"one run of ansible for all:  {together:6.1f} s")
    print(f"a run with fetch and push:   {whole:6.1f} s")
    print(
        f"ratio {ratio:.2f}, with fetch and push {whole / each:.2f};", end=" "
    )
    print(f"bar {BAR}: {'met' if ratio <= BAR else 'NOT MET'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
