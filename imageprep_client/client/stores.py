"""Opening the store of a name, with the settings for registries.

A part of the composition root, `client`: it knows every kind of store.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from imageprep_client import errors
from imageprep_client.client import policies
from imageprep_client.client.registry_options import RegistryOptions, hosts
from imageprep_client.host import disk, inputs, undercloud
from imageprep_client.host.undercloud import PORT, TREE
from imageprep_client.http import urls
from imageprep_client.http.transport import Timeouts
from imageprep_client.observer import Observer
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.registries.registry import Registry
from imageprep_client.retry import BRIEF, PATIENT, RetryPolicy
from imageprep_client.stores import base
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.layout import LayoutRoot
from imageprep_client.stores.memory import MemoryRegistry
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.transfer.admission import Admits
from imageprep_client.trust.scopes import Subject

if TYPE_CHECKING:
    from imageprep_client.stores.archive import Archive

    _Home = ImageServeTree | LayoutRoot | Archive | MemoryRegistry

__all__ = ["PORT", "TREE", "Stores"]

_HASTY = Timeouts(connect=3, read=5)
_TREE = "image-serve"


class Stores(base.Closing):
    """The stores of one run; `container.request.ImageStores` says what of.

    :param policy: of registries. With `BRIEF`, one that does not
        answer within a few seconds is given up.
    :param lookasides: whether signatures may be read from web servers beside
        the registries.
    """

    def __init__(
        self,
        options: RegistryOptions,
        observer: Observer,
        *,
        policy: RetryPolicy = PATIENT,
        lookasides: bool = True,
    ) -> None:
        self._options = options
        self._observer = observer
        self._registries = RegistryClient(
            hosts(options),
            policy=policy,
            timeouts=_HASTY if policy == BRIEF else None,
            observer=observer,
            concurrency=options.concurrency,
            advise=undercloud.advice,
        )
        self._trust = policies.Opening(
            options.signature_policy,
            options.cacert,
            remote=lookasides,
            observer=observer,
        )
        self._homes: dict[tuple[str, str], _Home] = {}
        self._served: set[str] = set()
        self._changed: dict[str, ImageServeTree] = {}

    def source(self, reference: Reference) -> base.ReadableStore:
        if references.is_transport(reference.registry):
            return self.reading(reference.registry, reference.repository)
        # The tree of the options is that of destinations.
        path = _served_tree(reference.registry)
        if path:
            self._served.add(reference.registry)
            return self._opened(_TREE, path).store(reference.repository)
        return self._registries.store(reference.registry, reference.repository)

    def admission(
        self, reference: Reference, *, local: str | None = None
    ) -> Admits | None:
        """The check whether an image may be copied; None: it may.

        :param local: its name in local storage, if it is there.
        :raises InvalidFile: when the policy cannot be used.
        """
        subject = Subject.local(local) if local else Subject.of(reference)
        return self._trust.trust.admission(subject, local or str(reference))

    def signatures(
        self, reference: Reference, manifest: Descriptor
    ) -> Sequence[bytes]:
        subject = Subject.of(reference)
        return self._trust.trust.beside(subject, manifest)

    def destination(
        self, push_destination: str, repository: str
    ) -> base.Store:
        if push_destination.startswith("oci-archive:"):
            raise errors.InvalidArgument(
                f"{push_destination}: an archive is only read",
                hint="write one with run --carry, or layouts into"
                " oci:DIRECTORY",
            )
        home = self.changing(push_destination)
        if home is None:
            return self._registries.destination(push_destination, repository)
        if not references.is_transport(push_destination):
            self._served.add(push_destination)
        return home.store(repository)

    def further(self, place: str, repository: str) -> base.Store:
        """The repository below a further destination.

        Only the push destinations of entries are in the tree of the options.
        """
        if self._options.image_serve and not references.is_transport(place):
            return self._registries.destination(place, repository)
        return self.destination(place, repository)

    def reading(
        self, place: str, repository: str, *, mirrored: bool = True
    ) -> base.Store:
        """A repository to read only.

        :param mirrored: whether its mirrors will do.
        """
        home = self._readable(place)
        if home is None:
            return self._registries.store(place, repository, mirrored=mirrored)
        return home.store(repository)

    def catalog(self, place: str) -> base.ListsRepositories:
        """The repositories of a registry or a transport."""
        self.check_tree()
        return self._readable(place) or self._registries.catalog(place)

    def registry(self, place: Location) -> Registry:
        """All of a registry or a tree, or of a registry what is at a path or
        below.

        :raises InvalidArgument: when there is no directory or tree.
        """
        self.check_tree()
        home = self._home(place.registry)
        if home is None:
            return _Remote(self._registries, place)
        place.check_whole()
        _check(home)
        return home

    def changing(self, place: str) -> _Home | None:
        """Note that `locked` has to lock the place, if it is a tree."""
        home = self._home(place)
        if isinstance(home, ImageServeTree):
            self._changed[os.path.realpath(home.path)] = home
        return home

    def check_place(self, location: Location) -> None:
        """Check that the directory or archive to read from exists.

        :raises InputError: when there is none.
        """
        if not location.is_registry:
            _check(self._home(location.registry))

    def are_one(self, place: str, other: str) -> bool:
        """Whether two names mean the same registry or tree."""
        home = self._home(place)
        return place == other or (
            home is not None and home is self._home(other)
        )

    def check_tree(self) -> None:
        """Check that the tree to read from exists.

        :raises InvalidArgument: when it is not.
        """
        path = self._options.image_serve
        if path and not os.path.isdir(path):
            raise errors.InvalidArgument(
                f"{path}: {disk.absence(pathlib.Path(path))}"
            )

    def _home(self, place: str) -> _Home | None:
        """The place on this host behind a name; None for a registry."""
        if not references.is_transport(place):
            # The tree of the options is that of all push destinations.
            path = self._options.image_serve or _served_tree(place)
            return self._opened(_TREE, path) if path else None
        transport, _, path = place.partition(":")
        return self._opened(transport, path)

    def _opened(self, transport: str, path: str) -> _Home:
        # One tree under two names would wait for its own lock for ever.
        real = path if transport == "memory" else os.path.realpath(path)
        home = self._homes.get((transport, real))
        if home is None:
            home = self._homes.setdefault(
                (transport, real), self._open(transport, path)
            )
        return home

    def _open(self, transport: str, path: str) -> _Home:
        if transport == "memory":
            return MemoryRegistry(path)
        if transport == "oci":
            return LayoutRoot(path)
        if transport == "oci-archive":
            # Not at the top: most runs would wait for what they do not use.
            from imageprep_client.stores.archive import Archive

            return Archive(path, self._observer.warning)
        return ImageServeTree(path)

    def _readable(self, place: str) -> _Home | None:
        """As `_home`, where a directory or archive exists."""
        home = self._home(place)
        if references.is_transport(place):
            _check(home)
        return home

    def insecure(self, registries: Iterable[str]) -> frozenset[str]:
        hosts = self._registries.hosts
        # Nodes pull what is in a tree over plain HTTP.
        known = {*self._served, *hosts.insecure_in_use()}
        return frozenset(
            name
            for name in registries
            if name in known or hosts.is_listed(name)
        )

    def is_open(self, place: str, repository: str) -> bool:
        """Whether others may read what is sent to a registry.

        It may be spoken to without verified TLS, over a network.
        """
        if self._home(place) is not None:
            return False
        hosts = self._registries.hosts
        route = hosts.route(place, repository).location
        return not urls.is_loopback(urls.host_of(route.registry)) and (
            route.insecure or hosts.is_listed(route.registry)
        )

    def login(self, registry: str) -> tuple[str, str] | None:
        """User and password for a registry; None: there are none.

        :raises InvalidFile: when a file of credentials cannot be used.
        """
        credential = self._registries.hosts.credentials.find(registry)
        if credential is None or credential.is_identity:
            return None
        return credential.username, credential.password

    @property
    def certificates(self) -> str:
        """The authorities of the options, in PEM."""
        path = self._options.cacert
        return inputs.load(path).decode("ascii", "replace") if path else ""

    @contextlib.contextmanager
    def locked(self, waiting: Callable[[str], None]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for path in sorted(self._changed):
                self._changed[path].check_writable()
                stack.enter_context(self._changed[path].lock(waiting))
            yield

    def release(self) -> None:
        """See `RegistryClient.release`."""
        self._registries.release()

    def close(self) -> None:
        """End what still goes on, and close all connections and files."""
        self._registries.close()
        self._trust.close()
        for home in self._homes.values():
            if not isinstance(home, MemoryRegistry):
                home.close()


def _served_tree(registry: str) -> str:
    """The tree that a registry of this host serves; empty without one."""
    host, _, port = registry.rpartition(":")
    if port != str(PORT) or not os.path.isdir(TREE):
        return ""
    return TREE if undercloud.is_this_host(host) else ""


def _check(home: _Home | None) -> None:
    """Check that a directory is one, and an archive whole."""
    if home is None or isinstance(home, MemoryRegistry):
        return
    if not isinstance(home, ImageServeTree | LayoutRoot):
        home.open()
        return
    if not home.path.is_dir():
        raise errors.InvalidArgument(f"{home.path}: {disk.absence(home.path)}")
    if isinstance(home, ImageServeTree) and not (home.path / "v2").is_dir():
        raise errors.InvalidArgument(
            f"{home.path}: no tree of images, there is no v2 in it"
        )
    if isinstance(home, LayoutRoot):
        home.check_readable()


class _Remote:
    """A registry that is reached over the network, or a part of one."""

    def __init__(self, registries: RegistryClient, place: Location) -> None:
        self._registries = registries
        self._place = place

    def repositories(self) -> Sequence[str]:
        """Those of the place.

        :raises NotFound: when there is none at a path or below: it is likely
            to be mistyped.
        """
        listed = self._registries.catalog(self._place.registry).repositories()
        names = [name for name in listed if self._place.covers(name)]
        if self._place.path and not names:
            raise errors.NotFound(
                f"{self._place}: no repository has this path, or one below it",
                hint="openstack image-prepare image list --registry-url"
                f" {self._place.registry} names all images",
            )
        return names

    def store(self, repository: str) -> base.Store:
        return self._registries.store(
            self._place.registry, repository, mirrored=False
        )

    def __str__(self) -> str:
        return str(self._place)
