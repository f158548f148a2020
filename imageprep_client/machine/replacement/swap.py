"""Exchange two roots of a machine, and undo it when the machine is not well.

Whenever the process is killed, the path of the root is the complete old root
or the complete new one. `recover` completes or reverts a killed change.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.machine.replacement import runtime as runtimes
from imageprep_client.machine.replacement import versions
from imageprep_client.machine.replacement.exchange import exchange, identity
from imageprep_client.machine.replacement.journal import (
    ChangeRecord,
    Journal,
    Step,
)
from imageprep_client.machine.replacement.runtime import Runtime
from imageprep_client.observer import Observer

#: The name of a new root in its temporary directory.
_NAME = "root"
#: Seconds that a machine that is not well has for its end.
_SHORT = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The time that a machine is given.

    :ivar stop: seconds to stop cleanly; then it is killed.
    :ivar start: seconds until it is well again.
    """

    stop: int = 60
    start: float = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SwapResult:
    """A change of a root that was made.

    :ivar archived: the old root, None when it is not kept.
    :ivar outage: seconds between the end of the running machine and its new
        start, both with the time that the machine itself takes; None when it
        did not run.
    :ivar added: seconds of them that are not the machine's own.
    """

    archived: Path | None
    outage: float | None
    added: float | None


class Swap:
    """One change of a root; the caller holds the lock of the journal.

    :param record: the change, as far as it was made.
    """

    def __init__(
        self,
        journal: Journal,
        record: ChangeRecord,
        runtime: Runtime,
        observer: Observer,
    ) -> None:
        self._journal = journal
        self._record = record
        self._runtime = runtime
        self._observer = observer
        self._root = Path(record.root)
        self._beside = Path(record.beside)

    def prepare(self, make: Callable[[Path], None]) -> None:
        """Make the new root under a temporary name, then name it.

        :param make: makes the root at a path that is not there yet.
        """
        self._journal.write(self._record)
        temporary = Path(self._record.temporary)
        try:
            with disk.reported(self._root):
                # Nobody else may enter it while it is not judged as a whole.
                temporary.mkdir(mode=0o700)
                make(temporary / _NAME)
                disk.synchronise(temporary)
                (temporary / _NAME).rename(self._beside)
                temporary.rmdir()
        except BaseException:
            self._abandon()
            raise

    def run(
        self, check: str | None, patience: Patience, last: Callable[[], None]
    ) -> SwapResult:
        """Exchange the roots; an error restores the old one.

        :param last: is called when the machine has stopped.
        :raises PartialFailure: when the machine was not well with the new
            root and has its old one again, or is not well with that either.
        """
        try:
            new = identity(self._beside)
            self._record = dataclasses.replace(
                self._record.at(Step.PREPARED, new=new), stop=patience.stop
            )
            self._journal.write(self._record)
            before = runtimes.addresses(self._runtime.leader())
        except BaseException:
            self._abandon()
            raise
        outage = added = None
        try:
            self._journal.write(self._record.at(Step.SWITCHING))
            if self._record.was_running:
                self._runtime.stop(patience.stop)
            stopped = time.monotonic()
            with disk.reported(self._root):
                last()
                exchange(self._root, self._beside)
            exchanged = time.monotonic()
            if self._record.was_running:
                self._runtime.start()
                outage = time.monotonic() - stopped
                added = exchanged - stopped
                self._journal.write(self._record.at(Step.WAITING))
                runtimes.wait_until_well(
                    self._runtime,
                    before,
                    check,
                    self._record.machine,
                    patience.start,
                )
        except errors.ImagePrepError as error:
            self._restore(error)
            raise errors.PartialFailure(
                f"{error}; the old root was restored", hint=error.hint
            ) from error
        except BaseException as error:
            # The machine may be stopping.
            self._record = self._record.at(Step.SWITCHING)
            self._restore(error)
            raise
        self._record = self._record.at(Step.KEPT)
        self._journal.write(self._record)
        return SwapResult(archived=self.finish(), outage=outage, added=added)

    def _restore(self, cause: BaseException) -> None:
        try:
            self.undo()
        except errors.ImagePrepError as error:
            raise errors.PartialFailure(
                f"{self._record.machine}: the old root could not be restored"
                " and started",
                [
                    failure
                    for failure in (cause, error)
                    if isinstance(failure, errors.ImagePrepError)
                ],
                hint="remove the cause; the next command for this machine"
                " restores it",
            ) from error

    def undo(self) -> None:
        """Give the machine its old root again, and start it if it ran."""
        record = self._record
        is_new = bool(record.new) and identity(self._root) == record.new
        # A machine that is told to stop does so, also when its command is
        # killed.
        stops = record.was_running and record.step is Step.SWITCHING
        if (is_new or stops) and self._runtime.leader() is not None:
            self._runtime.stop(_SHORT if is_new else record.stop)
        if is_new:
            exchange(self._root, self._beside)
        self._discard_new()
        if record.was_running and self._runtime.leader() is None:
            self._observer.note(
                f"{record.machine}: starting it with its old root"
            )
            self._runtime.start()
        self._journal.clear()

    def _abandon(self) -> None:
        """Forget the change, of which the machine has noticed nothing."""
        self._discard_new()
        self._journal.clear()

    def _discard_new(self) -> None:
        """Delete the new root, unless it is a kept version."""
        if self._record.temporary:
            for path in (Path(self._record.temporary), self._beside):
                _discard(self._root, path, self._observer, hide=True)

    def finish(self) -> Path | None:
        """Keep the old root under its name, and delete older versions.

        :returns: the old root; None when it is not kept.
        """
        archived = Path(self._record.archived)
        if self._beside != archived and self._beside.exists():
            self._beside.rename(archived)
        for known in versions.kept(self._root)[self._record.keep :]:
            _discard(self._root, known.path, self._observer)
        self._journal.clear()
        return archived if archived.exists() else None


def recover(
    journal: Journal, root: Path, runtime: Runtime, observer: Observer
) -> None:
    """Finish or undo the change that a killed command left, if any."""
    record = journal.read()
    if record is not None:
        swap = Swap(journal, record, runtime, observer)
        if record.step is Step.KEPT:
            swap.finish()
            observer.note(f"{record.machine}: completed an interrupted change")
        else:
            swap.undo()
            observer.note(f"{record.machine}: reverted an interrupted change")
    for path in versions.leftovers(root):
        _discard(root, path, observer)


def _discard(
    root: Path, path: Path, observer: Observer, *, hide: bool = False
) -> None:
    """Delete what is no longer needed; failures are no reason to stop.

    The next command deletes it if it has a temporary name by then.

    :param hide: give it a temporary name, also where a mount in it keeps it
        from being deleted.
    """
    try:
        with disk.reported(root):
            if hide and path.exists():
                path = versions.hide(root, path)
            versions.delete(root, path)
    except errors.ImagePrepError as error:
        hint = f" ({error.hint})" if error.hint else ""
        observer.warning(f"not deleted: {error}{hint}")
