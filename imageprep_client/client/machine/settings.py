"""Settings of machines for systemd-nspawn."""

from __future__ import annotations

from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import files
from imageprep_client.machine.nspawn import declaration
from imageprep_client.machine.nspawn import files as settings
from imageprep_client.machine.nspawn.files import SettingsFiles
from imageprep_client.programs import systemd

__all__ = ["SYSTEMD", "SettingsFiles", "render", "write"]

#: The configuration of systemd.
SYSTEMD = Path("/etc/systemd")


def render(
    machine: str, path: str, version: int | None = None
) -> SettingsFiles:
    """The settings of a machine; see `machine.nspawn.declaration`.

    :param path: the declaration.
    :param version: that of systemd; by default the installed one.
    :raises InvalidArgument: when no version is given and none installed.
    """
    if version is None:
        try:
            version = systemd.version()
        except systemd.SystemdError as error:
            raise errors.InvalidArgument(
                f"the version of systemd is not known: {error}",
                hint="name it with --systemd",
            ) from error
    return settings.render(machine, declaration.read(path), version)


def write(rendered: SettingsFiles, directory: Path = SYSTEMD) -> list[str]:
    """Put the settings in place, and enable the unit.

    A drop-in of earlier settings that has no limits now is removed. A
    machine that runs has its new settings after its next start.

    :returns: the paths that were written.
    :raises PartialFailure: when something failed after the first of them.
    """
    written: list[str] = []
    try:
        for path, text in rendered.paths(directory):
            if text:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                files.write(str(path), text, mode=0o644)
                written.append(str(path))
            else:
                path.unlink(missing_ok=True)
        systemd.reload()
        systemd.enable(rendered.unit)
    except errors.ImagePrepError as error:
        if not written:
            raise
        raise errors.PartialFailure(
            f"{', '.join(written)}: written, but {rendered.unit} is not"
            " enabled",
            [error],
        ) from error
    return written
