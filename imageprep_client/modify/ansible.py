"""Images changed by ansible roles, in one run of ansible for all of them.

A start of ansible takes as long as several tasks. So all images are hosts of
one inventory, see `modify.playbook`, and ansible works on several at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from imageprep_client import ansible
from imageprep_client.modify import ansible_roles, playbook
from imageprep_client.modify.base import Changed, ImageChange
from imageprep_client.modify.results import Changes
from imageprep_client.modify.storage import PrivateStorage
from imageprep_client.observer import Observer

#: Settings of users that make no sense for images, or would break a run.
_SETTINGS = {
    "ANSIBLE_ANY_ERRORS_FATAL": "False",
    "ANSIBLE_BECOME": "False",
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_KEEP_REMOTE_FILES": "False",
    # Modules start without a file of their own: less to do for each task.
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_STRATEGY": "linear",
}


def check(ansible_role: str, tasks_from: str) -> None:
    """See that ansible is there, and that it has the role.

    :raises InvalidArgument: when something is missing.
    """
    ansible.check_installed("images cannot be modified")
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
        results = Changes(changes, observer)
        run = ansible.run(
            playbook.plays(changes, keep_going=keep_going),
            playbook.inventory(changes),
            on_event=results.note,
            forks=concurrency,
            environment=self._variables(),
            secrets=[text for each in changes for text in each.secrets],
            directory=self._storage.directory,
        )
        return results.of(run)

    def _variables(self) -> Mapping[str, str]:
        """What is added to ansible's environment."""
        return {
            **_SETTINGS,
            **self._storage.environment,
            "ANSIBLE_REMOTE_TEMP": self._storage.environment["TMPDIR"],
            "ANSIBLE_ROLES_PATH": ansible_roles.search_path(
                os.environ, Path.cwd()
            ),
        }
