"""The images that each host of an inventory needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from imageprep_client import errors
from imageprep_client.ansible import HostGroups
from imageprep_client.host import inputs
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.preload.request import PreloadRequest, PreloadStores
from imageprep_client.transfer import graph, nearest
from imageprep_client.transfer.known import KnownContent
from imageprep_client.transfer.workers import Workers

_MAX_LIST = 4 * 1024 * 1024
#: Groups of an inventory that a hint names.
_NAMED = 20


@dataclasses.dataclass(frozen=True, slots=True)
class NodeImage:
    """One image that nodes need.

    :ivar reference: the name that the deployment has for it.
    :ivar descriptor: of the manifest for the platform of this host.
    :ivar config: its config, whose digest is its identifier in storages.
    :ivar blobs: its config and its layers.
    """

    reference: Reference
    descriptor: Descriptor
    config: Descriptor | None
    blobs: tuple[Descriptor, ...]

    @property
    def identifier(self) -> str:
        """The identifier that a storage gives it."""
        digest = self.config.digest if self.config else ""
        return digest.partition(":")[2] or "unknown"

    @property
    def name(self) -> str:
        """The name that the nodes' storage has it under."""
        plain = dataclasses.replace(self.reference, digest="")
        return str(plain if plain.tag else self.pinned)

    @property
    def pinned(self) -> Reference:
        """The name with the digest alone."""
        return dataclasses.replace(
            self.reference, tag="", digest=self.descriptor.digest
        )

    @property
    def site_tag(self) -> str:
        """The tag at a site, which keeps it there."""
        digest = self.descriptor.digest.partition(":")[2]
        return self.reference.tag or f"preload-{digest[:20]}"


@dataclasses.dataclass(frozen=True, slots=True)
class NodeDemand:
    """One host.

    :ivar site: the registry that it pulls from; None: those in the names.
    """

    host: str
    images: tuple[Reference, ...]
    site: Location | None


def read_list(path: str) -> tuple[Reference, ...]:
    """The images that a file names, one a line; ``#`` begins a comment.

    :raises InvalidFile: when it cannot be read or a line is no image.
    """
    text = inputs.load(path, _MAX_LIST).decode("utf-8-sig", "replace")
    images: dict[str, Reference] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        try:
            reference = Reference.parse(name.removeprefix("docker://"))
        except errors.InvalidReference as error:
            raise errors.InvalidFile(
                path, str(error), key=f"line {number}", hint=error.hint
            ) from error
        images[str(reference)] = reference
    if not images:
        raise errors.InvalidFile(path, "names no image")
    return tuple(images.values())


def nodes(request: PreloadRequest, hosts: HostGroups) -> list[NodeDemand]:
    """The hosts with what they need.

    :raises InvalidArgument: for groups that the inventory does not have, or
        a host that two sites have.
    """
    for option, groups in (
        ("--images or --group", request.lists),
        ("--site", request.sites),
    ):
        for group in groups:
            if group not in hosts.groups:
                raise errors.InvalidArgument(
                    f"{option}: the inventory has no group {group!r}"
                    " with hosts",
                    hint=_groups(group, hosts),
                )
    return [
        NodeDemand(
            host, _images(request, hosts, host), _site(request, hosts, host)
        )
        for host in hosts.hosts
    ]


def _groups(group: str, hosts: HostGroups) -> str:
    """The groups that may be meant; inventories have hundreds."""
    if hint := errors.did_you_mean(group, hosts.groups):
        return hint
    names = sorted(hosts.groups)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"groups: {', '.join(names[:_NAMED])}{more}"


def _images(
    request: PreloadRequest, hosts: HostGroups, host: str
) -> tuple[Reference, ...]:
    own = [
        images
        for group, images in request.lists.items()
        if host in hosts.groups[group]
    ]
    wanted = own or [*request.lists.values(), request.others]
    return tuple(
        {str(one): one for images in wanted for one in images}.values()
    )


def _site(
    request: PreloadRequest, hosts: HostGroups, host: str
) -> Location | None:
    sites = {
        str(site): site
        for group, site in request.sites.items()
        if host in hosts.groups[group]
    }
    if len(sites) > 1:
        raise errors.InvalidArgument(
            f"--site: {host} is in groups of several sites:"
            f" {', '.join(sorted(sites))}"
        )
    return next(iter(sites.values()), None)


def resolve(
    nodes: Sequence[NodeDemand],
    stores: PreloadStores,
    known: KnownContent,
    concurrency: int,
) -> tuple[dict[str, NodeImage], dict[str, errors.ImagePrepError]]:
    """The images of all nodes by name, and the errors of the others.

    Those that the signature policy does not accept are among the others.
    """
    wanted = {str(one): one for node in nodes for one in node.images}
    images: dict[str, NodeImage] = {}

    def find(name: str) -> None:
        reference = wanted[name]
        store = stores.source(reference)
        root = nearest.resolve(store, reference.identifier)
        platform = graph.OnePlatform(graph.host_platform())
        found = graph.walk(store, root, platform, known=known)
        admission = stores.admission(reference)
        if admission is not None:
            # It holds for all sites and nodes: they get this digest.
            admission.admit(store, [found.root.descriptor])
        images[name] = NodeImage(
            reference, found.root.descriptor, found.root.config, found.blobs
        )

    with Workers(concurrency, keep_going=True) as workers:
        failures = dict(workers.each(find, list(wanted)))
    return images, failures


def unique_bytes(images: Iterable[NodeImage]) -> int:
    """Bytes of all images, each blob once."""
    blobs = {b.digest: b.size for one in images for b in one.blobs}
    return sum(blobs.values())
