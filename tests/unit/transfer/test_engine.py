"""The engine over stores in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest

from imageprep_client import errors
from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base, memory, verify
from imageprep_client.testing import content
from imageprep_client.transfer import engine, graph, preflight, stream
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.known import KnownContent
from tests.recorder import Recorder
from tests.unit.transfer import stores

SHARED = content.blob("shared", 3000)
SHARED_DIGEST = SHARED.descriptor.digest
LARGE = content.blob("large", 5 * 1024 * 1024)


def image(name: str) -> content.Image:
    """An image with a layer of its own and one that all share."""
    return content.image(name, [SHARED, content.blob(name, 500)])


#: An index of two of them.
MULTI = content.index({"linux/amd64": image("x"), "linux/arm64": image("y")})


@pytest.fixture
def source() -> stores.Registry:
    registry = stores.Registry("source")
    for name in ("a", "b", "c"):
        registry.fill(name, image(name))
    return registry


@pytest.fixture
def destination() -> stores.Registry:
    return stores.Registry("destination")


def copies(
    source: stores.Registry,
    destination: stores.Registry,
    names: Iterable[str] = "abc",
    platform: Platform | None = None,
) -> list[Copy]:
    return [
        Copy(
            name=f"source/{name}:1",
            source=source.store(name),
            reference="1",
            destination=destination.store(name),
            tag="1",
            platforms=graph.OnePlatform(platform)
            if platform
            else graph.ALL_PLATFORMS,
        )
        for name in names
    ]


def run(
    wanted: list[Copy],
    *,
    observer: Observer | None = None,
    keep_going: bool = False,
    dry_run: bool = False,
    concurrency: int = 4,
) -> list[engine.CopyResult]:
    return engine.copy_all(
        wanted,
        observer=observer or Observer(),
        keep_going=keep_going,
        dry_run=dry_run,
        concurrency=concurrency,
    )


def test_copies_images_unchanged(source, destination):
    """The destination's tags name whole images with the source's digests."""
    outcomes = run(copies(source, destination))
    assert [o.outcome for o in outcomes] == [ImageOutcome.COPIED] * 3
    for name in "abc":
        store = destination.store(name)
        root = store.resolve("1")
        assert root.digest == image(name).descriptor.digest
        assert store.holds(root)


def test_each_blob_leaves_the_source_once(source, destination):
    """A blob that images share is fetched once and mounted elsewhere."""
    run(copies(source, destination))
    assert len(source.did("fetch", SHARED_DIGEST)) == 1
    assert len(destination.did("push", SHARED_DIGEST)) == 1
    assert len(destination.did("mount", SHARED_DIGEST)) == 2


def test_blobs_then_manifests_then_tags(source, destination):
    """No manifest is pushed before every blob, no tag before a manifest."""
    manifests = {image(n).descriptor.digest for n in "abc"}
    run(copies(source, destination))
    blobs = stores.order(
        destination.calls,
        lambda c: c[0] in ("push", "mount") and c[2] not in manifests,
    )
    pushed = stores.order(
        destination.calls, lambda c: c[0] == "push" and c[2] in manifests
    )
    tagged = stores.order(destination.calls, lambda c: c[0] == "tag")
    assert max(blobs) < min(pushed) <= max(pushed) < min(tagged)


def test_flushes_between_the_steps(source, destination):
    """There is one barrier after blobs, manifests and tags each."""
    run(copies(source, destination))
    assert len(destination.did("flush")) == 3


def test_second_run_moves_nothing(source, destination):
    """An image that is in place costs a resolve on each side; of a store on
    this host its manifest is read, which has the sizes.
    """
    run(copies(source, destination))
    source.calls.clear()
    destination.calls.clear()
    outcomes = run(copies(source, destination))
    assert {o.outcome for o in outcomes} == {ImageOutcome.PRESENT}
    assert all(o.kept for o in outcomes)
    assert len(source.calls) == 3
    assert {c[0] for c in destination.calls} <= {"resolve", "exists", "fetch"}
    assert len(destination.did("fetch")) == 3


def test_broken_copy_is_completed(source, destination):
    """A tag whose image lacks a blob does not count as present."""
    run(copies(source, destination))
    store = destination.store("a")
    store.delete(content.blob("a", 500).descriptor)
    (outcome,) = run(copies(source, destination, "a"))
    assert outcome.outcome is ImageOutcome.COPIED
    assert store.holds(store.resolve("1"))


def test_counts_bytes(source, destination):
    """A shared blob counts as copied for one image, mounted for others."""
    outcomes = run(copies(source, destination))
    size = SHARED.descriptor.size
    assert [o.mounted for o in outcomes].count(size) == 2
    unique = sum(
        {
            p.descriptor.digest: p.descriptor.size
            for n in "abc"
            for p in image(n).parts
        }.values()
    )
    assert sum(o.copied for o in outcomes) == unique


def test_blob_in_another_repository_is_not_moved(source, destination):
    """A blob in any repository of the destination is mounted, not fetched."""
    run(copies(source, destination, "a"))
    source.calls.clear()
    run(copies(source, destination, "b"))
    fetched = {c[2] for c in source.did("fetch")}
    assert SHARED_DIGEST not in fetched


class Plain(stores.Recording):
    """Has no optional power at all, as some registries."""

    mount = None
    locate = None
    holds = None
    flush = None


class Blind(stores.Recording):
    """Does not tell in which repository a blob is."""

    locate = None


@pytest.mark.parametrize(("made_from", "mounts"), [("base", 1), ("a", 0)])
def test_images_that_were_made_from_others(source, made_from, mounts):
    """Layers are mounted from there, but never from the same repository."""
    destination = stores.Registry("destination", Blind)
    destination.fill("base", image("base"))
    (copy,) = copies(source, destination, "a")
    store = destination.store(made_from)
    run([dataclasses.replace(copy, made_from=store)])
    digests = [call[2] for call in destination.did("mount")]
    assert digests.count(SHARED_DIGEST) == mounts


def test_needs_no_optional_power(source):
    """A destination that cannot mount gets the blob again."""
    plain = stores.Registry("plain", Plain)
    outcomes = run(copies(source, plain))
    assert [o.outcome for o in outcomes] == [ImageOutcome.COPIED] * 3
    assert len(plain.did("push", SHARED_DIGEST)) == 3


def test_dry_run_writes_nothing(source, destination):
    """A dry run says what a run would move, and moves nothing."""
    planned = run(copies(source, destination), dry_run=True)
    assert {c[0] for c in destination.calls} <= {"resolve", "exists", "locate"}
    assert {o.outcome for o in planned} == {ImageOutcome.PLANNED}
    done = run(copies(source, destination))
    assert sum(o.copied for o in planned) == sum(o.copied for o in done)
    assert sum(o.mounted for o in planned) == sum(o.mounted for o in done)


def test_missing_image_moves_nothing(source, destination):
    """Without keep_going one missing image ends the run before the copy."""
    wanted = copies(source, destination, "abz")
    outcomes = run(wanted, concurrency=1)
    assert outcomes[2].outcome is ImageOutcome.FAILED
    assert isinstance(outcomes[2].error.__cause__, errors.NotFound)
    error = outcomes[2].error
    assert isinstance(error, errors.CopyError)
    assert error.origin == "source"
    assert not destination.did("push")
    assert outcomes[0].outcome is ImageOutcome.LEFT


def test_every_missing_image_is_named(source, destination):
    """One missing image does not hide another."""
    outcomes = run(copies(source, destination, "xaby"), concurrency=1)
    told = [o.outcome.value for o in outcomes]
    assert told == ["failed", "left", "left", "failed"]


def test_other_failures_end_the_survey(source, destination):
    """A registry that does not answer is not asked for every image."""
    source.fail("resolve", "1", *[errors.Unreachable("refused")] * 3)
    run(copies(source, destination), concurrency=1)
    assert len(source.did("resolve")) == 1


def test_keep_going_copies_the_others(source, destination):
    """With keep_going the other images are whole afterwards."""
    outcomes = run(copies(source, destination, "azb"), keep_going=True)
    told = [o.outcome.value for o in outcomes]
    assert told == ["copied", "failed", "copied"]


def test_blob_fault_fails_every_image_that_needs_it(source, destination):
    """A shared blob that cannot be had fails all images, and tags none."""
    fault = errors.NotFound("gone")
    source.fail("fetch", SHARED_DIGEST, *[fault] * 20)
    outcomes = run(copies(source, destination), keep_going=True)
    assert {o.outcome for o in outcomes} == {ImageOutcome.FAILED}
    assert not destination.did("tag")


def test_temporary_fault_is_tried_again(source, destination):
    """A blob whose upload broke off is fetched and pushed again."""
    fault = errors.ServerFault("503")
    destination.fail("push", SHARED_DIGEST, fault, fault)
    outcomes = run(copies(source, destination))
    assert {o.outcome for o in outcomes} == {ImageOutcome.COPIED}


def test_permanent_fault_is_not_tried_again(source, destination):
    """A refused push is final, and says that it was the destination."""
    destination.fail("push", SHARED_DIGEST, *[errors.AccessDenied("no")] * 9)
    outcomes = run(copies(source, destination, "a"))
    error = outcomes[0].error
    assert isinstance(error, errors.CopyError)
    assert error.origin == "destination"
    assert len(destination.did("push", SHARED_DIGEST)) == 1


def test_other_source_serves_when_one_lacks_a_blob(source, destination):
    """A blob missing in one repository is taken from another's."""
    source.fail("fetch", SHARED_DIGEST, errors.NotFound("gone"))
    outcomes = run(copies(source, destination))
    assert {o.outcome for o in outcomes} == {ImageOutcome.COPIED}


def test_large_and_small_blobs(source, destination):
    """Both kinds of blobs arrive."""
    source.fill("big", content.image("big", [LARGE, SHARED]))
    (outcome,) = run(copies(source, destination, ("big",)))
    assert outcome.copied > LARGE.descriptor.size


def test_index_with_every_platform(destination):
    """Without a platform the index and every child are copied."""
    source = stores.Registry("source")
    source.fill("a", MULTI)
    run(copies(source, destination, "a"))
    store = destination.store("a")
    assert store.resolve("1").digest == MULTI.descriptor.digest
    assert store.holds(store.resolve("1"))


def test_index_for_one_platform(destination):
    """With a platform the tag names that child, and only it is copied."""
    source = stores.Registry("source")
    source.fill("a", MULTI)
    arm = Platform("linux", "arm64")
    run(copies(source, destination, "a", arm))
    store = destination.store("a")
    assert store.resolve("1").digest == image("y").descriptor.digest
    assert not store.exists(image("x").descriptor)
    (again,) = run(copies(source, destination, "a", arm))
    assert again.outcome is ImageOutcome.PRESENT


FOREIGN = content.blob(
    "w", 10, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)


def with_urls(piece: content.Piece) -> content.Piece:
    """The same, offered at a URL."""
    urls = ("https://example.com/layer",)
    return content.Piece(
        dataclasses.replace(piece.descriptor, urls=urls), piece.data
    )


def test_layers_at_urls_stay_there(destination):
    """A non-distributable layer with URLs is left out, and that is told."""
    source = stores.Registry("source")
    source.fill("a", content.image("w", [with_urls(FOREIGN), SHARED]))
    recorder = Recorder()
    (outcome,) = run(copies(source, destination, "a"), observer=recorder)
    assert outcome.outcome is ImageOutcome.COPIED
    assert not destination.store("a").exists(FOREIGN.descriptor)
    assert "--nondistributable" in recorder.notes[0]


def test_layers_at_urls_are_copied_on_request(destination):
    """They are copied where wanted, also into an image that lacks them."""
    source = stores.Registry("source")
    source.fill("a", content.image("w", [with_urls(FOREIGN), SHARED]))
    wanted = copies(source, destination, "a")
    run(wanted)
    whole = [dataclasses.replace(c, nondistributable=True) for c in wanted]
    (outcome,) = run(whole)
    assert outcome.outcome is ImageOutcome.COPIED
    assert destination.store("a").exists(FOREIGN.descriptor)
    (again,) = run(whole)
    assert again.outcome is ImageOutcome.PRESENT


def test_foreign_layers_without_urls_are_copied(destination):
    """A non-distributable layer that only the source has is copied."""
    source = stores.Registry("source")
    source.fill("a", content.image("w", [FOREIGN, SHARED]))
    run(copies(source, destination, "a"))
    assert destination.store("a").exists(FOREIGN.descriptor)


def test_foreign_layers_that_the_registry_refuses(destination):
    """The error of a registry that takes no such layers says what helps."""
    source = stores.Registry("source")
    wanted = content.image("w", [FOREIGN, SHARED])
    source.fill("a", wanted)
    refusal = errors.Refused("refused", status=500)
    destination.fail("push", wanted.descriptor.digest, refusal)
    (outcome,) = run(copies(source, destination, "a"))
    assert "validation.manifests.urls" in (outcome.error.hint or "")


@pytest.mark.parametrize(
    ("kind", "is_told"),
    [(errors.PartsUnknown, True), (errors.ServerFault, False)],
)
def test_registry_that_forgot_parts(source, destination, kind, is_told):
    """A fault of another server, such as that of tokens, has other reasons."""
    refusal = kind("refused", temporary=False)
    refusal.isolated = True
    destination.fail("push", image("a").descriptor.digest, refusal)
    (outcome,) = run(copies(source, destination, "a"))
    assert ("garbage collection" in str(outcome.error.hint)) is is_told


class Cramped(stores.Recording):
    """Has room for a hundred bytes."""

    def free_space(self) -> int:
        return 100


def test_full_disk_is_noticed_before_the_copy(source):
    """The needed and the free bytes are named; nothing is pushed."""
    cramped = stores.Registry("cramped", Cramped)
    with pytest.raises(errors.NoSpace, match="100 bytes free") as caught:
        run(copies(source, cramped))
    assert caught.value.needed > 3000
    assert caught.value.free == 100
    assert not cramped.did("push")


def test_same_repository_with_two_tags(source, destination):
    """Two tags of one repository are both written."""
    source.fill("a", image("b"), "2")
    wanted = copies(source, destination, "a")
    second = dataclasses.replace(
        wanted[0], name="source/a:2", reference="2", tag="2"
    )
    outcomes = run([*wanted, second])
    assert {o.outcome for o in outcomes} == {ImageOutcome.COPIED}
    assert sorted(destination.store("a").tags()) == ["1", "2"]


def test_copy_returns_the_root(source, destination):
    """The single copy returns what the tag names."""
    copied = engine.copy(
        source.store("a"),
        "1",
        destination.store("a"),
        "new",
        observer=Observer(),
    )
    assert copied.descriptor == image("a").descriptor
    assert destination.store("a").resolve("new") == copied.descriptor


def test_copy_raises_with_the_side(source, destination):
    """The single copy raises, and says which side failed."""
    with pytest.raises(errors.CopyError, match="source//zz:1") as e:
        engine.copy(
            source.store("zz"),
            "1",
            destination.store("a"),
            "1",
            observer=Observer(),
        )
    assert e.value.origin == "source"


class Interrupting(Observer):
    """Ends the run when the first bytes have come."""

    def bytes_copied(self, count: int) -> None:
        raise KeyboardInterrupt


def test_interrupt_tags_nothing(source, destination):
    """An interrupted run leaves no tag, and its threads end."""
    with pytest.raises(KeyboardInterrupt):
        run(copies(source, destination), observer=Interrupting())
    assert not destination.did("tag")


def test_progress_adds_up(source, destination):
    """The bytes told as copied are those told as expected, even when one
    blob was tried twice.
    """
    destination.fail("push", SHARED_DIGEST, errors.ServerFault("503"))
    counting = Recorder()
    run(copies(source, destination), observer=counting)
    assert counting.copied == counting.expected > 0
    assert {how for _, how in counting.told("image_finished")} == {"copied"}


def test_protocols_are_met():
    """The memory store has every power that needs no disk."""
    store = memory.MemoryRegistry().store("a")
    for power in (base.Mounts, base.Locates, base.ListsTags, base.Deletes):
        assert isinstance(store, power)
    assert mediatypes.is_foreign("application/x.foreign.y")


ARM = Platform("linux", "arm64")


def sparse(
    source: stores.Registry,
    destination: stores.Registry,
    only: tuple[Platform, ...] = (ARM,),
) -> list[engine.CopyResult]:
    source.fill("i", MULTI)
    platforms = graph.SomePlatforms(only) if only else graph.ALL_PLATFORMS
    (one,) = copies(source, destination, "i")
    return run([dataclasses.replace(one, platforms=platforms)])


def test_some_platforms_are_present_when_they_are_there(source, destination):
    """The images that were left out do not make it incomplete; a lost blob
    of those that were wanted does.
    """
    (first,) = sparse(source, destination)
    (again,) = sparse(source, destination)
    assert first.outcome is ImageOutcome.COPIED
    assert again.outcome is ImageOutcome.PRESENT
    store = destination.store("i")
    assert not store.exists(image("x").descriptor)
    store.delete(image("y").parts[0].descriptor)
    (mended,) = sparse(source, destination)
    assert mended.outcome is ImageOutcome.COPIED
    store.delete(image("y").descriptor)
    (mended,) = sparse(source, destination)
    assert mended.outcome is ImageOutcome.COPIED


@pytest.mark.parametrize("variant", ["", "v8"])
def test_images_for_another_platform_are_told(source, destination, variant):
    """A single image is copied for any platform, and named if it is not
    for one that was asked for.
    """
    source.fill("i", image("x"))
    recorder = Recorder()
    for architecture in ("amd64", "arm64"):
        wanted = Platform("linux", architecture, variant)
        (one,) = copies(source, destination, "i")
        one = dataclasses.replace(
            one,
            destination=destination.store(architecture),
            platforms=graph.SomePlatforms((wanted,)),
        )
        run([one], observer=recorder)
    assert recorder.notes == [f"source/i:1: is for linux/amd64, not {wanted}"]


@pytest.mark.parametrize("single", [True, False])
def test_missing_platforms_are_told(source, destination, single):
    """A note names the requested platforms that an image lacks."""
    source.fill("i", image("x") if single else MULTI)
    wanted = tuple(
        Platform("linux", name) for name in ("amd64", "arm64", "s390x")
    )
    (one,) = copies(source, destination, "i")
    one = dataclasses.replace(one, platforms=graph.SomePlatforms(wanted))
    recorder = Recorder()
    run([one], observer=recorder)
    told = (
        "linux/amd64, not linux/arm64 or linux/s390x"
        if single
        else "linux/amd64, linux/arm64, not linux/s390x"
    )
    assert recorder.notes == [f"source/i:1: is for {told}"]


def test_registry_that_takes_only_whole_indexes(source, destination):
    """The error says what to leave out."""
    refusal = errors.NotFound("child unknown")
    destination.fail("push", MULTI.descriptor.digest, refusal)
    (outcome,) = sparse(source, destination)
    assert outcome.error.hint.endswith("leave --platform out")


@pytest.mark.parametrize("more", [(Platform("linux", "amd64"),), ()])
def test_other_platforms_follow_into_a_registry(source, more):
    """Of an index that is there in part the rest is copied, though the
    registry promises that all it has is whole; then it is present.
    """
    plain = stores.Registry("plain", Plain)
    assert sparse(source, plain)[0].outcome is ImageOutcome.COPIED
    assert sparse(source, plain)[0].outcome is ImageOutcome.PRESENT
    assert sparse(source, plain, more)[0].outcome is ImageOutcome.COPIED
    assert plain.store("i").exists(image("x").descriptor)
    assert sparse(source, plain, more)[0].outcome is ImageOutcome.PRESENT


def test_platform_that_the_index_lacks_is_never_present(source):
    """A platform that the index lacks does not count as present."""
    plain = stores.Registry("plain", Plain)
    sparse(source, plain, ())
    (outcome,) = sparse(source, plain, (Platform("linux", "s390x"),))
    assert isinstance(outcome.error.__cause__, errors.NotFound)


def test_images_of_an_index_are_looked_at_once(source):
    """Of a registry the index and each image in it are asked for, not their
    parts; an image that is no index takes a resolve on each side.
    """
    plain = stores.Registry("plain", Plain)
    sparse(source, plain, ())
    run(copies(source, plain, "a"))
    plain.calls.clear()
    sparse(source, plain, ())
    run(copies(source, plain, "a"))
    index = plain.store("i").resolve("1").digest
    children = {image(name).descriptor.digest for name in "xy"}
    assert {call[2] for call in plain.calls} == {"1", index, *children}
    assert [c[1] for c in plain.calls if c[1] == "a"] == ["a"]


def test_manifests_are_bounded_together(source, destination, monkeypatch):
    """Many images of a stranger do not fill the memory with manifests."""
    sizes = [image(name).descriptor.size for name in "abc"]
    monkeypatch.setattr(preflight, "_MAX_BYTES", sum(sizes) - 1)
    outcomes = run(copies(source, destination), keep_going=True)
    (failed,) = [o for o in outcomes if o.outcome is ImageOutcome.FAILED]
    assert "all images of this run: over" in str(failed.error)


@pytest.mark.parametrize(
    "failure",
    [errors.ServerFault("500"), errors.AccessDenied("403")],
    ids=["fault", "denied"],
)
def test_mounts_that_fail_become_uploads(source, destination, failure):
    """A registry that cannot mount gets the blob once more."""
    destination.fail("mount", SHARED_DIGEST, failure, failure)
    outcomes = run(copies(source, destination))
    assert {o.outcome for o in outcomes} == {ImageOutcome.COPIED}


class Corrupt(stores.Recording):
    """Always gives the same wrong bytes for one blob."""

    def fetch(self, descriptor):
        self._log("fetch", descriptor.digest)
        if descriptor != SHARED.descriptor:
            return super().fetch(descriptor)
        wrong = bytes(descriptor.size)
        return verify.from_bytes(wrong, descriptor)


def test_the_same_wrong_digest_is_given_up(destination, monkeypatch):
    """Content that is wrong in the same way each time is given up."""
    policy = RetryPolicy(base=0)
    monkeypatch.setattr(stream, "_POLICY", policy)
    corrupt = stores.Registry("corrupt", Corrupt)
    corrupt.fill("a", image("a"))
    (outcome,) = run(copies(corrupt, destination, "a"))
    assert isinstance(outcome.error.__cause__, errors.DigestMismatch)
    assert len(corrupt.did("fetch", SHARED_DIGEST)) == policy.same


def test_known_content_is_not_fetched(source, destination):
    """Manifests and configs that were read before come from memory."""
    known = KnownContent()
    config = next(
        p for p in image("a").parts if p.descriptor != SHARED.descriptor
    )
    manifest = image("a").manifest
    for piece in (config, manifest):
        known.add(piece.descriptor.digest, piece.data)
    (outcome,) = engine.copy_all(
        copies(source, destination, "a"), observer=Observer(), known=known
    )
    assert outcome.outcome is ImageOutcome.COPIED
    fetched = {call[2] for call in source.did("fetch")}
    assert not fetched & {config.descriptor.digest, manifest.descriptor.digest}


def test_known_content_is_bounded():
    """Content that does not fit is forgotten, not kept."""
    known = KnownContent(limit=4)
    first, second = (Descriptor.of(text, "x/y") for text in (b"abc", b"de"))
    known.add(first.digest, b"abc")
    known.add(second.digest, b"de")
    assert known.get(first) == b"abc"
    assert known.open(second) is None
