"""Nodes of an inventory that are this host, with storages of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from tests import programs

_WRAPPER = """\
#!/bin/sh
if [ "$1" = pull ] && mkdir {mark} 2>/dev/null; then
    {command}
fi
exec {podman} "$@"
"""
#: Kills the program of a node, from podman.
KILL = "kill -KILL -$(cut -d' ' -f5 /proc/$PPID/stat)"
#: Takes the place of ssh, until its host is gone.
_SSH = """\
#!/bin/sh
[ -e {gone} ] && exec sleep 600
for word; do :; done
exec /bin/sh -c "$word"
"""


class Nodes:
    """Hosts in groups, for podman and ansible.

    :ivar inventory: the file that names them.
    """

    def __init__(
        self, directory: Path, groups: Mapping[str, Sequence[str]]
    ) -> None:
        self._directory = directory
        self._groups = groups
        self._environments: dict[str, dict[str, str]] = {}
        self._variables: dict[str, dict[str, str]] = {}
        for name in dict.fromkeys(
            n for names in groups.values() for n in names
        ):
            home = directory / name
            home.mkdir(parents=True)
            (home / "storage.conf").write_text(
                '[storage]\ndriver = "overlay"\n'
                f'runroot = "{home}/run"\ngraphroot = "{home}/graph"\n'
            )
            self._environments[name] = {
                "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
                "TMPDIR": str(home),
            }
        self.inventory = directory / "inventory.yaml"
        self._write()

    def _write(self) -> None:
        hosts = {
            name: {
                "image_prepare_environment": dict(environment),
                **self._variables.get(name, {}),
            }
            for name, environment in self._environments.items()
        }
        children = {
            group: {"hosts": dict.fromkeys(names, None)}
            for group, names in self._groups.items()
        }
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        document = {"vars": variables, "hosts": hosts, "children": children}
        self.inventory.write_text(yaml.safe_dump({"all": document}))

    def kill_once(self, name: str) -> None:
        """Have the program on a node killed when it pulls an image."""
        self.once(name, KILL)

    def once(self, name: str, command: str) -> None:
        """Have a command run on a node before it pulls its first image."""
        programs = self._directory / name / "bin"
        programs.mkdir()
        podman = shutil.which("podman")
        assert podman, "podman is not installed; see tools/check"
        wrapper = programs / "podman"
        mark = programs / "done"
        wrapper.write_text(
            _WRAPPER.format(mark=mark, podman=podman, command=command)
        )
        wrapper.chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        self._environments[name]["PATH"] = path
        self._write()

    def by_ssh(self, name: str) -> Path:
        """Have a node reached by something like ssh.

        :returns: a file; once it exists the node does not answer.
        """
        gone = self._directory / name / "gone"
        program = self._directory / name / "ssh"
        program.write_text(_SSH.format(gone=gone))
        program.chmod(0o755)
        self._variables[name] = {
            "ansible_connection": "ssh",
            "ansible_ssh_executable": str(program),
        }
        self._write()
        return gone

    def graph(self, name: str) -> Path:
        """The directory of the storage of a node."""
        return self._directory / name / "graph"

    def podman(self, name: str, *words: str) -> str:
        """Run podman on a node; returns what it prints."""
        return programs.run(
            "podman", *words, env={**os.environ, **self._environments[name]}
        )

    def images(self, name: str) -> dict[str, str]:
        """The digest of each tag in the storage of a node."""
        found = json.loads(self.podman(name, "images", "--format", "json"))
        return {
            tag: image["Digest"]
            for image in found
            for tag in image.get("Names") or ()
            if "@" not in tag
        }


@contextlib.contextmanager
def nodes(
    directory: Path, groups: Mapping[str, Sequence[str]]
) -> Iterator[Nodes]:
    """Nodes, until the end of the block; podman leaves mounts."""
    made = Nodes(directory, groups)
    try:
        yield made
    finally:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        places = [line.split()[1] for line in mounts]
        for place in reversed(places):
            if place.startswith(f"{directory}/"):
                subprocess.run(["umount", "-l", place], check=True)
