"""Programs in the background of hosts that are this one."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client import ansible, errors
from imageprep_client.ansible import (
    HostJob,
    HostState,
    JobObserver,
    JobResult,
    background,
)

_NODE = Path(ansible.__file__).parent / "node"
_TEXT = "one\ntwo\r\n'\"\\ {{ 1 + 1 }} {% raw %} é"
_PROGRAM = """\
import json, os, sys, time
job = json.load(open(sys.argv[1]))
mode = oct(os.stat(sys.argv[1]).st_mode & 0o777)
def say(**line):
    print(json.dumps(line), flush=True)
say(pid=os.getpid(), mode=mode, word=os.environ.get("WORD"), text=job["text"])
if "wait" in job:
    end = time.time() + 120
    while not os.path.exists(job["wait"]) and time.time() < end:
        time.sleep(0.05)
say(done=True)
if "fail" in job:
    sys.exit(job["fail"])
"""


class Told(JobObserver):
    """Records, and may act when a program has said something."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, Any]]] = []
        self.most = self.now = 0

    def started(self, job: HostJob) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
        self.lines.append((job.host, line))

    def ended(self, job: HostJob, result: JobResult) -> None:
        self.now -= 1

    def first(self, host: str) -> Mapping[str, Any]:
        return next(line for name, line in self.lines if name == host)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are looked at again almost at once."""
    monkeypatch.setattr(background, "PERIOD", (0.1, 0.3))


@pytest.fixture
def inventory(tmp_path: Path, eager: None) -> str:
    local = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python3",
        "image_prepare_environment": {"WORD": "{{ inventory_hostname }}"},
    }
    away = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts = {"a": local, "b": local, "c": local, "away": away}
    path = tmp_path / "inventory.yaml"
    groups = {
        "front": {"hosts": {"a": {}, "b": {}}},
        "back": {"children": {"deep": {"hosts": {"c": {}}}}},
    }
    path.write_text(
        yaml.safe_dump({"all": {"hosts": hosts, "children": groups}})
    )
    return str(path)


def test_results_and_lines(inventory: str) -> None:
    """Each host has its lines and its result; one failure is one host's."""
    told = Told()
    jobs = [
        HostJob(host="a", lane="x", document={"text": _TEXT}),
        HostJob(
            host="b",
            lane="x",
            document={"text": "hunter2", "fail": "it broke"},
            is_secret=True,
        ),
        HostJob(host="away", lane="y", document={"text": ""}),
    ]
    results = ansible.run_jobs(
        jobs, _PROGRAM, inventory, window=5, observer=told
    )
    assert {host: result.state for host, result in results.items()} == {
        "a": HostState.OK,
        "b": HostState.FAILED,
        "away": HostState.UNREACHABLE,
    }
    assert results["b"].reason == "it broke"
    assert told.first("a") == {
        **told.first("a"),
        "mode": "0o600",
        "word": "a",
        "text": _TEXT,
    }
    assert len(told.lines) == 4
    left = []
    for path in Path("/run").glob("image-prepare-*/job.json"):
        # Those of other tests come and go.
        with contextlib.suppress(FileNotFoundError):
            left += [path] if "hunter2" in path.read_text() else []
    assert not left


def test_window_and_killed_program(inventory: str, tmp_path: Path) -> None:
    """A lane starts no more than its window; a killed program is named."""

    class Killing(Told):
        def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
            super().line(job, line)
            if "pid" in line and job.host == "a":
                os.killpg(os.getpgid(line["pid"]), signal.SIGKILL)

    told = Killing()
    wait = {"text": "", "wait": str(tmp_path / "never")}
    jobs = [
        HostJob(host="a", lane="x", document=wait),
        HostJob(host="b", lane="x", document={"text": ""}),
        HostJob(host="c", lane="x", document={"text": ""}),
    ]
    results = ansible.run_jobs(
        jobs, _PROGRAM, inventory, window=1, observer=told
    )
    assert results["a"] == JobResult(
        "a", HostState.FAILED, "the program was killed before its end"
    )
    assert results["b"].state is results["c"].state is HostState.OK
    assert told.most == 1


_SSH = """\
#!/bin/sh
echo look >> {log}
[ -e {gone} ] && exec sleep 600
for word; do :; done
exec /bin/sh -c "$word"
"""


@pytest.mark.usefixtures("eager")
def test_host_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that no longer answers is given up after two looks."""
    log, gone, ssh = (tmp_path / name for name in ("log", "gone", "ssh"))
    ssh.write_text(_SSH.format(log=log, gone=gone))
    ssh.chmod(0o755)
    inventory = tmp_path / "hosts"
    inventory.write_text(f"a ansible_ssh_executable={ssh}\n")
    monkeypatch.setattr(background, "LOOK_TIMEOUT", 2)

    class Leaving(Told):
        def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
            super().line(job, line)
            gone.touch()
            log.write_text("")

    told = Leaving()
    wait = {"text": "", "wait": str(tmp_path / "never")}
    jobs = [HostJob(host="a", lane="x", document=wait)]
    results = ansible.run_jobs(
        jobs, _PROGRAM, str(inventory), window=1, observer=told
    )
    os.kill(told.first("a")["pid"], signal.SIGKILL)
    assert results["a"] == JobResult(
        "a", HostState.UNREACHABLE, "no answer within 2 seconds"
    )
    assert log.read_text().split() == ["look"] * background.LOOKS


def test_what_others_left(inventory: str, tmp_path: Path) -> None:
    """A start removes the directory of a program that ended a day ago, and
    whose end nobody has seen; that of one that runs stays.
    """
    gone = subprocess.Popen(["true"])
    gone.wait()
    unique = os.urandom(4).hex()
    stale = Path(f"/run/image-prepare-{unique}-stale")
    running = Path(f"/run/image-prepare-{unique}-running")
    for path, process in ((stale, gone.pid), (running, os.getpid())):
        path.mkdir()
        (path / "pid").write_text(str(process))
        os.utime(path, (0, 0))
    try:
        ansible.run_jobs(
            [HostJob(host="a", lane="x", document={"text": ""})],
            _PROGRAM,
            inventory,
            window=1,
            observer=Told(),
        )
        assert not stale.exists()
        assert running.exists()
    finally:
        for path in (stale, running):
            shutil.rmtree(path, ignore_errors=True)


def test_bound_of_a_host_that_is_gone() -> None:
    """Looks and the pauses before them take less than a minute."""
    least, most = background.PERIOD
    assert most + least + background.LOOKS * background.LOOK_TIMEOUT < 60
    assert background.LOOKS == 2
    assert background.pause(1000.0, 1000.0) == most


def test_interruption_ends_the_programs(
    inventory: str, tmp_path: Path
) -> None:
    """Nothing is left on the hosts of a run that was interrupted."""

    class Interrupting(Told):
        def looked(self) -> None:
            if self.lines:
                raise KeyboardInterrupt

    told = Interrupting()
    wait = {"text": "", "wait": str(tmp_path / "never")}
    with pytest.raises(KeyboardInterrupt):
        ansible.run_jobs(
            [HostJob(host="a", lane="x", document=wait)],
            _PROGRAM,
            inventory,
            window=1,
            observer=told,
        )
    status = Path(f"/proc/{told.first('a')['pid']}/status")
    with contextlib.suppress(OSError):
        assert "State:\tZ" in status.read_text()


def test_inventory(inventory: str) -> None:
    """Groups have the hosts of their children; a pattern selects."""
    hosts = ansible.load(inventory)
    assert sorted(hosts.hosts) == ["a", "away", "b", "c"]
    assert hosts.groups["back"] == ["c"]
    assert hosts.of("a") == ["all", "front"]
    assert list(ansible.load(inventory, "front:!b").hosts) == ["a"]


_SCRIPT = """\
#!/bin/sh
echo '{"kolla": {"hosts": ["con-1", "com-1"]}, "_meta": {"hostvars":
{"con-1": {"ansible_host": "192.0.2.1"}, "com-1": {}}}}'
"""
_INI = """\
[kolla:children]
control
compute
[control]
con-1 ansible_host=192.0.2.1 ansible_become=true
[compute]
com-[1:1]
"""


@pytest.mark.parametrize(
    ("content", "mode"), [(_SCRIPT, 0o755), (_INI, 0o644)]
)
def test_kinds_of_inventories(tmp_path: Path, content: str, mode: int) -> None:
    """Programs and INI files are inventories, too."""
    path = tmp_path / "hosts"
    path.write_text(content)
    path.chmod(mode)
    hosts = ansible.load(str(path))
    assert sorted(hosts.groups["kolla"]) == ["com-1", "con-1"]
    assert hosts.hosts["con-1"]["ansible_host"] == "192.0.2.1"


@pytest.mark.parametrize(
    ("content", "pattern", "reason"),
    [
        (None, None, "no such inventory"),
        ("all: {hosts: {a: {}}}", "b", "no host matches 'b'"),
        ("all: [}", None, "'?yaml'? plugin: "),
        (
            "all: {children: {all: {hosts: {a: }}}}",
            None,
            "can't add group to itself",
        ),
    ],
)
def test_unusable_inventory(
    tmp_path: Path, content: str | None, pattern: str | None, reason: str
) -> None:
    """An inventory without hosts is refused in one line."""
    path = tmp_path / "hosts.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(errors.InvalidArgument, match=reason) as caught:
        ansible.load(str(path), pattern)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted(_NODE.glob("*.py")), ids=str)
def test_programs_are_for_old_pythons(path: Path) -> None:
    """Programs that run on nodes have the syntax of Python 3.6."""
    ast.parse(path.read_text(), feature_version=(3, 6))
