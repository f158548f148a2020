"""One run of ansible."""

from __future__ import annotations

import math
import os
import secrets as random
import tempfile
import threading
import time
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.ansible import configuration, documents
from imageprep_client.ansible.documents import Inventory
from imageprep_client.ansible.events import Event, Events, RunResult
from imageprep_client.host import processes

#: Seconds that ansible-runner may take to notice that ansible was ended.
_GRACE = 6.0
#: Seconds between two calls of `watch`.
_PERIOD = 1.0
_PLAYBOOK, _INVENTORY = "project/run.yaml", "inventory/hosts.yaml"
_NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def run(
    playbook: Sequence[Mapping[str, Any]] | str,
    inventory: Inventory | str,
    *,
    on_event: Callable[[Event], object] = lambda event: None,
    extra_vars: Mapping[str, Any] = _NOTHING,
    forks: int = 5,
    limit: str | None = None,
    timeout: float | None = None,
    environment: Mapping[str, str] = _NOTHING,
    secrets: Collection[str] = (),
    directory: Path | None = None,
    watch: Callable[[], object] = lambda: None,
) -> RunResult:
    """Run a playbook over the hosts of an inventory, and wait.

    The user's configuration of ansible applies, except for settings that ask
    questions or change the output. Plays, inventory and variables may have
    secrets and are in files of a private directory while ansible runs.

    All processes that were started on this host have ended when this returns
    or raises. An interrupted run ends within a few seconds.

    :param playbook: plays, or the path of a playbook.
    :param inventory: hosts, or the path of an inventory.
    :param on_event: is called for each event of a host, in another thread,
        one call at a time. It must not raise.
    :param extra_vars: variables that override all others.
    :param forks: the maximum number of hosts at once.
    :param limit: a host pattern that selects some of the hosts.
    :param timeout: seconds for the whole run.
    :param environment: variables to add to that of ansible.
    :param secrets: texts that must not appear in messages.
    :param directory: the parent of the private directory, by default TMPDIR;
        processes whose root is in it are ended as well.
    :param watch: is called about once a second while ansible runs; an
        exception of it ends the run and is passed on.
    :raises InvalidArgument: when ansible is not installed.
    :raises AnsibleError: when the run takes longer than `timeout`.
    """
    configuration.check_installed("ansible cannot be run")
    hosts = inventory.hosts if isinstance(inventory, Inventory) else ()
    events = Events(hosts, on_event, secrets)
    mark = environment.get(processes.MARK) or f"run-{random.token_hex(8)}"
    with tempfile.TemporaryDirectory(
        prefix="ansible-", dir=directory, ignore_cleanup_errors=True
    ) as name:
        private = Path(name)
        if isinstance(playbook, str):
            playbook = os.path.abspath(playbook)
        else:
            documents.write(private / _PLAYBOOK, playbook)
            playbook = str(private / _PLAYBOOK)
        if isinstance(inventory, Inventory):
            documents.write(private / _INVENTORY, inventory.document())
            inventory = str(private / _INVENTORY)
        if extra_vars:
            documents.write(private / "env" / "extravars", dict(extra_vars))
        variables = configuration.variables(private, environment)
        job = _Job(
            {
                "private_data_dir": name,
                "playbook": playbook,
                "inventory": os.path.abspath(inventory),
                "envvars": {**variables, processes.MARK: mark},
                "forks": forks,
                "limit": limit,
                "quiet": True,
                "settings": {
                    "pexpect_timeout": 1,
                    "suppress_output_file": True,
                },
                "event_handler": events.take,
            }
        )
        try:
            complete = job.wait(timeout, watch)
        finally:
            job.cancelled.set()
            processes.end_marked(mark, directory or private)
            job.join()
    return events.result(complete=complete)


class _Job:
    """ansible-runner in a thread of its own.

    It could not be interrupted in the main thread, and ansible would go on.

    :ivar cancelled: is set to end the run.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.cancelled = threading.Event()
        self._options = {
            **options,
            "cancel_callback": self.cancelled.is_set,
        }
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._status = ""
        self._defect: BaseException | None = None

    def wait(self, timeout: float | None, watch: Callable[[], object]) -> bool:
        """Run ansible to its end.

        :returns: whether it succeeded.
        """
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        self._thread.start()
        while self._thread.is_alive():
            left = end - time.monotonic()
            if left <= 0:
                raise errors.AnsibleError(
                    f"ansible: not done after {timeout:.0f} seconds"
                )
            self._thread.join(min(left, _PERIOD))
            watch()
        if self._defect is not None:
            raise self._defect
        return self._status == "successful"

    def join(self) -> None:
        """Wait a few seconds for the end of a cancelled run."""
        self._thread.join(_GRACE)

    def _run(self) -> None:
        # Importing it takes as long as starting a command.
        import ansible_runner

        try:
            self._status = ansible_runner.run(**self._options).status
        except BaseException as error:
            self._defect = error
