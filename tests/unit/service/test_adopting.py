"""Containers as services."""

from __future__ import annotations

import pytest

from imageprep_client.programs.podman import InspectedContainer
from imageprep_client.service.declaration import Service
from imageprep_client.service.definitions import adopting, commandline

VOLUME = 64 * "a"


@pytest.mark.parametrize(
    ("volumes", "words", "expected"),
    [
        ((), (), (f"{VOLUME}:/data",)),
        (("/data",), (), (f"{VOLUME}:/data",)),
        (("/data/",), (), (f"{VOLUME}:/data/",)),
        (("named:/data/",), (), ("named:/data/",)),
        ((), ("--workdir=/data/x",), (f"{VOLUME}:/data",)),
        (
            *((), ("--mount=type=bind,src=/x,target=/database",)),
            (f"{VOLUME}:/data",),
        ),
        ((), ("--mount=type=bind,src=/x,target=/data",), ()),
        ((), ("--mount=type=tmpfs,dst=/data/",), ()),
    ],
)
def test_anonymous_volumes(
    volumes: tuple[str, ...], words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """A restored container has its own, unless something else is there."""
    service = Service(
        name="api", options={"volumes": volumes}, podman_args=words
    )
    mounts = [{"Destination": "/data", "Name": VOLUME}]
    found = adopting.with_volumes(
        service, InspectedContainer({"Mounts": mounts})
    )
    assert found.options["volumes"] == expected
    if not words and volumes:
        assert adopting.same_container(service, found)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("s,type=env,target=T", ["T"]),
        ("type=env,source=s,target=T", ["T"]),
        ("type=env,s", ["s"]),
        ("source=s,type=env", ["s"]),
        ("s,target=/run/s", []),
        ("s", []),
    ],
)
def test_secrets(secret: str, expected: list[str]) -> None:
    """Words of a secret may have any order; some are no variables."""
    words = ("podman", "run", "--secret", secret, "image")
    assert list(commandline.secret_variables(words)) == expected
