"""The registries of a run: where their stores come from."""

from __future__ import annotations

import errno
import functools
import logging
import threading
from collections.abc import Callable
from typing import Self

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.request_limit import RequestLimit
from imageprep_client.http.transport import Response, Timeouts, Transports
from imageprep_client.observer import Observer
from imageprep_client.oci import reference as references
from imageprep_client.retry import Retrier, RetryPolicy
from imageprep_client.stores.registry import session
from imageprep_client.stores.registry.endpoints import hosts as addresses
from imageprep_client.stores.registry.endpoints import replicas
from imageprep_client.stores.registry.endpoints.hosts import Endpoint, Hosts
from imageprep_client.stores.registry.lists.catalog import RegistryCatalog
from imageprep_client.stores.registry.repository import RepositoryRequests
from imageprep_client.stores.registry.store import RegistryStore

_log = logging.getLogger(__name__)


class RegistryClient:
    """Gives the stores of registries and keeps what they share.

    Connections, tokens and rate limits are shared by all stores of one
    registry. Nothing is asked of a registry before a store is used.

    :param hosts: how each registry is spoken to.
    :param policy: when something is tried again.
    :param concurrency: how many threads use it at once.
    :param advise: says what may help when a registry refuses connections,
        or nothing.
    """

    def __init__(
        self,
        hosts: Hosts | None = None,
        *,
        policy: RetryPolicy | None = None,
        observer: Observer | None = None,
        concurrency: int = 8,
        timeouts: Timeouts | None = None,
        advise: Callable[[str], str] | None = None,
    ) -> None:
        self.hosts = hosts or Hosts()
        self._policy = policy or RetryPolicy()
        self._observer = observer or Observer()
        self._timeouts = timeouts or Timeouts()
        self._concurrency = concurrency
        # A worker reads from one connection and writes to another; some
        # more are for what it looks up meanwhile.
        self._transports = Transports(2 * concurrency + 4)
        self._stop = threading.Event()
        self._advise = advise
        self._lock = threading.Lock()
        self._registries: dict[tuple[str, bool], session.RegistrySession] = {}
        self._servers: dict[tuple[str, bool], replicas.Server] = {}
        self._stores: dict[tuple[str, str, bool, bool], RegistryStore] = {}

    def store(
        self, registry: str, repository: str, *, mirrored: bool = True
    ) -> RegistryStore:
        """The store of a repository; equal arguments give the same store.

        :param registry: ``host[:port]`` as in a reference.
        :param mirrored: whether mirrors are read from. Where something is
            to be written they would hide what the registry itself lacks.
        :raises InvalidReference: when a name breaks the grammar.
        """
        references.check_registry(registry)
        references.check_repository(repository)
        return self._known_store(registry, repository, mirrored, False)

    def destination(self, registry: str, repository: str) -> RegistryStore:
        """The store of a repository that is to be written.

        As `store` without mirrors, but rights to write are asked for from the
        beginning, and what the registry lets nobody look up is absent.
        """
        references.check_registry(registry)
        references.check_repository(repository)
        return self._known_store(registry, repository, False, True)

    def _known_store(
        self, *key: *tuple[str, str, bool, bool]
    ) -> RegistryStore:
        with self._lock:
            if key not in self._stores:
                self._stores[key] = self._make_store(*key)
            return self._stores[key]

    def catalog(self, registry: str) -> RegistryCatalog:
        """The list of a registry's repositories; no I/O yet.

        A mirror is never asked: it has only what was pulled through it.

        :raises InvalidReference: when the name breaks the grammar.
        """
        references.check_registry(registry)
        server = self._home(self.hosts.home(registry), registry)
        return RegistryCatalog(registry, server.connect)

    def _make_store(
        self,
        registry: str,
        repository: str,
        mirrored: bool,
        is_destination: bool,
    ) -> RegistryStore:
        name = f"{registry}/{repository}"
        route = self.hosts.route(registry, repository)

        def requests(
            place: addresses.RepositoryLocation,
        ) -> RepositoryRequests:
            return RepositoryRequests(name, place.repository)

        home = replicas.Replica(
            self._home(route, name), requests(route.location)
        )
        mirrors = [
            replicas.Replica(self._server(place), requests(place), place.pull)
            for place in route.mirrors
            if mirrored and not route.blocked_by
        ]
        endpoints = self.hosts.candidates(*route.location.key)
        return RegistryStore(
            endpoints[0].host,
            replicas.Replicas(home, mirrors),
            is_destination=is_destination,
        )

    def _home(
        self, route: addresses.RepositoryLocations, name: str
    ) -> replicas.Server:
        if route.blocked_by:
            return replicas.Server(
                functools.partial(_refuse, name, route.blocked_by)
            )
        return self._server(route.location)

    def _server(self, place: addresses.RepositoryLocation) -> replicas.Server:
        key = place.key
        if key not in self._servers:
            self._servers[key] = replicas.Server(
                functools.partial(self._registry, *key),
                functools.partial(self._warn_of_silence, place.registry),
            )
        return self._servers[key]

    def _warn_of_silence(self, name: str, error: errors.StoreError) -> None:
        self._observer.warning(
            f"{urls.shown(name)}: not asked any more, as others have the"
            f" same: {error}"
        )

    def close(self) -> None:
        """End all waiting and close all connections.

        Whoever waits for a registry, or asks one from now on, gets a
        `StoreError`.
        """
        self._stop.set()
        self._transports.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _registry(
        self, name: str, insecure: bool, first: session.Request | None = None
    ) -> session.RegistrySession:
        """The registry, at the endpoint that answers.

        :param first: what it will be asked first, where that is known.
        """
        key = (name, insecure)
        known = self._registries.get(key)
        if known is not None:
            return known
        answers: list[Response] = []

        def probe(endpoint: Endpoint) -> bool:
            answer = session.probe(
                endpoint, self._transports, self._timeouts, first
            )
            if answer is not None:
                answers.append(answer)
            return answer is not None

        # A mistyped name should not take minutes.
        looking = Retrier(
            self._policy.at_first_contact(), self._observer, self._stop
        )
        try:
            endpoint = looking.retrying(
                name, lambda: self.hosts.select_endpoint(name, probe, insecure)
            )
        except errors.Unreachable as error:
            if self._advise and error.errno == errno.ECONNREFUSED:
                error.hint = self._advise(name) or None
            raise
        retrier = Retrier(self._policy, self._observer, self._stop)
        made = session.RegistrySession(
            endpoint,
            self.hosts,
            self._transports,
            retrier,
            RequestLimit(self._concurrency, self._stop),
            self._timeouts,
        )
        with self._lock:
            known = self._registries.setdefault(key, made)
        if first is not None:
            for answer in answers:
                known.keep(answer)
        if known is made and not endpoint.is_secure:
            self._warn(endpoint.host, endpoint.base)
        return known

    def _warn(self, host: str, base: str) -> None:
        how = (
            "its certificate is not verified"
            if base.startswith("https:")
            else "it is spoken to over plain HTTP"
        )
        if urls.is_loopback(urls.host_of(host)):
            # Nobody else can listen there.
            _log.info("%s: %s", host, how)
        else:
            self._observer.warning(f"{host}: {how}")


def _refuse(
    name: str, file: str, first: session.Request | None = None
) -> session.RegistrySession:
    raise errors.AccessDenied(
        f"{name}: blocked by {file}",
        hint=f"take blocked out of the [[registry]] of {name} in {file}",
    )
