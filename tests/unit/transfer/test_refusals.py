"""Destinations of which one repository refuses what comes."""

from __future__ import annotations

from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import faults, images, registry
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


def test_other_images_get_their_blobs_elsewhere() -> None:
    """Only the images of the repository that refuses fail."""
    refusing = faults.Fault(
        path="/v2/ns/i0/", method="POST", status=403, times=None
    )
    first, *others = copied(refusing)
    assert first.outcome is ImageOutcome.FAILED
    assert "ns/i0" in str(first.error)
    assert {o.outcome for o in others} == {ImageOutcome.COPIED}


def test_without_keep_going_the_rest_is_left() -> None:
    """The first refusal ends the run; no other image is to blame."""
    refusing = faults.Fault(
        path="/v2/ns/i0/", method="POST", status=403, times=None
    )
    first, *others = copied(refusing, keep_going=False)
    assert first.outcome is ImageOutcome.FAILED
    assert {o.outcome for o in others} == {ImageOutcome.LEFT}


def test_a_registry_that_refuses_all_fails_all() -> None:
    """Each image has an error that names its own repository."""
    refusing = faults.Fault(
        path="/blobs/uploads/", method="POST", status=403, times=None
    )
    outcomes = copied(refusing)
    assert {o.outcome for o in outcomes} == {ImageOutcome.FAILED}
    for name, outcome in zip(_NAMES, outcomes, strict=True):
        assert f"{name}@" in str(outcome.error)
