"""The shipped role, run by nothing but ansible-playbook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageprep_client.modify

ROLES = Path(imageprep_client.modify.__path__[0], "roles")
ROLE = "tripleo-modify-image"
_COMPLAINT = re.compile(
    r"^ok: \[(\S+)\] => (\{\n    \"msg\": .*?^\})", re.DOTALL | re.MULTILINE
)
#: A line of the recap. A rescue of the role's own counts as well.
_RESCUED = re.compile(r"^(\S+) +: ok=.* rescued=[1-9]", re.MULTILINE)


def _play(tasks: str) -> dict[str, Any]:
    # Of a play, ansible takes the tasks of the first host for all of them.
    include = {"name": ROLE, "tasks_from": tasks}
    complaint = {"msg": "{{ ansible_failed_result.msg }}"}
    task = {
        "block": [{"ansible.builtin.include_role": include}],
        # It starts no program.
        "rescue": [{"ansible.builtin.debug": complaint}],
    }
    hosts = tasks.partition(".")[0]
    return {"hosts": hosts, "gather_facts": False, "tasks": [task]}


def run(
    directory: Path,
    changes: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, str],
) -> dict[str, str]:
    """Make changes, each of an inventory host of its own, all at once.

    :param directory: for the playbook; it is made.
    :param changes: by their host; `tasks` among the variables of each is the
        role's `tasks_from`.
    :param environment: what is added to that of the tests.
    :returns: why changes failed, by their host.
    """
    directory.mkdir()
    play = directory / "play.yaml"
    groups: dict[str, dict[str, Any]] = {}
    for name, variables in changes.items():
        groups.setdefault(variables["tasks"], {})[name] = variables
    play.write_text(json.dumps([_play(tasks) for tasks in groups]))
    inventory = directory / "inventory.yaml"
    inventory.write_text(
        json.dumps(
            {
                "all": {
                    "children": {
                        tasks.partition(".")[0]: {"hosts": hosts}
                        for tasks, hosts in groups.items()
                    },
                    "vars": {
                        "ansible_connection": "local",
                        "ansible_python_interpreter": sys.executable,
                    },
                }
            }
        )
    )
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(program), "--forks=4", f"--inventory={inventory}", str(play)],
        env={
            **os.environ,
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_DISPLAY_OK_HOSTS": "1",
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_ROLES_PATH": str(ROLES),
            "ANSIBLE_STDOUT_CALLBACK": "default",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    found = {
        name: json.loads(complaint)["msg"]
        for name, complaint in _COMPLAINT.findall(done.stdout)
    }
    assert found.keys() == {*_RESCUED.findall(done.stdout)}, done.stdout
    return found
