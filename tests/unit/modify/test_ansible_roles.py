"""Where roles are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.modify import ansible_roles

DEFAULT = ["/home/.ansible/roles", "/usr/share/ansible/roles"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory and, in it, a working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir(mode=0o755)
    return tmp_path


def places(home: Path, **environment: str) -> list[str]:
    found = ansible_roles.search_path(environment, home / "work").split(":")
    assert found[-1] == str(ansible_roles.SHIPPED)
    return found[:-1]


def test_default(home: Path) -> None:
    """Without configuration, ansible's own places; ours is the last."""
    assert places(home) == [
        f"{home}/.ansible/roles",
        "/usr/share/ansible/roles",
        "/etc/ansible/roles",
    ]


def test_environment(home: Path) -> None:
    """The variable decides; relative paths are those of here."""
    assert places(home, ANSIBLE_ROLES_PATH="/a:b:~/c") == [
        "/a",
        f"{home}/work/b",
        f"{home}/c",
    ]


def test_configuration_here(home: Path) -> None:
    """Paths in a file are relative to it."""
    (home / "work/ansible.cfg").write_text("[defaults]\nroles_path = a:/b\n")
    assert places(home) == [f"{home}/work/a", "/b"]


def test_configuration_of_everybody(home: Path) -> None:
    """A directory that everybody writes to configures nothing."""
    (home / "work/ansible.cfg").write_text("[defaults]\nroles_path = a\n")
    (home / ".ansible.cfg").write_text("[defaults]\nroles_path = /mine\n")
    (home / "work").chmod(0o777)
    assert places(home) == ["/mine"]


@pytest.mark.parametrize("name", ["etc/my.cfg", "etc"])
def test_configuration_by_name(home: Path, name: str) -> None:
    """A file, or the directory of an ansible.cfg."""
    (home / "etc").mkdir()
    for file in ("my.cfg", "ansible.cfg"):
        (home / "etc" / file).write_text("[defaults]\nroles_path = x\n")
    assert places(home, ANSIBLE_CONFIG=str(home / name)) == [f"{home}/etc/x"]


@pytest.mark.parametrize(
    "text", ["", "[defaults]\n", "no = section\n", "\xff"]
)
def test_configuration_without_roles(home: Path, text: str) -> None:
    """Ansible's places; what is wrong with the file ansible says."""
    (home / "work/ansible.cfg").write_text(text, encoding="latin-1")
    assert places(home)[0] == f"{home}/.ansible/roles"


def check(home: Path, name: str, tasks_from: str = "") -> None:
    environment = {"ANSIBLE_ROLES_PATH": str(home)}
    ansible_roles.check(name, tasks_from, environment, home)


def test_check(home: Path) -> None:
    """A role that is there, with or without the ending of its tasks."""
    (home / "mine/tasks").mkdir(parents=True)
    (home / "mine/tasks/main.yml").touch()
    check(home, "mine")
    check(home, "mine", "main.yml")
    check(home, "mine", "main")


def test_check_of_collections(home: Path) -> None:
    """Ansible itself finds those."""
    check(home, "site.images.modify", "x.yml")


def test_no_role(home: Path) -> None:
    """All places are named."""
    with pytest.raises(errors.InvalidArgument, match="no ansible role 'x' in"):
        check(home, "x")


def test_no_tasks(home: Path) -> None:
    """The role is named, and where its tasks are."""
    (home / "mine/tasks").mkdir(parents=True)
    with pytest.raises(errors.InvalidArgument, match="no tasks 'x'") as caught:
        check(home, "mine", "x")
    assert str(home / "mine/tasks") in str(caught.value.hint)
