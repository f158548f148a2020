"""Programs in the background of hosts that are this one."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client import ansible, errors
from imageprep_client.ansible import (
    HostGroups,
    HostJob,
    HostState,
    JobObserver,
    JobResult,
    background,
    inventories,
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
    path = os.path.join(os.path.dirname(sys.argv[1]), job["wait"])
    text = ""
    while not text and time.time() < end:
        time.sleep(0.05)
        if os.path.exists(path):
            text = open(path).read()
    say(read=text)
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


def run(
    jobs: Sequence[HostJob],
    inventory: str,
    observer: JobObserver,
    *,
    window: int = 1,
) -> dict[str, JobResult]:
    with ansible.Session(inventory) as session:
        return ansible.run_jobs(
            jobs, _PROGRAM, session, window=window, observer=observer
        )


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
    results = run(jobs, inventory, told, window=5)
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
    results = run(jobs, inventory, told)
    assert results["a"] == JobResult(
        "a", HostState.FAILED, "the program was killed before its end"
    )
    assert results["b"].state is results["c"].state is HostState.OK
    assert told.most == 1


def test_words_for_a_program_that_runs(inventory: str) -> None:
    """The observer's word reaches a program that runs, as it is."""

    class Telling(Told):
        def word(self, job: HostJob) -> str:
            return f'it\'s "$HOME" {job.host}'

    told = Telling()
    job = HostJob(host="a", lane="x", document={"text": "", "wait": "told"})
    assert run([job], inventory, told)["a"].state is HostState.OK
    assert {"read": 'it\'s "$HOME" a\n'} in [line for _, line in told.lines]


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
    results = run(jobs, str(inventory), told)
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
        job = HostJob(host="a", lane="x", document={"text": ""})
        run([job], inventory, Told())
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


def test_looks_are_frequent_before_an_end() -> None:
    """The pause is half of what is left, and no more of this host's processor
    goes into looks than a sixth.
    """
    assert background.pause(0.01, 16.0) == 8.0
    assert background.pause(0.01, 0.5) == background.PERIOD[0]
    assert background.pause(1.0, 0.5) == 5.0


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
        run([HostJob(host="a", lane="x", document=wait)], inventory, told)
    status = Path(f"/proc/{told.first('a')['pid']}/status")
    with contextlib.suppress(OSError):
        assert "State:\tZ" in status.read_text()


def groups(inventory: str, pattern: str | None = None) -> HostGroups:
    with ansible.Session(inventory) as session:
        return session.groups(pattern)


def test_groups_of_a_session(inventory: str) -> None:
    """A pattern selects hosts, and neither groups nor later rounds; one that
    is none fails alone.
    """
    with ansible.Session(inventory) as session:
        some = session.groups("front:!b")
        assert some.hosts == ["a"]
        assert some.groups["front"] == ["a", "b"]
        with pytest.raises(errors.InvalidArgument, match=r"[Ii]nvalid host"):
            session.groups("~(")
        assert len(session.groups().hosts) == 4


def test_several_inventories(inventory: str, tmp_path: Path) -> None:
    """The hosts and groups of all inventories count; groups have names with
    dashes, other groups and ranges, as those of kolla-ansible have.
    """
    second = tmp_path / "multinode"
    second.write_text("[nova-api:children]\nfront\n[nova-api]\nz[01:03]\n")
    with ansible.Session(inventory, str(second)) as session:
        found = session.groups("nova-api:!a")
    assert sorted(found.hosts) == ["b", "z01", "z02", "z03"]
    assert sorted(found.groups["nova-api"]) == ["a", "b", "z01", "z02", "z03"]
    assert found.groups["back"] == ["c"]


def test_one_inventory_that_is_none(inventory: str, tmp_path: Path) -> None:
    """An inventory that cannot be read is an error, though others can."""
    second = tmp_path / "second.yaml"
    second.write_text("all: {hosts: [\n")
    with (
        ansible.Session(inventory, str(second)) as session,
        pytest.raises(errors.InvalidArgument, match=r"^[^,]*second\.yaml: "),
    ):
        session.groups()


def test_inventory_that_openstack_ansible_keeps(tmp_path: Path) -> None:
    """The file that a program of OpenStack-Ansible prints and keeps, which
    ansible does not read, is an inventory.
    """
    path = tmp_path / "openstack_inventory.json"
    document = {
        "_meta": {"hostvars": {"infra1": {"ansible_host": "192.0.2.1"}}},
        "lxc_hosts": {"hosts": ["infra1"]},
        "hosts": {"children": ["lxc_hosts"], "hosts": []},
        "adjutant_all": {"children": [], "hosts": []},
    }
    path.write_text(json.dumps(document))
    assert groups(str(path)).groups["hosts"] == ["infra1"]
    path.write_text("{")
    with pytest.raises(errors.InvalidFile, match="no JSON"):
        groups(str(path))


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
    """Programs and INI files are inventories, too; all hosts have the
    variables that are asked for.
    """
    path = tmp_path / "hosts"
    path.write_text(content)
    path.chmod(mode)
    with ansible.Session(str(path)) as session:
        found = session.groups("com-1", ["ansible_host"])
    assert found.hosts == ["com-1"]
    assert found.variables == {
        "com-1": {},
        "con-1": {"ansible_host": "192.0.2.1"},
    }


def test_inventory_below_a_file(tmp_path: Path) -> None:
    """A path that leads nowhere is told by the reason of the system."""
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InvalidArgument, match="hosts: not a dir"):
        inventories.check(str(tmp_path / "file" / "hosts"))


def test_mistake_in_ini(tmp_path: Path) -> None:
    """The mistake in a file without suffix is told, not only that it is no
    YAML.
    """
    path = tmp_path / "hosts"
    path.write_text('[a]\nh1 x="y\n')
    with pytest.raises(errors.InvalidArgument) as info:
        groups(str(path), None)
    assert str(info.value).endswith("No closing quotation")
    assert "\n" not in str(info.value)


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
        groups(str(path), pattern)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted(_NODE.glob("*.py")), ids=str)
def test_programs_are_for_old_pythons(path: Path) -> None:
    """Programs that run on nodes have the syntax of Python 3.6."""
    ast.parse(path.read_text(), feature_version=(3, 6))
