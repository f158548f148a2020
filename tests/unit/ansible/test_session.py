"""Commands on hosts by one process of ansible."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from imageprep_client.ansible import Event, HostState
from imageprep_client.ansible.session import HostShell, Session
from tests import programs

#: Takes the place of ssh and of sudo: notes its arguments, and runs the
#: command here.
_SSH = """\
#!/bin/sh
echo "$@" >> {log}
for word; do :; done
exec /bin/sh -c "$word"
"""


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    ssh = tmp_path / "ssh"
    ssh.write_text(_SSH.format(log=tmp_path / "ssh.log"))
    ssh.chmod(0o755)
    sudo = tmp_path / "sudo"
    sudo.write_text(_SSH.format(log=tmp_path / "sudo.log"))
    sudo.chmod(0o755)
    local = {"ansible_connection": "local"}
    hosts = {
        "here": local,
        "infra1-with-dashes": {
            "ansible_host": "192.0.2.7",
            "ansible_port": 2222,
            "ansible_user": "stack",
            "ansible_ssh_executable": str(ssh),
        },
        "gone": {"ansible_host": "127.0.0.1", "ansible_port": 1},
        "root": {
            **local,
            "ansible_become": True,
            "ansible_become_user": "stack",
            "ansible_become_exe": str(sudo),
        },
        "odd": {**local, "image_prepare_environment": "no map"},
        "other-python": {
            **local,
            "ansible_python_interpreter": "{{ virtualenv }}/bin/python",
            "virtualenv": sys.prefix,
        },
    }
    path = tmp_path / "hosts.yaml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    return str(path)


@pytest.fixture
def session(inventory: str) -> Iterator[Session]:
    with Session(inventory, forks=5) as made:
        yield made


def run(
    session: Session, hosts: dict[str, HostShell]
) -> tuple[dict[str, str], dict[str, tuple[HostState, str]]]:
    """The answers, and the failures, of one round."""
    answers: dict[str, str] = {}

    def note(event: Event) -> None:
        if event.ok:
            answers[event.host] = event.result["stdout"]

    result = session.run(hosts, name="test", timeout=20, on_event=note)
    return answers, {
        host: (one.state, one.failure.message if one.failure else "")
        for host, one in result.hosts.items()
        if host not in answers
    }


def test_names_that_are_patterns(tmp_path: Path) -> None:
    """A name is that of one host, also if it is a pattern or a template."""
    names = ["a b", "!a", "x*", "{{ 1 + 1 }}"]
    hosts = {name: {"ansible_connection": "local"} for name in ["xy", *names]}
    path = tmp_path / "hosts.yaml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    with Session(str(path), forks=5) as session:
        commands = {name: HostShell("cat", [name]) for name in names}
        answers, failures = run(session, commands)
    assert answers == {name: name for name in names}
    assert not failures


def test_rounds_of_one_process(session: Session, tmp_path: Path) -> None:
    """Rounds share a process; each host gets its input, by its connection
    and its variables.
    """
    words = "'\"\\ {{ 1 + 1 }} é"
    commands = {
        "here": HostShell("cat", [words, "second"]),
        "infra1-with-dashes": HostShell("cat", [words]),
        "root": HostShell("cat", [words]),
    }
    first, failures = run(session, commands)
    assert first == {
        "here": f"{words}second",
        "infra1-with-dashes": words,
        "root": words,
    }
    assert "-u stack" in (tmp_path / "sudo.log").read_text()
    assert not failures
    process = session._process.pid
    log = (tmp_path / "ssh.log").read_text()
    assert "Port=2222" in log
    assert 'User="stack"' in log
    assert "192.0.2.7" in log
    assert words not in log
    second, _ = run(session, {"here": HostShell("cat", ["again"])})
    assert second == {"here": "again"}
    assert session._process.pid == process


def test_failures(session: Session) -> None:
    """Each failure is one host's, with one line that says why."""
    commands = {
        "here": HostShell("echo no such thing >&2; exit 3", []),
        "gone": HostShell("true", []),
        "odd": HostShell("cat", ["a", "b"], has_environment=True),
    }
    answers, failures = run(session, commands)
    assert not answers
    assert failures["here"] == (HostState.FAILED, "no such thing")
    assert failures["gone"][0] is HostState.UNREACHABLE
    assert "efused" in failures["gone"][1]
    assert failures["odd"][1] == "image_prepare_environment is no map"


def test_interpreter_of_the_inventory(session: Session) -> None:
    """A command has the interpreter that the inventory names, also by a
    template.
    """
    command = HostShell("echo python {python}", [])
    answers, _ = run(session, {"here": command, "other-python": command})
    assert answers["here"].split() == ["python"]
    python = f"{sys.prefix}/bin/python"
    assert answers["other-python"].split() == ["python", python]


def test_endless_answer(session: Session) -> None:
    """A host that answers without end fails alone."""
    commands = {
        "here": HostShell("head -c 5000000 /dev/zero | tr '\\0' x", []),
        "other-python": HostShell("cat", ["fine"]),
    }
    answers, failures = run(session, commands)
    assert answers == {"other-python": "fine"}
    assert "answers more than" in failures["here"][1]


def test_limits_of_a_host_that_is_this_one(session: Session) -> None:
    """The bound for what a host sends is none of its programs."""
    command = HostShell("ulimit -S -v; ulimit -H -v", [])
    answers, _ = run(session, {"here": command})
    own = programs.run("/bin/sh", "-c", command.command)
    assert answers["here"].split() == own.split()


def test_process_that_dies(session: Session) -> None:
    """A round whose process dies fails, and the next one has a new one."""
    run(session, {"here": HostShell("cat", [""])})
    process = session._process.pid
    kill = HostShell(f"kill -KILL {process}; sleep 60", [])
    answers, failures = run(session, {"here": kill})
    assert not answers
    assert failures["here"][0] is HostState.UNFINISHED
    answers, _ = run(session, {"here": HostShell("cat", ["new"])})
    assert answers == {"here": "new"}


def test_nothing_is_left(inventory: str) -> None:
    """The end of a session ends what it started, and the result of an
    interrupted one is not waited for.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    processes = []

    def work() -> None:
        with Session(inventory, forks=1) as session:
            run(session, {"here": HostShell("cat", [""])})
            processes.append(session._process.pid)
            signal.setitimer(signal.ITIMER_REAL, 1.0)
            run(session, {"here": HostShell("sleep 600", [])})

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    (process,) = processes
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
