"""The shipped role on real images: rpm, dnf and pip work in them.

All changes are made once, see tests/role_site.py; each test looks at one
thing that came of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import role_site, rpm_images, sampling
from tests.role_site import (
    BARE,
    DNF,
    LIBRARY,
    NUMBER,
    OTHER,
    OTHER_NEW,
    RARE,
    ROOT,
    RPM,
    TAG,
    Site,
    changes,
)
from tests.rpm_images import RpmImages
from tests.rpm_packages import NEW, OLD, Package

# Most of it is the first test's, in which everything happens.
pytestmark = pytest.mark.timeout(600)


#: What is told when buildah 1.28 loses the output of a container, as it does
#: now and then on a busy host.
LOST = ": non-zero return code"


def tried(*cases: tuple[str, Any]) -> list[tuple[str, Any]]:
    """Cases of changes without those that are not made."""
    return [case for case in cases if sampling.ALL or case[0] not in RARE]


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, rpm_images: RpmImages
) -> Iterator[Site]:
    """A site where all changes were made."""
    directory = tmp_path_factory.mktemp("site")
    with role_site.changed(directory, rpm_images) as found:
        yield found


@pytest.mark.parametrize(
    ("change", "packages"),
    tried(
        ("install-rpm", [NEW]),
        ("install-dnf", [NEW, OTHER]),
        ("install-number", [NEW]),
        ("install-older", [Package(version="0.9")]),
        ("update-repo", [OLD, LIBRARY, OTHER_NEW]),
        ("update-host", [NEW, OTHER]),
        ("update-both", [OLD, OTHER]),
        ("update-none", [NEW, OTHER]),
        ("update-cache", [NEW, LIBRARY, OTHER_NEW]),
    ),
)
def test_packages(site: Site, change: str, packages: list[Package]) -> None:
    """Afterwards an image has these packages, and their files."""
    assert site.installed(change) == sorted(map(str, packages))


def test_files_of_a_package(site: Site) -> None:
    """A program in the changed image reads the new file."""
    assert site.told("install-rpm", "cat", NEW.path) == NEW.content


@pytest.mark.parametrize(
    ("change", "source"),
    tried(
        ("install-rpm", RPM),
        ("install-dnf", DNF),
        ("install-number", NUMBER),
        ("update-host", DNF),
        ("build", RPM),
        ("build-root", ROOT),
        ("dev", DNF),
    ),
)
def test_what_stays(site: Site, change: str, source: str) -> None:
    """The user stays, the layers stay, and there is one layer more."""
    before, after = site.image(source), site.image(site.result(change))
    assert after.user == before.user
    assert after.diff_ids[:-1] == before.diff_ids


@pytest.mark.parametrize(
    ("change", "source"), [("install-rpm", RPM), ("build", RPM)]
)
def test_labels(site: Site, change: str, source: str) -> None:
    """Labels tell what was changed; those of the image stay."""
    labels = site.image(site.result(change)).labels
    assert labels.items() >= rpm_images.LABELS.items()
    assert labels["modified_append_tag"] == TAG
    assert labels["modified_source_image"] == source


@pytest.mark.parametrize(
    ("change", "kind"),
    tried(("install-number", "docker"), ("install-rpm", "oci")),
)
def test_media_types_stay(site: Site, change: str, kind: str) -> None:
    """An image of the older kind is not made one of the newer."""
    manifest = json.loads(site.image(site.result(change)).manifest)
    assert f"vnd.{kind}." in manifest["mediaType"]


@pytest.mark.parametrize(
    "change", ["install-dnf", "install-rpm", "update-cache", "update-host"]
)
def test_nothing_but_the_packages(site: Site, change: str) -> None:
    """No cache and no log is in the layer, and nothing that was lent."""
    state = re.compile(
        r"usr/share/(keystone-demo|library|other)/version|var/lib/(dnf|rpm)/"
    )
    assert [n for n in site.layer(change) if not state.match(n)] == []


def test_cache(site: Site) -> None:
    """The metadata is where the next image finds it."""
    assert list((site.directory / "cache").glob("first*"))


def test_dockerfile(site: Site) -> None:
    """The Dockerfile is carried out, with modes, and no more."""
    layer = site.layer("build")
    assert set(layer) == {"etc/mine", "usr/bin/.wh.stat"}
    assert layer["etc/mine"].mode & 0o777 == 0o640
    assert site.image(site.result("build")).labels["mine"] == "yes"


def test_directory_of_the_dockerfile_stays(site: Site) -> None:
    """Nothing is written where the user keeps the Dockerfile."""
    names = {path.name for path in (site.directory / "build").iterdir()}
    assert names == {"Dockerfile", "mine"}


@pytest.mark.parametrize("project", ["change", "directory"])
def test_project(site: Site, project: str) -> None:
    """The program of a project is what it was made to be."""
    assert site.told("dev", f"my-{project}") == project


def test_directory_of_a_project_stays(site: Site) -> None:
    """Nothing is written where the user works on a project."""
    names = {path.name for path in (site.directory / "project").iterdir()}
    assert names == {"setup.py", "setup.cfg", "my_directory"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    tried(
        ("install-broken", rf"{RPM}: Install .* does not verify: .*digest"),
        ("install-foreign", rf"{RPM}: Install .* different architecture"),
        ("install-empty", rf"{RPM}: Install .* no file \*.rpm in rpms_path"),
        ("install-missing", rf"{RPM}: rpms_path: .*/missing: no directory"),
        ("install-nothing", "missing required arguments: rpms_path"),
        ("install-bare", rf"{BARE}: Install .*: the image has no dnf, yum or"),
        ("install-unknown", "localhost/x: .* image not known.*buildah pull"),
        ("install-no-name", "source_image: .*: no name of an image"),
        ("update-type", "compare_host_packages.* to bool"),
        ("update-no-repo", f"{DNF}: Update .* Unknown repo: 'no-such'"),
        ("update-no-dnf", f"{RPM}: Update .*: the image has no dnf or yum"),
        # The complaint of cat is lost by buildah 1.28 now and then.
        ("build-fails", rf"{RPM}: Build .*STEP .RUN cat /none"),
        ("build-nothing", f"{RPM}: modify_dir_path: .*: no Dockerfile in"),
        ("dev-no-change", f"{DNF}: Fetch .*refs/changes/46/12346/1"),
        ("dev-nothing", f"{DNF}: give refspecs or python_dir"),
        ("nothing", "tasks_from is one of"),
    ),
)
def test_failure(site: Site, change: str, complaint: str) -> None:
    """A change that fails says which image it was, and why."""
    told = site.failures[change].replace("\n", " ")
    if told.endswith(LOST):
        assert told.startswith((RPM, DNF, BARE))
    else:
        assert re.search(complaint, told)


def test_reasons_are_told(site: Site) -> None:
    """Hardly a failure is told without its reason."""
    lost = [told for told in site.failures.values() if told.endswith(LOST)]
    assert len(lost) <= 3, lost


def test_no_result_of_a_failure(site: Site) -> None:
    """Changes that failed made no image."""
    made = site.storage.names() - site.before
    done = changes(site).keys() - site.failures.keys()
    assert made == set(map(site.result, done))


def test_nothing_is_left(site: Site) -> None:
    """No container, directory or image without a name is left."""
    assert site.left == []
