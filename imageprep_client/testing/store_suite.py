"""The conformance suite: what every store must do, told as tests.

A test module subclasses `StoreSuite` and gives a fixture ``make_store``, a
function that returns a store of the repository it is asked for; all of one
test are in one registry, which is empty when the test begins::

    class TestMine(store_suite.StoreSuite):
        powers = frozenset({base.Mounts, base.ListsTags})

        @pytest.fixture
        def make_store(self, tmp_path):
            registry = MyRegistry(tmp_path)
            return registry.store

Where a registry cannot be made anew for each test, the function may put a
prefix of the test before the names of repositories.
"""

from __future__ import annotations

import dataclasses
import functools
import io

import pytest

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.stores import base
from imageprep_client.testing import content
from imageprep_client.testing.power_suite import (
    ALL_POWERS,
    MakeStore,
    PowerSuite,
    requires,
)
from imageprep_client.testing.streams import (
    BAD_TAGS,
    Breaking,
    Interrupted,
    assert_missing,
    at_once,
    push,
    read,
    store_all,
)

__all__ = [
    "ALL_POWERS",
    "MakeStore",
    "StoreSuite",
    "push",
    "read",
    "store_all",
]

BAD_DIGESTS = (
    "sha256:../../../../etc/cron.d/x",
    "sha256:" + "A" * 64,
    "sha256:" + "a" * 63,
    "md5:" + "a" * 32,
    "sha512:" + "a" * 64,
)


class StoreSuite(PowerSuite):
    """Tests of what `stores.base` promises; the module shows their use.

    Only the tests that apply to the store are collected.

    :cvar powers: the optional powers that this store has, and no others.
    :cvar sha512: whether it takes content with sha512 digests.
    :cvar sorted_tags: whether tags are listed in the order of their bytes.
    :cvar mounts_from_anywhere: whether a mount without a repository finds
        content of another repository.
    """

    # Identity and powers

    def test_has_the_powers_it_should(self, make_store: MakeStore) -> None:
        """Powers are found by isinstance, and none is lost or gained."""
        store = make_store("ns/powers")
        assert self.powers == {p for p in ALL_POWERS if isinstance(store, p)}

    def test_repositories_share_their_registry(
        self, make_store: MakeStore
    ) -> None:
        """Stores of one registry say so, which lets blobs be mounted."""
        one, two = make_store("ns/one"), make_store("ns/two")
        assert one.registry == two.registry
        assert one.repository.endswith("ns/one")
        assert two.repository.endswith("ns/two")

    @pytest.mark.parametrize("name", ["", "../up", "a//b", "Upper/case", "a/"])
    def test_refuses_bad_repository_names(
        self, make_store: MakeStore, name: str
    ) -> None:
        """A name that breaks the grammar never becomes a path or a URL."""
        with pytest.raises(errors.InvalidReference):
            make_store(name)

    # Round trips

    @pytest.mark.parametrize(
        "size", [0, 1, 1000, base.CHUNK, 2 * base.CHUNK + 17]
    )
    def test_blob_round_trip(self, make_store: MakeStore, size: int) -> None:
        """A blob comes back byte for byte, empty or of several chunks."""
        store = make_store("ns/blobs")
        blob = content.blob("round trip", size)
        push(store, blob)
        assert store.exists(blob.descriptor)
        assert read(store, blob.descriptor) == blob.data

    @pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
    def test_image_round_trip(
        self, make_store: MakeStore, docker: bool
    ) -> None:
        """Manifests of both families come back byte for byte."""
        store = make_store("ns/image")
        image = content.image("image", docker=docker)
        store_all(store, image)
        for piece in image.pieces:
            assert store.exists(piece.descriptor)
            assert read(store, piece.descriptor) == piece.data

    @pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
    def test_index_round_trip(
        self, make_store: MakeStore, docker: bool
    ) -> None:
        """An index and the images it names come back byte for byte."""
        store = make_store("ns/index")
        index = content.index(
            {
                "linux/amd64": content.image("amd64", docker=docker),
                "linux/arm64/v8": content.image("arm64", docker=docker),
            },
            docker=docker,
        )
        store_all(store, index)
        store.tag(index.descriptor, "multi")
        assert store.resolve("multi") == index.descriptor
        for piece in index.pieces:
            assert read(store, piece.descriptor) == piece.data

    def test_artifact_round_trip(self, make_store: MakeStore) -> None:
        """An artifact with a subject is stored like any manifest."""
        store = make_store("ns/artifact")
        image = content.image("subject")
        artifact = content.artifact("sbom", image.descriptor)
        store_all(store, image, artifact)
        assert store.exists(artifact.descriptor)
        assert read(store, artifact.descriptor) == artifact.manifest.data

    @requires(sha512=True)
    def test_sha512_round_trip(self, make_store: MakeStore) -> None:
        """Blobs and manifests may be addressed by sha512."""
        store = make_store("ns/sha512")
        blob = content.blob("sha512", algorithm="sha512")
        image = content.image("sha512", [blob], algorithm="sha512")
        store_all(store, image)
        store.tag(image.descriptor, "long")
        assert read(store, blob.descriptor) == blob.data
        assert read(store, image.descriptor) == image.manifest.data
        assert store.resolve(image.descriptor.digest) == image.descriptor

    def test_read_gives_everything_without_a_size(
        self, make_store: MakeStore
    ) -> None:
        """read() without a size is all that is left."""
        store = make_store("ns/read")
        blob = content.blob("read all", base.CHUNK + 1)
        push(store, blob)
        with store.fetch(blob.descriptor) as stream:
            start = stream.read(10)
            assert len(start) <= 10
            assert start + stream.read() == blob.data
            assert stream.read() == b""

    def test_reads_may_be_abandoned(self, make_store: MakeStore) -> None:
        """Closing a stream early harms no later read."""
        store = make_store("ns/abandoned")
        blob = content.blob("abandoned", base.CHUNK + 1)
        push(store, blob)
        with store.fetch(blob.descriptor) as stream:
            stream.read(1)
        assert read(store, blob.descriptor) == blob.data

    @pytest.mark.parametrize("error", [-1, 1], ids=["smaller", "larger"])
    def test_fetch_checks_the_size(
        self, make_store: MakeStore, error: int
    ) -> None:
        """A descriptor with another size never yields quiet content."""
        store = make_store("ns/size")
        blob = content.blob("size")
        push(store, blob)
        wrong = dataclasses.replace(
            blob.descriptor, size=blob.descriptor.size + error
        )
        with pytest.raises((errors.SizeMismatch, errors.NotFound)):
            read(store, wrong)

    # Resolving and tags

    def test_resolve_by_tag_and_digest(self, make_store: MakeStore) -> None:
        """A tag and a digest both give type, digest and size."""
        store = make_store("ns/resolve")
        image = content.image("resolve")
        store_all(store, image)
        store.tag(image.descriptor, "17.1")
        for reference in ("17.1", image.descriptor.digest):
            assert store.resolve(reference) == image.descriptor

    def test_resolve_unknown(self, make_store: MakeStore) -> None:
        """A tag or digest that is not there is NotFound."""
        store = make_store("ns/unknown")
        image = content.image("unknown")
        for reference in ("nothing", image.descriptor.digest):
            with pytest.raises(errors.NotFound):
                store.resolve(reference)

    def test_resolve_finds_no_blobs(self, make_store: MakeStore) -> None:
        """Only manifests are resolved; some registries fail over blobs."""
        store = make_store("ns/resolve-blob")
        blob = content.blob("no manifest")
        push(store, blob)
        with pytest.raises((errors.NotFound, errors.ServerFault)):
            store.resolve(blob.descriptor.digest)

    @pytest.mark.parametrize("reference", BAD_TAGS + BAD_DIGESTS)
    def test_resolve_refuses_bad_references(
        self, make_store: MakeStore, reference: str
    ) -> None:
        """A reference that is neither tag nor digest is refused."""
        store = make_store("ns/bad")
        with pytest.raises(errors.InvalidReference):
            store.resolve(reference)

    @pytest.mark.parametrize("tag", BAD_TAGS + BAD_DIGESTS)
    def test_tag_refuses_bad_tags(
        self, make_store: MakeStore, tag: str
    ) -> None:
        """A word that is no tag is refused, the manifest being there."""
        store = make_store("ns/bad")
        image = content.image("bad tag")
        store_all(store, image)
        with pytest.raises(errors.InvalidReference):
            store.tag(image.descriptor, tag)

    def test_tag_moves(self, make_store: MakeStore) -> None:
        """A tag names what it was last given; the old stays by digest."""
        store = make_store("ns/moves")
        old, new = content.image("old"), content.image("new", docker=True)
        store_all(store, old, new)
        store.tag(old.descriptor, "latest")
        store.tag(new.descriptor, "latest")
        assert store.resolve("latest") == new.descriptor
        assert store.exists(old.descriptor)

    def test_tag_again_is_harmless(self, make_store: MakeStore) -> None:
        """Tagging the same manifest twice changes nothing."""
        store = make_store("ns/again")
        image = content.image("again")
        store_all(store, image)
        store.tag(image.descriptor, "latest")
        store.tag(image.descriptor, "latest")
        assert store.resolve("latest") == image.descriptor

    def test_several_tags_of_one_manifest(self, make_store: MakeStore) -> None:
        """One manifest may have many tags."""
        store = make_store("ns/several")
        image = content.image("several")
        store_all(store, image)
        store.tag(image.descriptor, "one")
        store.tag(image.descriptor, "two")
        assert store.resolve("one") == store.resolve("two")

    def test_tag_unknown_manifest(self, make_store: MakeStore) -> None:
        """A manifest that is not in the repository cannot be tagged."""
        store = make_store("ns/unknown")
        image = content.image("unknown")
        with pytest.raises(errors.NotFound):
            store.tag(image.descriptor, "latest")
        with pytest.raises(errors.NotFound):
            store.resolve("latest")

    # What is not there

    def test_unknown_content(self, make_store: MakeStore) -> None:
        """Content that was never pushed does not exist."""
        store = make_store("ns/unknown")
        for piece in content.image("unknown").pieces:
            assert_missing(store, piece.descriptor)

    def test_repositories_are_separate(self, make_store: MakeStore) -> None:
        """Content and tags of one repository are not in another."""
        store, other = make_store("ns/mine"), make_store("ns/other")
        image = content.image("mine")
        store_all(store, image)
        store.tag(image.descriptor, "latest")
        for piece in image.pieces:
            assert not other.exists(piece.descriptor)
        with pytest.raises(errors.NotFound):
            other.resolve("latest")

    # Pushing

    def test_push_reads_to_the_end(self, make_store: MakeStore) -> None:
        """The stream is read to its end and left open for its owner."""
        store = make_store("ns/end")
        blob = content.blob("end", base.CHUNK + 1)
        stream = blob.open()
        store.push(blob.descriptor, stream)
        assert not stream.closed
        assert stream.read() == b""

    @pytest.mark.parametrize("size", [1000, 2 * base.CHUNK + 17])
    def test_push_of_wrong_bytes_stores_nothing(
        self, make_store: MakeStore, size: int
    ) -> None:
        """Content with another digest is refused."""
        store = make_store("ns/wrong")
        blob = content.blob("expected", size)
        with pytest.raises(errors.DigestMismatch):
            store.push(blob.descriptor, content.blob("given", size).open())
        assert_missing(store, blob.descriptor)

    @pytest.mark.parametrize("given", [0, 999, 1001, base.CHUNK + 1])
    def test_push_of_wrong_size_stores_nothing(
        self, make_store: MakeStore, given: int
    ) -> None:
        """Content that is too short or too long is refused."""
        store = make_store("ns/wrong")
        blob = content.blob("expected", 1000)
        with pytest.raises((errors.SizeMismatch, errors.DigestMismatch)):
            store.push(blob.descriptor, content.blob("expected", given).open())
        assert_missing(store, blob.descriptor)

    def test_push_of_long_content_stores_nothing(
        self, make_store: MakeStore
    ) -> None:
        """The right bytes with one more behind them are refused."""
        store = make_store("ns/long")
        blob = content.blob("long", 1000)
        with pytest.raises(errors.SizeMismatch):
            store.push(blob.descriptor, io.BytesIO(blob.data + b"x"))
        assert_missing(store, blob.descriptor)

    def test_push_of_a_wrong_manifest_stores_nothing(
        self, make_store: MakeStore
    ) -> None:
        """A manifest is verified like a blob."""
        store = make_store("ns/wrong")
        image = content.image("expected")
        push(store, *image.parts)
        data = image.manifest.data.replace(b"layers", b"Layers")
        with pytest.raises(errors.DigestMismatch):
            store.push(image.descriptor, io.BytesIO(data))
        assert_missing(store, image.descriptor)

    @pytest.mark.parametrize("size", [1000, 2 * base.CHUNK + 17])
    def test_push_that_breaks_stores_nothing(
        self, make_store: MakeStore, size: int
    ) -> None:
        """A stream that raises leaves nothing, and its error comes out."""
        store = make_store("ns/breaks")
        blob = content.blob("breaks", size)
        with pytest.raises(Interrupted):
            store.push(blob.descriptor, Breaking(blob.data[: size // 2]))
        assert_missing(store, blob.descriptor)

    def test_push_after_a_failed_push(self, make_store: MakeStore) -> None:
        """A failed push does not stand in the way of the next."""
        store = make_store("ns/after")
        blob = content.blob("after", base.CHUNK + 1)
        with pytest.raises(Interrupted):
            store.push(blob.descriptor, Breaking(blob.data[:1000]))
        push(store, blob)
        assert read(store, blob.descriptor) == blob.data

    def test_push_of_existing_content(self, make_store: MakeStore) -> None:
        """Pushing what is there already changes nothing."""
        store = make_store("ns/twice")
        image = content.image("twice")
        store_all(store, image)
        store.tag(image.descriptor, "latest")
        store_all(store, image)
        for piece in image.pieces:
            assert read(store, piece.descriptor) == piece.data
        assert store.resolve("latest") == image.descriptor

    def test_failed_push_of_existing_content(
        self, make_store: MakeStore
    ) -> None:
        """A failed push leaves what was there before."""
        store = make_store("ns/still")
        blob = content.blob("still")
        push(store, blob)
        with pytest.raises(Interrupted):
            store.push(blob.descriptor, Breaking(b"other"))
        assert read(store, blob.descriptor) == blob.data

    def test_concurrent_pushes_of_one_blob(
        self, make_store: MakeStore
    ) -> None:
        """Several threads may push the same blob at once."""
        store = make_store("ns/threads")
        blob = content.blob("threads", base.CHUNK + 17)
        at_once(lambda: push(store, blob) for _ in range(6))
        assert read(store, blob.descriptor) == blob.data

    def test_concurrent_use(self, make_store: MakeStore) -> None:
        """One store serves several threads that push, tag and read."""
        store = make_store("ns/busy")
        images = [content.image(f"busy {n}") for n in range(6)]

        def work(number: int, image: content.Image) -> None:
            store_all(store, image)
            store.tag(image.descriptor, f"t{number}")
            for piece in image.pieces:
                assert read(store, piece.descriptor) == piece.data

        at_once(
            functools.partial(work, number, image)
            for number, image in enumerate(images)
        )
        for number, image in enumerate(images):
            assert store.resolve(f"t{number}") == image.descriptor

    def test_digests_are_sound(self, make_store: MakeStore) -> None:
        """The resolved digest is that of the content that is fetched."""
        store = make_store("ns/sound")
        image = content.image("sound")
        store_all(store, image)
        store.tag(image.descriptor, "sound")
        found = store.resolve("sound")
        assert digests.of(read(store, found)) == found.digest
