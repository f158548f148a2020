"""Images in local storage that the shipped role has changed in many ways.

All changes are made by one run of ansible-playbook, since it takes longer to
start than most of them take.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.server
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imageprep_client.programs.buildah import LocalImage
from tests import local_storage as local_storages
from tests import role_run, rpm_packages, sampling, web
from tests.local_storage import LocalStorage
from tests.rpm_images import RpmImages
from tests.rpm_packages import FOREIGN, NEW, Gerrit, Package

#: What is installed beside OLD in the image with dnf, what is newer, and what
#: that needs.
OTHER = Package(name="other")
OTHER_NEW = Package(name="other", version="2.0", requires=("library",))
LIBRARY = Package(name="library")
PROJECT = "openstack/demo"

RPM = "localhost/ns/rpm:1.0"
DNF = "localhost/ns/dnf:1.0"
NUMBER = "localhost/ns/number:1.0"
ROOT = "localhost/ns/root:1.0"
BARE = "localhost/ns/bare:1.0"
TAG = "-changed"
#: Changes that are tried when all are, see tests/sampling.py.
RARE = (
    *("install-number", "build-root"),
    *("update-both", "update-none", "update-no-repo"),
)


@dataclasses.dataclass
class Site:
    """Images in local storage, what they are changed by, and the outcome.

    :ivar failures: why changes failed, by their name.
    :ivar before: the names of all images before the changes.
    :ivar left: what was there afterwards that should not.
    """

    storage: LocalStorage
    directory: Path
    url: str
    failures: dict[str, str] = dataclasses.field(default_factory=dict)
    before: set[str] = dataclasses.field(default_factory=set)
    left: list[str] = dataclasses.field(default_factory=list)

    def image(self, name: str) -> LocalImage:
        """An image that has to be there."""
        found = self.storage.buildah.image(name)
        assert found is not None, (name, self.failures)
        return found

    def result(self, change: str) -> str:
        """The name of the image that a change made."""
        assert change not in self.failures, self.failures[change]
        return f"localhost/out/{change}:1.0{TAG}"

    def told(self, change: str, *command: str) -> str:
        """The output of a command in the image that a change made."""
        return self.storage.told(self.result(change), *command).strip()

    def installed(self, change: str) -> list[str]:
        """The packages in an image, each with its files as they should be."""
        with self.storage.buildah.container(self.result(change)) as container:
            container.run("rpm", "--verify", "--all")
            told = local_storages.told_in(container, "rpm", "-qa")
            return sorted(told.split())

    def layer(self, change: str) -> Mapping[str, tarfile.TarInfo]:
        """The files in the highest layer of an image."""
        layout = self.directory / f"layout-{change}"
        self.storage.buildah.run(
            *("push", "--quiet", "--disable-compression"),
            *(self.result(change), f"oci:{layout}:1"),
        )
        (manifest,) = json.loads((layout / "index.json").read_bytes())[
            "manifests"
        ]
        content = json.loads(_blob(layout, manifest).read_bytes())
        with tarfile.open(_blob(layout, content["layers"][-1])) as archive:
            return {i.name: i for i in archive if not i.isdir()}


def _blob(layout: Path, descriptor: Mapping[str, str]) -> Path:
    return layout / "blobs" / descriptor["digest"].replace(":", "/")


def changes(site: Site) -> dict[str, dict[str, Any]]:
    """The variables of each change, by its name."""
    here = site.directory
    update = {"tasks": "yum_update.yml", "source_image": DNF}
    update["yum_repos_dir_path"] = str(here / "repos.d")
    install = {"tasks": "rpm_install.yml", "source_image": RPM}
    build = {"tasks": "modify_image.yml", "source_image": RPM}
    dev = {"tasks": "dev_install.yml", "source_image": DNF}
    dev["gerrit_url"] = Gerrit(here / "gerrit").url
    change = {"project": PROJECT, "refspec": "refs/changes/45/12345/1"}
    new = {"rpms_path": str(here / "new")}
    made: dict[str, dict[str, Any]] = {
        "install-rpm": {**install, **new},
        "install-dnf": {**install, **new, "source_image": DNF},
        "install-number": {**install, **new, "source_image": NUMBER},
        "install-older": {**install, "rpms_path": str(here / "older")},
        "install-broken": {**install, "rpms_path": str(here / "broken")},
        "install-foreign": {**install, "rpms_path": str(here / "foreign")},
        "install-empty": {**install, "rpms_path": str(here / "empty")},
        "install-missing": {**install, "rpms_path": str(here / "missing")},
        "install-nothing": {**install},
        "install-bare": {**install, **new, "source_image": BARE},
        "install-unknown": {**install, **new, "source_image": "localhost/x"},
        "install-no-name": {**install, **new, "source_image": "no name"},
        "update-cache": {
            **update,
            "yum_cache": str(here / "cache"),
            "force_purge_yum_cache": True,
        },
        "update-repo": {**update, "update_repo": "second"},
        "update-host": {**update, "compare_host_packages": True},
        "update-both": {
            **update,
            "compare_host_packages": True,
            "update_repo": "second",
        },
        "update-none": {**update, **new, "update_repo": "third"},
        "update-type": {**update, "compare_host_packages": "perhaps"},
        "update-no-repo": {**update, "update_repo": "no-such"},
        "update-no-dnf": {**update, "source_image": RPM},
        "build": {**build, "modify_dir_path": str(here / "build")},
        "build-root": {
            **build,
            "modify_dir_path": str(here / "build"),
            "source_image": ROOT,
        },
        "build-fails": {**build, "modify_dir_path": str(here / "fails")},
        "build-nothing": {**build, "modify_dir_path": str(here / "empty")},
        "dev": {
            **dev,
            "refspecs": [change],
            "python_dir": str(here / "project"),
        },
        "dev-no-change": {
            **dev,
            "refspecs": [{**change, "refspec": "refs/changes/46/12346/1"}],
        },
        "dev-nothing": {**dev},
        "nothing": {"tasks": "main", "source_image": RPM},
    }
    for name in () if sampling.ALL else RARE:
        del made[name]
    for name, variables in made.items():
        variables["target_image"] = f"localhost/out/{name}:1.0"
        variables["modified_append_tag"] = TAG
    return made


@contextlib.contextmanager
def changed(directory: Path, images: RpmImages) -> Iterator[Site]:
    """A site where all changes were made."""
    with (
        local_storages.local_storage(directory / "storage") as storage,
        served(directory) as url,
    ):
        found = Site(storage, directory, url)
        _make_images(found, images)
        _make_directories(found)
        found.before = storage.names()
        # There rpm finds where the packages of this host are listed.
        home = {"HOME": str(directory / "home")}
        found.failures = role_run.run(directory / "run", changes(found), home)
        found.left = [
            *storage.leftovers(),
            *storage.buildah.run("images", "-qf", "dangling=true").split(),
        ]
        yield found


def _make_images(site: Site, images: RpmImages) -> None:
    storage = site.storage
    images.base(storage, RPM)
    images.dnf(storage, "localhost/ns/with-dnf")
    rpms = site.directory / "old"
    other = rpm_packages.build(rpms, OTHER)
    with storage.buildah.container("localhost/ns/with-dnf") as container:
        container.run(
            *("rpm", "-i", f"/mnt/{other.name}"),
            volumes=[f"{rpms}:/mnt:ro"],
            user="root",
        )
        container.commit(DNF)
    with storage.buildah.container(RPM) as container:
        container.run("rm", "/usr/bin/rpm", user="root")
        container.commit(BARE)
    with storage.buildah.container(RPM) as container:
        storage.buildah.run("config", "--user=", container.name)
        container.commit(ROOT)
    with storage.buildah.container(RPM) as container:
        storage.buildah.run("config", "--user=42425:42425", container.name)
        storage.buildah.run(
            *("commit", "--quiet", "--format=docker"),
            *("--", container.name, NUMBER),
        )


def _make_directories(site: Site) -> None:
    here = site.directory
    new = rpm_packages.build(here / "new", NEW)
    rpm_packages.build(here / "older", Package(version="0.9"))
    rpm_packages.broken(here / "broken")
    rpm_packages.build(here / "foreign", FOREIGN)
    (here / "empty").mkdir()
    (here / "cache").mkdir()
    rpm_packages.repository(here / "first", NEW, LIBRARY)
    rpm_packages.repository(here / "second", OTHER_NEW)
    rpm_packages.repository(here / "third", Package(name="unrelated"))
    repositories = "".join(
        f"[{name}]\nname={name}\nbaseurl={site.url}/{name}\ngpgcheck=0\n"
        for name in ("first", "second", "third")
    )
    (here / "repos.d").mkdir()
    (here / "repos.d/all.repo").write_text(repositories)
    host = here / "home"
    host.mkdir()
    (host / ".rpmmacros").write_text(f"%_dbpath {host}/rpm\n")
    # This host has OLD's successor, and nothing newer than OTHER.
    others = here / "old" / OTHER.file_name
    subprocess.run(
        ["rpm", "-i", "--justdb", "--nodeps", str(new), str(others)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(host)},
        check=True,
        capture_output=True,
    )
    for name, command in ("build", "cat /etc/mine"), ("fails", "cat /none"):
        (here / name).mkdir()
        (here / name / "Dockerfile").write_text(
            "FROM docker.io/ns/nova-api:master\nLABEL mine=yes\nUSER root\n"
            f"COPY mine /etc/mine\nRUN {command}\nRUN rm /usr/bin/stat"
        )
        (here / name / "mine").write_text("mine")
        (here / name / "mine").chmod(0o640)
    Gerrit(here / "gerrit").change(
        PROJECT,
        12345,
        rpm_packages.python_project("my-change", "2.0", "change"),
    )
    files = rpm_packages.python_project("my-directory", "2.0", "directory")
    for path, text in files.items():
        (here / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        (here / "project" / path).write_text(text)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """A directory at a URL."""
    handler = functools.partial(_Handler, directory=str(directory))
    with web.running(handler) as url:
        yield url


class _Handler(web.QuietHandler, http.server.SimpleHTTPRequestHandler):
    """Serves files."""
