"""A password in the URL of Gerrit, with real git and a server that asks."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import local_storage as local_storages
from tests import role_run
from tests.git_server import GitServer, git_server
from tests.rpm_packages import Gerrit, python_project

PROJECT = "openstack/demo"
#: In no other process; and a URL cannot have it as it is.
SECRET = f"{secrets.token_hex(16)}:/@+% x"
WRONG = secrets.token_hex(16)


@dataclasses.dataclass
class Told:
    """The outcome of changes from a Gerrit with a password.

    :ivar failures: by their host; there is no image to change, so that all
        fails in the end.
    :ivar log: all that ansible has to say.
    :ivar kept: what git's own helper was given to keep.
    """

    server: GitServer
    failures: dict[str, str]
    log: str
    kept: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The role, run for the right password, a wrong one and none."""
    directory = tmp_path_factory.mktemp("gerrit")
    gerrit = Gerrit(directory / "gerrit")
    files = python_project("demo", "1.0", "demo")
    refspec = gerrit.change(PROJECT, 12345, files)
    log, home = directory / "log", directory / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    with (
        pytest.MonkeyPatch.context() as patch,
        local_storages.local_storage(directory / "storage"),
        git_server(gerrit.directory, "me@site", SECRET) as server,
    ):
        patch.delenv("GIT_ASKPASS", raising=False)
        patch.delenv("SSH_ASKPASS", raising=False)
        failures = role_run.run(
            directory / "run",
            {
                "right": _change(refspec, server.url()),
                "wrong": _change(refspec, server.url(WRONG)),
                "none": _change(refspec, f"http://{server.host}"),
            },
            {
                "ANSIBLE_LOG_PATH": str(log),
                "ANSIBLE_VERBOSITY": "3",
                "HOME": str(home),
            },
        )
        yield Told(server, failures, log.read_text(), home)


def _change(refspec: str, url: str) -> dict[str, Any]:
    return {
        "tasks": "dev_install.yml",
        "source_image": "localhost/none:1",
        "modified_append_tag": "-x",
        "gerrit_url": url,
        "refspecs": [{"project": PROJECT, "refspec": refspec}],
    }


def test_git_knows_it(told: Told) -> None:
    """The change is fetched; what fails is what comes after it."""
    assert "Install the projects in the image: " in told.failures["right"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("wrong", "fatal: Authentication failed for 'http://127"),
        ("none", "fatal: could not read Username for 'http://127"),
    ],
)
def test_server_refuses(told: Told, change: str, complaint: str) -> None:
    """The message of git is told, and nobody is asked."""
    assert f"Fetch the changes: {complaint}" in told.failures[change]


def test_command_lines(told: Told) -> None:
    """No program that runs while git fetches has it for all to see."""
    lines = told.server.command_lines
    assert any("remote-http" in line for line in lines)
    assert not [line for line in lines if _shows(line)]


def test_log(told: Told) -> None:
    """Ansible tells it nowhere, however much it is asked to tell."""
    assert "Ask for the changes" in told.log
    assert not _shows(told.log)
    assert not any(map(_shows, told.failures.values()))


def test_files(told: Told) -> None:
    """It is in no file, nor kept by a helper that the user has for others."""
    files = [path for path in told.kept.rglob("*") if path.is_file()]
    assert [path.name for path in files] == [".gitconfig"]


def _shows(text: str) -> bool:
    """Whether a text has one of the passwords, however encoded."""
    return SECRET[:32] in text or WRONG in text
