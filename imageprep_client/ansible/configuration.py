"""The installed ansible and its configuration file."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from imageprep_client import errors

_PROGRAM = "ansible-playbook"
#: Overrides for settings of users that would break a run: prompts for
#: passwords, and callbacks that write to the output.
_SETTINGS: Mapping[str, str] = {
    "ANSIBLE_ASK_PASS": "False",
    "ANSIBLE_BECOME_ASK_PASS": "False",
    # ansible-runner uses this one anyway, and the list cannot be empty.
    "ANSIBLE_CALLBACKS_ENABLED": "awx_display",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_NOCOLOR": "True",
    "ANSIBLE_NOCOWS": "True",
    "ANSIBLE_VERBOSITY": "0",
}


def check_installed(purpose: str) -> None:
    """Check that ansible and ansible-runner are installed.

    :param purpose: the consequence if they are not, such as ``images cannot
        be modified``.
    :raises InvalidArgument: with the names of missing programs.
    """
    missing = [
        name
        for name, module in (
            ("ansible-core", "ansible"),
            ("ansible-runner", "ansible_runner"),
        )
        if importlib.util.find_spec(module) is None
    ]
    if not missing and shutil.which(_PROGRAM, path=path(os.environ)) is None:
        missing = [_PROGRAM]
    if missing:
        raise errors.InvalidArgument(
            f"{purpose}: {' and '.join(missing)}"
            f" {'is' if len(missing) == 1 else 'are'} not installed",
            hint="pip install imageprep-client[modify]",
        )


def path(environment: Mapping[str, str]) -> str:
    """The PATH for ansible: the programs of this Python come first."""
    given = environment.get("PATH", os.defpath)
    return os.pathsep.join([str(Path(sys.executable).parent), given])


def configuration(
    environment: Mapping[str, str], directory: Path
) -> Path | None:
    """The configuration file that ansible uses, or None.

    Files are searched in the documented order of ansible. As in ansible, the
    file of a world-writable working directory is ignored.

    :param directory: the working directory.
    """
    named = environment.get("ANSIBLE_CONFIG")
    if named:
        given = directory / Path(named).expanduser()
        return given / "ansible.cfg" if given.is_dir() else given
    candidates = [Path("~/.ansible.cfg"), Path("/etc/ansible/ansible.cfg")]
    if not directory.stat().st_mode & 0o002:
        candidates.insert(0, directory / "ansible.cfg")
    paths = (candidate.expanduser() for candidate in candidates)
    return next((path for path in paths if path.is_file()), None)


def variables(private: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to the environment of ansible.

    :param private: the directory for its temporary files.
    :param environment: further ones.
    """
    settings = configuration(os.environ, Path.cwd())
    return {
        **_SETTINGS,
        **({"ANSIBLE_CONFIG": str(settings)} if settings else {}),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        **environment,
        "PATH": path(os.environ),
    }
