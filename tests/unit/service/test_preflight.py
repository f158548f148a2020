"""Checks of the host before a service is touched."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.service import preflight
from imageprep_client.service.declaration import HostRequirements, Service


def service(*words: str, ports: tuple[int, ...] = ()) -> Service:
    """A service with these options of podman."""
    return Service(
        name="one", podman_args=words, preflight=HostRequirements(ports=ports)
    )


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket of this process that listens on one address."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    "words",
    [
        ("--publish={port}:80",),
        ("-p", "127.0.0.1:{port}:80/tcp"),
        ("-p0.0.0.0:{port}:80",),
        ("--publish", "{port}-{port}:80-80"),
    ],
)
def test_published_port(
    listener: socket.socket, words: tuple[str, ...]
) -> None:
    """A published port on which another process listens is named with it."""
    port = port_of(listener)
    given = [word.format(port=port) for word in words]
    with pytest.raises(
        errors.InvalidArgument, match=rf"one: .*{port} \(process {os.getpid()}"
    ):
        preflight.check_ports(service(*given), None)


@pytest.mark.parametrize(
    "word",
    [
        "-p127.0.0.2:{port}:80",
        "-p[::1]:{port}:80",
        "-p{port}:80/udp",
        "-p{port}",
        "-p::{port}",
    ],
)
def test_other_address(listener: socket.socket, word: str) -> None:
    """A listener on another address or protocol is in nobody's way."""
    text = word.format(port=port_of(listener))
    preflight.check_ports(service(text), None)


def test_ipv6_address() -> None:
    """An address of IPv6 is compared as a whole."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = port_of(listener)
        with pytest.raises(errors.InvalidArgument, match=str(port)):
            preflight.check_ports(service(f"-p[::1]:{port}:80"), None)
        preflight.check_ports(service(f"-p[::2]:{port}:80"), None)


def test_port_of_the_host(listener: socket.socket) -> None:
    """So is a port that the declaration names."""
    port = port_of(listener)
    with pytest.raises(errors.InvalidArgument, match=f"needs: {port} "):
        preflight.check_ports(service(ports=(port,)), None)
    listener.close()
    preflight.check_ports(service(ports=(port,)), None)


@pytest.mark.parametrize(
    ("requirements", "told", "hint"),
    [
        (
            {"modules": ("no_such", "tcp-none")},
            "one: kernel modules are not loaded: no_such, tcp-none",
            "modprobe --all no_such tcp-none",
        ),
        (
            {"inactive_units": ("libvirtd.service", "off.service")},
            "one: units that must not run are active: libvirtd.service",
            "systemctl disable --now libvirtd.service",
        ),
    ],
)
def test_host(requirements: dict[str, Any], told: str, hint: str) -> None:
    """Problems of the host are named with the remedy."""
    with pytest.raises(errors.InvalidArgument) as info:
        preflight.check_host(
            "one",
            HostRequirements(**requirements),
            lambda unit: unit == "libvirtd.service",
        )
    assert str(info.value) == told
    assert info.value.hint is not None
    assert info.value.hint.endswith(hint)
