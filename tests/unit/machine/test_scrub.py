"""The list of what an export leaves out and a replacement carries over."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.machine import scrub
from imageprep_client.machine.scrub import Category
from tests import machines

#: Secrets of a deployment, each in a file of its own.
SECRETS = (
    "etc/keystone/fernet-keys/0",
    "etc/keystone/credential-keys/1",
    "etc/keystone/keystone.conf",
    "etc/nova/nova.conf",
    "etc/neutron/metadata_agent.ini",
    "etc/neutron/plugins/ml2/ml2_conf.ini",
    "etc/mysql/debian.cnf",
    "etc/mysql/conf.d/cluster.cnf",
    "etc/rabbitmq/rabbitmq.config",
    "etc/ssl/private/site.key",
    "etc/ceph/ceph.client.cinder.keyring",
    "etc/haproxy/haproxy.cfg",
    "etc/openstack/clouds.yaml",
    "root/.my.cnf",
    "root/.ssh/id_rsa",
    "root/openrc",
    "home/operator/.bash_history",
    "var/lib/nova/.ssh/id_rsa",
    "var/lib/rabbitmq/.erlang.cookie",
)


@pytest.mark.parametrize("path", SECRETS)
def test_secret(tmp_path: Path, path: str) -> None:
    """It, or a directory above it, is on the list as a secret."""
    machines.tree(tmp_path, [path])
    (scrubbed,) = scrub.scan(ReadableDirectory(tmp_path))
    assert f"{path}/".startswith(f"{scrubbed.path}/")
    assert scrubbed.category is Category.SECRET
    assert scrubbed.category.is_carried


@pytest.mark.parametrize(
    "path",
    [
        "etc/nova/rootwrap.conf",
        "etc/nova/api-paste.ini",
        "etc/nova/policy.yaml",
        "etc/passwd",
        "etc/systemd/system/nova.service",
        "usr/lib/nova/nova.conf",
        "srv/etc/nova/nova.conf",
        "srv/var/log/x",
    ],
)
def test_ordinary_file(tmp_path: Path, path: str) -> None:
    """Files without secrets, or in other places, stay in an export."""
    machines.tree(tmp_path, [path])
    assert not scrub.scan(ReadableDirectory(tmp_path))


def test_links_are_neither_followed_nor_left_out(tmp_path: Path) -> None:
    """A root may be hostile: nothing outside of it is looked at."""
    machines.tree(tmp_path, ["outside/nova.conf"])
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/nova").symlink_to(tmp_path / "outside")
    (root / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    (root / "var").mkdir()
    (root / "var/log").symlink_to("/var/log")
    assert not scrub.scan(ReadableDirectory(root))


def test_volatile_files_are_not_carried(tmp_path: Path) -> None:
    """Caches and temporary files are made again."""
    machines.tree(tmp_path, ["tmp/x", "root/.cache/y"])
    paths = scrub.scan(ReadableDirectory(tmp_path))
    assert [path.path for path in paths] == ["root/.cache", "tmp"]
    assert not any(path.category.is_carried for path in paths)


def test_passwords_are_made_invalid() -> None:
    """Each user keeps a line, and nobody can log in with a password."""
    shadow = (
        b"root:$6$salt$hash:19000:0:99999:7:::\n"
        b"daemon:*:19000::::::\n"
        b"locked:!$6$salt$hash:19000::::::\n"
        b"open::19000::::::\n"
    )
    assert scrub.locked(shadow) == (
        b"root:*:19000:0:99999:7:::\n"
        b"daemon:*:19000::::::\n"
        b"locked:!:19000::::::\n"
        b"open:*:19000::::::\n"
    )
