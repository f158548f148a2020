"""The copies of a preparation: from items of the worklist to rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from imageprep_client.container.additional import Additional
from imageprep_client.container.discovery.queries import DestinationTags
from imageprep_client.container.request import ImageStores, PrepareRequest, Row
from imageprep_client.container.worklist import WorkItem
from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
from imageprep_client.transfer import engine, graph
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.known import KeepsChecks, KnownContent


class Copying:
    """Makes copies according to the request, and runs them.

    :ivar concurrency: pieces of work at once.
    :ivar additional: the copies to further destinations.
    :param descriptors: the discovered manifests of sources; they are copied
        even if their tags name others by then.
    :param content: the manifests and configs that discovery read; they are
        not fetched again.
    :param tags: those that discovery looked for at destinations.
    :param checks: see `transfer.engine.copy_all`.
    """

    def __init__(
        self,
        request: PrepareRequest,
        stores: ImageStores,
        observer: Observer,
        descriptors: Mapping[Reference, Descriptor],
        content: KnownContent,
        tags: DestinationTags,
        checks: KeepsChecks | None,
    ) -> None:
        self.concurrency = request.concurrency or engine.CONCURRENCY
        self.additional = Additional(request.also_to, stores)
        self._request = request
        self._stores = stores
        self._observer = observer
        self._descriptors = descriptors
        self._content = content
        self._tags = tags
        self._checks = checks

    def copy(
        self, item: WorkItem, descriptor: Descriptor | None = None
    ) -> Copy:
        """The copy from the source to the push destination.

        :param descriptor: of the source, where it is known.
        """
        return dataclasses.replace(
            self.read(item, self._stores.destination(*item.stored_in)),
            descriptor=descriptor or self.known(item.read_from),
            current=self._tags.known(*item.stored_in, item.tag),
            timeout=self._request.image_timeout,
        )

    def read(self, item: WorkItem, destination: base.Store) -> Copy:
        """The copy from the source to another store."""
        return Copy(
            name=str(item.source),
            source=self._stores.source(item.read_from),
            reference=item.read_from.identifier,
            destination=destination,
            tag=item.tag,
            platforms=self.platforms(item),
            referrers=self._request.referrers,
            nondistributable=self._request.nondistributable,
            descriptor=self.known(item.read_from),
            admission=self._stores.admission(item.source),
        )

    def platforms(self, item: WorkItem) -> graph.Platforms:
        """The platforms that are copied of an index."""
        if self._request.platforms:
            return graph.SomePlatforms(tuple(self._request.platforms))
        if item.multi_arch:
            return graph.ALL_PLATFORMS
        return graph.OnePlatform(graph.host_platform())

    def known(self, source: Reference) -> Descriptor | None:
        """The manifest that discovery found for this source, or None."""
        return self._descriptors.get(source)

    def in_place(self, item: WorkItem) -> Copy:
        """A copy of an image from its destination, to further ones."""
        store = self._stores.destination(*item.stored_in)
        return Copy(
            name=item.target,
            source=store,
            reference=item.tag,
            destination=store,
            tag=item.tag,
        )

    def run_items(
        self, items: Sequence[WorkItem], copies: Sequence[Copy]
    ) -> Sequence[engine.CopyResult]:
        """As `run` for the copies of these items, and further destinations.

        :returns: the results of `copies`.
        """
        if not self.additional:
            return self.run(copies)
        more = [
            self.additional.copies(item, copy)
            for item, copy in zip(items, copies, strict=True)
        ]
        results = self.run(
            [*copies, *(copy for group in more for copy in group)],
            independently=True,
        )
        further = iter(results[len(copies) :])
        for item, group in zip(items, more, strict=True):
            self.additional.note(item, [next(further) for _ in group])
        return results[: len(copies)]

    def run(
        self, copies: Sequence[Copy], *, independently: bool = False
    ) -> Sequence[engine.CopyResult]:
        """Run the copies, or estimate them in a dry run.

        :param independently: see `transfer.engine.copy_all`.
        """
        return engine.copy_all(
            copies,
            observer=self._observer,
            concurrency=self.concurrency,
            keep_going=self._request.keep_going,
            dry_run=self._request.dry_run,
            known=self._content,
            checks=self._checks,
            independently=independently,
        )


def uncopied(
    item: WorkItem,
    outcome: ImageOutcome,
    *,
    digest: str | None = None,
    error: str | None = None,
) -> Row:
    """The row of an item that was not copied."""
    return Row(
        image=item.image,
        source=str(item.source),
        destination=item.target if item.push_destination else None,
        digest=digest,
        outcome=outcome,
        error=error,
    )


def row(item: WorkItem, result: engine.CopyResult) -> Row:
    """The row of an item that was copied."""
    return Row.of(
        result,
        image=item.image,
        source=str(item.source),
        destination=item.target,
    )
