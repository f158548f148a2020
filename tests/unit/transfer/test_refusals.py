"""Destinations of which one repository refuses what comes."""

from __future__ import annotations

from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content, faults, images, registry
from imageprep_client.testing.streams import put
from imageprep_client.transfer import engine
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.engine import CopyResult

_NAMES = [f"ns/i{number}" for number in range(4)]
_IMAGES = images.overcloud(
    {name: ["tag"] for name in _NAMES}, unique_bytes=400_000
)


def copied(fault: faults.Fault, keep_going: bool = True) -> list[CopyResult]:
    """Copy the images to a registry with this fault."""
    with (
        registry.RegistryServer() as source,
        registry.RegistryServer() as target,
        RegistryClient() as client,
    ):
        images.write(_IMAGES.images, source.content.store)
        target.faults.add(fault)
        copies = [
            Copy(
                name=name,
                source=client.store(source.host, name),
                reference="tag",
                destination=client.store(target.host, name),
                tag="tag",
            )
            for name in _NAMES
        ]
        return engine.copy_all(
            copies, observer=Observer(), keep_going=keep_going
        )


def _refusing(path: str) -> faults.Fault:
    return faults.Fault("POST", path, status=403, times=None)


def test_other_images_get_their_blobs_elsewhere() -> None:
    """Only the images of the repository that refuses fail."""
    first, *others = copied(_refusing("/v2/ns/i0/"))
    assert first.outcome is ImageOutcome.FAILED
    assert "ns/i0" in str(first.error)
    assert {o.outcome for o in others} == {ImageOutcome.COPIED}


def test_without_keep_going_the_rest_is_left() -> None:
    """The first refusal ends the run; no other image is to blame."""
    first, *others = copied(_refusing("/v2/ns/i0/"), keep_going=False)
    assert first.outcome is ImageOutcome.FAILED
    assert {o.outcome for o in others} == {ImageOutcome.LEFT}


def test_a_registry_that_refuses_all_fails_all() -> None:
    """Each image has an error that names its own repository."""
    outcomes = copied(_refusing("/blobs/uploads/"))
    assert {o.outcome for o in outcomes} == {ImageOutcome.FAILED}
    for name, outcome in zip(_NAMES, outcomes, strict=True):
        assert f"{name}@" in str(outcome.error)


def test_an_image_that_fails_takes_no_blob_from_others() -> None:
    """A blob is mounted into a repository though the first image there that
    needs it has failed by then; the registry would take a manifest without it.
    """
    shared, lost = content.blob("shared"), content.blob("lost")
    wanted = {
        ("ns/a", "1"): content.image("a", [shared]),
        ("ns/b", "1"): content.image("b1", [shared, lost]),
        ("ns/b", "2"): content.image("b2", [shared]),
    }
    lacking = faults.Fault(path=lost.descriptor.digest, status=404, times=None)
    behaviour = registry.Behaviour(checks_parts=False)
    with (
        registry.RegistryServer(faults=[lacking]) as source,
        registry.RegistryServer(behaviour=behaviour) as target,
        RegistryClient() as client,
    ):
        for (name, tag), image in wanted.items():
            put(source.content.store(name), image, tag)
        results = engine.copy_all(
            [
                Copy(
                    name=f"{name}:{tag}",
                    source=client.store(source.host, name),
                    reference=tag,
                    destination=client.store(target.host, name),
                    tag=tag,
                )
                for name, tag in wanted
            ],
            observer=Observer(),
            keep_going=True,
            concurrency=1,
        )
        assert [result.outcome for result in results] == [
            ImageOutcome.COPIED,
            ImageOutcome.FAILED,
            ImageOutcome.COPIED,
        ]
        stored = target.content.store("ns/b")
        assert stored.holds(wanted["ns/b", "2"].descriptor)
