"""Asking registries for images without insisting."""

from __future__ import annotations

import threading

import pytest

from imageprep_client import errors
from imageprep_client.container.discovery.availability import Availability
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from tests.recorder import Recorder

FOUND = Descriptor.of(b"{}", "application/vnd.oci.image.manifest.v1+json")


class Registries:
    """Answers by the name of the registry and of the image."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, reference: Reference) -> Descriptor:
        with self._lock:
            self.asked.append(str(reference))
        if reference.registry.startswith("silent"):
            raise errors.Unreachable(f"{reference.registry}: refused")
        if "secret" in reference.repository:
            raise errors.AccessDenied(f"{reference}: access denied")
        if "missing" in reference.repository:
            raise errors.NotFound(f"{reference}: manifest unknown")
        return FOUND


def ask(*names: str) -> tuple[Availability, Registries, Recorder]:
    registries, observer = Registries(), Recorder()
    availability = Availability(registries, observer, 4)
    availability.ask(Reference.parse(name) for name in names)
    return availability, registries, observer


def test_found():
    """An image that is there is found, and asked for once."""
    availability, registries, _ = ask("r.io/a:1", "r.io/a:1", "r.io/b:1")
    assert availability.found(Reference.parse("r.io/a:1")) == FOUND
    assert sorted(registries.asked) == ["r.io/a:1", "r.io/b:1"]


def test_missing():
    """The registry's word that an image is not there is kept."""
    availability, _, observer = ask("r.io/missing:1", "r.io/b:1")
    missing = availability.missing(Reference.parse("r.io/missing:1"))
    assert isinstance(missing, errors.NotFound)
    assert availability.missing(Reference.parse("r.io/b:1")) is None
    assert not observer.warnings


@pytest.mark.parametrize("count", [1, 50])
def test_silent_registry_is_asked_once(count):
    """A registry that does not answer is asked once, with one warning."""
    names = [f"silent.io/i{n}:1" for n in range(count)]
    availability, registries, observer = ask(*names, "r.io/b:1")
    assert len([n for n in registries.asked if "silent" in n]) == 1
    assert observer.warnings == [
        "silent.io: its images are not checked: silent.io: refused"
    ]
    reference = Reference.parse(names[-1])
    assert availability.found(reference) is None
    assert availability.missing(reference) is None
    assert str(availability.unchecked(reference)) == "silent.io: refused"
    assert availability.found(Reference.parse("r.io/b:1")) == FOUND
    assert availability.unchecked(Reference.parse("r.io/b:1")) is None


@pytest.mark.parametrize(
    ("count", "told"), [(1, "one image is"), (2, "2 images are")]
)
def test_refused_images_do_not_silence_the_others(
    count: int, told: str
) -> None:
    """That one image is not for us says nothing about the others."""
    names = [f"r.io/secret{n}:1" for n in range(count)]
    availability, _, observer = ask(*names, "r.io/a:1", "r.io/b:1")
    assert availability.found(Reference.parse("r.io/b:1")) == FOUND
    refused = availability.unchecked(Reference.parse(names[0]))
    assert isinstance(refused, errors.AccessDenied)
    assert len(observer.warnings) == 1
    assert observer.warnings[0].startswith(f"{told} not checked: r.io/secret")
