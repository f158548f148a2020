"""One run of ansible."""

from __future__ import annotations

import secrets as random
import tempfile
import threading
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client.ansible import configuration, documents
from imageprep_client.ansible.documents import Inventory
from imageprep_client.ansible.events import Event, Events, RunResult
from imageprep_client.host import processes

#: Seconds that ansible-runner may take to notice that ansible was ended.
_GRACE = 6.0
#: Seconds between two calls of `watch`.
_PERIOD = 1.0
_PLAYBOOK, _INVENTORY = "project/run.yaml", "inventory/hosts.yaml"


def run(
    plays: Sequence[Mapping[str, Any]],
    inventory: Inventory,
    *,
    on_event: Callable[[Event], object] = lambda event: None,
    forks: int = 5,
    environment: Mapping[str, str] = types.MappingProxyType({}),
    secrets: Collection[str] = (),
    directory: Path | None = None,
    watch: Callable[[], object] = lambda: None,
) -> RunResult:
    """Run plays over the hosts of an inventory, and wait.

    The user's configuration of ansible applies, except for settings that ask
    questions or change the output. Plays and inventory may have secrets,
    and are in files of a private directory while ansible runs.

    All processes that were started on this host have ended when this returns
    or raises. An interrupted run ends within a few seconds.

    :param on_event: is called for each event of a host, in another thread,
        one call at a time. It must not raise.
    :param forks: the maximum number of hosts at once.
    :param environment: variables to add to that of ansible.
    :param secrets: texts that must not appear in messages.
    :param directory: the parent of the private directory, by default TMPDIR;
        processes whose root is in it are ended as well.
    :param watch: is called about once a second while ansible runs; an
        exception of it ends the run and is passed on.
    :raises InvalidArgument: when ansible is not installed.
    """
    configuration.check_installed("ansible cannot be run")
    events = Events(inventory.hosts, on_event, secrets)
    mark = environment.get(processes.MARK) or f"run-{random.token_hex(8)}"
    with tempfile.TemporaryDirectory(
        prefix="ansible-", dir=directory, ignore_cleanup_errors=True
    ) as name:
        private = Path(name)
        documents.write(private / _PLAYBOOK, plays)
        documents.write(private / _INVENTORY, inventory.document())
        variables = configuration.variables(private, environment)
        job = _Job(
            {
                "private_data_dir": name,
                "playbook": str(private / _PLAYBOOK),
                "inventory": str(private / _INVENTORY),
                "envvars": {**variables, processes.MARK: mark},
                "forks": forks,
                "quiet": True,
                "settings": {
                    "pexpect_timeout": 1,
                    "suppress_output_file": True,
                },
                "event_handler": events.take,
            }
        )
        try:
            complete = job.wait(watch)
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
        self._options = {**options, "cancel_callback": self.cancelled.is_set}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._status = ""
        self._defect: BaseException | None = None

    def wait(self, watch: Callable[[], object]) -> bool:
        """Run ansible to its end.

        :returns: whether it succeeded.
        """
        self._thread.start()
        while self._thread.is_alive():
            self._thread.join(_PERIOD)
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
