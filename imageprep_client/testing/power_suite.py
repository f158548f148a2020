"""The part of the conformance suite that is about optional powers."""

# A power is probed by its protocol, which mypy takes for an abstract class
# that somebody wants to instantiate.
# mypy: disable-error-code="type-abstract"

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

import pytest

from imageprep_client import errors
from imageprep_client.stores import base
from imageprep_client.testing import content
from imageprep_client.testing.streams import (
    BAD_TAGS,
    assert_missing,
    push,
    read,
    store_all,
)

MakeStore = Callable[[str], base.Store]
_Power = TypeVar("_Power")
_Test = TypeVar("_Test", bound=Callable[..., None])
_Requirement = tuple[frozenset[type], bool]
_NOTHING: _Requirement = (frozenset(), False)

#: Every optional power of `stores.base`.
ALL_POWERS: frozenset[type] = frozenset(
    {
        base.Mounts,
        base.BeginsPushes,
        base.PushesTagged,
        base.Locates,
        base.ListsTags,
        base.ListsReferrers,
        base.Deletes,
        base.Untags,
        base.ListsManifests,
        base.ChecksGraph,
        base.Flushes,
        base.MeasuresSpace,
    }
)


def requires(*powers: type, sha512: bool = False) -> Callable[[_Test], _Test]:
    """Collect a test only for stores that have these powers.

    :param sha512: only for those that take sha512 digests, too.
    """

    def mark(test: _Test) -> _Test:
        test.__dict__["requirement"] = (frozenset(powers), sha512)
        return test

    return mark


class PowerSuite:
    """Tests of the optional powers of a store.

    `store_suite.StoreSuite` includes these tests and documents their use.
    """

    powers: ClassVar[frozenset[type]]
    sha512: ClassVar[bool] = True
    sorted_tags: ClassVar[bool] = True
    mounts_from_anywhere: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Leave out the tests that do not apply to the store."""
        super().__init_subclass__()
        if not hasattr(cls, "powers"):
            return
        for suite in cls.__mro__:
            for name, test in list(vars(suite).items()):
                powers, sha512 = getattr(test, "requirement", _NOTHING)
                if not powers <= cls.powers or sha512 > cls.sha512:
                    setattr(cls, name, None)
                elif getattr(cls, name) is None:
                    setattr(cls, name, test)

    def power(self, store: base.Store, power: type[_Power]) -> _Power:
        """Return the store as one that has this power."""
        assert isinstance(store, power)
        return store

    @requires(base.Mounts)
    def test_mount(self, make_store: MakeStore) -> None:
        """A blob of another repository is taken over without its bytes."""
        store, origin = make_store("ns/here"), make_store("ns/origin")
        mounts = self.power(store, base.Mounts)
        blob = content.blob("mount")
        push(origin, blob)
        assert mounts.mount(blob.descriptor, origin.repository)
        assert read(store, blob.descriptor) == blob.data

    @requires(base.Mounts)
    def test_mount_of_what_is_here(self, make_store: MakeStore) -> None:
        """Content that is here already is here afterwards."""
        store, origin = make_store("ns/here"), make_store("ns/origin")
        mounts = self.power(store, base.Mounts)
        blob = content.blob("here")
        push(origin, blob)
        push(store, blob)
        for repository in (store.repository, origin.repository):
            assert mounts.mount(blob.descriptor, repository)
            assert read(store, blob.descriptor) == blob.data

    @requires(base.Mounts)
    def test_mount_from_anywhere(self, make_store: MakeStore) -> None:
        """Without a repository, the answer says whether it is here now."""
        store, origin = make_store("ns/here"), make_store("ns/origin")
        mounts = self.power(store, base.Mounts)
        blob = content.blob("mount")
        push(origin, blob)
        mounted = mounts.mount(blob.descriptor, None)
        assert mounted == self.mounts_from_anywhere
        assert store.exists(blob.descriptor) == mounted

    @requires(base.Mounts)
    @pytest.mark.parametrize("repository", ["ns/origin", None])
    def test_mount_of_what_is_not_there(
        self, make_store: MakeStore, repository: str | None
    ) -> None:
        """A mount that finds nothing says so; a push then works."""
        store = make_store("ns/here")
        mounts = self.power(store, base.Mounts)
        blob = content.blob("not there")
        origin = make_store(repository).repository if repository else None
        assert not mounts.mount(blob.descriptor, origin)
        assert_missing(store, blob.descriptor)
        push(store, blob)
        assert read(store, blob.descriptor) == blob.data

    @requires(base.BeginsPushes)
    def test_begin_of_what_is_not_there(self, make_store: MakeStore) -> None:
        """Content that is begun is absent before the push that follows."""
        store = make_store("ns/begun")
        begins = self.power(store, base.BeginsPushes)
        blob = content.blob("begun")
        assert not begins.begin(blob.descriptor)
        assert_missing(store, blob.descriptor)
        push(store, blob)
        assert read(store, blob.descriptor) == blob.data

    @requires(base.BeginsPushes)
    def test_begin_of_what_is_here(self, make_store: MakeStore) -> None:
        """Content that is here is said to be, and stays."""
        store = make_store("ns/here")
        begins = self.power(store, base.BeginsPushes)
        blob = content.blob("here")
        push(store, blob)
        assert begins.begin(blob.descriptor)
        assert read(store, blob.descriptor) == blob.data

    @requires(base.BeginsPushes)
    def test_begin_of_what_is_elsewhere(self, make_store: MakeStore) -> None:
        """Another repository's content is not this one's."""
        store, origin = make_store("ns/here"), make_store("ns/origin")
        begins = self.power(store, base.BeginsPushes)
        blob = content.blob("elsewhere")
        push(origin, blob)
        assert not begins.begin(blob.descriptor)
        assert_missing(store, blob.descriptor)

    @requires(base.PushesTagged)
    def test_push_tagged(self, make_store: MakeStore) -> None:
        """The manifest is stored under its digest and under the tag."""
        self.push_tagged(make_store("ns/tagged"), "sha256")

    @requires(base.PushesTagged, sha512=True)
    def test_push_tagged_with_sha512(self, make_store: MakeStore) -> None:
        """The digest may be one of sha512."""
        self.push_tagged(make_store("ns/tagged"), "sha512")

    def push_tagged(self, store: base.Store, algorithm: str) -> None:
        """Push an image with its tag and read it back both ways."""
        tags = self.power(store, base.PushesTagged)
        image = content.image("tagged", algorithm=algorithm)
        push(store, *image.parts)
        with image.manifest.open() as stream:
            tags.push_tagged(image.descriptor, stream, "latest")
        assert read(store, image.descriptor) == image.manifest.data
        named = store.resolve("latest")
        assert read(store, named) == image.manifest.data

    @requires(base.PushesTagged)
    def test_push_tagged_of_wrong_content(self, make_store: MakeStore) -> None:
        """Neither the manifest nor the tag is there afterwards."""
        store = make_store("ns/tagged")
        tags = self.power(store, base.PushesTagged)
        image, other = content.image("right"), content.image("wrong")
        push(store, *image.parts)
        with (
            other.manifest.open() as stream,
            pytest.raises(errors.InvalidContent),
        ):
            tags.push_tagged(image.descriptor, stream, "latest")
        assert_missing(store, image.descriptor)
        with pytest.raises(errors.NotFound):
            store.resolve("latest")

    @requires(base.Locates)
    def test_locate(self, make_store: MakeStore) -> None:
        """The repository that is named has the content."""
        store, origin = make_store("ns/here"), make_store("ns/origin")
        locates = self.power(store, base.Locates)
        blob = content.blob("locate")
        assert locates.locate(blob.descriptor) is None
        push(origin, blob)
        assert locates.locate(blob.descriptor) == origin.repository
        push(store, blob)
        found = locates.locate(blob.descriptor)
        assert found in (origin.repository, store.repository)

    @requires(base.ListsTags)
    def test_tags(self, make_store: MakeStore) -> None:
        """All tags are listed, once each."""
        store = make_store("ns/tags")
        lists = self.power(store, base.ListsTags)
        image = content.image("tags")
        store_all(store, image)
        names = {"latest", "17.1", "17.10", "17.2", "Upper", "_x", "a-b"}
        for name in names:
            store.tag(image.descriptor, name)
        listed = list(lists.tags())
        assert set(listed) == names
        assert len(listed) == len(names)
        if self.sorted_tags:
            assert listed == sorted(names)

    @requires(base.ListsReferrers)
    def test_referrers(self, make_store: MakeStore) -> None:
        """Artifacts are listed with their type and annotations."""
        store = make_store("ns/referrers")
        lists = self.power(store, base.ListsReferrers)
        image, other = content.image("subject"), content.image("other")
        first = content.artifact("a", image.descriptor, "application/x.a")
        second = content.artifact(
            "b", image.descriptor, "application/x.b", {"key": "value"}
        )
        store_all(store, image, other, first, second)
        found = {d.digest: d for d in lists.referrers(image.descriptor)}
        assert set(found) == {
            first.descriptor.digest,
            second.descriptor.digest,
        }
        described = found[second.descriptor.digest]
        assert described == second.descriptor
        assert described.artifact_type == "application/x.b"
        assert described.annotations == {"key": "value"}
        assert not lists.referrers(other.descriptor)

    @requires(base.ListsReferrers)
    def test_referrers_of_the_unknown(self, make_store: MakeStore) -> None:
        """An absent manifest has no referrers."""
        store = make_store("ns/referrers")
        lists = self.power(store, base.ListsReferrers)
        assert not lists.referrers(content.image("unknown").descriptor)

    @requires(base.ListsReferrers, sha512=True)
    def test_referrers_keep_their_digest(self, make_store: MakeStore) -> None:
        """A referrer is listed by the digest that it is stored by."""
        store = make_store("ns/referrers")
        lists = self.power(store, base.ListsReferrers)
        subject = content.image("subject", algorithm="sha512")
        artifact = content.artifact(
            "long", subject.descriptor, algorithm="sha512"
        )
        store_all(store, subject, artifact)
        (found,) = lists.referrers(subject.descriptor)
        assert found.digest == artifact.descriptor.digest

    @requires(base.ListsReferrers)
    def test_referrers_before_their_subject(
        self, make_store: MakeStore
    ) -> None:
        """An artifact may be stored before the image it refers to."""
        store = make_store("ns/referrers")
        lists = self.power(store, base.ListsReferrers)
        image = content.image("later")
        artifact = content.artifact("early", image.descriptor)
        store_all(store, artifact)
        found = lists.referrers(image.descriptor)
        assert [d.digest for d in found] == [artifact.descriptor.digest]

    @requires(base.Deletes)
    def test_delete_manifest(self, make_store: MakeStore) -> None:
        """A manifest goes with all its tags; others stay."""
        store = make_store("ns/delete")
        deletes = self.power(store, base.Deletes)
        image, other = content.image("delete"), content.image("other")
        store_all(store, image, other)
        store.tag(image.descriptor, "one")
        store.tag(image.descriptor, "two")
        store.tag(other.descriptor, "other")
        deletes.delete(image.descriptor)
        assert_missing(store, image.descriptor)
        for tag in ("one", "two"):
            with pytest.raises(errors.NotFound):
                store.resolve(tag)
        assert store.resolve("other") == other.descriptor
        assert read(store, other.descriptor) == other.manifest.data

    @requires(base.Deletes)
    def test_delete_blob(self, make_store: MakeStore) -> None:
        """A blob can be deleted and pushed again."""
        store = make_store("ns/delete")
        deletes = self.power(store, base.Deletes)
        blob = content.blob("delete")
        push(store, blob)
        deletes.delete(blob.descriptor)
        assert_missing(store, blob.descriptor)
        push(store, blob)
        assert read(store, blob.descriptor) == blob.data

    @requires(base.Deletes)
    def test_delete_keeps_other_repositories(
        self, make_store: MakeStore
    ) -> None:
        """A blob that two repositories share is deleted from one."""
        store, other = make_store("ns/delete"), make_store("ns/keep")
        deletes = self.power(store, base.Deletes)
        blob = content.blob("shared")
        push(store, blob)
        push(other, blob)
        deletes.delete(blob.descriptor)
        assert read(other, blob.descriptor) == blob.data

    @requires(base.Deletes)
    def test_delete_unknown(self, make_store: MakeStore) -> None:
        """An absent manifest cannot be deleted."""
        store = make_store("ns/delete")
        deletes = self.power(store, base.Deletes)
        for piece in content.image("unknown").pieces:
            with pytest.raises(errors.NotFound):
                deletes.delete(piece.descriptor)

    @requires(base.Untags)
    def test_untag(self, make_store: MakeStore) -> None:
        """A tag goes alone, or not at all and the store says so."""
        store = make_store("ns/untag")
        power = self.power(store, base.Untags)
        image = content.image("untag")
        store_all(store, image)
        store.tag(image.descriptor, "gone")
        store.tag(image.descriptor, "kept")
        try:
            power.untag("gone")
        except errors.CannotUntag:
            assert store.resolve("gone") == image.descriptor
        else:
            with pytest.raises(errors.NotFound):
                store.resolve("gone")
        assert store.resolve("kept") == image.descriptor
        assert store.resolve(image.descriptor.digest) == image.descriptor

    @requires(base.Untags)
    @pytest.mark.parametrize("tag", BAD_TAGS)
    def test_untag_refuses_bad_tags(
        self, make_store: MakeStore, tag: str
    ) -> None:
        """A word that cannot be a tag never becomes a path."""
        power = self.power(make_store("ns/untag"), base.Untags)
        with pytest.raises(errors.InvalidReference):
            power.untag(tag)

    @requires(base.ListsManifests)
    def test_manifests(self, make_store: MakeStore) -> None:
        """All manifests are listed, tagged or not, and no blobs."""
        store = make_store("ns/manifests")
        power = self.power(store, base.ListsManifests)
        assert list(power.manifests()) == []
        image = content.image("child")
        index = content.index({"linux/amd64": image})
        alone = content.image("alone")
        store_all(store, index, alone)
        store.tag(index.descriptor, "index")
        found = {each.digest for each in power.manifests()}
        wanted = (image, index, alone)
        assert found == {each.descriptor.digest for each in wanted}

    @requires(base.ChecksGraph)
    def test_holds_a_whole_image(self, make_store: MakeStore) -> None:
        """An index with all below it is held, so are its parts."""
        store = make_store("ns/holds")
        checks = self.power(store, base.ChecksGraph)
        index = content.index({"linux/amd64": content.image("held")})
        assert not checks.holds(index.descriptor)
        store_all(store, index)
        for piece in index.pieces:
            assert checks.holds(piece.descriptor)

    @requires(base.ChecksGraph)
    def test_holds_no_broken_image(self, make_store: MakeStore) -> None:
        """An image without one of its blobs is not held."""
        store = make_store("ns/holds")
        checks = self.power(store, base.ChecksGraph)
        image = content.image("broken")
        index = content.index({"linux/amd64": image})
        try:
            push(store, *index.pieces[1:])
        except errors.StoreError:
            # Refusing the manifest is as good: then it is not there.
            assert not store.exists(image.descriptor)
        assert not checks.holds(image.descriptor)
        assert not checks.holds(index.descriptor)

    @requires(base.ChecksGraph)
    def test_holds_looks_once(self, make_store: MakeStore) -> None:
        """Indexes that repeat their children take no longer for it."""
        store = make_store("ns/holds")
        checks = self.power(store, base.ChecksGraph)
        nested = content.image("repeated")
        store_all(store, nested)
        for _ in range(4):
            index = content.index(
                {f"linux/arm/v{n}": nested for n in range(100)}
            )
            push(store, index.manifest)
            # Its parts, each as often as it is named, are there already.
            nested = content.Image(index.manifest, ())
        assert checks.holds(nested.descriptor)

    @requires(base.Flushes)
    def test_flush(self, make_store: MakeStore) -> None:
        """Flushing keeps everything in place, in every repository."""
        store, other = make_store("ns/flush"), make_store("ns/flushed")
        flushes = self.power(store, base.Flushes)
        blob = content.blob("flush")
        flushes.flush()
        push(other, blob)
        flushes.flush()
        assert read(other, blob.descriptor) == blob.data

    @requires(base.MeasuresSpace)
    def test_free_space(self, make_store: MakeStore) -> None:
        """Room is counted in bytes, also before anything is stored."""
        store = make_store("ns/space")
        assert self.power(store, base.MeasuresSpace).free_space() > 0
