"""Where roles are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.modify import ansible_roles
from imageprep_client.modify.base import InvalidVariable

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


@pytest.mark.parametrize("name", ["x", "x.yml", "author.x"])
def test_no_role(home: Path, name: str) -> None:
    """All places are named."""
    with pytest.raises(
        errors.InvalidArgument, match=f"no ansible role '{name}' in"
    ):
        check(home, name)


def test_no_tasks(home: Path) -> None:
    """The error names the role and its tasks."""
    (home / "mine/tasks").mkdir(parents=True)
    (home / "mine/tasks/y.yml").touch()
    with pytest.raises(errors.InvalidArgument, match="no tasks 'x'") as caught:
        check(home, "mine", "x")
    assert "y.yml" in str(caught.value.hint)


class TestVariables:
    """The variables of the shipped role."""

    @pytest.fixture
    def rpms(self, tmp_path: Path) -> Path:
        """A directory with a package."""
        directory = tmp_path / "rpms"
        directory.mkdir()
        (directory / "a.rpm").touch()
        return directory

    def test_good(self, rpms: Path) -> None:
        """Directories that exist are accepted, for every part of the role."""
        (rpms / "Dockerfile").touch()
        for variables in (
            {"tasks_from": "rpm_install.yml", "rpms_path": str(rpms)},
            {"tasks_from": "rpm_install", "rpms_path": str(rpms)},
            {"tasks_from": "yum_update.yml"},
            {"tasks_from": "yum_update.yml", "yum_cache": str(rpms)},
            {"tasks_from": "modify_image.yml", "modify_dir_path": str(rpms)},
            {"tasks_from": "dev_install.yml", "python_dir": str(rpms)},
            {"tasks_from": "dev_install.yml", "python_dir": [str(rpms)]},
        ):
            ansible_roles.check_variables(variables)

    @pytest.mark.parametrize("name", ["update_repos", "Update_repo"])
    def test_mistyped(self, name: str) -> None:
        """A name like that of a variable is refused; others are the user's."""
        variables = {"tasks_from": "yum_update.yml", "update": "x", "site": 1}
        ansible_roles.check_variables(variables)
        with pytest.raises(InvalidVariable, match="no such var") as caught:
            ansible_roles.check_variables({**variables, name: "x"})
        assert caught.value.name == name
        assert caught.value.hint == "did you mean update_repo?"

    def test_template(self) -> None:
        """A value with a template is left to ansible."""
        ansible_roles.check_variables(
            {"tasks_from": "rpm_install.yml", "rpms_path": "{{ here }}/rpms"}
        )

    def test_absent_cache(self) -> None:
        """The directory that the role fills has to be made by the user."""
        variables = {"tasks_from": "yum_update.yml", "yum_cache": "/no/such"}
        with pytest.raises(InvalidVariable) as caught:
            ansible_roles.check_variables(variables)
        assert caught.value.hint == "create the directory first"

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("rpms_path", "/no/such", "/no/such: no such directory"),
            ("rpms_path", "relative", "relative: not an absolute path"),
            ("rpms_path", 5, "5 is not a path"),
            ("rpms_path", None, "rpm_install.yml requires this variable"),
            ("rpms_path", "HOME/empty", r"no \*.rpm in this directory"),
            ("rpms_path", "HOME/a:b", "a path with a colon"),
            ("rpms_path", "HOME/file", "no such directory"),
            ("modify_dir_path", "HOME/empty", "no Dockerfile in this dir"),
            ("python_dir", ["HOME/empty", "/no/such"], "/no/such: no such"),
            ("yum_repos_dir_path", "/no/such", "no such directory"),
            ("tasks_from", "names.yml", "'names.yml' is not one of dev_in"),
            ("tasks_from", "", "'' is not one of dev_install.yml, "),
        ],
    )
    def test_bad(
        self, tmp_path: Path, name: str, value: object, message: str
    ) -> None:
        """The variable is named with the reason."""
        (tmp_path / "empty").mkdir()
        (tmp_path / "a:b").mkdir()
        (tmp_path / "file").touch()
        if isinstance(value, str):
            value = value.replace("HOME", str(tmp_path))
        if isinstance(value, list):
            value = [part.replace("HOME", str(tmp_path)) for part in value]
        tasks = {
            "rpms_path": "rpm_install.yml",
            "modify_dir_path": "modify_image.yml",
            "python_dir": "dev_install.yml",
        }.get(name, "yum_update.yml")
        with pytest.raises(InvalidVariable, match=message) as caught:
            ansible_roles.check_variables({"tasks_from": tasks, name: value})
        assert caught.value.name == name
