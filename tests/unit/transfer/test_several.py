"""Copying to several destinations: each blob is read once."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Collection, Sequence

import pytest

from imageprep_client import errors
from imageprep_client.observer import ImageOutcome
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base, verify
from imageprep_client.testing import content
from imageprep_client.transfer import engine, fanout, stream
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.workers import Workers
from tests.recorder import Recorder
from tests.unit.transfer import stores

LARGE = content.blob("large", 24 * 1024 * 1024)
SHARED = content.blob("shared", 3000)


@pytest.fixture
def source() -> stores.Registry:
    registry = stores.Registry("source")
    for name in "ab":
        own = content.blob(name, 200_000)
        registry.fill(name, content.image(name, [SHARED, LARGE, own]))
    return registry


def copies(
    source: stores.Registry, destinations: Sequence[stores.Registry]
) -> list[Copy]:
    return [
        Copy(
            name=f"source/{name}:1",
            source=source.store(name),
            reference="1",
            destination=destination.store(name),
            tag="1",
        )
        for name in "ab"
        for destination in destinations
    ]


def run(
    wanted: Sequence[Copy], observer: Recorder | None = None
) -> list[engine.CopyResult]:
    return engine.copy_all(
        wanted,
        observer=observer or Recorder(),
        keep_going=True,
        concurrency=8,
        independently=True,
    )


def fetched(source: stores.Registry) -> list[str]:
    """The digests that were fetched, each as often as it was."""
    return sorted(digest for _, _, digest in source.did("fetch"))


def whole(registry: stores.Registry) -> bool:
    """Whether all that the images consist of is in place."""
    done = []
    for name in "ab":
        store = registry.store(name)
        done.append(store.holds(store.resolve("1")))
    return all(done)


class Slow(stores.Recording):
    """Does not begin to read a large blob before it is let."""

    gate = threading.Event()

    def push(self, expected: Descriptor, content: base.Content) -> None:
        if expected.size > LARGE.descriptor.size // 2:
            assert self.gate.wait(60)
        super().push(expected, content)


class Lying(stores.Recording):
    """Gives other bytes than it was asked for."""

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        if descriptor.digest != LARGE.descriptor.digest:
            return super().fetch(descriptor)
        self._log("fetch", descriptor.digest)
        wrong = io.BytesIO(bytes(descriptor.size))
        return verify.VerifiedContent(wrong, descriptor)


def test_each_content_is_read_once(source: stores.Registry) -> None:
    """Three registries cost the source what one does."""
    places = [stores.Registry(name) for name in ("x", "y", "z")]
    results = run(copies(source, places))
    assert {r.outcome for r in results} == {ImageOutcome.COPIED}
    assert all(map(whole, places))
    assert len(fetched(source)) == len(set(fetched(source)))


def test_results_are_in_the_order_of_the_copies(
    source: stores.Registry,
) -> None:
    """Each copy has its own result."""
    places = [stores.Registry(name) for name in ("x", "y")]
    wanted = copies(source, places)
    assert [r.copy for r in run(wanted)] == wanted


def test_failed_destination_does_not_end_the_others(
    source: stores.Registry,
) -> None:
    """The images of a registry that refuses all fail alone."""
    good, bad = stores.Registry("good"), stores.Registry("bad")
    refused = [errors.AccessDenied("bad: denied") for _ in range(9)]
    bad.fail("push", LARGE.descriptor.digest, *refused)
    results = run(copies(source, [bad, good]))
    outcomes = {(r.copy.destination.registry[7:], r.outcome) for r in results}
    assert outcomes == {
        ("good", ImageOutcome.COPIED),
        ("bad", ImageOutcome.FAILED),
    }
    assert whole(good)


def test_slow_destination_is_dropped_and_served_by_another(
    source: stores.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others do not wait for it; the source is not read again."""
    monkeypatch.setattr(fanout, "_GRACE", 0.2)
    Slow.gate.clear()
    fast, slow = stores.Registry("fast"), stores.Registry("slow", Slow)
    results: list[engine.CopyResult] = []
    thread = threading.Thread(
        target=lambda: results.extend(run(copies(source, [slow, fast])))
    )
    thread.start()
    try:
        end = time.monotonic() + 60
        while len(fast.did("tag")) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert whole(fast)
        assert not slow.did("tag")
    finally:
        Slow.gate.set()
        thread.join(60)
    assert {r.outcome for r in results} == {ImageOutcome.COPIED}
    assert whole(slow)
    assert len(fetched(source)) == len(set(fetched(source)))


class Unmountable(stores.Recording):
    """Of a registry that mounts nothing."""

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        return False


def test_blob_is_sent_to_several_repositories(source: stores.Registry) -> None:
    """Each has all of a blob that the registry has and does not mount."""
    place = stores.Registry("x", Unmountable)
    place.store("c").push(LARGE.descriptor, LARGE.open())
    observer = Recorder()
    results = run(copies(source, [place]), observer)
    assert {r.outcome for r in results} == {ImageOutcome.COPIED}
    assert observer.expected == observer.copied
    for name in "ab":
        with place.store(name).fetch(LARGE.descriptor) as blob:
            assert blob.read() == LARGE.data


def test_blobs_of_failed_images_are_not_expected(
    source: stores.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stream waits for a destination that will not read it."""
    needs: dict[str, Collection[str]] = {}

    def begin(_: object, name: str, digests: Collection[str]) -> None:
        needs[name] = digests

    monkeypatch.setattr(fanout.FanOut, "begin", begin)
    good, bad = stores.Registry("good"), stores.Registry("bad")
    digest = LARGE.descriptor.digest
    bad.fail("locate", digest, errors.ServerFault("500"))
    run(copies(source, [bad, good]))
    assert digest in needs["memory:good"]
    assert digest not in needs["memory:bad"]


def test_missing_image_fails_everywhere(source: stores.Registry) -> None:
    """The failure of the source is that of every copy of the image."""
    places = [stores.Registry(name) for name in ("x", "y")]
    source.fail(
        "fetch", LARGE.descriptor.digest, errors.NotFound("no such blob")
    )
    results = run(copies(source, places))
    failed = [r for r in results if r.outcome is ImageOutcome.FAILED]
    assert all("no such blob" in str(r.error) for r in failed)


def test_wrong_content_is_refused_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No destination keeps a blob whose digest is wrong."""
    monkeypatch.setattr(stream, "_POLICY", RetryPolicy(base=0, few=2))
    source = stores.Registry("source", Lying)
    for name in "ab":
        source.fill(name, content.image(name, [LARGE]))
    places = [stores.Registry(name) for name in ("x", "y", "z")]
    results = run(copies(source, places))
    assert {r.outcome for r in results} == {ImageOutcome.FAILED}
    blob = LARGE.descriptor
    assert not any(p.store(n).exists(blob) for p in places for n in "ab")


def test_next_run_does_the_rest(source: stores.Registry) -> None:
    """Registries that have all of it are left as they are."""
    full, empty = stores.Registry("full"), stores.Registry("empty")
    run(copies(source, [full]))
    pushed = len(full.did("push"))
    results = run(copies(source, [full, empty]))
    assert whole(empty)
    assert len(full.did("push")) == pushed
    assert [str(r.outcome) for r in results] == ["present", "copied"] * 2


def test_workers_stop_with_their_parent() -> None:
    """Workers stop with those that they are a part of."""
    parent = Workers(2, keep_going=True)
    child = Workers(2, keep_going=True, parent=parent)
    parent.stop()
    assert child.stopped
