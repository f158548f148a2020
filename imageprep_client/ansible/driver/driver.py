"""Run commands on the hosts of an inventory, round after round.

::

    python driver.py FORKS INVENTORY...

A round is a line of JSON on standard input: ``texts`` by key, and for each of
the ``hosts`` a ``command`` for its shell and the keys of its ``input``; with
``timeout`` in seconds, and ``hidden``, whether results are kept from logs. The
results are lines of JSON on standard output. The last one of a round has its
seconds of ``processor`` time, and an empty line ends it. A line with a
``pattern`` asks for the groups, for the hosts that a pattern selects, and for
the ``variables`` of all hosts that have one of these names.

The start of ansible costs a second of processor time, and a round without it
a few hundredths for each host. Connections stay open between rounds.
"""

import gc
import json
import os
import sys

# Programs that ansible starts, such as an inventory, must not have these.
_rounds = os.fdopen(os.dup(0), "rb")
_results = os.fdopen(os.dup(1), "w", encoding="utf-8")
_nowhere = os.open(os.devnull, os.O_RDONLY)
os.dup2(_nowhere, 0)
os.dup2(2, 1)

from ansible import constants, context  # noqa: E402
from ansible.cli.adhoc import AdHocCLI  # noqa: E402
from ansible.errors import AnsibleError  # noqa: E402
from ansible.executor.task_queue_manager import TaskQueueManager  # noqa: E402
from ansible.playbook.play import Play  # noqa: E402
from ansible.plugins.loader import (  # noqa: E402
    action_loader,
    callback_loader,
    connection_loader,
    shell_loader,
)

#: Seconds between two looks of ansible at its workers. A round that waits for
#: hosts takes a third of a processor with the default of a millisecond.
_INTERVAL = 0.02
_HERE = os.path.dirname(os.path.abspath(__file__))
#: The names of the plugins beside this file.
_ACTION, _CALLBACK = "imageprep_command", "imageprep_results"

#: The round that runs: workers of ansible are forks of this process, and see
#: it without that it becomes variables.
current = {}


def emit(event, **data):
    """Write a result, as an event of ansible-runner looks."""
    write({"event": event, "event_data": data})


def write(document):
    """Write a line."""
    _results.write(json.dumps(document, default=str) + "\n")
    _results.flush()


class Driver(AdHocCLI):
    """The command line of ansible, but for its one task."""

    def run(self):
        """Run rounds until standard input ends."""
        super(AdHocCLI, self).run()
        action_loader.add_directory(os.path.join(_HERE, "action"))
        callback_loader.add_directory(os.path.join(_HERE, "callback"))
        ssh, become = self.ask_passwords()
        passwords = {"conn_pass": ssh, "become_pass": become}
        loader, inventory, variables = self._play_prereqs()
        forks = context.CLIARGS["forks"]
        # Workers have these from the beginning, and do not touch what they
        # share: a fifth of their processor time.
        for name in ("local", "ssh"):
            connection_loader.get(name, class_only=True)
        shell_loader.get("sh", class_only=True)
        action_loader.get(_ACTION, class_only=True)
        constants.DEFAULT_INTERNAL_POLL_INTERVAL = max(
            constants.DEFAULT_INTERNAL_POLL_INTERVAL, _INTERVAL
        )
        gc.collect()
        gc.freeze()
        for line in _rounds:
            current.clear()
            current.update(json.loads(line))
            before = sum(os.times()[:4])
            try:
                if "pattern" in current:
                    write(_selected(inventory, variables))
                else:
                    play = Play.load(
                        _play(), variable_manager=variables, loader=loader
                    )
                    # A pattern would split some names, or evaluate them.
                    inventory.restrict_to_hosts(
                        [inventory.get_host(name) for name in current["hosts"]]
                    )
                    # By position: names have changed between releases.
                    manager = TaskQueueManager(
                        *(inventory, variables, loader, passwords),
                        *(_CALLBACK, False, False, forks),
                    )
                    try:
                        manager.run(play)
                    finally:
                        manager.cleanup()
                        inventory.remove_restriction()
            except AnsibleError as error:
                write({"event": "verbose", "stdout": f"ERROR: {error}\n"})
            current.clear()
            write({"processor": sum(os.times()[:4]) - before})
            _results.write("\n")
            _results.flush()
        loader.cleanup_all_tmp_files()
        return 0


def _selected(inventory, variables):
    """The hosts of each group, those that a pattern selects, and variables."""
    inventory.subset(current["pattern"])
    try:
        hosts = [host.name for host in inventory.get_hosts("all")]
    finally:
        inventory.subset(None)
    return {
        "groups": inventory.get_groups_dict(),
        "selected": hosts,
        "variables": {
            host.name: _variables(host, variables)
            for host in inventory.get_hosts("all")
            if current["variables"]
        },
    }


def _variables(host, variables):
    """The wanted variables of a host, as ansible-inventory prints them."""
    known = variables.get_vars(host=host, include_hostvars=False, stage="all")
    return {key: known[key] for key in current["variables"] if key in known}


def _play():
    return {
        "name": "commands",
        "hosts": "all",
        "gather_facts": False,
        "strategy": "free",
        "tasks": [
            {
                "name": current["name"],
                _ACTION: {},
                "timeout": current["timeout"],
                "no_log": current["hidden"],
                "check_mode": False,
            }
        ],
    }


if __name__ == "__main__":
    options = [word for path in sys.argv[2:] for word in ("-i", path)]
    Driver.cli_executor(["ansible", "all", "-f", sys.argv[1], *options])
