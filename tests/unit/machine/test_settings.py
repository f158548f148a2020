"""Settings of systemd-nspawn from a declaration."""

from __future__ import annotations

import pathlib

import pytest

from imageprep_client import errors
from imageprep_client.client.machine import settings
from imageprep_client.programs import systemd

WHOLE = """
private_users: no
networks:
  - br-mgmt
  - {host: br-storage, name: eth2}
binds:
  - /openstack/log
  - {source: "/openstack/a:b", target: /etc/keys, read_only: yes}
environment: {LANG: C.UTF-8, TITLE: "two words", NONE: ""}
limits: {memory: 4G, cpu: 150%, tasks: 4096}
exec: {Hostname: www, LimitNOFILE: 65536}
network: {Zone: osa}
"""


def render(
    directory: pathlib.Path, text: str, version: int = 255, name: str = "www"
) -> settings.SettingsFiles:
    """The settings of a declaration with this text."""
    path = directory / "settings.yaml"
    path.write_text(text)
    return settings.render(name, str(path), version)


def test_every_part_of_a_declaration(tmp_path: pathlib.Path) -> None:
    """Each part is in the file and section that systemd reads it from."""
    rendered = render(tmp_path, WHOLE)
    assert rendered.nspawn.partition("\n")[2] == (
        "[Exec]\nBoot=yes\nPrivateUsers=no\nEnvironment=LANG=C.UTF-8\n"
        'Environment="TITLE=two words"\nEnvironment=NONE=\n'
        "Hostname=www\nLimitNOFILE=65536\n"
        "\n[Files]\nBind=/openstack/log:/openstack/log\n"
        "BindReadOnly=/openstack/a\\:b:/etc/keys\n"
        "\n[Network]\nVirtualEthernet=no\nMACVLAN=br-mgmt\n"
        "MACVLAN=br-storage:eth2\nZone=osa\n"
    )
    assert rendered.drop_in.partition("\n")[2] == (
        "[Service]\nMemoryMax=4G\nCPUQuota=150%\nTasksMax=4096\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "virtual_ethernet: yes",
        "network: {Zone: osa}",
        "network: {Private: no}",
    ],
)
def test_network_that_is_declared(tmp_path: pathlib.Path, text: str) -> None:
    """A machine with a network of its own, or with that of the host."""
    assert "Private=yes" not in render(tmp_path, text).nspawn


def test_empty_declaration_says_what_the_unit_would_decide(
    tmp_path: pathlib.Path,
) -> None:
    """PrivateUsers and VirtualEthernet override the options of the unit, and
    the machine does not get the interfaces of the host.
    """
    rendered = render(tmp_path, "{}")
    assert "PrivateUsers=no\n" in rendered.nspawn
    assert "VirtualEthernet=no\nPrivate=yes\n" in rendered.nspawn
    assert not rendered.drop_in


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "expected a mapping, found a list"),
        ("nets: []", "nets: is none of: command, private_users"),
        ("networks: [br-management]", "mv-br-management is longer than 15"),
        ("networks: [sixteencharacter]", "is longer than 15 characters"),
        (
            "networks: [{host: a, name: sixteencharacter}]",
            "is longer than 15 characters",
        ),
        ("networks: [a, a]", "mv-a is the name of two interfaces"),
        (
            "networks: [{host: a, name: e}, {host: b, name: e}]",
            "networks[1]: e is the name of two interfaces, on a and b",
        ),
        ("networks: ['a b']", "is not a name of an interface"),
        ("networks: [{host: a, label: b}]", "is none of: host, name"),
        (
            "networks: [1.5.6, {name: a}]",
            "networks[1].host: expected a string, found nothing",
        ),
        ("binds: [../a]", "is not an absolute path"),
        ("binds: [/a/../b]", "is not an absolute path"),
        ("binds: [/a:/b]", "is a path with a colon"),
        ("binds: [/a, {source: /b, target: /a}]", "/a is bound twice"),
        ("binds: [{source: /a, read_only: 1}]", "expected a boolean"),
        ("binds: /a", "expected a list, found a string"),
        ("limits: {memory: lots}", "'lots' is not a value of MemoryMax"),
        ("limits: {ram: 1G}", "is none of: memory"),
        ("environment: {1A: b}", "is not the name of a variable"),
        ('environment: {A: "b\\nBoot=no"}', "has control characters"),
        ("command: ['a\\']", "has a backslash where"),
        ("exec: {Bot: yes}", "exec.Bot: is not known to systemd-nspawn"),
        ("exec: {Bind: /a}", "is a key of [Files]"),
        ("exec: {Boot: no}", "is already set by another key"),
        ("exec: {ResolvConf: maybe}", "'maybe' is none of: off"),
        ("private_users: many", "PrivateUsers: 'many' is none of"),
        ("network: {NamespacePath: /n}", "from systemd 259 on, not to 255"),
        ("exec: {RestrictAddressFamilies: x}", "from systemd 261 on"),
        ("private_users: managed", "'managed' is known from systemd 258 on"),
    ],
)
def test_unusable_declaration(
    tmp_path: pathlib.Path, text: str, problem: str
) -> None:
    """A mistake is one error with the file and the key."""
    with pytest.raises(errors.InvalidFile) as caught:
        render(tmp_path, text)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "settings.yaml"))


def test_interface_is_renamed_only_where_systemd_can(
    tmp_path: pathlib.Path,
) -> None:
    """Version 254 is the first one that takes a name."""
    text = "networks: [{host: br-mgmt, name: eth1}]"
    assert "MACVLAN=br-mgmt:eth1" in render(tmp_path, text, 254).nspawn
    with pytest.raises(errors.InvalidFile, match="needs systemd 254"):
        render(tmp_path, text, 252)


@pytest.mark.parametrize("name", ["", ".a", "a/b", "-a", "a" * 65, "a b"])
def test_unusable_name(tmp_path: pathlib.Path, name: str) -> None:
    """A name cannot lead to another file or be an option."""
    with pytest.raises(errors.InvalidArgument, match="name of a machine"):
        render(tmp_path, "{}", name=name)


def test_systemd_is_too_old(tmp_path: pathlib.Path) -> None:
    """Versions whose keys are not known are refused."""
    with pytest.raises(errors.InvalidArgument, match="systemd 251: not"):
        render(tmp_path, "{}", 251)


def test_numbers_as_they_are_written(tmp_path: pathlib.Path) -> None:
    """A variable is not 420 where 0644 is written."""
    rendered = render(tmp_path, "environment: {MODE: 0644, VERSION: 1.50}")
    assert "MODE=0644" in rendered.nspawn
    assert "VERSION=1.50" in rendered.nspawn


def test_settings_whose_unit_is_not_enabled(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files were written, so the failure of systemd is a partial one."""

    def enable(unit: str) -> None:
        raise systemd.SystemdError(f"{unit}: no such unit")

    monkeypatch.setattr(systemd, "enable", enable)
    with pytest.raises(errors.PartialFailure, match="not enabled") as told:
        settings.write(render(tmp_path, "{}"), tmp_path / "etc")
    assert "no such unit" in str(told.value.failures[0])
    assert (tmp_path / "etc/nspawn/www.nspawn").exists()


def test_write_replaces_both_files(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drop-in that has no limits now is removed."""
    enabled: list[str] = []
    monkeypatch.setattr(systemd, "enable", enabled.append)
    etc = tmp_path / "etc"
    unit = "systemd-nspawn@www.service"
    drop_in = etc / "system" / f"{unit}.d" / "50-image-prepare.conf"
    first = settings.write(render(tmp_path, WHOLE), etc)
    assert first == [str(etc / "nspawn" / "www.nspawn"), str(drop_in)]
    assert "MemoryMax=4G" in drop_in.read_text()
    second = settings.write(render(tmp_path, "{}"), etc)
    assert second == first[:1]
    assert not drop_in.exists()
    assert enabled == [unit, unit]
