"""Artifacts that are attached to images."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from imageprep_client import errors
from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.oci import referrers
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, memory, verify
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from imageprep_client.transfer import attached, engine, graph
from imageprep_client.transfer.attached import ReferrersPolicy
from imageprep_client.transfer.copies import Copy
from tests.recorder import Recorder

IMAGE = content.image("x")


def cosign(descriptor: Descriptor, kind: str) -> str:
    return f"{referrers.tag_of(descriptor.digest)}.{kind}"


@pytest.fixture
def store() -> memory.MemoryStore:
    store = memory.MemoryRegistry("source").store("a")
    put(store, IMAGE, "1")
    return store


def find(store: memory.MemoryStore) -> dict[str, tuple[str, ...]]:
    """The digests of what is attached, with their tags."""
    image = graph.walk(store, store.resolve("1"))
    return {
        each.graph.root.descriptor.digest: each.tags
        for each in attached.find(store, image, lambda _: None)
    }


def test_nothing_is_attached(store):
    """Most images have nothing."""
    assert find(store) == {}


def test_referrers(store):
    """Manifests that name the image as their subject."""
    artifact = content.artifact("sbom", IMAGE.descriptor)
    put(store, artifact)
    assert find(store) == {artifact.descriptor.digest: ()}


class Careless(memory.MemoryStore):
    """Lists whatever it has as referrers."""

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        return [self.resolve(each) for each in ("1", "2", "3")]


def test_referrers_of_others():
    """A manifest in a list of referrers that refers to another one, or to
    none, is not attached.
    """
    store = Careless(memory.MemoryRegistry("source"), "a")
    put(store, IMAGE, "1")
    other = content.artifact("other", content.image("y").descriptor)
    own = content.artifact("own", IMAGE.descriptor)
    put(store, other, "2")
    put(store, own, "3")
    assert find(store) == {own.descriptor.digest: ()}


@pytest.mark.parametrize("kind", ["sig", "att", "sbom"])
def test_cosign_tags(store, kind):
    """Artifacts under a tag that is made of the image's digest."""
    tag = cosign(IMAGE.descriptor, kind)
    signature = content.image("signature")
    put(store, signature, tag, "unrelated")
    assert find(store) == {signature.descriptor.digest: (tag,)}


def test_cosign_tags_of_long_digests(store):
    """Those of an image whose digest is too long for a tag are found."""
    image = content.image("long", algorithm="sha512")
    signature = content.image("signature")
    tag = cosign(image.descriptor, "sig")
    put(store, image, "1")
    put(store, signature, tag)
    assert find(store) == {signature.descriptor.digest: (tag,)}


def test_lists_of_referrers_are_not_attached(store):
    """The index under the fallback tag is the store's own affair."""
    put(store, content.index({}), referrers.tag_of(IMAGE.descriptor.digest))
    assert find(store) == {}


def test_other_images_signatures_stay(store):
    """Attachments of another image are not taken along."""
    other = content.image("other")
    put(store, other, "2")
    put(store, content.image("s"), cosign(other.descriptor, "sig"))
    put(store, content.artifact("a", other.descriptor))
    assert find(store) == {}


def test_artifacts_of_artifacts(store):
    """A signed bill of materials brings its signature."""
    sbom = content.artifact("sbom", IMAGE.descriptor)
    signature = content.artifact("sig", sbom.descriptor)
    put(store, sbom)
    put(store, signature)
    assert set(find(store)) == {
        sbom.descriptor.digest,
        signature.descriptor.digest,
    }


def test_artifacts_of_an_index(store):
    """The images of an index have their own."""
    index = content.index({"linux/amd64": IMAGE})
    put(store, index, "1")
    put(store, content.image("s"), cosign(IMAGE.descriptor, "sig"))
    put(store, content.artifact("a", index.descriptor))
    assert len(find(store)) == 2


def test_one_artifact_with_many_tags(store):
    """A bill of materials that is that of an index and of its images."""
    index = content.index({"linux/amd64": IMAGE})
    sbom = content.image("sbom")
    tags = {cosign(each.descriptor, "sbom") for each in (index, IMAGE)}
    put(store, index, "1")
    put(store, sbom, *tags)
    ((digest, found),) = find(store).items()
    assert digest == sbom.descriptor.digest
    assert set(found) == tags


def test_artifact_with_a_subject_and_tags(store):
    """An artifact found by its subject keeps its tags."""
    signature = content.artifact("sig", IMAGE.descriptor)
    tags = (cosign(IMAGE.descriptor, "att"), cosign(IMAGE.descriptor, "sig"))
    put(store, signature, *tags)
    assert find(store) == {signature.descriptor.digest: tags}


def test_tag_that_comes_up_later(store):
    """An artifact that is found again as its own keeps that tag, too."""
    sbom = content.artifact("sbom", IMAGE.descriptor)
    own = (IMAGE.descriptor, sbom.descriptor)
    tags = {cosign(each, "sig") for each in own}
    put(store, sbom, *tags)
    assert {d: set(t) for d, t in find(store).items()} == {
        sbom.descriptor.digest: tags
    }


def test_too_many_tags(store, monkeypatch):
    """Each tag counts: it is a request of its own."""
    monkeypatch.setattr(attached, "_MAX_ATTACHED", 2)
    kinds = ("sig", "att", "sbom")
    tags = [cosign(IMAGE.descriptor, kind) for kind in kinds]
    put(store, content.image("s"), *tags)
    with pytest.raises(errors.InvalidContent, match="more than 2 artifacts"):
        find(store)


@pytest.mark.parametrize(
    ("module", "name", "limit", "message"),
    [
        (attached, "_MAX_ATTACHED", 2, "more than 2 artifacts"),
        (graph, "MAX_BYTES", 1000, "bytes of manifests"),
    ],
)
def test_too_many(store, monkeypatch, module, name, limit, message):
    """A registry that names ever more, or too much together, is left."""
    monkeypatch.setattr(module, name, limit)
    for number in range(3):
        put(store, content.artifact(number, IMAGE.descriptor))
    with pytest.raises(errors.InvalidContent, match=message):
        find(store)


class Closed(memory.MemoryStore):
    """Lets nobody list anything."""

    def tags(self):
        raise errors.AccessDenied("401")

    def referrers(self, subject):
        raise errors.NotFound("404")


def test_registry_that_lists_nothing():
    """An image can be copied from where nothing may be listed."""
    home = memory.MemoryRegistry("closed")
    put(memory.MemoryStore(home, "a"), IMAGE, "1")
    assert find(Closed(home, "a")) == {}


class Without(memory.MemoryStore):
    """Has no lists, and says so in its own way."""

    failure: errors.StoreError = errors.Refused("501")

    def tags(self):
        raise self.failure

    def referrers(self, subject):
        raise self.failure


class Failing(Without):
    """Fails for now."""

    failure = errors.ServerFault("503")


def copy_from(store: memory.MemoryStore, observer: Observer) -> list[str]:
    """Copy one image twice; what became of it."""
    destination = memory.MemoryRegistry("destination")
    copies = [
        Copy(
            name=name,
            source=store,
            reference="1",
            destination=destination.store(name),
            tag="1",
            referrers=ReferrersPolicy.COPY,
        )
        for name in ("b", "c")
    ]
    outcomes = engine.copy_all(copies, observer=observer, keep_going=True)
    return [outcome.outcome.value for outcome in outcomes]


def test_registry_that_has_no_lists():
    """Its images are copied, and it is told once what may be missing."""
    home = memory.MemoryRegistry("plain")
    put(memory.MemoryStore(home, "a"), IMAGE, "1")
    observer = Recorder()
    assert copy_from(Without(home, "a"), observer) == ["copied"] * 2
    assert sorted(note.partition(";")[0] for note in observer.notes) == [
        "memory:plain: lists no referrers",
        "memory:plain: lists no tags",
    ]


def test_registry_whose_lists_fail():
    """The image is copied, and a note tells what may stay behind."""
    home = memory.MemoryRegistry("failing")
    put(memory.MemoryStore(home, "a"), IMAGE, "1")
    observer = Recorder()
    assert copy_from(Failing(home, "a"), observer) == ["copied"] * 2
    assert [n.partition(" stays")[0] for n in observer.notes] == [
        "memory:failing//a: list of tags",
        "memory:failing//a: list of referrers",
    ]


def copy_one(
    store: memory.MemoryStore,
    policy: ReferrersPolicy,
    destination: memory.MemoryStore | None = None,
) -> tuple[engine.CopyResult, Recorder]:
    """Copy the image once."""
    target = destination or memory.MemoryRegistry("destination").store("b")
    observer = Recorder()
    one = Copy(
        name="a:1",
        source=store,
        reference="1",
        destination=target,
        tag="1",
        referrers=policy,
    )
    (result,) = engine.copy_all([one], observer=observer)
    return result, observer


class Lost(memory.MemoryStore):
    """Lists what it no longer has, or never understood."""

    lost: Descriptor | None = None
    listed: tuple[Descriptor, ...] = ()

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        if descriptor == self.lost:
            raise errors.NotFound(f"{descriptor.digest}: unknown")
        return super().fetch(descriptor)

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        return [*super().referrers(subject), *self.listed]


SBOM = content.artifact("sbom", IMAGE.descriptor)
UNKNOWN = Descriptor("application/x.manifest", SBOM.descriptor.digest, 9)


@pytest.fixture
def lossy() -> Lost:
    home = memory.MemoryRegistry("lossy")
    store = Lost(home, "a")
    put(store, IMAGE, "1")
    return store


def lose_manifest(store: Lost) -> None:
    store.listed = (SBOM.descriptor,)


def lose_blob(store: Lost) -> None:
    put(store, SBOM)
    store.lost = SBOM.parts[-1].descriptor


def list_unknown(store: Lost) -> None:
    store.listed = (UNKNOWN,)


class Dangling(Lost):
    """Lists a signature's tag that leads nowhere."""

    def resolve(self, reference: str) -> Descriptor:
        if reference.endswith(".sig"):
            raise errors.AccessDenied(f"{reference}: 403")
        return super().resolve(reference)


def dangle(store: Lost) -> None:
    put(store, SBOM, cosign(IMAGE.descriptor, "sig"))
    store.__class__ = Dangling
    store.lost = SBOM.descriptor


WAYS = [lose_manifest, lose_blob, list_unknown, dangle]


@pytest.mark.parametrize("lose", WAYS)
def test_artifacts_that_cannot_be_had_stay_behind(lossy, lose):
    """The image is copied, and a note names what is not."""
    lose(lossy)
    result, observer = copy_one(lossy, ReferrersPolicy.COPY)
    assert result.outcome is ImageOutcome.COPIED
    assert any("stays behind" in note for note in observer.notes)


@pytest.mark.parametrize("lose", WAYS)
def test_artifacts_that_are_required(lossy, lose):
    """Then the image fails, with its own name."""
    lose(lossy)
    result, _ = copy_one(lossy, ReferrersPolicy.REQUIRE)
    assert result.outcome is ImageOutcome.FAILED
    assert str(result.error).startswith("a:1: ")


def test_blob_that_the_image_needs_too(lossy):
    """An artifact that shares a lost blob with its image is no excuse."""
    part = IMAGE.parts[-1]
    shared = content.image("s", [part])
    put(lossy, shared, cosign(IMAGE.descriptor, "sig"))
    lossy.lost = part.descriptor
    result, _ = copy_one(lossy, ReferrersPolicy.COPY)
    assert result.outcome is ImageOutcome.FAILED


class Late(Lost):
    """Has no time left for an artifact."""

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        if descriptor == SBOM.descriptor:
            raise errors.OutOfTime("not done within 1 s")
        return super().fetch(descriptor)


def test_artifact_that_there_was_no_time_for():
    """Its absence is no answer for other destinations, which have time."""
    store = Late(memory.MemoryRegistry("late"), "a")
    put(store, IMAGE, "1")
    lose_manifest(store)
    with pytest.raises(errors.OutOfTime):
        find(store)


class Losing(memory.MemoryStore):
    """Lacks blobs of an artifact, which two threads ask for at once."""

    lost = threading.Barrier(2, timeout=60)

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        if descriptor in [part.descriptor for part in SBOM.parts]:
            self.lost.wait()
            raise errors.NotFound(f"{descriptor.digest}: unknown")
        return super().fetch(descriptor)


def test_artifact_without_several_blobs():
    """It stays behind once, and the run goes on."""
    store = Losing(memory.MemoryRegistry("losing"), "a")
    put(store, IMAGE, "1")
    put(store, SBOM)
    result, observer = copy_one(store, ReferrersPolicy.COPY)
    assert result.outcome is ImageOutcome.COPIED
    assert len([n for n in observer.notes if "stays behind" in n]) == 1


class Choosy(memory.MemoryStore):
    """Takes no signatures."""

    def push(self, expected: Descriptor, content: base.Content) -> None:
        if expected == SBOM.descriptor:
            raise errors.Refused("400: manifest invalid")
        super().push(expected, content)


class Pedantic(memory.MemoryStore):
    """Takes no tags of signatures."""

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        if tag.endswith(".sig"):
            raise errors.Refused("400: manifest invalid")
        super().tag(descriptor, tag)


@pytest.mark.parametrize("kind", [Choosy, Pedantic])
def test_destination_that_takes_no_artifacts(store, kind):
    """The error says how to copy the image all the same."""
    put(store, SBOM, cosign(IMAGE.descriptor, "sig"))
    target = kind(memory.MemoryRegistry("choosy"), "b")
    result, _ = copy_one(store, ReferrersPolicy.COPY, target)
    assert result.error is not None
    assert "--no-referrers" in str(result.error.hint)


@pytest.mark.parametrize("wanted", [True, False])
def test_they_come_along(store, wanted):
    """A copy brings them, and leaves them when it is told to."""
    tag = cosign(IMAGE.descriptor, "sig")
    other = cosign(IMAGE.descriptor, "att")
    signature = content.image("signature")
    artifact = content.artifact("a", IMAGE.descriptor)
    put(store, signature, tag, other)
    put(store, artifact)
    destination = memory.MemoryRegistry("destination").store("b")
    engine.copy_all(
        [
            Copy(
                name="a:1",
                source=store,
                reference="1",
                destination=destination,
                tag="1",
                referrers=ReferrersPolicy.COPY
                if wanted
                else ReferrersPolicy.LEAVE,
            )
        ],
        observer=Observer(),
    )
    assert destination.holds(IMAGE.descriptor)
    assert sorted(destination.tags()) == (
        ["1", other, tag] if wanted else ["1"]
    )
    assert destination.holds(artifact.descriptor) is wanted
    assert bool(destination.referrers(IMAGE.descriptor)) is wanted
