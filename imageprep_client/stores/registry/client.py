"""The registries of a run, and the stores of their repositories."""

from __future__ import annotations

import errno
import functools
import logging
import threading
from collections.abc import Callable
from typing import NoReturn

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.request_limit import RequestLimit
from imageprep_client.http.transport import Response, Timeouts, Transports
from imageprep_client.observer import Observer
from imageprep_client.oci import reference as references
from imageprep_client.retry import Retrier, RetryPolicy
from imageprep_client.stores import base
from imageprep_client.stores.registry import session
from imageprep_client.stores.registry.endpoints import hosts as addresses
from imageprep_client.stores.registry.endpoints import probing, replicas
from imageprep_client.stores.registry.endpoints.hosts import Endpoint, Hosts
from imageprep_client.stores.registry.lists.catalog import RegistryCatalog
from imageprep_client.stores.registry.repository import (
    Access,
    RepositoryRequests,
    Request,
)
from imageprep_client.stores.registry.store import RegistryStore

_log = logging.getLogger(__name__)
#: Registry, repository, whether mirrors are used, and the purpose.
_StoreKey = tuple[str, str, bool, Access]


class RegistryClient(base.Closing):
    """Opens stores of registries.

    All stores of one registry share connections, tokens and rate limits. No
    request is sent before a store is used.

    :param hosts: how each registry is contacted.
    :param policy: when requests are repeated.
    :param concurrency: the requests to one registry at once, at most.
    :param advise: gives a hint for a registry that refuses connections, or an
        empty text.
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
        # A worker reads from one connection and writes to another. The
        # others are for requests in between.
        self._transports = Transports(2 * concurrency + 4)
        self._stop = threading.Event()
        self._advise = advise
        self._lock = threading.Lock()
        self._registries: dict[tuple[str, bool], session.RegistrySession] = {}
        self._retriers: dict[tuple[str, bool], Retrier] = {}
        self._servers: dict[tuple[str, bool], replicas.Server] = {}
        self._stores: dict[_StoreKey, RegistryStore] = {}

    def store(
        self, registry: str, repository: str, *, mirrored: bool = True
    ) -> RegistryStore:
        """The store of a repository; equal arguments give the same store.

        :param registry: ``host[:port]`` as in a reference.
        :param mirrored: whether to read from mirrors, which may have content
            that the registry itself lacks.
        :raises InvalidReference: if a name is invalid.
        """
        return self._known_store(registry, repository, mirrored, Access.READ)

    def destination(self, registry: str, repository: str) -> RegistryStore:
        """The store of a repository to write to.

        As `store` without mirrors, but all tokens permit writing, and content
        is absent if the registry denies access to it.
        """
        return self._known_store(registry, repository, False, Access.WRITE)

    def _known_store(self, *key: *_StoreKey) -> RegistryStore:
        registry, repository, *_ = key
        references.check_registry(registry)
        references.check_repository(repository)
        with self._lock:
            if key not in self._stores:
                self._stores[key] = self._make_store(*key)
            return self._stores[key]

    def catalog(self, registry: str) -> RegistryCatalog:
        """The list of the repositories of a registry; sends no request.

        Mirrors are not used, as they may have only a part.

        :raises InvalidReference: if the name is invalid.
        """
        references.check_registry(registry)
        server = self._home(self.hosts.home(registry), registry)
        return RegistryCatalog(
            registry, server.connect, self._observer.warning
        )

    def _make_store(
        self, registry: str, repository: str, mirrored: bool, access: Access
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
            endpoints[0].host, replicas.Replicas(home, mirrors), access
        )

    def _home(
        self, route: addresses.RepositoryLocations, name: str
    ) -> replicas.Server:
        if route.blocked_by:
            return replicas.Server(lambda _: _refuse(name, route.blocked_by))
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

    def release(self) -> None:
        """Close the connections that are idle; later requests make others."""
        self._transports.close()

    def close(self) -> None:
        """End all waiting and close all connections.

        Requests that wait, and later ones, raise `StoreError`.
        """
        self._stop.set()
        self._transports.close()

    def _registry(
        self, name: str, insecure: bool, first: Request | None = None
    ) -> session.RegistrySession:
        """The registry, at the endpoint that answers.

        :param first: the first request, if it is known.
        """
        key = (name, insecure)
        known = self._registries.get(key)
        if known is not None:
            return known
        answers: list[Response] = []
        reasons: list[str] = []

        def answers_at(endpoint: Endpoint) -> bool:
            retrier.check(endpoint.host)
            answer = probing.probe(
                endpoint, self._transports, self._timeouts, first
            )
            if isinstance(answer, str):
                reasons.append(answer)
                return False
            answers.append(answer)
            return True

        with self._lock:
            retrier = self._retriers.setdefault(
                key, Retrier(self._policy, self._observer, self._stop)
            )
        try:
            endpoint = self.hosts.select_endpoint(
                name, answers_at, retrier, insecure
            )
        except errors.Unreachable as error:
            refused = error.errno == errno.ECONNREFUSED
            if self._advise and refused and not error.hint:
                error.hint = self._advise(name) or None
            raise
        except errors.ServerFault as error:
            if said := "; ".join(filter(None, dict.fromkeys(reasons))):
                error.hint = f"another server does, which says: {said}"
            raise
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
        for answer in answers:
            if first is None:
                known.authenticator.version_checked(answer)
            else:
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
            # Only processes of this host can listen there.
            _log.info("%s: %s", host, how)
        else:
            self._observer.warning(f"{host}: {how}")


def _refuse(name: str, file: str | None) -> NoReturn:
    raise errors.AccessDenied(
        f"{name}: blocked by {file}",
        hint=f"take blocked out of the [[registry]] of {name} in {file}",
    )
