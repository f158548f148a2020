"""A registry that mounts only blobs of images, as Pulp does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imageprep_client.observer import ImageOutcome, Observer, Phase
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content, images, registry
from imageprep_client.testing.streams import put
from imageprep_client.transfer import engine
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.engine import CopyResult
from tests.recorder import Recorder

_IMAGES = images.overcloud(
    {f"ns/i{number:02}": ["tag"] for number in range(20)}, unique_bytes=400_000
)
#: Their layers are not small, so that they are looked for.
_LARGE = images.overcloud(
    {f"ns/i{number}": ["tag"] for number in range(6)}, unique_bytes=8_000_000
)
_NEEDED = len({(i.repository, b) for i in _IMAGES.images for b in i.blobs})
_SENT = r"uploads/[^?/]+\?.*digest="


def copied(
    source: registry.RegistryServer,
    target: registry.RegistryServer,
    keep_going: bool = False,
    wanted: images.ImageSet = _IMAGES,
    observer: Observer | None = None,
) -> list[CopyResult]:
    images.write(wanted.images, source.content.store)
    with RegistryClient() as client:
        copies = [
            Copy(
                name=image.repository,
                source=client.store(source.host, image.repository),
                reference="tag",
                destination=client.destination(target.host, image.repository),
                tag="tag",
            )
            for image in wanted.images
        ]
        return engine.copy_all(
            copies, observer=observer or Observer(), keep_going=keep_going
        )


@pytest.fixture
def target() -> Iterator[registry.RegistryServer]:
    behaviour = registry.Behaviour(mounts_of_images=True)
    with registry.RegistryServer(behaviour=behaviour) as server:
        yield server


@pytest.fixture
def source() -> Iterator[registry.RegistryServer]:
    with registry.RegistryServer() as server:
        yield server


def test_each_blob_is_sent_once(
    source: registry.RegistryServer, target: registry.RegistryServer
) -> None:
    """Shared layers are mounted when the first of their images is there."""
    recorder = Recorder()
    results = copied(source, target, observer=recorder)
    assert {r.outcome for r in results} == {ImageOutcome.COPIED}
    phases = [phase for phase, total in recorder.told("phase") if total]
    assert phases[-6:] == [Phase.BLOBS, Phase.MANIFESTS, Phase.TAGS] * 2
    assert len(phases) == len(recorder.told("phase"))
    sent = len(target.requests("PUT", _SENT))
    assert sent == len(_IMAGES.blobs) < _NEEDED
    assert sum(r.copied for r in results) == _IMAGES.unique_bytes
    for image in _IMAGES.images:
        assert target.content.store(image.repository).holds(image.descriptor)


def test_a_failed_image_holds_no_other_up(
    source: registry.RegistryServer, target: registry.RegistryServer
) -> None:
    """A layer that was to be mounted from it is sent."""
    target.fail("PUT", "/v2/ns/i00/manifests/", status=403, times=None)
    first, *others = copied(source, target, keep_going=True)
    assert first.outcome is ImageOutcome.FAILED
    assert {r.outcome for r in others} == {ImageOutcome.COPIED}


def test_images_that_wait_for_each_other(
    source: registry.RegistryServer, target: registry.RegistryServer
) -> None:
    """A blob is sent where the image that has it waits for another blob.

    The last image has an older version, and a layer that an interrupted run
    pushed.
    """
    first, last = _LARGE.images[0], _LARGE.images[-1]
    store = target.content.store(last.repository)
    put(store, content.image("older"), "tag")
    shared = next(b for b in last.blobs if b in first.blobs)
    with shared.open() as stream:
        store.push(shared.descriptor, stream)
    results = copied(source, target, wanted=_LARGE)
    assert {r.outcome for r in results} == {ImageOutcome.COPIED}
    # A layer that is mounted everywhere is sent once.
    assert len(target.requests("PUT", _SENT)) > len(_LARGE.blobs)


def test_small_blobs_are_not_looked_for(
    source: registry.RegistryServer, target: registry.RegistryServer
) -> None:
    """They are pushed, whatever HEAD says of them.

    Pulp says that it has the empty layer of docker, and lets no manifest name
    it before it is pushed.
    """
    image = content.image("newer")
    put(source.content.store("ns/name"), image, "tag")
    put(target.content.store("ns/name"), content.image("older"), "tag")
    size = {"Content-Length": str(image.parts[0].descriptor.size)}
    target.fail("HEAD", "/blobs/", status=200, headers=size, times=None)
    with RegistryClient() as client:
        engine.copy(
            client.store(source.host, "ns/name"),
            "tag",
            client.destination(target.host, "ns/name"),
            "tag",
            observer=Observer(),
        )
    assert target.content.store("ns/name").holds(image.descriptor)
    assert not target.requests("HEAD", "/blobs/")
