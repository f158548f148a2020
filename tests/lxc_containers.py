"""Small LXC containers of busybox, whose init ends as soon as it is told to.

Each has a network namespace of its own with nothing but a loopback.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.programs import run

#: Its service needs its key, and answers with it and with its release.
INIT = """#!/bin/sh
trap 'exit 0' PWR TERM
ip link set lo up
ip address add 127.0.0.2/8 scope global dev lo
[ -s /etc/keystone/fernet-keys/0 ] || exit 1
echo "$(cat /release) $(cat /etc/keystone/fernet-keys/0)" > /tmp/new
mv /tmp/new /tmp/answer
while :; do sleep 1000 & wait $!; done
"""
_PROGRAMS = ("sh", "sleep", "ip", "cat", "kill", "ls", "mv", "id")
KEY = "the key of the old root"


def write_root(root: Path, release: str, *, key: str = "") -> None:
    """Fill an empty or missing directory with a root."""
    for folder in (
        *("bin", "dev", "etc/keystone/fernet-keys", "etc/ssh", "proc", "root"),
        *("run", "sbin", "sys", "tmp", "usr/lib", "var/log/keystone"),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for program in _PROGRAMS:
        (root / "bin" / program).symlink_to("busybox")
    (root / "sbin/init").write_text(INIT)
    (root / "sbin/init").chmod(0o755)
    (root / "release").write_text(release)
    (root / "etc/os-release").write_text("ID=busybox\nVERSION_ID=1\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/shadow").write_text("root:*:1:::::\nnew:*:1:::::\n")
    if key:
        keys = root / "etc/keystone/fernet-keys"
        (keys / "0").write_text(key)
        (keys / "0").chmod(0o600)
        keys.chmod(0o700)


def write_config(path: Path, name: str, rootfs: str) -> None:
    """Write the configuration of a container, whose directory is made."""
    folder = path / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config").write_text(
        f"lxc.rootfs.path = {rootfs}\n"
        f"lxc.uts.name = {name}\n"
        "lxc.net.0.type = empty\n"
        "lxc.autodev = 1\n"
        "lxc.mount.auto = proc:mixed sys:ro\n"
    )


class Containers:
    """The containers of one lxcpath."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: list[str] = []

    def add(self, name: str, backing: str = "dir", release: str = "1") -> Path:
        """Make a container; the directory that an exchange moves.

        :param backing: dir, btrfs or overlay.
        """
        folder = self.path / name
        root = folder / "rootfs"
        folder.mkdir(parents=True)
        rootfs = f"{backing}:{root}"
        if backing == "btrfs":
            run("btrfs", "-q", "subvolume", "create", str(root))
        if backing == "overlay":
            lower = self.path / "lower" / "rootfs"
            write_root(lower, release)
            (lower / "of-the-base").write_text("base")
            root.mkdir()
            root = folder / "overlay" / "delta"
            (root / "etc/keystone/fernet-keys").mkdir(parents=True)
            (root / "etc/keystone/fernet-keys/0").write_text(KEY)
            (folder / "overlay/work").mkdir()
            rootfs = f"overlay:{lower}:{root}"
        else:
            write_root(root, release, key=KEY)
        write_config(self.path, name, rootfs)
        self._names.append(name)
        return root

    def start(self, name: str) -> None:
        """Start a container."""
        run("lxc-start", f"-P{self.path}", f"-n{name}", "-d")

    def is_running(self, name: str) -> bool:
        """Whether a container runs."""
        told = run("lxc-info", f"-P{self.path}", f"-n{name}", "-sH")
        return told.strip() == "RUNNING"

    def attach(self, name: str, *words: str) -> str:
        """The output of a command in a container."""
        return run(
            "lxc-attach", f"-P{self.path}", f"-n{name}", "--clear-env", "--",
            *words,
        )  # fmt: skip

    def answer(self, name: str) -> str:
        """The answer of a container's service, once it gives one."""
        return self.attach(
            name, "/bin/sh", "-c",
            "until [ -s /tmp/answer ]; do sleep 0.05; done; cat /tmp/answer",
        ).strip()  # fmt: skip

    def stop_all(self) -> None:
        """Kill all containers that were added."""
        for folder in self.path.iterdir():
            if (folder / "config").is_file():
                subprocess.run(
                    ["lxc-stop", f"-P{self.path}", f"-n{folder.name}", "-k"],
                    check=False,
                    capture_output=True,
                )


class BtrfsPool:
    """A btrfs file system on a loop device."""

    def __init__(self, directory: Path, size: int = 1 << 30) -> None:
        image = directory / "pool.img"
        self.path = directory / "pool"
        self.path.mkdir()
        with image.open("wb") as file:
            file.truncate(size)
        self._device = run("losetup", "-f", "--show", str(image)).strip()
        run("mkfs.btrfs", "-q", self._device)
        run("mount", self._device, str(self.path))

    def used(self) -> int:
        """The bytes that are in use."""
        run("sync", "-f", str(self.path))
        told = run("btrfs", "filesystem", "usage", "-b", str(self.path))
        (line,) = [line for line in told.splitlines() if "Used:" in line][:1]
        return int(line.split()[-1])

    def close(self) -> None:
        """Unmount it."""
        run("umount", "-l", str(self.path))
        run("losetup", "-d", self._device)
