"""Deleting an image deletes nothing that anything else needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci import referrers
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.registries import removal
from imageprep_client.stores import base
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from tests.recorder import Recorder
from tests.trees import OnDisk
from tests.unit.registries import sites

NAME = "registry.test/ns/name"
ONE = content.image("one")
TWO = content.image("two")
INDEX = content.index({"linux/amd64": ONE, "linux/arm64": TWO})
SIGNATURE = content.artifact("signature", ONE.descriptor)


@pytest.fixture(params=["memory", "tree"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> base.Store:
    """A repository that knows all its manifests."""
    if request.param == "memory":
        return MemoryRegistry().store("ns/name")
    return ImageServeTree(tmp_path / "tree").store("ns/name")


class Registry(sites.Mute):
    """A repository that tells its tags and no more, as registries do.

    :param untags: whether a tag can be removed alone.
    """

    def __init__(self, inner: MemoryStore, *, untags: bool = True) -> None:
        super().__init__(inner)
        self.tags: Callable[[], Iterator[str]] = inner.tags
        self.delete = inner.delete
        self._untags = untags

    def untag(self, tag: str) -> None:
        if not self._untags:
            raise errors.CannotUntag("the text of the registry", status=405)
        self.inner.untag(tag)


def remove(
    store: base.Store, mark: str, observer: Observer | None = None
) -> removal.Removed:
    """Delete ``:tag`` or ``@digest``."""
    return removal.remove(
        store,
        Reference.parse(f"{NAME}{mark}"),
        observer=observer or Observer(),
        concurrency=4,
    )


def there(store: base.Store, *images: content.Image) -> list[bool]:
    """Whether everything of each image is there."""
    return [all(store.exists(p.descriptor) for p in i.pieces) for i in images]


def parts(*images: content.Image) -> Sequence[Descriptor]:
    """All that these images are made of."""
    return [p.descriptor for i in images for p in i.pieces]


def test_image(store: base.Store) -> None:
    """The only tag takes the manifest and its blobs along."""
    put(store, ONE, "1")
    put(store, TWO, "2")
    assert remove(store, ":1") == removal.Removed(
        tags=("1",), manifests=1, blobs=3
    )
    assert not any(map(store.exists, parts(ONE)))
    assert there(store, TWO) == [True]


def test_nearest_tags(store: base.Store) -> None:
    """A tag that does not exist is told with those that are like it."""
    put(store, content.image("a"), "17.1.3")
    with pytest.raises(errors.NotFound) as caught:
        remove(store, ":17.1.4")
    assert caught.value.hint == "the nearest tags there are: 17.1.3"


def test_latest(store: base.Store) -> None:
    """Without a tag it is latest, as everywhere."""
    put(store, ONE, "latest")
    assert remove(store, "").tags == ("latest",)


def test_shared_blobs_stay(store: base.Store) -> None:
    """A blob that another manifest names is not deleted."""
    shared = content.blob("shared")
    one = content.image("a", [shared, content.blob("own")])
    two = content.image("b", [shared])
    put(store, one, "1")
    put(store, two, "2")
    assert remove(store, ":1").blobs == 2
    assert there(store, two) == [True]


def test_other_tags_keep_the_manifest(store: base.Store) -> None:
    """Only the tag goes while the manifest has another."""
    put(store, ONE, "1", "2")
    assert remove(store, ":1") == removal.Removed(
        tags=("1",), still=("tag 2",)
    )
    assert store.resolve("2") == ONE.descriptor
    with pytest.raises(errors.NotFound):
        store.resolve("1")


def test_digest_takes_all_tags(store: base.Store) -> None:
    """By its digest a manifest is deleted with all its tags."""
    put(store, ONE, "1", "2")
    assert remove(store, f"@{ONE.descriptor.digest}").tags == ("1", "2")
    assert not store.exists(ONE.descriptor)


def test_digest_guards_the_tag(store: base.Store) -> None:
    """With both, a tag that has moved on is left alone."""
    put(store, ONE, "1")
    put(store, TWO, "2")
    with pytest.raises(errors.NotFound, match="names another manifest"):
        remove(store, f":1@{TWO.descriptor.digest}")
    assert remove(store, f":1@{ONE.descriptor.digest}").tags == ("1",)


def test_index_takes_its_images(store: base.Store) -> None:
    """Images that only the index names go with it."""
    put(store, INDEX, "many")
    assert remove(store, ":many").manifests == 3
    assert not any(map(store.exists, parts(INDEX)))


def test_index_leaves_images_with_tags(store: base.Store) -> None:
    """An image of the index that has a tag of its own stays."""
    put(store, INDEX, "many")
    store.tag(ONE.descriptor, "one")
    assert remove(store, ":many").manifests == 2
    assert there(store, ONE, TWO) == [True, False]


def test_index_leaves_images_of_another_index(store: base.Store) -> None:
    """An image that another index names stays, tagged or not."""
    put(store, INDEX, "many")
    put(store, content.index({"linux/amd64": ONE}), "few")
    assert remove(store, ":many").manifests == 2
    assert there(store, ONE, TWO) == [True, False]


def test_image_of_an_index_is_kept(store: base.Store) -> None:
    """The tag of an image that an index needs goes alone."""
    put(store, INDEX, "many")
    store.tag(ONE.descriptor, "one")
    assert remove(store, ":one").still == ("index many",)
    assert there(store, INDEX) == [True]


def test_image_of_an_index_by_digest(store: base.Store) -> None:
    """By digest, an image that an index needs is refused."""
    put(store, INDEX, "many")
    with pytest.raises(errors.StoreError, match="needed by index many"):
        remove(store, f"@{ONE.descriptor.digest}")
    assert there(store, INDEX) == [True]


def test_untagged_manifests_stay(store: base.Store) -> None:
    """A manifest that is used by its digest is nobody's rubbish."""
    put(store, ONE, "1")
    put(store, TWO)
    remove(store, ":1")
    assert there(store, TWO) == [True]


def test_referrers_go_with_their_subject(store: base.Store) -> None:
    """A signature of what is gone is gone, too."""
    put(store, ONE, "1")
    put(store, SIGNATURE)
    put(store, content.artifact("of it", SIGNATURE.descriptor))
    assert remove(store, ":1").manifests == 3


def test_referrers_stay_with_their_subject(store: base.Store) -> None:
    """A signature of an image that stays, stays."""
    put(store, INDEX, "many")
    put(store, SIGNATURE)
    store.tag(ONE.descriptor, "one")
    remove(store, ":many")
    assert there(store, ONE, SIGNATURE) == [True, True]


def test_referrer_with_a_tag_stays(store: base.Store) -> None:
    """An artifact with a tag of its own is somebody's."""
    put(store, ONE, "1")
    put(store, SIGNATURE, "sbom")
    assert remove(store, ":1").manifests == 1
    assert there(store, SIGNATURE) == [True]


def test_referrer_alone(store: base.Store) -> None:
    """An artifact can be deleted and leaves its subject."""
    put(store, ONE, "1")
    put(store, SIGNATURE)
    assert remove(store, f"@{SIGNATURE.descriptor.digest}").manifests == 1
    assert there(store, ONE, SIGNATURE) == [True, False]


def cosign(image: content.Image) -> str:
    """The tag of an image's signature."""
    return f"{referrers.tag_of(image.descriptor.digest)}.sig"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_cosign_tags_go_with_their_image(
    store: base.Store, algorithm: str
) -> None:
    """Tags that cosign makes of the digest go with the image."""
    image = content.image("signed", algorithm=algorithm)
    put(store, image, "1")
    put(store, TWO, cosign(image))
    assert remove(store, ":1").tags == tuple(sorted(("1", cosign(image))))
    assert not store.exists(TWO.descriptor)


def test_unknown_kinds_of_tags_stay(store: base.Store) -> None:
    """A tag that only begins as cosign's do is somebody's."""
    tag = f"{referrers.tag_of(ONE.descriptor.digest)}.mine"
    put(store, ONE, "1")
    put(store, TWO, tag)
    assert remove(store, ":1").tags == ("1",)
    assert store.resolve(tag) == TWO.descriptor


def test_cosign_tags_of_others_stay(store: base.Store) -> None:
    """A signature of an image that is elsewhere is left alone."""
    elsewhere = content.image("elsewhere")
    put(store, ONE, "1")
    put(store, TWO, cosign(elsewhere))
    remove(store, ":1")
    assert store.resolve(cosign(elsewhere)) == TWO.descriptor


def test_cosign_tags_of_kept_images_stay(store: base.Store) -> None:
    """So is one of an image of the index that stays."""
    put(store, INDEX, "many")
    store.tag(ONE.descriptor, "one")
    sign = content.image("sign")
    put(store, sign, cosign(ONE))
    remove(store, ":many")
    assert store.resolve(cosign(ONE)) == sign.descriptor


def test_unknown(store: base.Store) -> None:
    """An image that is not there cannot be deleted."""
    put(store, ONE, "1")
    with pytest.raises(errors.NotFound):
        remove(store, ":2")
    with pytest.raises(errors.NotFound):
        remove(store, f"@{TWO.descriptor.digest}")


def test_broken_blobs_do_not_matter(store: base.Store) -> None:
    """An image of which a part is missing can be deleted."""
    assert isinstance(store, base.Deletes)
    put(store, ONE, "1")
    store.delete(ONE.parts[0].descriptor)
    assert remove(store, ":1").blobs == 2


def test_dangling_tag(tmp_path: Path) -> None:
    """A tag whose manifest is lost can be removed."""
    store = ImageServeTree(tmp_path / "tree").store("ns/name")
    put(store, ONE, "1")
    OnDisk(store).manifest(ONE.descriptor.digest).unlink()
    assert remove(store, ":1") == removal.Removed(tags=("1",))
    assert list(store.tags()) == []


def test_unreadable_manifest_keeps_everything(tmp_path: Path) -> None:
    """Where it is not known what a manifest needs, nothing else goes."""
    store = ImageServeTree(tmp_path / "tree").store("ns/name")
    put(store, INDEX, "many")
    put(store, content.image("broken"), "broken")
    broken = content.image("broken").descriptor
    path = OnDisk(store).manifest(broken.digest)
    path.write_bytes(b"x" * broken.size)
    observer = Recorder()
    done = remove(store, ":many", observer)
    assert (done.manifests, done.blobs) == (1, 0)
    assert there(store, ONE, TWO) == [True, True]
    assert "is not known" in observer.warnings[0]


# --- repositories that do not list their manifests


@pytest.fixture
def registry() -> Registry:
    """One that can remove tags alone."""
    return Registry(MemoryRegistry().store("ns/name"))


def test_registry_collects_the_rest(registry: Registry) -> None:
    """In a registry the manifest goes; the rest is the registry's."""
    put(registry, INDEX, "many")
    assert remove(registry, ":many") == removal.Removed(
        tags=("many",), manifests=1
    )
    assert there(registry, ONE, TWO) == [True, True]


def test_registry_removes_a_tag_alone(registry: Registry) -> None:
    """Where it can, a registry removes the tag alone."""
    put(registry, ONE, "1", "2")
    assert remove(registry, ":1").still == ("tag 2",)


def test_registry_that_cannot(registry: Registry) -> None:
    """Where it cannot, the other tags are named and nothing is deleted."""
    store = Registry(registry.inner, untags=False)
    put(store, ONE, "1", "2", "3")
    told = "needed by tag 2, tag 3, and .* the text of the registry"
    with pytest.raises(errors.StoreError, match=told) as caught:
        remove(store, ":1")
    assert "digest" in str(caught.value.hint)
    assert list(store.tags()) == ["1", "2", "3"]


def test_registry_keeps_images_of_an_index(registry: Registry) -> None:
    """The indexes that have tags are looked into."""
    put(registry, INDEX, "many")
    registry.tag(ONE.descriptor, "one")
    with pytest.raises(errors.StoreError, match="needed by index many"):
        remove(registry, f"@{ONE.descriptor.digest}")


def test_registry_without_tags(registry: Registry) -> None:
    """A repository that lists no tags still deletes by digest."""

    def nothing() -> Iterator[str]:
        raise errors.NotFound("no tags")

    put(registry, ONE)
    registry.tags = nothing
    assert remove(registry, f"@{ONE.descriptor.digest}").manifests == 1


def test_failing_registry(registry: Registry) -> None:
    """A list that a registry does not answer with is not guessed."""

    def fail() -> Iterator[str]:
        raise errors.ServerFault("503")

    put(registry, ONE, "1")
    registry.tags = fail
    with pytest.raises(errors.ServerFault):
        remove(registry, ":1")


@pytest.mark.parametrize(
    "error",
    [errors.ServerFault("503"), errors.DigestMismatch("2: damaged")],
    ids=["failing", "damaged"],
)
def test_unreadable_tag(registry: Registry, error: Exception) -> None:
    """Nothing is deleted while a tag may name it."""
    put(registry, ONE, "1", "2")
    resolve = registry.resolve

    def fail(reference: str) -> Descriptor:
        if reference == "2":
            raise error
        return resolve(reference)

    registry.resolve = fail
    with pytest.raises(type(error)):
        remove(registry, ":1")
    assert registry.exists(ONE.descriptor)


class Schema1(Registry):
    """One that has a manifest nobody understands any more, under a tag.

    :param told: the digest that it says the tag names.
    """

    def __init__(
        self, inner: MemoryStore, told: str, *, untags: bool = True
    ) -> None:
        super().__init__(inner, untags=untags)
        self.resolve = self._resolve
        self._told = told

    def _resolve(self, reference: str) -> Descriptor:
        found = self.inner.resolve(reference)
        if found.digest == TWO.descriptor.digest:
            raise errors.InvalidContent(f"{reference}: docker schema 1")
        return found

    def digest_of(self, tag: str) -> str:
        """The digest that the tag names, or nothing."""
        self.inner.resolve(tag)
        return self._told


@pytest.fixture(params=[True, False], ids=["told", "untold"])
def schema1(request: pytest.FixtureRequest) -> Schema1:
    """One that has such a tag, ``old``, and an image, ``1``."""
    told = TWO.descriptor.digest if request.param else ""
    found = Schema1(MemoryRegistry().store("ns/name"), told)
    put(found, ONE, "1")
    put(found, TWO, "old")
    return found


def test_tag_not_understood_stops_nothing(schema1: Schema1) -> None:
    """The image is deleted, and a warning names the other tag."""
    observer = Recorder()
    assert remove(schema1, ":1", observer).manifests == 1
    assert list(schema1.tags()) == ["old"]
    assert observer.warnings[0].startswith(
        "old: docker schema 1: what it needs"
    )


def test_tag_not_understood_is_deleted(schema1: Schema1) -> None:
    """It can be deleted itself, with its manifest if that is known."""
    done = remove(schema1, ":old")
    assert done.tags == ("old",)
    assert list(schema1.tags()) == ["1"]
    assert schema1.exists(TWO.descriptor) is not bool(done.manifests)
    assert schema1.exists(ONE.descriptor)


def test_manifest_not_understood_is_deleted(schema1: Schema1) -> None:
    """By digest it goes as any other."""
    assert remove(schema1, f"@{TWO.descriptor.digest}").manifests == 1
    assert list(schema1.tags()) == ["1"]


def test_tags_not_understood_keep_their_manifest(schema1: Schema1) -> None:
    """One of two such tags is removed alone."""
    schema1.tag(TWO.descriptor, "older")
    assert remove(schema1, ":old").manifests == 0
    assert list(schema1.tags()) == ["1", "older"]


def test_tag_not_understood_where_tags_stay(registry: Registry) -> None:
    """A tag that is neither understood nor removed alone cannot be deleted."""
    store = Schema1(registry.inner, "", untags=False)
    put(store, TWO, "old")
    told = "schema 1, and .* alone: the text of the registry"
    with pytest.raises(errors.StoreError, match=told):
        remove(store, ":old")
    assert list(store.tags()) == ["old"]


def test_read_only_place() -> None:
    """Where nothing can be deleted, that is said."""

    class ReadOnly:
        registry = repository = "x"

    with pytest.raises(errors.StoreError, match="nothing can be deleted"):
        remove(ReadOnly(), ":1")  # type: ignore[arg-type]
