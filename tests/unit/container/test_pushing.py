"""Copying one image that the command line names."""

from __future__ import annotations

from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.container import pushing
from imageprep_client.container.request import Row
from imageprep_client.heat.parameters import Credential
from imageprep_client.observer import Observer
from imageprep_client.oci.location import Location
from imageprep_client.testing import content
from imageprep_client.transfer import graph
from imageprep_client.transfer.attached import ReferrersPolicy
from tests.unit.container.stores import Registries

SOURCE = "source.test/ns/name"
PLACE = "destination.test:5000"
IMAGE = content.image(f"{SOURCE}:1")
DIGEST = IMAGE.descriptor.digest
ID = f"0123abcd{'0' * 56}"
HOST = str(graph.host_platform())


@pytest.fixture
def registries() -> Registries:
    """A source with one image."""
    found = Registries()
    found.fill(f"{SOURCE}:1", IMAGE)
    return found


def push(
    registries: Registries,
    image: str = f"{SOURCE}:1",
    place: str = PLACE,
    **changes: Any,
) -> Row:
    request = pushing.PushRequest(image=image, **changes)
    return pushing.push(
        request,
        pushing.source_of(image),
        Location.parse(place),
        source=lambda reference, *_: registries.source(reference),
        destination=registries.destination,
        locked=registries.locked,
        admission=None,
        observer=Observer(),
        concurrency=4,
    )


def at_destination(registries: Registries, name: str, tag: str) -> str:
    """The digest that a tag has at the destination."""
    store = registries.registry(PLACE).store(name)
    descriptor = store.resolve(tag)
    assert store.holds(descriptor)
    return descriptor.digest


def test_copy(registries: Registries) -> None:
    """The image is copied under its name and tag, under the lock."""
    row = push(registries)
    digest = at_destination(registries, "ns/name", "1")
    assert digest == IMAGE.descriptor.digest
    assert row.destination == f"{PLACE}/ns/name:1"
    assert (row.digest, row.outcome) == (digest, "copied")
    assert row.copied == sum(p.descriptor.size for p in IMAGE.parts)
    assert registries.locks == 1


def test_append_what_makes_no_tag(registries: Registries) -> None:
    """A text that makes no tag is refused before anything is done."""
    with pytest.raises(errors.InvalidReference):
        push(registries, append_tag="/../x")
    assert registries.locks == 0


def test_digest(registries: Registries) -> None:
    """With a digest that is what is copied, and given the tag."""
    push(registries, f"{SOURCE}:other@{IMAGE.descriptor.digest}")
    digest = at_destination(registries, "ns/name", "other")
    assert digest == IMAGE.descriptor.digest


def test_digest_without_a_tag() -> None:
    """Nothing is called latest that nobody called so."""
    with pytest.raises(errors.InvalidArgument, match="no tag"):
        pushing.source_of(f"{SOURCE}@{IMAGE.descriptor.digest}")


def test_latest() -> None:
    """Without a tag it is latest, as for docker and podman."""
    assert pushing.source_of(f"docker://{SOURCE}").tag == "latest"


def test_path_at_the_destination(registries: Registries) -> None:
    """A path after the registry comes before the repository."""
    push(registries, place=f"{PLACE}/mine")
    assert at_destination(registries, "mine/ns/name", "1")


@pytest.mark.parametrize("multi_arch", [False, True])
def test_platforms(registries: Registries, multi_arch: bool) -> None:
    """An index is copied when it is asked for, else this host's image."""
    index = content.index(
        {"linux/mips": content.image("mips"), HOST: content.image("host")}
    )
    registries.fill(f"{SOURCE}:many", index)
    push(registries, f"{SOURCE}:many", multi_arch=multi_arch)
    digest = at_destination(registries, "ns/name", "many")
    wanted = index if multi_arch else content.image("host")
    assert digest == wanted.descriptor.digest


@pytest.mark.parametrize(
    "referrers", [ReferrersPolicy.LEAVE, ReferrersPolicy.COPY]
)
def test_referrers(registries: Registries, referrers: ReferrersPolicy) -> None:
    """Attached artifacts are copied, unless they are to be left."""
    signature = content.artifact("signature", IMAGE.descriptor)
    registries.fill(f"{SOURCE}:signature", signature)
    push(registries, referrers=referrers)
    store = registries.registry(PLACE).store("ns/name")
    wanted = referrers is ReferrersPolicy.COPY
    assert store.exists(signature.descriptor) is wanted


def test_dry_run(registries: Registries) -> None:
    """A dry run tells the bytes, and writes and locks nothing."""
    row = push(registries, dry_run=True)
    assert row.outcome == "planned"
    assert row.copied > 0
    assert registries.registry(PLACE).repositories() in ([], ["ns/name"])
    assert registries.locks == 0


# --- images in local storage


@pytest.mark.parametrize(
    ("image", "local", "name"),
    [
        ("nova", False, None),
        ("nova", True, "nova"),
        ("containers-storage:nova:1", False, "nova:1"),
        ("containers-storage:nova:1", True, "nova:1"),
    ],
)
def test_local_name(image: str, local: bool, name: str) -> None:
    """An option, or its transport, says that an image is local."""
    assert pushing.PushRequest(image=image, local=local).local_name == name


@pytest.mark.parametrize("name", ["", "[overlay@/x+/y]nova", "--all"])
def test_what_is_no_local_name(name: str) -> None:
    """A name that buildah would take for something else is refused."""
    request = pushing.PushRequest(image=f"containers-storage:{name}")
    with pytest.raises(errors.InvalidArgument, match="no name of an image"):
        assert request.local_name


def test_local_name_that_breaks_the_grammar() -> None:
    """It is refused before buildah is asked."""
    request = pushing.PushRequest(image="../../etc", local=True)
    with pytest.raises(errors.InvalidReference):
        assert request.local_name


def test_local_storage_takes_no_password() -> None:
    """A password that would not be used is refused."""
    credential = Credential(username="me", password="x")
    request = pushing.PushRequest(
        image="nova", local=True, source_credential=credential
    )
    with pytest.raises(errors.InvalidArgument, match="no user and password"):
        assert request.local_name


@pytest.mark.parametrize(
    ("given", "names", "meant"),
    [
        ("localhost/nova:1", ("localhost/nova:1", "q.io/x:1"), 0),
        ("nova", ("docker.io/library/nova:latest", "x/nova:latest"), 0),
        ("nova:1", ("a.io/nova:1", "localhost/nova:1"), 1),
        ("ns/nova:1", ("a.io/nova:1", "b.io/ns/nova:1"), 1),
        ("0123abcd", ("localhost/nova:1",), 0),
        ("sha256:0123abcd", ("localhost/nova:1",), 0),
        (f"x@{DIGEST}", ("a.io/x:1",), 0),
        ("0123abcd", (f"a.io/x@{DIGEST}", "a.io/x:1"), 1),
    ],
)
def test_local_source(given: str, names: tuple[str, ...], meant: int) -> None:
    """Of an image's names the one that was given, or the only one."""
    assert str(pushing.local_source(given, ID, names)) == names[meant]


@pytest.mark.parametrize("names", [(), ("localhost/a:1", "localhost/b:1")])
def test_no_local_source(names: tuple[str, ...]) -> None:
    """No name is made up, and none is chosen for the user."""
    with pytest.raises(errors.InvalidArgument) as caught:
        pushing.local_source("0123abcd", ID, names)
    assert caught.value.hint


def test_local_index() -> None:
    """An index is not taken for the one of its images that buildah takes."""
    with pytest.raises(errors.InvalidArgument, match="several platforms"):
        pushing.local_source("nova:all", ID, ("localhost/nova:amd64",))


def test_similar_names() -> None:
    """A mistyped name leads to those that are like it."""
    names = ["localhost/nova-api:1", "quay.io/ns/nova-ap:2", "localhost/x:1"]
    error = pushing.no_such_image("nova-ap:1", names)
    assert error.hint == "there is quay.io/ns/nova-ap:2, localhost/nova-api:1"
    error = pushing.no_such_image("mariadb", names)
    assert error.hint == "list what there is: buildah images"


def test_name_that_cannot_be_cleaned_up() -> None:
    """The copy is in place: what fails is a part."""

    def remove(name: str) -> None:
        raise errors.LocalStorageError(f"{name}: in use")

    with pytest.raises(errors.PartialFailure, match="copied") as caught:
        pushing.clean_up(pushing.source_of(f"{SOURCE}:1"), remove)
    assert str(caught.value.failures[0]) == f"{SOURCE}:1: in use"
