"""Services in pods of podman."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.client.service import ServiceInputs, UpgradeOptions
from tests.podman_host import QUICK, PodmanHost, answer, service

pytestmark = pytest.mark.needs_root


@pytest.fixture
def infra(podman_host: PodmanHost) -> Iterator[str]:
    """An image for the infra containers of pods."""
    buildah = podman_host.storage.buildah
    container = buildah.run("from", podman_host.idle("idle", "1")).strip()
    entrypoint = '--entrypoint=["/bin/sh", "/serve"]'
    buildah.run("config", entrypoint, container)
    buildah.run("commit", "--rm", container, "localhost/infra")
    configuration = podman_host.directory / "containers.conf"
    text = configuration.read_text()
    configuration.write_text(f'{text}infra_image = "localhost/infra"\n')
    yield "localhost/infra"
    configuration.write_text(text)


def test_command_line(
    podman_host: PodmanHost, images: list[str], port: int, infra: str
) -> None:
    """A container of ``podman run --pod`` is replaced within its pod."""
    podman_host.podman(
        *("pod", "create", "--name=pod", "--network=host"),
        f"--infra-image={infra}",
    )
    podman_host.podman(
        *("run", "--detach", "--pod=pod", "--name=one", f"--env=PORT={port}"),
        *(images[0], "/bin/sh", "/serve"),
    )
    pod = podman_host.inspect("one")["Pod"]
    adopted = podman_host.node().adopt(["one"]).declaration
    path = podman_host.directory / "new.yaml"
    path.write_text(adopted.replace(images[0], images[1]))
    node = podman_host.node()
    node.upgrade(ServiceInputs(declaration=str(path)), [], QUICK)
    assert (answer(port), podman_host.inspect("one")["Pod"]) == ("2", pod)
    podman_host.node().rollback(["one"], 0, QUICK)
    assert (answer(port), podman_host.inspect("one")["Pod"]) == ("1", pod)


def test_play_kube(
    podman_host: PodmanHost, images: list[str], port: int, infra: str
) -> None:
    """Containers that podman makes with their pod stay as they are."""
    container = {
        "name": "web",
        "image": images[0],
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "/serve"],
        "env": [{"name": "PORT", "value": str(port)}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pod"},
        "spec": {"hostNetwork": True, "containers": [container]},
    }
    path = podman_host.directory / "pod.yaml"
    path.write_text(yaml.safe_dump(pod))
    podman_host.podman("play", "kube", str(path))
    before = podman_host.states()
    assert any(name.endswith("-infra") for name in before)
    for name in before:
        told = f"{name}: podman made it together with its pod"
        with pytest.raises(errors.InvalidArgument, match=told):
            podman_host.node().adopt([name])
        wanted = podman_host.inputs({name: service(images[1], port)})
        for options in (UpgradeOptions(dry_run=True), UpgradeOptions()):
            with pytest.raises(errors.InvalidArgument, match=told):
                podman_host.node().upgrade(wanted, [], QUICK, options)
    assert podman_host.states() == before
    assert answer(port) == "1"
