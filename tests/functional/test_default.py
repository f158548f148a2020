"""``openstack image-prepare default``."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import pytest
import yaml

from imageprep_client.client import releases
from tests.conftest import Golden
from tests.functional import base

DOCUMENTED = {
    "set": {
        "ceph_image": "daemon",
        "ceph_namespace": "docker.io/ceph",
        "ceph_tag": "v4.0.0-stable-4.0-nautilus-centos-7-x86_64",
        "name_prefix": "centos-binary-",
        "name_suffix": "",
        "namespace": "docker.io/tripleomaster",
        "neutron_driver": None,
        "tag": "current-tripleo",
    },
    "tag_from_label": "rdo_version",
}
COMMAND = ("image-prepare", "default")


def _defaults(text: str) -> dict[str, Any]:
    defaults: dict[str, Any] = yaml.safe_load(text)["parameter_defaults"]
    return defaults


def test_environment(openstack: base.OpenStack, golden: Golden) -> None:
    """The text of the environment, with its header."""
    result = openstack(*COMMAND)

    golden.check("default.yaml", result.stdout, normal=base.normal_environment)


def test_installed_program(openstack: base.OpenStack) -> None:
    """The program on the path prints the environment."""
    result = openstack.installed(*COMMAND)

    assert _defaults(result.stdout) == {"ContainerImagePrepare": [DOCUMENTED]}


@pytest.mark.parametrize(
    "release",
    ["rocky", "stein", "train", "ussuri", "victoria", "wallaby", "zed"],
)
def test_each_release(openstack: base.OpenStack, release: str) -> None:
    """Each release from rocky on has a default with its namespace."""
    result = openstack(*COMMAND, "--release", release)

    (entry,) = _defaults(result.stdout)["ContainerImagePrepare"]
    assert entry["set"]["namespace"]


def test_master_is_the_default(openstack: base.OpenStack) -> None:
    """`--release master` is what no `--release` gives."""
    named = openstack(*COMMAND, "--release", "master")

    assert _defaults(named.stdout) == _defaults(openstack(*COMMAND).stdout)


def test_local_push_destination(openstack: base.OpenStack) -> None:
    """Each entry copies its images to the undercloud."""
    result = openstack(*COMMAND, "--local-push-destination")

    assert _defaults(result.stdout) == {
        "ContainerImagePrepare": [{**DOCUMENTED, "push_destination": True}]
    }


def test_registry_login(openstack: base.OpenStack) -> None:
    """The login is asked for; a note says that it needs credentials."""
    result = openstack(
        *COMMAND,
        "--enable-registry-login",
        stderr="note: [^\n]*ContainerImageRegistryCredentials[^\n]*",
    )

    assert _defaults(result.stdout) == {
        "ContainerImagePrepare": [DOCUMENTED],
        "ContainerImageRegistryLogin": True,
    }


def test_login_with_local_destination(openstack: base.OpenStack) -> None:
    """Both options together are warned about."""
    result = openstack(
        *COMMAND,
        "--enable-registry-login",
        "--local-push-destination",
        stderr="WARNING: [^\n]*--local-push-destination[^\n]*"
        "--enable-registry-login[^\n]*\nnote: [^\n]*",
    )

    assert set(_defaults(result.stdout)) == {
        "ContainerImagePrepare",
        "ContainerImageRegistryLogin",
    }


def test_header(openstack: base.OpenStack) -> None:
    """The comments above say when, in UTC, and by which command."""
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    made, command, *_ = openstack(
        *COMMAND, "--local-push-destination"
    ).stdout.splitlines()

    match = re.fullmatch(r"# Generated on (\S+) by:", made)
    assert match
    time = datetime.datetime.fromisoformat(match[1])
    assert before <= time <= datetime.datetime.now(datetime.UTC)
    assert command == (
        "# openstack image-prepare default --local-push-destination"
    )


def test_header_without_passwords(openstack: base.OpenStack) -> None:
    """A password on the command line stays out of the file."""
    result = openstack("--os-password", "pass word", *COMMAND)

    assert "# openstack --os-password *** image-prepare" in result.stdout
    assert "pass word" not in result.stdout


def test_output_file(openstack: base.OpenStack) -> None:
    """The file has what is printed."""
    result = openstack(*COMMAND, "--output-env-file", "out.yaml")

    assert (openstack.home / "out.yaml").read_text() == result.stdout


def test_report(openstack: base.OpenStack) -> None:
    """The report names the release and the file."""
    words = ("--output-env-file", "out.yaml", "--report", "report.json")
    openstack(*COMMAND, *words)

    fields = json.loads((openstack.home / "report.json").read_text())
    assert (fields["release"], fields["output_env_file"]) == (
        "master",
        "out.yaml",
    )


def test_old_output_file(openstack: base.OpenStack) -> None:
    """A file that was there is kept as a backup."""
    (openstack.home / "out.yaml").write_text("old")

    openstack(*COMMAND, "--output-env-file", "out.yaml")

    assert (openstack.home / "out.yaml.backup").read_text() == "old"


@pytest.mark.parametrize(
    ("words", "stderr"),
    [
        (
            ("--release", "queens"),
            "queens: this release has no default[^\n]*\nhint: [^\n]*",
        ),
        (
            ("--release", "oslo"),
            "'oslo': no such release\nhint: one of queens, [^\n]*",
        ),
        (
            ("--output-env-file", "no/such/file"),
            "no/such/file: no such directory: [^\n]*/home/no/such\n"
            "hint: create the directory first",
        ),
        (("--output-env-file", "."), r"\.: is a directory\nhint: [^\n]*"),
        (
            ("--output-env-file", "line\nbreak/x"),
            r"line\\nbreak/x: no such directory: [^\n]*\nhint: [^\n]*",
        ),
    ],
)
def test_bad_input(
    openstack: base.OpenStack, words: tuple[str, ...], stderr: str
) -> None:
    """Bad input is one clear line with a hint, exit 2, nothing printed."""
    result = openstack(*COMMAND, *words, status=2, stderr=stderr)

    assert not result.stdout
    assert not [*openstack.home.glob("*")]


def test_errors_when_quiet(openstack: base.OpenStack) -> None:
    """`--quiet` does not hide why nothing was done."""
    openstack(
        "--quiet",
        *COMMAND,
        "--release",
        "queens",
        status=2,
        stderr="queens: this release has no default.*",
    )


def test_errors_when_debugging(openstack: base.OpenStack) -> None:
    """With `--debug` the traceback is there and the status is the same."""
    result = openstack(
        "--debug", *COMMAND, "--release", "queens", status=2, stderr=".*"
    )

    assert "Traceback" in result.stderr
    assert "\nhint: give one" in result.stderr


def test_interrupt(
    openstack: base.OpenStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the command with status 130 and no traceback."""

    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(releases, "environment", interrupted)

    openstack(*COMMAND, status=130, stderr="stopped; what was not .*")
