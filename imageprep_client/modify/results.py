"""The result of a run of ansible for each image."""

from __future__ import annotations

from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.ansible import Event, HostFailure, HostState, RunResult
from imageprep_client.modify import playbook
from imageprep_client.modify.base import Changed, ImageChange
from imageprep_client.observer import ImageOutcome, Observer

_FAILED = (HostState.FAILED, HostState.UNREACHABLE)


class Changes:
    """The changes of one run in their order."""

    def __init__(
        self, changes: Sequence[ImageChange], observer: Observer
    ) -> None:
        self._changes = {
            playbook.host(i): change for i, change in enumerate(changes)
        }
        self._observer = observer
        self._done: set[str] = set()

    def note(self, event: Event) -> None:
        """Report an image that is done to the observer."""
        if event.ok and event.task == playbook.DONE:
            self._done.add(event.host)
            change = self._changes[event.host]
            self._observer.image_finished(
                change.source_image, ImageOutcome.CHANGED
            )

    def of(self, run: RunResult) -> Sequence[Changed]:
        """The result of each change.

        :raises ModifyError: when no image is done, and ansible gave no reason
            for any of them.
        """
        results = [self._changed(*item, run) for item in self._changes.items()]
        if not run.complete and not any(r.done or r.error for r in results):
            raise errors.ModifyError(f"ansible: {run.reason}", log=run.log)
        return results

    def _changed(
        self, name: str, change: ImageChange, run: RunResult
    ) -> Changed:
        if name in self._done:
            return Changed(change, True)
        host = run.hosts[name]
        if host.state not in _FAILED or host.failure is None:
            return Changed(change, False)
        return Changed(change, False, _error(change, host.failure))


def _error(change: ImageChange, failure: HostFailure) -> errors.ModifyError:
    role = f"{change.source_image}: ansible role {change.ansible_role}"
    message = failure.message.removeprefix(f"{change.source_image}: ")
    told = (
        f"{role} failed: {message}"
        if failure.task is None
        else f"{role}: task {failure.task!r} failed: {message}"
    )
    # A task that fails on purpose says no more than its message.
    log = () if failure.log == (failure.message,) else failure.log
    return errors.ModifyError(told, log=log)
