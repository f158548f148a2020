"""The environments of doc/source/user/modifying.rst, with names of tests."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import local_storage as local_storages
from tests import role_site, rpm_packages
from tests.git_server import git_server
from tests.integration.modifying import Site
from tests.rpm_images import RpmImages
from tests.rpm_packages import NEW, Gerrit
from tests.servers import docker_registry

GUIDE = Path(__file__).parents[2] / "doc/source/user/modifying.rst"
TAG = "current-tripleo"
# One run changes four images, and the images are large.
pytestmark = pytest.mark.timeout(600)
DRIVER = rpm_packages.Package(name="driver")
_BLOCK = re.compile(r"code-block:: yaml\n\n   # (\S+)\n((?:   .*\n|\n)+)")


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, rpm_images: RpmImages
) -> Iterator[Site]:
    """A source with the images, and an empty destination."""
    directory = tmp_path_factory.mktemp("guide")
    home = directory / "home"
    home.mkdir()
    with (
        local_storages.local_storage(directory / "storage") as storage,
        docker_registry(directory / "source") as source,
        docker_registry(directory / "destination") as destination,
    ):
        site = Site(home, source, destination, storage, rpm_images)
        with_dnf = (
            "ns/openstack-{}",
            ("glance-api", "placement-api", "nova-api"),
        )
        others = ("ns/openstack-{}", ("keystone", "cinder-volume"))
        mine = ("mine/openstack-{}", ("nova-api",))
        for image, (pattern, names) in (
            (rpm_images.dnf, with_dnf),
            (rpm_images.base, others),
            (rpm_images.base, mine),
        ):
            wanted = [f"{pattern.format(name)}:{TAG}" for name in names]
            site.publish(image(storage), *wanted)
        yield site


def documented(
    site: Site, name: str, **variables: Any
) -> list[dict[str, Any]]:
    """The entries of one of the guide's files, with places of the test."""
    blocks = dict(_BLOCK.findall(GUIDE.read_text()))
    text = blocks[name]
    # The site has the names of the images of this release.
    assert "# Release: zed\n" in text
    for place, here in (
        ("undercloud.ctlplane:8787", site.destination.host),
        ("quay.io/tripleomastercentos9", f"{site.source.host}/ns"),
        ("quay.io/mine", f"{site.source.host}/mine"),
        ("/home/stack", str(site.home)),
    ):
        text = text.replace(place, here)
    parameters = yaml.safe_load(text)["parameter_defaults"]
    entries: list[dict[str, Any]] = parameters["ContainerImagePrepare"]
    for entry in entries:
        # The source has not all images of a release.
        entry.setdefault("includes", ["openstack-keystone"])
        entry.get("modify_vars", {}).update(variables)
    return entries


@pytest.fixture(scope="module")
def changed(site: Site) -> Site:
    """The site after one run over all entries but those of a patch."""
    with role_site.served(site.home) as url:
        site.configure(
            *_updates(site, url), *_hotfix(site), *_dockerfile(site)
        )
        site.run()
    return site


def _updates(site: Site, url: str) -> list[dict[str, Any]]:
    """Entries that update packages, each with a cache that has a file."""
    rpm_packages.repository(site.home / "updates", NEW)
    repos = site.home / "updates.repos.d"
    repos.mkdir()
    (repos / "updates.repo").write_text(
        f"[updates]\nname=updates\nbaseurl={url}/updates\ngpgcheck=0\n"
    )
    entries = []
    for image in ("glance-api", "placement-api"):
        cache = site.home / image
        cache.mkdir()
        (cache / "left.solv").touch()
        variables = {"yum_cache": str(cache), "force_purge_yum_cache": True}
        (entry,) = documented(site, "updates.yaml", **variables)
        entries.append({**entry, "includes": [f"openstack-{image}"]})
    return entries


def _hotfix(site: Site) -> list[dict[str, Any]]:
    rpm_packages.build(site.home / "nova-rpms", NEW)
    return documented(site, "hotfix.yaml")


def _dockerfile(site: Site) -> list[dict[str, Any]]:
    """An entry that builds the Dockerfile of the guide."""
    block = GUIDE.read_text().partition("code-block:: docker\n\n")[2]
    lines = block.partition("\n\n")[0].splitlines()
    directory = site.home / "cinder-driver"
    rpm_packages.build(directory, DRIVER).rename(directory / "driver.rpm")
    dockerfile = "\n".join(line.removeprefix("   ") for line in lines)
    (directory / "Dockerfile").write_text(dockerfile + "\n")
    return documented(site, "driver.yaml")


@pytest.mark.parametrize("name", ["glance-api", "placement-api"])
def test_updates(changed: Site, name: str) -> None:
    """Packages are updated in images, each entry with an empty cache."""
    image = f"ns/openstack-{name}:{TAG}-updated-1"
    assert changed.installed(image) == str(NEW)
    assert not (changed.home / name / "left.solv").exists()
    assert list((changed.home / name).glob("updates*"))


def test_hotfix(changed: Site) -> None:
    """Packages are installed in one image; another one stays as it is."""
    image = f"mine/openstack-nova-api:{TAG}-hotfix"
    assert changed.installed(image) == str(NEW)
    assert changed.pushed()["ns/openstack-keystone"] == [TAG]


def test_dockerfile(changed: Site) -> None:
    """An image is built from the Dockerfile of the guide."""
    image = f"ns/openstack-cinder-volume:{TAG}-driver"
    assert changed.installed(image, DRIVER.name) == str(DRIVER)


def test_patch(site: Site) -> None:
    """A patch from Gerrit, whose password nobody gets to see."""
    gerrit = Gerrit(site.home / "gerrit")
    files = rpm_packages.python_project("nova-demo", "1.0", "patched")
    assert gerrit.change("openstack/nova", 12345, files) in GUIDE.read_text()
    secret = secrets.token_hex(16)
    with git_server(gerrit.directory, "me", secret) as server:
        site.configure(
            *documented(site, "patch.yaml", gerrit_url=server.url())
        )
        result = site.run("--log-file", "log")
        assert server.command_lines
        assert not [x for x in server.command_lines if secret in x]
    assert secret not in result.stderr + (site.home / "log").read_text()
    site.pull(f"ns/openstack-nova-api:{TAG}-change-12345-1")
    told = site.storage.told("localhost/pulled:1", "nova-demo")
    assert told.strip() == "patched"
