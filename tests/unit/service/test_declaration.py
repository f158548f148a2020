"""Declarations: what is read, and each mistake with its file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.service import declaration

_IMAGE = "registry.example.com/nova:1"


def parse(**service: Any) -> declaration.Service:
    """A declaration of one service, with an image unless it has one."""
    data = {"services": {"one": {"image": _IMAGE, **service}}}
    return declaration.parse(data, "d.yaml").services["one"]


@pytest.mark.parametrize(
    ("service", "told"),
    [
        ({"imagine": 1}, "imagine: unknown key"),
        ({"image": ""}, "image: '': no registry"),
        ({"parameter": "X"}, ": has both an image and a parameter"),
        ({"image": "UPPER/case:1"}, "image: invalid"),
        ({"privileged": "yes"}, "privileged: expected a boolean"),
        ({"volumes": "x"}, "volumes: expected source:/target"),
        ({"volumes": ["/a:b"]}, r"volumes\[0\]: expected source:/target"),
        ({"restart": "sometimes"}, "restart: expected one of no, always"),
        ({"stop_timeout": -1}, "stop_timeout: expected a number from 0 on"),
        ({"memory": "much"}, "memory: expected a size"),
        ({"labels": ["x"]}, r"labels\[0\]: expected NAME=VALUE"),
        ({"environment": {"A B": "c"}}, "cannot be the name of a variable"),
        ({"environment": {"A": True}}, "environment.A: expected a string"),
        ({"env_from": {"A": {}}}, "env_from.A: names no parameter"),
        ({"env_from": {"A": {"param": "X"}}}, "env_from.A.param: unknown key"),
        ({"env_file": "x.env"}, "env_file: expected an absolute path"),
        ({"command": "run it"}, "command: expected a list"),
        ({"depends_on": ["two"]}, "depends_on: two: no such service"),
        ({"depends_on": ["one"]}, "depends_on: these depend on each other"),
        ({"health": {}}, "health: expected one of tcp, http and command"),
        ({"health": {"tcp": "x"}}, "health.tcp: expected HOST:PORT"),
        ({"health": {"tcp": "x:0"}}, "health.tcp: expected HOST:PORT"),
        ({"wait_for": {"http": "ftp://x"}}, "wait_for.http: expected a URL"),
        ({"health": {"tcp": "x:1", "interval": 0}}, "health.interval"),
        ({"health": {"tcp": "x:1", "interval": "1s"}}, "health.interval"),
        ({"health": {"tcp": "x:1", "interval": True}}, "health.interval"),
        ({"preflight": {"modules": ["../x"]}}, r"preflight.modules\[0\]"),
        ({"preflight": {"module": []}}, "preflight.module: unknown key"),
        ({"preflight": {"ports": [0]}}, r"preflight.ports\[0\]: expected a"),
        ({"network": "container:one"}, "depends_on: these depend on each"),
        ({"volumes_from": ["one:ro"]}, "depends_on: these depend on each"),
        ({"podman_args": ["--name=x"]}, r"podman_args\[0\]: --name cannot"),
        ({"podman_args": ["x"]}, r"podman_args\[0\]: is no option"),
        ({"podman_args": ["--a=b", "x"]}, r"podman_args\[1\]: is no option"),
        ({"podman_args": ["--a", "x", "y"]}, r"podman_args\[2\]: is no opt"),
        ({"devices": ["kvm"]}, r"devices\[0\]: expected a path"),
        ({"user": "a\nb"}, "user: has a line break"),
    ],
)
def test_mistake(service: dict[str, Any], told: str) -> None:
    """A mistake is one line with the file and the key."""
    with pytest.raises(
        errors.InvalidFile, match=rf"services\.one\.?{told}|{told}"
    ) as info:
        parse(**service)
    assert str(info.value).startswith("d.yaml: services.one")
    assert "\n" not in str(info.value)


def test_no_image() -> None:
    """A service without an image is refused."""
    with pytest.raises(errors.InvalidFile, match=r"services\.one: has no im"):
        declaration.parse({"services": {"one": {"pid": "host"}}}, "d.yaml")


def test_name_of_a_kept_container() -> None:
    """A name that kept containers have is refused."""
    data = {"services": {"image-prepare.x.1": {"image": _IMAGE}}}
    with pytest.raises(errors.InvalidFile, match="the name of a service"):
        declaration.parse(data, "d.yaml")


def test_round_trip() -> None:
    """A written declaration is read again as it was."""
    service = parse(
        command=["/bin/x", "-y", 3],
        privileged=True,
        network="host",
        user=42436,
        volumes=["/a:/b:ro", "named:/c"],
        labels={"k": "v"},
        environment={"A": 1, "B": "multi\nline"},
        env_from={"C": {"parameter": "RpcPassword"}},
        survivors=["qemu-*"],
        preflight={"modules": ["kvm"], "ports": [8774]},
        wait_for={"tcp": "[::1]:5672", "retries": 3},
        health={"command": ["true"], "interval": 0.5},
        podman_args=["--init"],
    )
    text = declaration.render([service])
    parsed = declaration.parse(yaml.safe_load(text), "d.yaml")
    assert parsed.services["one"] == service


@pytest.mark.parametrize(
    "written", ["0644", "1.50", "12:30", "0x1F", "1_000", "42"]
)
def test_numbers_as_they_are_written(tmp_path: Path, written: str) -> None:
    """YAML 1.1 has other numbers for most of them; podman gets none."""
    path = tmp_path / "d.yaml"
    path.write_text(
        f"services: {{one: {{image: {_IMAGE}, environment: {{A: {written}}},"
        f" labels: {{a: {written}}}, command: [run, {written}]}}}}\n"
    )
    one = declaration.load(str(path)).services["one"]
    assert one.environment["A"] == written
    assert one.options["labels"] == {"a": written}
    assert one.command == ("run", written)


def test_seconds(tmp_path: Path) -> None:
    """Times are numbers, however they are written."""
    path = tmp_path / "d.yaml"
    path.write_text(
        f"services: {{one: {{image: {_IMAGE}, stop_timeout: 010, health:"
        " {tcp: 'x:1', interval: 1.50, start_period: .5}}}\n"
    )
    one = declaration.load(str(path)).services["one"]
    assert one.options["stop_timeout"] == 10
    assert one.health
    assert (one.health.interval, one.health.start_period) == (1.5, 0.5)


def test_order() -> None:
    """Services come after those that they depend on."""
    services = {
        "c": {"image": _IMAGE, "depends_on": ["b"]},
        "b": {"image": _IMAGE, "depends_on": ["a"]},
        "a": {"image": _IMAGE},
    }
    parsed = declaration.parse({"services": services}, "d.yaml")
    assert [one.name for one in parsed.select([])] == ["a", "b", "c"]
    assert [one.name for one in parsed.select(["c", "a"])] == ["a", "c"]
    assert parsed.requirements("c") == {"a", "b"}


def test_empty_file(tmp_path: Path) -> None:
    """A file without services is refused."""
    path = tmp_path / "d.yaml"
    path.write_text("services: {}\n")
    with pytest.raises(errors.InvalidFile, match="no services"):
        declaration.load(str(path))
