"""Machines of systemd-nspawn that run, on a host that systemd runs.

The host is itself a machine of systemd-nspawn: the files of this host with
nothing of its own, in its own network, and with a btrfs file system at
/var/lib/machines. It has the unified hierarchy of cgroups alone, whatever
this host has, so that its systemd can freeze a unit.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lxc_containers import KEY, BtrfsPool, write_root
from tests.programs import run

TOP = pathlib.Path(__file__).parents[2]
#: With the root of this host below what is written, no service of this host
#: starts, and nothing of it is changed.
_BOOT = """
mount -t tmpfs tmpfs "$1/upper"
mkdir "$1/upper/u" "$1/upper/w"
mount -t overlay overlay "$1/root" \
    -o "lowerdir=/,upperdir=$1/upper/u,workdir=$1/upper/w"
rm -rf "$1"/root/etc/systemd/system/*.wants "$1"/root/etc/systemd/nspawn
rm -rf "$1/root/var/lib/image-prepare"
: > "$1/root/etc/machine-id"
: > "$1/root/etc/fstab"
exec script --quiet --flush --return --command "\
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn \
    --register=no --keep-unit --private-network --machine=$3 \
    --capability=all --system-call-filter=@keyring \
    --bind=$2:/var/lib/machines --boot --directory=$1/root" "$1/log"
"""
#: Its init ends by the signal that the settings name.
SETTINGS = "exec: {KillSignal: SIGTERM, Environment: A=b}\n"


class Host:
    """A host that systemd runs.

    :param pool: is its /var/lib/machines.
    """

    def __init__(self, directory: pathlib.Path, pool: pathlib.Path) -> None:
        self.pool = pool
        for name in ("root", "upper"):
            (directory / name).mkdir()
        self._name = f"imageprep-test-{os.getpid()}"
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private"),
                *("sh", "-ec", _BOOT, "sh"),
                *(str(directory), str(pool), self._name),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._leader = self._find()
        state = ""
        for _ in range(600):
            state = self.attempt("systemctl", "is-system-running").stdout
            if state.strip() in ("running", "degraded"):
                return
            time.sleep(0.1)
        pytest.fail(f"systemd is {state!r}")

    def _find(self) -> int:
        """The first process of the host, when it is there."""
        for _ in range(600):
            for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    words = path.read_bytes().split(b"\0")
                    wanted = f"--machine={self._name}".encode()
                    if words[0] != b"systemd-nspawn" or wanted not in words:
                        continue
                    pid = path.parent.name
                    children = path.parent / "task" / pid / "children"
                    for child in children.read_text().split():
                        return int(child)
            time.sleep(0.1)
        pytest.fail("systemd-nspawn does not start")

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program on the host."""
        python = pathlib.Path(sys.executable).parent
        return subprocess.run(
            [
                *("nsenter", "--target", str(self._leader), "--all"),
                *("env", "-i", f"PATH={python}:/usr/sbin:/usr/bin:/sbin:/bin"),
                *("HOME=/root", f"PYTHONPATH={TOP}", "COLUMNS=80"),
                *words,
            ],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def run(self, *words: str) -> str:
        """Run a program that succeeds; its output."""
        done = self.attempt(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def machine(self, *words: str) -> Any:
        """Run a command about machines; its result."""
        told = self.run(
            *("openstack", "image-prepare", "machine", *words),
            *("--format", "json"),
        )
        return json.loads(told)

    def add(self, name: str, *, subvolume: bool = False) -> pathlib.Path:
        """Make a machine, with settings, and start it; its root."""
        root = self.pool / name
        if subvolume:
            run("btrfs", "-q", "subvolume", "create", str(root))
        write_root(root, "1", key=KEY)
        self.run("sh", "-c", f"echo {shlex.quote(SETTINGS)} > /root/s.yaml")
        self.run(
            *("openstack", "image-prepare", "machine", "settings", name),
            *("--settings", "/root/s.yaml", "--write"),
        )
        self.run("systemctl", "start", f"systemd-nspawn@{name}")
        return root

    def answer(self, name: str) -> str:
        """The answer of the service of a machine."""
        leader = self.run("machinectl", "show", name, "-pLeader", "--value")
        script = "until [ -s /tmp/answer ]; do sleep 0.1; done; cat $0"
        return self.run(
            *("nsenter", "--target", leader.strip(), "--all"),
            *("/bin/sh", "-c", script, "/tmp/answer"),  # noqa: S108
        ).strip()

    def close(self) -> None:
        """Power it off."""
        self.attempt("machinectl", "terminate", "www")
        os.kill(self._leader, signal.SIGRTMIN + 4)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.kill(self._leader, signal.SIGKILL)
            self._process.wait()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host without machines."""
    directory = tmp_path_factory.mktemp("host")
    with (
        contextlib.closing(BtrfsPool(directory)) as pool,
        contextlib.closing(Host(directory, pool.path)) as host,
    ):
        yield host


@pytest.mark.parametrize("subvolume", [False, True])
def test_running_machine(host: Host, subvolume: bool) -> None:
    """It is exported frozen or from a snapshot and goes on, its root is
    replaced by the image and keeps its key, a root that is not well is taken
    back, and a rollback has the earlier root run again.
    """
    root = host.add("www", subvolume=subvolume)
    assert host.answer("www") == f"1 {KEY}"
    image = "oci:/srv/images//machines/www:1"
    exported = host.machine("export", "www", "--to", image)
    assert exported["read"] == ("snapshot" if subvolume else "frozen")
    unit = "systemd-nspawn@www"
    state = host.run("systemctl", "show", "-pFreezerState", "--value", unit)
    assert state.strip() == "running"
    (row,) = host.machine("list")
    kind = "subvolume" if subvolume else "directory"
    assert (row["Name"], row["Kind"]) == ("www", kind)
    assert row["State"] == "running"
    (root / "release").write_text("changed")
    source = ("--from", image, "--wait", "30", "--stop-timeout", "10")
    check = "machinectl show $MACHINE -pState --value | grep -qx running"
    (row,) = host.machine("replace", "www", *source, "--check", check)
    assert row["State"] == "replaced"
    assert host.answer("www") == f"1 {KEY}"
    (kept,) = [path for path in host.pool.iterdir() if "~" in path.name]
    assert (kept / "release").read_text() == "changed"
    assert not list(host.pool.glob(".#image-prepare-*"))
    failed = host.attempt(
        *("openstack", "image-prepare", "machine", "replace", "www", *source),
        *("--check", "exit 1", "--wait", "1"),
    )
    assert failed.returncode == 1
    assert "the old root was restored" in failed.stderr
    assert host.answer("www") == f"1 {KEY}"
    back = host.machine("rollback", "www", "--stop-timeout", "10")
    assert kept.name == f"www~{back['version']}"
    assert host.answer("www") == f"changed {KEY}"
    running = host.attempt(
        *("openstack", "image-prepare", "machine", "delete", "www", "--yes")
    )
    assert running.returncode == 2
    assert "www: is running" in running.stderr
    host.run("systemctl", "stop", "systemd-nspawn@www")
    host.run("openstack", "image-prepare", "machine", "delete", "www", "--yes")
    assert not [path for path in host.pool.iterdir() if "www" in path.name]


def test_settings_of_the_unit(host: Host) -> None:
    """systemd takes the files: the machine has no interface of the host, and
    its environment; limits are those of its unit.
    """
    host.pool.joinpath("www").mkdir()
    write_root(host.pool / "www", "1", key=KEY)
    text = f"{SETTINGS}limits: {{tasks: 77}}\n"
    host.run("sh", "-c", f"echo {shlex.quote(text)} > /root/s.yaml")
    host.run(
        *("openstack", "image-prepare", "machine", "settings", "www"),
        *("--settings", "/root/s.yaml", "--write"),
    )
    host.run("systemctl", "start", "systemd-nspawn@www")
    assert host.answer("www") == f"1 {KEY}"
    unit = "systemd-nspawn@www"
    assert "77" in host.run("systemctl", "show", "-pTasksMax", unit)
    leader = host.run("machinectl", "show", "www", "-pLeader", "--value")
    environment = host.run("cat", f"/proc/{leader.strip()}/environ")
    assert "A=b" in environment.split("\0")
    network = host.run("readlink", f"/proc/{leader.strip()}/ns/net")
    assert network != host.run("readlink", "/proc/1/ns/net")
    assert "Unknown" not in host.run("journalctl", "-u", unit, "-b")
    host.run("systemctl", "stop", unit)
