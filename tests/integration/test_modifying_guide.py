"""The environments of doc/source/user/modifying.rst, with names of tests."""

from __future__ import annotations

import functools
import http.server
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import local_storage as local_storages
from tests import rpm_packages
from tests.git_server import git_server
from tests.integration.modifying import Site, publish
from tests.local_storage import LocalStorage
from tests.rpm_images import RpmImages
from tests.rpm_packages import NEW, Gerrit
from tests.servers import docker_registry

GUIDE = Path(__file__).parents[2] / "doc/source/user/modifying.rst"
TAG = "current-tripleo"
IMAGES = (
    f"ns/openstack-keystone:{TAG}",
    f"ns/openstack-nova-api:{TAG}",
    f"ns/openstack-cinder-volume:{TAG}",
    f"mine/openstack-nova-api:{TAG}",
)
_BLOCK = re.compile(r"code-block:: yaml\n\n   # (\S+)\n((?:   .*\n|\n)+)")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def content(
    tmp_path_factory: pytest.TempPathFactory, rpm_images: RpmImages
) -> Path:
    """What a registry keeps of the images."""
    directory = tmp_path_factory.mktemp("content")
    with (
        local_storages.local_storage(directory / "storage") as storage,
        docker_registry(directory) as registry,
    ):
        publish(storage, registry, rpm_images.dnf(storage), *IMAGES)
    return directory / "data"


@pytest.fixture
def site(
    tmp_path: Path,
    local_storage: LocalStorage,
    rpm_images: RpmImages,
    content: Path,
) -> Iterator[Site]:
    """A source with the images, and an empty destination."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(content, tmp_path / "source" / "data")
    with (
        docker_registry(tmp_path / "source") as source,
        docker_registry(tmp_path / "destination") as destination,
    ):
        yield Site(home, source, destination, local_storage, rpm_images)


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    """Where the files of the site's home are served."""
    handler = functools.partial(Quiet, directory=str(site.home))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def documented(
    site: Site, name: str, **variables: Any
) -> list[dict[str, Any]]:
    """The entries of one of the guide's files, with places of the test."""
    blocks = dict(_BLOCK.findall(GUIDE.read_text()))
    text = blocks[name]
    for place, here in (
        ("undercloud.ctlplane:8787", site.destination.host),
        ("quay.io/tripleomaster", f"{site.source.host}/ns"),
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


def configure(site: Site, name: str, **variables: Any) -> None:
    """Let env.yaml be one of the guide's, with places of the test."""
    site.configure(*documented(site, name, **variables))


def test_updates(site: Site, url: str) -> None:
    """Update packages in all images, each entry with an empty cache."""
    rpm_packages.repository(site.home / "updates", NEW)
    repos = site.home / "updates.repos.d"
    repos.mkdir()
    (repos / "updates.repo").write_text(
        f"[updates]\nname=updates\nbaseurl={url}/updates\ngpgcheck=0\n"
    )
    caches = [site.home / name for name in ("one", "two")]
    entries = []
    for cache, image in zip(caches, ("keystone", "nova-api"), strict=True):
        cache.mkdir()
        (cache / "left.solv").touch()
        variables = {"yum_cache": str(cache), "force_purge_yum_cache": True}
        (entry,) = documented(site, "updates.yaml", **variables)
        entries.append({**entry, "includes": [f"openstack-{image}"]})
    site.configure(*entries)
    site.run()
    for cache, entry in zip(caches, entries, strict=True):
        image = f"ns/{entry['includes'][0]}:{TAG}-updated-1"
        assert site.installed(image) == str(NEW)
        assert not (cache / "left.solv").exists()
        assert list(cache.glob("updates*"))


def test_hotfix(site: Site) -> None:
    """Install packages in one image."""
    rpm_packages.build(site.home / "nova-rpms", NEW)
    configure(site, "hotfix.yaml")
    site.run()
    image = f"mine/openstack-nova-api:{TAG}-hotfix"
    assert site.installed(image) == str(NEW)


def test_dockerfile(site: Site) -> None:
    """An image of your own Dockerfile; the one of the guide."""
    block = GUIDE.read_text().partition("code-block:: docker\n\n")[2]
    lines = block.partition("\n\n")[0].splitlines()
    directory = site.home / "cinder-driver"
    driver = rpm_packages.Package(name="driver")
    rpm = rpm_packages.build(directory, driver)
    rpm.rename(directory / "driver.rpm")
    dockerfile = "\n".join(line.removeprefix("   ") for line in lines)
    (directory / "Dockerfile").write_text(dockerfile + "\n")
    configure(site, "driver.yaml")
    site.run()
    image = f"ns/openstack-cinder-volume:{TAG}-driver"
    assert site.installed(image, "driver") == str(driver)


def test_patch(site: Site) -> None:
    """A patch from Gerrit, whose password nobody gets to see."""
    gerrit = Gerrit(site.home / "gerrit")
    files = rpm_packages.python_project("nova-demo", "1.0", "patched")
    refspec = gerrit.change("openstack/nova", 12345, files)
    assert refspec in GUIDE.read_text()
    secret = secrets.token_hex(16)
    with git_server(gerrit.directory, "me", secret) as server:
        configure(site, "patch.yaml", gerrit_url=server.url())
        result = site.run("--log-file", "log")
        assert server.command_lines
        assert not [x for x in server.command_lines if secret in x]
    assert secret not in result.stderr + (site.home / "log").read_text()
    buildah = site.pull(f"ns/openstack-nova-api:{TAG}-change-12345-1")
    with buildah.container("localhost/pulled:1") as container:
        assert container.run("nova-demo").strip() == "patched"
