"""The record of a change of a root, so that a killed one can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from imageprep_client import errors
from imageprep_client.host import files, inputs, locks

_LIMIT = 1 << 20
#: Seconds to wait for another command that changes the same machine.
_PATIENCE = 10.0


class Step(enum.StrEnum):
    """The last step that a change has begun."""

    #: The new root is being made under a temporary name.
    PREPARING = "preparing"
    #: The new root is whole and has the name of a kept version.
    PREPARED = "prepared"
    #: The machine is being stopped, its root exchanged, and it is started.
    SWITCHING = "switching"
    #: The machine was started with the new root and is being watched.
    WAITING = "waiting"
    #: The new root stays; the old one becomes a kept version.
    KEPT = "kept"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecord:
    """A change of a machine's root.

    :ivar root: the path of the root.
    :ivar beside: the path of the other root: the new one before the
        exchange, the old one after it.
    :ivar temporary: the path of the new root while it is being made; empty
        for a root that is there already.
    :ivar archived: the path that the old root gets in the end.
    :ivar old: the identity of the old root, see `replacement.exchange`.
    :ivar new: that of the new one; empty while it is being made.
    :ivar was_running: whether the machine is to run in the end.
    :ivar keep: the number of kept versions in the end.
    :ivar stop: the seconds that the machine has to stop cleanly.
    """

    machine: str
    root: str
    beside: str
    temporary: str
    archived: str
    old: str
    was_running: bool
    keep: int
    new: str = ""
    stop: int = 60
    step: Step = Step.PREPARING

    def at(self, step: Step, *, new: str | None = None) -> ChangeRecord:
        """The record of a later step."""
        identity = self.new if new is None else new
        return dataclasses.replace(self, step=step, new=identity)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read what `Journal.write` wrote.

        :raises TypeError: when fields are missing.
        :raises ValueError: when a field has no valid value.
        """
        return cls(**{**data, "step": Step(data["step"])})


class Journal:
    """The record of the change of one root, in a directory of its own.

    :param directory: where records are; it is made for this user alone.
    :param root: the path of the root.
    """

    def __init__(self, directory: Path, root: Path) -> None:
        self._directory = directory
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        self._path = directory / f"{name}.json"
        self._lock = directory / f"{name}.lock"
        self._images = directory / f"{name}.image"
        self._root = root

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other commands that change or export the root.

        :raises StoreError: when one is at work.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            descriptor = os.open(self._lock, flags, 0o600)
        except OSError as error:
            raise errors.InvalidFile(
                str(self._directory),
                f"cannot be used for journals: {errors.reason(error)}",
                hint=errors.as_root(error),
            ) from error
        try:
            with locks.locked(descriptor, timeout=_PATIENCE):
                yield
        except BlockingIOError:
            owner = locks.owner(descriptor)
            process = f" (process {owner})" if owner else ""
            raise errors.StoreError(
                f"{self._root}: another command{process} uses it",
                hint="try again when it is done",
            ) from None
        finally:
            os.close(descriptor)

    def read(self) -> ChangeRecord | None:
        """The record of a change that was not finished, or None.

        :raises InvalidFile: when it cannot be used.
        """
        try:
            data = json.loads(inputs.read(self._path, _LIMIT))
            return ChangeRecord.from_json(data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise errors.InvalidFile(
                str(self._path),
                f"is no journal of a change: {errors.reason(error)}",
                hint=f"look at {self._root} and what is beside it, then remove"
                " the file",
            ) from None

    def write(self, record: ChangeRecord) -> None:
        """Write a step; it is on the disk when this returns."""
        text = json.dumps(dataclasses.asdict(record), indent=1)
        files.write(str(self._path), text, mode=0o600)

    def clear(self) -> None:
        """Forget the change, which is finished or undone."""
        self._path.unlink(missing_ok=True)

    def note_image(self, root: str, image: str) -> None:
        """Remember the image that a root was made from.

        :param root: its identity.
        """
        files.write(str(self._images), f"{root} {image}\n", mode=0o600)

    def image(self, root: str) -> str | None:
        """The image that a root was made from; None when it is not known."""
        try:
            text = inputs.read(self._images, _LIMIT).decode(errors="replace")
        except OSError:
            return None
        known, _, image = text.strip().partition(" ")
        return image or None if known == root else None
