"""The images that a preparation changes before it stores them.

Each is brought into a workspace, by the one copy that everything goes by, is
changed there, and is a source of copies then like any other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from imageprep_client import errors
from imageprep_client.container import changes
from imageprep_client.container.copying import Copying
from imageprep_client.container.request import ImageStores, PrepareRequest, Row
from imageprep_client.container.worklist import WorkItem
from imageprep_client.modify.base import Modifier
from imageprep_client.observer import ImageOutcome, Observer, Phase
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base
from imageprep_client.transfer import graph
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.workers import Workers


class Workspace(Modifier, Protocol):
    """Local storage for one run, empty at first, gone at the end.

    Names are those of local storage, ``registry/repository:tag``.
    """

    def landing(self, name: str) -> tuple[base.Store, str]:
        """Where to copy the image of this name to, and as which tag."""
        ...

    def bring_in(self, name: str) -> None:
        """Take what has landed into local storage.

        :raises StoreError: when that cannot be done.
        """
        ...

    def names(self) -> Collection[str]:
        """The names of all images in it."""
        ...

    def store(
        self, name: str, going_to: base.ReadableStore
    ) -> base.ReadableStore:
        """The images of a name without its tag, to copy them from."""
        ...

    def keep(self, name: str) -> None:
        """Leave an image in the local storage of this host."""
        ...


class Workspaces(Protocol):
    """Opens workspaces."""

    def check(self, ansible_role: str, tasks_from: str) -> None:
        """See that images can be changed by this role.

        :raises InvalidArgument: when something is missing for it.
        """
        ...

    def open(self) -> contextlib.AbstractContextManager[Workspace]:
        """A workspace; all that was made there is removed at the end."""
        ...


@dataclasses.dataclass(slots=True)
class Modified:
    """The images of a run that are changed, and how far they are.

    :ivar copies: of images that were made, by the target of their item.
    :ivar rows: what became of the others.
    """

    copies: dict[str, Copy] = dataclasses.field(default_factory=dict)
    rows: list[Row] = dataclasses.field(default_factory=list)
    failures: list[errors.ImagePrepError] = dataclasses.field(
        default_factory=list
    )

    def leave(self, item: WorkItem) -> None:
        """Another image's failure ended the run before this one."""
        self.rows.append(_row(item, ImageOutcome.LEFT))

    def fail(self, item: WorkItem, error: errors.ImagePrepError) -> None:
        """There is no such image."""
        self.rows.append(_row(item, ImageOutcome.FAILED, error=str(error)))
        self.failures.append(error)


class Modifying:
    """Changes images; used for one preparation.

    :param copying: copies images into the workspace.
    """

    def __init__(
        self,
        request: PrepareRequest,
        workspaces: Workspaces,
        stores: ImageStores,
        copying: Copying,
        observer: Observer,
    ) -> None:
        self._request = request
        self._workspaces = workspaces
        self._stores = stores
        self._copying = copying
        self._observer = observer
        # Of two, one waits for a disk now and then.
        self._concurrency = request.modify_concurrency or 2 * (
            os.cpu_count() or 1
        )

    def settled(self, items: Sequence[WorkItem]) -> Modified:
        """The images whose destination has the modified tag already.

        :returns: their rows, and those of destinations that do not say.
        """
        found = Modified()

        def look(item: WorkItem) -> None:
            current = self._current(item)
            if current is not None:
                present = ImageOutcome.PRESENT
                found.rows.append(_row(item, present, digest=current.digest))

        with Workers(
            self._copying.concurrency, keep_going=self._request.keep_going
        ) as workers:
            for item, error in workers.each(look, items):
                found.fail(
                    item,
                    errors.CopyError(
                        "resolve", "destination", item.target, error
                    ),
                )
        return found

    @contextlib.contextmanager
    def changed(self, items: Sequence[WorkItem]) -> Iterator[Modified]:
        """The images of these items, as long as the context lasts.

        Those that are in place are not made again. Without ``keep_going``
        nothing more is tried after the first failure.

        :param items: all have a modification.
        :raises InputError: when they cannot be changed; nothing was done.
        """
        modified = self.settled(items)
        settled = {row.destination for row in modified.rows}
        todo = [item for item in items if item.target not in settled]
        if modified.failures and not self._request.keep_going:
            for item in todo:
                modified.leave(item)
            todo = []
        if not todo:
            yield modified
            return
        self.check(todo)
        sources = changes.by_source(todo)
        with self._workspaces.open() as workspace:
            arrived = self._bring_in(workspace, sources, modified)
            self._change(workspace, arrived, modified)
            yield modified
            self._keep(workspace, sources, modified)

    def _current(self, item: WorkItem) -> Descriptor | None:
        """What the destination has as the modified tag."""
        store = self._stores.destination(
            item.push_destination, item.repository
        )
        try:
            found = store.resolve(item.tag)
        except errors.NotFound:
            return None
        if isinstance(store, base.ChecksGraph) and not store.holds(found):
            return None
        return found

    def check(self, items: Sequence[WorkItem]) -> None:
        """See that these can be changed at all; no network is used.

        :param items: all have a modification.
        :raises InputError: when they cannot.
        """
        changes.by_source(items)
        if items and len(self._request.platforms) > 1:
            raise errors.InvalidArgument(
                "images cannot be modified and copied for several platforms",
                hint="give one --platform",
            )
        checked: set[tuple[str, str]] = set()
        for item in items:
            changes.check_directories(item)
            change = changes.change(item)
            needs = (change.ansible_role, change.tasks_from)
            if needs in checked:
                continue
            checked.add(needs)
            try:
                self._workspaces.check(*needs)
            except errors.InvalidArgument as error:
                raise errors.InvalidFile(
                    item.entry.path,
                    str(error),
                    key=f"{item.entry.key}.modify_role",
                    hint=error.hint,
                ) from error

    def _bring_in(
        self,
        workspace: Workspace,
        sources: dict[str, list[WorkItem]],
        modified: Modified,
    ) -> list[WorkItem]:
        """Copy and take in every source once; the items whose is there."""
        copies = [
            self._landing(workspace, name, items[0])
            for name, items in sources.items()
        ]
        failed: dict[str, errors.ImagePrepError] = {}
        landed = []
        for name, result in zip(
            sources, self._copying.run(copies), strict=True
        ):
            if result.error:
                failed[name] = result.error
            elif result.outcome is not ImageOutcome.LEFT:
                landed.append(name)
        if failed and not self._request.keep_going:
            landed = []
        with Workers(
            self._concurrency, keep_going=self._request.keep_going
        ) as workers:
            for name, error in workers.each(workspace.bring_in, landed):
                told = str(error).removeprefix(f"{name}: ")
                failed[name] = errors.ModifyError(
                    f"{name}: cannot be brought into local storage: {told}",
                    hint=error.hint,
                )
        arrived = []
        for name, items in sources.items():
            for item in items:
                if name in failed:
                    modified.fail(item, failed[name])
                elif name not in landed or (
                    failed and not self._request.keep_going
                ):
                    modified.leave(item)
                else:
                    arrived.append(item)
        return arrived

    def _landing(
        self, workspace: Workspace, name: str, item: WorkItem
    ) -> Copy:
        store, tag = workspace.landing(name)
        wanted = self._request.platforms or [graph.host_platform()]
        return Copy(
            name=str(item.source),
            source=self._stores.source(item.source),
            reference=item.source.identifier,
            destination=store,
            tag=tag,
            platforms=graph.OnePlatform(wanted[0]),
            descriptor=self._copying.known(item.source),
            admission=self._stores.admission(item.source),
        )

    def _change(
        self,
        workspace: Workspace,
        items: Sequence[WorkItem],
        modified: Modified,
    ) -> None:
        """Let the roles do their work, and find what they made."""
        if not items:
            return
        self._observer.phase(Phase.MODIFY, len(items))
        wanted = [changes.change(item) for item in items]
        results = workspace.modify(
            wanted,
            concurrency=self._concurrency,
            keep_going=self._request.keep_going,
            observer=self._observer,
        )
        names = workspace.names()
        stopped = not self._request.keep_going and any(
            result.error for result in results
        )
        for item, result in zip(items, results, strict=True):
            if result.error is not None:
                modified.fail(item, result.error)
            elif not result.done and stopped:
                modified.leave(item)
            elif not result.done:
                modified.fail(item, changes.ended_early(result.change))
            else:
                name = changes.made(result.change, wanted, names)
                if name:
                    modified.copies[item.target] = self._copy(
                        workspace, item, name
                    )
                else:
                    modified.fail(item, changes.made_nothing(result.change))

    def _copy(self, workspace: Workspace, item: WorkItem, name: str) -> Copy:
        """Of the image that was made to where it is pushed."""
        repository, _, tag = name.rpartition(":")
        destination = self._stores.destination(
            item.push_destination, item.repository
        )
        return Copy(
            name=name,
            source=workspace.store(repository, destination),
            reference=tag,
            destination=destination,
            tag=item.tag,
        )

    def _keep(
        self,
        workspace: Workspace,
        sources: Collection[str],
        modified: Modified,
    ) -> None:
        """Leave in local storage what the user wants there."""
        kept = [copy.name for copy in modified.copies.values()]
        if self._request.cleanup == "none":
            there = workspace.names()
            kept += [name for name in sources if name in there]
        if self._request.cleanup != "full":
            for name in dict.fromkeys(kept):
                try:
                    workspace.keep(name)
                except errors.StoreError as error:
                    # The images are pushed: that is what the run is for.
                    self._observer.warning(
                        f"{name}: not kept in local storage: {error}"
                    )


def _row(
    item: WorkItem, outcome: ImageOutcome, *, digest: str = "", error: str = ""
) -> Row:
    return Row(
        image=item.image,
        source=str(item.source),
        destination=item.target,
        digest=digest,
        outcome=outcome,
        error=error,
    )
