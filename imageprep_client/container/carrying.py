"""Carrying all images of a run to another site, in one file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from imageprep_client import errors
from imageprep_client.container import copying, places
from imageprep_client.container.copying import Copying
from imageprep_client.container.request import ImageStores, Row
from imageprep_client.container.worklist import WorkItem
from imageprep_client.host import inputs
from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base, verify
from imageprep_client.transfer import graph
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.engine import CopyResult
from imageprep_client.transfer.known import KnownContent


class CarriedArchive(Protocol):
    """A file with images; it appears when it is complete."""

    def store(self, repository: str) -> base.Store:
        """The repository in it."""
        ...

    def sign(
        self, repository: str, digest: str, blobs: Sequence[bytes]
    ) -> None:
        """Keep the signatures of a manifest."""
        ...

    def leave_out(self, blob: Descriptor, repository: str) -> None:
        """Leave out a blob that the other site has in a repository."""
        ...

    def finish(self) -> int:
        """Make the file visible, with all that was stored.

        :returns: its size.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Carrying:
    """The archive that the images of a run are carried in.

    :ivar since: reports of runs at the other site.
    """

    archive: CarriedArchive
    since: Sequence[str] = ()


class Carriage:
    """Copies the images of one run into an archive.

    Images are carried as their sources have them: a modification is made by
    the run at the other site.
    """

    def __init__(
        self,
        carrying: Carrying,
        copier: Copying,
        stores: ImageStores,
        known: KnownContent,
        observer: Observer,
    ) -> None:
        self._carrying = carrying
        self._archive = carrying.archive
        self._copier = copier
        self._stores = stores
        self._known = known
        self._observer = observer

    def carry(
        self, items: Sequence[WorkItem]
    ) -> tuple[list[Row], list[errors.ImagePrepError]]:
        """Copy the images of all items, each once.

        :raises InvalidFile: when two images would have the same name, or the
            report cannot be used.
        """
        for report in self._carrying.since:
            self._leave_out(report)
        copies: dict[tuple[str, str | None], Copy] = {}
        # The copy of an image for all platforms serves for one, too.
        for item in sorted(items, key=lambda item: not item.multi_arch):
            copy = self._copy(item)
            key = (copy.destination.repository, copy.tag)
            if copies.setdefault(key, copy).name != copy.name:
                raise item.entry.error(
                    f"{copy.name} and {copies[key].name} have the same name"
                    " at a place that has the images of a run",
                    hint="carry one of them in a run of its own",
                )
        results = self._copier.run(list(copies.values()))
        by_name = {result.copy.name: result for result in results}
        for name in dict.fromkeys(str(item.source) for item in items):
            if by_name[name].outcome is ImageOutcome.COPIED:
                self._sign(by_name[name])
        rows = [self._row(i, by_name[str(i.source)]) for i in items]
        return rows, [result.error for result in results if result.error]

    def _row(self, item: WorkItem, result: CopyResult) -> Row:
        """The row of the run at the other site.

        An index is carried for the sake of its digest, or for another item;
        the other site has the image in it that this item is about.
        """
        row = copying.row(item, result)
        platforms = self._copier.platforms(item)
        if result.descriptor and result.copy.platforms != platforms:
            # The other site reports an image that the index lacks.
            with contextlib.suppress(errors.NotFound):
                found = graph.walk(
                    result.copy.source,
                    result.descriptor,
                    platforms,
                    known=self._known,
                )
                digest = found.root.descriptor.digest
                row = dataclasses.replace(row, digest=digest)
        return row

    def _copy(self, item: WorkItem) -> Copy:
        platforms = self._copier.platforms(item)
        if item.source.digest and isinstance(platforms, graph.OnePlatform):
            # It is looked for by the digest of the index.
            platforms = graph.SomePlatforms((platforms.platform,))
        repository = places.stored(item.image)
        return dataclasses.replace(
            self._copier.read(item, self._archive.store(repository)),
            tag=item.source.tag or "latest",
            platforms=platforms,
        )

    def _sign(self, result: CopyResult) -> None:
        """Take the signatures of an image along.

        They are in its registry or, if that keeps none, beside it.
        """
        store, source = result.copy.destination, result.copy.source
        reference = Reference.parse(result.copy.name)
        todo = [result.descriptor] if result.descriptor else []
        while todo:
            manifest = verify.manifest(store, todo.pop())
            digest = manifest.descriptor.digest
            try:
                kept = base.kept_signatures(source, digest)
                signatures = kept or self._stores.signatures(
                    reference, manifest.descriptor
                )
            except errors.StoreError as error:
                self._observer.warning(
                    f"{reference}: its signatures stay behind: {error}"
                )
                return
            if signatures:
                self._archive.sign(store.repository, digest, signatures)
            todo += filter(store.exists, manifest.manifests)

    def _leave_out(self, path: str) -> None:
        """Leave out the layers of the images that a report names."""
        gone = []
        for row in _rows(path):
            repository = places.stored(row["image"])
            try:
                store = self._stores.source(Reference.parse(row["source"]))
                root = store.resolve(row["digest"])
                for layer in layers(store, root, self._known):
                    self._archive.leave_out(layer, repository)
            except (errors.StoreError, errors.InvalidArgument):
                gone.append(row["image"])
        if gone:
            self._observer.warning(
                f"{path}: {len(gone)} of its images cannot be read any more,"
                f" such as {gone[0]}: their layers are carried again"
            )


def layers(
    store: base.ReadableStore,
    descriptor: Descriptor,
    known: KnownContent | None = None,
) -> Iterator[Descriptor]:
    """The layers below a manifest, of those images that the store has."""
    todo = [descriptor]
    while todo:
        manifest = graph.fetch_manifest(store, todo.pop(), known)
        yield from manifest.layers
        for child in manifest.manifests:
            with contextlib.suppress(errors.NotFound):
                todo.append(store.resolve(child.digest))


def _rows(path: str) -> list[dict[str, Any]]:
    """The images of a report that are in place.

    :raises InvalidFile: when it is no report.
    """
    try:
        document = json.loads(inputs.load(path))
        if document["version"] != 1:
            raise ValueError(f"version {document['version']}")
        rows = [row for row in document["images"] if row["digest"]]
        for row in rows:
            Reference.parse(row["source"])
            places.stored(row["image"])
        return [row for row in rows if row["outcome"] in ("copied", "present")]
    except (*errors.MALFORMED, errors.InvalidReference) as error:
        raise errors.InvalidFile(
            path,
            "neither an archive nor a report of run:"
            f" {errors.structure(error)}",
        ) from None
