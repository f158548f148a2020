"""The ``service`` commands as users call them, with real podman."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests import servers
from tests.functional import base
from tests.podman_host import PodmanHost, answer, service

pytestmark = pytest.mark.needs_root

SERVICE = ("image-prepare", "service")


@pytest.fixture
def openstack(tmp_path: Path, podman_host: PodmanHost) -> base.OpenStack:
    """The ``openstack`` command with this podman."""
    return base.OpenStack(tmp_path / "home", **podman_host.environment)


def declare(home: Path, **services: object) -> None:
    """Write the declaration d.yaml, and the environment e.yaml."""
    path = home / "d.yaml"
    path.write_text(yaml.safe_dump({"services": services}))
    (home / "e.yaml").write_text(
        "parameter_defaults:\n  RpcPassword: Zz9Secret\n"
    )


def test_life_of_a_service(
    openstack: base.OpenStack, images: list[str]
) -> None:
    """A service is started, upgraded, looked at, rolled back and stopped."""
    old, new, _ = images
    port = servers.free_port()
    more = {"env_from": {"SECRET": {"parameter": "RpcPassword"}}}
    given = ("--declaration", "d.yaml", "-e", "e.yaml")
    quick = ("--min-healthy", "0.1")
    declare(openstack.home, one=service(old, port, **more))
    openstack(*SERVICE, "start", *given)
    assert answer(port) == "1 Zz9Secret"
    declare(openstack.home, one=service(new, port, **more))
    (row,) = openstack.json(*SERVICE, "upgrade", *given, "--dry-run")
    assert (row["Action"], row["Reason"]) == ("replace", "another image")
    assert answer(port) == "1 Zz9Secret"
    more_words = (*quick, "--report", "report.json")
    done = openstack(*SERVICE, "upgrade", *given, *more_words, stderr="(?s).*")
    text = (openstack.home / "report.json").read_text()
    assert "Zz9" not in text
    (told,) = json.loads(text)["services"]
    assert (told["service"], told["action"]) == ("one", "replace")
    assert "1 service replaced" in done.summary
    assert answer(port) == "2 Zz9Secret"
    (row,) = openstack.json(*SERVICE, "list")
    assert (row["State"], row["Owner"]) == ("running", "podman")
    assert "Health" not in openstack(*SERVICE, "list").stdout
    assert "Health" in openstack(*SERVICE, "list", "--long").stdout
    assert "Reason" not in openstack(*SERVICE, "history").stdout
    assert "Reason" in openstack(*SERVICE, "history", "--long").stdout
    shown = openstack.json(*SERVICE, "show", "one")
    assert shown["alive"]
    assert shown["generations"] == "1"
    openstack(*SERVICE, "rollback", "one", *quick, stderr="(?s).*")
    assert answer(port) == "1 Zz9Secret"
    history = openstack.json(*SERVICE, "history")
    assert [one["Action"] for one in history] == ["rollback", "upgrade"]
    openstack(*SERVICE, "stop")
    (row,) = openstack.json(*SERVICE, "list")
    assert row["Alive"] == "no"
    assert openstack.json(*SERVICE, "recover") == []


def test_failed_upgrade(openstack: base.OpenStack, images: list[str]) -> None:
    """An upgrade that was reverted has status 1 and says why in one line."""
    port = servers.free_port()
    declare(openstack.home, one=service(images[0], port))
    openstack(*SERVICE, "start", "--declaration", "d.yaml")
    declare(openstack.home, one=service(images[2], port))
    openstack(
        *(*SERVICE, "upgrade", "--declaration", "d.yaml"),
        *("--healthy-deadline", "1", "--min-healthy", "0.1"),
        status=1,
        stderr=r"(?s).*one: not healthy within 1 s: http \S+: connection"
        r" refused; the old containers were restored: one",
    )
    assert answer(port) == "1"


def test_render_and_adopt(
    openstack: base.OpenStack, images: list[str]
) -> None:
    """A rendered service runs, and is adopted as it was declared."""
    port = servers.free_port()
    wanted = service(images[0], port)
    declare(openstack.home, one=wanted)
    given = ("--declaration", "d.yaml")
    told = openstack(*SERVICE, "render", *given).stdout
    assert told.startswith("podman create \\\n    --name=one \\\n")
    unit = openstack(*SERVICE, "render", *given, "--as", "quadlet").stdout
    path = openstack.home / "one.container"
    path.write_text(unit)
    openstack(*SERVICE, "start", *given)
    adopted = yaml.safe_load(openstack(*SERVICE, "adopt", "one").stdout)
    found = adopted["services"]["one"]
    assert found.pop("network") == [wanted.pop("network")]
    assert "@" in found.pop("image") or wanted.pop("image")
    assert found.items() <= {**wanted, "health": None}.items()
    text = openstack(*SERVICE, "adopt", "--from-quadlet", "one.container")
    assert yaml.safe_load(text.stdout)["services"]["one"]["restart"] == (
        "always"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show", "absent"), "absent: neither declared nor a container"),
        (("adopt", "absent"), "absent: no such container"),
        (("adopt",), "no container is named"),
        (("rollback", "absent"), "absent: no earlier container is kept"),
        (("upgrade",), "no declaration was applied on this node yet"),
        (("upgrade", "--declaration", "x.yaml"), "x.yaml: no such file"),
        (
            ("upgrade", "--min-healthy", "9", "--healthy-deadline", "9"),
            "--healthy-deadline 9: a service cannot have been healthy for 9 s",
        ),
        (
            ("render", "--declaration", "d.yaml"),
            "d.yaml: services.one.parameter: no environment sets",
        ),
    ],
)
def test_refused(
    openstack: base.OpenStack, words: tuple[str, ...], told: str
) -> None:
    """An impossible command is one line with status 2."""
    declare(openstack.home, one={"parameter": "ContainerNovaComputeImage"})
    openstack(*SERVICE, *words, status=2, stderr=rf"{told}.*(\nhint: .*)?")
