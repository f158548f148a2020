"""The list of a registry's images, and one image of it."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci import config as configs
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.registries import inventory
from imageprep_client.stores import base
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from imageprep_client.transfer import graph
from tests.recorder import Recorder

HOST = str(graph.host_platform())
IMAGE = content.image("image", labels={"a": "b"})
OTHER = content.image("other", labels={"c": "d"})


@pytest.fixture
def registry() -> MemoryRegistry:
    """An empty one."""
    return MemoryRegistry()


def images(
    registry: MemoryRegistry,
    prefix: str = "",
    observer: Observer | None = None,
    kind: type[MemoryStore] = MemoryStore,
    only: str = "",
    attached: bool = False,
) -> list[tuple[str, str]]:
    """The images that are listed.

    :param kind: of the repositories, or of `only` one.
    """

    def store(name: str) -> MemoryStore:
        return (kind if only in ("", name) else MemoryStore)(registry, name)

    return inventory.images(
        registry,
        store,
        prefix=prefix,
        attached=attached,
        concurrency=3,
        observer=observer or Observer(),
    )


def inspect(
    store: base.ReadableStore,
    mark: str = ":1",
    observer: Observer | None = None,
) -> inventory.Details:
    return inventory.inspect(
        store,
        Reference.parse(f"registry.test/ns/name{mark}"),
        observer or Observer(),
    )


def test_images_are_sorted(registry: MemoryRegistry) -> None:
    """All repositories and tags, sorted."""
    put(registry.store("b/b"), IMAGE, "2", "1")
    put(registry.store("a/a"), IMAGE, "3")
    found = [("a/a", "3"), ("b/b", "1"), ("b/b", "2")]
    assert images(registry) == found


def test_attached_tags_are_hidden(registry: MemoryRegistry) -> None:
    """Tags of signatures are listed only where they are asked for."""
    digest = IMAGE.descriptor.digest.replace(":", "-")
    put(registry.store("a/a"), IMAGE, "1", digest, f"{digest}.sig")
    assert images(registry) == [("a/a", "1")]
    assert len(images(registry, attached=True)) == 3


def test_images_below_a_path(registry: MemoryRegistry) -> None:
    """A path chooses whole components, and itself."""
    for name in ("ns/a", "nso/b", "ns"):
        put(registry.store(name), IMAGE, "1")
    assert images(registry, "ns") == [("ns", "1"), ("ns/a", "1")]


def unlisted(error: errors.StoreError) -> type[MemoryStore]:
    """A kind of store whose lists of tags end in this error."""

    class Unlisted(MemoryStore):
        def tags(self):
            raise error

    return Unlisted


#: The registry answers all but the list.
ISOLATED = errors.ServerFault("500")
ISOLATED.isolated = True
KINDS = [
    unlisted(errors.AccessDenied("403")),
    unlisted(ISOLATED),
    unlisted(errors.Refused("405")),
]


def test_emptied_repository(registry: MemoryRegistry) -> None:
    """A repository without tags has no images."""
    put(registry.store("a"), IMAGE, "1")
    emptied = unlisted(errors.NotFound("no tags"))
    assert images(registry, kind=emptied) == []


@pytest.mark.parametrize("kind", KINDS, ids=["403", "500", "405"])
def test_lists_that_alone_fail(
    registry: MemoryRegistry, kind: type[MemoryStore]
) -> None:
    """The other images are listed, and one image is shown, with a note."""
    for name in ("a", "b"):
        put(registry.store(name), IMAGE, "1")
    observer = Recorder()
    listed = images(registry, kind=kind, only="a", observer=observer)
    assert listed == [("b", "1")]
    found = inspect(kind(registry, "a"), observer=observer)
    assert (found.digest, found.tags) == (IMAGE.descriptor.digest, ())
    left, unknown = observer.warnings
    assert left.startswith("a is left out: ")
    assert unknown.startswith("the tags are not known: ")


@pytest.mark.parametrize("kind", KINDS, ids=["403", "500", "405"])
def test_lists_that_all_fail(
    registry: MemoryRegistry, kind: type[MemoryStore]
) -> None:
    """A registry that gives no list of tags is no empty one."""
    for name in ("a", "b"):
        put(registry.store(name), IMAGE, "1")
    recorder = Recorder()
    with pytest.raises(errors.StoreError, match=r"^(403|405|500)$"):
        images(registry, kind=kind, observer=recorder)
    assert not recorder.warnings


def test_failing_repository(registry: MemoryRegistry) -> None:
    """Of a registry that fails the images that it still lists are not all."""
    for name in ("a", "b"):
        put(registry.store(name), IMAGE, "1")
    failing = unlisted(errors.ServerFault("500"))
    with pytest.raises(errors.ServerFault):
        images(registry, kind=failing, only="a")


def test_image(registry: MemoryRegistry) -> None:
    """An image is told by tag, with its config's words."""
    store = registry.store("ns/name")
    put(store, IMAGE, "2", "1")
    found = inspect(store)
    assert found.name == "registry.test/ns/name"
    assert (found.tag, found.digest) == ("1", IMAGE.descriptor.digest)
    assert found.media_type == IMAGE.descriptor.media_type
    assert (found.os, found.architecture) == ("linux", "amd64")
    assert found.created is None
    assert found.labels == {"a": "b"}
    assert found.tags == ["1", "2"]
    assert [layer.size for layer in found.layers] == [1000, 1000]
    assert found.size == sum(p.descriptor.size for p in IMAGE.parts)


def test_image_of_a_tree(registry: MemoryRegistry) -> None:
    """An image that is in no registry has a name without one."""
    store = registry.store("ns/name")
    put(store, IMAGE, "1")
    reference = Reference("image-serve:/srv/images", "ns/name", "1")
    assert inventory.inspect(store, reference, Observer()).name == "ns/name"


def test_image_by_digest(registry: MemoryRegistry) -> None:
    """By digest there is no tag."""
    store = registry.store("ns/name")
    put(store, IMAGE)
    assert inspect(store, f":1@{IMAGE.descriptor.digest}").tag is None


def test_index(registry: MemoryRegistry) -> None:
    """Of an index the image for this host is shown, and the size of all."""
    store = registry.store("ns/name")
    put(store, content.index({"linux/mips": OTHER, HOST: IMAGE}), "1")
    found = inspect(store)
    assert found.platforms == ["linux/mips", HOST]
    assert found.labels == {"a": "b"}
    parts = {p.descriptor for p in (*IMAGE.parts, *OTHER.parts)}
    assert found.size == sum(part.size for part in parts)


def test_index_without_this_host(registry: MemoryRegistry) -> None:
    """Any image is better than none."""
    store = registry.store("ns/name")
    put(store, content.index({"linux/mips": OTHER}), "1")
    assert inspect(store).labels == {"c": "d"}


def test_index_in_part(registry: MemoryRegistry) -> None:
    """Images of an index that were not copied are not missed."""
    store = registry.store("ns/name")
    put(store, content.index({"linux/mips": OTHER, HOST: IMAGE}), "1")
    store.delete(IMAGE.descriptor)
    assert inspect(store).labels == {"c": "d"}
    store.delete(OTHER.descriptor)
    found = inspect(store)
    assert (found.layers, found.size) == ([], 0)


def test_index_of_indexes(registry: MemoryRegistry) -> None:
    """The images below an inner index count as well."""
    store = registry.store("ns/name")
    inner = content.index({HOST: IMAGE})
    put(store, content.index({"linux/any": inner, "linux/mips": OTHER}), "1")
    found = inspect(store)
    assert sorted(found.sized) == sorted([HOST, "linux/mips"])
    assert found.labels == {"a": "b"}
    parts = {p.descriptor for p in (*IMAGE.parts, *OTHER.parts)}
    assert found.size == sum(part.size for part in parts)


def test_huge_config(registry: MemoryRegistry) -> None:
    """Digest and size of an image are listed without its config."""
    store = registry.store("ns/name")
    huge = content.image("huge", labels={"a": "b" * configs.MAX_SIZE})
    put(store, huge, "1")
    recorder = Recorder()
    (listed,) = inventory.sized(
        [("ns/name", "1")], registry.store, concurrency=1, observer=recorder
    )
    assert listed.digest == huge.descriptor.digest
    assert listed.size == sum(part.descriptor.size for part in huge.parts)
    assert listed.created is None
    assert "no age" in recorder.warnings[0]


def test_unreadable_image(registry: MemoryRegistry) -> None:
    """The size of an image that cannot be read is unknown, not 0."""
    store = registry.store("ns/name")
    put(store, IMAGE, "1")
    store.delete(IMAGE.descriptor)
    (listed,) = inventory.sized(
        [("ns/name", "1")], registry.store, concurrency=1, observer=Observer()
    )
    assert (listed.digest, listed.size) == (None, None)


def test_artifact(registry: MemoryRegistry) -> None:
    """An artifact has no labels, and its config is not read."""
    store = registry.store("ns/name")
    put(store, content.artifact("sbom", IMAGE.descriptor), "1")
    found = inspect(store)
    assert (found.labels, found.os) == ({}, None)


def test_place_without_tags(registry: MemoryRegistry) -> None:
    """Not every place lists its tags."""
    inner = registry.store("ns/name")
    put(inner, IMAGE, "1")

    class Plain:
        registry, repository = inner.registry, inner.repository
        resolve, exists, fetch = inner.resolve, inner.exists, inner.fetch

    assert inspect(Plain()).tags == []


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a/b:1", "host:5000/pre/a/b:1"),
        ("b", "host:5000/pre/b"),
        ("docker://a/b", "host:5000/pre/a/b"),
        ("localhost/b:1", "localhost/b:1"),
        ("quay.io/a/b:1", "quay.io/a/b:1"),
        ("docker://docker.io/centos:7", "docker.io/library/centos:7"),
        ("b:1", "host:5000/pre/b:1"),
    ],
)
def test_named(image: str, name: str) -> None:
    """A name without a registry is below the place, another is itself."""
    found = inventory.named(image, lambda: Location.parse("host:5000/pre"))
    assert str(found) == name


def test_named_asks_for_no_place_in_vain() -> None:
    """Where the undercloud is, is looked up only when it matters."""

    def find() -> Location:
        raise AssertionError

    assert inventory.named("quay.io/a", find).registry == "quay.io"


def test_named_badly() -> None:
    """A bad name is refused before it becomes a path."""
    with pytest.raises(errors.InvalidReference):
        inventory.named("../x", lambda: Location("host"))


def test_tags_are_bounded_together(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that names tags without end does not fill the memory."""
    put(registry.store("a"), IMAGE, "1", "2")
    put(registry.store("b"), IMAGE, "3", "4")
    monkeypatch.setattr(inventory, "_MAX_IMAGES", 3)
    with pytest.raises(errors.InvalidContent, match="over 3 tags"):
        images(registry)
