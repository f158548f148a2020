"""Services by the names of containers."""

from __future__ import annotations

import socket

import pytest

from imageprep_client.machine import names


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("compute1_utility_container-cbd7b73e", "utility"),
        ("infra1-utility-container-cbd7b73e", "utility"),
        ("c1_nova_api_os_compute_container-2a4faa2c", "nova_api_os_compute"),
        ("infra1-nova-api-container-2a4faa2c", "nova_api"),
        ("infra-01-nova-api-container-2a4faa2c", "nova_api"),
        ("rack-b-ctl-rabbit-mq-container-652f0bda", "rabbit_mq"),
        ("rack-b_rabbit_mq_container-652f0bda", "rabbit_mq"),
        ("rack-2-own-thing-container-652f0bda", "own_thing"),
        ("aio1-own-thing-container-652f0bda", "own_thing"),
        ("aio1_repo_container-754d214c", "repo"),
        ("ubuntu-xenial-amd64", ""),
        ("web", ""),
        ("infra1-utility-container-cbd7b73", ""),
    ],
)
def test_service(
    monkeypatch: pytest.MonkeyPatch, name: str, service: str
) -> None:
    """Old and new names, of hosts with and without dashes, say it."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert names.service(name) == service


def test_service_of_an_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inventory knows it, whatever the name is."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    name = "infra1-own-api-container-cbd7b73e"
    assert names.service(name, {"component": "nova-api"}) == "nova_api"
    variables = {"physical_host": "infra1-own"}
    assert names.service(name, variables) == "api"


def test_service_on_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the host that it runs on is taken off first."""
    monkeypatch.setattr(socket, "gethostname", lambda: "a-1-nova.site")
    assert names.service("a-1-nova-api-container-cbd7b73e") == "api"
