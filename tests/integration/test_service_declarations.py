"""The declaration that a node keeps."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from imageprep_client.client.service import ServiceInputs
from imageprep_client.observer import Observer
from imageprep_client.service.journal import StateDirectory
from tests import servers
from tests.podman_host import QUICK, PodmanHost, service

pytestmark = pytest.mark.needs_root


def test_read_once(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A declaration that can only be read once, as <(program), is kept."""
    declared = {"services": {"one": service(images[0], port)}}
    reader, writer = os.pipe()
    os.write(writer, yaml.safe_dump(declared).encode())
    os.close(writer)
    inputs = ServiceInputs(declaration=f"/dev/fd/{reader}")
    podman_host.node().start(inputs, [], QUICK)
    os.close(reader)
    (status,) = podman_host.node().statuses()
    assert (status.name, status.alive) == ("one", True)


class Waiting(Observer):
    """Is told that a command waits for another one."""

    def __init__(self) -> None:
        self.began = threading.Event()

    def waiting(self, what: str) -> None:
        self.began.set()


def test_of_the_command_before(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A command that waits for another uses what the other has declared."""
    one = service(images[0], port)
    two = service(images[0], servers.free_port())
    podman_host.start({"two": two})
    podman_host.start({"one": one})
    both = Path(podman_host.declare({"one": one, "two": two}))
    (lock,) = (p for p in podman_host.state_files() if p.name == "lock")
    state = StateDirectory(lock.parent)
    observer = Waiting()
    with ThreadPoolExecutor() as pool:
        with state.locked(lambda who: None):
            node = podman_host.node(observer)
            stopped = pool.submit(node.stop, None, [])
            assert observer.began.wait(60)
            state.keep_declaration(both.read_bytes())
        assert {one.service for one in stopped.result()} == {"one", "two"}
    assert podman_host.running() == set()
