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


def check_installed(purpose: str) -> None:
    """See that ansible and ansible-runner are installed.

    :param purpose: what cannot be done without them, such as ``images cannot
        be modified``.
    :raises InvalidArgument: naming what is missing.
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
    """The PATH for ansible: first the programs of this Python."""
    given = environment.get("PATH", os.defpath)
    return os.pathsep.join([str(Path(sys.executable).parent), given])


def configuration(
    environment: Mapping[str, str], directory: Path
) -> Path | None:
    """The configuration file that ansible would use, or None.

    In the order of ansible's documentation; like ansible, it ignores the file
    of a working directory that everybody may write to.

    :param directory: the working directory.
    """
    named = environment.get("ANSIBLE_CONFIG")
    if named:
        given = directory / Path(named).expanduser()
        return given / "ansible.cfg" if given.is_dir() else given
    candidates = [Path("~/.ansible.cfg"), Path("/etc/ansible/ansible.cfg")]
    if not directory.stat().st_mode & 0o002:
        candidates.insert(0, directory / "ansible.cfg")
    existing = (candidate.expanduser() for candidate in candidates)
    return next((each for each in existing if each.is_file()), None)
