"""Run a command on a host, with input.

As the ``raw`` module, but for the input: it is in no list of processes, in no
log of a host, and in no variable of ansible.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

#: Characters that a host may answer, and bytes of memory for what it sends.
_ANSWER, _MEMORY = 4 << 20, 1 << 30
#: Seconds of processor time between two looks at the memory.
_LOOK = 0.1
#: A path that a shell takes as it is.
_PATH = re.compile(r"/[\w./+-]+")


class ActionModule(ActionBase):
    """Takes the command from the round of the driver."""

    _supports_check_mode = True
    _VALID_ARGS = frozenset()

    def run(self, tmp=None, task_vars=None):
        """Run the command of this host."""
        result = super().run(tmp, task_vars)
        current = sys.modules["__main__"].current
        order = current["hosts"].get(task_vars["inventory_hostname"])
        if order is None:
            # A group has the name of a host.
            return dict(result, skipped=True)
        lines = [current["texts"][key] for key in order["input"]]
        if order["environment"]:
            given = self._variable(task_vars, "image_prepare_environment")
            given = {} if given is None else given
            if not isinstance(given, Mapping):
                return {
                    "failed": True,
                    "msg": "image_prepare_environment is no map",
                }
            values = {str(key): str(value) for key, value in given.items()}
            lines.insert(1, json.dumps(values) + "\n")
        command = order["command"]
        if "{python}" in command:
            python = self._variable(task_vars, "ansible_python_interpreter")
            if not isinstance(python, str) or not _PATH.fullmatch(python):
                python = ""  # it is to be found
            command = command.replace("{python}", python)
        _bound_memory()
        result.update(self._command(command, "".join(lines), task_vars))
        if len(result.get("stdout") or "") > _ANSWER:
            return {
                "failed": True,
                "msg": f"the host answers more than {_ANSWER} characters",
            }
        if result.get("rc"):
            said = str(result.get("stderr") or "").strip().splitlines()
            result["failed"] = True
            result["msg"] = said[-1] if said else "non-zero return code"
        return result

    def _variable(self, task_vars, name):
        """The value of a variable of the host, or None.

        A template in the task would be compiled by each worker, which takes
        longer than all else that it does.
        """
        return self._templar.template(task_vars.get(name))

    def _command(self, command, text, task_vars):
        become = self._connection.become
        if self._connection.has_pipelining and (
            become is None or getattr(become, "pipelining", True)
        ):
            return self._low_level_execute_command(
                command, in_data=text.encode("utf-8")
            )
        # It cannot have input: a module on the host reads it from a file.
        return self._execute_module(
            module_name="ansible.legacy.command",
            module_args={
                "argv": ["/bin/sh", "-c", command],
                "stdin": text,
                "stdin_add_newline": False,
            },
            task_vars=task_vars,
        )


def _bound_memory():
    """Fail in this worker alone when a host sends without end.

    A limit of the process would be one of the programs that it starts, too,
    such as podman on a host that is this one.
    """
    bound = _resident() + _MEMORY

    def look(number, frame):
        if _resident() > bound:
            signal.setitimer(signal.ITIMER_PROF, 0)
            raise AnsibleError("the host sends without end")

    signal.signal(signal.SIGPROF, look)
    # Children do not inherit it.
    signal.setitimer(signal.ITIMER_PROF, _LOOK, _LOOK)


def _resident():
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
