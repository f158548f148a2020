"""Change images before a preparation stores them.

Each image is copied into a workspace, changed there, and copied from there to
its destination like any other image.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence

from imageprep_client import errors
from imageprep_client.container.copying import Copying, uncopied
from imageprep_client.container.modification import changes
from imageprep_client.container.modification.workspace import (
    Workspace,
    Workspaces,
)
from imageprep_client.container.request import ImageStores, PrepareRequest, Row
from imageprep_client.container.worklist import WorkItem
from imageprep_client.modify.base import InvalidVariable
from imageprep_client.observer import ImageOutcome, Observer, Phase
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base
from imageprep_client.transfer import graph
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.workers import Workers


@dataclasses.dataclass(slots=True)
class Modified:
    """The state of the modified images of a run.

    :ivar copies: copies of the changed images, by the target of their item.
    :ivar rows: results of the other images.
    :ivar failures: the errors of the failed images.
    """

    copies: dict[str, Copy] = dataclasses.field(default_factory=dict)
    rows: list[Row] = dataclasses.field(default_factory=list)
    failures: list[errors.ImagePrepError] = dataclasses.field(
        default_factory=list
    )

    def take_settled(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """Remove the rows of images that are present; their items."""
        present = [r for r in self.rows if r.outcome is ImageOutcome.PRESENT]
        self.rows = [row for row in self.rows if row not in present]
        targets = {row.destination for row in present}
        return [item for item in items if item.target in targets]

    def leave(self, item: WorkItem) -> None:
        """Record that the run ended before this image was changed."""
        self.rows.append(uncopied(item, ImageOutcome.LEFT))

    def fail(self, item: WorkItem, error: errors.ImagePrepError) -> None:
        """Record that this image failed."""
        self.rows.append(uncopied(item, ImageOutcome.FAILED, error=str(error)))
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
        # One of two often waits for a disk.
        self._concurrency = request.modify_concurrency or 2 * (
            os.cpu_count() or 1
        )

    def settled(self, items: Sequence[WorkItem]) -> Modified:
        """Find the images whose destination has the modified tag.

        The content of the tag is not compared, since making the image again
        gives other bytes: users who may push to the destination are trusted.

        :returns: their rows, and failures of destinations that do not answer.
        """
        modified = Modified()

        def look(item: WorkItem) -> None:
            current = self._current(item)
            if current is not None:
                present = ImageOutcome.PRESENT
                row = uncopied(item, present, digest=current.digest)
                modified.rows.append(row)

        with Workers(
            self._copying.concurrency, keep_going=self._request.keep_going
        ) as workers:
            for item, error in workers.each(look, items):
                modified.fail(
                    item,
                    errors.CopyError(
                        "resolve", "destination", item.target, error
                    ),
                )
        return modified

    @contextlib.contextmanager
    def changed(self, items: Sequence[WorkItem]) -> Iterator[Modified]:
        """Change the images of these items; they exist for the context.

        Images whose destination has them are not made again. Without
        ``keep_going`` nothing is tried after the first failure.

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
        """The manifest with the modified tag at the destination."""
        store = self._stores.destination(*item.stored_in)
        try:
            manifest = store.resolve(item.tag)
        except errors.NotFound:
            return None
        if isinstance(store, base.ChecksGraph) and not store.holds(manifest):
            return None
        return manifest

    def check(self, items: Sequence[WorkItem]) -> None:
        """Check that these can be changed, without using the network.

        :param items: all have a modification.
        :raises InputError: when they cannot be changed.
        """
        changes.by_source(items)
        if items and len(self._request.platforms) > 1:
            raise errors.InvalidArgument(
                "images cannot be modified and copied for several platforms",
                hint="give one --platform",
            )
        checked: set[tuple[str, str]] = set()
        for item in items:
            entry = (item.entry.path, item.entry.key)
            if entry in checked:
                continue
            checked.add(entry)
            change = changes.change(item)
            key = "modify_role"
            try:
                self._workspaces.check(change.ansible_role, change.variables)
            except errors.InvalidArgument as error:
                if isinstance(error, InvalidVariable):
                    key = f"modify_vars.{error.name}"
                raise item.entry.error(str(error), key, error.hint) from error

    def _bring_in(
        self,
        workspace: Workspace,
        sources: dict[str, list[WorkItem]],
        modified: Modified,
    ) -> list[WorkItem]:
        """Import every source once; return the items that can be changed."""
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
            source=self._stores.source(item.read_from),
            reference=item.read_from.identifier,
            destination=store,
            tag=tag,
            platforms=graph.OnePlatform(wanted[0]),
            descriptor=self._copying.known(item.read_from),
            admission=self._stores.admission(item.source),
            timeout=self._request.image_timeout,
        )

    def _change(
        self,
        workspace: Workspace,
        items: Sequence[WorkItem],
        modified: Modified,
    ) -> None:
        """Run the roles, and find the images that they made."""
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
        """The copy of a changed image to its destination."""
        repository, _, tag = name.rpartition(":")
        destination = self._stores.destination(*item.stored_in)
        return Copy(
            name=name,
            source=workspace.store(repository, destination),
            reference=tag,
            destination=destination,
            tag=item.tag,
            timeout=self._request.image_timeout,
            made_from=self._stores.source(item.read_from),
        )

    def _keep(
        self,
        workspace: Workspace,
        sources: Collection[str],
        modified: Modified,
    ) -> None:
        """Keep the images in local storage that the user wants to keep."""
        kept = [copy.name for copy in modified.copies.values()]
        if self._request.cleanup == "none":
            names = workspace.names()
            kept += [name for name in sources if name in names]
        if self._request.cleanup != "full":
            for name in dict.fromkeys(kept):
                try:
                    workspace.keep(name)
                except errors.StoreError as error:
                    # The images are pushed, which is the purpose of the run.
                    self._observer.warning(
                        f"{name}: not kept in local storage: {error}"
                    )
