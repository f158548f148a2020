"""The journal, the history and the last declaration, on the disk.

Below a directory of this user's, with mode 0700:

``journal.json``
    what a command is about to do; absent when nothing is unfinished.
``history.jsonl``
    a line for each service that was changed.
``declaration.yaml``
    the declaration that was applied last.
``environment/NAME.env``
    values of a service's variables, mode 0600.

The journal and the history have names, identities and digests in them, and
no value of any variable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.host import disk, files, inputs, locks, processes

_JOURNAL = "journal.json"
_HISTORY = "history.jsonl"
_DECLARATION = "declaration.yaml"
_ENVIRONMENT = "environment"
_LOCK = "lock"
#: Bytes of the history after which it is shortened, to so many lines.
_LONG = 1 << 20
_LINES = 2000


class SwapState(enum.StrEnum):
    """How far the swap of a service is."""

    PLANNED = "planned"
    #: The old container may be stopped or gone.
    SWAPPING = "swapping"
    DONE = "done"
    REVERTED = "reverted"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SwapRecord:
    """The swap of one service.

    :ivar old_id: the container that is replaced; empty for none.
    :ivar old_running: whether it ran.
    :ivar old_digest: of its image.
    :ivar new_digest: of the image that takes its place.
    :ivar holder: the container that keeps the old image and specification.
    :ivar unit: the unit of systemd that owns the container, or empty.
    :ivar configured: the image of the unit's drop-in or file, or empty; see
        `Owner.configured`.
    :ivar depends_on: the services that it depends on, also by others.
    """

    service: str
    old_id: str = ""
    old_running: bool = False
    old_digest: str = ""
    new_digest: str = ""
    holder: str = ""
    unit: str = ""
    configured: str = ""
    depends_on: tuple[str, ...] = ()
    state: SwapState = SwapState.PLANNED

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> SwapRecord:
        """From an element of the journal."""
        fields = dict(data)
        fields["state"] = SwapState(fields["state"])
        fields["depends_on"] = tuple(fields.get("depends_on", ()))
        return cls(**fields)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SwapJournal:
    """The intention of one command.

    :ivar action: such as ``upgrade``.
    :ivar running: the services that ran before.
    :ivar revert_all: whether done swaps are to be reverted, too.
    """

    action: str
    swaps: tuple[SwapRecord, ...]
    running: tuple[str, ...] = ()
    revert_all: bool = False

    def swap(self, service: str) -> SwapRecord:
        return next(one for one in self.swaps if one.service == service)

    def with_swap(self, swap: SwapRecord) -> SwapJournal:
        """With another state of one service."""
        return dataclasses.replace(
            self,
            swaps=tuple(
                swap if one.service == swap.service else one
                for one in self.swaps
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One change of a service.

    :ivar time: in UTC, as ISO 8601 has it.
    :ivar outcome: such as ``done``, ``reverted`` or ``interrupted``.
    :ivar generation: the number of the kept container of the old
        specification; 0 for none.
    """

    time: str
    service: str
    action: str
    outcome: str
    old_digest: str = ""
    new_digest: str = ""
    generation: int = 0
    reason: str = ""


class StateDirectory:
    """The directory with all of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make it, and let nobody else look into it.

        :raises StoreError: when that cannot be done.
        """
        with disk.reported(self.path):
            for path in (self.path, self.path / _ENVIRONMENT):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                status = path.stat()
                if status.st_uid != os.geteuid():
                    raise errors.AccessDenied(
                        f"{path}: belongs to another user"
                    )
                path.chmod(0o700)

    @contextlib.contextmanager
    def locked(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold the lock of the node's services.

        :param waiting: called once, when another command has it.
        """
        path = self.path / _LOCK
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with disk.reported(path):
            descriptor = os.open(path, flags, 0o600)
        try:

            def told() -> None:
                owner = locks.owner(descriptor)
                by = f"process {owner}" if owner else "another command"
                waiting(f"{by} changes services of this node")

            with locks.locked(descriptor, waiting=told):
                yield
        finally:
            os.close(descriptor)

    def journal(self) -> SwapJournal | None:
        """The journal of a command that did not finish.

        :raises StoreError: when the file is damaged.
        """
        path = self.path / _JOURNAL
        try:
            data = json.loads(inputs.read(path))
            return SwapJournal(
                action=data["action"],
                swaps=tuple(map(SwapRecord.load, data["swaps"])),
                running=tuple(data["running"]),
                revert_all=data["revert_all"],
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise errors.StoreError(
                f"{path}: cannot be read: {errors.reason(error)}"
            ) from error
        except (ValueError, KeyError, TypeError):
            raise errors.StoreError(
                f"{path}: is damaged",
                hint="look at podman ps --all, put the services right and"
                " remove the file",
            ) from None

    def write_journal(self, journal: SwapJournal) -> None:
        """Replace the journal; it is on the disk when this returns."""
        text = json.dumps(dataclasses.asdict(journal), indent=1)
        files.write(str(self.path / _JOURNAL), f"{text}\n", mode=0o600)

    def close_journal(self) -> None:
        """Remove the journal, as nothing is unfinished."""
        with disk.reported(self.path):
            (self.path / _JOURNAL).unlink(missing_ok=True)
            disk.synchronise_directory(self.path)

    def history(self) -> list[HistoryEntry]:
        """All changes, the oldest first."""
        try:
            text = inputs.read(self.path / _HISTORY).decode(errors="replace")
        except FileNotFoundError:
            return []
        entries = []
        for line in text.splitlines():
            # A power failure may leave half a line.
            with contextlib.suppress(ValueError, TypeError):
                entries.append(HistoryEntry(**json.loads(line)))
        return entries

    def record(self, entries: Sequence[HistoryEntry]) -> None:
        """Append to the history."""
        path = self.path / _HISTORY
        if path.exists() and path.stat().st_size > _LONG:
            text = _lines([*self.history()[-_LINES:], *entries])
            files.write(str(path), text, mode=0o600)
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with disk.reported(path):
            descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(_lines(entries))
                file.flush()
                os.fsync(file.fileno())

    @property
    def declaration(self) -> Path:
        """The file with the declaration that was applied last."""
        return self.path / _DECLARATION

    def keep_declaration(self, text: bytes) -> None:
        """Keep a declaration as the one that was applied last."""
        files.write(str(self.declaration), text, mode=0o600)

    def environment_file(self, name: str) -> Path:
        """The file with values of a container's variables."""
        return self.path / _ENVIRONMENT / f"{name}.env"

    def has_environment(self, path: str) -> bool:
        """Whether a file is one of these."""
        return Path(path).parent == self.path / _ENVIRONMENT

    def write_environment(self, name: str, values: Mapping[str, str]) -> Path:
        """Write values that podman's form of such files can have."""
        path = self.environment_file(name)
        text = "".join(f"{key}={value}\n" for key, value in values.items())
        files.write(str(path), text, mode=0o600)
        return path

    def remove_environment(self, name: str) -> None:
        """Remove the values of a container that is gone."""
        with disk.reported(self.path):
            self.environment_file(name).unlink(missing_ok=True)

    def remove_environments(self, prefix: str) -> None:
        """Remove those of all containers whose name begins like this."""
        for path in (self.path / _ENVIRONMENT).glob(f"{prefix}*.env"):
            self.remove_environment(path.stem)

    @property
    def mark(self) -> str:
        """Marks the programs that commands start; see `host.processes`."""
        return f"service:{self.path}"

    def wait_for_programs(self, waiting: Callable[[str], None]) -> None:
        """Wait until what a killed command started has ended."""
        processes.wait_for_marked(self.mark, "podman", waiting)


def now() -> str:
    """The time for an entry of the history."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _lines(entries: Sequence[HistoryEntry]) -> str:
    return "".join(f"{json.dumps(dataclasses.asdict(e))}\n" for e in entries)
