"""The examples of the document that users have, with their results.

Each is as it is printed but for its registries, which are replaced by those
of the test. Examples with an ellipsis are completed: ``push_destination`` and
``quay.io`` examples by the values of the default environment. The template
``tag_from_label: {version}-{release}`` is no valid YAML as it is printed, and
is quoted; the error for it is tested as well. Of the examples that modify
images, whose directories are those of the test, a dry run is tested: their
roles work in the integration tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client.testing import images
from imageprep_client.testing.gate import Basic
from imageprep_client.testing.registry import RegistryServer
from tests.functional import base
from tests.functional.deployment import PLAIN

HASH = "35414701c176a6288fc2ad141dad0f73624dcb94_43527485"
CEPH = "v4.0.0-stable-4.0-nautilus-centos-7-x86_64"
LABELS = {"rdo_version": HASH, "version": "1.2", "release": "3"}
UNDERCLOUD = "192.168.24.1:8787"
NAMES = ("neutron-metadata-agent", "nova-api")
PARAMETERS = {
    "DockerNeutronMetadataImage": "neutron-metadata-agent",
    "DockerNovaApiImage": "nova-api",
}
#: The table of the document's days, of the images that it names.
TABLE = "container_images_template:\n" + "".join(
    f'- imagename: "{{{{namespace}}}}/{{{{name_prefix}}}}{name}'
    '{{name_suffix}}:{{tag}}"\n'
    f"  image_source: kolla\n  params: [{parameter}]\n"
    for parameter, name in PARAMETERS.items()
)
TABLE += """\
{% if ceph_images|default(true) %}
- imagename: "{{ceph_namespace}}/{{ceph_image}}:{{ceph_tag}}"
  image_source: ceph
  params: [DockerCephDaemonImage]
{% endif %}
"""
DEFAULT = """\
parameter_defaults:
  ContainerImagePrepare:
  - set:
      ceph_image: daemon
      ceph_namespace: docker.io/ceph
      ceph_tag: v4.0.0-stable-4.0-nautilus-centos-7-x86_64
      name_prefix: centos-binary-
      name_suffix: ''
      namespace: docker.io/tripleomaster
      neutron_driver: null
      tag: current-tripleo
    tag_from_label: rdo_version
"""
LOCAL = DEFAULT.replace("  - set:", "  - push_destination: true\n    set:")
LAYERED = """\
parameter_defaults:
  ContainerImagePrepare:
  - tag_from_label: rdo_version
    push_destination: true
    excludes:
    - nova-api
    set:
      namespace: docker.io/tripleomaster
      name_prefix: centos-binary-
      name_suffix: ''
      tag: current-tripleo
  - push_destination: true
    includes:
    - nova-api
    set:
      namespace: mylocal
      tag: myhotfix
"""
CEPH_APART = """\
parameter_defaults:
  ContainerImagePrepare:
  - push_destination: true
    set:
      namespace: docker.io/tripleomaster
      name_prefix: centos-binary-
      name_suffix: ''
      tag: current-tripleo
    tag_from_label: '{version}-{release}'
    excludes: [ceph]
  - push_destination: true
    set:
      ceph_image: ceph
      ceph_namespace: docker.io/ceph
      ceph_tag: latest
    includes: [ceph]
"""


class Site:
    """A registry in place of docker.io, and the commands of a user."""

    def __init__(self, openstack: base.OpenStack, host: str) -> None:
        self.openstack = openstack
        self.host = host
        (openstack.home / "table.j2").write_text(TABLE)

    def run(self, text: str, *words: str, stderr: str = "") -> dict[str, Any]:
        """The parameters that an environment leads to."""
        self.write(text)
        if "push_destination" in text:
            words = ("--image-serve", "tree", *words)
        self.openstack(
            *("image-prepare", "run", "-e", "env.yaml"),
            *("--template-file", "table.j2"),
            *("--output-env-file", "out.yaml", *words),
            stderr=PLAIN + stderr,
        )
        written = yaml.safe_load(
            (self.openstack.home / "out.yaml").read_text()
        )
        found: dict[str, Any] = written["parameter_defaults"]
        found.pop("DockerInsecureRegistryAddress", None)
        return found

    def write(self, text: str) -> Path:
        """Write the environment with the registries of the test."""
        text = text.replace("docker.io", self.host)
        text = text.replace("mylocal", f"{self.host}/mylocal")
        text = text.replace(
            "push_destination: true", f"push_destination: {UNDERCLOUD}"
        )
        path = self.openstack.home / "env.yaml"
        path.write_text(text)
        return path

    def expected(
        self, place: str | None = None, *, tag: str = HASH
    ) -> dict[str, str]:
        """The parameters that the document has, and that of Ceph."""
        place = place or self.host
        names = {
            parameter: f"{place}/tripleomaster/centos-binary-{name}:{tag}"
            for parameter, name in PARAMETERS.items()
        }
        return {
            **names,
            "DockerCephDaemonImage": f"{place}/ceph/daemon:{CEPH}",
        }


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """The images that the document finds in docker.io."""
    tags = ("current-tripleo", HASH, "1.2-3")
    prepared = images.overcloud(
        {f"tripleomaster/centos-binary-{name}": tags for name in NAMES},
        unique_bytes=1000,
        labels=LABELS,
    ).images
    others = images.overcloud(
        {
            "ceph/daemon": [CEPH],
            "ceph/ceph": ["latest"],
            "mylocal/centos-binary-nova-api": ["myhotfix"],
        },
        unique_bytes=1000,
        labels={"maintainer": "somebody"},
    ).images
    with RegistryServer() as server:
        images.write((*prepared, *others), server.content.store)
        yield server


@pytest.fixture
def site(openstack: base.OpenStack, registry: RegistryServer) -> Site:
    """The document's registry and a user."""
    return Site(openstack, registry.host)


BOTH = (
    r"WARNING: env.yaml: [^\n]*name the release with --release \(probably"
    r" master\)\s*"
)
LACKING = r"WARNING: tag_from_label rdo_version: 1 of 3 images [^\n]*\s*"


def test_default_environment(site: Site) -> None:
    """The tag is where the label is read; the label gives the tag."""
    assert site.run(DEFAULT, stderr=BOTH + PLAIN + LACKING) == site.expected()


def test_default_file_names_its_release(site: Site) -> None:
    """A file that default wrote causes no warning: it names its release."""
    site.openstack(
        *("image-prepare", "default", "--output-env-file", "default.yaml")
    )
    text = (site.openstack.home / "default.yaml").read_text()
    assert "\n# Release: master\n" in text
    assert site.run(text, stderr=LACKING) == site.expected()


def test_undercloud_registry(site: Site) -> None:
    """Images are copied, and the parameters name the copies."""
    found = site.run(LOCAL, "--release", "master", stderr=LACKING)
    assert found == site.expected(UNDERCLOUD)


def test_without_label(site: Site) -> None:
    """Without tag_from_label the parameters have the tag itself."""
    text = DEFAULT.replace("    tag_from_label: rdo_version\n", "")
    assert site.run(text) == site.expected(tag="current-tripleo")


@pytest.mark.parametrize("place", [UNDERCLOUD, f"{UNDERCLOUD}/mirror"])
def test_push_destination(site: Site, place: str) -> None:
    """A registry by name, and a path in it."""
    text = LOCAL.replace("true", place)
    found = site.run(text, "--release", "train", stderr=LACKING)
    assert found == site.expected(place)


def test_template(site: Site) -> None:
    """Several labels give a tag together."""
    text = DEFAULT.replace("rdo_version", "'{version}-{release}'")
    found = site.run(
        text,
        *("--release", "queens"),
        stderr=LACKING.replace("rdo_version", r"\{version\}-\{release\}"),
    )
    assert found == site.expected(tag="1.2-3")


def test_unquoted_template(site: Site) -> None:
    """As it is printed it is no YAML: the error has the corrected line."""
    site.write(DEFAULT.replace("rdo_version", "{version}-{release}"))
    site.openstack(
        *("image-prepare", "run", "-e", "env.yaml"),
        status=2,
        stderr=r"env.yaml: invalid YAML: line \d+.*"
        r"hint: put the template in quotes:"
        r" tag_from_label: '\{version\}-\{release\}'",
    )


def test_no_ceph_images(site: Site) -> None:
    """Ceph's images are left out where set says so."""
    text = LOCAL.replace("    set:\n", "    set:\n      ceph_images: false\n")
    expected = site.expected(UNDERCLOUD)
    del expected["DockerCephDaemonImage"]
    assert site.run(text, "--release", "stein") == expected


def test_layered_entries(site: Site) -> None:
    """The later entry gives the locally built image. The values of Ceph are
    those of the release, whose registry nobody reaches here.
    """
    table = TABLE.partition("{% if")[0]
    (site.openstack.home / "table.j2").write_text(table)
    found = site.run(LAYERED, stderr=BOTH + ".*")
    for parameter, name in {
        "DockerNeutronMetadataImage": "tripleomaster/centos-binary-"
        f"neutron-metadata-agent:{HASH}",
        "DockerNovaApiImage": "mylocal/centos-binary-nova-api:myhotfix",
    }.items():
        assert found[parameter] == f"{UNDERCLOUD}/{name}"


def test_ceph_apart(site: Site) -> None:
    """Images of another origin have an entry of their own."""
    found = site.run(CEPH_APART, "--release", "master")
    assert found == {
        **site.expected(UNDERCLOUD, tag="1.2-3"),
        "DockerCephDaemonImage": f"{UNDERCLOUD}/ceph/ceph:latest",
    }


def test_credentials(site: Site, registry: RegistryServer) -> None:
    """A registry gets the user and the password that are given for it."""
    registry.gate = Basic("me", "secret")
    text = LOCAL + (
        "  ContainerImageRegistryCredentials:\n"
        "    'docker.io': {'me': 'secret'}\n"
    )
    found = site.run(text, "--release", "master", stderr=LACKING)
    assert found == site.expected(UNDERCLOUD)


@pytest.mark.parametrize("release", ["victoria", "wallaby", "zed"])
def test_tag_wins(site: Site, release: str) -> None:
    """From Victoria on the tag wins, and one warning says so."""
    found = site.run(
        DEFAULT,
        *("--release", release),
        stderr=rf"WARNING: [^\n]*in release {release} the tag in set wins"
        r"[^\n]*",
    )
    assert found == site.expected(tag="current-tripleo")


def test_images_file(site: Site) -> None:
    """The list of images is written for those who fill a mirror."""
    words = ("--release", "master", "--output-images-file", "images.yaml")
    site.run(LOCAL, *words, stderr=LACKING)
    written = yaml.safe_load((site.openstack.home / "images.yaml").read_text())
    assert written["container_images"] == [
        {"imagename": image, "push_destination": UNDERCLOUD}
        for image in sorted(site.expected().values())
    ]


MODIFIED = {
    "updating packages": (
        """\
    modify_append_tag: "-updated"
    modify_vars:
      tasks_from: yum_update.yml
      compare_host_packages: true
      yum_repos_dir_path: /etc/yum.repos.d
""",
        ["neutron-metadata-agent", "nova-api"],
    ),
    "installing RPM files": (
        """\
    includes:
    - nova-api
    modify_append_tag: "-hotfix"
    modify_vars:
      tasks_from: rpm_install.yml
      rpms_path: /home/stack/nova-hotfix-pkgs
""",
        ["nova-api"],
    ),
    "a Dockerfile": (
        """\
    includes:
    - nova-api
    modify_append_tag: "-hotfix"
    modify_vars:
      tasks_from: modify_image.yml
      modify_dir_path: /home/stack/nova-custom
""",
        ["nova-api"],
    ),
    "source code from Gerrit": (
        """\
    includes:
    - nova-api
    modify_append_tag: "-devel"
    modify_vars:
      tasks_from: dev_install.yml
      source_image: NAMESPACE/centos-binary-nova-api:current-tripleo
      refspecs:
      -
        project: heat
        refspec: refs/changes/12/1234/3
""",
        ["nova-api"],
    ),
}


@pytest.mark.parametrize("name", MODIFIED)
def test_modified_images(site: Site, name: str) -> None:
    """The parameters of the images that match name modified ones."""
    text, names = MODIFIED[name]
    text = text.replace("NAMESPACE", "docker.io/tripleomaster")
    directory = site.openstack.home / "directory"
    directory.mkdir()
    (directory / "Dockerfile").write_text("FROM x\nUSER root\nUSER nova\n")
    (directory / "nova-1-1.noarch.rpm").touch()
    for path in (
        "/etc/yum.repos.d",
        "/home/stack/nova-hotfix-pkgs",
        "/home/stack/nova-custom",
    ):
        text = text.replace(path, str(directory))
    table = TABLE.partition("{% if")[0]
    (site.openstack.home / "table.j2").write_text(table)
    found = site.run(
        f"{LOCAL}    modify_role: tripleo-modify-image\n{text}",
        *("--release", "master", "--dry-run"),
    )
    tag = text.partition('append_tag: "')[2].partition('"')[0]
    expected = site.expected(UNDERCLOUD, tag=f"{HASH}{tag}")
    assert found == {
        parameter: expected[parameter]
        for parameter, image in PARAMETERS.items()
        if image in names
    }
