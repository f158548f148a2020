"""Directories of images, named as sources and as destinations."""

from __future__ import annotations

import re

import pytest

from imageprep_client.testing.registry import RegistryServer
from tests.functional import base, deployment
from tests.functional.deployment import PLAIN, Deployment

IMAGE = "ns/openstack-keystone"


@pytest.fixture(params=["oci", "image-serve"])
def place(site: Deployment, request: pytest.FixtureRequest) -> str:
    """A directory that a run has filled, by its name."""
    directory = f"{request.param}:{site.home / 'images'}"
    site.environment(site.entry(push_destination=directory))
    site.run()
    return directory


def test_run_from_a_directory(site: Deployment, place: str) -> None:
    """A directory that one run wrote is what another run takes to a registry
    on the other side; labels are read there, too.
    """
    with RegistryServer() as inside:
        site.environment(
            site.entry(
                push_destination=inside.host,
                set=site.values(namespace=f"{place}//ns", tag="17.1"),
            )
        )
        site.run("--output-env-file", "out.yaml")
        defaults = site.defaults()
        for name in deployment.NAMES:
            store = inside.content.store(f"ns/openstack-{name}")
            assert store.resolve("17.1").digest == site.digest(name)
    for name, value in deployment.expected(inside.host).items():
        assert defaults[name] == value


def test_pull_source(site: Deployment, place: str) -> None:
    """A directory takes the place of a registry that is out of reach."""
    with RegistryServer() as inside:
        site.environment(
            site.entry(
                push_destination=inside.host,
                pull_source=place,
                set=site.values(namespace="outside.invalid/ns", tag="17.1"),
            )
        )
        site.run()
        store = inside.content.store(IMAGE)
        assert store.resolve("17.1").digest == site.digest("keystone")


def test_push(site: Deployment, place: str) -> None:
    """One image goes from a directory to another place, and its name says
    where it is then.
    """
    (row,) = site.openstack.json(
        *("image-prepare", "push", f"{place}//{IMAGE}:17.1"),
        *("--registry-url", f"oci:{site.home / 'other'}//mine"),
    )
    assert row["Digest"] == site.digest("keystone")
    shown = site.openstack.json(
        *("image-prepare", "image", "show", row["Destination"])
    )
    assert shown["Digest"] == site.digest("keystone")


def test_list(site: Deployment, place: str) -> None:
    """All images of a directory are listed, and those below a path."""
    for url in (place, f"{place}//ns"):
        done = site.openstack(
            *("image-prepare", "image", "list", "--registry-url", url),
            *("-f", "value"),
        )
        assert done.stdout.splitlines() == [
            f"ns/openstack-{name}:17.1" for name in deployment.NAMES
        ]


def test_show(site: Deployment, place: str) -> None:
    """One of them is shown."""
    shown = site.openstack.json(
        *("image-prepare", "image", "show", f"{place}//{IMAGE}:17.1")
    )
    assert shown["Digest"] == site.digest("keystone")


def test_verify(site: Deployment, place: str) -> None:
    """A directory is verified as a whole."""
    done = site.openstack(
        *("image-prepare", "verify", "--registry-url", place), stderr=".*"
    )
    assert "3 tags" in done.stderr


def test_discover(site: Deployment, place: str) -> None:
    """The versioned tag of an image is found, once it is there."""
    label = ("--tag-from-label", "version")
    name = f"{place}//{IMAGE}:17.1"
    discover = ("image-prepare", "tag", "discover", "--image", name, *label)
    site.openstack(*discover, status=2, stderr=".*17.1.3, which is not in.*")
    site.environment(
        site.entry(push_destination=place, set=site.values(tag="17.1.3"))
    )
    site.run()
    assert site.openstack(*discover).stdout == "17.1.3\n"


def test_not_there(site: Deployment) -> None:
    """A directory that is not there is named, and not made."""
    name = f"oci:{site.home / 'none'}//{IMAGE}:1"
    done = site.openstack(
        "image-prepare", "image", "show", name, status=2, stderr=".*"
    )
    assert f"{site.home / 'none'}" in done.stderr
    assert not (site.home / "none").exists()


@pytest.mark.parametrize("name", ["oci:images//A:1", "oci:i//a:.b"])
def test_no_image(openstack: base.OpenStack, name: str) -> None:
    """A name that has no image in it is refused."""
    openstack(
        *("image-prepare", "image", "show", name),
        status=2,
        stderr=PLAIN + "invalid .*",
    )


@pytest.mark.parametrize(
    "words",
    [
        ("image", "list", "--image-serve", "{path}"),
        ("image", "list", "--registry-url", "oci:{path}"),
        ("image", "list", "--registry-url", "a:1", "--authfile", "{path}"),
        ("verify", "--image-serve", "{path}/tree"),
        ("prune", "--keep-last", "1", "--image-serve", "{path}"),
    ],
)
def test_unusable_path(
    openstack: base.OpenStack, words: tuple[str, ...]
) -> None:
    """A path that the system refuses is told in one line."""
    path = openstack.home / ("x" * 300)
    openstack(
        "image-prepare",
        *(word.format(path=path) for word in words),
        status=2,
        stderr=rf"{path}(/tree)?: file name too long",
    )


#: Names that are cut short, and the part that they lack.
IMAGES = {
    "oci:": "directory",
    "image-serve:/x": "repository",
    "docker://": "registry",
    "docker://r.io/": "repository",
    "r.io:": "port",
    "r.io/a:": "tag",
    "r.io/a@": "digest",
    "r.io/a@sha256:": "digest",
}
PLACES = {"oci:": "directory", "docker://": "registry", "r.io:": "port"}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(
    "command",
    [
        "image show NAME",
        "image delete NAME --yes",
        "push NAME",
        "tag discover --image NAME --tag-from-label x",
        "policy show NAME",
        "baremetal push NAME --kernel file",
        "machine import x --from NAME",
    ],
)
def test_images_that_are_cut_short(
    openstack: base.OpenStack, command: str, name: str
) -> None:
    """One line tells what is missing and how the name goes on."""
    (openstack.home / "file").write_text("x")
    words = command.replace("NAME", name).split()
    openstack(
        *("image-prepare", *words),
        status=2,
        stderr=re.escape(f"{name!r}: no {IMAGES[name]}; write ") + r"[^\n]+",
    )


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(
    "words",
    [
        "image list --registry-url",
        "image show a:1 --registry-url",
        "verify --registry-url",
        "prune --keep-last 1 --yes --registry-url",
        "push r.io/a:1 --registry-url",
        "run -e env.yaml --template-file table.j2 --from",
        "run -e env.yaml --template-file table.j2 --also-to",
    ],
)
def test_places_that_are_cut_short(
    site: Deployment, words: str, name: str
) -> None:
    """The same for registries and directories."""
    told = re.escape(f"{name!r}: no {PLACES[name]}; write ") + r"[^\n]+"
    site.openstack(
        *("image-prepare", *words.split(), name),
        status=2,
        stderr=rf"(--also-to: )?{told}",
    )


def test_local_storage_elsewhere(openstack: base.OpenStack) -> None:
    """Only two commands read local storage; others say so."""
    openstack(
        *("image-prepare", "image", "show", "containers-storage:a:1"),
        status=2,
        stderr="'containers-storage:a:1': only push and hotfix .*\nhint: .*",
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("/srv/images", "'/srv/images': a path, and no registry"),
        ("./images", "'./images': a path, and no registry"),
        ("env.yaml", "env.yaml: a file, and no registry"),
    ],
)
def test_path_as_registry(site: Deployment, name: str, what: str) -> None:
    """A path in the place of a registry is told at once, with its kinds."""
    site.environment()
    words = ("image-prepare", "image", "list", "--registry-url", name)
    site.openstack(
        *words, status=2, stderr=f"{what}\nhint: [^\n]* oci-archive:[^\n]*"
    )


def test_archive_as_a_destination(site: Deployment) -> None:
    """An archive is no destination, even if it has the images already."""
    site.environment()
    site.run("--carry", "images.tar")
    place = "oci-archive:images.tar"
    told = f"{place}: an archive is only read\nhint: [^\n]*--carry[^\n]*"
    site.run("--also-to", place, status=2, stderr=told)
    image = f"{site.registry.host}/{IMAGE}:17.1"
    site.openstack(
        *("image-prepare", "push", image, "--registry-url", place),
        status=2,
        stderr=told,
    )
    site.environment(site.entry(push_destination=place))
    site.run(status=2, stderr=told)


def test_names_with_spaces_in_the_next_step(site: Deployment) -> None:
    """The command can be copied into a shell."""
    site.environment(site.entry(push_destination="oci:images"))
    name = "my images"
    default = ("image-prepare", "default", "--output-env-file", name)
    for words, step in (
        (default, f"openstack image-prepare run -e '{name}'"),
        (site.words("--carry", name), f"run --from '{name}'"),
        (
            site.words("--output-env-file", name),
            f"openstack overcloud deploy ... -e '{name}'",
        ),
    ):
        told = site.openstack(*words, stderr=r"(.|\n)*").stderr
        assert told.rstrip().endswith(step)


@pytest.mark.parametrize("name", ["release-1", "release:1"])
@pytest.mark.parametrize("words", [(), ("--split-size", "1")])
def test_archive_of_any_name(
    site: Deployment, name: str, words: tuple[str, ...]
) -> None:
    """The archive of a run is read by the name that the run tells."""
    site.environment(site.entry(push_destination="oci:images"))
    site.run("--carry", name, *words)
    site.registry.close()
    site.run("--from", name)


def test_archive_in_no_directory(site: Deployment) -> None:
    """An archive that cannot be written is told before anything is read."""
    site.environment()
    site.run(
        *("--carry", "absent/images.tar"),
        status=2,
        stderr="absent/images.tar: no such directory: [^\n]*/absent"
        "\nhint: [^\n]*",
    )
    assert not site.registry.log


@pytest.mark.parametrize("command", ["image list", "verify"])
def test_layout_itself(site: Deployment, command: str) -> None:
    """A layout is no directory of layouts: it is told how its images are
    named, and not that there are none.
    """
    site.environment(
        site.entry(push_destination=f"oci:{site.home / 'images'}")
    )
    site.run()
    above = site.home / "images" / "ns"
    done = site.openstack(
        *("image-prepare", *command.split()),
        *("--registry-url", f"oci:{above / 'openstack-keystone'}"),
        status=2,
        stderr=".*",
    )
    assert "an image layout itself" in done.stderr
    assert f"oci:{above}//openstack-keystone:TAG" in done.stderr
    site.openstack.json(
        *("image-prepare", "image", "show"),
        f"oci:{above}//openstack-keystone:17.1",
    )


@pytest.mark.parametrize("command", ["image list", "verify"])
def test_no_layouts(site: Deployment, command: str) -> None:
    """A directory without layouts is an error, and not an empty list."""
    (site.home / "other").mkdir()
    done = site.openstack(
        *("image-prepare", *command.split(), "--registry-url", "oci:other"),
        status=2,
        stderr=".*",
    )
    assert "other: no image layouts in this directory" in done.stderr
