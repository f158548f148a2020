"""Ansible, started once for many images.

A start of ansible takes as long as several tasks. So all images are hosts of
one inventory, see `modify.playbook`, and ansible works on several at once.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.host import processes
from imageprep_client.modify import (
    ansible_roles,
    playbook,
)
from imageprep_client.modify.base import Changed, ImageChange
from imageprep_client.modify.events import Events
from imageprep_client.modify.storage import PrivateStorage
from imageprep_client.observer import Observer

_PROGRAM = "ansible-playbook"
#: Seconds that ansible-runner may take to notice that ansible was ended.
_GRACE = 6.0
#: What a user's configuration may have otherwise, and would break a run: who
#: is asked for a password, or what else writes to the output.
_SETTINGS = {
    "ANSIBLE_ANY_ERRORS_FATAL": "False",
    "ANSIBLE_ASK_PASS": "False",
    "ANSIBLE_BECOME": "False",
    "ANSIBLE_BECOME_ASK_PASS": "False",
    # The one that ansible-runner has anyway: none cannot be said.
    "ANSIBLE_CALLBACKS_ENABLED": "awx_display",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_KEEP_REMOTE_FILES": "False",
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_NOCOLOR": "True",
    "ANSIBLE_NOCOWS": "True",
    # Modules start without a file of their own: less to do for each task.
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_STRATEGY": "linear",
    "ANSIBLE_VERBOSITY": "0",
}


def check(ansible_role: str, tasks_from: str) -> None:
    """See that ansible is there, and that it has the role.

    :raises InvalidArgument: when something is missing.
    """
    missing = [
        name
        for name, module in (
            ("ansible-core", "ansible"),
            ("ansible-runner", "ansible_runner"),
        )
        if importlib.util.find_spec(module) is None
    ]
    if not missing and _program(os.environ) is None:
        missing = [_PROGRAM]
    if missing:
        raise errors.InvalidArgument(
            f"images cannot be modified: {' and '.join(missing)}"
            f" {'is' if len(missing) == 1 else 'are'} not installed",
            hint="pip install imageprep-client[modify]",
        )
    ansible_roles.check(ansible_role, tasks_from, os.environ, Path.cwd())


class AnsibleModifier:
    """Changes images by ansible roles; see `modify.base.Modifier`.

    :param storage: where the images are.
    """

    def __init__(self, storage: PrivateStorage) -> None:
        self._storage = storage

    def modify(
        self,
        changes: Sequence[ImageChange],
        *,
        concurrency: int,
        keep_going: bool,
        observer: Observer,
    ) -> Sequence[Changed]:
        events = Events(changes, observer)
        # The variables have secrets in them.
        with tempfile.TemporaryDirectory(
            prefix="ansible-", dir=self._storage.directory
        ) as name:
            directory = Path(name)
            playbook.write(directory, changes, keep_going=keep_going)
            run = _Run(directory, self._variables(directory), concurrency)
            try:
                ended = run.wait(events)
            finally:
                run.cancelled.set()
                processes.end_marked(
                    self._storage.directory.name, self._storage.directory
                )
                run.join()
        return events.results(ended=ended)

    def _variables(self, directory: Path) -> Mapping[str, str]:
        """What is added to ansible's environment."""
        here = Path.cwd()
        configuration = ansible_roles.configuration(os.environ, here)
        own = {"ANSIBLE_CONFIG": str(configuration)} if configuration else {}
        return {
            **_SETTINGS,
            **self._storage.environment,
            **own,
            "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(directory / "tmp"),
            "ANSIBLE_ROLES_PATH": ansible_roles.search_path(os.environ, here),
            "PATH": _path(os.environ),
        }


class _Run:
    """One run of ansible-runner, in a thread of its own.

    In this thread it could not be interrupted: ansible would live on.

    :ivar cancelled: set to let it end.
    """

    def __init__(
        self, directory: Path, variables: Mapping[str, str], forks: int
    ) -> None:
        self.cancelled = threading.Event()
        self._options = {
            "private_data_dir": str(directory),
            "playbook": Path(playbook.PLAYBOOK).name,
            "envvars": dict(variables),
            "forks": forks,
            "quiet": True,
            "settings": {"pexpect_timeout": 1, "suppress_output_file": True},
            "cancel_callback": self.cancelled.is_set,
        }
        self._thread: threading.Thread | None = None
        self._status = ""
        self._defect: BaseException | None = None

    def wait(self, events: Events) -> bool:
        """Run ansible to its end.

        :returns: whether all went well.
        """
        self._thread = threading.Thread(
            target=self._run, args=(events,), daemon=True
        )
        self._thread.start()
        self._thread.join()
        if self._defect is not None:
            raise self._defect
        return self._status == "successful"

    def join(self) -> None:
        """Wait a moment for what was cancelled."""
        if self._thread is not None:
            self._thread.join(_GRACE)

    def _run(self, events: Events) -> None:
        # Only here: it takes as long to import as a command to start.
        import ansible_runner

        options: dict[str, Any] = {
            **self._options,
            "event_handler": events.take,
        }
        try:
            self._status = ansible_runner.run(**options).status
        except BaseException as error:
            self._defect = error


def _path(environment: Mapping[str, str]) -> str:
    """Where programs are: first where this Python has its own."""
    given = environment.get("PATH", os.defpath)
    return os.pathsep.join([str(Path(sys.executable).parent), given])


def _program(environment: Mapping[str, str]) -> str | None:
    return shutil.which(_PROGRAM, path=_path(environment))
