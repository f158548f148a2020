"""Containers that units of systemd own: TripleO's, EDPM's and kolla's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk, files, inputs
from imageprep_client.observer import Observer
from imageprep_client.programs import systemd
from imageprep_client.programs.podman import InspectedContainer, Podman
from imageprep_client.service.holding import TargetContainer
from imageprep_client.service.journal import StateDirectory
from imageprep_client.service.owners import Owner

_UNITS = tuple(
    Path(directory)
    for directory in (
        "/etc/systemd/system",
        "/run/systemd/system",
        "/run/systemd/generator",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
    )
)
_QUADLETS = tuple(
    Path(directory)
    for directory in (
        "/etc/containers/systemd",
        "/run/containers/systemd",
        "/usr/share/containers/systemd",
    )
)
_LABEL = "PODMAN_SYSTEMD_UNIT"
_DROP_IN = "50-image-prepare.conf"
#: Versions of podman with Quadlet that do not read drop-ins.
_WITHOUT_DROP_INS = ((4, 4), (5, 0))
_IMAGE = re.compile(
    rb"^[ \t]*Image[ \t]*=[ \t]*(?P<image>.*?)[ \t]*$", re.MULTILINE
)
_KOLLA = re.compile(r"kolla-(?P<name>.+)-container\.service")
_CREATES = re.compile(rb"^ExecStart=.*podman.* run ", re.MULTILINE)


class OwnedElsewhere(errors.InvalidArgument):
    """Only another program may change a container.

    :ivar owner: that program, or the unit that runs it.
    """

    def __init__(self, message: str, *, owner: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.owner = owner


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceHost:
    """The host whose services are changed.

    :ivar state: the journal and the other files of these commands.
    """

    podman: Podman
    state: StateDirectory
    observer: Observer

    def owner(
        self, name: str, container: InspectedContainer | None, unit: str = ""
    ) -> Owner:
        """The owner of a container.

        :param container: None when there is none, or it is gone.
        :param unit: its last known unit.
        :raises OwnedElsewhere: when only another program may change it.
        """
        labelled = container.labels.get(_LABEL, "") if container else ""
        kolla = f"kolla-{name}-container.service"
        if _KOLLA.fullmatch(labelled) or _exists(kolla):
            raise OwnedElsewhere(
                f"{name}: belongs to kolla-ansible ({labelled or kolla})",
                owner="kolla-ansible",
                hint="change the image with kolla-ansible: kolla-ansible"
                f" upgrade --tags {name.partition('_')[0]} --limit HOST",
            )
        candidates = (
            unit,
            labelled,
            f"tripleo_{name}.service",
            f"edpm_{name}.service",
            f"{name}.service",
        )
        for candidate in filter(None, candidates):
            stem = candidate.removesuffix(".service")
            quadlet = _file(_QUADLETS, f"{stem}.container")
            if quadlet and _is_for(quadlet, name, stem):
                return QuadletOwner(
                    candidate, quadlet, self.podman, self.state
                )
            named = candidate in (unit, labelled)
            ours = candidate.startswith(("tripleo_", "edpm_"))
            if named or (ours and _exists(candidate)):
                _check_starts(name, candidate)
                return UnitOwner(candidate, self.podman, self.state)
        return Owner(self.podman, self.state)


def _file(directories: tuple[Path, ...], name: str) -> Path | None:
    paths = (directory / name for directory in directories)
    return next((path for path in paths if path.is_file()), None)


def _exists(unit: str) -> bool:
    return _file(_UNITS, unit) is not None or systemd.is_loaded(unit)


def _is_for(quadlet: Path, name: str, stem: str) -> bool:
    """Whether a Quadlet file makes the container of this name."""
    content = inputs.read(quadlet)
    match = re.search(rb"^ContainerName=(.*)$", content, re.MULTILINE)
    own = match[1].decode().strip() if match else f"systemd-{stem}"
    return own == name


def _check_starts(name: str, unit: str) -> None:
    """Check that a unit starts a container that exists.

    :raises OwnedElsewhere: when it makes one of its own at each start.
    """
    path = _file(_UNITS, unit)
    if path and _CREATES.search(inputs.read(path)):
        raise OwnedElsewhere(
            f"{name}: {path} creates the container at each start",
            owner=unit,
            hint="change the image in the unit, then restart it",
        )


class UnitOwner(Owner):
    """Changes containers that a unit starts and stops, as TripleO's are."""

    def __init__(
        self, unit: str, podman: Podman, state: StateDirectory
    ) -> None:
        super().__init__(podman, state)
        self.unit = unit

    def start(self, name: str) -> None:
        systemd.allow_start(self.unit)
        systemd.start(self.unit)

    def halt(self) -> None:
        systemd.halt(self.unit)

    def stop(self, container: InspectedContainer) -> None:
        systemd.halt(self.unit)
        super().stop(self._again(container))

    def remove(
        self, current: InspectedContainer, seconds: int | None = None
    ) -> None:
        systemd.halt(self.unit)
        super().remove(self._again(current), seconds)

    def _again(self, container: InspectedContainer) -> InspectedContainer:
        """The container as the unit has left it."""
        return self._podman.container(container.id) or container


class QuadletOwner(UnitOwner):
    """Changes containers of Quadlet files, as EDPM's are, by a drop-in.

    The drop-in has the image by its digest; the file stays as it is, unless
    podman is too old for drop-ins. Stopping the unit removes the container, so
    podman is not asked to.
    """

    declares_options = True

    def __init__(
        self, unit: str, path: Path, podman: Podman, state: StateDirectory
    ) -> None:
        super().__init__(unit, podman, state)
        self._path = path

    def replace(
        self, current: InspectedContainer | None, target: TargetContainer
    ) -> None:
        self.create(target)
        if target.runs:
            systemd.allow_start(self.unit)
            systemd.restart(self.unit)

    def create(self, target: TargetContainer) -> None:
        self.configure(target.image)

    @property
    def _file(self) -> Path:
        """The file that has the image."""
        first, last = _WITHOUT_DROP_INS
        if first <= self._podman.information().version < last:
            return self._path
        directory = self._path.parent
        if directory == _QUADLETS[-1]:
            # It is a distribution's, and its file system may be read-only.
            directory = _QUADLETS[0]
        return directory / f"{self._path.name}.d" / _DROP_IN

    @property
    def configured(self) -> str:
        try:
            match = _IMAGE.search(inputs.read(self._file))
        except FileNotFoundError:
            return ""
        return match["image"].decode(errors="surrogateescape") if match else ""

    def configure(self, image: str) -> None:
        file = self._file
        if file == self._path:
            content = inputs.read(file)
            line = f"Image={image}".encode(errors="surrogateescape")
            files.write(str(file), _IMAGE.sub(lambda _: line, content, 1))
        elif not image:
            with disk.reported(file):
                file.unlink(missing_ok=True)
        else:
            with disk.reported(file.parent):
                file.parent.mkdir(parents=True, exist_ok=True)
            files.write(
                str(file),
                "# Written by openstack image-prepare service.\n"
                f"[Container]\nImage={image}\nPull=never\n",
                mode=0o644,
            )
        systemd.reload_files()

    def remove(
        self, current: InspectedContainer, seconds: int | None = None
    ) -> None:
        systemd.halt(self.unit)

    def stop(self, container: InspectedContainer) -> None:
        systemd.halt(self.unit)
