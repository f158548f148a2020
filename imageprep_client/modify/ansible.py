"""Change images by ansible roles, in one run of ansible for all of them.

Starting ansible takes as long as several tasks. All images are therefore
hosts of one inventory, see `modify.playbook`, and ansible changes several of
them at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import ansible, errors
from imageprep_client.host import disk
from imageprep_client.modify import ansible_roles, playbook
from imageprep_client.modify.base import Changed, ImageChange
from imageprep_client.modify.results import Changes
from imageprep_client.modify.storage import PrivateStorage
from imageprep_client.observer import Observer

#: Overrides for settings of users that would break the change of images.
_SETTINGS = {
    "ANSIBLE_ANY_ERRORS_FATAL": "False",
    "ANSIBLE_BECOME": "False",
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_KEEP_REMOTE_FILES": "False",
    # Modules are not copied to a file first, which saves time in each task.
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_STRATEGY": "linear",
}


def check(ansible_role: str, variables: Mapping[str, Any]) -> None:
    """Check that ansible is installed and can run the role.

    :raises InvalidArgument: when a program, the role or its tasks are missing.
    :raises InvalidVariable: when the role cannot use a variable.
    """
    ansible.check_installed("images cannot be modified")
    tasks_from = str(variables.get("tasks_from") or "")
    home = ansible_roles.check(
        ansible_role, tasks_from, os.environ, Path.cwd()
    )
    # A role of the user may have the name of the shipped one.
    if home == ansible_roles.SHIPPED / ansible_roles.ROLE:
        ansible_roles.check_variables(variables)


def modify(
    storage: PrivateStorage,
    changes: Sequence[ImageChange],
    *,
    concurrency: int,
    keep_going: bool,
    observer: Observer,
) -> Sequence[Changed]:
    """Change images in a storage; see `Workspace.modify`."""
    results = Changes(changes, observer)
    try:
        run = ansible.run(
            playbook.plays(changes, keep_going=keep_going),
            playbook.inventory(changes),
            on_event=results.note,
            forks=concurrency,
            environment=_environment(storage),
            secrets=[text for c in changes for text in c.secrets],
            directory=storage.directory,
            watch=disk.Reserve(storage.directory).check,
        )
    except errors.NoSpace as error:
        raise errors.ModifyError(
            f"ansible: {error}",
            hint="make room there, or look for an image or a role that writes"
            " without end",
        ) from error
    return results.of(run)


def _environment(storage: PrivateStorage) -> Mapping[str, str]:
    """Variables to add to the environment of ansible."""
    roles = ansible_roles.search_path(os.environ, Path.cwd())
    return {
        **_SETTINGS,
        **storage.environment,
        "ANSIBLE_REMOTE_TEMP": storage.environment["TMPDIR"],
        "ANSIBLE_ROLES_PATH": roles,
    }
